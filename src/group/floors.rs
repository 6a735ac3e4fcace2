//! How much of a topic its groups have done with: what nobody needs may go when room is wanted, or it is old.
//!
//! Invariant: a partition's floor is not above what any group has committed that reads the topic, or has committed
//! in it; what such a group has not committed anything in, or what cannot be read, is all needed. Without such groups
//! all of a volatile topic is needed, and nothing of another one.

use std::collections::BTreeSet;

use super::coordinator::Coordinator;
use super::group::Group;
use super::offsets::Committed;
use crate::types::{Offset, TopicName, TopicPartition};

impl Coordinator {
    /// The partitions of volatile topics whose floors may have moved since the last time, and where those are.
    pub(crate) fn take_floors(&mut self) -> Vec<(TopicPartition, Offset)> {
        let touched = std::mem::take(&mut self.touched);
        let told = |tp: TopicPartition| {
            let floor = self.floor(&tp);
            (tp, floor)
        };
        touched.into_iter().map(told).collect()
    }

    /// Whether [`take_floors`](Coordinator::take_floors) has something to tell.
    pub(crate) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Groups come, go, or forget: every floor may have moved.
    pub(super) fn touch_volatile(&mut self) {
        let volatile = self.topics.iter().filter(|(_, topic)| topic.volatile);
        for (name, topic) in volatile {
            let partitions = (0..topic.partitions).map(|number| TopicPartition::new(name.clone(), number));
            self.touched.extend(partitions);
        }
    }

    fn floor(&self, tp: &TopicPartition) -> Offset {
        self.unread_from(tp).unwrap_or(Offset::ZERO)
    }

    /// Where what some group has not read begins; none if no group follows the topic.
    pub(crate) fn unread_from(&self, tp: &TopicPartition) -> Option<Offset> {
        let following = self.groups.iter().filter(|(_, group)| group.follows(tp.topic()));
        let committed = |(id, _)| match self.committed(id, tp).0 {
            Committed::At(offset) => offset.offset(),
            Committed::Absent | Committed::Corrupt(_) => Offset::ZERO,
        };
        following.map(committed).min()
    }
}

impl Group {
    /// Whether the group reads the topic, or has committed something in it.
    fn follows(&self, topic: &TopicName) -> bool {
        self.members.values().any(|member| member.subscription.wants(topic))
            || self.offsets.partitions().any(|(tp, _)| tp.topic() == topic)
    }
}

/// Partitions of volatile topics whose floors may have moved.
pub(super) type Touched = BTreeSet<TopicPartition>;
