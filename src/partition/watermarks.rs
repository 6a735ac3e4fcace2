//! The offsets that say what a partition holds and what of it may be read, moved in one place.
//!
//! ```text
//!   log_start <= last_stable <= high_watermark <= log_end          flushed <= log_end
//! ```
//!
//! `log_end` lives in the active segment's published mark, so that publishing a record is one store; the
//! others live here. `cap` is where readers stop below the published end: the flushed offset at `Sync`
//! and after a failed write, nothing otherwise. `first_unstable` is where the oldest open transaction begins:
//! readers of committed records stop there. Who publishes a transaction's first record has stored it before,
//! and who reads looks at the published end first, so that nobody reads beyond it.

use crate::sync::atomic::{AtomicU64, Ordering};

/// No limit below the published end.
const NO_CAP: u64 = u64::MAX;

/// Stored watermarks of a partition.
#[derive(Debug)]
pub(crate) struct Watermarks {
    log_start: AtomicU64,
    flushed: AtomicU64,
    cap: AtomicU64,
    first_unstable: AtomicU64,
}

impl Watermarks {
    /// Of a log that starts at `log_start` and is durable up to `flushed`.
    pub(crate) fn new(log_start: u64, flushed: u64) -> Watermarks {
        assert!(log_start <= flushed);
        Watermarks {
            log_start: AtomicU64::new(log_start),
            flushed: AtomicU64::new(flushed),
            cap: AtomicU64::new(flushed),
            first_unstable: AtomicU64::new(NO_CAP),
        }
    }

    /// The first offset that may be read.
    pub(crate) fn log_start(&self) -> u64 {
        self.log_start.load(Ordering::Acquire)
    }

    /// Everything below is on the device.
    #[inline]
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Where readers stop, if the log ends at `log_end`: the high watermark.
    #[inline]
    pub(crate) fn high_watermark(&self, log_end: u64) -> u64 {
        self.cap.load(Ordering::Acquire).min(log_end)
    }

    /// Where readers of committed records stop, if the log ends at `log_end`. Never below the log start: records
    /// may be deleted under an open transaction.
    #[inline]
    pub(crate) fn last_stable(&self, log_end: u64) -> u64 {
        let high_watermark = self.high_watermark(log_end);
        let first_unstable = self.first_unstable.load(Ordering::Acquire);
        if first_unstable >= high_watermark {
            return high_watermark;
        }
        first_unstable.max(self.log_start()).min(high_watermark)
    }

    /// Where the oldest open transaction begins.
    pub(crate) fn first_unstable(&self) -> Option<u64> {
        Some(self.first_unstable.load(Ordering::Acquire)).filter(|&first| first != NO_CAP)
    }

    /// A transaction is about to begin at `offset`, unless one is open below.
    pub(crate) fn stop_committed_at(&self, offset: u64) {
        self.first_unstable.fetch_min(offset, Ordering::AcqRel);
    }

    /// Where the oldest open transaction begins now; the caller holds the lock under which that changes.
    pub(crate) fn set_first_unstable(&self, offset: Option<u64>) {
        self.first_unstable.store(offset.unwrap_or(NO_CAP), Ordering::Release);
    }

    /// Raises the log start; never lowers it.
    pub(crate) fn raise_log_start(&self, offset: u64, log_end: u64) {
        assert!(offset <= log_end);
        self.log_start.fetch_max(offset, Ordering::AcqRel);
    }

    /// A completed flush covers everything below `offset`; a capped reader may go as far.
    pub(crate) fn raise_flushed(&self, offset: u64, log_end: u64) {
        assert!(offset <= log_end);
        self.flushed.fetch_max(offset, Ordering::AcqRel);
        let _ = self.cap.fetch_update(Ordering::AcqRel, Ordering::Acquire, |cap| {
            (cap != NO_CAP && cap < offset).then_some(offset)
        });
    }

    /// Readers follow the published end (levels below `Sync`).
    pub(crate) fn uncap(&self) {
        self.cap.store(NO_CAP, Ordering::Release);
    }

    /// Readers stop at what is flushed.
    pub(crate) fn cap_at_flushed(&self) {
        self.cap.store(self.flushed(), Ordering::Release);
    }

    /// A truncation to `offset`: nothing at or above it counts any more.
    pub(crate) fn truncate(&self, offset: u64) {
        self.flushed.fetch_min(offset, Ordering::AcqRel);
        let _ = self.cap.fetch_update(Ordering::AcqRel, Ordering::Acquire, |cap| {
            (cap != NO_CAP && cap > offset).then_some(offset)
        });
        self.log_start.fetch_min(offset, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_follows_the_flush_until_it_is_lifted() {
        let marks = Watermarks::new(0, 10);
        assert_eq!(marks.high_watermark(20), 10);
        marks.raise_flushed(15, 20);
        assert_eq!(marks.high_watermark(20), 15);
        marks.uncap();
        assert_eq!(marks.high_watermark(20), 20);
        marks.raise_flushed(16, 20);
        assert_eq!(marks.high_watermark(20), 20);
        marks.cap_at_flushed();
        assert_eq!(marks.high_watermark(20), 16);
        marks.truncate(12);
        assert_eq!((marks.flushed(), marks.high_watermark(12)), (12, 12));
    }
}
