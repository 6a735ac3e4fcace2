//! How members come and go.
//!
//! Invariants
//! - A refused join changes nothing.
//! - A static member that comes back with the same wishes takes up its partitions without a rebalance; whoever
//!   was it before is a stranger from then on.

use std::sync::Arc;
use std::time::Duration;

use super::assignor::Assignor;
use super::effect::{Change, Effect, Now};
use super::group::Group;
use super::ids::{InstanceId, MemberId, check_assignor};
use super::member::{Member, Presence};
use super::subscription::Subscription;
use super::topics::Topics;
use crate::error::{Error, ErrorKind, Result};

/// What a new member says of itself.
#[derive(Clone, Debug)]
pub(crate) struct JoinRequest {
    pub(crate) client_id: String,
    pub(crate) instance_id: Option<InstanceId>,
    pub(crate) subscription: Subscription,
    pub(crate) assignor: Arc<dyn Assignor>,
    pub(crate) max_poll_interval: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) coming: Coming,
}

/// Whether a member has been here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coming {
    /// All its topics must be there.
    New,
    /// It was put out: topics of it may have been deleted meanwhile, as under one that has stayed.
    Back,
}

/// How a static member leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It will come back; others go at once all the same.
    ForNow,
    /// For good.
    ForGood,
}

impl Group {
    /// Whether this member may join.
    pub(crate) fn check_join(&self, request: &JoinRequest, topics: &Topics) -> Result<()> {
        if request.subscription.is_empty() {
            return Err(Error::invalid_argument("name at least one topic to read"));
        }
        check_assignor(request.assignor.name())?;
        let mut missing = request.subscription.topics.iter().filter(|name| topics.get(name).is_none());
        if let Some(missing) = missing.next().filter(|_| request.coming == Coming::New) {
            return Err(Error::new(ErrorKind::TopicNotFound, format!("there is no topic {missing}")));
        }
        let (ours, asked) = (self.assignor.name(), request.assignor.name());
        if self.has_live_members() && ours != asked {
            let message =
                format!("group {} shares its partitions by the assignor {ours}, not by {asked}", self.id);
            return Err(Error::invalid_argument(message));
        }
        if let Some(other) = self.instance(request.instance_id.as_ref()).filter(|other| other.is_live()) {
            let message = format!("instance id of member {} is in use in group {}", other.id, self.id);
            return Err(Error::new(ErrorKind::GroupInUse, message));
        }
        Ok(())
    }

    fn instance(&self, instance_id: Option<&InstanceId>) -> Option<&Member> {
        let instance_id = instance_id?;
        self.members.values().find(|member| member.instance_id.as_ref() == Some(instance_id))
    }

    /// A member joins; the caller has checked that it may.
    pub(crate) fn join(
        &mut self,
        request: JoinRequest,
        id: MemberId,
        topics: &Topics,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let presence = Presence::Live { last_poll: now.monotonic, revoke_by: None };
        let same_assignor = self.assignor.name() == request.assignor.name();
        self.assignor = request.assignor;
        let brought = std::mem::take(&mut self.awaits_assignor);
        self.set_empty(None);
        if let Some(before) = self.instance(request.instance_id.as_ref()).map(|member| member.id.clone()) {
            let same = self.come_back(&before, &id, presence);
            let Some(member) = self.members.get_mut(&id) else { return };
            member.client_id = request.client_id;
            member.max_poll_interval = request.max_poll_interval;
            member.session_timeout = request.session_timeout;
            let partitions = member.assigned.keys().cloned().collect();
            let change = Change::Assigned { epoch: member.epoch, partitions };
            out.push(Effect::Tell { group: self.id.clone(), member: id.clone(), change });
            self.unsaved_member(&id);
            // What the host's own would have answered at the opening is known only now.
            let stays = same_assignor && (!brought || self.is_settled(topics));
            if stays && same.as_ref() == Some(&request.subscription) {
                self.reconcile(now, out);
                return;
            }
            if let Some(member) = self.members.get_mut(&id) {
                member.subscription = request.subscription;
            }
        } else {
            let member = Member {
                id: id.clone(),
                instance_id: request.instance_id,
                client_id: request.client_id,
                subscription: request.subscription,
                presence,
                epoch: 0,
                previous_epoch: 0,
                target: Default::default(),
                assigned: Default::default(),
                revoking: Default::default(),
                revocation: 0,
                max_poll_interval: request.max_poll_interval,
                session_timeout: request.session_timeout,
            };
            self.members.insert(id.clone(), member);
            self.unsaved_member(&id);
        }
        self.rebalance(topics, now, out);
    }

    /// A static member gets a new id, so that who it was before is told from it; answers what it wanted.
    fn come_back(&mut self, before: &MemberId, id: &MemberId, presence: Presence) -> Option<Subscription> {
        let mut member = self.members.remove(before)?;
        for tp in member.held() {
            self.owners.insert(tp.clone(), id.clone());
        }
        self.unsaved.members.remove(before);
        self.unsaved.gone.insert(before.clone());
        member.id = id.clone();
        member.presence = presence;
        let wanted = member.subscription.clone();
        self.members.insert(id.clone(), member);
        Some(wanted)
    }

    /// A member leaves.
    pub(crate) fn leave(
        &mut self,
        id: &MemberId,
        how: Leave,
        topics: &Topics,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.instance_id.is_none() || how == Leave::ForGood {
            self.remove(id, now);
            self.rebalance(topics, now, out);
            return;
        }
        let expires_at = now.wall.saturating_add(member.session_timeout);
        member.presence = Presence::Away { expires_at };
        for tp in std::mem::take(&mut member.revoking).keys() {
            self.owners.remove(tp);
        }
        self.unsaved_member(id);
        self.reconcile(now, out);
    }

    /// Puts those out that have not polled, or not let go, in time, and gives up those that stayed away too long;
    /// answers whether there were any.
    pub(crate) fn put_out_overdue(&mut self, topics: &Topics, now: Now, out: &mut Vec<Effect>) -> bool {
        let overdue = |member: &&Member| match member.presence {
            Presence::Live { .. } => member.fenced_at().is_some_and(|at| at <= now.monotonic),
            Presence::Away { expires_at } => expires_at <= now.wall,
        };
        let overdue: Vec<MemberId> =
            self.members.values().filter(overdue).map(|member| member.id.clone()).collect();
        for id in &overdue {
            if self.members.get(id).is_some_and(Member::is_live) {
                let change = Change::Fenced;
                out.push(Effect::Tell { group: self.id.clone(), member: id.clone(), change });
            }
            self.remove(id, now);
        }
        if !overdue.is_empty() {
            self.rebalance(topics, now, out);
        }
        !overdue.is_empty()
    }
}
