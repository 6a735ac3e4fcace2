//! Recovery points: up to where a partition needs no recovery.
//!
//! Invariants
//! - A point rises only over what is synced: all older segments in order, their side files, the indexes
//!   of the active one up to the lengths it names, and the folder.
//! - It is lowered durably before any truncation (the broker does it, asked through the manifest).

use super::flush::FlushPoint;
use super::log::Log;
use crate::config::Durability;
use crate::error::Result;
use crate::format::FormatError;
use crate::format::sealed_file::{Reader, Writer};
use crate::segment::IndexLengths;

/// Everything of a partition below this point is on the device, indexed, and known to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecoveryPoint {
    /// The offset.
    pub(crate) offset: u64,
    /// Base offset of the segment it lies in.
    pub(crate) segment: u64,
    /// Position in that segment.
    pub(crate) position: u64,
    /// Synced lengths of that segment's indexes, in bytes.
    pub(crate) indexes: IndexLengths,
    /// How many truncations the partition had seen: a point from before one is not believed above it.
    pub(crate) generation: u32,
}

impl RecoveryPoint {
    /// Appends the point to a file's content.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        for word in [self.offset, self.segment, self.position, self.indexes.offsets, self.indexes.times] {
            writer.put_u64(word);
        }
        writer.put_u32(self.generation);
    }

    /// Reads what [`encode`](Self::encode) wrote.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> std::result::Result<RecoveryPoint, FormatError> {
        let mut word = || reader.get_u64();
        let (offset, segment, position) = (word()?, word()?, word()?);
        let indexes = IndexLengths { offsets: word()?, times: word()? };
        Ok(RecoveryPoint { offset, segment, position, indexes, generation: reader.get_u32()? })
    }
}

/// What has been made durable beside the logs themselves.
#[derive(Debug)]
pub(crate) struct Checkpointed {
    /// The last recovery point given out.
    point: Option<RecoveryPoint>,
    /// Side files of closed segments below this one are on the device.
    side_files: u64,
    /// The log is as it was when it was closed at this point: unused room cut, side files complete and
    /// durable.
    closed: Option<RecoveryPoint>,
}

impl Checkpointed {
    /// Of a log that has been recovered up to `end`: no point says so yet.
    pub(super) fn nowhere(end: &RecoveryPoint) -> Checkpointed {
        Checkpointed { point: None, side_files: end.segment, closed: None }
    }

    /// Of a log that had been closed at `end`, which is written down.
    pub(super) fn closed(end: &RecoveryPoint) -> Checkpointed {
        Checkpointed { point: Some(*end), side_files: end.segment, closed: Some(*end) }
    }

    /// A truncation has made the segment `base`; points from before do not hold.
    pub(super) fn truncated(&mut self, base: u64) {
        *self = Checkpointed { point: None, side_files: self.side_files.min(base), closed: None };
    }

    /// The log is about to grow: it is no more as it was when it was closed.
    pub(super) fn grows(&mut self) {
        self.closed = None;
    }
}

impl Log {
    /// Makes side files durable up to the last flush, and answers the recovery point that follows;
    /// `None` if nothing has been flushed since the last one.
    pub(crate) fn checkpoint(&self) -> Result<Option<RecoveryPoint>> {
        self.poison.check(&self.tp)?;
        let flush = self.commit.last_for_point();
        let mut done = self.checkpointed.lock();
        if self.is_closed() {
            return Ok(None);
        }
        let reached = (flush.offset, flush.segment.base());
        if done.point.as_ref().is_some_and(|point| (point.offset, point.segment) >= reached) {
            return Ok(None);
        }
        self.checkpoint_producers(flush.offset, flush.segment.base()).map_err(|e| self.fail(e))?;
        let point = self.sync_side_files(done.side_files, &flush).map_err(|e| self.fail(e))?;
        // A failure that another thread met meanwhile may concern what was synced here.
        self.poison.check(&self.tp)?;
        (done.point, done.side_files) = (Some(point), point.segment);
        Ok(Some(point))
    }

    /// Brings the producer state to disk without waiting for a flush that would raise the recovery point.
    pub(super) fn store_producers(&self) -> Result<()> {
        // Who closes the log waits for this, and nothing is stored behind it.
        let _done = self.checkpointed.lock();
        self.check_open()?;
        let active = self.active_segment().map_or(0, |active| active.base());
        self.checkpoint_producers(self.flushed(), active).map_err(|e| self.fail(e))
    }

    fn sync_side_files(&self, since: u64, flush: &FlushPoint) -> Result<RecoveryPoint> {
        let closed: Vec<_> = {
            let segments = self.segments.read();
            segments
                .iter()
                .filter(|s| s.base() >= since && s.base() < flush.segment.base())
                .cloned()
                .collect()
        };
        for segment in closed {
            // Its flush may have come before the end of a roll that met a full disk.
            segment.finish_close()?;
            segment.sync_side_files()?;
        }
        let (indexes, written) = flush.segment.write_index()?;
        if written {
            flush.segment.sync_index()?;
        }
        self.home.sync_changes()?;
        Ok(RecoveryPoint {
            offset: flush.offset,
            segment: flush.segment.base(),
            position: flush.position,
            indexes,
            generation: self.manifest.lock().generation,
        })
    }

    /// Closes the partition: seals, flushes, cuts unused room, makes everything durable.
    pub(crate) fn close(&self) -> Result<RecoveryPoint> {
        self.append.lock().close();
        let closed = self.close_durably();
        self.end();
        closed.map_err(|e| self.fail(e))
    }

    fn close_durably(&self) -> Result<RecoveryPoint> {
        self.flush()?;
        // Also where nothing was left to flush: after a failed sync nobody says that all is well.
        self.poison.check(&self.tp)?;
        let mut done = self.checkpointed.lock();
        if let Some(point) = done.closed {
            return Ok(point);
        }
        let point = self.written_point()?;
        point.segment.close()?;
        point.segment.sync(point.position, self.way())?;
        point.segment.sync_side_files()?;
        self.close_producers(point.offset)?;
        let recovery = self.sync_side_files(done.side_files, &point)?;
        self.poison.check(&self.tp)?;
        done.point = Some(recovery);
        Ok(recovery)
    }

    /// Does what is due at `now` (monotonic clock): linger, flush interval, age of the segment. Answers when
    /// something will be due next, if anything is.
    pub(crate) fn tick(&self, now: std::time::Duration) -> Result<Option<std::time::Duration>> {
        if self.is_poisoned() || self.append.lock().closed_error(&self.tp).is_some() {
            return Ok(None);
        }
        let settings = self.settings();
        let (staged, oldest, wall) = {
            let mut appender = self.append.lock();
            let staged = appender.staging_mut().and_then(|s| s.waiting_since());
            // Looked at under the lock: what was appended is not later, unless the clock has been set back.
            (staged, appender.oldest_unflushed(), self.environment.clock().now().millis())
        };
        // What is left of `limit`; nothing where the clock has been set back: nobody knows how long it has been.
        let left_of = |limit: std::time::Duration, since: i64| {
            let age = u64::try_from(wall.saturating_sub(since)).ok()?;
            limit.checked_sub(std::time::Duration::from_millis(age)).filter(|left| !left.is_zero())
        };
        // At Sync also what has been written waits, for the device.
        let waiting = if settings.durability == Durability::Sync { oldest } else { staged };
        let mut next = None;
        let mut later = |wait: std::time::Duration| {
            let at = now.saturating_add(wait);
            next = Some(next.map_or(at, |n: std::time::Duration| n.min(at)));
        };
        if let Some(waiting) = waiting {
            match left_of(settings.linger, waiting) {
                Some(left) => later(left),
                None if settings.durability == Durability::Sync => self.flush()?,
                None => self.seal_and_write()?,
            }
        }
        if let (Some(oldest), Some(after)) = (oldest, settings.flush_after()) {
            match left_of(after, oldest) {
                Some(left) => later(left),
                None => self.flush()?,
            }
        }
        if let Some(left) = self.roll_if_aged().map_err(|e| self.fail(e))? {
            later(left);
        }
        if let Some(left) = self.rest_if_idle().map_err(|e| self.fail(e))? {
            later(left);
        }
        Ok(next)
    }
}
