//! The indexes of a closed segment, searched in their files.
//!
//! ```text
//!   fences (in memory, read when a search first comes by)      .index
//!     e0 . e64 . e128 . e192                                   | e0 e1 .. e63 | e64 .. e127 | e128 .. | ...
//!            ^ bisected: nearly always without a call               ^ one block: one call, bisected in memory
//! ```
//!
//! Invariants
//! - A search reads one block once the fences it meets are known; memory is bounded by the number of fences.
//! - Files whose length is not the one that was noted, or whose last entry is not plausible, are rebuilt.

use std::io;
use std::sync::Arc;

use super::index::{Around, IndexLengths, OFFSET_ENTRY, TIME_ENTRY};
use super::open_segments::OpenTicket;
use crate::env::{File, read_exact_at};
use crate::format::index::{IndexEntry, OffsetEntry, TimeEntry};

/// Fences of one index file, at most.
const FENCES: usize = 1024;
/// Entries of a block, at least.
const BLOCK: usize = 64;

/// Indexes of a closed segment, searched in their files.
#[derive(Debug)]
pub(crate) struct StoredIndex {
    offsets: Searched<OffsetEntry>,
    times: Searched<TimeEntry>,
    _held: OpenTicket,
}

impl StoredIndex {
    /// The indexes in these files, which should be as long as `lengths` says, or `None` if they do not look
    /// sane (then they are rebuilt).
    pub(crate) fn open(
        offsets: Arc<dyn File>,
        times: Arc<dyn File>,
        log_len: u64,
        lengths: IndexLengths,
        held: OpenTicket,
    ) -> io::Result<Option<StoredIndex>> {
        let (offset_len, time_len) = (offsets.size()?, times.size()?);
        if lengths != (IndexLengths { offsets: offset_len, times: time_len }) {
            return Ok(None);
        }
        if offset_len % OFFSET_ENTRY != 0 || time_len % TIME_ENTRY != 0 {
            return Ok(None);
        }
        let (Ok(offset_entries), Ok(time_entries)) =
            (usize::try_from(offset_len / OFFSET_ENTRY), usize::try_from(time_len / TIME_ENTRY))
        else {
            return Ok(None);
        };
        let index = StoredIndex {
            offsets: Searched::new(offsets, offset_entries),
            times: Searched::new(times, time_entries),
            _held: held,
        };
        let last = index.offsets.last()?;
        let sane = last.is_none_or(|last| last.position > 0 && u64::from(last.position) < log_len);
        // A closed segment that holds anything has its final time entry.
        Ok((sane && (log_len == 0 || time_entries > 0)).then_some(index))
    }

    /// As [`LiveIndex::entries_around`](super::index::LiveIndex::entries_around).
    pub(crate) fn entries_around(&mut self, delta: u32) -> io::Result<Around> {
        let (before, after) = self.offsets.around(delta)?;
        Ok(Around { before, after })
    }

    /// As [`LiveIndex::time_before`](super::index::LiveIndex::time_before).
    pub(crate) fn time_before(&mut self, timestamp: i64) -> io::Result<Option<TimeEntry>> {
        Ok(self.times.around(timestamp)?.0)
    }

    /// As [`LiveIndex::newest`](super::index::LiveIndex::newest).
    pub(crate) fn newest(&self) -> io::Result<Option<TimeEntry>> {
        self.times.last()
    }
}

/// An index file, of which some is kept in memory.
#[derive(Debug)]
struct Searched<E: IndexEntry> {
    file: Arc<dyn File>,
    entries: usize,
    /// Entries of a block.
    block: usize,
    /// The key of each block's first entry, once it is known.
    fences: Vec<Option<E::Key>>,
    /// The block that is searched.
    bytes: Vec<u8>,
    last: std::cell::Cell<Option<E>>,
}

impl<E: IndexEntry> Searched<E> {
    fn new(file: Arc<dyn File>, entries: usize) -> Searched<E> {
        let block = entries.div_ceil(FENCES).max(BLOCK);
        let (fences, bytes) = (vec![None; entries.div_ceil(block)], Vec::new());
        Searched { file, entries, block, fences, bytes, last: std::cell::Cell::new(None) }
    }

    fn last(&self) -> io::Result<Option<E>> {
        if self.last.get().is_none() && self.entries > 0 {
            self.last.set(Some(self.entry(self.entries - 1)?));
        }
        Ok(self.last.get())
    }

    fn entry(&self, at: usize) -> io::Result<E> {
        let mut bytes = [0; 16];
        let bytes = bytes.get_mut(..E::LEN).unwrap_or_default();
        read_exact_at(&*self.file, bytes, (at * E::LEN) as u64)?;
        Ok(E::read(bytes))
    }

    /// The last entry whose key is smaller, and the first whose key is not.
    fn around(&mut self, key: E::Key) -> io::Result<(Option<E>, Option<E>)> {
        let after = self.fences_below(key)?;
        let Some(block) = after.checked_sub(1) else {
            let first = if self.entries > 0 { Some(self.entry(0)?) } else { None };
            return Ok((None, first));
        };
        // With the first entry of the next block, so that both are at hand.
        let start = block * self.block;
        let count = (self.block + 1).min(self.entries - start);
        self.bytes.resize(count * E::LEN, 0);
        read_exact_at(&*self.file, &mut self.bytes, (start * E::LEN) as u64)?;
        let entry = |at: usize| self.bytes.get(at * E::LEN..(at + 1) * E::LEN).map(E::read);
        let smaller = |at| Ok(entry(at).is_some_and(|entry| entry.key() < key));
        let after = partition_point(count, smaller)?;
        Ok((after.checked_sub(1).and_then(entry), entry(after)))
    }

    /// How many blocks begin below a key.
    fn fences_below(&mut self, key: E::Key) -> io::Result<usize> {
        partition_point(self.fences.len(), |at| {
            let fence = match self.fences.get(at).copied().flatten() {
                Some(fence) => fence,
                None => {
                    let fence = self.entry(at * self.block)?.key();
                    self.fences.get_mut(at).map(|place| place.insert(fence));
                    fence
                }
            };
            Ok(fence < key)
        })
    }
}

/// The first index for which `before` is false, by bisection.
fn partition_point(len: usize, mut before: impl FnMut(usize) -> io::Result<bool>) -> io::Result<usize> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::env::sim::SimEnvironment;
    use crate::env::{OpenMode, write_all_at};

    fn index_of(entries: u32) -> Searched<OffsetEntry> {
        let sim = SimEnvironment::new(1);
        let environment = sim.environment();
        let path: PathBuf = Path::new("/index").into();
        let file = environment.files().open(&path, OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..entries)
            .flat_map(|i| OffsetEntry { delta: i * 10 + 5, position: i * 100 + 1 }.to_bytes())
            .collect();
        write_all_at(&*file, &bytes, 0).unwrap();
        Searched::new(file, entries as usize)
    }

    #[test]
    #[cfg_attr(miri, ignore = "thousands of searches are too many for an interpreter")]
    fn both_neighbours_are_found_whatever_the_number_of_entries() {
        for entries in [0, 1, 2, 63, 64, 65, 128, 129, 1000] {
            let mut index = index_of(entries);
            for key in 0..entries * 10 + 20 {
                let (before, after) = index.around(key).unwrap();
                // Deltas are 5, 15, 25 ...
                let smaller = (key + 4) / 10;
                let smaller = smaller.min(entries);
                assert_eq!(
                    before.map(|e| e.delta),
                    smaller.checked_sub(1).map(|i| i * 10 + 5),
                    "{entries} {key}"
                );
                let next = (smaller < entries).then_some(smaller * 10 + 5);
                assert_eq!(after.map(|e| e.delta), next, "{entries} {key}");
            }
            assert_eq!(index.last().unwrap().map(|e| e.delta), entries.checked_sub(1).map(|i| i * 10 + 5));
        }
    }

    #[test]
    fn memory_is_bounded() {
        let index = Searched::<OffsetEntry>::new(index_of(1).file, 10 << 20);
        assert!(index.fences.len() <= FENCES && index.block * FENCES >= 10 << 20);
    }
}
