//! Consumer groups as administrators see them, and the broker as the groups see it.
//!
//! Invariant: the lock of administration may be held while the groups are asked, never the other way round.

use std::sync::Arc;
use std::time::Duration;

use super::broker::{Broker, Shared};
use super::group_builder::Group;
use super::topic_state::TopicState;
use crate::config::{CleanupPolicy, Durability, TopicConfig};
use crate::consumer::{Directory, FoundPartition};
use crate::error::{Error, Result};
use crate::group::GroupId;
use crate::partition::Log;
use crate::types::{ByteSize, TopicName, TopicPartition};

pub(super) use crate::format::offsets_topic::OFFSETS_TOPIC;

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
