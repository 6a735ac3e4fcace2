//! When a segment's first and last batch were appended: what retention by age counts from.
//!
//! A v2 batch does not hold its append time, so each segment keeps the two in its own small file,
//! written when the segment grows no more, or rests. Lost after a crash, or from before the segment has grown again
//! (the length tells), the last one is taken from the log file's time of change: later than the truth, so nothing goes
//! too early.

use super::index::IndexLengths;
use crate::format::sealed_file;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::types::Timestamp;

/// Kind number of the file.
const KIND: u16 = 0x4154;
const UNSET: u64 = u64::MAX;

/// First and last append time of a segment.
#[derive(Debug)]
pub(crate) struct AppendTimes {
    first: AtomicU64,
    last: AtomicU64,
    /// Bytes of the segment's `.index` and `.timeindex`, once it is closed.
    offset_index: AtomicU64,
    time_index: AtomicU64,
    /// Bytes of the log that they are of, where the file says so.
    log: AtomicU64,
}

impl AppendTimes {
    /// Of a segment without batches.
    pub(crate) fn none() -> AppendTimes {
        let unset = || AtomicU64::new(UNSET);
        AppendTimes {
            first: unset(),
            last: unset(),
            offset_index: unset(),
            time_index: unset(),
            log: unset(),
        }
    }

    /// Of a segment whose batches were appended between these times, in milliseconds since the epoch.
    pub(crate) fn between(first: i64, last: i64, lengths: IndexLengths, log: u64) -> AppendTimes {
        let times = AppendTimes::none();
        times.log.store(log, Ordering::Relaxed);
        times.first.store(first as u64, Ordering::Relaxed);
        times.last.store(last as u64, Ordering::Relaxed);
        times.set_index_lengths(lengths);
        times
    }

    /// A batch is appended at `now`.
    pub(crate) fn appended(&self, now: Timestamp) {
        let now = now.millis() as u64;
        if self.first.load(Ordering::Relaxed) == UNSET {
            self.first.store(now, Ordering::Relaxed);
        }
        self.last.store(now, Ordering::Relaxed);
    }

    /// When the first batch was appended, if there is one.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        stamp(self.first.load(Ordering::Relaxed))
    }

    /// When the last batch was appended, if there is one.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        stamp(self.last.load(Ordering::Relaxed))
    }

    /// How long the index files of the closed segment are.
    pub(crate) fn index_lengths(&self) -> IndexLengths {
        IndexLengths {
            offsets: self.offset_index.load(Ordering::Relaxed),
            times: self.time_index.load(Ordering::Relaxed),
        }
    }

    /// The index files are as long as this now, and grow no more.
    pub(crate) fn set_index_lengths(&self, lengths: IndexLengths) {
        self.offset_index.store(lengths.offsets, Ordering::Relaxed);
        self.time_index.store(lengths.times, Ordering::Relaxed);
    }

    /// They are of a log of this many bytes.
    pub(crate) fn set_log(&self, bytes: u64) {
        self.log.store(bytes, Ordering::Relaxed);
    }

    /// Whether they are of all of a log with this many bytes.
    pub(crate) fn are_of(&self, bytes: u64) -> bool {
        [bytes, UNSET].contains(&self.log.load(Ordering::Relaxed))
    }

    /// The file's content.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(40);
        payload.extend_from_slice(&self.first.load(Ordering::Relaxed).to_be_bytes());
        payload.extend_from_slice(&self.last.load(Ordering::Relaxed).to_be_bytes());
        payload.extend_from_slice(&self.offset_index.load(Ordering::Relaxed).to_be_bytes());
        payload.extend_from_slice(&self.time_index.load(Ordering::Relaxed).to_be_bytes());
        payload.extend_from_slice(&self.log.load(Ordering::Relaxed).to_be_bytes());
        sealed_file::seal(KIND, 1, &payload)
    }

    /// Takes everything from the file's content; `false` if it is damaged, then nothing changes.
    pub(crate) fn restore(&self, bytes: &[u8]) -> bool {
        let Ok((_, payload)) = sealed_file::open(KIND, 1, bytes) else { return false };
        let (Some(first), Some(last)) = (word(payload, 0), word(payload, 8)) else { return false };
        let (Some(offsets), Some(times)) = (word(payload, 16), word(payload, 24)) else { return false };
        self.first.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
        self.set_index_lengths(IndexLengths { offsets, times });
        self.log.store(word(payload, 32).unwrap_or(UNSET), Ordering::Relaxed);
        true
    }
}

fn stamp(word: u64) -> Option<Timestamp> {
    (word != UNSET).then_some(Timestamp::from_millis(word as i64))
}

fn word(payload: &[u8], at: usize) -> Option<u64> {
    let bytes = payload.get(at..at + 8)?;
    bytes.try_into().ok().map(u64::from_be_bytes)
}
