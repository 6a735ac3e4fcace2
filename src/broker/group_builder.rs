//! The handle of a consumer group: how it is joined, described, reset and deleted.

use std::fmt;
use std::sync::Arc;

use super::broker::Broker;
use super::groups;
use super::lag::PartitionLag;
use super::subscribe::Subscribe;
use crate::config::{GroupConfig, Start};
use crate::consumer::{
    BadRecords, Codecs, Consumer, Directory, FoundPartition, Membership, Policy, RebalanceListener,
    Undecodable, resolve,
};
use crate::error::{Error, ErrorKind, Result};
use crate::group::{
    Assignor, Coming, GroupDescription, GroupId, InstanceId, JoinRequest, OffsetAndMetadata, Sticky,
    Subscription, TopicPattern, check_client_id,
};
use crate::types::{LeaderEpoch, Offset, TopicName, TopicPartition};

/// A consumer group, by its name; from [`Broker::group`].
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use std::time::Duration;
/// use millpond::prelude::*;
/// use millpond::config::GroupConfig;
/// use millpond::group::Range;
///
/// let broker = Broker::open(dir.path())?;
/// broker.create_topic("orders", TopicConfig::new().partitions(3))?;
/// let consumer = broker
///     .group("billing")?
///     .config(GroupConfig::new().max_poll_interval(Duration::from_secs(30)))
///     .assignor(Range)
///     .instance_id("worker-1")?
///     .join("orders")?;
/// assert_eq!(broker.group("billing")?.describe()?.members().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a group is not joined before join()"]
pub struct Group {
    broker: Broker,
    id: GroupId,
    config: GroupConfig,
    assignor: Arc<dyn Assignor>,
    instance_id: Option<InstanceId>,
    client_id: String,
    listener: Option<Box<dyn RebalanceListener>>,
    undecodable: Undecodable,
}

impl Group {
    pub(super) fn new(broker: Broker, id: GroupId) -> Group {
        Group {
            broker,
            id,
            config: GroupConfig::new(),
            assignor: Arc::new(Sticky),
            instance_id: None,
            client_id: "consumer".to_owned(),
            listener: None,
            undecodable: Undecodable::Stop,
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// The settings of the member that joins.
    pub fn config(mut self, config: GroupConfig) -> Group {
        self.config = config;
        self
    }

    /// Who decides which member gets which partitions; all members must bring the same one.
    pub fn assignor(mut self, assignor: impl Assignor + 'static) -> Group {
        self.assignor = Arc::new(assignor);
        self
    }

    /// The member that joins is a static one: if it comes back by this name within its session timeout, also
    /// after a restart of the program, it gets its partitions back, and nobody else is disturbed.
    ///
    /// # Errors
    /// `InvalidArgument` says which rule the name breaks.
    pub fn instance_id(mut self, instance_id: impl AsRef<str>) -> Result<Group> {
        self.instance_id = Some(InstanceId::new(instance_id.as_ref())?);
        Ok(self)
    }

    /// What the member that joins calls itself, for descriptions; `consumer` by default.
    ///
    /// # Errors
    /// `InvalidArgument` says which rule the name breaks.
    pub fn client_id(mut self, client_id: impl AsRef<str>) -> Result<Group> {
        check_client_id(client_id.as_ref())?;
        client_id.as_ref().clone_into(&mut self.client_id);
        Ok(self)
    }

    /// Is told of partitions that the member gets and loses.
    pub fn listener(mut self, listener: impl RebalanceListener + 'static) -> Group {
        self.listener = Some(Box::new(listener));
        self
    }

    /// What becomes of records that [`decode`](Consumer::decode) and
    /// [`for_each_concurrent`](Consumer::for_each_concurrent) cannot decode; they stop by default.
    pub fn undecodable(mut self, undecodable: Undecodable) -> Group {
        self.undecodable = undecodable;
        self
    }

    /// Joins the group, for these topics.
    ///
    /// # Errors
    /// `TopicNotFound`; `InvalidConfig` names the setting; `InvalidArgument` for no topics, a codec that is not
    /// the topic's, or another assignor than the group's, and for dead letters
    /// that go to what it reads; `GroupInUse` if its instance id is in use; those of
    /// making topics; `Closed`.
    pub fn join<S: Subscribe>(self, topics: S) -> Result<Consumer<S::Key, S::Value>> {
        self.config.validate()?;
        let (names, pattern) = topics.wanted_in(&self.broker)?;
        let undecodable = Arc::new(self.bad_records(&names, pattern.as_ref())?);
        let groups = self.broker.shared.groups.clone();
        groups.ensure_offsets_topic(|| groups::offsets_log(&self.broker))?;
        let request = JoinRequest {
            coming: Coming::New,
            client_id: self.client_id,
            instance_id: self.instance_id,
            subscription: Subscription { topics: names.into_iter().collect(), pattern },
            assignor: self.assignor,
            max_poll_interval: self.config.max_poll_interval_duration(),
            session_timeout: self.config.session_timeout_duration(),
        };
        let membership = Membership {
            groups,
            group: self.id,
            request,
            config: self.config,
            listener: self.listener,
            undecodable,
            kept_open: self.broker.shared.clone(),
        };
        Consumer::join(membership, Codecs { key: S::Key::default(), value: S::Value::default() })
    }

    fn bad_records(&self, names: &[TopicName], pattern: Option<&TopicPattern>) -> Result<BadRecords> {
        let policy = match &self.undecodable {
            Undecodable::Stop => Policy::Stop,
            Undecodable::Skip => Policy::Skip,
            Undecodable::Divert(topic) => {
                if names.contains(topic) || pattern.is_some_and(|pattern| pattern.matches(topic.as_str())) {
                    let message = format!("dead letters cannot go to topic {topic}, which is read");
                    return Err(Error::invalid_argument(message));
                }
                Policy::Divert(self.broker.topic(topic)?.producer()?)
            }
        };
        Ok(BadRecords::new(self.id.as_str(), policy))
    }

    /// The group and its members.
    ///
    /// # Errors
    /// `GroupNotFound`.
    pub fn describe(&self) -> Result<GroupDescription> {
        self.broker.shared.groups.describe(&self.id)
    }

    /// How far it is behind in each partition of the topics that it reads or has committed in, sorted. Where it has
    /// committed nothing, or what it has committed cannot be read ([`committed`](Group::committed) says why), it
    /// counts from the log start.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let orders = broker.create_topic("orders", TopicConfig::new())?;
    /// orders.producer()?.send_batch(["tea", "jam", "rye"].map(Record::new))?.wait()?;
    /// let mut consumer = broker.group("billing")?.join("orders")?;
    /// assert_eq!(broker.group("billing")?.lag()?[0].records(), 3);
    /// let records = consumer.poll().wait()?;
    /// consumer.commit(&records).wait()?;
    /// assert_eq!(broker.group("billing")?.lag()?[0].records(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `GroupNotFound`.
    pub fn lag(&self) -> Result<Vec<PartitionLag>> {
        self.broker.shared.lag_of(&self.id)
    }

    /// What it has committed in a partition; `None` if nothing.
    ///
    /// # Errors
    /// `Corrupted` if its record cannot be read.
    pub fn committed(&self, partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>> {
        self.broker.shared.groups.committed(&self.id, partition)
    }

    /// Sets its offsets in all partitions of a topic, durably: it goes on from there. The group is made if there
    /// is none.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// let orders = broker.create_topic("orders", TopicConfig::new())?;
    /// orders.producer()?.send_batch(["tea", "jam", "rye"].map(Record::new))?.wait()?;
    /// broker.group("billing")?.reset("orders", Start::Last(1))?;
    /// let mut consumer = broker.group("billing")?.join("orders")?;
    /// assert_eq!(consumer.poll().wait()?.iter().count(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `GroupInUse` if a member reads the topic; `TopicNotFound`; `OffsetOutOfRange` for an offset that a log does
    /// not hold; those of reading, for a timestamp; those of writing.
    pub fn reset(&self, topic: impl AsRef<str>, to: impl Into<Start>) -> Result<()> {
        let to = to.into();
        self.set(self.broker.shared.partitions_of(topic.as_ref())?, |found| {
            resolve(&found.log, to, self.config.isolation_level()).map(Offset::of)
        })
    }

    /// Sets its offset in one partition.
    ///
    /// # Errors
    /// As [`reset`](Group::reset); `PartitionNotFound`.
    pub fn reset_partition(&self, partition: &TopicPartition, to: impl Into<Start>) -> Result<()> {
        let to = to.into();
        self.set(vec![self.broker.shared.find(partition)?], |found| {
            resolve(&found.log, to, self.config.isolation_level()).map(Offset::of)
        })
    }

    /// Moves its offsets in all partitions of a topic by that many records, back (below 0) or on, within what the
    /// logs hold. Where it has committed nothing, it moves from the log start.
    ///
    /// # Errors
    /// As [`reset`](Group::reset); `Corrupted` where what it has committed cannot be read.
    pub fn shift(&self, topic: impl AsRef<str>, by: i64) -> Result<()> {
        self.set(self.broker.shared.partitions_of(topic.as_ref())?, |found| {
            let committed = self.committed(found.log.topic_partition())?;
            let (start, end) = (found.log.log_start(), found.log.high_watermark());
            let from = committed.map_or(start, |committed| committed.offset().get());
            Ok(Offset::of(from.saturating_add_signed(by).clamp(start, end.max(start))))
        })
    }

    fn set(
        &self,
        partitions: Vec<FoundPartition>,
        offset: impl Fn(&FoundPartition) -> Result<Offset>,
    ) -> Result<()> {
        let groups = &self.broker.shared.groups;
        groups.ensure_offsets_topic(|| groups::offsets_log(&self.broker))?;
        let with_offset = |found: FoundPartition| {
            let at = offset(&found)?;
            let epoch = LeaderEpoch::new(found.log.epoch_before(at.get()));
            Ok((found, OffsetAndMetadata::new(at).leader_epoch(epoch)))
        };
        groups.reset(&self.id, partitions.into_iter().map(with_offset).collect::<Result<_>>()?)
    }

    /// Forgets what it has committed in all partitions of a topic, durably.
    ///
    /// # Errors
    /// `GroupNotFound`; `NoOffset` where it has committed nothing in the topic; `GroupInUse` if a member reads that; those of
    /// writing.
    pub fn delete_offsets(&self, topic: impl AsRef<str>) -> Result<()> {
        let topic = topic.as_ref();
        let sources = self.broker.shared.groups.lag_sources(&self.id)?.into_iter().map(|source| source.tp);
        let partitions: Vec<TopicPartition> = sources.filter(|tp| tp.topic().as_str() == topic).collect();
        if partitions.is_empty() {
            let message = format!("group {} has committed nothing in topic {topic}", self.id);
            return Err(Error::new(ErrorKind::NoOffset, message));
        }
        self.broker.shared.groups.delete_offsets(&self.id, &partitions)
    }

    /// Deletes the group with all that it has committed, durably.
    ///
    /// # Errors
    /// `GroupNotFound`; `GroupInUse` if it has members; those of writing.
    pub fn delete(self) -> Result<()> {
        self.broker.shared.groups.delete_group(&self.id)
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("id", &self.id)
            .field("config", &self.config)
            .field("assignor", &self.assignor)
            .field("instance_id", &self.instance_id)
            .finish_non_exhaustive()
    }
}
