//! A log whose bytes stay in its budget: the partition of a volatile topic.
//!
//! ```text
//!   used = staged | batches in segments          limit
//!          |--------------------------------------|
//!   full:  what is staged is written (and counted as it is) -> oldest segments go, up to the floor -> senders wait
//!   floor: DropOldest   everything written
//!          SendersWait  what is released: committed by every group
//! ```
//!
//! Invariants
//! - What a segment holds is given back once, when the segment goes.
//! - One thread lets segments go for want of room at a time; the others find the room that it made.

use super::log::Log;
use crate::error::Result;
use crate::telemetry;

impl Log {
    /// Whether its bytes stay in memory, within its budget.
    pub(crate) fn is_bounded(&self) -> bool {
        self.budget.keeps().is_some()
    }

    /// Everything below `floor` may go when room is needed; it may have been more before.
    pub(crate) fn release(&self, floor: u64) {
        if let Some(keeps) = self.budget.keeps() {
            keeps.release(floor);
            self.budget.waiters().notify_after_publish();
        }
    }

    /// Whether `bytes` more have room, or would have it if old segments were let go.
    pub(crate) fn may_have_room(&self, bytes: u64) -> bool {
        self.budget.has_room(bytes) || self.next_to_go().is_some()
    }

    /// Makes room for `bytes` more, as far as the topic lets go of records; answers whether there is.
    pub(super) fn let_go_for(&self, bytes: u64) -> Result<bool> {
        let Some(keeps) = self.budget.keeps() else { return Ok(false) };
        let _alone = keeps.alone.lock();
        if self.budget.has_room(bytes) {
            return Ok(true);
        }
        // What is staged is counted at its greatest.
        self.seal_and_write()?;
        while !self.budget.has_room(bytes) {
            let Some(next) = self.next_to_go() else { return Ok(false) };
            let log_start = self.delete_records(next)?;
            telemetry::retained(&self.tp, 1, log_start);
        }
        Ok(true)
    }

    /// Where the oldest segment ends, if it may go.
    fn next_to_go(&self) -> Option<u64> {
        let keeps = self.budget.keeps()?;
        let next = self.segments.read().get(1).map(|segment| segment.base())?;
        (next <= keeps.floor()).then_some(next)
    }

    /// A batch for which `taken` bytes were taken has been written, and is `len` bytes long.
    pub(super) fn batch_written(&self, taken: u64, len: u64) {
        if self.is_bounded() {
            self.budget.change(taken, len);
        } else {
            self.budget.give_back(taken);
        }
    }

    /// A segment with `bytes` bytes of batches is gone.
    pub(super) fn segment_gone(&self, bytes: u64) {
        if self.is_bounded() {
            self.budget.give_back(bytes);
        }
    }
}
