//! The way of the batches of one `send_batch`.
//!
//! Invariants
//! - What was handed over is listed, whether or not the rest could be: an error that came in between is
//!   told by waiting, as often as one asks, after which nothing about the batches that are there has changed.
//! - The batches' acknowledgements are waited for together, so that their flushes overlap.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::acknowledgement::{Acknowledgement, poll_all, wait_all, wait_all_for};
use super::metadata::BatchMetadata;
use crate::error::{Error, Result};

/// Batches on their way: wait for them in a thread, or await them in a task.
///
/// Dropping it only stops waiting.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new().partitions(2))?;
/// let pages: Vec<String> = (0..100).map(|n| format!("/page/{n}")).collect();
///
/// let sent = topic.producer()?.send_batch(pages.iter().map(|page| Record::new(page).key(page)))?;
/// let batches = sent.wait()?;
/// assert_eq!(batches.iter().map(|batch| batch.count()).sum::<u32>(), 100);
/// assert_eq!(batches.len(), 2); // one for each partition
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "records are only as durable as their topic promises when their delivery says so"]
pub struct BatchDelivery {
    batches: Vec<BatchMetadata>,
    outstanding: Vec<Acknowledgement>,
    failed: Option<Error>,
}

impl BatchDelivery {
    /// Adds a batch that was handed over.
    pub(super) fn push(&mut self, batch: BatchMetadata, outstanding: Option<Acknowledgement>) {
        self.batches.push(batch);
        self.outstanding.extend(outstanding);
    }

    /// After this nothing more was handed over.
    pub(super) fn fail(&mut self, error: Error) {
        self.failed = Some(error);
    }

    /// The batches that were handed over, in that order; empty if there were no records.
    #[must_use]
    pub fn batches(&self) -> &[BatchMetadata] {
        &self.batches
    }

    /// Waits in this thread until all records are as durable as their topic promises. In a task `.await`
    /// it instead.
    ///
    /// # Errors
    /// What kept some of the records from being handed over, if something did: those that were are in
    /// [`batches`](BatchDelivery::batches). `Poisoned`, `Closed` or `StorageFull` as for a
    /// [`Delivery`](super::Delivery::wait).
    pub fn wait(mut self) -> Result<Vec<BatchMetadata>> {
        wait_all(&mut self.outstanding)?;
        self.finish()
    }

    /// Waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` if not all have finished; they go on, and can be waited for again. Else as
    /// [`wait`](BatchDelivery::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Vec<BatchMetadata>> {
        wait_all_for(&mut self.outstanding, timeout)?;
        self.finish()
    }

    fn finish(&self) -> Result<Vec<BatchMetadata>> {
        match &self.failed {
            Some(error) => Err(error.again()),
            None => Ok(self.batches.clone()),
        }
    }
}

impl Future for BatchDelivery {
    type Output = Result<Vec<BatchMetadata>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match poll_all(&mut self.outstanding, context) {
            Poll::Ready(Ok(())) => Poll::Ready(self.finish()),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}
