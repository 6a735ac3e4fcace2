//! The way of one record from its place in the log to being as durable as its topic promises.
//!
//! Invariants
//! - The place is known; only the acknowledgement may be outstanding.
//! - A delivery that is settled holds nothing and costs nothing to drop.
//!
//! ```text
//!   send --> settled at once (in the page cache at Memory, or Acks::None)
//!       \--> outstanding --wait, await--> settled
//!                    \------------------> an error, as often as one asks
//! ```

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::acknowledgement::Acknowledgement;
use super::metadata::RecordMetadata;
use crate::error::Result;
use crate::types::Offset;

/// A record on its way: wait for it in a thread, or await it in a task, to know that it is as durable
/// as its topic promises.
///
/// Dropping it only stops waiting; the record takes its way all the same.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let producer = broker.create_topic("clicks", TopicConfig::new())?.producer()?;
///
/// // Many at once: the last one's wait covers all before it.
/// let mut deliveries = Vec::new();
/// for page in ["/home", "/news", "/home"] {
///     deliveries.push(producer.send(Record::new(page))?);
/// }
/// for (n, delivery) in deliveries.into_iter().enumerate() {
///     assert_eq!(delivery.wait()?.offset().get(), n as u64);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a record is only as durable as its topic promises when its delivery says so: wait for it, or \
              flush the producer later"]
pub struct Delivery {
    metadata: RecordMetadata,
    outstanding: Option<Acknowledgement>,
}

impl Delivery {
    /// A record that is stored at `metadata` and for which `outstanding` must still come.
    #[inline]
    pub(super) fn new(metadata: RecordMetadata, outstanding: Option<Acknowledgement>) -> Delivery {
        Delivery { metadata, outstanding }
    }

    /// The record's offset, where it is known before the delivery has finished.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        Some(self.metadata.offset())
    }

    /// The number of the record's partition.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.metadata.partition()
    }

    /// Waits in this thread until the record is as durable as its topic promises. In a task `.await` it
    /// instead.
    ///
    /// # Errors
    /// `Poisoned` or `Closed` if that can no longer happen; `StorageFull` if it cannot happen now.
    pub fn wait(self) -> Result<RecordMetadata> {
        if let Some(outstanding) = &self.outstanding {
            outstanding.wait()?;
        }
        Ok(self.metadata)
    }

    /// Waits in this thread for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// let producer = broker.create_topic("clicks", TopicConfig::new())?.producer()?;
    /// let mut delivery = producer.send(Record::new("/home"))?;
    /// let stored = loop {
    ///     match delivery.wait_timeout(Duration::from_secs(1)) {
    ///         Err(error) if error.kind() == millpond::ErrorKind::TimedOut => { /* say so, wait again */ }
    ///         result => break result?,
    ///     }
    /// };
    /// assert_eq!(stored.offset(), Offset::ZERO);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `TimedOut` if it has not finished; it goes on, and can be waited for again. Else as
    /// [`wait`](Delivery::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<RecordMetadata> {
        if let Some(outstanding) = &self.outstanding {
            outstanding.wait_for(timeout)?;
            self.outstanding = None;
        }
        Ok(self.metadata)
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<RecordMetadata>> {
        if let Some(outstanding) = &mut self.outstanding {
            match outstanding.poll(context) {
                Poll::Ready(Ok(())) => self.outstanding = None,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(self.metadata))
    }
}
