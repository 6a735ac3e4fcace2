//! Commits, and what administrators do to offsets.
//!
//! ```text
//!   commit of member m at epoch e, for partition p:
//!     m is a live member              else Fenced
//!     p is its own since epoch a <= e else Rebalanced: it was given away meanwhile, maybe came back
//!     offset <= log end               else InvalidArgument
//!     not below what is committed     else nothing happens, unless the member went back on purpose
//!     where something is to be written: not below what another open transaction may commit
//!                                     else Backpressure
//! ```
//!
//! Invariants: a request is refused as a whole or taken as a whole; nothing is changed under the hands of
//! live members.

use std::collections::BTreeSet;

use super::coordinator::Coordinator;
use super::effect::{Effect, Now, OffsetsRecord, WriteId};
use super::group::Group;
use super::ids::{GroupId, MemberId};
use super::offsets::{Committed, Holds, MAX_METADATA_LEN, OffsetAndMetadata};
use super::saving::offset_record;
use super::subscription::Subscription;
use super::topics::KnownTopic;
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Offset, TopicId, TopicName, TopicPartition};

/// An offset that is to be committed.
#[derive(Clone, Debug)]
pub(crate) struct CommitEntry {
    pub(crate) tp: TopicPartition,
    /// Of the topic that was read.
    pub(crate) topic_id: TopicId,
    pub(crate) offset: OffsetAndMetadata,
    /// Where the partition's log ends now.
    pub(crate) log_end: Offset,
    pub(crate) backward: Backward,
}

impl CommitEntry {
    /// Whether it may be committed at all, whoever does.
    ///
    /// # Errors
    /// `InvalidArgument` beyond the log end and for too long a metadata.
    pub(crate) fn check(&self) -> Result<()> {
        let offset = self.offset.offset();
        if offset > self.log_end {
            let message = format!("offset {offset} cannot be committed: the log ends at {}", self.log_end);
            return Err(Error::invalid_argument(message).in_partition(&self.tp).at_offset(offset));
        }
        let len = self.offset.metadata_text().len();
        if len > MAX_METADATA_LEN {
            let message = format!("metadata of {len} bytes is longer than {MAX_METADATA_LEN}");
            return Err(Error::invalid_argument(message).in_partition(&self.tp));
        }
        Ok(())
    }
}

/// What happens to an offset below the one that is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backward {
    /// It is an old one that comes late: nothing.
    Ignore,
    /// It is meant: the member has sought back.
    Allow,
}

/// Who commits.
#[derive(Clone, Debug)]
pub(crate) struct Committer {
    pub(crate) member: MemberId,
    /// The member epoch under which the records were polled.
    pub(crate) epoch: i32,
}

/// What becomes of an offset that is to be committed.
enum Fate {
    Written(CommitEntry),
    /// What is committed already, or will be with this write, is as good.
    Holds(Option<WriteId>),
}

impl Coordinator {
    /// Commits offsets of a group. Answers the write that must hold, if any: what is to be committed may hold
    /// already.
    ///
    /// # Errors
    /// `Fenced`, `Rebalanced`; `InvalidArgument` beyond the log end and for too long a metadata;
    /// `TopicNotFound` for one that is gone; `GroupNotFound`; `Backpressure` below what an open transaction may commit.
    pub(crate) fn commit(
        &mut self,
        id: &GroupId,
        committer: &Committer,
        entries: Vec<CommitEntry>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Option<WriteId>> {
        self.commit_as(None, id, committer, entries, now, out)
    }

    /// `within` are the writes of the transaction that this is part of, if it is part of one.
    fn commit_as(
        &mut self,
        within: Option<&[WriteId]>,
        id: &GroupId,
        committer: &Committer,
        entries: Vec<CommitEntry>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Option<WriteId>> {
        let Some(group) = self.groups.get(id) else { return Err(fenced(id, &committer.member)) };
        for entry in &entries {
            self.check_entry(entry)?;
            check_committer(group, committer, &entry.tp)?;
        }
        if entries.is_empty() && !group.members.contains_key(&committer.member) {
            return Err(fenced(id, &committer.member));
        }
        let mut last = None;
        let mut changed = Vec::new();
        for entry in entries {
            match fate_of(group, within, entry) {
                Fate::Holds(pending) => last = last.max(pending),
                Fate::Written(entry) => {
                    self.check_not_before_a_transaction(group, within.unwrap_or_default(), &entry)?;
                    changed.push(entry);
                }
            }
        }
        let holds = within.map_or(Holds::Alone, |_| Holds::WithTransaction);
        Ok(self.write_offsets(holds, id, changed, now, out).or(last))
    }

    /// Which of both holds in the end would be left to chance; or shows at the next opening only.
    fn check_not_before_a_transaction(
        &self,
        group: &Group,
        own: &[WriteId],
        entry: &CommitEntry,
    ) -> Result<()> {
        if entry.backward == Backward::Allow {
            return Ok(());
        }
        let wanted = entry.offset.offset();
        let mut later = None;
        for (write, open) in group.offsets.of_others(&entry.tp, own).filter(|(_, open)| *open > wanted) {
            if let Some(why) = self.unknown.get(&write) {
                return Err(why.again().in_partition(&entry.tp).at_offset(wanted));
            }
            later = later.max(Some(open));
        }
        let Some(open) = later else { return Ok(()) };
        let message =
            format!("a transaction that is open may commit offset {open}: try again when it has ended");
        Err(Error::new(ErrorKind::Backpressure, message).in_partition(&entry.tp).at_offset(wanted))
    }

    /// Nobody will say before the next opening whether a write of a transaction holds: who would have to wait for it is
    /// told why.
    pub(crate) fn hold(&mut self, write: WriteId, why: Error) {
        self.unknown.insert(write, why);
    }

    /// All partitions there are of these topics.
    pub(crate) fn partitions_of(&self, wanted: &Subscription) -> Vec<TopicPartition> {
        let topics = self.topics.iter().filter(|(name, _)| wanted.wants(name));
        let numbered = |(name, topic): (&TopicName, KnownTopic)| {
            (0..topic.partitions).map(|number| TopicPartition::new(name.clone(), number)).collect::<Vec<_>>()
        };
        topics.flat_map(numbered).collect()
    }

    /// Of these offsets those of topics of which the group has committed nothing, and that none of its members
    /// reads; nor of those that have come to match its pattern since it committed something under that.
    pub(crate) fn not_yet_read(
        &self,
        id: &GroupId,
        wanted: &Subscription,
        mut ends: Vec<CommitEntry>,
    ) -> Vec<CommitEntry> {
        let Some(group) = self.groups.get(id) else { return ends };
        let known: BTreeSet<&TopicName> = group.offsets.partitions().map(|(tp, _)| tp.topic()).collect();
        let begun = known.iter().any(|topic| wanted.is_by_pattern(topic));
        ends.retain(|entry| {
            let topic = entry.tp.topic();
            let came_later = begun && wanted.is_by_pattern(topic);
            !came_later && !known.contains(topic) && !group.is_read(topic)
        });
        ends
    }

    /// A group that has just been joined begins at these offsets: partitions that are not among them come later,
    /// and are read from their start.
    pub(crate) fn begin_at(
        &mut self,
        id: &GroupId,
        mut ends: Vec<CommitEntry>,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        ends.retain(|entry| self.check_entry(entry).is_ok());
        self.write_offsets(Holds::Alone, id, ends, now, out);
    }

    /// As [`commit`](Coordinator::commit), as part of a transaction: the records are the caller's to append, and
    /// `written` says that the transaction was committed, `failed` that it was not. `own` are the writes that were
    /// answered before for the same transaction, ascending. Answers nothing where what is to be committed holds already,
    /// or will with those.
    pub(crate) fn commit_in_transaction(
        &mut self,
        id: &GroupId,
        committer: &Committer,
        entries: Vec<CommitEntry>,
        own: &[WriteId],
        now: Now,
    ) -> Result<Option<(WriteId, Vec<OffsetsRecord>)>> {
        let mut out = Vec::new();
        self.commit_as(Some(own), id, committer, entries, now, &mut out)?;
        Ok(out.pop().and_then(|effect| match effect {
            Effect::Write { id, records } => Some((id, records)),
            Effect::Tell { .. } => None,
        }))
    }

    fn check_entry(&self, entry: &CommitEntry) -> Result<()> {
        let known = self.topics.get(entry.tp.topic()).filter(|known| known.id == entry.topic_id);
        let Some(known) = known else {
            let message = format!("there is no topic {} any more", entry.tp.topic());
            return Err(Error::new(ErrorKind::TopicNotFound, message).in_partition(&entry.tp));
        };
        if entry.tp.partition() >= known.partitions {
            let message = format!("topic {} has {} partitions", entry.tp.topic(), known.partitions);
            return Err(Error::new(ErrorKind::PartitionNotFound, message).in_partition(&entry.tp));
        }
        entry.check()
    }

    fn write_offsets(
        &mut self,
        holds: Holds,
        id: &GroupId,
        entries: Vec<CommitEntry>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<WriteId> {
        // What holds with a transaction has to wait for its end, though it is written nowhere.
        let at_once = |entry: &CommitEntry| holds == Holds::Alone && self.is_volatile(&entry.tp);
        let (held, entries): (Vec<_>, Vec<_>) = entries.into_iter().partition(at_once);
        for entry in held {
            self.touched.insert(entry.tp.clone());
            self.group_mut(id).offsets.hold(entry.tp, entry.topic_id, entry.offset.at(now.wall));
        }
        if entries.is_empty() {
            return None;
        }
        let stamped: Vec<(TopicPartition, TopicId, OffsetAndMetadata)> =
            entries.into_iter().map(|entry| (entry.tp, entry.topic_id, entry.offset.at(now.wall))).collect();
        let record = |(tp, topic, offset): &(_, _, _)| offset_record(id.as_str(), tp, *topic, Some(offset));
        let written = stamped.iter().filter(|(tp, _, _)| !self.is_volatile(tp));
        let records = written.map(record).collect();
        let about = stamped.iter().map(|(tp, _, _)| (id.clone(), tp.clone())).collect();
        let write = self.begin_write(records, about, out);
        for (tp, topic_id, offset) in stamped {
            let in_memory = self.is_volatile(&tp);
            let offsets = &mut self.group_mut(id).offsets;
            offsets.begin(write, &tp, topic_id, Some(offset), holds);
            if in_memory {
                offsets.keep_in_memory(&tp);
            }
        }
        Some(write)
    }

    pub(super) fn is_volatile(&self, tp: &TopicPartition) -> bool {
        self.topics.get(tp.topic()).is_some_and(|topic| topic.volatile)
    }

    /// What is seen of a group's offset, and the write that may change it soon. What was committed for an earlier
    /// topic of the name is not seen.
    pub(crate) fn committed(&self, id: &GroupId, tp: &TopicPartition) -> (Committed, Option<WriteId>) {
        let Some(group) = self.groups.get(id) else { return (Committed::Absent, None) };
        let known = self.topics.get(tp.topic());
        let seen = match known {
            Some(topic) if group.offsets.is_of(tp, topic.id) => group.offsets.seen(tp),
            Some(_) | None => Committed::Absent,
        };
        (seen, group.offsets.pending(tp))
    }

    /// Sets offsets of a group that nobody reads with; makes the group if there is none.
    ///
    /// # Errors
    /// `GroupInUse` if a live member reads one of the topics; those of [`commit`](Coordinator::commit).
    pub(crate) fn reset(
        &mut self,
        id: &GroupId,
        entries: Vec<CommitEntry>,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Option<WriteId>> {
        for entry in &entries {
            self.check_entry(entry)?;
            self.check_unread(id, &entry.tp)?;
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let group = self.group_mut(id);
        if group.members.is_empty() {
            group.set_empty(Some(now.wall));
        }
        let write = self.write_offsets(Holds::Alone, id, entries, now, out);
        self.save(id, out);
        Ok(write)
    }

    /// Deletes offsets of a group.
    ///
    /// # Errors
    /// `GroupNotFound`; `GroupInUse` if a live member reads one of the topics.
    pub(crate) fn delete_offsets(
        &mut self,
        id: &GroupId,
        partitions: &[TopicPartition],
        out: &mut Vec<Effect>,
    ) -> Result<Option<WriteId>> {
        let group = self.group(id)?;
        for tp in partitions {
            self.check_unread(id, tp)?;
        }
        // Also where it is being deleted, or expires, just now: whoever asks is told when that is durable.
        let offsets = &group.offsets;
        let there =
            |tp: &&TopicPartition| offsets.latest(tp) != Committed::Absent || offsets.pending(tp).is_some();
        let gone: Vec<TopicPartition> = partitions.iter().filter(there).cloned().collect();
        Ok(self.tombstone_offsets(id, &gone, out))
    }

    /// Deletes a group with its offsets, and gives up static members that are away.
    ///
    /// # Errors
    /// `GroupNotFound`; `GroupInUse` if it has live members.
    pub(crate) fn delete_group(
        &mut self,
        id: &GroupId,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<Option<WriteId>> {
        let group = self.group(id)?;
        if group.has_live_members() {
            return Err(in_use(group, "would lose the group"));
        }
        let gone: Vec<TopicPartition> = group.offsets.partitions().map(|(tp, _)| tp.clone()).collect();
        let group = self.group_mut(id);
        let away: Vec<MemberId> = group.members.keys().cloned().collect();
        away.iter().for_each(|member| group.remove(member, now));
        let write = self.tombstone_offsets(id, &gone, out);
        self.touch_volatile();
        self.save(id, out);
        Ok(write)
    }

    fn check_unread(&self, id: &GroupId, tp: &TopicPartition) -> Result<()> {
        match self.groups.get(id) {
            Some(group) if group.is_read(tp.topic()) => {
                Err(in_use(group, &format!("read topic {}", tp.topic())).in_partition(tp))
            }
            Some(_) | None => Ok(()),
        }
    }
}

fn check_committer(group: &Group, committer: &Committer, tp: &TopicPartition) -> Result<()> {
    let member = group.members.get(&committer.member).filter(|member| member.is_live());
    let Some(member) = member else { return Err(fenced(&group.id, &committer.member).in_partition(tp)) };
    let since = member.epoch_of(tp);
    if since.is_none_or(|since| since > committer.epoch) || committer.epoch > member.epoch {
        let message = format!("group {} has given the partition away since this was polled", group.id);
        return Err(Error::new(ErrorKind::Rebalanced, message).in_partition(tp));
    }
    Ok(())
}

fn fate_of(group: &Group, within: Option<&[WriteId]>, entry: CommitEntry) -> Fate {
    // What another transaction may commit, or not, holds nothing for others.
    let (known, pending) = group.offsets.latest_for(&entry.tp, within.unwrap_or_default());
    let wanted = entry.offset.offset();
    let stays = match &known {
        Committed::At(known) if wanted < known.offset() => entry.backward == Backward::Ignore,
        Committed::At(known) if wanted == known.offset() => {
            known.epoch() == entry.offset.epoch() && known.metadata_text() == entry.offset.metadata_text()
        }
        Committed::At(_) | Committed::Absent | Committed::Corrupt(_) => false,
    };
    // A transaction does not count on a commit that it does not flush: it commits the same.
    let loose = within.is_some() && pending.is_some_and(|(_, holds)| holds == Holds::Alone);
    match known {
        Committed::At(offset) if stays && loose => Fate::Written(CommitEntry { offset, ..entry }),
        _ if stays => Fate::Holds(pending.map(|(write, _)| write)),
        _ => Fate::Written(entry),
    }
}

fn fenced(group: &GroupId, member: &MemberId) -> Error {
    Error::new(ErrorKind::Fenced, format!("{member} is no member of group {group} any more"))
}

fn in_use(group: &Group, why: &str) -> Error {
    let live = group.members.values().filter(|member| member.is_live()).count();
    let message = format!("{live} live members of group {} {why}: end them first", group.id);
    Error::new(ErrorKind::GroupInUse, message)
}
