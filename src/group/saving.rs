//! What of a group is written down: what it has committed, and what its static members have.
//!
//! Invariant: what a call has changed is written by the effects of that call.

use std::collections::BTreeMap;

use super::effect::OffsetsRecord;
use super::group::Group;
use super::ids::{InstanceId, MemberId};
use super::member::{Member, Presence};
use super::offsets::OffsetAndMetadata;
use super::subscription::TopicPattern;
use super::topics::Topics;
use crate::format::offsets_topic::{
    CurrentAssignment, GroupMetadata, MemberMetadata, OffsetCommit, OffsetsKey, TopicPartitions,
};
use crate::types::{Timestamp, TopicId, TopicPartition};

/// The record of an offset; without one, the tombstone.
pub(crate) fn offset_record(
    group: &str,
    tp: &TopicPartition,
    topic_id: TopicId,
    offset: Option<&OffsetAndMetadata>,
) -> OffsetsRecord {
    let key = OffsetsKey::Offset {
        group: group.to_owned(),
        topic: tp.topic().as_str().to_owned(),
        partition: tp.partition(),
    };
    let value = offset.map(|offset| {
        let commit = OffsetCommit {
            offset: i64::try_from(offset.offset().get()).unwrap_or(i64::MAX),
            leader_epoch: offset.epoch().get(),
            metadata: offset.metadata_text().to_owned(),
            commit_timestamp: offset.committed_at().millis(),
            topic_id: Some(topic_id),
        };
        commit.encode()
    });
    OffsetsRecord { key, value }
}

impl Group {
    /// The records of what has changed since the last time.
    pub(crate) fn take_unsaved(&mut self, topics: &Topics) -> Vec<OffsetsRecord> {
        let unsaved = std::mem::take(&mut self.unsaved);
        let mut records = Vec::new();
        if unsaved.group {
            self.saved = true;
            let empty_since = self.empty_since.map_or(-1, Timestamp::millis);
            let value = GroupMetadata { epoch: self.epoch, empty_since }.encode();
            let key = OffsetsKey::Group { group: self.id.to_string() };
            records.push(OffsetsRecord { key, value: Some(value) });
        }
        for id in &unsaved.gone {
            records.extend(self.member_keys(id).map(|key| OffsetsRecord { key, value: None }));
        }
        for id in &unsaved.members {
            let Some(member) = self.members.get(id) else { continue };
            let values = [metadata(member, self.assignor.name()).encode(), current(member, topics).encode()];
            let keys = self.member_keys(id).into_iter().zip(values);
            records.extend(keys.map(|(key, value)| OffsetsRecord { key, value: Some(value) }));
        }
        records
    }

    /// The tombstone of a group of which nothing is left.
    pub(crate) fn tombstone(&self) -> Option<OffsetsRecord> {
        let key = OffsetsKey::Group { group: self.id.to_string() };
        self.saved.then_some(OffsetsRecord { key, value: None })
    }

    fn member_keys(&self, id: &MemberId) -> [OffsetsKey; 2] {
        let (group, member) = (self.id.to_string(), id.to_string());
        let metadata = OffsetsKey::Member { group: group.clone(), member: member.clone() };
        [metadata, OffsetsKey::Current { group, member }]
    }
}

fn metadata(member: &Member, assignor: &str) -> MemberMetadata {
    let millis = |time: std::time::Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    MemberMetadata {
        instance_id: member.instance_id.as_ref().map(InstanceId::to_string),
        rack_id: None,
        client_id: member.client_id.clone(),
        client_host: String::new(),
        topics: member.subscription.topics.iter().map(ToString::to_string).collect(),
        pattern: member.subscription.pattern.as_ref().map(TopicPattern::to_string),
        rebalance_timeout_ms: i32::try_from(millis(member.max_poll_interval)).unwrap_or(i32::MAX),
        assignor: Some(assignor.to_owned()),
        expires_at: match member.presence {
            Presence::Live { .. } => -1,
            Presence::Away { expires_at } => expires_at.millis(),
        },
        session_timeout_ms: millis(member.session_timeout),
    }
}

fn current(member: &Member, topics: &Topics) -> CurrentAssignment {
    CurrentAssignment {
        epoch: member.epoch,
        previous_epoch: member.previous_epoch,
        state: member.state(),
        assigned: by_topic(&member.assigned, topics),
        pending_revocation: by_topic(&member.revoking, topics),
    }
}

fn by_topic(partitions: &BTreeMap<TopicPartition, i32>, topics: &Topics) -> Vec<TopicPartitions> {
    let mut found: Vec<TopicPartitions> = Vec::new();
    for (tp, epoch) in partitions {
        let Some(topic) = topics.get(tp.topic()) else { continue };
        match found.last_mut().filter(|last| last.topic == topic.id) {
            Some(last) => {
                last.partitions.push(tp.partition());
                last.epochs.push(*epoch);
            }
            None => found.push(TopicPartitions {
                topic: topic.id,
                partitions: vec![tp.partition()],
                epochs: vec![*epoch],
            }),
        }
    }
    found
}
