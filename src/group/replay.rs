//! The state that the offsets topic's records tell, at the opening.
//!
//! ```text
//!   records in the order of the log -> replay -> ... -> opened(topics, now)
//!                                                        offsets of topics that are gone: tombstones
//!                                                        static members: away, with a time to come back
//! ```
//!
//! Invariants
//! - The last record of a key counts; types that are not used are left alone.
//! - A value that cannot be read stands as damaged, never as absent; a key that cannot be read is counted.
//! - Who was there when the process ended has from now on as long to come back as it may be away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::assignor::{by_name, is_known};
use super::coordinator::Coordinator;
use super::effect::{Effect, Now};
use super::group::Group;
use super::ids::{GroupId, InstanceId, MemberId};
use super::member::{Member, Presence};
use super::subscription::{Subscription, TopicPattern};
use super::topics::{KnownTopic, Topics};
use crate::format::offsets_topic::{
    CurrentAssignment, GroupMetadata, MemberMetadata, OffsetCommit, OffsetsKey, TopicPartitions,
};
use crate::types::{Timestamp, TopicName, TopicPartition};

/// What records have told of static members, by group and member.
#[derive(Debug, Default)]
pub(crate) struct Replayed {
    members: BTreeMap<(GroupId, String), MemberRecords>,
    /// Records whose keys could not be read.
    pub(crate) unreadable: u64,
}

#[derive(Debug, Default)]
struct MemberRecords {
    metadata: Option<MemberMetadata>,
    current: Option<CurrentAssignment>,
}

impl Coordinator {
    /// A record of the offsets topic, before [`opened`](Coordinator::opened).
    pub(crate) fn replay(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Ok(key) = OffsetsKey::decode(key) else {
            self.replayed.unreadable += 1;
            return;
        };
        let name = match &key {
            OffsetsKey::Offset { group, .. }
            | OffsetsKey::Group { group }
            | OffsetsKey::Member { group, .. }
            | OffsetsKey::Current { group, .. } => GroupId::new(group),
            OffsetsKey::Target { .. } | OffsetsKey::MemberTarget { .. } | OffsetsKey::Other(_) => return,
        };
        let Ok(name) = name else {
            self.replayed.unreadable += 1;
            return;
        };
        match key {
            OffsetsKey::Offset { topic, partition, .. } => {
                let Ok(topic) = TopicName::new(&topic) else {
                    self.replayed.unreadable += 1;
                    return;
                };
                let tp = TopicPartition::new(topic, partition);
                let record = value.map(|value| OffsetCommit::decode(value).map_err(|e| e.to_string()));
                self.group_mut(&name).offsets.replay(tp, record);
            }
            OffsetsKey::Group { .. } => self.replay_group(name, value),
            OffsetsKey::Member { member, .. } => {
                let metadata = value.and_then(|value| MemberMetadata::decode(value).ok());
                self.replayed.members.entry((name, member)).or_default().metadata = metadata;
            }
            OffsetsKey::Current { member, .. } => {
                let current = value.and_then(|value| CurrentAssignment::decode(value).ok());
                self.replayed.members.entry((name, member)).or_default().current = current;
            }
            OffsetsKey::Target { .. } | OffsetsKey::MemberTarget { .. } | OffsetsKey::Other(_) => {}
        }
    }

    fn replay_group(&mut self, name: GroupId, value: Option<&[u8]>) {
        let group = self.group_mut(&name);
        let metadata = value.and_then(|value| GroupMetadata::decode(value).ok());
        group.saved = value.is_some();
        group.epoch = metadata.as_ref().map_or(group.epoch, |metadata| group.epoch.max(metadata.epoch));
        let since = metadata.map_or(-1, |metadata| metadata.empty_since);
        group.empty_since = (since >= 0).then_some(Timestamp::from_millis(since));
    }

    /// All records have been replayed; these are the topics that there are.
    pub(crate) fn opened(
        &mut self,
        topics: impl IntoIterator<Item = (TopicName, KnownTopic)>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        for (name, topic) in topics {
            self.topics.put(name, topic);
        }
        let members = std::mem::take(&mut self.replayed.members);
        for ((name, id), records) in members {
            let Some(metadata) = records.metadata else { continue };
            self.restore_member(&name, &id, metadata, records.current, now);
        }
        let names: Vec<GroupId> = self.groups.keys().cloned().collect();
        for name in names {
            self.settle_opened(&name, now, out);
        }
    }

    fn restore_member(
        &mut self,
        name: &GroupId,
        id: &str,
        metadata: MemberMetadata,
        current: Option<CurrentAssignment>,
        now: Now,
    ) {
        let instance_id = metadata.instance_id.as_deref().and_then(|id| InstanceId::new(id).ok());
        // Members without an instance id die with their process.
        let Some(instance_id) = instance_id else { return };
        let session_timeout = Duration::from_millis(u64::try_from(metadata.session_timeout_ms).unwrap_or(0));
        let expires_at = match metadata.expires_at {
            -1 => now.wall.saturating_add(session_timeout),
            at => Timestamp::from_millis(at),
        };
        let assignor = metadata.assignor.as_deref().map(by_name);
        let awaits = metadata.assignor.as_deref().is_some_and(|name| !is_known(name));
        let member = Member {
            id: MemberId::new(id),
            instance_id: Some(instance_id),
            client_id: metadata.client_id,
            subscription: Subscription {
                topics: metadata.topics.iter().filter_map(|name| TopicName::new(name).ok()).collect(),
                pattern: metadata.pattern.as_deref().and_then(|text| TopicPattern::new(text).ok()),
            },
            presence: Presence::Away { expires_at },
            epoch: current.as_ref().map_or(0, |current| current.epoch),
            previous_epoch: current.as_ref().map_or(0, |current| current.previous_epoch),
            target: Default::default(),
            assigned: current.map_or_else(BTreeMap::new, |current| held(&current.assigned, &self.topics)),
            revoking: BTreeMap::new(),
            revocation: 0,
            max_poll_interval: Duration::from_millis(
                u64::try_from(metadata.rebalance_timeout_ms).unwrap_or(0),
            ),
            session_timeout,
        };
        let group = self.group_mut(name);
        group.epoch = group.epoch.max(member.epoch);
        group.assignor = assignor.unwrap_or_else(|| group.assignor.clone());
        group.awaits_assignor |= awaits;
        group.restore(member);
    }

    fn settle_opened(&mut self, name: &GroupId, now: Now, out: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(name) else { return };
        if group.members.is_empty() && group.empty_since.is_none() {
            group.set_empty(Some(now.wall));
        }
        group.put_out_overdue(&self.topics, now, out);
        if !group.members.is_empty() && !group.is_settled(&self.topics) {
            group.rebalance(&self.topics, now, out);
        }
        let gone: Vec<TopicPartition> = group
            .offsets
            .partitions()
            .filter(|(tp, id)| {
                let known = self.topics.get(tp.topic());
                !known.is_some_and(|topic| id.is_none_or(|id| id == topic.id))
            })
            .map(|(tp, _)| tp.clone())
            .collect();
        self.tombstone_offsets(name, &gone, out);
        self.save(name, out);
    }
}

impl Group {
    /// A static member that was there before the restart.
    fn restore(&mut self, mut member: Member) {
        let owners = &self.owners;
        member.assigned.retain(|tp, _| !owners.contains_key(tp));
        member.target = member.assigned.keys().cloned().collect();
        for tp in member.assigned.keys() {
            self.owners.insert(tp.clone(), member.id.clone());
        }
        let id = member.id.clone();
        self.members.insert(id.clone(), member);
        self.unsaved_member(&id);
    }

    /// Whether the targets are what the assignor answers for the topics there are.
    pub(super) fn is_settled(&self, topics: &Topics) -> bool {
        let view = self.subscription(topics);
        let Ok(answer) = self.ask_assignor(&view) else { return false };
        let mut members = view.members().iter().enumerate();
        members.all(|(place, member)| {
            let target: BTreeSet<&TopicPartition> = answer.of(place).iter().collect();
            target.into_iter().eq(member.owned_partitions())
        })
    }
}

fn held(assigned: &[TopicPartitions], topics: &Topics) -> BTreeMap<TopicPartition, i32> {
    let mut held = BTreeMap::new();
    for of in assigned {
        let Some(name) = topics.name_of(of.topic) else { continue };
        let epochs = of.epochs.iter().copied().chain(std::iter::repeat(0));
        for (partition, epoch) in of.partitions.iter().zip(epochs) {
            held.insert(TopicPartition::new(name.clone(), *partition), epoch);
        }
    }
    held
}
