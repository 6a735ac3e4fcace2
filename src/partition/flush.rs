//! Group commit: one flush serves all who were appended before it began.
//!
//! ```text
//!   A: seal, write, fdatasync ................ done     leads
//!   B:      append, wait ..................... leads the next one, for B and C
//!   C:          append, wait ................. woken by B's
//! ```
//!
//! Whoever leads gives the others of the last flush, who have only just been woken, a moment to append
//! again: else every other flush would serve the fastest of them alone.
//!
//! Invariants
//! - At most one flush of a partition runs; no lock that an append needs is held across it.
//! - `flushed` rises in log order: a segment counts only after all older ones and the folder are synced,
//!   whatever order the device answered in.
//! - A failed sync poisons the partition and is never repeated.

use std::sync::Arc;
use std::time::Duration;

use super::leadership::{Deadline, Leadership};
use super::log::Log;
use super::waiting::Patience;
use crate::config::Durability;
use crate::error::{Error, ErrorKind, Result};
use crate::segment::{Segment, Way};
use crate::sync::Mutex;
use crate::telemetry;

/// Who leads the flush, and what the last one covered.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    pub(super) leadership: Leadership,
    covered: Mutex<Covered>,
}

/// What flushes have brought to the device.
#[derive(Debug)]
struct Covered {
    /// Where the last completed one ended.
    last: FlushPoint,
    /// Bytes of the log since a recovery point was asked for.
    above_point: u64,
}

/// Where the log ended when everything appended had been sealed and written.
#[derive(Clone, Debug)]
pub(crate) struct FlushPoint {
    /// The segment that was active.
    pub(crate) segment: Arc<Segment>,
    /// The end of its sealed batches.
    pub(crate) position: u64,
    /// The offset there.
    pub(crate) offset: u64,
}

impl GroupCommit {
    /// Everything up to `last` is on the device.
    pub(super) fn new(last: FlushPoint) -> GroupCommit {
        GroupCommit { leadership: Leadership::new(), covered: Mutex::new(Covered { last, above_point: 0 }) }
    }

    /// Where the last completed flush ended.
    pub(super) fn last(&self) -> FlushPoint {
        self.covered.lock().last.clone()
    }

    /// Where the last completed flush ended; the next recovery point lies there.
    pub(super) fn last_for_point(&self) -> FlushPoint {
        let mut covered = self.covered.lock();
        covered.above_point = 0;
        covered.last.clone()
    }

    /// From now on, everything up to `point` is on the device.
    pub(super) fn set_last(&self, point: FlushPoint) {
        self.covered.lock().last = point;
    }

    /// A flush has brought `bytes` more to the device, up to `point`; answers how many lie above the recovery
    /// point.
    fn advance(&self, point: FlushPoint, bytes: u64) -> u64 {
        let mut covered = self.covered.lock();
        covered.last = point;
        covered.above_point += bytes;
        covered.above_point
    }
}

impl Log {
    /// Makes everything appended before the call durable.
    pub(crate) fn flush(&self) -> Result<()> {
        // Also with nothing left to flush: what a half-done truncation took is not there any more.
        self.poison.check(&self.tp)?;
        let end = self.append.lock().next_offset();
        self.flush_to(end, None)
    }

    /// As [`flush`](Self::flush), waiting for others who flush until this point of the monotonic clock, or until
    /// `patience` has ended. (Who flushes by itself is told that when it is done.)
    pub(super) fn flush_before(&self, deadline: Duration, patience: Patience<'_>) -> Result<()> {
        self.poison.check(&self.tp)?;
        let end = self.append.lock().next_offset();
        // Whoever closes the producer wakes the followers: for one that has ended the time is up.
        let now = || if patience.has_ended() { Duration::MAX } else { self.monotonic() };
        let done = || patience.check().and_then(|()| self.is_flushed_to(end));
        self.follow_or_lead(done, end, Some((deadline, &now)))
    }

    /// Makes everything below `end`, an offset that has been appended, durable.
    pub(crate) fn flush_until(&self, end: u64) -> Result<()> {
        self.poison.check(&self.tp)?;
        self.flush_to(end, None)
    }

    /// As [`flush_until`](Self::flush_until), unless somebody else is at it: whether it is done.
    pub(crate) fn flush_if_free(&self, end: u64) -> Result<bool> {
        self.poison.check(&self.tp)?;
        self.commit.leadership.lead_if_free(|| self.is_flushed_to(end), || self.lead_to(end))
    }

    /// Blocks until everything below `end` is acknowledged at the topic's level; this thread may do the
    /// work that is missing.
    pub(crate) fn wait_acked(&self, end: u64) -> Result<()> {
        self.reach_acked(end, None)
    }

    /// As [`wait_acked`](Self::wait_acked), for at most `timeout`.
    pub(crate) fn wait_acked_for(&self, end: u64, timeout: Duration) -> Result<()> {
        self.reach_acked(end, Some(self.monotonic().saturating_add(timeout)))
    }

    /// As [`flush`](Self::flush), so that the next recovery point lies in the active segment, however little is in it.
    pub(super) fn flush_past_roll(&self) -> Result<()> {
        let done = || {
            self.poison.check(&self.tp)?;
            let active = self.active_segment().map_or(0, |active| active.base());
            Ok(self.commit.last().segment.base() >= active)
        };
        let lead = || self.lead().map_err(|e| self.fail(e));
        self.commit.leadership.until(done, lead, None).map(|_| ())
    }

    fn reach_acked(&self, end: u64, deadline: Option<Duration>) -> Result<()> {
        if let Some(done) = self.acked(end) {
            return done;
        }
        if self.settings().durability != Durability::Sync {
            self.seal_and_write()?;
            return self.acked(end).unwrap_or(Ok(()));
        }
        let began = self.monotonic();
        let reached = self.flush_to(end, deadline);
        self.counts.waited(self.monotonic().saturating_sub(began));
        reached
    }

    /// Leads or follows flushes until everything below `end` is on the device.
    fn flush_to(&self, end: u64, deadline: Option<Duration>) -> Result<()> {
        let now = || self.monotonic();
        let deadline = deadline.map(|until| (until, &now as &dyn Fn() -> Duration));
        self.follow_or_lead(|| self.is_flushed_to(end), end, deadline)
    }

    fn follow_or_lead(
        &self,
        done: impl Fn() -> Result<bool>,
        end: u64,
        deadline: Deadline<'_>,
    ) -> Result<()> {
        if self.commit.leadership.until(done, || self.lead_to(end), deadline)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::TimedOut, "not yet on the device").in_partition(&self.tp))
    }

    fn is_flushed_to(&self, end: u64) -> Result<bool> {
        // What is flushed is visible a moment later: nobody is told before it is both.
        if self.marks.flushed() >= end && self.acked_end() >= end {
            return Ok(true);
        }
        self.poison.check(&self.tp).map(|()| false)
    }

    fn lead_to(&self, end: u64) -> Result<()> {
        self.lead().map_err(|e| self.fail(e)).inspect_err(|e| telemetry::flush_failed(&self.tp, e))?;
        self.check_reached(end)
    }

    /// A flush covers all that was appended before it: what it did not reach is gone, by a truncation or with
    /// a partition that was abandoned meanwhile.
    fn check_reached(&self, end: u64) -> Result<()> {
        if self.marks.flushed() >= end {
            return Ok(());
        }
        let (closed, next) = {
            let appender = self.append.lock();
            (appender.closed_error(&self.tp), appender.next_offset())
        };
        match closed {
            Some(error) => Err(error),
            None if next < end => Err(self.out_of_range(end - 1)),
            None => Ok(()),
        }
    }

    /// One flush: seal, write, sync in log order, and tell everybody.
    fn lead(&self) -> Result<()> {
        self.commit.leadership.gather();
        let oldest = {
            let mut appender = self.append.lock();
            let oldest = appender.oldest_unflushed();
            appender.flush_begins();
            oldest
        };
        let began = self.monotonic();
        let flushed = self.flush_once();
        if flushed.is_err() {
            self.append.lock().flush_postponed(oldest);
        } else {
            self.counts.flushed(self.monotonic().saturating_sub(began));
        }
        flushed
    }

    fn flush_once(&self) -> Result<()> {
        let point = self.written_point()?;
        let bytes = self.sync_older(&point)?;
        self.home.sync_changes()?;
        point.segment.sync(point.position, self.way())?;
        let above_point = self.commit.advance(point.clone(), bytes);
        self.attendant.flushed(above_point);
        self.marks.raise_flushed(point.offset, self.log_end().max(point.offset));
        // Before anybody is woken who has waited for room in the interval.
        self.append.lock().flush_ends(point.offset);
        self.acks.notify_after_publish();
        self.readers.notify_after_publish();
        Ok(())
    }

    /// How records come into the segments.
    pub(super) fn way(&self) -> Way {
        if self.settings().builds_in_place() { Way::Stored } else { Way::Written }
    }

    /// Seals and writes everything appended, and says where the log ends then.
    pub(super) fn written_point(&self) -> Result<FlushPoint> {
        let now = self.environment.clock().now().millis();
        self.append.lock().seal(now);
        let mut writer = self.writer.lock();
        self.write_queue(&mut writer)?;
        let point = |tail: &crate::segment::Tail| FlushPoint {
            segment: tail.segment().clone(),
            position: tail.end(),
            offset: tail.next_offset(),
        };
        if let Some(tail) = &writer.tail {
            return Ok(point(tail));
        }
        if let Some(end) = &writer.resting {
            let (position, offset) = (end.end(), end.next_offset());
            return Ok(FlushPoint { segment: end.segment().clone(), position, offset });
        }
        let mut appender = self.append.lock();
        let Some(tail) = appender.tail_mut() else { return Err(Error::closed("the partition")) };
        tail.seal();
        Ok(point(tail))
    }

    /// Syncs the segments before the active one that are not synced to their end, oldest first; answers how many
    /// bytes there are from the last flush to `point`.
    fn sync_older(&self, point: &FlushPoint) -> Result<u64> {
        let last = self.commit.last();
        let from = last.segment.base();
        let older: Vec<_> = {
            let segments = self.segments.read();
            let wanted = |s: &&Arc<Segment>| s.base() >= from && s.base() < point.segment.base();
            segments.iter().filter(wanted).cloned().collect()
        };
        let mut bytes = point.position;
        for segment in older {
            segment.finish_close()?;
            let end = segment.sealed_end()?;
            segment.sync(end, self.way())?;
            bytes += end;
        }
        Ok(bytes.saturating_sub(last.position))
    }
}
