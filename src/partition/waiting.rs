//! Who waits for a log: for records, for an acknowledgement, for the device, or for its turn to append.
//!
//! ```text
//!   await_records ---> readers   woken by a publication, or by what rises above the high watermark
//!   poll_acked ------> acks      woken by a flush (poll_flushed, poll_on_time)
//!   room ------------> budget    woken by what has been written
//! ```
//!
//! Invariants
//! - Who waits registers first and looks again then; who changes something changes it first and wakes then.
//! - Waiting asks for what it waits for: a flush, where nobody else would make one.
//! - At the end of the log everybody is woken.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::appender::Obstacle;
use super::log::Log;
use crate::error::{Error, ErrorKind, Result};
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
    pub(super) fn deadline(self) -> Option<Duration> {
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

impl Log {
    /// Asks to be woken when there is more to read; the caller looks again before it answers `Pending`.
    ///
    /// A send into the map needs no fence to find out who waits: it looks under the append lock, right after the
    /// publication. Either it comes later than the line below and sees that somebody waits, or it comes earlier,
    /// and the caller's look finds the record. (Others who let readers go on keep to the wait list's protocol.)
    pub(crate) fn await_records(&self, key: &mut Option<WaitKey>, waker: &Waker) {
        self.readers.register(key, waker);
        self.append.lock().await_publication();
    }

    /// A reader is about to wait at the high watermark: what is staged is flushed soon.
    pub(crate) fn want_records(&self) {
        if self.append.lock().has_staged() || self.high_watermark() < self.log_end() {
            self.attendant.flush_soon();
        }
    }

    /// Looks whether everything below `end` is acknowledged, and registers to be woken otherwise.
    pub(crate) fn poll_acked(
        &self,
        end: u64,
        cx: &mut Context<'_>,
        key: &mut Option<WaitKey>,
    ) -> Poll<Result<()>> {
        self.poll_flush(|| self.acked(end), || self.attendant.flush_soon(), cx, key)
    }

    pub(super) fn acked(&self, end: u64) -> Option<Result<()>> {
        if self.acked_end() >= end {
            return Some(Ok(()));
        }
        if let Err(e) = self.poison.check(&self.tp) {
            return Some(Err(e));
        }
        self.append.lock().closed_error(&self.tp).map(Err)
    }

    /// Looks whether everything below `end` is on the device, whatever the level, and registers to be woken
    /// otherwise; `key` is taken back by [`cancel_acked`](Self::cancel_acked).
    pub(crate) fn poll_flushed(
        &self,
        end: u64,
        cx: &mut Context<'_>,
        key: &mut Option<WaitKey>,
    ) -> Poll<Result<()>> {
        self.poll_flush(|| self.is_flushed(end), || self.flush_soon(end), cx, key)
    }

    fn is_flushed(&self, end: u64) -> Option<Result<()>> {
        if self.marks.flushed() >= end {
            return Some(Ok(()));
        }
        self.check_open().err().map(Err)
    }

    /// Asks for a flush in the background, if what lies below `end` is not on the device, whatever the level.
    pub(crate) fn flush_soon(&self, end: u64) {
        if self.marks.flushed() < end {
            self.want_flush();
            self.attendant.flush_soon();
        }
    }

    /// Somebody waits for a flush, whatever the level; whoever has taken the wish and could not fulfil it puts it back.
    pub(crate) fn want_flush(&self) {
        self.flush_wanted.store(true, Ordering::Release);
    }

    /// Whether somebody has asked for a flush since this was asked last.
    pub(crate) fn take_flush_wanted(&self) -> bool {
        self.flush_wanted.swap(false, Ordering::AcqRel)
    }

    /// Stops waiting.
    pub(crate) fn cancel_acked(&self, key: WaitKey) {
        self.acks.cancel(key);
    }

    /// Who waits to append looks again whether it still may.
    pub(crate) fn wake_senders(&self) {
        self.commit.leadership.stir();
        self.acks.wake_all();
        self.budget.waiters().wake_all();
    }

    pub(super) fn wake_everybody(&self) {
        self.readers.wake_all();
        self.acks.wake_all();
        self.budget.waiters().wake_all();
    }

    /// Waits, as a task does, until no flush that appends must wait for is overdue; `key` is taken back by
    /// [`cancel_acked`](Log::cancel_acked).
    pub(crate) fn poll_on_time(&self, cx: &mut Context<'_>, key: &mut Option<WaitKey>) -> Poll<()> {
        let is_on_time = || (!self.is_overdue()).then_some(());
        self.poll_flush(is_on_time, || self.attendant.flush_soon(), cx, key)
    }

    /// Looks for what a flush brings, and registers to be woken by one otherwise, which it asks for.
    fn poll_flush<T>(
        &self,
        done: impl Fn() -> Option<T>,
        ask: impl FnOnce(),
        cx: &mut Context<'_>,
        key: &mut Option<WaitKey>,
    ) -> Poll<T> {
        if let Some(done) = done() {
            return Poll::Ready(done);
        }
        self.acks.register(key, cx.waker());
        if let Some(done) = done() {
            return Poll::Ready(done);
        }
        ask();
        Poll::Pending
    }

    fn is_overdue(&self) -> bool {
        let now = self.environment.clock().now().millis();
        matches!(self.append.lock().check(now), Err(Obstacle::Overdue))
    }

    /// Staging memory is used up: write out our own batches, then wait for those of others. Where written batches
    /// stay in it, let go of what may go, then wait for more to be released.
    pub(super) fn wait_for_room(&self, bytes: u64, patience: Patience<'_>) -> Result<()> {
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

    pub(super) fn backpressure(&self, why: &str) -> Error {
        Error::new(ErrorKind::Backpressure, why.to_string()).in_partition(&self.tp)
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
