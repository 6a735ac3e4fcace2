//! The producer state on disk: a cache of what the log tells, so that opening need not read it from its start.
//!
//! ```text
//!   <offset>.snapshot   Kafka's: the producers as of that offset; kept are the newest two, which are from
//!                       checkpoints, and the newest two at the base of a segment, which are from rolls
//!   millpond.aborted    our own: the aborted transactions up to an offset, and when each producer was last heard of,
//!                       which Kafka's format does not tell; under a checksum
//!   <base>.txnindex     Kafka's: those of one segment, for tools; never read here
//! ```
//!
//! Invariants
//! - The first snapshot is on the device before the first batch of a producer is appended: where there is none,
//!   there are no producers.
//! - A snapshot's offset is on the device when the snapshot is written; what lies behind it is replayed.
//! - The aborted transactions reach at least as far as any snapshot that is believed.

use crate::env::{OpenMode, Previous, make_file, read_whole, replace_file, sync_data, write_all_at};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::index::TxnEntry;
use crate::format::sealed_file::{self, Reader, Writer};
use crate::format::snapshot;
use crate::segment::{FileKind, SegmentFiles};

use super::aborted::AbortedIndex;
use super::table::ProducerTable;

/// Our own file of aborted transactions.
const ABORTED_FILE: &str = "millpond.aborted";
const ABORTED_KIND: u16 = 0x4142;
/// Version 1 has no times.
const ABORTED_VERSION: u16 = 2;
/// Snapshots that are kept.
const KEPT: usize = 2;
/// A million producers take 46 MB.
const MAX_LEN: u64 = 1 << 30;

/// The state as of an offset, ready to be written.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) offset: u64,
    pub(crate) snapshot: Vec<u8>,
    pub(crate) aborted: Vec<TxnEntry>,
    /// When each producer was last heard of, milliseconds.
    pub(crate) seen: Vec<(i64, i64)>,
}

/// What `millpond.aborted` holds.
#[derive(Debug)]
struct OwnFile {
    covers: u64,
    aborted: Vec<TxnEntry>,
    seen: Vec<(i64, i64)>,
}

/// What is on disk, and what is about to be.
#[derive(Debug, Default)]
pub(crate) struct ProducerFiles {
    /// Offsets of the snapshots there are, ascending; none where there are no producers.
    kept: Vec<u64>,
    /// Taken ahead of the flush: written once the log is durable as far.
    pub(crate) candidate: Option<Candidate>,
    /// Entries whose markers lie below have been written to transaction indexes.
    indexed: u64,
    /// Base of the newest segment whose roll has, or needs, no snapshot any more.
    pub(crate) rolled: u64,
}

impl ProducerFiles {
    /// Whether there are any.
    pub(crate) fn exist(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Takes note of the snapshots found; those above `end` are removed, durably: their offsets come again.
    pub(crate) fn found(&mut self, home: &SegmentFiles, mut offsets: Vec<u64>, end: u64) -> Result<()> {
        offsets.sort_unstable();
        let had_any = !offsets.is_empty();
        let above: Vec<u64> = offsets.iter().copied().filter(|&offset| offset > end).collect();
        offsets.retain(|&offset| offset <= end);
        if offsets.is_empty() && had_any {
            // That there were producers must not be forgotten.
            store_snapshot(home, 0, &snapshot::encode(&[]))?;
            offsets.push(0);
        }
        if !above.is_empty() {
            let paths: Vec<_> = above.iter().map(|&at| home.path(FileKind::Snapshot, at)).collect();
            home.unlink(&paths)?;
            home.sync_dir()?;
        }
        *self = ProducerFiles { kept: offsets, ..ProducerFiles::default() };
        Ok(())
    }

    /// The newest state on disk that can be believed, and the offset from which on the log must be replayed.
    pub(crate) fn load(
        &mut self,
        home: &SegmentFiles,
        now: i64,
    ) -> Option<(u64, ProducerTable, AbortedIndex)> {
        let own = load_own(home)?;
        for &offset in self.kept.iter().rev().filter(|&&offset| offset <= own.covers) {
            let Some(mut table) = load_snapshot(home, offset, now) else { continue };
            table.heard_at(&own.seen);
            let mut index = AbortedIndex::of(own.aborted);
            index.truncate(offset);
            self.indexed = offset;
            return Some((offset, table, index));
        }
        None
    }

    /// The newest state of a snapshot at or below `base`, and its offset; none where there is one at or above it.
    pub(crate) fn before_roll(
        &self,
        home: &SegmentFiles,
        base: u64,
        now: i64,
    ) -> Option<(u64, ProducerTable)> {
        if self.kept.last().is_none_or(|&newest| newest >= base) {
            return None;
        }
        self.kept.iter().rev().find_map(|&offset| Some((offset, load_snapshot(home, offset, now)?)))
    }

    /// Writes the state as of an offset, durably; not where there is a later one: of a roll, while a candidate waited
    /// for its flush.
    pub(crate) fn store(&mut self, home: &SegmentFiles, bases: &[u64], state: &Candidate) -> Result<()> {
        if self.kept.last().is_some_and(|&newest| newest > state.offset) {
            return Ok(());
        }
        self.store_txn_indexes(home, bases, &state.aborted)?;
        let path = home.dir.join(ABORTED_FILE);
        make_file(&*home.files, &path, &encode_own(state))
            .map_err(|e| Error::io("write the aborted transactions", &path, e))?;
        store_snapshot(home, state.offset, &state.snapshot)?;
        self.indexed = self.indexed.max(state.offset);
        self.kept.retain(|&offset| offset < state.offset);
        self.kept.push(state.offset);
        let gone: Vec<_> =
            self.forget_old(bases).into_iter().map(|at| home.path(FileKind::Snapshot, at)).collect();
        home.unlink(&gone)
    }

    /// Takes out the snapshots that are not kept.
    fn forget_old(&mut self, bases: &[u64]) -> Vec<u64> {
        let newest = self.kept.len().saturating_sub(KEPT);
        let (mut keep, mut of_rolls) = (self.kept.split_off(newest), 0);
        let mut gone = Vec::new();
        for offset in self.kept.drain(..).rev() {
            if of_rolls < KEPT && bases.binary_search(&offset).is_ok() {
                of_rolls += 1;
                keep.insert(0, offset);
            } else {
                gone.push(offset);
            }
        }
        self.kept = keep;
        gone
    }

    /// Writes the transaction indexes of the segments in which markers have come.
    fn store_txn_indexes(&self, home: &SegmentFiles, bases: &[u64], aborted: &[TxnEntry]) -> Result<()> {
        let segment_of = |entry: &TxnEntry| {
            let after = bases.partition_point(|&base| base <= entry.last_offset as u64);
            after.checked_sub(1).map(|at| bases[at])
        };
        for of_segment in aborted.chunk_by(|a, b| segment_of(a) == segment_of(b)) {
            let (Some(first), Some(last)) = (of_segment.first(), of_segment.last()) else { continue };
            let Some(base) = segment_of(first).filter(|_| last.last_offset as u64 >= self.indexed) else {
                continue;
            };
            let bytes: Vec<u8> = of_segment.iter().flat_map(|entry| entry.to_bytes()).collect();
            let path = home.path(FileKind::TxnIndex, base);
            let file = home.open(FileKind::TxnIndex, base, OpenMode::CreateIfMissing)?;
            file.set_size(0)
                .and_then(|()| write_all_at(&*file, &bytes, 0))
                .and_then(|()| sync_data(&*file))
                .map_err(|e| Error::io("write a transaction index", &path, e))?;
        }
        Ok(())
    }
}

fn store_snapshot(home: &SegmentFiles, offset: u64, bytes: &[u8]) -> Result<()> {
    let path = home.path(FileKind::Snapshot, offset);
    replace_file(&*home.files, &path, bytes, Previous::Drop)
        .map_err(|e| Error::io("write a snapshot of producers", &path, e))
}

fn load_snapshot(home: &SegmentFiles, offset: u64, now: i64) -> Option<ProducerTable> {
    let file = home.open(FileKind::Snapshot, offset, OpenMode::Read).ok()?;
    let bytes = read_whole(&*file, MAX_LEN).ok()?;
    ProducerTable::of_entries(&snapshot::parse(&bytes).ok()?, now)
}

fn load_own(home: &SegmentFiles) -> Option<OwnFile> {
    let file = home.files.open(&home.dir.join(ABORTED_FILE), OpenMode::Read).ok()?;
    let bytes = read_whole(&*file, MAX_LEN).ok()?;
    decode_own(&bytes).ok()
}

fn encode_own(state: &Candidate) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put_u64(state.offset).put_count(state.aborted.len());
    for entry in &state.aborted {
        writer.put_i64(entry.producer_id).put_i64(entry.first_offset);
        writer.put_i64(entry.last_offset).put_i64(entry.last_stable_offset);
    }
    writer.put_count(state.seen.len());
    for (producer_id, seen_at) in &state.seen {
        writer.put_i64(*producer_id).put_i64(*seen_at);
    }
    writer.seal(ABORTED_KIND, ABORTED_VERSION)
}

fn decode_own(bytes: &[u8]) -> std::result::Result<OwnFile, FormatError> {
    let (version, payload) = sealed_file::open(ABORTED_KIND, ABORTED_VERSION, bytes)?;
    let mut reader = Reader::new(payload);
    let covers = reader.get_u64()?;
    let count = reader.get_count(32)?;
    let mut aborted = Vec::with_capacity(count);
    for _ in 0..count {
        let mut word = || reader.get_i64();
        aborted.push(TxnEntry {
            producer_id: word()?,
            first_offset: word()?,
            last_offset: word()?,
            last_stable_offset: word()?,
        });
    }
    let mut seen = Vec::new();
    if version >= 2 {
        let count = reader.get_count(16)?;
        seen.reserve_exact(count);
        for _ in 0..count {
            seen.push((reader.get_i64()?, reader.get_i64()?));
        }
    }
    reader.finish()?;
    Ok(OwnFile { covers, aborted, seen })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_without_times_is_read() {
        let entry = TxnEntry { producer_id: 7, first_offset: 3, last_offset: 9, last_stable_offset: 5 };
        let state =
            Candidate { offset: 12, snapshot: Vec::new(), aborted: vec![entry], seen: vec![(7, 1_000)] };
        let own = decode_own(&encode_own(&state)).unwrap();
        assert_eq!((own.covers, own.aborted, own.seen), (12, vec![entry], vec![(7, 1_000)]));
        let mut first = Writer::new();
        first.put_u64(12).put_count(1).put_i64(7).put_i64(3).put_i64(9).put_i64(5);
        let own = decode_own(&first.seal(ABORTED_KIND, 1)).unwrap();
        assert_eq!((own.covers, own.aborted, own.seen), (12, vec![entry], Vec::new()));
    }
}
