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
use std::task::{Context, Poll};

use super::acknowledgement::Acknowledgement;
use super::batch_delivery::BatchDelivery;
use super::buffers::{BufferPool, Buffers};
use super::delivery::Delivery;
use super::flush::Flush;
use super::header_list::HeaderList;
use super::metadata::RecordMetadata;
use super::send_batch::BatchSender;
use super::sequenced::BatchTerms;
use super::target::ProducerTarget;
use crate::codec::{EncodeKey, EncodeValue, EncodedRecord, Raw, Record};
use crate::config::{Acks, ProducerConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::partition::{Appended, Log, Patience};
use crate::segment::NewRecord;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Operation, WaitKey};
use crate::topic::Partitioner;
use crate::types::{Offset, Timestamp, TopicName};

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

pub(super) struct Shared<K, V> {
    pub(super) target: ProducerTarget,
    acks: Acks,
    pub(super) terms: BatchTerms,
    partitioner: Arc<dyn Partitioner>,
    pub(super) key_codec: K,
    pub(super) value_codec: V,
    closed: AtomicBool,
    pub(super) buffers: BufferPool,
    /// Bytes of the last record that there was no room for, at least 1, and its partition.
    refused: AtomicU64,
    refused_by: AtomicU32,
}

/// What a record takes beside its key, value and headers, at most: its deltas and lengths, and the header
/// of the batch that it may open.
const RECORD_OVERHEAD: u64 = 128;

impl<K, V> Producer<K, V> {
    /// A producer for `target`. The settings have been validated.
    pub(crate) fn new(
        target: ProducerTarget,
        config: &ProducerConfig,
        partitioner: Arc<dyn Partitioner>,
        key_codec: K,
        value_codec: V,
    ) -> Producer<K, V> {
        let max_block = config.max_block_duration().unwrap_or(target.max_block);
        let terms = BatchTerms { compression: config.compression_type(), max_block };
        let shared = Shared {
            target,
            acks: config.acks_level(),
            terms,
            partitioner,
            key_codec,
            value_codec,
            closed: AtomicBool::new(false),
            buffers: BufferPool::new(),
            refused: AtomicU64::new(1),
            refused_by: AtomicU32::new(0),
        };
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
        let refused_by = self.shared.refused_by.load(Ordering::Relaxed);
        let Some(log) = self.shared.target.partitions.get(refused_by).cloned() else {
            return Operation::finished(self.shared.check_open());
        };
        let clock = Arc::clone(log.clock());
        let mut room = RoomWait { shared: Arc::clone(&self.shared), log, room: None, flush: None };
        Operation::new(Arc::new(move || clock.monotonic()), move |context| room.poll(context))
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
        self.shared.closed.store(true, Ordering::Release);
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

impl<K, V> Shared<K, V> {
    /// Lends a record in the log's form, with its partition and the time in milliseconds.
    #[inline(always)]
    fn lend<'s, RV, RK, T>(
        &'s self,
        record: &Record<'_, RV, RK>,
        then: impl FnOnce(&'s Arc<Log>, u32, &NewRecord<'_>, i64) -> Result<T>,
    ) -> Result<T>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        self.check_open()?;
        let mut lent = self.buffers.lend();
        let Buffers { key, value } = lent.buffers();
        let encoded = record.encode(&self.key_codec, &self.value_codec, key, value)?;
        let partition = self.partition_for(record.given_partition(), &encoded)?;
        let log = self.target.partition(partition)?;
        log.fetch();
        let now = log.clock().now();
        let timestamp = record.timestamp_or(now).millis();
        let EncodedRecord { key, value } = encoded;
        let list;
        let headers = if record.headers().is_empty() && self.target.schema.is_none() {
            [].as_slice()
        } else {
            list = self.headers_of(record.headers());
            list.as_slice()
        };
        then(log, partition, &NewRecord { timestamp, key, value, headers }, now.millis())
    }

    /// A record's headers, and the producer's own, in the log's form.
    #[inline(never)]
    pub(super) fn headers_of<'a>(&'a self, given: &[(&'a str, Option<&'a [u8]>)]) -> HeaderList<'a> {
        HeaderList::new(given, self.target.schema.as_deref())
    }

    /// Sends a record. What is answered from here is small, so that the caller of [`Producer::send`], into which the
    /// rest goes, need not move a delivery that it looks at only to drop it.
    #[inline(never)]
    fn send<RV, RK>(&self, record: &Record<'_, RV, RK>, waits: bool) -> Result<Sent>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        self.lend(record, |log, partition, new, now| match log.append_at(new, now, Patience::No) {
            Ok(appended) => Ok(Sent::new(partition, &appended)),
            Err(error) => self.append_late(error, waits, log, partition, new),
        })
    }

    /// The record's partition: its own wish, else the partitioner's.
    #[inline]
    pub(super) fn partition_for(&self, given: Option<u32>, encoded: &EncodedRecord<'_>) -> Result<u32> {
        if let Some(partition) = given {
            return Ok(partition);
        }
        let partitions = self.target.partitions.count();
        if partitions == 1 {
            return Ok(0);
        }
        let value_len = encoded.value.map_or(0, <[u8]>::len);
        let partition = self.partitioner.partition(encoded.key, value_len, partitions);
        if partition < partitions {
            Ok(partition)
        } else {
            Err(self.out_of_partitions(partition, partitions))
        }
    }

    #[cold]
    fn out_of_partitions(&self, partition: u32, partitions: u32) -> Error {
        let partitioner = &self.partitioner;
        Error::new(
            ErrorKind::PartitionNotFound,
            format!(
                "{partitioner:?} chose partition {partition} of {partitions} of topic {}",
                self.target.topic
            ),
        )
    }

    /// There was no room, or another error: waits for room where the caller `waits`.
    #[cold]
    #[inline(never)]
    fn append_late(
        &self,
        error: Error,
        waits: bool,
        log: &Log,
        partition: u32,
        record: &NewRecord<'_>,
    ) -> Result<Sent> {
        if error.kind() != ErrorKind::Backpressure {
            return Err(error);
        }
        if waits {
            let appended = self.patiently(log, |patience| log.append(record, patience))?;
            return Ok(Sent::new(partition, &appended));
        }
        self.refused.store(size_of_record(record), Ordering::Relaxed);
        self.refused_by.store(partition, Ordering::Relaxed);
        Err(error)
    }

    /// Appends, waiting for room until `max_block` has passed or the producer is closed.
    #[cold]
    pub(super) fn patiently<T>(
        &self,
        log: &Log,
        append: impl FnOnce(Patience<'_>) -> Result<T>,
    ) -> Result<T> {
        let deadline = log.clock().monotonic().saturating_add(self.terms.max_block);
        append(Patience::UntilClosed(deadline, &self.closed)).map_err(|error| {
            if error.kind() != ErrorKind::Backpressure {
                return error;
            }
            let message = format!("there was no room within {:?}", self.terms.max_block);
            Error::new(ErrorKind::TimedOut, message).in_partition(log.topic_partition()).caused_by(error)
        })
    }

    #[inline]
    fn delivery(&self, sent: &Sent) -> Delivery {
        let partition = sent.partition;
        let (offset, timestamp) = (Offset::of(sent.offset), Timestamp::from_millis(sent.timestamp));
        let outstanding = if sent.settled { None } else { self.outstanding_at(partition, offset) };
        Delivery::new(RecordMetadata::new(partition, offset, timestamp), outstanding)
    }

    #[inline(never)]
    fn outstanding_at(&self, partition: u32, offset: Offset) -> Option<Acknowledgement> {
        let log = self.target.partitions.get(partition)?;
        self.outstanding(log, offset.next().get())
    }

    /// What a delivery of everything below `end` must wait for.
    pub(super) fn outstanding(&self, log: &Arc<Log>, end: u64) -> Option<Acknowledgement> {
        match self.acks {
            Acks::None => None,
            _ => Some(Acknowledgement::new(Arc::clone(log), end)),
        }
    }

    #[inline]
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::closed("the producer")) } else { Ok(()) }
    }
}

/// Where a record has come to.
struct Sent {
    offset: u64,
    timestamp: i64,
    partition: u32,
    settled: bool,
}

impl Sent {
    #[inline(always)]
    fn new(partition: u32, appended: &Appended) -> Sent {
        let &Appended { offset, timestamp, settled } = appended;
        Sent { offset, timestamp, partition, settled }
    }
}

/// Bytes a record may take, at most.
fn size_of_record(record: &NewRecord<'_>) -> u64 {
    let of = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
    let headers = record.headers.iter().map(|header| header.key.len() as u64 + of(header.value) + 10);
    RECORD_OVERHEAD + of(record.key) + of(record.value) + headers.sum::<u64>()
}

/// Waits until nothing stands in the way of the record that was refused: memory, or a flush that is overdue.
struct RoomWait<K, V> {
    shared: Arc<Shared<K, V>>,
    log: Arc<Log>,
    room: Option<WaitKey>,
    flush: Option<WaitKey>,
}

impl<K, V> RoomWait<K, V> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.has_room() {
            self.log.budget().waiters().register(&mut self.room, context.waker());
            // Closing the producer wakes the same list.
            self.shared.check_open()?;
            if !self.has_room() {
                return Poll::Pending;
            }
        }
        let on_time = self.log.poll_on_time(context, &mut self.flush);
        // Looked at after the registration: closing the producer wakes that list, too.
        self.shared.check_open()?;
        on_time.map(Ok)
    }

    fn has_room(&self) -> bool {
        let needed = self.shared.refused.load(Ordering::Relaxed);
        // The log's own error is told by the next `try_send`.
        self.log.may_have_room(needed) || self.log.check_open().is_err()
    }
}

impl<K, V> Drop for RoomWait<K, V> {
    fn drop(&mut self) {
        if let Some(key) = self.room.take() {
            self.log.budget().waiters().cancel(key);
        }
        if let Some(key) = self.flush.take() {
            self.log.cancel_acked(key);
        }
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
