//! A producer as a sink of records.
//!
//! Invariants
//! - It never blocks: a record without room is kept, one at most, and the sink is not ready until it has its
//!   place.
//! - A record that was refused for another reason than room is gone, with the error that says so; the sink goes
//!   on. (`futures` calls a sink that has failed finished; this one can be used again.)
//!
//! ```text
//!   start_send -- try_send --> the log
//!        | no room                ^
//!        `--> one record kept ----'  poll_ready, poll_flush: when there is room again
//! ```

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_sink::Sink;

use super::flush::Flush;
use super::producer::Producer;
use crate::codec::{EncodeKey, EncodeValue, NoKey, Raw, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Operation;

/// A producer as a [`Sink`]: from [`Producer::sink`]. Feature `stream`.
///
/// A record is in the log when the sink is ready for the next one, and as durable as the topic promises when
/// the sink has been flushed. Dropping the sink loses at most the one record that it had no room for.
///
/// ```
/// use futures_util::SinkExt;
/// use millpond::prelude::*;
///
/// # futures_executor::block_on(async {
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// let mut sink = topic.producer()?.sink();
/// for page in ["/home", "/news", "/home"] {
///     sink.feed(Record::new(page)).await?;
/// }
/// sink.flush().await?; // as durable as the topic promises
/// # assert_eq!(topic.partition(0)?.log_end_offset().get(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[must_use = "a sink sends nothing by itself"]
pub struct RecordSink<'a, RV, RK = NoKey, K = Raw, V = Raw> {
    producer: Producer<K, V>,
    kept: Option<Record<'a, RV, RK>>,
    room: Option<Operation<()>>,
    flush: Option<Flush>,
}

impl<K, V> Producer<K, V> {
    /// This producer as a [`Sink`] of records. Closing the sink flushes it; the producer stays open. Feature
    /// `stream`.
    pub fn sink<'a, RV, RK>(&self) -> RecordSink<'a, RV, RK, K, V>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        RecordSink { producer: self.clone(), kept: None, room: None, flush: None }
    }
}

impl<'a, RV, RK, K, V> RecordSink<'a, RV, RK, K, V>
where
    RV: EncodeValue<V>,
    RK: EncodeKey<K>,
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Sends the record, or keeps it if there is no room.
    fn send(&mut self, record: Record<'a, RV, RK>) -> Result<()> {
        match self.producer.try_send_ref(&record) {
            Err(error) if error.kind() == ErrorKind::Backpressure => {
                self.room = Some(self.producer.ready());
                self.kept = Some(record);
                Ok(())
            }
            sent => sent.map(drop),
        }
    }

    /// Until the record that was kept has its place.
    fn poll_kept(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while let Some(record) = self.kept.take() {
            if let Some(room) = &mut self.room {
                match Pin::new(room).poll(context) {
                    Poll::Pending => {
                        self.kept = Some(record);
                        return Poll::Pending;
                    }
                    Poll::Ready(found) => {
                        self.room = None;
                        found?;
                    }
                }
            }
            self.send(record)?;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flushed(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_kept(context))?;
        let flush = self.flush.get_or_insert_with(|| self.producer.flush());
        let flushed = ready!(Pin::new(flush).poll(context));
        self.flush = None;
        Poll::Ready(flushed)
    }
}

// Nothing in it is pinned.
impl<RV, RK, K, V> Unpin for RecordSink<'_, RV, RK, K, V> {}

impl<'a, RV, RK, K, V> Sink<Record<'a, RV, RK>> for RecordSink<'a, RV, RK, K, V>
where
    RV: EncodeValue<V>,
    RK: EncodeKey<K>,
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_kept(context)
    }

    fn start_send(mut self: Pin<&mut Self>, record: Record<'a, RV, RK>) -> Result<()> {
        if self.kept.is_some() {
            let message = "the sink is not ready: call poll_ready until it is, before each record";
            return Err(Error::new(ErrorKind::Backpressure, message));
        }
        // What is flushed from now on includes this record.
        self.flush = None;
        self.send(record)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flushed(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flushed(context)
    }
}

impl<RV, RK, K, V> fmt::Debug for RecordSink<'_, RV, RK, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordSink")
            .field("producer", &self.producer)
            .field("keeps_a_record", &self.kept.is_some())
            .finish_non_exhaustive()
    }
}
