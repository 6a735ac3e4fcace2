//! Consumer groups as administrators see them, and the broker as the groups see it.
//!
//! Invariant: the lock of administration may be held while the groups are asked, never the other way round.

use std::sync::Arc;
use std::time::Duration;

use super::broker::{Broker, Shared};
use super::group_builder::Group;
use super::topic_state::TopicState;
use crate::config::{CleanupPolicy, Durability, TopicConfig};
use crate::consumer::{Directory, FoundPartition, LagSource};
use crate::error::{Error, Result};
use crate::group::{GroupId, MemberId, OffsetAndMetadata};
use crate::partition::{Cursor, Log, ReadLimits};
use crate::types::{ByteSize, Offset, Timestamp, TopicName, TopicPartition};

/// The internal topic that holds what groups have committed.
pub(super) const OFFSETS_TOPIC: &str = "__consumer_offsets";

impl Broker {
    /// A consumer group, by its name: to join it with settings of your own, or to see after it. It need not exist:
    /// it comes with its first member.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// broker.create_topic("orders", TopicConfig::new().partitions(3))?;
    /// let consumer = broker.group("billing")?.join("orders")?;
    /// assert_eq!(broker.groups()?[0].as_str(), "billing");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` says which rule the name breaks.
    pub fn group(&self, name: impl AsRef<str>) -> Result<Group> {
        self.shared.closing.check_open()?;
        Ok(Group::new(self.clone(), GroupId::new(name.as_ref())?))
    }

    /// The names of all groups that have members or offsets, sorted.
    ///
    /// # Errors
    /// `Corrupted` if the topic that holds them could not be read; `Closed`.
    pub fn groups(&self) -> Result<Vec<GroupId>> {
        self.shared.groups.list()
    }
}

impl Directory for Shared {
    fn find(&self, tp: &TopicPartition) -> Result<FoundPartition> {
        let topic = self.topics.read().get(tp.topic())?;
        Ok(FoundPartition { topic_id: topic.id(), log: topic.partition(tp.partition())? })
    }

    fn wake_at(&self, when: Duration) {
        self.service.groups_due_at(when);
    }
}

/// How far a group is behind in a partition.
#[derive(Clone, Debug)]
pub struct PartitionLag {
    partition: TopicPartition,
    committed: Option<OffsetAndMetadata>,
    log_start: Offset,
    end: Offset,
    owner: Option<MemberId>,
    oldest_unread: Option<Timestamp>,
}

impl PartitionLag {
    /// Of a partition with this log.
    pub(super) fn new(source: LagSource, log: &Arc<Log>) -> PartitionLag {
        let from = source.committed.as_ref().map_or(0, |committed| committed.offset().get());
        PartitionLag {
            oldest_unread: first_timestamp(log, from.max(log.log_start())),
            partition: source.tp,
            committed: source.committed,
            log_start: Offset::of(log.log_start()),
            end: Offset::of(log.high_watermark()),
            owner: source.owner,
        }
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// What the group has committed, if anything.
    #[must_use]
    pub fn committed(&self) -> Option<&OffsetAndMetadata> {
        self.committed.as_ref()
    }

    /// The end of what can be read: its high watermark.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// How many records lie between what is committed (or kept, if that is less) and the end.
    #[must_use]
    pub fn records(&self) -> u64 {
        let committed = self.committed.as_ref().map_or(self.log_start, OffsetAndMetadata::offset);
        self.end.distance_from(committed.max(self.log_start)).unwrap_or(0)
    }

    /// The timestamp of the first record that is not committed; `None` if there is none, or it cannot be read.
    /// How long ago that was is the lag in time.
    #[must_use]
    pub fn oldest_unread(&self) -> Option<Timestamp> {
        self.oldest_unread
    }

    /// Who reads the partition now.
    #[must_use]
    pub fn owner(&self) -> Option<&MemberId> {
        self.owner.as_ref()
    }
}

/// The timestamp of the first record at `offset` or behind it.
fn first_timestamp(log: &Arc<Log>, offset: u64) -> Option<Timestamp> {
    let limits = ReadLimits { max_bytes: 1, max_records: 1, crc: log.crc_check() };
    let chunk = Cursor::new(log.clone(), offset).read(u64::MAX, &limits).ok()??;
    let first = chunk.iter().next()?.ok()?;
    Some(Timestamp::from_millis(first.timestamp))
}

impl Shared {
    /// A partition that somebody has named.
    pub(super) fn partitions_of(&self, topic: &str) -> Result<Vec<FoundPartition>> {
        let topic = self.topics.read().get(&TopicName::new(topic)?)?;
        Ok(topic
            .partitions()
            .iter()
            .map(|log| FoundPartition { topic_id: topic.id(), log: log.clone() })
            .collect())
    }
}

/// The settings of the offsets topic.
pub(super) fn offsets_topic_config() -> TopicConfig {
    TopicConfig::new()
        .durability(Durability::Sync)
        .segment_size(ByteSize::mib(16))
        .cleanup_policy(CleanupPolicy::Compact)
}

/// The offsets topic, compacted also where an earlier version has made it.
fn with_compaction(broker: &Broker, topic: Arc<TopicState>) -> Result<Arc<TopicState>> {
    let policy = CleanupPolicy::Compact;
    if topic.manifest().config.cleanup_policy_kind() == policy {
        return Ok(topic);
    }
    let _admin = broker.begin_admin()?;
    let config = topic.manifest().config.clone().cleanup_policy(policy);
    broker.change_settings(&topic, config)?;
    Ok(topic)
}

/// The log of the offsets topic of this broker, which is made if there is none.
pub(super) fn offsets_log(broker: &Broker) -> Result<Arc<Log>> {
    let name = TopicName::new(OFFSETS_TOPIC).map_err(Error::from)?;
    let known = broker.shared.topics.read().find(&name);
    let topic = match known {
        Some(topic) => with_compaction(broker, topic)?,
        None => {
            let _admin = broker.begin_admin()?;
            let known = broker.shared.topics.read().find(&name);
            match known {
                Some(topic) => topic,
                None => broker.create(name, offsets_topic_config(), None)?,
            }
        }
    };
    topic.partition(0)
}
