//! The producer: takes records, chooses their partition and hands them to its log.
//!
//! Invariants
//! - A closed producer takes nothing more, through whichever of its clones.
//! - Nothing is staged here: what `send` answered for is in the log's hands, so dropping loses nothing.
//! - A codec or partitioner that fails has changed nothing in the log.
//!
//! ```text
//!   send:      try once, without a look at the clock -- no room --> wait until max_block has passed
//!   try_send:  try once                              -- no room --> Backpressure;  ready() waits for room
//! ```

use std::fmt;
use std::sync::Arc;

use super::acknowledgement::Acknowledgement;
use super::batch_delivery::BatchDelivery;
use super::delivery::Delivery;
use super::flush::Flush;
use super::send_batch::BatchSender;
use super::sequenced::BatchTerms;
use super::shared::Shared;
use super::target::ProducerTarget;
use crate::codec::{EncodeKey, EncodeValue, Raw, Record};
use crate::config::ProducerConfig;
use crate::error::Result;
use crate::partition::{Log, Patience};
use crate::segment::NewRecord;
use crate::sync::Operation;
use crate::sync::atomic::Ordering;
use crate::topic::Partitioner;
use crate::types::TopicName;

/// Sends records to a topic. Cheap to clone; clones are the same producer, and threads may share it.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new().partitions(3))?;
/// let producer = topic.producer()?;
///
/// let delivery = producer.send(Record::new(b"/home").key(b"alice").header("ua", b"curl"))?;
/// let stored = delivery.wait()?; // now as durable as the topic promises
/// println!("partition {} offset {}", stored.partition(), stored.offset());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Records with the same key go to the same partition, by Kafka's own hash; a record may name its
/// partition, and a partitioner of your own may be given to the producer's builder. (It is not asked where
/// the topic has one partition only.)
pub struct Producer<K = Raw, V = Raw> {
    shared: Arc<Shared<K, V>>,
}

impl<K, V> Producer<K, V> {
    /// A producer for `target`. The settings have been validated.
    pub(crate) fn new(
        target: ProducerTarget,
        config: &ProducerConfig,
        partitioner: Arc<dyn Partitioner>,
        key_codec: K,
        value_codec: V,
    ) -> Producer<K, V> {
        let shared = Shared::new(target, config, partitioner, key_codec, value_codec);
        Producer { shared: Arc::new(shared) }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.shared.target.topic
    }

    /// How many partitions the topic has now.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        self.shared.target.partitions.count()
    }

    /// Sends a record. It has its place when this returns; the [`Delivery`] tells when it is as durable as
    /// the topic promises. Waits for room, for at most `max_block`.
    ///
    /// ```
    /// use millpond::ErrorKind;
    /// use millpond::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// let producer = broker.create_topic("clicks", TopicConfig::new())?.producer()?;
    /// assert_eq!(producer.send(Record::new("/home"))?.wait()?.offset(), Offset::ZERO);
    ///
    /// let error = producer.send(Record::new("/home").partition(7)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PartitionNotFound);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `TimedOut` without room; `RecordTooLarge`; `PartitionNotFound` for a partition that the topic does
    /// not have; `Codec` from the codecs; `InvalidArgument` for a tombstone without a key; `Closed`;
    /// `StorageFull`, `Io`, `Poisoned` from the disk. The record is not in the log then.
    #[doc(alias = "produce")]
    #[inline]
    pub fn send<RV, RK>(&self, record: Record<'_, RV, RK>) -> Result<Delivery>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let sent = self.shared.send(&record, true)?;
        Ok(self.shared.delivery(&sent))
    }

    /// Sends a record if there is room for it now.
    ///
    /// ```
    /// use millpond::ErrorKind;
    /// use millpond::prelude::*;
    ///
    /// async fn log_visits(producer: &Producer, pages: &[String]) -> millpond::Result<()> {
    ///     for page in pages {
    ///         loop {
    ///             match producer.try_send(Record::new(page)) {
    ///                 Err(error) if error.kind() == ErrorKind::Backpressure => producer.ready().await?,
    ///                 sent => break drop(sent?), // its delivery is not looked at: the flush tells
    ///             }
    ///         }
    ///     }
    ///     producer.flush().await
    /// }
    /// ```
    ///
    /// # Errors
    /// `Backpressure` without room; else as [`send`](Producer::send).
    pub fn try_send<RV, RK>(&self, record: Record<'_, RV, RK>) -> Result<Delivery>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        self.try_send_ref(&record)
    }

    /// [`try_send`](Producer::try_send) of a record that the caller keeps.
    pub(super) fn try_send_ref<RV, RK>(&self, record: &Record<'_, RV, RK>) -> Result<Delivery>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let sent = self.shared.send(record, false)?;
        Ok(self.shared.delivery(&sent))
    }

    /// Sends records in batches of their own: one for each partition touched, encoded before the log is
    /// locked. A batch is handed over when it has grown to the topic's batch size or 1 MiB, whichever is
    /// more (but never more than a segment), and another begun, so that `records` may be a stream of any length.
    /// A record without a timestamp gets the time at which its batch was begun. Without records the delivery is empty,
    /// and there is nothing to wait for.
    ///
    /// ```
    /// use millpond::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// let producer = broker.create_topic("clicks", TopicConfig::new())?.producer()?;
    /// let lines = "/home\n/news\n/home".lines();
    /// let batches = producer.send_batch(lines.map(Record::new))?.wait()?;
    /// assert_eq!(batches[0].count(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](Producer::send), where nothing has been handed over yet. After that the error is told by
    /// the [`BatchDelivery`], which lists what was handed over.
    pub fn send_batch<'a, RV, RK, I>(&self, records: I) -> Result<BatchDelivery>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
        I: IntoIterator<Item = Record<'a, RV, RK>>,
    {
        self.shared.check_open()?;
        let mut sender = BatchSender::new(&self.shared);
        let mut records = records.into_iter();
        let sent = records.try_for_each(|record| sender.add(&record));
        sender.finish(sent)
    }

    /// Waits for room, after [`try_send`](Producer::try_send) found none. It finishes at once where there is
    /// room; that there still is when the next record comes, nobody can promise.
    ///
    /// # Errors
    /// `Closed` if the producer was closed.
    pub fn ready(&self) -> Operation<()>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        super::ready::ready(&self.shared)
    }

    /// Brings everything sent before to where the topic promises it to be: of this producer, and of any
    /// other of the topic.
    ///
    /// # Errors
    /// Told by the operation: see [`Flush::wait`].
    pub fn flush(&self) -> Flush {
        Flush::start(&self.shared.target.partitions)
    }

    /// Takes no more records, through any clone, and flushes those that were sent; who waits for room is told
    /// `Closed` at once. Dropping a producer
    /// without closing it loses nothing either; it only does not tell.
    ///
    /// ```
    /// use millpond::ErrorKind;
    /// use millpond::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// let producer = broker.create_topic("clicks", TopicConfig::new())?.producer()?;
    /// let delivery = producer.send(Record::new("/home"))?;
    /// producer.close().wait()?;
    /// assert_eq!(delivery.wait()?.offset(), Offset::ZERO);
    /// assert_eq!(producer.send(Record::new("/news")).unwrap_err().kind(), ErrorKind::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Told by the operation: see [`Flush::wait`].
    pub fn close(&self) -> Flush {
        self.shared.close();
        for log in self.shared.target.partitions.iter() {
            // Whoever waits for room here looks up and finds the producer closed.
            log.wake_senders();
        }
        self.flush()
    }
}

impl<K, V> Producer<K, V> {
    /// Encodes a record, chooses its partition, and lends both.
    pub(crate) fn lend<RV, RK, T>(
        &self,
        record: &Record<'_, RV, RK>,
        then: impl FnOnce(&Arc<Log>, &NewRecord<'_>) -> Result<T>,
    ) -> Result<T>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        self.shared.lend(record, |log, _, new, _| then(log, new))
    }

    /// What it says of batches of its own.
    pub(crate) fn terms(&self) -> BatchTerms {
        self.shared.terms
    }

    /// Appends, waiting for room until `max_block` has passed.
    pub(super) fn patiently<T>(
        &self,
        log: &Log,
        append: impl FnOnce(Patience<'_>) -> Result<T>,
    ) -> Result<T> {
        self.shared.patiently(log, append)
    }

    /// A partition of its topic.
    pub(crate) fn partition_log(&self, partition: u32) -> Result<&Arc<Log>> {
        self.shared.target.partition(partition)
    }

    /// What a delivery of everything below `end` must wait for.
    pub(super) fn outstanding(&self, log: &Arc<Log>, end: u64) -> Option<Acknowledgement> {
        self.shared.outstanding(log, end)
    }
}

impl<K, V> Clone for Producer<K, V> {
    fn clone(&self) -> Producer<K, V> {
        Producer { shared: Arc::clone(&self.shared) }
    }
}

impl<K, V> fmt::Debug for Producer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("topic", &self.shared.target.topic)
            .field("acks", &self.shared.acks)
            .field("closed", &self.shared.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
