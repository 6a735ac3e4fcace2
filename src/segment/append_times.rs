//! When a segment's first and last batch were appended: what retention by age counts from.
//!
//! A v2 batch does not hold its append time, so each segment keeps the two in its own small file,
//! written when the segment grows no more. Lost after a crash, they are taken from the log file's time
//! of change: later than the truth, so nothing goes too early.

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
}

impl AppendTimes {
    /// Of a segment without batches.
    pub(crate) fn none() -> AppendTimes {
        AppendTimes { first: AtomicU64::new(UNSET), last: AtomicU64::new(UNSET) }
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

    /// The file's content.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(16);
        payload.extend_from_slice(&self.first.load(Ordering::Relaxed).to_be_bytes());
        payload.extend_from_slice(&self.last.load(Ordering::Relaxed).to_be_bytes());
        sealed_file::seal(KIND, 1, &payload)
    }

    /// Takes the times from the file's content; `false` if it is damaged, then nothing changes.
    pub(crate) fn restore(&self, bytes: &[u8]) -> bool {
        let Ok((_, payload)) = sealed_file::open(KIND, 1, bytes) else { return false };
        let (Some(first), Some(last)) = (word(payload, 0), word(payload, 8)) else { return false };
        self.first.store(first, Ordering::Relaxed);
        self.last.store(last, Ordering::Relaxed);
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
