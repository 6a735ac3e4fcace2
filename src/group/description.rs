//! What there is to tell about a group.

use std::time::Duration;

use super::coordinator::Coordinator;
use super::group::Group;
use super::ids::{GroupId, InstanceId, MemberId};
use super::member::Member;
use super::offsets::{Committed, OffsetAndMetadata};
use crate::error::Result;
use crate::format::offsets_topic::MemberState;
use crate::types::{TopicName, TopicPartition};

/// How a group is doing.
///
/// ```
/// use millpond::group::GroupState;
/// assert_eq!(GroupState::Stable.to_string(), "stable");
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Partitions are being handed over.
    Reconciling,
    /// Every member has what it is to have.
    Stable,
}

impl std::fmt::Display for GroupState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            GroupState::Empty => "empty",
            GroupState::Reconciling => "reconciling",
            GroupState::Stable => "stable",
        })
    }
}

/// A group and its members.
#[derive(Clone, Debug)]
pub struct GroupDescription {
    pub(crate) id: GroupId,
    pub(crate) state: GroupState,
    pub(crate) epoch: i32,
    pub(crate) assignor: String,
    pub(crate) members: Vec<MemberDescription>,
    pub(crate) rebalances: u64,
    pub(crate) moved: u64,
    pub(crate) last_rebalance: Option<Duration>,
    pub(crate) rebalancing: Duration,
    pub(crate) complaint: Option<String>,
}

impl GroupDescription {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// How it is doing.
    #[must_use]
    pub fn state(&self) -> GroupState {
        self.state
    }

    /// Counts the changes of its members and topics.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// The name of its assignor.
    #[must_use]
    pub fn assignor(&self) -> &str {
        &self.assignor
    }

    /// Its members, sorted by id.
    #[must_use]
    pub fn members(&self) -> &[MemberDescription] {
        &self.members
    }

    /// How often its partitions were shared anew since the broker was opened.
    #[must_use]
    pub fn rebalances(&self) -> u64 {
        self.rebalances
    }

    /// How many partitions have left a member for another by that.
    #[must_use]
    pub fn moved_partitions(&self) -> u64 {
        self.moved
    }

    /// How long the last hand-over took, from the change to the last member that had what it was to have.
    #[must_use]
    pub fn last_rebalance(&self) -> Option<Duration> {
        self.last_rebalance
    }

    /// How long all hand-overs took together since the broker was opened.
    #[must_use]
    pub fn rebalance_time(&self) -> Duration {
        self.rebalancing
    }

    /// What was wrong with the last answer of an assignor of the host's own: what could not be taken of it was
    /// left out.
    #[must_use]
    pub fn assignor_complaint(&self) -> Option<&str> {
        self.complaint.as_deref()
    }
}

/// A member of a group.
#[derive(Clone, Debug)]
pub struct MemberDescription {
    pub(crate) id: MemberId,
    pub(crate) instance_id: Option<InstanceId>,
    pub(crate) client_id: String,
    pub(crate) epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) live: bool,
    pub(crate) topics: Vec<TopicName>,
    pub(crate) assigned: Vec<TopicPartition>,
    pub(crate) revoking: Vec<TopicPartition>,
}

impl MemberDescription {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &MemberId {
        &self.id
    }

    /// Its lasting name, if it is a static member.
    #[must_use]
    pub fn instance_id(&self) -> Option<&InstanceId> {
        self.instance_id.as_ref()
    }

    /// What it calls itself.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The group's epoch that it has come to.
    #[must_use]
    pub fn epoch(&self) -> i32 {
        self.epoch
    }

    /// Whether it polls; else it is a static member that is away.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Whether it has all that it is to have.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        self.state == MemberState::Stable
    }

    /// The topics that it reads.
    #[must_use]
    pub fn topics(&self) -> &[TopicName] {
        &self.topics
    }

    /// The partitions that it has.
    #[must_use]
    pub fn assigned(&self) -> &[TopicPartition] {
        &self.assigned
    }

    /// The partitions that it is letting go.
    #[must_use]
    pub fn revoking(&self) -> &[TopicPartition] {
        &self.revoking
    }
}

impl Coordinator {
    /// The groups' names, sorted.
    pub(crate) fn list(&self) -> Vec<GroupId> {
        self.groups.keys().cloned().collect()
    }

    /// A group and its members.
    ///
    /// # Errors
    /// `GroupNotFound`.
    pub(crate) fn describe(&self, id: &GroupId) -> Result<GroupDescription> {
        let group = self.group(id)?;
        let member = |member: &Member| {
            let wanted = self.topics.iter().filter(|(name, _)| member.subscription.wants(name));
            MemberDescription {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                client_id: member.client_id.clone(),
                epoch: member.epoch,
                state: member.state(),
                live: member.is_live(),
                topics: wanted.map(|(name, _)| name.clone()).collect(),
                assigned: member.assigned.keys().cloned().collect(),
                revoking: member.revoking.keys().cloned().collect(),
            }
        };
        Ok(GroupDescription {
            id: group.id.clone(),
            state: state_of(group),
            epoch: group.epoch,
            assignor: group.assignor.name().to_owned(),
            members: group.members.values().map(member).collect(),
            rebalances: group.history.rebalances,
            moved: group.history.moved,
            last_rebalance: group.history.last_rebalance,
            rebalancing: group.history.rebalancing,
            complaint: group.history.complaint.clone(),
        })
    }

    /// All offsets of a group that are seen, and who has the partition.
    ///
    /// # Errors
    /// `GroupNotFound`.
    pub(crate) fn offsets(&self, id: &GroupId) -> Result<Vec<(TopicPartition, Option<OffsetAndMetadata>)>> {
        let value = |committed: &Committed| match committed {
            Committed::At(offset) => Some(offset.clone()),
            Committed::Absent | Committed::Corrupt(_) => None,
        };
        Ok(self.group(id)?.offsets.all_seen().map(|(tp, seen)| (tp.clone(), value(seen))).collect())
    }

    /// Who has a partition.
    pub(crate) fn owner(&self, id: &GroupId, tp: &TopicPartition) -> Option<MemberId> {
        self.groups.get(id)?.owners.get(tp).cloned()
    }
}

fn state_of(group: &Group) -> GroupState {
    if group.members.is_empty() {
        GroupState::Empty
    } else if group.is_stable() {
        GroupState::Stable
    } else {
        GroupState::Reconciling
    }
}
