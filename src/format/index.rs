//! Entries of the index files, and looking them up in the bytes of such a file.
//!
//! ```text
//!   .index      offset - base i32 | position i32                                        8 bytes
//!   .timeindex  timestamp i64 | offset - base i32                                      12 bytes
//!   .txnindex   version i16 = 0 | producer id i64 | first i64 | last i64 | stable i64  34 bytes
//! ```
//!
//! An offset entry names the *last* offset of a batch and the position of its *first* byte; a time entry
//! says that up to that offset no timestamp is larger.
//! Invariants: the columns of a file strictly increase (of a transaction index: the last offset), and
//! are not negative (a timestamp may be -1). A file that is being written ends in zeros: [`trim`] cuts
//! them. Indexes are caches: one that fails [`check`] is rebuilt.

use super::FormatError;
use super::bytes::field;

/// An entry of fixed length, ordered by a key.
pub(crate) trait IndexEntry: Copy {
    /// What entries are looked up by.
    type Key: Ord + Copy;
    /// Bytes of an entry.
    const LEN: usize;
    /// The entry in the first `LEN` bytes of `src`, which are there.
    fn read(src: &[u8]) -> Self;
    /// What it is looked up by.
    fn key(&self) -> Self::Key;
    /// Whether it may stand in a file behind `previous`.
    fn may_follow(&self, previous: Option<&Self>) -> bool;
}

/// Where a batch is that ends with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    /// The last offset of the batch minus the segment's base; at most 2^31-1.
    pub(crate) delta: u32,
    /// Where the batch begins in the segment; at most 2^31-1.
    pub(crate) position: u32,
}

impl OffsetEntry {
    /// The bytes on disk.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        (u64::from(self.delta) << 32 | u64::from(self.position)).to_be_bytes()
    }
}

impl IndexEntry for OffsetEntry {
    type Key = u32;
    const LEN: usize = 8;

    fn read(src: &[u8]) -> OffsetEntry {
        OffsetEntry { delta: u32::from_be_bytes(field(src, 0)), position: u32::from_be_bytes(field(src, 4)) }
    }

    fn key(&self) -> u32 {
        self.delta
    }

    fn may_follow(&self, previous: Option<&OffsetEntry>) -> bool {
        fits_i32(self.delta)
            && fits_i32(self.position)
            && previous.is_none_or(|p| self.delta > p.delta && self.position > p.position)
    }
}

/// The largest timestamp up to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    /// Milliseconds.
    pub(crate) timestamp: i64,
    /// The last offset of the batch that carries it minus the segment's base; at most 2^31-1.
    pub(crate) delta: u32,
}

impl TimeEntry {
    /// The bytes on disk.
    pub(crate) fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..].copy_from_slice(&self.delta.to_be_bytes());
        bytes
    }
}

impl IndexEntry for TimeEntry {
    type Key = i64;
    const LEN: usize = 12;

    fn read(src: &[u8]) -> TimeEntry {
        TimeEntry { timestamp: i64::from_be_bytes(field(src, 0)), delta: u32::from_be_bytes(field(src, 8)) }
    }

    fn key(&self) -> i64 {
        self.timestamp
    }

    fn may_follow(&self, previous: Option<&TimeEntry>) -> bool {
        fits_i32(self.delta) && previous.is_none_or(|p| self.timestamp > p.timestamp && self.delta > p.delta)
    }
}

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TxnEntry {
    pub(crate) producer_id: i64,
    /// Its first offset in the partition.
    pub(crate) first_offset: i64,
    /// The offset of its marker.
    pub(crate) last_offset: i64,
    /// The last stable offset when the marker was written.
    pub(crate) last_stable_offset: i64,
}

impl TxnEntry {
    /// The bytes on disk.
    pub(crate) fn to_bytes(self) -> [u8; 34] {
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        let mut bytes = [0; 34];
        for (slot, value) in bytes[2..].chunks_exact_mut(8).zip(fields) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
        bytes
    }
}

impl IndexEntry for TxnEntry {
    type Key = i64;
    const LEN: usize = 34;

    /// The version is [`check_txn_index`]'s to look at.
    fn read(src: &[u8]) -> TxnEntry {
        TxnEntry {
            producer_id: i64::from_be_bytes(field(src, 2)),
            first_offset: i64::from_be_bytes(field(src, 10)),
            last_offset: i64::from_be_bytes(field(src, 18)),
            last_stable_offset: i64::from_be_bytes(field(src, 26)),
        }
    }

    fn key(&self) -> i64 {
        self.last_offset
    }

    fn may_follow(&self, previous: Option<&TxnEntry>) -> bool {
        self.producer_id >= 0
            && self.first_offset >= 0
            && self.last_stable_offset >= 0
            && self.last_offset >= self.first_offset
            && previous.is_none_or(|p| self.last_offset > p.last_offset)
    }
}

/// The entries of an index, an incomplete last one apart.
pub(crate) fn entries<E: IndexEntry>(index: &[u8]) -> impl DoubleEndedIterator<Item = E> + ExactSizeIterator {
    index.chunks_exact(E::LEN).map(E::read)
}

/// The greatest entry whose key is at most `target`.
pub(crate) fn lookup<E: IndexEntry>(index: &[u8], target: E::Key) -> Option<E> {
    let after = count_up_to::<E>(index, target);
    after.checked_sub(1).map(|at| entry::<E>(index, at))
}

/// The least entry whose key is above `target`.
pub(crate) fn lookup_after<E: IndexEntry>(index: &[u8], target: E::Key) -> Option<E> {
    let after = count_up_to::<E>(index, target);
    (after < index.len() / E::LEN).then(|| entry::<E>(index, after))
}

/// How many entries have a key of at most `target`.
pub(crate) fn count_up_to<E: IndexEntry>(index: &[u8], target: E::Key) -> usize {
    let (mut low, mut high) = (0, index.len() / E::LEN);
    while low < high {
        let middle = low + (high - low) / 2;
        if entry::<E>(index, middle).key() <= target {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The last entry.
pub(crate) fn last<E: IndexEntry>(index: &[u8]) -> Option<E> {
    entries(index).next_back()
}

/// An index without the zeros that follow the entries of a file that is (or was) being written.
///
/// No entry that anybody needs is zero: the first batch of a segment gets none, and a time entry of
/// zeros says no more than that the segment begins at its base.
pub(crate) fn trim<E: IndexEntry>(index: &[u8]) -> &[u8] {
    let used = index.chunks_exact(E::LEN).rposition(|entry| entry.iter().any(|&byte| byte != 0));
    &index[..used.map_or(0, |at| (at + 1) * E::LEN)]
}

/// Whether a (trimmed) index is one: whole entries in order.
pub(crate) fn check<E: IndexEntry>(index: &[u8]) -> Result<(), FormatError> {
    if index.len() % E::LEN != 0 {
        return Err(FormatError::BadLength { what: "index", length: index.len() as i64 });
    }
    let mut previous = None;
    for (at, entry) in entries::<E>(index).enumerate() {
        if !entry.may_follow(previous.as_ref()) {
            return Err(FormatError::BadEntry(at));
        }
        previous = Some(entry);
    }
    Ok(())
}

/// Like [`check`], and the version of every entry is known.
pub(crate) fn check_txn_index(index: &[u8]) -> Result<(), FormatError> {
    check::<TxnEntry>(index)?;
    for entry in index.chunks_exact(TxnEntry::LEN) {
        let version = i16::from_be_bytes(field(entry, 0));
        if version != 0 {
            return Err(FormatError::BadVersion(i64::from(version)));
        }
    }
    Ok(())
}

/// The aborted transactions of one segment that a reader of `[from, upper)` must know, appended to
/// `found`; whether the next segment need not be asked.
pub(crate) fn aborted_in(index: &[u8], from: i64, upper: i64, found: &mut Vec<TxnEntry>) -> bool {
    let first = count_up_to::<TxnEntry>(index, from.saturating_sub(1));
    for entry in entries::<TxnEntry>(&index[first * TxnEntry::LEN..]) {
        if entry.first_offset < upper {
            found.push(entry);
        }
        if entry.last_stable_offset >= upper {
            return true;
        }
    }
    false
}

fn entry<E: IndexEntry>(index: &[u8], at: usize) -> E {
    E::read(&index[at * E::LEN..])
}

fn fits_i32(value: u32) -> bool {
    i32::try_from(value).is_ok()
}
