//! What a consumer commits: of records, of its positions, by itself, and on the way out.
//!
//! ```text
//!   records:    refused as a whole where somebody else has one of the partitions by now
//!   positions:  by itself or on the way out: those of partitions that are its own still
//! ```
//!
//! Invariants
//! - Records are committed by the member that has polled them, and under the epoch in which it has.
//! - Where a commit fails that is made in parts, the error of the first one is told.
//! - By itself and on the way out, no partition is kept from being committed by another's that is refused.

use super::commit::Commit;
use super::consumer::Consumer;
use super::listener::{Handover, Wanted};
use super::place::Place;
use crate::consumer::records::{ReadBy, Records};
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Backward, CommitEntry, Committer, OffsetAndMetadata};
use crate::types::{LeaderEpoch, Offset, TopicPartition};

impl<K, V> Consumer<K, V> {
    /// What is committed with these records, and the member epoch in which they were polled.
    pub(super) fn entries_of(&self, records: &Records<K, V>) -> Result<(i32, Vec<CommitEntry>)> {
        // All of one poll, hence of one epoch.
        let mut entries = Vec::new();
        let mut epoch = self.epoch;
        for part in records.parts() {
            let Some(lease) = part.lease() else {
                let message = "these records were not polled by a consumer of a group";
                return Err(Error::invalid_argument(message));
            };
            self.check_reader(lease.by)?;
            epoch = lease.epoch;
            let (next, leader_epoch) = (part.next_offset(), part.leader_epoch());
            let place = self.place(part.topic_partition());
            entries.push(match place {
                Some(place) => {
                    let entry = place.entry(place.read_up_to(next, leader_epoch));
                    CommitEntry { topic_id: lease.topic_id, ..entry }
                }
                None => CommitEntry {
                    tp: part.topic_partition().clone(),
                    topic_id: lease.topic_id,
                    log_end: next,
                    offset: OffsetAndMetadata::new(next).leader_epoch(LeaderEpoch::new(leader_epoch)),
                    backward: Backward::Ignore,
                },
            });
        }
        Ok((epoch, entries))
    }

    /// Epochs are the group's, and begin anew with it: what another member has polled, or this one before it was put
    /// out, is told by its name.
    pub(super) fn check_reader(&self, by: ReadBy) -> Result<()> {
        if by == self.reader {
            return Ok(());
        }
        if !by.is_same_group(self.reader) {
            return Err(Error::invalid_argument("these records were polled by a member of another group"));
        }
        let message =
            format!("these records were not polled by member {} of group {}", self.member, self.group());
        Err(Error::new(ErrorKind::Rebalanced, message))
    }

    pub(super) fn finished(&self, result: Result<()>) -> Commit {
        Commit::of(&self.membership.groups, result.map(|()| None))
    }

    pub(super) fn send_commit(&self, epoch: i32, entries: Vec<CommitEntry>) -> Commit {
        let committer = Committer { member: self.member.clone(), epoch };
        let group = self.group();
        let committed = self
            .membership
            .groups
            .act_and_write(|coordinator, now, out| coordinator.commit(group, &committer, entries, now, out));
        Commit::of(&self.membership.groups, committed)
    }

    /// Commits the positions of these places; where some are refused, those of the others.
    pub(super) fn commit_own<'a>(&self, places: impl Iterator<Item = &'a Place>) -> Commit {
        let entries: Vec<CommitEntry> = places.filter_map(Place::position_entry).collect();
        self.commit_each(entries)
    }

    pub(super) fn commit_each(&self, entries: Vec<CommitEntry>) -> Commit {
        let all = self.send_commit(self.epoch, entries.clone());
        if !all.was_refused() {
            return all;
        }
        let each = entries.into_iter().map(|entry| self.send_commit(self.epoch, vec![entry]));
        each.filter(|commit| !commit.was_of_others()).fold(self.finished(Ok(())), Commit::then)
    }

    /// The last time to commit in these partitions, automatically and by the listener.
    pub(super) fn hand_over(&mut self, partitions: &[TopicPartition]) -> Commit {
        let mine = |place: &&Place| partitions.contains(place.topic_partition());
        let automatic = match self.membership.config.auto_commit_interval_duration() {
            Some(_) => self.commit_own(self.places.iter().filter(mine)),
            None => self.finished(Ok(())),
        };
        let Some(mut listener) = self.membership.listener.take() else { return automatic };
        let positions = self
            .places
            .iter()
            .filter(mine)
            .filter_map(|place| Some((place.topic_partition().clone(), place.position()?)));
        let going =
            self.places.iter().filter(mine).map(|place| place.entry(OffsetAndMetadata::new(Offset::ZERO)));
        let mut handover = Handover::new(positions.collect(), going.collect());
        listener.revoked(&mut handover);
        self.membership.listener = Some(listener);
        let entries = handover.into_wanted().into_iter().filter_map(|wanted| match wanted {
            Wanted::Offset(tp, offset) => {
                Some(CommitEntry { backward: Backward::Allow, ..self.place(&tp)?.entry(offset) })
            }
            Wanted::Position(tp) => self.place(&tp)?.position_entry(),
        });
        let entries: Vec<CommitEntry> = entries.collect();
        if entries.is_empty() { automatic } else { automatic.then(self.commit_each(entries)) }
    }

    pub(super) fn hand_over_all(&mut self) -> Commit {
        let all = self.assignment();
        if all.is_empty() { self.finished(Ok(())) } else { self.hand_over(&all) }
    }

    pub(super) fn commit_automatically(&mut self) {
        let Some(interval) = self.membership.config.auto_commit_interval_duration() else { return };
        let now = self.membership.groups.now().monotonic;
        if now.saturating_sub(self.last_commit) >= interval {
            self.last_commit = now;
            drop(self.commit_own(self.places.iter()));
        }
    }
}
