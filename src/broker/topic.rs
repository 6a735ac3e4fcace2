//! The handle of a topic.
//!
//! Invariant: a handle keeps the broker open; what it does after the topic was deleted answers `Closed`.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::broker::{Broker, Shared};
use super::description::TopicDescription;
use super::partition::Partition;
use super::producer_builder::ProducerBuilder;
use super::reader_builder::TopicReaderBuilder;
use super::topic_state::TopicState;
use crate::codec::{Codec, Raw};
use crate::config::{Start, TopicConfig};
use crate::consumer::{Codecs, TopicReader};
use crate::error::Result;
use crate::producer::{IdempotentProducer, Producer};
use crate::table::{SnapshotPlace, Table};
use crate::types::{TopicId, TopicName};

/// A topic of an open broker, with the codecs of its keys and values. Cheap to clone; keeps the broker open.
///
/// Made by [`Broker::create_topic`](crate::Broker::create_topic) and [`Broker::topic`](crate::Broker::topic).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
///
/// let broker = Broker::open(dir.path())?;
/// let clicks = broker.create_topic("clicks", TopicConfig::new().partitions(3))?;
/// clicks.producer()?.send(Record::new("/home").key("alice"))?.wait()?;
///
/// let mut reader = clicks.read(Start::Earliest)?;                   // all partitions
/// let records = reader.poll().wait()?;
/// assert_eq!(records.iter().count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Topic<K = Raw, V = Raw> {
    pub(super) shared: Arc<Shared>,
    pub(super) state: Arc<TopicState>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Topic<K, V> {
    pub(super) fn new(shared: Arc<Shared>, state: Arc<TopicState>) -> Topic<K, V> {
        Topic { shared, state, codecs: PhantomData }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        self.state.name()
    }

    /// Tells it from a later topic of the same name.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.state.id()
    }

    /// The settings now.
    #[must_use]
    pub fn config(&self) -> TopicConfig {
        self.state.manifest().config.clone()
    }

    /// Whether it is in memory only: [`TopicConfig::volatile`].
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        self.state.memory().is_some()
    }

    /// How many partitions it has now.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        self.state.partitions().count()
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> Broker {
        Broker { shared: self.shared.clone() }
    }

    /// What it is, and where its partitions stand.
    #[must_use]
    pub fn describe(&self) -> TopicDescription {
        TopicDescription::of(&self.state)
    }

    /// One partition, counted from 0.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # let broker = millpond::Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", millpond::config::TopicConfig::new())?;
    /// assert_eq!(clicks.partition(0)?.log_end_offset().get(), 0);
    /// assert_eq!(clicks.partition(1).unwrap_err().kind(), millpond::ErrorKind::PartitionNotFound);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `PartitionNotFound`; `Closed` if the topic has been deleted.
    pub fn partition(&self, number: u32) -> Result<Partition<K, V>> {
        self.check()?;
        Ok(Partition::new(self.clone(), self.state.partition(number)?))
    }

    /// Every partition there is now, by number.
    ///
    /// # Errors
    /// `Closed` if the topic has been deleted.
    pub fn partitions(&self) -> Result<Vec<Partition<K, V>>> {
        self.check()?;
        let logs = self.state.partitions().iter();
        Ok(logs.map(|log| Partition::new(self.clone(), log.clone())).collect())
    }

    pub(super) fn check(&self) -> Result<()> {
        self.shared.closing.check_open()?;
        self.state.check_alive()
    }
}

impl<K: Codec + Default, V: Codec + Default> Topic<K, V> {
    /// The topic as a map of the latest value of each key, read up to its end: from the snapshot that was
    /// [saved](Table::save_snapshot) last, if it is good, else from the log start.
    ///
    /// # Errors
    /// Those of reading; `Closed`.
    pub fn table(&self) -> Result<Table<K, V>> {
        self.check()?;
        let place = SnapshotPlace {
            environment: self.shared.environment.clone(),
            path: self.state.manifest().snapshot_path(&self.shared.dir),
            topic: self.id(),
        };
        let codecs = Codecs { key: K::default(), value: V::default() };
        let partitions = self.state.partitions().clone();
        Table::open(partitions, codecs, self.producer()?, place, self.shared.clone())
    }

    /// A producer with the default settings.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let producer = broker.create_topic("clicks", TopicConfig::new())?.producer()?;
    /// let stored = producer.send(Record::new("/home"))?.wait()?;
    /// assert_eq!((stored.partition(), stored.offset()), (0, Offset::ZERO));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Closed` if the topic has been deleted or the broker closed.
    pub fn producer(&self) -> Result<Producer<K, V>> {
        self.producer_builder().build()
    }

    /// A producer with settings, or a partitioner, of your own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// use millpond::config::ProducerConfig;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
    /// let producer = clicks.producer_builder().config(ProducerConfig::new().acks(Acks::Leader)).build()?;
    /// producer.send(Record::new("/home"))?.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn producer_builder(&self) -> ProducerBuilder<K, V> {
        ProducerBuilder::new(self.clone())
    }

    /// A producer with a name, under which it goes on after a restart: what it sends again is not in the log twice.
    /// A newer one of the name fences the older.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let lines = broker.create_topic("lines", TopicConfig::new())?;
    /// let importer = lines.idempotent_producer("importer")?;
    /// importer.send(["one", "two"].map(Record::new))?.wait()?;
    /// assert_eq!(importer.last_acknowledged(0)?, Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is empty, longer than 249 bytes or has control characters; `Io`, `StorageFull`
    /// where the name is written down, the first time; `Closed`.
    pub fn idempotent_producer(&self, name: impl AsRef<str>) -> Result<IdempotentProducer<K, V>> {
        self.producer_builder().build_idempotent(name)
    }

    /// A reader of all partitions, without a group. Records of one partition come in their order;
    /// partitions that are added later are read from their start.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new().partitions(3))?;
    /// let mut reader = clicks.read(Start::Earliest)?;
    /// assert!(reader.next()?.is_none());                  // nothing there, and `next` never waits
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `OffsetOutOfRange` if a partition does not hold the offset asked for; `Closed`.
    pub fn read(&self, start: Start) -> Result<TopicReader<K, V>> {
        self.reader_builder().start(start).build()
    }

    /// A reader of all partitions with settings of your own.
    pub fn reader_builder(&self) -> TopicReaderBuilder<K, V> {
        TopicReaderBuilder::new(self.clone())
    }
}

impl<K, V> Clone for Topic<K, V> {
    fn clone(&self) -> Topic<K, V> {
        Topic::new(self.shared.clone(), self.state.clone())
    }
}

impl<K, V> fmt::Debug for Topic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topic")
            .field("name", self.state.name())
            .field("partitions", &self.partition_count())
            .finish_non_exhaustive()
    }
}
