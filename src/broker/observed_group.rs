//! A consumer group as it is seen from outside the process.

use std::sync::Arc;

use super::lag::PartitionLag;
use crate::error::Error;
use crate::group::{GroupId, InstanceId, MemberId};
use crate::types::{Timestamp, TopicPartition};

/// A consumer group as an [`Observer`](crate::Observer) sees it: what is written down of it.
///
/// Members that are not static come and go without a trace on the disk: who they are, only the program knows that
/// they run in ([`Group::describe`](crate::Group::describe)).
#[derive(Clone, Debug)]
pub struct ObservedGroup {
    pub(super) id: GroupId,
    pub(super) epoch: Option<i32>,
    pub(super) empty_since: Option<Timestamp>,
    pub(super) members: Vec<ObservedMember>,
    pub(super) lag: Vec<PartitionLag>,
    pub(super) unreadable: Arc<[Error]>,
}

/// A static member as an [`Observer`](crate::Observer) sees it.
#[derive(Clone, Debug)]
pub struct ObservedMember {
    pub(super) id: MemberId,
    pub(super) instance_id: InstanceId,
    pub(super) client_id: String,
    pub(super) away_until: Option<Timestamp>,
    pub(super) assigned: Vec<TopicPartition>,
}

impl ObservedGroup {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// The last epoch that was written down; `None` of a group that never had members. Changes of members that
    /// are not static are not written down one by one.
    #[must_use]
    pub fn epoch(&self) -> Option<i32> {
        self.epoch
    }

    /// Whether it had members when that was last written down. Where no broker runs, nobody reads all the same.
    #[must_use]
    pub fn has_members(&self) -> bool {
        self.epoch.is_some() && self.empty_since.is_none()
    }

    /// Since when it has no members.
    #[must_use]
    pub fn empty_since(&self) -> Option<Timestamp> {
        self.empty_since
    }

    /// Its static members, by id.
    #[must_use]
    pub fn static_members(&self) -> &[ObservedMember] {
        &self.members
    }

    /// How far it is behind in each partition of the topics that it has committed in, or that a static member
    /// reads, sorted; those that are [`unreadable`](Self::unreadable) are left out. The position is never known.
    #[must_use]
    pub fn lag(&self) -> &[PartitionLag] {
        &self.lag
    }

    /// Why partitions are left out of [`lag`](Self::lag): the log, or what the group has committed in it, could not
    /// be read. Each error names its partition.
    #[must_use]
    pub fn unreadable(&self) -> &[Error] {
        &self.unreadable
    }

    /// Its lag in records of all partitions that can be read.
    #[must_use]
    pub fn lag_records(&self) -> u64 {
        self.lag.iter().map(PartitionLag::records).sum()
    }
}

impl ObservedMember {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &MemberId {
        &self.id
    }

    /// Its lasting name.
    #[must_use]
    pub fn instance_id(&self) -> &InstanceId {
        &self.instance_id
    }

    /// What it calls itself.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Until when it is waited for, if it is away.
    #[must_use]
    pub fn away_until(&self) -> Option<Timestamp> {
        self.away_until
    }

    /// The partitions that it has.
    #[must_use]
    pub fn assigned(&self) -> &[TopicPartition] {
        &self.assigned
    }
}
