//! Waiting for a log to acknowledge what lies below an offset.
//!
//! Invariants
//! - A thread that waits may lead the group commit itself, so nobody else need be there to do it; a task
//!   only asks for it.
//! - After an error the wait is as it was: who asks again gets the log's answer again.
//! - A registered waker is taken back when the wait is dropped.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::Result;
use crate::partition::Log;
use crate::sync::WaitKey;

/// One log, the end that it should acknowledge, and who waits for it.
pub(super) struct Acknowledgement {
    log: Arc<Log>,
    end: u64,
    key: Option<WaitKey>,
}

impl Acknowledgement {
    /// That of every offset below `end`.
    pub(super) fn new(log: Arc<Log>, end: u64) -> Acknowledgement {
        Acknowledgement { log, end, key: None }
    }

    /// Waits in this thread.
    pub(super) fn wait(&self) -> Result<()> {
        self.log.wait_acked(self.end)
    }

    /// Waits in this thread for at most `timeout`.
    pub(super) fn wait_for(&self, timeout: Duration) -> Result<()> {
        self.log.wait_acked_for(self.end, timeout)
    }

    /// Waits as a task does.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.log.poll_acked(self.end, context, &mut self.key)
    }

    /// Monotonic time of the log's clock.
    pub(super) fn now(&self) -> Duration {
        self.log.clock().monotonic()
    }
}

impl fmt::Debug for Acknowledgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the log: with it would be printed what others have sent.
        let waits_for = format_args!("{} up to {}", self.log.topic_partition(), self.end);
        f.debug_tuple("Acknowledgement").field(&waits_for).finish()
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.log.cancel_acked(key);
        }
    }
}

/// Waits for all of them in this thread, for at most `timeout`; those that have come are taken out.
pub(super) fn wait_all_for(waits: &mut Vec<Acknowledgement>, timeout: Duration) -> Result<()> {
    let Some(first) = waits.last() else { return Ok(()) };
    let start = first.now();
    while let Some(wait) = waits.last() {
        let left = timeout.saturating_sub(wait.now().saturating_sub(start));
        wait.wait_for(left)?;
        waits.pop();
    }
    Ok(())
}

/// Waits for all of them in this thread; those that have come are taken out.
pub(super) fn wait_all(waits: &mut Vec<Acknowledgement>) -> Result<()> {
    while let Some(wait) = waits.last() {
        wait.wait()?;
        waits.pop();
    }
    Ok(())
}

/// Waits for all of them as a task does; those that have come are taken out.
pub(super) fn poll_all(waits: &mut Vec<Acknowledgement>, context: &mut Context<'_>) -> Poll<Result<()>> {
    let mut failed = None;
    // All are asked, not only the first that is not there: their flushes overlap.
    waits.retain_mut(|wait| match wait.poll(context) {
        Poll::Ready(Ok(())) => false,
        Poll::Ready(Err(error)) => {
            failed = Some(error);
            true
        }
        Poll::Pending => true,
    });
    match failed {
        Some(error) => Poll::Ready(Err(error)),
        None if waits.is_empty() => Poll::Ready(Ok(())),
        None => Poll::Pending,
    }
}
