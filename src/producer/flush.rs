//! The operation of `flush` and `close`: everything sent before it is acknowledged by every partition.
//!
//! Invariants
//! - The ends that must be acknowledged are those at the time of the call.
//! - The call has asked every partition; waiting only watches, or leads the group commit itself.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::acknowledgement::{Acknowledgement, poll_all, wait_all, wait_all_for};
use super::target::PartitionSet;
use crate::error::Result;

/// A flush that was started: wait for it in a thread, or await it in a task.
///
/// Dropping it only stops waiting.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let producer = broker.create_topic("clicks", TopicConfig::new().partitions(2))?.producer()?;
/// for n in 0..100u32 {
///     let _ = producer.send(Record::new(&n.to_be_bytes()))?; // its delivery is not looked at: the flush tells
/// }
/// producer.flush().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "whether a flush succeeded is known only to who waits for it"]
pub struct Flush {
    outstanding: Vec<Acknowledgement>,
}

impl Flush {
    /// Starts the flush of all partitions.
    pub(super) fn start(partitions: &PartitionSet) -> Flush {
        let mut outstanding = Vec::new();
        for log in partitions.iter() {
            let end = log.appended_end();
            if log.acked_end() < end {
                let mut wait = Acknowledgement::new(log.clone(), end);
                // The call starts the effect; an error will be told again to who waits.
                let _ = wait.poll(&mut Context::from_waker(Waker::noop()));
                outstanding.push(wait);
            }
        }
        Flush { outstanding }
    }

    /// Waits in this thread until everything sent before is as durable as the topic promises. In a task
    /// `.await` it instead.
    ///
    /// # Errors
    /// `Poisoned` or `Closed` if that can no longer happen; `StorageFull` if it cannot happen now.
    pub fn wait(mut self) -> Result<()> {
        wait_all(&mut self.outstanding)
    }

    /// Waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` if it has not finished; it goes on, and can be waited for again. Else as
    /// [`wait`](Flush::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<()> {
        wait_all_for(&mut self.outstanding, timeout)
    }
}

impl Future for Flush {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        poll_all(&mut self.outstanding, context)
    }
}
