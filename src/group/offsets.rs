//! How far a group has come.
//!
//! ```text
//!   commit --> pending (record appended) -- written --> seen
//!                       `-- failed --> as if it had never been
//! ```
//!
//! Invariants
//! - What is seen is as durable as the offsets topic promises.
//! - Absent, damaged and zero are three different things.
//! - What is committed for a volatile topic is seen at once, and written nowhere.
//! - Pending values are in the order of their writes, and become seen in that order.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use super::effect::WriteId;
use crate::format::offsets_topic::OffsetCommit;
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

/// A committed offset: the next one to read, and what was said with it.
///
/// ```
/// use millpond::Offset;
/// use millpond::group::OffsetAndMetadata;
/// let committed = OffsetAndMetadata::new(Offset::ZERO).metadata("by hand");
/// assert_eq!((committed.offset(), committed.metadata_text()), (Offset::ZERO, "by hand"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    offset: Offset,
    leader_epoch: LeaderEpoch,
    metadata: String,
    committed_at: Timestamp,
}

impl OffsetAndMetadata {
    /// The next offset to read.
    #[must_use]
    pub fn new(offset: Offset) -> OffsetAndMetadata {
        let (leader_epoch, committed_at) = (LeaderEpoch::NONE, Timestamp::NONE);
        OffsetAndMetadata { offset, leader_epoch, metadata: String::new(), committed_at }
    }

    /// The leader epoch of the last record that was read.
    #[must_use]
    pub fn leader_epoch(mut self, leader_epoch: LeaderEpoch) -> OffsetAndMetadata {
        self.leader_epoch = leader_epoch;
        self
    }

    /// A text to keep with it, of 4,096 bytes at most.
    #[must_use]
    pub fn metadata(mut self, metadata: &str) -> OffsetAndMetadata {
        metadata.clone_into(&mut self.metadata);
        self
    }

    pub(crate) fn at(mut self, committed_at: Timestamp) -> OffsetAndMetadata {
        self.committed_at = committed_at;
        self
    }

    /// The next offset to read.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The leader epoch of the last record that was read, if that was known.
    #[must_use]
    pub fn epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The text that was kept with it.
    #[must_use]
    pub fn metadata_text(&self) -> &str {
        &self.metadata
    }

    /// When it was committed.
    #[must_use]
    pub fn committed_at(&self) -> Timestamp {
        self.committed_at
    }
}

/// The longest text kept with an offset, in bytes.
pub(crate) const MAX_METADATA_LEN: usize = 4096;

/// What is known of a group's offset in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Committed {
    /// None was ever committed, or it has been deleted.
    Absent,
    /// This one.
    At(OffsetAndMetadata),
    /// One was committed, but its record cannot be read.
    Corrupt(String),
}

/// When a write holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// When it is durable.
    Alone,
    /// When its transaction is committed: perhaps never.
    WithTransaction,
}

/// A write that is under way.
#[derive(Clone, Debug)]
struct Pending {
    write: WriteId,
    topic_id: TopicId,
    /// `None` is a deletion.
    offset: Option<OffsetAndMetadata>,
    holds: Holds,
}

/// The offset of one partition.
#[derive(Clone, Debug)]
struct Slot {
    topic_id: Option<TopicId>,
    seen: Committed,
    /// Appended, but not yet as durable as promised.
    pending: VecDeque<Pending>,
    /// Of a volatile topic: it is written nowhere.
    in_memory: bool,
}

impl Slot {
    fn new(topic_id: Option<TopicId>, seen: Committed) -> Slot {
        Slot { topic_id, seen, pending: VecDeque::new(), in_memory: false }
    }

    /// What is seen when this write has succeeded.
    fn with(&self, pending: Option<&Pending>) -> Committed {
        match pending.map(|pending| &pending.offset) {
            Some(Some(offset)) => Committed::At(offset.clone()),
            Some(None) => Committed::Absent,
            None => self.seen.clone(),
        }
    }
}

/// The offsets of a group, by partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct OffsetStore {
    slots: BTreeMap<TopicPartition, Slot>,
}

impl OffsetStore {
    /// What is seen of a partition.
    pub(crate) fn seen(&self, tp: &TopicPartition) -> Committed {
        self.slots.get(tp).map_or(Committed::Absent, |slot| slot.seen.clone())
    }

    /// Whether what is seen was committed for this topic; of old records that is not known.
    pub(crate) fn is_of(&self, tp: &TopicPartition, topic_id: TopicId) -> bool {
        self.slots.get(tp).is_some_and(|slot| slot.topic_id.is_none_or(|id| id == topic_id))
    }

    /// The last write that is under way for a partition.
    pub(crate) fn pending(&self, tp: &TopicPartition) -> Option<WriteId> {
        self.slots.get(tp)?.pending.back().map(|pending| pending.write)
    }

    /// What will be seen when all that is under way has succeeded.
    pub(crate) fn latest(&self, tp: &TopicPartition) -> Committed {
        self.slots.get(tp).map_or(Committed::Absent, |slot| slot.with(slot.pending.back()))
    }

    /// The same, whatever becomes of transactions other than the one with the writes `own` (ascending); and the write
    /// that it waits for.
    pub(crate) fn latest_for(
        &self,
        tp: &TopicPartition,
        own: &[WriteId],
    ) -> (Committed, Option<(WriteId, Holds)>) {
        let Some(slot) = self.slots.get(tp) else { return (Committed::Absent, None) };
        let counts = |pending: &&Pending| pending.holds == Holds::Alone || is_own(pending, own);
        let last = slot.pending.iter().rev().find(counts);
        (slot.with(last), last.map(|last| (last.write, last.holds)))
    }

    /// What transactions that have not ended may commit, but for the one with the writes `own` (ascending).
    pub(crate) fn of_others(
        &self,
        tp: &TopicPartition,
        own: &[WriteId],
    ) -> impl Iterator<Item = (WriteId, Offset)> {
        let pending = self.slots.get(tp).into_iter().flat_map(|slot| &slot.pending);
        let open = pending.filter(|pending| pending.holds == Holds::WithTransaction && !is_own(pending, own));
        open.filter_map(|pending| Some((pending.write, pending.offset.as_ref()?.offset())))
    }

    /// All partitions with an offset that is seen or under way, and the topics they were committed for.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = (&TopicPartition, Option<TopicId>)> {
        self.slots.iter().map(|(tp, slot)| (tp, slot.pending.back().map(|p| p.topic_id).or(slot.topic_id)))
    }

    /// All that is seen.
    pub(crate) fn all_seen(&self) -> impl Iterator<Item = (&TopicPartition, &Committed)> {
        let there = |(_, slot): &(&TopicPartition, &Slot)| slot.seen != Committed::Absent;
        self.slots.iter().filter(there).map(|(tp, slot)| (tp, &slot.seen))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// An offset in a volatile topic: it holds at once.
    pub(crate) fn hold(&mut self, tp: TopicPartition, topic_id: TopicId, offset: OffsetAndMetadata) {
        let slot = Slot { in_memory: true, ..Slot::new(Some(topic_id), Committed::At(offset)) };
        self.slots.insert(tp, slot);
    }

    /// An offset in a volatile topic, which holds later: it is written nowhere.
    pub(crate) fn keep_in_memory(&mut self, tp: &TopicPartition) {
        if let Some(slot) = self.slots.get_mut(tp) {
            slot.in_memory = true;
        }
    }

    /// Deletes an offset in a volatile topic; answers whether it is one.
    pub(crate) fn drop_held(&mut self, tp: &TopicPartition) -> bool {
        let held = self.slots.get(tp).is_some_and(|slot| slot.in_memory);
        if held {
            self.slots.remove(tp);
        }
        held
    }

    /// A write is under way; `None` deletes.
    pub(crate) fn begin(
        &mut self,
        id: WriteId,
        tp: &TopicPartition,
        topic_id: TopicId,
        offset: Option<OffsetAndMetadata>,
        holds: Holds,
    ) {
        let empty = || Slot::new(None, Committed::Absent);
        let slot = self.slots.entry(tp.clone()).or_insert_with(empty);
        slot.pending.push_back(Pending { write: id, topic_id, offset, holds });
    }

    /// A write holds now, as do all before it.
    pub(crate) fn written(&mut self, id: WriteId, tp: &TopicPartition) {
        let Entry::Occupied(mut entry) = self.slots.entry(tp.clone()) else { return };
        let slot = entry.get_mut();
        let done = slot.pending.iter().take_while(|pending| pending.write <= id).count();
        if let Some(Pending { topic_id, offset, .. }) = slot.pending.drain(..done).next_back() {
            slot.topic_id = Some(topic_id);
            slot.seen = offset.map_or(Committed::Absent, Committed::At);
        }
        if slot.pending.is_empty() && slot.seen == Committed::Absent {
            entry.remove();
        }
    }

    /// A write has failed: it never was.
    pub(crate) fn failed(&mut self, id: WriteId, tp: &TopicPartition) {
        let Entry::Occupied(mut entry) = self.slots.entry(tp.clone()) else { return };
        let slot = entry.get_mut();
        slot.pending.retain(|pending| pending.write != id);
        if slot.pending.is_empty() && slot.seen == Committed::Absent {
            entry.remove();
        }
    }

    /// A record of the offsets topic says so; `None` for a tombstone.
    pub(crate) fn replay(&mut self, tp: TopicPartition, record: Option<Result<OffsetCommit, String>>) {
        let (topic_id, seen) = match record {
            None => {
                self.slots.remove(&tp);
                return;
            }
            Some(Err(why)) => (None, Committed::Corrupt(why)),
            Some(Ok(commit)) => (commit.topic_id, seen_of(&commit)),
        };
        self.slots.insert(tp, Slot::new(topic_id, seen));
    }
}

fn is_own(pending: &Pending, own: &[WriteId]) -> bool {
    own.binary_search(&pending.write).is_ok()
}

pub(super) fn seen_of(commit: &OffsetCommit) -> Committed {
    let Some(offset) = u64::try_from(commit.offset).ok().and_then(Offset::new) else {
        return Committed::Corrupt(format!("offset {}", commit.offset));
    };
    let leader_epoch = LeaderEpoch::new(commit.leader_epoch);
    let committed_at = Timestamp::from_millis(commit.commit_timestamp);
    Committed::At(OffsetAndMetadata { offset, leader_epoch, metadata: commit.metadata.clone(), committed_at })
}
