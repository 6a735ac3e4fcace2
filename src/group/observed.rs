//! The groups as the records of the offsets topic tell them, for those who only look.
//!
//! Invariants
//! - The last record of a key counts. What cannot be read is left out, a damaged offset excepted: it stands as
//!   damaged, not as absent.
//! - Only static members are written down; of the others the group's record says whether there are any.

use std::collections::BTreeMap;

use super::ids::GroupId;
use super::offsets::{Committed, seen_of};
use crate::format::offsets_topic::{
    CurrentAssignment, GroupMetadata, MemberMetadata, OffsetCommit, OffsetsKey, TopicPartitions,
};
use crate::types::{TopicId, TopicName, TopicPartition};

/// All groups of an offsets topic.
#[derive(Debug, Default)]
pub(crate) struct RecordedGroups {
    groups: BTreeMap<GroupId, RecordedGroup>,
}

/// A group.
#[derive(Debug, Default)]
pub(crate) struct RecordedGroup {
    /// Its record; none of a group that has only had offsets set.
    pub(crate) metadata: Option<GroupMetadata>,
    /// The topics that offsets were committed for are not known of old records.
    pub(crate) offsets: BTreeMap<TopicPartition, (Option<TopicId>, Committed)>,
    /// Static members by id.
    pub(crate) members: BTreeMap<String, RecordedMember>,
}

/// A static member.
#[derive(Debug, Default)]
pub(crate) struct RecordedMember {
    pub(crate) metadata: Option<MemberMetadata>,
    current: Option<CurrentAssignment>,
}

impl RecordedGroups {
    /// The next record of the topic.
    pub(crate) fn take(&mut self, key: &[u8], value: Option<&[u8]>) {
        let Ok(key) = OffsetsKey::decode(key) else { return };
        let (OffsetsKey::Offset { group, .. }
        | OffsetsKey::Group { group }
        | OffsetsKey::Member { group, .. }
        | OffsetsKey::Current { group, .. }) = &key
        else {
            return;
        };
        let Ok(name) = GroupId::new(group) else { return };
        let group = self.groups.entry(name.clone()).or_default();
        match key {
            OffsetsKey::Offset { topic, partition, .. } => group.take_offset(&topic, partition, value),
            OffsetsKey::Group { .. } => {
                group.metadata = value.and_then(|value| GroupMetadata::decode(value).ok());
            }
            OffsetsKey::Member { member, .. } => {
                let metadata = value.and_then(|value| MemberMetadata::decode(value).ok());
                group.members.entry(member).or_default().metadata = metadata;
            }
            OffsetsKey::Current { member, .. } => {
                let current = value.and_then(|value| CurrentAssignment::decode(value).ok());
                group.members.entry(member).or_default().current = current;
            }
            OffsetsKey::Target { .. } | OffsetsKey::MemberTarget { .. } | OffsetsKey::Other(_) => {}
        }
        group.members.retain(|_, member| member.metadata.is_some() || member.current.is_some());
        if group.is_gone() {
            self.groups.remove(&name);
        }
    }

    /// The groups there are, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&GroupId, &RecordedGroup)> {
        self.groups.iter()
    }
}

impl RecordedGroup {
    fn take_offset(&mut self, topic: &str, partition: u32, value: Option<&[u8]>) {
        let Ok(topic) = TopicName::new(topic) else { return };
        let tp = TopicPartition::new(topic, partition);
        match value.map(OffsetCommit::decode) {
            None => self.offsets.remove(&tp),
            Some(Ok(commit)) => self.offsets.insert(tp, (commit.topic_id, seen_of(&commit))),
            Some(Err(why)) => self.offsets.insert(tp, (None, Committed::Corrupt(why.to_string()))),
        };
    }

    fn is_gone(&self) -> bool {
        self.metadata.is_none() && self.offsets.is_empty() && self.members.is_empty()
    }
}

impl RecordedMember {
    /// What it has: partitions of topics by their ids.
    pub(crate) fn assigned(&self) -> &[TopicPartitions] {
        self.current.as_ref().map_or(&[], |current| &current.assigned)
    }
}
