//! Waiting for records.
//!
//! Invariants
//! - Dropping a poll, or running out of time, moves no position: records are handed out or stay.
//! - To wait out a poll is no error: there were no records.
//! - A registered waker is taken back when the poll is dropped.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::records::Records;
use crate::codec::Raw;
use crate::env::Clock;
use crate::error::Result;
use crate::sync::{block_on, block_on_for};

/// What can be polled for records.
pub(crate) trait PollSource<K, V>: Send {
    /// The next records, or `Pending` with the waker registered where they will come.
    fn poll_records(&mut self, context: &mut Context<'_>) -> Poll<Result<Records<K, V>>>;

    /// What there is now, for who does not wait at all; `None` where to look is not enough (to be told that nothing
    /// can come any more, or to have what is staged written), and the long way is due.
    fn look(&mut self) -> Option<Result<Records<K, V>>> {
        None
    }

    /// Takes the waker back.
    fn stop_waiting(&mut self);

    /// What is handed out when none came.
    fn no_records(&self) -> Records<K, V>;

    /// The environment's clock; `None` if there is nothing to wait for.
    fn clock(&self) -> Option<Arc<dyn Clock>>;
}

/// The next records, once there are any: wait for them in a thread, or await them in a task.
///
/// ```
/// use std::time::Duration;
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// let mut reader = topic.partition(0)?.read(..)?;
///
/// let nothing = reader.poll().wait_timeout(Duration::from_millis(1))?;
/// assert!(nothing.is_empty());
///
/// topic.producer()?.send(Record::new("/home"))?.wait()?;
/// let records = reader.poll().wait()?;
/// assert_eq!(records.iter().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "records are handed out only to who waits for them"]
pub struct PollRecords<'a, K = Raw, V = Raw> {
    source: &'a mut dyn PollSource<K, V>,
    /// A waker may be registered.
    waited: bool,
}

impl<'a, K, V> PollRecords<'a, K, V> {
    pub(in crate::consumer) fn new(source: &'a mut dyn PollSource<K, V>) -> PollRecords<'a, K, V> {
        PollRecords { source, waited: false }
    }

    /// Waits in this thread until there are records. In a task `.await` it instead. At the end of a range
    /// there will be none: what is handed out then is empty, at once.
    ///
    /// # Errors
    /// `Closed` or `Poisoned` if nothing more can come; else those of the reader's `next`.
    pub fn wait(mut self) -> Result<Records<K, V>> {
        block_on(&mut self)
    }

    /// Waits in this thread until there are records, for at most `timeout`; empty if none came.
    ///
    /// # Errors
    /// As [`wait`](PollRecords::wait); that time has passed is no error.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Records<K, V>> {
        if timeout.is_zero() {
            if let Some(found) = self.source.look() {
                return found;
            }
        }
        self.waited = true;
        let clock = self.source.clock();
        let now = || clock.as_ref().map_or(Duration::ZERO, |clock| clock.monotonic());
        let records = block_on_for(self, timeout, &now);
        records.unwrap_or_else(|| Ok(self.source.no_records()))
    }
}

impl<K, V> Future for PollRecords<'_, K, V> {
    type Output = Result<Records<K, V>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Records<K, V>>> {
        self.waited = true;
        self.source.poll_records(context)
    }
}

impl<K, V> Drop for PollRecords<'_, K, V> {
    fn drop(&mut self) {
        if self.waited {
            self.source.stop_waiting();
        }
    }
}

impl<K, V> fmt::Debug for PollRecords<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollRecords").finish_non_exhaustive()
    }
}
