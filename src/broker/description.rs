//! What a topic is, and where its partitions stand, at one moment.

use std::sync::Arc;

use super::topic_state::TopicState;
use crate::cleaner::dirtiness;
use crate::config::TopicConfig;
use crate::error::{Error, Result};
use crate::partition::Log;
use crate::topic::{CodecMark, TopicManifest};
use crate::types::{LeaderEpoch, Offset, TopicId, TopicName};

/// A topic as [`Broker::describe_topic`](crate::Broker::describe_topic) found it.
#[derive(Clone, Debug)]
pub struct TopicDescription {
    name: TopicName,
    id: TopicId,
    config: TopicConfig,
    key_codec: Option<CodecMark>,
    value_codec: Option<CodecMark>,
    partitions: Vec<PartitionDescription>,
    unreadable: Arc<[Error]>,
}

/// A partition as [`Broker::describe_topic`](crate::Broker::describe_topic) found it.
#[derive(Clone, Debug)]
pub struct PartitionDescription {
    pub(super) number: u32,
    pub(super) log_start: u64,
    pub(super) high_watermark: u64,
    pub(super) log_end: u64,
    pub(super) leader_epoch: i32,
    pub(super) size: u64,
    pub(super) segments: usize,
    pub(super) poisoned: bool,
    pub(super) compacted_to: u64,
    pub(super) dirty: Option<(u64, u32)>,
}

impl TopicDescription {
    pub(super) fn of(topic: &TopicState) -> TopicDescription {
        let partitions =
            (0..).zip(topic.partitions().iter()).map(|(n, log)| PartitionDescription::of(n, log));
        TopicDescription::new(&topic.manifest(), partitions.map(Ok))
    }

    /// Of what each partition has answered.
    pub(super) fn new(
        manifest: &TopicManifest,
        answers: impl Iterator<Item = Result<PartitionDescription>>,
    ) -> TopicDescription {
        let (mut partitions, mut unreadable) = (Vec::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(partition) => partitions.push(partition),
                Err(error) => unreadable.push(error),
            }
        }
        TopicDescription {
            name: manifest.name.clone(),
            id: manifest.id,
            config: manifest.config.clone(),
            key_codec: manifest.key_codec.clone(),
            value_codec: manifest.value_codec.clone(),
            partitions,
            unreadable: unreadable.into(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.name
    }

    /// Whether it is in memory only: [`TopicConfig::volatile`].
    #[must_use]
    pub fn is_volatile(&self) -> bool {
        self.config.volatile_bound().is_some()
    }

    /// Tells it from a later topic of the same name.
    #[must_use]
    pub fn id(&self) -> TopicId {
        self.id
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &TopicConfig {
        &self.config
    }

    /// Name and schema version of the codec of its keys, once a definition has said it.
    #[must_use]
    pub fn key_codec(&self) -> Option<(&str, u32)> {
        self.key_codec.as_ref().map(|mark| (mark.name.as_str(), mark.schema_version))
    }

    /// Name and schema version of the codec of its values, once a definition has said it.
    #[must_use]
    pub fn value_codec(&self) -> Option<(&str, u32)> {
        self.value_codec.as_ref().map(|mark| (mark.name.as_str(), mark.schema_version))
    }

    /// Its partitions, by number; those that are [`unreadable`](Self::unreadable) are left out.
    #[must_use]
    pub fn partitions(&self) -> &[PartitionDescription] {
        &self.partitions
    }

    /// Why partitions are left out: an [`Observer`](crate::Observer) could not read what there is of them. Each
    /// error names its partition. A broker leaves none out.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new().partitions(2))?;
    /// assert_eq!((clicks.describe().partitions().len(), clicks.describe().unreadable().len()), (2, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unreadable(&self) -> &[Error] {
        &self.unreadable
    }

    /// Bytes of all its partitions.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.size).sum()
    }
}

impl PartitionDescription {
    fn of(number: u32, log: &Log) -> PartitionDescription {
        PartitionDescription {
            number,
            log_start: log.log_start(),
            high_watermark: log.high_watermark(),
            log_end: log.log_end(),
            leader_epoch: log.leader_epoch(),
            size: log.size_bytes(),
            segments: log.segment_count(),
            poisoned: log.is_poisoned(),
            compacted_to: log.cleaned_to(),
            dirty: dirty(log),
        }
    }

    /// Its number, from 0.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.number
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        Offset::of(self.log_start)
    }

    /// Where readers stop.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        Offset::of(self.high_watermark)
    }

    /// The offset behind the last record.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        Offset::of(self.log_end)
    }

    /// The epoch in which records are appended now.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch::new(self.leader_epoch)
    }

    /// Bytes of its segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// How many segments it has.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments
    }

    /// Every record below this offset has been through a compaction; 0 of a log that was never compacted.
    #[must_use]
    pub fn compacted_to(&self) -> Offset {
        Offset::of(self.compacted_to)
    }

    /// Bytes that a compaction would find new, in closed segments, and their share of all that it would look
    /// through, in percent; `None` if there are none, or the broker is not asked itself.
    #[must_use]
    pub fn dirty(&self) -> Option<(u64, u32)> {
        self.dirty
    }

    /// Whether a write or sync of it has failed: it acknowledges nothing until the broker is opened again.
    #[must_use]
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }
}

/// What a compaction would find new, if the log is compacted at all.
fn dirty(log: &Log) -> Option<(u64, u32)> {
    let compacts = log.settings().cleanup.policy.compacts();
    let found = compacts.then(|| dirtiness(log).ok().flatten()).flatten()?;
    Some((found.bytes, found.percent))
}
