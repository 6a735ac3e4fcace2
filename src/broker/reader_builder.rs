//! How readers are made with settings of one's own.

use std::fmt;

use super::partition::Partition;
use super::topic::Topic;
use crate::codec::{Codec, Raw};
use crate::config::{ReaderConfig, Start};
use crate::consumer::{Codecs, Reader, TopicReader, resolve};
use crate::error::Result;
use crate::types::Offset;

/// Makes a reader of one partition; begun by [`Partition::reader_builder`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
/// use millpond::config::{CrcCheck, ReaderConfig};
///
/// let broker = Broker::open(dir.path())?;
/// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
/// clicks.producer()?.send_batch(["a", "b", "c"].map(Record::new))?.wait()?;
///
/// let config = ReaderConfig::new().max_records(500).crc_check(CrcCheck::Always);
/// let mut reader = clicks.partition(0)?.reader_builder().config(config).start(Start::Last(2)).build()?;
/// let records = reader.next()?.expect("two are left");
/// assert_eq!(records.iter().count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "no reader is made before build()"]
pub struct ReaderBuilder<K = Raw, V = Raw> {
    partition: Partition<K, V>,
    config: ReaderConfig,
    start: Start,
    until: Option<Offset>,
}

impl<K: Codec + Default, V: Codec + Default> ReaderBuilder<K, V> {
    pub(super) fn new(partition: Partition<K, V>) -> ReaderBuilder<K, V> {
        ReaderBuilder { partition, config: ReaderConfig::new(), start: Start::Earliest, until: None }
    }

    /// The reader's settings.
    pub fn config(mut self, config: ReaderConfig) -> ReaderBuilder<K, V> {
        self.config = config;
        self
    }

    /// Where it begins; at the log start by default.
    pub fn start(mut self, start: impl Into<Start>) -> ReaderBuilder<K, V> {
        self.start = start.into();
        self
    }

    /// It ends before this offset; without it, it goes on for ever.
    pub fn until(mut self, until: Offset) -> ReaderBuilder<K, V> {
        self.until = Some(until);
        self
    }

    /// Makes the reader.
    ///
    /// # Errors
    /// `InvalidConfig` names the setting; `OffsetOutOfRange` if the log does not hold the offset asked
    /// for; `Closed`; those of reading, for a timestamp.
    pub fn build(self) -> Result<Reader<K, V>> {
        let ReaderBuilder { partition, config, start, until } = self;
        partition.check()?;
        config.validate()?;
        let start = resolve(partition.log(), start, config.isolation_level())?;
        let reader = Reader::new(partition.log().clone(), start, until, &config, codecs());
        Ok(reader.keeping_open(partition.shared().clone()))
    }
}

/// Makes a reader of a whole topic; begun by [`Topic::reader_builder`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
/// use millpond::config::ReaderConfig;
///
/// let broker = Broker::open(dir.path())?;
/// let clicks = broker.create_topic("clicks", TopicConfig::new().partitions(3))?;
/// let config = ReaderConfig::new().max_bytes(ByteSize::kib(64));
/// let mut reader = clicks.reader_builder().config(config).start(Start::Latest).build()?;
/// assert!(reader.next()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "no reader is made before build()"]
pub struct TopicReaderBuilder<K = Raw, V = Raw> {
    topic: Topic<K, V>,
    config: ReaderConfig,
    start: Start,
}

impl<K: Codec + Default, V: Codec + Default> TopicReaderBuilder<K, V> {
    pub(super) fn new(topic: Topic<K, V>) -> TopicReaderBuilder<K, V> {
        TopicReaderBuilder { topic, config: ReaderConfig::new(), start: Start::Earliest }
    }

    /// The reader's settings.
    pub fn config(mut self, config: ReaderConfig) -> TopicReaderBuilder<K, V> {
        self.config = config;
        self
    }

    /// Where it begins in each partition; at the log start by default.
    pub fn start(mut self, start: impl Into<Start>) -> TopicReaderBuilder<K, V> {
        self.start = start.into();
        self
    }

    /// Makes the reader.
    ///
    /// # Errors
    /// `InvalidConfig` names the setting; `OffsetOutOfRange` if a partition does not hold the offset asked
    /// for; `Closed`; those of reading, for a timestamp.
    pub fn build(self) -> Result<TopicReader<K, V>> {
        let TopicReaderBuilder { topic, config, start } = self;
        topic.check()?;
        config.validate()?;
        let partitions = topic.state.partitions().clone();
        let reader = TopicReader::new(topic.name().clone(), partitions, start, &config, codecs())?;
        Ok(reader.keeping_open(topic.shared))
    }
}

fn codecs<K: Default, V: Default>() -> Codecs<K, V> {
    Codecs { key: K::default(), value: V::default() }
}

impl<K, V> fmt::Debug for ReaderBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReaderBuilder")
            .field("partition", &self.partition)
            .field("config", &self.config)
            .field("start", &self.start)
            .field("until", &self.until)
            .finish()
    }
}

impl<K, V> fmt::Debug for TopicReaderBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicReaderBuilder")
            .field("topic", &self.topic)
            .field("config", &self.config)
            .field("start", &self.start)
            .finish()
    }
}
