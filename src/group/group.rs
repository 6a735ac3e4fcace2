//! One group: its members, who is to have which partitions, and who has them.
//!
//! ```text
//!   something changes -> epoch + 1 -> assignor -> targets -> reconcile
//!                                                              let go: assigned - target   -> Revoke
//!                                                              take:   target - assigned, of what is free -> Assigned
//! ```
//!
//! Invariants
//! - `owners` is exactly what members hold (assigned or revoking): one owner each.
//! - Nothing is taken that has an owner; an owner goes when it has let go, has left or is fenced, or when the
//!   topic is gone.
//! - A member that lets go of something takes nothing before it has.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::assignor::{Assignor, GroupAssignment, GroupSubscription, MemberSubscription, Sticky};
use super::effect::{Change, Effect, Now};
use super::ids::{GroupId, MemberId};
use super::member::{Member, Presence};
use super::offsets::OffsetStore;
use super::topics::Topics;
use crate::types::{Timestamp, TopicName, TopicPartition};

/// A group, as the coordinator keeps it.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) epoch: i32,
    pub(crate) assignor: Arc<dyn Assignor>,
    /// Something stands for the assignor, which is the host's own, until a member brings it.
    pub(crate) awaits_assignor: bool,
    pub(crate) members: BTreeMap<MemberId, Member>,
    pub(crate) owners: BTreeMap<TopicPartition, MemberId>,
    pub(crate) offsets: OffsetStore,
    /// Since when there are no members, by the wall clock.
    pub(crate) empty_since: Option<Timestamp>,
    /// What is to be written down before the call is over.
    pub(crate) unsaved: Unsaved,
    /// Whether a record of it is in the offsets topic.
    pub(crate) saved: bool,
    pub(crate) history: History,
}

/// What is to be written down.
#[derive(Debug, Default)]
pub(crate) struct Unsaved {
    pub(crate) group: bool,
    pub(crate) members: BTreeSet<MemberId>,
    pub(crate) gone: BTreeSet<MemberId>,
}

/// What there is to tell about its rebalances.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) rebalances: u64,
    pub(crate) moved: u64,
    pub(crate) reconciling_since: Option<Duration>,
    pub(crate) last_rebalance: Option<Duration>,
    /// The time of all hand-overs that have ended.
    pub(crate) rebalancing: Duration,
    /// What was wrong with the assignor's last answer.
    pub(crate) complaint: Option<String>,
}

impl Group {
    pub(crate) fn new(id: GroupId) -> Group {
        Group {
            id,
            epoch: 0,
            assignor: Arc::new(Sticky),
            awaits_assignor: false,
            members: BTreeMap::new(),
            owners: BTreeMap::new(),
            offsets: OffsetStore::default(),
            empty_since: None,
            unsaved: Unsaved::default(),
            saved: false,
            history: History::default(),
        }
    }

    /// Whether a member that polls wants this topic.
    pub(crate) fn is_read(&self, topic: &TopicName) -> bool {
        self.members.values().any(|member| member.is_live() && member.subscription.wants(topic))
    }

    pub(crate) fn has_live_members(&self) -> bool {
        self.members.values().any(Member::is_live)
    }

    /// Whether every member has what it is to have.
    pub(crate) fn is_stable(&self) -> bool {
        use crate::format::offsets_topic::MemberState;
        self.members.values().all(|member| member.state() == MemberState::Stable)
    }

    /// A new epoch with a new target, on the way to which everybody is sent.
    pub(crate) fn rebalance(&mut self, topics: &Topics, now: Now, out: &mut Vec<Effect>) {
        self.epoch = self.epoch.saturating_add(1);
        self.history.rebalances += 1;
        self.history.reconciling_since.get_or_insert(now.monotonic);
        self.set_targets(topics);
        self.reconcile(now, out);
    }

    /// Asks the assignor, and takes of its answer what can be.
    fn set_targets(&mut self, topics: &Topics) {
        let view = self.subscription(topics);
        let mut complaint = None;
        let answer = self.ask_assignor(&view).unwrap_or_else(|panicked| {
            complaint = Some(panicked);
            Sticky.assign(&view)
        });
        let mut given = BTreeSet::new();
        let mut targets = Vec::with_capacity(view.members().len());
        // Who is missing in the answer gets nothing.
        let parts = answer.into_parts().into_iter().chain(std::iter::repeat(Vec::new()));
        for (member, partitions) in view.members().iter().zip(parts) {
            let mut target = BTreeSet::new();
            for tp in partitions {
                if !member.wants(tp.topic()) || !topics.has(&tp) {
                    complaint =
                        Some(format!("{tp} was given to {}, which does not want it", member.member_id()));
                } else if given.insert(tp.clone()) {
                    target.insert(tp);
                } else {
                    complaint = Some(format!("{tp} was given twice"));
                }
            }
            targets.push((member.member_id().clone(), target));
        }
        if complaint.is_none() {
            let wanted = |tp: &TopicPartition| !view.subscribers(tp.topic()).is_empty();
            let left = view.partitions().find(|tp| wanted(tp) && !given.contains(tp));
            complaint = left.map(|tp| format!("{tp} was given to nobody"));
        }
        self.history.complaint = complaint;
        for (id, target) in targets {
            if let Some(member) = self.members.get_mut(&id) {
                let leaves = |tp: &&TopicPartition| member.assigned.contains_key(tp) && !target.contains(tp);
                self.history.moved += member.target.iter().filter(leaves).count() as u64;
                member.target = target;
            }
        }
    }

    /// What the assignor answers. One of the host's own may panic: here, where the groups are locked and the broker's
    /// threads pass by, that is an answer, too.
    pub(crate) fn ask_assignor(&self, view: &GroupSubscription) -> Result<GroupAssignment, String> {
        let asked = catch_unwind(AssertUnwindSafe(|| self.assignor.assign(view)));
        asked.map_err(|_| format!("the assignor {} panicked: sticky was asked instead", self.assignor.name()))
    }

    /// The group as the assignor sees it: what members have is what they were to have last.
    pub(crate) fn subscription(&self, topics: &Topics) -> GroupSubscription {
        let mut wanted: BTreeMap<TopicName, u32> = BTreeMap::new();
        let mut members = Vec::with_capacity(self.members.len());
        for member in self.members.values() {
            let mine = topics.iter().filter(|(name, _)| member.subscription.wants(name));
            let mine: Vec<TopicName> = mine
                .map(|(name, topic)| {
                    wanted.insert(name.clone(), topic.partitions);
                    name.clone()
                })
                .collect();
            let mut view =
                MemberSubscription::of(member.id.clone()).topics(mine).owned(member.target.clone());
            if let Some(instance) = &member.instance_id {
                view = view.instance_id(instance.clone());
            }
            members.push(view);
        }
        GroupSubscription::new(wanted, members)
    }

    /// Everybody lets go of what is not to be theirs, then takes what is free.
    pub(crate) fn reconcile(&mut self, now: Now, out: &mut Vec<Effect>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            self.let_go(id, now, out);
        }
        for id in &ids {
            self.take(id, out);
        }
        if self.is_stable() {
            if let Some(since) = self.history.reconciling_since.take() {
                let took = now.monotonic.saturating_sub(since);
                self.history.last_rebalance = Some(took);
                self.history.rebalancing = self.history.rebalancing.saturating_add(took);
            }
        }
    }

    fn let_go(&mut self, id: &MemberId, now: Now, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(id) else { return };
        if !member.revoking.is_empty() {
            return;
        }
        let target = &member.target;
        let leaving: BTreeMap<TopicPartition, i32> = member
            .assigned
            .iter()
            .filter(|(tp, _)| !target.contains(tp))
            .map(|(tp, epoch)| (tp.clone(), *epoch))
            .collect();
        if leaving.is_empty() {
            return;
        }
        member.assigned.retain(|tp, _| target.contains(tp));
        match &mut member.presence {
            Presence::Live { revoke_by, .. } => {
                *revoke_by = Some(now.monotonic.saturating_add(member.max_poll_interval));
                member.revocation += 1;
                let partitions = leaving.keys().cloned().collect();
                let change = Change::Revoke { revocation: member.revocation, partitions };
                member.revoking = leaving;
                out.push(Effect::Tell { group: self.id.clone(), member: id.clone(), change });
            }
            // Nobody reads them: they are free at once.
            Presence::Away { .. } => {
                for tp in leaving.keys() {
                    self.owners.remove(tp);
                }
            }
        }
        self.unsaved_member(id);
    }

    fn take(&mut self, id: &MemberId, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(id) else { return };
        if !member.revoking.is_empty() {
            return;
        }
        let owners = &self.owners;
        let free = |tp: &&TopicPartition| !member.assigned.contains_key(tp) && !owners.contains_key(tp);
        let taken: Vec<TopicPartition> = member.target.iter().filter(free).cloned().collect();
        if taken.is_empty() && member.epoch == self.epoch {
            return;
        }
        if member.epoch != self.epoch {
            member.previous_epoch = member.epoch;
            member.epoch = self.epoch;
        }
        for tp in &taken {
            member.assigned.insert(tp.clone(), self.epoch);
            self.owners.insert(tp.clone(), id.clone());
        }
        if member.is_live() {
            let change = Change::Assigned { epoch: self.epoch, partitions: taken };
            out.push(Effect::Tell { group: self.id.clone(), member: id.clone(), change });
        }
        self.unsaved_member(id);
    }

    /// A member says that it has let go of what it was asked for.
    pub(crate) fn released(&mut self, id: &MemberId, revocation: u64, now: Now, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.revocation != revocation || member.revoking.is_empty() {
            return;
        }
        for tp in std::mem::take(&mut member.revoking).keys() {
            self.owners.remove(tp);
        }
        if let Presence::Live { revoke_by, .. } = &mut member.presence {
            *revoke_by = None;
        }
        self.unsaved_member(id);
        self.reconcile(now, out);
    }

    /// Takes a member out, with all that it holds.
    pub(crate) fn remove(&mut self, id: &MemberId, now: Now) {
        let Some(member) = self.members.remove(id) else { return };
        for tp in member.held() {
            self.owners.remove(tp);
        }
        self.unsaved.members.remove(id);
        if member.instance_id.is_some() {
            self.unsaved.gone.insert(id.clone());
        }
        if self.members.is_empty() {
            self.set_empty(Some(now.wall));
        }
    }

    /// A topic is gone, and what is held of it.
    pub(crate) fn drop_topic(&mut self, topic: &TopicName, out: &mut Vec<Effect>) {
        self.owners.retain(|tp, _| tp.topic() != topic);
        for member in self.members.values_mut() {
            let lost: Vec<TopicPartition> = member.held().filter(|tp| tp.topic() == topic).cloned().collect();
            member.target.retain(|tp| tp.topic() != topic);
            if lost.is_empty() {
                continue;
            }
            member.assigned.retain(|tp, _| tp.topic() != topic);
            member.revoking.retain(|tp, _| tp.topic() != topic);
            if let Presence::Live { revoke_by, .. } = &mut member.presence {
                *revoke_by = revoke_by.filter(|_| !member.revoking.is_empty());
                let change = Change::Lost { partitions: lost };
                out.push(Effect::Tell { group: self.id.clone(), member: member.id.clone(), change });
            }
            if member.instance_id.is_some() {
                self.unsaved.members.insert(member.id.clone());
                self.unsaved.group = true;
            }
        }
    }

    pub(crate) fn set_empty(&mut self, since: Option<Timestamp>) {
        if self.empty_since != since || !self.saved {
            self.empty_since = since;
            self.unsaved.group = true;
        }
    }

    /// What a static member has must be found again after a restart.
    pub(crate) fn unsaved_member(&mut self, id: &MemberId) {
        if self.members.get(id).is_some_and(|member| member.instance_id.is_some()) {
            self.unsaved.members.insert(id.clone());
            self.unsaved.group = true;
        }
    }
}
