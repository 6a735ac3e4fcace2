//! What has gone into and out of a partition since it was opened, and how long the device took.
//!
//! ```text
//!   records in   log end - log end at the opening + what truncations have taken back
//!   bytes in     ends of the segments closed since + end of the active one - end at the opening
//!   out          what each reader has been handed: a ReadCount of its own, added up when somebody asks
//! ```
//!
//! Invariants
//! - Nobody who appends counts: what went in is where the log ends. A reader counts once a chunk, in words
//!   that it alone writes.
//! - `carried` moves only under the write lock of the list of segments, with the list.
//! - Counts order nothing: loom need not see them, so they are the standard library's atomics everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::log::Log;
use crate::sync::Mutex;

/// What has passed through a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// How often something was done, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) count: u64,
    pub(crate) total: Duration,
    pub(crate) longest: Duration,
}

/// No reader's position.
const NOWHERE: u64 = u64::MAX;

/// What one reader has been handed. It alone writes here.
#[derive(Debug)]
pub(crate) struct ReadCount {
    records: AtomicU64,
    bytes: AtomicU64,
    position: AtomicU64,
}

impl ReadCount {
    /// A chunk has been handed out, and this offset is the next.
    #[inline]
    pub(super) fn add(&self, records: u64, bytes: u64, position: u64) {
        self.records.store(self.records.load(Relaxed).wrapping_add(records), Relaxed);
        self.bytes.store(self.bytes.load(Relaxed).wrapping_add(bytes), Relaxed);
        self.position.store(position, Relaxed);
    }

    /// The reader goes elsewhere.
    pub(super) fn moved(&self, position: u64) {
        self.position.store(position, Relaxed);
    }

    /// The offset that the reader reads next; `None` before it has gone anywhere.
    pub(crate) fn position(&self) -> Option<u64> {
        Some(self.position.load(Relaxed)).filter(|position| *position != NOWHERE)
    }

    fn passed(&self) -> Passed {
        Passed { records: self.records.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }
}

/// The counts of a partition.
#[derive(Debug)]
pub(super) struct Counts {
    first_offset: u64,
    first_position: u64,
    /// Bytes of the segments that were active since the opening and are not any more.
    carried: AtomicU64,
    taken_back: AtomicU64,
    readers: Mutex<Readers>,
    flushes: Stopwatch,
    waits: Stopwatch,
}

#[derive(Debug, Default)]
struct Readers {
    /// Of readers that have gone.
    gone: Passed,
    live: Vec<Arc<ReadCount>>,
}

#[derive(Debug, Default)]
struct Stopwatch {
    count: AtomicU64,
    nanos: AtomicU64,
    longest: AtomicU64,
}

impl Stopwatch {
    fn note(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
        self.longest.fetch_max(nanos, Relaxed);
    }

    fn took(&self) -> Took {
        let nanos = |of: &AtomicU64| Duration::from_nanos(of.load(Relaxed));
        Took { count: self.count.load(Relaxed), total: nanos(&self.nanos), longest: nanos(&self.longest) }
    }
}

impl Counts {
    /// Of a log that ends here.
    pub(super) fn new(first_offset: u64, first_position: u64) -> Counts {
        Counts {
            first_offset,
            first_position,
            carried: AtomicU64::new(0),
            taken_back: AtomicU64::new(0),
            readers: Mutex::new(Readers::default()),
            flushes: Stopwatch::default(),
            waits: Stopwatch::default(),
        }
    }

    /// The active segment ended at this position and is followed by another one.
    pub(super) fn carry(&self, bytes: u64) {
        self.carried.fetch_add(bytes, Relaxed);
    }

    /// A truncation has taken so many records back; of the bytes, what counts as carried is set again.
    pub(super) fn truncated(&self, records: u64, bytes_in: u64) {
        self.taken_back.fetch_add(records, Relaxed);
        self.carried.store(bytes_in + self.first_position, Relaxed);
    }

    /// A flush has taken so long.
    pub(super) fn flushed(&self, took: Duration) {
        self.flushes.note(took);
    }

    /// A thread has waited so long for the device.
    pub(super) fn waited(&self, took: Duration) {
        self.waits.note(took);
    }
}

impl Log {
    /// A count for one more reader.
    pub(super) fn begin_count(&self) -> Arc<ReadCount> {
        let (records, bytes, position) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(NOWHERE));
        let count = Arc::new(ReadCount { records, bytes, position });
        self.counts.readers.lock().live.push(count.clone());
        count
    }

    /// The reader has gone.
    pub(super) fn end_count(&self, count: &Arc<ReadCount>) {
        let mut readers = self.counts.readers.lock();
        if let Some(at) = readers.live.iter().position(|live| Arc::ptr_eq(live, count)) {
            readers.live.swap_remove(at);
            let passed = count.passed();
            readers.gone.records = readers.gone.records.wrapping_add(passed.records);
            readers.gone.bytes = readers.gone.bytes.wrapping_add(passed.bytes);
        }
    }

    /// What has been appended since the opening. Staged records count when they are written.
    pub(crate) fn passed_in(&self) -> Passed {
        let segments = self.segments.read();
        let Some(active) = segments.last() else { return Passed::default() };
        let published = active.published();
        let end = active.base() + u64::from(published.delta);
        let counts = &self.counts;
        let bytes = counts.carried.load(Relaxed) + u64::from(published.position);
        Passed {
            records: (end + counts.taken_back.load(Relaxed)).saturating_sub(counts.first_offset),
            bytes: bytes.saturating_sub(counts.first_position),
        }
    }

    /// What readers have been handed since the opening.
    pub(crate) fn passed_out(&self) -> Passed {
        let readers = self.counts.readers.lock();
        readers.live.iter().map(|count| count.passed()).fold(readers.gone, |sum, one| Passed {
            records: sum.records.wrapping_add(one.records),
            bytes: sum.bytes.wrapping_add(one.bytes),
        })
    }

    /// How many readers there are.
    pub(crate) fn reader_count(&self) -> usize {
        self.counts.readers.lock().live.len()
    }

    /// The flushes since the opening.
    pub(crate) fn flushes(&self) -> Took {
        self.counts.flushes.took()
    }

    /// How long threads have waited for the device since the opening.
    pub(crate) fn durable_waits(&self) -> Took {
        self.counts.waits.took()
    }
}
