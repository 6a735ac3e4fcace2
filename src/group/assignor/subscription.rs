//! A group as an assignor sees it, and what it answers.
//!
//! Invariants: members are sorted (static ones by instance id first, then the others by id) and told by
//! their place; topics and the partitions that a member has are sorted and occur once.

use std::collections::BTreeMap;

use crate::group::ids::{InstanceId, MemberId};
use crate::types::{TopicName, TopicPartition};

/// A group: topics with the numbers of their partitions, and members.
///
/// ```
/// use millpond::group::{GroupSubscription, MemberSubscription};
/// use millpond::TopicName;
/// let clicks = TopicName::new("clicks")?;
/// let group = GroupSubscription::new([(clicks.clone(), 2)], [MemberSubscription::new("a").topics([clicks.clone()])]);
/// assert_eq!(group.partitions().count(), 2);
/// assert_eq!(group.subscribers(&clicks), [0]);
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct GroupSubscription {
    topics: BTreeMap<TopicName, u32>,
    members: Vec<MemberSubscription>,
}

impl GroupSubscription {
    /// These topics, with how many partitions each, and these members.
    #[must_use]
    pub fn new(
        topics: impl IntoIterator<Item = (TopicName, u32)>,
        members: impl IntoIterator<Item = MemberSubscription>,
    ) -> GroupSubscription {
        let mut members: Vec<MemberSubscription> = members.into_iter().collect();
        members.sort_by(|a, b| a.rank().cmp(&b.rank()));
        GroupSubscription { topics: topics.into_iter().collect(), members }
    }

    /// The topics and how many partitions they have, sorted by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (&TopicName, u32)> {
        self.topics.iter().map(|(name, count)| (name, *count))
    }

    /// How many partitions a topic has; 0 if there is none of this name.
    #[must_use]
    pub fn partition_count(&self, topic: &TopicName) -> u32 {
        self.topics.get(topic).copied().unwrap_or(0)
    }

    /// All partitions of all topics, sorted.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        let of = |(name, count): (&TopicName, &u32)| {
            let name = name.clone();
            (0..*count).map(move |partition| TopicPartition::new(name.clone(), partition))
        };
        self.topics.iter().flat_map(of)
    }

    /// The members, in the order by which assignors treat them.
    #[must_use]
    pub fn members(&self) -> &[MemberSubscription] {
        &self.members
    }

    /// The places of the members that want this topic.
    #[must_use]
    pub fn subscribers(&self, topic: &TopicName) -> Vec<usize> {
        let wants = |(_, member): &(usize, &MemberSubscription)| member.wants(topic);
        self.members.iter().enumerate().filter(wants).map(|(place, _)| place).collect()
    }
}

/// A member: what it wants, and what it has.
///
/// ```
/// use millpond::group::MemberSubscription;
/// use millpond::{TopicName, TopicPartition};
/// let clicks = TopicName::new("clicks")?;
/// let member = MemberSubscription::new("a").topics([clicks.clone()]).owned([TopicPartition::new(clicks, 0)]);
/// assert_eq!(member.owned_partitions().len(), 1);
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemberSubscription {
    member_id: MemberId,
    instance_id: Option<InstanceId>,
    topics: Vec<TopicName>,
    owned: Vec<TopicPartition>,
}

impl MemberSubscription {
    /// A member that wants nothing and has nothing.
    #[must_use]
    pub fn new(member_id: &str) -> MemberSubscription {
        MemberSubscription::of(MemberId::new(member_id))
    }

    pub(crate) fn of(member_id: MemberId) -> MemberSubscription {
        MemberSubscription { member_id, instance_id: None, topics: Vec::new(), owned: Vec::new() }
    }

    /// Its instance id, if it is a static member.
    #[must_use]
    pub fn instance_id(mut self, instance_id: InstanceId) -> MemberSubscription {
        self.instance_id = Some(instance_id);
        self
    }

    /// The topics that it wants.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = TopicName>) -> MemberSubscription {
        self.topics = topics.into_iter().collect();
        self.topics.sort();
        self.topics.dedup();
        self
    }

    /// The partitions that it has.
    #[must_use]
    pub fn owned(mut self, owned: impl IntoIterator<Item = TopicPartition>) -> MemberSubscription {
        self.owned = owned.into_iter().collect();
        self.owned.sort();
        self.owned.dedup();
        self
    }

    /// Its id.
    #[must_use]
    pub fn member_id(&self) -> &MemberId {
        &self.member_id
    }

    /// Its instance id, if it is a static member.
    #[must_use]
    pub fn static_id(&self) -> Option<&InstanceId> {
        self.instance_id.as_ref()
    }

    /// The topics that it wants, sorted.
    #[must_use]
    pub fn subscribed_topics(&self) -> &[TopicName] {
        &self.topics
    }

    /// The partitions that it has, sorted. Some may be of topics that it no longer wants, or that are gone.
    #[must_use]
    pub fn owned_partitions(&self) -> &[TopicPartition] {
        &self.owned
    }

    /// Whether it wants this topic.
    #[must_use]
    pub fn wants(&self, topic: &TopicName) -> bool {
        self.topics.binary_search(topic).is_ok()
    }

    /// Static members come first.
    fn rank(&self) -> (bool, &str, &str) {
        let instance = self.instance_id.as_ref().map(InstanceId::as_str);
        (instance.is_none(), instance.unwrap_or_default(), self.member_id.as_str())
    }
}

/// Partitions by member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupAssignment {
    partitions: Vec<Vec<TopicPartition>>,
}

impl GroupAssignment {
    /// Nothing for each member of this group.
    #[must_use]
    pub fn new(group: &GroupSubscription) -> GroupAssignment {
        GroupAssignment { partitions: vec![Vec::new(); group.members().len()] }
    }

    /// Gives a partition to the member at this place; one that does not exist gets nothing.
    pub fn give(&mut self, member: usize, partition: TopicPartition) {
        if let Some(partitions) = self.partitions.get_mut(member) {
            partitions.push(partition);
        }
    }

    /// The partitions of the member at this place.
    #[must_use]
    pub fn of(&self, member: usize) -> &[TopicPartition] {
        self.partitions.get(member).map_or(&[], Vec::as_slice)
    }

    /// The partitions of all members, by place.
    pub(crate) fn into_parts(self) -> Vec<Vec<TopicPartition>> {
        self.partitions
    }
}
