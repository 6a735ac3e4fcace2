//! The append path: one record, or one finished batch, gets its offset.
//!
//! ```text
//!             in place                                staged
//!   record -> tail.push -> published, acknowledged    record -> staging.push -> (sealed -> written -> flushed)
//!     obstacle? prepare | roll | write out | wait for room: without the append lock, then again
//! ```
//!
//! Invariants
//! - Under the append lock nothing blocks: no system call in place, a memory copy when staged.
//! - An offset is given exactly once, in the order of the lock (a large record has the tail, and with it the next
//!   offset, to itself while it is written: `large.rs`).

use std::time::Duration;

use super::appender::{Aftermath, Appended, Obstacle};
use super::batch_in::FinishedBatch;
use super::log::Log;
use super::waiting::Patience;
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{BatchHeader, HEADER_LEN};
use crate::segment::NewRecord;

/// Nobody waits for a marker to be flushed: it goes with the next flush, or after so many milliseconds.
const MARKER_LINGER_MS: i64 = 1000;

impl Log {
    /// Soon a record will be appended.
    #[inline]
    pub(crate) fn fetch(&self) {
        self.append.fetch();
    }

    /// A batch that will soon be appended has come to `len` bytes.
    #[inline]
    pub(crate) fn fetch_ahead(&self, len: usize) {
        self.append.fetch_ahead(len);
    }

    /// Appends one record.
    #[inline]
    pub(crate) fn append(&self, record: &NewRecord<'_>, patience: Patience<'_>) -> Result<Appended> {
        let now = self.environment.clock().now().millis();
        self.append_at(record, now, patience)
    }

    /// Appends one record, at a time (in milliseconds since the epoch) that the caller has just looked up.
    #[inline(always)]
    pub(crate) fn append_at(
        &self,
        record: &NewRecord<'_>,
        now: i64,
        patience: Patience<'_>,
    ) -> Result<Appended> {
        match self.append_once(record, now, true)? {
            Ok((appended, after)) => {
                self.follow_up(&appended, after);
                Ok(appended)
            }
            Err(obstacle) => self.append_past(obstacle, record, now, patience),
        }
    }

    /// Appends one record, once what stands in its way is gone.
    #[cold]
    #[inline(never)]
    fn append_past(
        &self,
        mut obstacle: Obstacle,
        record: &NewRecord<'_>,
        mut now: i64,
        patience: Patience<'_>,
    ) -> Result<Appended> {
        let mut may_go_alone = true;
        loop {
            if obstacle == Obstacle::Large {
                if let Some(appended) = self.append_large(record, now)? {
                    return Ok(appended);
                }
                may_go_alone = false;
            } else {
                self.clear(obstacle, patience)?;
                now = self.environment.clock().now().millis();
            }
            match self.append_once(record, now, may_go_alone)? {
                Ok((appended, after)) => {
                    self.follow_up(&appended, after);
                    return Ok(appended);
                }
                Err(next) => obstacle = next,
            }
        }
    }

    /// Appends one record, if nothing stands in its way.
    #[inline(always)]
    fn append_once(
        &self,
        record: &NewRecord<'_>,
        now: i64,
        may_go_alone: bool,
    ) -> Result<std::result::Result<(Appended, Aftermath), Obstacle>> {
        let mut appender = self.append.in_turn();
        self.check_size(record, appender.max_record_size)?;
        if appender.needs_key && record.key.is_none() {
            return Err(self.without_key());
        }
        if may_go_alone && appender.goes_alone(record) {
            return Ok(Err(Obstacle::Large));
        }
        let outcome = appender.append(record, now, &self.budget);
        self.append.moved(&appender);
        Ok(outcome)
    }

    /// Appends a batch that was encoded outside the lock; offset and epoch are patched in.
    /// Its memory is left to the caller; if the batch is staged, that of an earlier one.
    pub(crate) fn append_batch(&self, batch: &mut FinishedBatch, patience: Patience<'_>) -> Result<Appended> {
        loop {
            let now = self.environment.clock().now().millis();
            let outcome = {
                let mut appender = self.append.lock();
                let outcome = appender.append_batch(batch, now, &self.budget);
                self.append.moved(&appender);
                outcome
            };
            match outcome {
                Ok((appended, after)) => {
                    self.follow_up(&appended, after);
                    return Ok(appended);
                }
                Err(obstacle) => self.clear_for(batch, obstacle, patience)?,
            }
        }
    }

    /// Appends a batch if `gate` lets it, which is asked under the append lock, with the offset that the batch
    /// would get; then, still under the lock, `after` hears the header as appended (or nothing, if it was not)
    /// and the time. Answers nothing where the gate did not let it.
    pub(super) fn append_gated(
        &self,
        batch: &mut FinishedBatch,
        patience: Patience<'_>,
        gate: impl Fn(&BatchHeader, u64) -> Result<bool>,
        after: impl Fn(Option<&BatchHeader>, i64),
    ) -> Result<Option<Appended>> {
        loop {
            let now = self.environment.clock().now().millis();
            let outcome = {
                let mut appender = self.append.lock();
                if !gate(batch.header(), appender.next_offset())? {
                    return Ok(None);
                }
                let outcome = appender.append_batch(batch, now, &self.budget);
                after(outcome.is_ok().then(|| batch.header()), now);
                outcome
            };
            match outcome {
                Ok((appended, mut aftermath)) => {
                    if batch.header().attributes.is_control() {
                        aftermath.due_in = aftermath.due_in.map(|due| due.max(MARKER_LINGER_MS));
                    }
                    self.follow_up(&appended, aftermath);
                    return Ok(Some(appended));
                }
                Err(obstacle) => self.clear_for(batch, obstacle, patience)?,
            }
        }
    }

    /// Removes what stood in the way of a batch. Its keys are looked for out here, where nobody waits for it.
    #[cold]
    fn clear_for(&self, batch: &mut FinishedBatch, obstacle: Obstacle, patience: Patience<'_>) -> Result<()> {
        match obstacle {
            Obstacle::KeysUnseen if batch.see_keys()? => Ok(()),
            Obstacle::KeysUnseen => Err(self.without_key()),
            _ => self.clear(obstacle, patience),
        }
    }

    /// A record must fit as a batch of its own.
    #[inline]
    fn check_size(&self, record: &NewRecord<'_>, limit: u64) -> Result<()> {
        const OVERHEAD: u64 = 128;
        let payload = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        if record.headers.is_empty() && (payload as u64) + OVERHEAD <= limit {
            return Ok(());
        }
        let size = (HEADER_LEN + record.len_alone()) as u64;
        if size <= limit { Ok(()) } else { Err(self.too_large("the record", size, limit)) }
    }

    /// A record of a compacted log must have a key.
    #[cold]
    pub(crate) fn without_key(&self) -> Error {
        let why = "the topic is compacted: each record needs a key";
        Error::invalid_argument(why).in_partition(&self.tp)
    }

    #[cold]
    fn too_large(&self, what: &str, size: u64, limit: u64) -> Error {
        let kind = ErrorKind::RecordTooLarge { size, limit };
        Error::new(kind, format!("{what} takes {size} bytes, but the topic takes at most {limit}"))
            .in_partition(&self.tp)
    }

    /// What an append leaves to be done without the lock.
    #[inline]
    pub(super) fn follow_up(&self, appended: &Appended, after: Aftermath) {
        if appended.settled {
            if after.awaited {
                self.readers.wake_all();
            }
        } else if after.write_out {
            self.write_if_free();
        } else if self.readers.has_waiters() {
            self.attendant.flush_soon();
        }
        if let Some(due_in) = after.due_in {
            self.attendant.due_at(self.monotonic() + Duration::from_millis(due_in.max(0) as u64));
        }
        if after.prepare {
            self.attendant.prepare_soon();
        }
    }

    /// Writes what is sealed, unless somebody is at it already. A full disk shows at the next append or at
    /// whoever waits for the acknowledgement; the batch stays queued.
    fn write_if_free(&self) {
        if let Some(mut writer) = self.writer.try_lock() {
            let _ = self.write_whole_queue(&mut writer).map_err(|e| self.fail(e));
        }
    }

    /// Removes what stood in the way of an append.
    #[cold]
    fn clear(&self, obstacle: Obstacle, patience: Patience<'_>) -> Result<()> {
        self.remove(obstacle, patience)?;
        // What stood in the way may have taken a while: the flush of who closed the producer may be over.
        patience.check()
    }

    fn remove(&self, obstacle: Obstacle, patience: Patience<'_>) -> Result<()> {
        match obstacle {
            Obstacle::Prepare(end) => self.prepare_to(end),
            Obstacle::Roll(full) => self.roll(full).map_err(|e| self.fail(e)),
            Obstacle::Moving | Obstacle::Large => {
                drop(self.writer.lock());
                Ok(())
            }
            Obstacle::Resting => self.wake(),
            Obstacle::Budget(bytes) => self.wait_for_room(bytes, patience),
            Obstacle::Overdue => match patience.deadline() {
                None => {
                    self.attendant.flush_soon();
                    Err(self.backpressure("the flush of the last interval is not done"))
                }
                Some(deadline) => self.flush_before(deadline, patience),
            },
            Obstacle::TooLarge { size, limit } => Err(self.too_large("the batch", size, limit)),
            // Only batches have keys that nobody has seen: `clear_for`.
            Obstacle::KeysUnseen => Err(self.without_key()),
            Obstacle::Poisoned => Err(self.poison.check(&self.tp).err().unwrap_or_else(|| self.closed())),
            Obstacle::Closed => Err(self.closed()),
        }
    }

    fn closed(&self) -> Error {
        let closed = self.append.lock().closed_error(&self.tp);
        closed.unwrap_or_else(|| Error::closed("the partition").in_partition(&self.tp))
    }
}
