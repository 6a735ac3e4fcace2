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

use std::task::{Context, Poll};
use std::time::Duration;

use super::appender::{Aftermath, Appended, Obstacle};
use super::batch_in::FinishedBatch;
use super::log::Log;
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{BatchHeader, HEADER_LEN};
use crate::segment::NewRecord;
use crate::sync::WaitKey;
use crate::sync::atomic::{AtomicBool, Ordering};

/// How long an append may wait for room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience<'a> {
    /// Not at all: `Backpressure` at once.
    No,
    /// Until this point of the monotonic clock.
    Until(Duration),
    /// The same, unless its producer is closed before, which wakes those who wait for room, or for others who flush.
    UntilClosed(Duration, &'a AtomicBool),
}

impl Patience<'_> {
    fn deadline(self) -> Option<Duration> {
        match self {
            Patience::No => None,
            Patience::Until(deadline) | Patience::UntilClosed(deadline, _) => Some(deadline),
        }
    }

    /// Whether its producer has been closed.
    pub(super) fn has_ended(self) -> bool {
        matches!(self, Patience::UntilClosed(_, closed) if closed.load(Ordering::Acquire))
    }

    /// What who waits is told when its producer has been closed.
    pub(super) fn check(self) -> Result<()> {
        if self.has_ended() { Err(Error::closed("the producer")) } else { Ok(()) }
    }
}

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

    /// Waits, as a task does, until no flush that appends must wait for is overdue; `key` is taken back by
    /// [`cancel_acked`](Log::cancel_acked).
    pub(crate) fn poll_on_time(&self, cx: &mut Context<'_>, key: &mut Option<WaitKey>) -> Poll<()> {
        if !self.is_overdue() {
            return Poll::Ready(());
        }
        self.acks.register(key, cx.waker());
        if !self.is_overdue() {
            return Poll::Ready(());
        }
        self.attendant.flush_soon();
        Poll::Pending
    }

    fn is_overdue(&self) -> bool {
        let now = self.environment.clock().now().millis();
        matches!(self.append.lock().check(now), Err(Obstacle::Overdue))
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
            Obstacle::Roll => self.roll().map_err(|e| self.fail(e)),
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

    fn backpressure(&self, why: &str) -> Error {
        Error::new(ErrorKind::Backpressure, why.to_string()).in_partition(&self.tp)
    }

    /// Staging memory is used up: write out our own batches, then wait for those of others. Where written batches
    /// stay in it, let go of what may go, then wait for more to be released.
    fn wait_for_room(&self, bytes: u64, patience: Patience<'_>) -> Result<()> {
        if self.is_bounded() && self.let_go_for(bytes)? {
            return Ok(());
        }
        let Some(deadline) = patience.deadline() else {
            self.attendant.flush_soon();
            let what = if self.is_bounded() { "the topic's memory" } else { "staging memory" };
            return Err(self.backpressure(&format!("{what} is used up")));
        };
        self.seal_and_write()?;
        let mut room = RoomWait { log: self, bytes, patience, key: None };
        let now = || self.monotonic();
        let left = deadline.saturating_sub(now());
        match crate::sync::block_on_for(&mut room, left, &now) {
            Some(()) => Ok(()),
            None => Err(self.backpressure("no memory came free within max_block")),
        }
    }
}

/// Waits until there may be room for `bytes` more.
struct RoomWait<'a> {
    log: &'a Log,
    bytes: u64,
    patience: Patience<'a>,
    key: Option<WaitKey>,
}

impl RoomWait<'_> {
    fn done(&self) -> bool {
        self.log.may_have_room(self.bytes) || self.log.check_open().is_err() || self.patience.has_ended()
    }
}

impl Future for RoomWait<'_> {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.done() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        this.log.budget.waiters().register(&mut this.key, cx.waker());
        if this.done() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for RoomWait<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.log.budget.waiters().cancel(key);
        }
    }
}
