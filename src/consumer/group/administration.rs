//! What is asked of groups from outside: how they stand, and that something of them be changed or deleted; and what
//! they are told of topics.
//!
//! Invariant: what was changed or deleted is so durably when the call returns.

use std::collections::BTreeMap;

use super::service::{FoundPartition, GroupService, Room};
use crate::error::{Error, ErrorKind, Result};
use crate::group::{
    Backward, CommitEntry, Committed, Coordinator, Effect, GroupDescription, GroupId, KnownTopic, MemberId,
    OffsetAndMetadata, Subscription,
};
use crate::types::{Offset, TopicName, TopicPartition};

/// Where lag is measured from.
#[derive(Clone, Debug)]
pub(crate) struct LagSource {
    pub(crate) tp: TopicPartition,
    pub(crate) committed: Option<OffsetAndMetadata>,
    pub(crate) owner: Option<MemberId>,
    /// What the owner reads next, if it is known.
    pub(crate) position: Option<Offset>,
}

impl LagSource {
    /// Nobody has the partition, and nothing is committed there.
    pub(crate) fn nothing(tp: &TopicPartition) -> LagSource {
        LagSource { tp: tp.clone(), committed: None, owner: None, position: None }
    }
}

impl GroupService {
    /// A topic has been made, or has more partitions.
    pub(crate) fn topic_changed(&self, name: &TopicName, topic: KnownTopic) {
        self.act(Room::Wait, |coordinator, now, out| coordinator.topic_changed(name, topic, now, out));
        self.schedule();
    }

    /// A topic is about to be deleted: its offsets go first, durably.
    ///
    /// # Errors
    /// Those of writing; the topic is known again then.
    pub(crate) fn topic_deleted(&self, name: &TopicName, topic: KnownTopic) -> Result<()> {
        let last = self.act_and_write(|coordinator, now, out| {
            coordinator.topic_deleted(name, now, out);
            Ok(out.iter().rev().find_map(|effect| match effect {
                Effect::Write { id, .. } => Some(*id),
                Effect::Tell { .. } => None,
            }))
        });
        let written = last.and_then(|ticket| self.wait_for(ticket));
        if written.is_err() {
            self.topic_changed(name, topic);
        }
        self.look(|_| ());
        written
    }

    /// Refuses to wait for topics all of which have been deleted. A pattern may match one that comes.
    pub(super) fn check_any_is_left(&self, wanted: &Subscription) -> Result<()> {
        let mut names = wanted.topics.iter();
        if wanted.pattern.is_some() || self.look(|coordinator| names.any(|name| coordinator.knows(name))) {
            return Ok(());
        }
        match wanted.topics.first() {
            Some(name) if wanted.topics.len() == 1 => Err(Error::topic_deleted(name)),
            _ => Err(Error::new(ErrorKind::Closed, "all topics that the member reads have been deleted")),
        }
    }

    /// Where a group stands in a partition: what is committed, and who has it.
    pub(crate) fn lag_sources(&self, group: &GroupId) -> Result<Vec<LagSource>> {
        self.check_open()?;
        let mut sources: Vec<LagSource> = self.look(|coordinator| -> Result<_> {
            let description = coordinator.describe(group)?;
            let mut found: BTreeMap<TopicPartition, LagSource> = coordinator
                .offsets(group)?
                .into_iter()
                .map(|(tp, committed)| {
                    let owner = coordinator.owner(group, &tp);
                    (tp.clone(), LagSource { tp, committed, owner, position: None })
                })
                .collect();
            for member in description.members() {
                for tp in member.assigned() {
                    let owner = Some(member.id().clone());
                    let fresh = LagSource { owner, ..LagSource::nothing(tp) };
                    found.entry(tp.clone()).or_insert(fresh);
                }
            }
            Ok(found.into_values().collect())
        })?;
        let state = self.state.lock();
        for source in &mut sources {
            let mailbox = source.owner.as_ref().and_then(|owner| state.mailboxes.get(owner));
            source.position = mailbox.and_then(|(_, mailbox)| mailbox.position(&source.tp));
        }
        Ok(sources)
    }

    /// The names of the groups.
    ///
    /// # Errors
    /// What kept the offsets topic from being read; `Closed`.
    pub(crate) fn list(&self) -> Result<Vec<GroupId>> {
        self.check_open()?;
        Ok(self.look(Coordinator::list))
    }

    /// Where what some group has not read of a partition begins; none if no group follows the topic.
    ///
    /// # Errors
    /// What kept the offsets topic from being read; `Closed`.
    pub(crate) fn unread_from(&self, tp: &TopicPartition) -> Result<Option<Offset>> {
        self.check_open()?;
        Ok(self.look(|coordinator| coordinator.unread_from(tp)))
    }

    /// A group and its members.
    ///
    /// # Errors
    /// `GroupNotFound`.
    pub(crate) fn describe(&self, group: &GroupId) -> Result<GroupDescription> {
        self.check_open()?;
        self.look(|coordinator| coordinator.describe(group))
    }

    /// What a group has committed in a partition.
    ///
    /// # Errors
    /// `Corrupted` if its record cannot be read.
    pub(crate) fn committed(
        &self,
        group: &GroupId,
        tp: &TopicPartition,
    ) -> Result<Option<OffsetAndMetadata>> {
        self.check_open()?;
        match self.look(|coordinator| coordinator.committed(group, tp)).0 {
            Committed::At(offset) => Ok(Some(offset)),
            Committed::Absent => Ok(None),
            Committed::Corrupt(why) => {
                let message = format!("the committed offset of group {group} cannot be read: {why}");
                Err(Error::new(ErrorKind::Corrupted, message).in_partition(tp))
            }
        }
    }

    /// Sets offsets of a group that nobody reads with, durably.
    ///
    /// # Errors
    /// `GroupInUse`; those of a commit.
    pub(crate) fn reset(
        &self,
        group: &GroupId,
        offsets: Vec<(FoundPartition, OffsetAndMetadata)>,
    ) -> Result<()> {
        let entry = |(found, offset): (FoundPartition, OffsetAndMetadata)| CommitEntry {
            tp: found.log.topic_partition().clone(),
            topic_id: found.topic_id,
            offset,
            log_end: GroupService::log_end(&found.log),
            backward: Backward::Allow,
        };
        let entries = offsets.into_iter().map(entry).collect();
        let write =
            self.act_and_write(|coordinator, now, out| coordinator.reset(group, entries, now, out))?;
        self.wait_for(write)?;
        // Perhaps nobody ever joins: what has been set expires all the same.
        self.look(|_| ());
        self.schedule();
        Ok(())
    }

    /// Deletes offsets of a group, durably.
    ///
    /// # Errors
    /// `GroupNotFound`, `GroupInUse`; those of writing.
    pub(crate) fn delete_offsets(&self, group: &GroupId, partitions: &[TopicPartition]) -> Result<()> {
        self.check_open()?;
        let write =
            self.act_and_write(|coordinator, _, out| coordinator.delete_offsets(group, partitions, out))?;
        self.wait_for(write)
    }

    /// Deletes a group with its offsets, durably.
    ///
    /// # Errors
    /// `GroupNotFound`, `GroupInUse`; those of writing.
    pub(crate) fn delete_group(&self, group: &GroupId) -> Result<()> {
        self.check_open()?;
        let write = self.act_and_write(|coordinator, now, out| coordinator.delete_group(group, now, out))?;
        self.wait_for(write)?;
        self.look(|_| ());
        Ok(())
    }
}
