//! The handle of a partition.
//!
//! ```text
//!   log start      last stable    high watermark      log end
//!      |  committed     |   acknowledged   |  not yet     |        flushed: <= log end
//! ```
//!
//! Invariant: a handle keeps the broker open; what it does after the topic was deleted answers `Closed`.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::admin::refuse_internal;
use super::broker::Shared;
use super::reader_builder::ReaderBuilder;
use super::topic::Topic;
use crate::codec::{Codec, EncodeKey, EncodeValue, Raw, Record};
use crate::config::Start;
use crate::consumer::Reader;
use crate::error::Result;
use crate::partition::Log;
use crate::producer::BatchDelivery;
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

/// One partition of a topic: an ordered log of records. Cheap to clone; keeps the broker open.
///
/// Made by [`Topic::partition`](crate::Topic::partition).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
///
/// let broker = Broker::open(dir.path())?;
/// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
/// clicks.producer()?.send(Record::new("/home"))?.wait()?;
///
/// let partition = clicks.partition(0)?;
/// assert_eq!(partition.high_watermark().get(), 1);
/// let mut reader = partition.read(Offset::ZERO..)?;
/// let records = reader.next()?.expect("one record is there");
/// assert_eq!(records.iter().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Partition<K = Raw, V = Raw> {
    topic: Topic<K, V>,
    log: Arc<Log>,
}

impl<K, V> Partition<K, V> {
    pub(super) fn new(topic: Topic<K, V>, log: Arc<Log>) -> Partition<K, V> {
        Partition { topic, log }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.topic.shared
    }

    pub(super) fn check(&self) -> Result<()> {
        self.topic.check()
    }

    fn check_writable(&self) -> Result<()> {
        self.check()?;
        refuse_internal(self.topic.name())
    }

    /// Topic and number.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        self.log.topic_partition()
    }

    /// The number, from 0.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.topic_partition().partition()
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        Offset::of(self.log.log_start())
    }

    /// The offset behind the last record, acknowledged or not. In a compressed topic the records of the batch
    /// that is being filled come in with it, when it is full, has lingered or is waited for.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        Offset::of(self.log.log_end())
    }

    /// Where readers stop: every record below is as durable as the topic promises, on every in-sync replica.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset::of(self.log.high_watermark())
    }

    /// Where readers of committed records stop: below it no transaction is open.
    #[must_use]
    pub fn last_stable_offset(&self) -> Offset {
        Offset::of(self.log.last_stable())
    }

    /// Every record below is on the device, whatever the topic promises.
    #[must_use]
    pub fn flushed_offset(&self) -> Offset {
        Offset::of(self.log.flushed())
    }

    /// The epoch in which records are appended now.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch::new(self.log.leader_epoch())
    }

    /// Bytes of its segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.size_bytes()
    }

    /// The offset and timestamp of the first record whose timestamp is `timestamp` or later; `None` if
    /// there is none below the high watermark. Timestamps need not be in order.
    ///
    /// Segment and record are found by halves, so that it hardly matters how large the partition is. The first time that a
    /// search comes by a segment, it asks that for its newest timestamp (a search for recent times, right after the
    /// opening, comes by all).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
    /// let producer = clicks.producer()?;
    /// for millis in [1_000, 2_000, 3_000] {
    ///     producer.send(Record::new("x").timestamp(Timestamp::from_millis(millis)))?.wait()?;
    /// }
    /// let found = clicks.partition(0)?.offset_for_timestamp(Timestamp::from_millis(1_500))?;
    /// assert_eq!(found.map(|(offset, at)| (offset.get(), at.millis())), Some((1, 2_000)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupted`, `Io`, `UnsupportedFormat` from reading; `Closed`.
    #[doc(alias = "offsets_for_times")]
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> Result<Option<(Offset, Timestamp)>> {
        self.check()?;
        let found = self.log.offset_for_timestamp(timestamp.millis())?;
        Ok(found.map(|(offset, at)| (Offset::of(offset), Timestamp::from_millis(at))))
    }

    /// Where the records of a leader epoch end: the greatest epoch that is not above `epoch`, and the offset
    /// behind its last record; `None` if the log knows of none. A follower cuts its log there.
    #[must_use]
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let (epoch, end) = self.log.end_offset_for_epoch(epoch.get())?;
        Some((LeaderEpoch::new(epoch), Offset::of(end)))
    }

    /// Deletes the records below `before`, durably, and answers the new log start. Segments that lie wholly
    /// below are removed; readers keep the records that they look at.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
    /// clicks.producer()?.send_batch(["a", "b", "c"].map(Record::new))?.wait()?;
    /// let partition = clicks.partition(0)?;
    /// let two = Offset::new(2).expect("small");
    /// assert_eq!(partition.delete_records(two)?, two);
    /// assert_eq!(partition.log_start_offset(), two);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `OffsetOutOfRange` above the high watermark; `InvalidArgument` for an internal topic; `Io`, `StorageFull`,
    /// `Poisoned`; `Closed`.
    pub fn delete_records(&self, before: Offset) -> Result<Offset> {
        self.check_writable()?;
        self.log.delete_records(before.get()).map(Offset::of)
    }

    /// A follower's: cuts the log at `to`, durably, because its leader's log differs from there on, and answers the new
    /// log end. Records above are gone; readers keep those that they look at.
    ///
    /// # Errors
    /// `OffsetOutOfRange` below the log start; `InvalidArgument` for an internal topic; `Io`, `StorageFull`, `Poisoned`;
    /// `Closed`.
    pub fn truncate(&self, to: Offset) -> Result<Offset> {
        self.check_writable()?;
        let cut = |log: &Log| log.truncate(to.get());
        self.topic.shared.below_the_point(&self.topic.state, &self.log, cut).map(Offset::of)
    }

    /// A follower's: appends whole batches as its leader sent them, with the offsets and epochs that they
    /// have, and answers the new log end.
    ///
    /// # Errors
    /// `InvalidArgument` for an internal topic, and for bytes that are no batches or do not go on where the log ends:
    /// nothing of them is appended; `Io`, `StorageFull`, `Poisoned`; `Closed`.
    pub fn append_batches(&self, batches: &[u8]) -> Result<Offset> {
        self.check_writable()?;
        self.log.append_follower(batches).map(Offset::of)
    }
}

impl<K: Codec + Default, V: Codec + Default> Partition<K, V> {
    /// Reads a range of the log: `..`, `from..`, `from..to`, `..=last`. Without a start it begins at the
    /// log start; without an end it goes on with what is appended.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
    /// clicks.producer()?.send_batch(["a", "b", "c"].map(Record::new))?.wait()?;
    ///
    /// let (one, two) = (Offset::new(1).expect("small"), Offset::new(2).expect("small"));
    /// let mut reader = clicks.partition(0)?.read(one..two)?;
    /// let records = reader.next()?.expect("one is in the range");
    /// assert_eq!(records.iter().map(|record| record.offset()).collect::<Vec<_>>(), [one]);
    /// assert!(reader.next()?.is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `OffsetOutOfRange` if the log does not hold the start of the range; `Closed`.
    pub fn read(&self, range: impl RangeBounds<Offset>) -> Result<Reader<K, V>> {
        let start = match range.start_bound() {
            Bound::Included(first) => Start::Offset(*first),
            Bound::Excluded(before) => Start::Offset(before.next()),
            Bound::Unbounded => Start::Earliest,
        };
        let builder = self.reader_builder().start(start);
        match range.end_bound() {
            Bound::Included(last) => builder.until(last.next()),
            Bound::Excluded(end) => builder.until(*end),
            Bound::Unbounded => builder,
        }
        .build()
    }

    /// Appends records in one batch, if the first of them gets the offset `expected`: if nobody else has appended
    /// since the log ended there. Without records nothing is appended, but what is expected is looked at all the same;
    /// the delivery is empty then.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # use millpond::ErrorKind;
    /// # let broker = Broker::open(dir.path())?;
    /// let account = broker.create_topic("account", TopicConfig::new())?.partition(0)?;
    /// account.append_expecting(Offset::ZERO, [Record::new("opened")])?.wait()?;
    /// let late = account.append_expecting(Offset::ZERO, [Record::new("opened")]).unwrap_err();
    /// assert_eq!(late.kind(), ErrorKind::UnexpectedOffset { actual: account.log_end_offset() });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `UnexpectedOffset` with the offset that they would get, also if there are none: nothing is appended. `RecordTooLarge` if they do not
    /// fit one batch; else as [`Producer::send_batch`](crate::producer::Producer::send_batch).
    pub fn append_expecting<'a, RV, RK>(
        &self,
        expected: Offset,
        records: impl IntoIterator<Item = Record<'a, RV, RK>>,
    ) -> Result<BatchDelivery>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let producer = self.topic.producer()?;
        let number = self.number();
        let records = records.into_iter().map(|record| record.partition(number));
        producer.send_expecting(number, expected, records)
    }

    /// Reads from a start on.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
    /// clicks.producer()?.send_batch(["a", "b", "c"].map(Record::new))?.wait()?;
    /// let mut reader = clicks.partition(0)?.reader(Start::Last(1))?;
    /// let records = reader.next()?.expect("the last one");
    /// assert_eq!(records.iter().map(|record| record.offset().get()).collect::<Vec<_>>(), [2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `OffsetOutOfRange` if the log does not hold the offset asked for; `Closed`; those of reading, for a
    /// timestamp.
    pub fn reader(&self, start: impl Into<Start>) -> Result<Reader<K, V>> {
        self.reader_builder().start(start).build()
    }

    /// A reader with settings of your own.
    pub fn reader_builder(&self) -> ReaderBuilder<K, V> {
        ReaderBuilder::new(self.clone())
    }
}

impl<K, V> Clone for Partition<K, V> {
    fn clone(&self) -> Partition<K, V> {
        Partition::new(self.topic.clone(), self.log.clone())
    }
}

impl<K, V> fmt::Debug for Partition<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition")
            .field("topic_partition", self.topic_partition())
            .field("log_start_offset", &self.log_start_offset())
            .field("log_end_offset", &self.log_end_offset())
            .finish_non_exhaustive()
    }
}
