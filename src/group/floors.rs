//! How much of a volatile topic its groups have done with: what nobody needs may go when room is wanted.
//!
//! Invariant: a partition's floor is not above what any group has committed that reads the topic, or has committed
//! in it; without such groups it is the start of the log.

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
        let following = self.groups.values().filter(|group| group.follows(tp.topic()));
        let committed = |group: &Group| match group.offsets.seen(tp) {
            Committed::At(offset) => offset.offset(),
            Committed::Absent | Committed::Corrupt(_) => Offset::ZERO,
        };
        following.map(committed).min().unwrap_or(Offset::ZERO)
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
