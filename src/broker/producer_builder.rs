//! How a producer is made: settings, and a partitioner of one's own.

use std::fmt;
use std::sync::Arc;

use super::admin::refuse_internal;
use super::topic::Topic;
use crate::codec::{Codec, Raw};
use crate::config::ProducerConfig;
use crate::error::Result;
use crate::producer::{IdempotentProducer, NamedTarget, Producer, ProducerTarget, SchemaHeaders};
use crate::topic::{CodecMark, Partitioner, TopicManifest, built_in};
use crate::types::ByteSize;

/// Makes a producer; begun by [`Topic::producer_builder`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
/// use millpond::topic::RoundRobin;
///
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new().partitions(2))?;
/// let producer = topic.producer_builder().partitioner(RoundRobin::new()).build()?;
/// let first = producer.send(Record::new("a"))?.partition();
/// let second = producer.send(Record::new("b"))?.partition();
/// assert_ne!(first, second);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "no producer is made before build()"]
pub struct ProducerBuilder<K = Raw, V = Raw> {
    topic: Topic<K, V>,
    config: ProducerConfig,
    partitioner: Option<Arc<dyn Partitioner>>,
}

impl<K: Codec + Default, V: Codec + Default> ProducerBuilder<K, V> {
    pub(super) fn new(topic: Topic<K, V>) -> ProducerBuilder<K, V> {
        ProducerBuilder { topic, config: ProducerConfig::new(), partitioner: None }
    }

    /// The producer's settings.
    pub fn config(mut self, config: ProducerConfig) -> ProducerBuilder<K, V> {
        self.config = config;
        self
    }

    /// A partitioner of your own, in place of the one that the settings name.
    pub fn partitioner(mut self, partitioner: impl Partitioner + 'static) -> ProducerBuilder<K, V> {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }

    /// Makes the producer.
    ///
    /// # Errors
    /// `InvalidConfig` names the setting; `InvalidArgument` for an internal topic; `Closed` if the topic has been deleted or the broker closed.
    pub fn build(self) -> Result<Producer<K, V>> {
        let ProducerBuilder { topic, config, partitioner } = self;
        topic.check()?;
        refuse_internal(topic.name())?;
        config.validate()?;
        let manifest = topic.state.manifest();
        let partitioner = partitioner.unwrap_or_else(|| {
            let batch_size = ByteSize::bytes(manifest.config.batch_size_bytes());
            built_in(config.partitioning_kind(), batch_size, topic.shared.environment.random().next_u64())
        });
        let (key, value) = (K::default(), V::default());
        let target = ProducerTarget {
            topic: topic.name().clone(),
            partitions: topic.state.partitions().clone(),
            max_block: topic.shared.config.max_block_duration(),
            kept_open: Some(topic.shared.clone()),
            schema: schema(&manifest, &key, &value).map(Arc::new),
        };
        Ok(Producer::new(target, &config, partitioner, key, value))
    }
}

impl<K: Codec + Default, V: Codec + Default> ProducerBuilder<K, V> {
    /// Makes a producer with a name: see [`Topic::idempotent_producer`].
    ///
    /// # Errors
    /// Those of [`build`](ProducerBuilder::build); `InvalidArgument` for a name that is empty, too long or has
    /// control characters; `Io`, `StorageFull` where it is written down.
    pub fn build_idempotent(self, name: impl AsRef<str>) -> Result<IdempotentProducer<K, V>> {
        let topic = self.topic.clone();
        let producer = self.build()?;
        let holder = topic.shared.take_name(name.as_ref(), topic.id())?;
        // It may come to ask what it has sent, and send nothing. A partition that has failed says so to those who use it.
        for log in topic.state.partitions().iter() {
            let _ = log.hear_of_producer(holder.producer_id());
        }
        Ok(IdempotentProducer::new(NamedTarget { producer, holder }))
    }
}

/// The headers by which records say that they are not in the topic's own codecs and versions.
fn schema(manifest: &TopicManifest, key: &impl Codec, value: &impl Codec) -> Option<SchemaHeaders> {
    let (key, value) = (CodecMark::of(key), CodecMark::of(value));
    // A topic that knows of no codecs takes anything as it comes.
    let differs =
        |own: &CodecMark, known: &Option<CodecMark>| known.as_ref().is_some_and(|known| known != own);
    let key = Some(&key).filter(|own| differs(own, &manifest.key_codec));
    let value = Some(&value).filter(|own| differs(own, &manifest.value_codec));
    if key.is_none() && value.is_none() {
        return None;
    }
    Some(SchemaHeaders::new(
        key.map(|mark| (mark.name.as_str(), mark.schema_version)),
        value.map(|mark| (mark.name.as_str(), mark.schema_version)),
    ))
}

impl<K, V> fmt::Debug for ProducerBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProducerBuilder")
            .field("topic", &self.topic)
            .field("config", &self.config)
            .field("partitioner", &self.partitioner)
            .finish()
    }
}
