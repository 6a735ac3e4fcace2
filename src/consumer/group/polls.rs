//! One poll after the other, in a thread.
//!
//! Invariant: it ends when it is interrupted, or behind an error after which nothing more comes.

use std::fmt;

use super::consumer::Consumer;
use crate::codec::Raw;
use crate::consumer::records::Records;
use crate::error::Result;

/// Polls of a consumer, as an iterator that waits; from [`Consumer::iter`].
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("orders", TopicConfig::new())?;
/// topic.producer()?.send_batch(["tea", "jam"].map(Record::new))?.wait()?;
///
/// let mut consumer = broker.group("billing")?.join("orders")?;
/// let interrupter = consumer.interrupter();
/// let mut polls = consumer.iter();
/// while let Some(records) = polls.next() {
///     let records = records?;
///     for record in &records {
///         println!("bill {:?}", record.value()?);
///     }
///     polls.consumer().commit(&records).wait()?;
///     interrupter.interrupt(); // as another thread would
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Polls<'a, K = Raw, V = Raw> {
    consumer: &'a mut Consumer<K, V>,
    ended: bool,
}

impl<K, V> Polls<'_, K, V> {
    /// The consumer: to commit, to decode, to seek between two polls.
    pub fn consumer(&mut self) -> &mut Consumer<K, V> {
        self.consumer
    }
}

impl<K, V> Consumer<K, V>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The records, poll by poll, waited for in this thread: an iterator that ends when it is interrupted. (In a
    /// task, with the feature `stream`, the consumer itself is a `Stream`.)
    ///
    /// After an error it goes on, unless that [is fatal](crate::Error::is_fatal).
    pub fn iter(&mut self) -> Polls<'_, K, V> {
        Polls { consumer: self, ended: false }
    }
}

impl<K, V> Iterator for Polls<'_, K, V>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    type Item = Result<Records<K, V>>;

    fn next(&mut self) -> Option<Result<Records<K, V>>> {
        if self.ended {
            return None;
        }
        let records = self.consumer.poll().wait();
        match &records {
            Ok(records) if !records.has_parts() => return None,
            Ok(_) => {}
            Err(error) => self.ended = error.is_fatal(),
        }
        Some(records)
    }
}

impl<K, V> fmt::Debug for Polls<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polls").field("consumer", &self.consumer).finish_non_exhaustive()
    }
}
