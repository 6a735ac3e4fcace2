//! How a member hears that partitions come and go.
//!
//! ```text
//!   mailbox -> assigned: a place for each | revoked: handed over, let go, told back | lost: dropped | fenced: all lost,
//!                                                                                                    and joined again
//! ```
//!
//! Invariant: the listener is told after the places have changed, but of a revocation before: it may commit.

use super::consumer::{Consumer, Membership};
use super::place::Place;
use super::service::Room;
use crate::consumer::records::ReadBy;
use crate::error::{ErrorKind, Result};
use crate::group::{Change, Coming, JoinRequest, Leave};
use crate::telemetry;
use crate::types::TopicPartition;

impl<K, V> Consumer<K, V> {
    /// Hears what has changed.
    pub(super) fn read_mail(&mut self) -> Result<()> {
        self.join_again_if_out()?;
        while let Some(change) = self.mailbox.take() {
            self.hear(change)?;
        }
        Ok(())
    }

    pub(super) fn hear(&mut self, change: Change) -> Result<()> {
        match change {
            Change::Assigned { epoch, partitions } => self.assigned(epoch, &partitions)?,
            Change::Revoke { revocation, partitions } => self.revoked(revocation, &partitions),
            Change::Lost { partitions } => self.lost(&partitions),
            Change::Fenced => self.fenced()?,
        }
        Ok(())
    }

    /// Nothing more of these partitions is handed out: they are about to be let go.
    pub(super) fn set_leaving(&mut self, partitions: &[TopicPartition]) {
        let leaving = |place: &&mut Place| partitions.contains(place.topic_partition());
        self.places.iter_mut().filter(leaving).for_each(|place| place.leaving = true);
    }

    fn assigned(&mut self, epoch: i32, partitions: &[TopicPartition]) -> Result<()> {
        self.epoch = epoch;
        let directory = self.membership.groups.directory()?;
        let mut taken = Vec::with_capacity(partitions.len());
        for tp in partitions {
            match directory.find(tp) {
                Ok(found) => {
                    let isolation = self.membership.config.isolation_level();
                    let place = Place::new(found, isolation);
                    if let Some(count) = place.cursor.count() {
                        self.mailbox.reads(tp, count);
                    }
                    self.places.push(place);
                    taken.push(tp.clone());
                }
                // The topic is gone already, which is told next.
                Err(error)
                    if matches!(error.kind(), ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.tell("assigned", &taken);
        if let Some(listener) = self.membership.listener.as_mut().filter(|_| !taken.is_empty()) {
            listener.assigned(&taken);
        }
        Ok(())
    }

    pub(super) fn revoked(&mut self, revocation: u64, partitions: &[TopicPartition]) {
        self.tell("revoked", partitions);
        drop(self.hand_over(partitions));
        self.drop_places(partitions);
        self.membership.groups.released(&self.membership.group, &self.member, revocation);
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.tell("lost", partitions);
        self.drop_places(partitions);
        if let Some(listener) = &mut self.membership.listener {
            listener.lost(partitions);
        }
    }

    fn fenced(&mut self) -> Result<()> {
        let partitions = self.assignment();
        self.tell("fenced", &partitions);
        self.lost(&partitions);
        self.stop();
        let Membership { groups, group, .. } = &self.membership;
        groups.leave(group, &self.member, Leave::ForGood, Room::Wait);
        self.epoch = 0;
        self.out = true;
        self.join_again_if_out()
    }

    /// Who was put out joins again; where that is refused, at the next poll.
    pub(super) fn join_again_if_out(&mut self) -> Result<()> {
        if self.out {
            let Membership { groups, group, request, config, .. } = &self.membership;
            let request = JoinRequest { coming: Coming::Back, ..request.clone() };
            self.member = groups.join(group, request, config.offset_reset_kind(), &self.mailbox)?;
            self.reader = ReadBy::member(group, &self.member);
            self.out = false;
        }
        Ok(())
    }

    pub(super) fn tell(&self, what: &'static str, partitions: &[TopicPartition]) {
        telemetry::rebalance(what, self.group(), &self.member, partitions);
    }

    fn drop_places(&mut self, partitions: &[TopicPartition]) {
        let groups = self.membership.groups.clone();
        self.mailbox.reads_no_more(partitions);
        self.places.retain_mut(|place| {
            let goes = partitions.contains(place.topic_partition());
            if goes {
                place.stop_waiting(&groups);
            }
            !goes
        });
        self.turn = 0;
    }
}
