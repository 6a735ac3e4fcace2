//! The coordinator of all groups of a broker.
//!
//! ```text
//!   replay* -> opened -> ( join | leave | released | polled | tick
//!                        | topic_created | partitions_added | topic_deleted
//!                        | commit | reset | delete_offsets | delete_group | written | failed )*
//! ```
//!
//! Invariants
//! - A call that answers an error has changed nothing.
//! - Effects are appended to `out`; what a call has changed of lasting state is among them.
//! - A group without members and offsets is none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::effect::{Effect, Now, OffsetsRecord, WriteId};
use super::floors::Touched;
use super::group::Group;
use super::ids::{GroupId, MemberId};
use super::joining::{JoinRequest, Leave};
use super::member::Presence;
use super::offsets::Holds;
use super::replay::Replayed;
use super::saving::offset_record;
use super::topics::{KnownTopic, Topics};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Timestamp, TopicName, TopicPartition};

/// All groups of a broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    pub(super) topics: Topics,
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) replayed: Replayed,
    /// What each write is about that is under way.
    pub(super) writes: BTreeMap<WriteId, Vec<(GroupId, TopicPartition)>>,
    /// Those of them of which nobody can tell before the next opening whether they hold, and why.
    pub(super) unknown: BTreeMap<WriteId, Error>,
    next_write: u64,
    /// Tells members of this opening from those of others.
    nonce: u64,
    next_member: u64,
    pub(super) retention: Duration,
    pub(super) touched: Touched,
}

impl Coordinator {
    /// Of no groups; `nonce` is drawn for each opening, and offsets of dead groups are kept for `retention`.
    pub(crate) fn new(nonce: u64, retention: Duration) -> Coordinator {
        Coordinator {
            topics: Topics::default(),
            groups: BTreeMap::new(),
            replayed: Replayed::default(),
            writes: BTreeMap::new(),
            unknown: BTreeMap::new(),
            next_write: 0,
            nonce,
            next_member: 0,
            retention,
            touched: Touched::new(),
        }
    }

    /// A member joins a group; answers its id. What it gets comes as effects.
    ///
    /// # Errors
    /// `InvalidArgument` if it wants nothing or shares by another assignor than the group; `TopicNotFound`;
    /// `GroupInUse` if its instance id is in use.
    pub(crate) fn join(
        &mut self,
        group: &GroupId,
        request: JoinRequest,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<MemberId> {
        match self.groups.get(group) {
            Some(known) => known.check_join(&request, &self.topics)?,
            None => Group::new(group.clone()).check_join(&request, &self.topics)?,
        }
        self.next_member += 1;
        let name = request.instance_id.as_ref().map_or(request.client_id.as_str(), |id| id.as_str());
        let id = MemberId::new(&format!("{name}-{:08x}-{:06}", self.nonce & 0xffff_ffff, self.next_member));
        self.group_mut(group);
        let joined = self.groups.get_mut(group);
        if let Some(joined) = joined {
            joined.join(request, id.clone(), &self.topics, now, out);
        }
        self.touch_volatile();
        self.save(group, out);
        Ok(id)
    }

    /// Whether there is a topic of this name.
    pub(crate) fn knows(&self, topic: &TopicName) -> bool {
        self.topics.get(topic).is_some()
    }

    /// A member leaves; one that is none has left already.
    pub(crate) fn leave(
        &mut self,
        group: &GroupId,
        member: &MemberId,
        how: Leave,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if let Some(left) = self.groups.get_mut(group) {
            left.leave(member, how, &self.topics, now, out);
        }
        self.touch_volatile();
        self.save(group, out);
    }

    /// A member has let go of what this revocation asked for.
    pub(crate) fn released(
        &mut self,
        group: &GroupId,
        member: &MemberId,
        revocation: u64,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if let Some(known) = self.groups.get_mut(group) {
            known.released(member, revocation, now, out);
        }
        self.save(group, out);
    }

    /// A member polls, or polled at this point of the monotonic clock.
    pub(crate) fn polled(&mut self, group: &GroupId, member: &MemberId, at: Duration) {
        let member = self.groups.get_mut(group).and_then(|group| group.members.get_mut(member));
        if let Some(Presence::Live { last_poll, .. }) = member.map(|member| &mut member.presence) {
            *last_poll = at.max(*last_poll);
        }
    }

    /// There is a topic, or one has other partitions than before.
    pub(crate) fn topic_changed(
        &mut self,
        name: &TopicName,
        topic: KnownTopic,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        self.topics.put(name.clone(), topic);
        self.rebalance_readers(name, now, out);
    }

    /// A topic is about to be deleted: nobody may commit there any more, and its offsets go. The last write
    /// among the effects, if there is one, must hold before the topic goes.
    pub(crate) fn topic_deleted(&mut self, name: &TopicName, now: Now, out: &mut Vec<Effect>) {
        let groups: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in groups {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.drop_topic(name, out);
            let gone: Vec<TopicPartition> = group
                .offsets
                .partitions()
                .map(|(tp, _)| tp)
                .filter(|tp| tp.topic() == name)
                .cloned()
                .collect();
            self.tombstone_offsets(&id, &gone, out);
        }
        self.topics.remove(name);
        self.rebalance_readers(name, now, out);
    }

    fn rebalance_readers(&mut self, name: &TopicName, now: Now, out: &mut Vec<Effect>) {
        let read = |group: &&Group| group.members.values().any(|member| member.subscription.wants(name));
        let ids: Vec<GroupId> = self.groups.values().filter(read).map(|group| group.id.clone()).collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                group.rebalance(&self.topics, now, out);
            }
            self.save(&id, out);
        }
    }

    /// Does what is due: puts out who stalls, gives up who stays away, lets offsets of dead groups expire.
    /// Answers when there is something due again, by the monotonic clock.
    pub(crate) fn tick(&mut self, now: Now, out: &mut Vec<Effect>) -> Option<Duration> {
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in &ids {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.put_out_overdue(&self.topics, now, out);
            let expired = group.expired(self.retention, now.wall);
            self.tombstone_offsets(id, &expired, out);
            self.save(id, out);
        }
        self.touch_volatile();
        self.next_tick(now)
    }

    /// When [`tick`](Coordinator::tick) has something to do, by the monotonic clock.
    pub(crate) fn next_tick(&self, now: Now) -> Option<Duration> {
        let after = |wall: Timestamp| now.monotonic.saturating_add(wall.since(now.wall).unwrap_or_default());
        let of_group = |group: &Group| {
            let members = group.members.values().filter_map(|member| match member.presence {
                Presence::Live { .. } => member.fenced_at(),
                Presence::Away { expires_at } => Some(after(expires_at)),
            });
            members.chain(group.next_expiry(self.retention).map(after)).min()
        };
        self.groups.values().filter_map(of_group).min()
    }

    /// The records of this write are as durable as the offsets topic promises.
    pub(crate) fn written(&mut self, id: WriteId, out: &mut Vec<Effect>) {
        for (group, tp) in self.writes.remove(&id).unwrap_or_default() {
            if let Some(known) = self.groups.get_mut(&group) {
                known.offsets.written(id, &tp);
            }
            if self.is_volatile(&tp) {
                self.touched.insert(tp);
            }
            self.save(&group, out);
        }
    }

    /// The records of this write could not be appended, or never became durable.
    pub(crate) fn failed(&mut self, id: WriteId, out: &mut Vec<Effect>) {
        for (group, tp) in self.writes.remove(&id).unwrap_or_default() {
            if let Some(known) = self.groups.get_mut(&group) {
                known.offsets.failed(id, &tp);
            }
            self.save(&group, out);
        }
    }

    pub(super) fn group_mut(&mut self, id: &GroupId) -> &mut Group {
        self.groups.entry(id.clone()).or_insert_with(|| Group::new(id.clone()))
    }

    pub(super) fn group(&self, id: &GroupId) -> Result<&Group> {
        let missing = || Error::new(ErrorKind::GroupNotFound, format!("there is no group {id}"));
        self.groups.get(id).ok_or_else(missing)
    }

    /// A number for one more write, which is about these offsets.
    pub(super) fn begin_write(
        &mut self,
        records: Vec<OffsetsRecord>,
        about: Vec<(GroupId, TopicPartition)>,
        out: &mut Vec<Effect>,
    ) -> WriteId {
        self.next_write += 1;
        let id = WriteId(self.next_write);
        self.writes.insert(id, about);
        out.push(Effect::Write { id, records });
        id
    }

    /// Deletes offsets of a group.
    pub(super) fn tombstone_offsets(
        &mut self,
        group: &GroupId,
        gone: &[TopicPartition],
        out: &mut Vec<Effect>,
    ) -> Option<WriteId> {
        let mut gone = gone.to_vec();
        if let Some(known) = self.groups.get_mut(group) {
            let held = |tp: &TopicPartition| known.offsets.drop_held(tp);
            let (held, written) = gone.into_iter().partition(held);
            self.touched.extend::<Vec<_>>(held);
            gone = written;
        }
        if gone.is_empty() {
            return None;
        }
        let none = crate::types::TopicId::from_bytes([0; 16]);
        let records = gone.iter().map(|tp| offset_record(group.as_str(), tp, none, None)).collect();
        let about = gone.iter().map(|tp| (group.clone(), tp.clone())).collect();
        let id = self.begin_write(records, about, out);
        if let Some(known) = self.groups.get_mut(group) {
            for tp in &gone {
                known.offsets.begin(id, tp, none, None, Holds::Alone);
            }
        }
        Some(id)
    }

    /// Writes down what has changed of a group, and forgets one of which nothing is left.
    pub(super) fn save(&mut self, id: &GroupId, out: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let mut records = group.take_unsaved(&self.topics);
        if group.members.is_empty() && group.offsets.is_empty() {
            records.extend(group.tombstone());
            self.groups.remove(id);
        }
        if !records.is_empty() {
            self.begin_write(records, Vec::new(), out);
        }
    }
}

impl Group {
    /// Offsets that nobody will ask for.
    fn expired(&self, retention: Duration, wall: Timestamp) -> Vec<TopicPartition> {
        let due = |tp: &TopicPartition| self.expires_at(tp, retention).is_some_and(|at| at <= wall);
        self.offsets.all_seen().map(|(tp, _)| tp).filter(|tp| due(tp)).cloned().collect()
    }

    /// When the next offset expires.
    fn next_expiry(&self, retention: Duration) -> Option<Timestamp> {
        self.offsets.all_seen().filter_map(|(tp, _)| self.expires_at(tp, retention)).min()
    }

    /// When an offset expires, if nothing happens before: so long after the group became empty, or after the
    /// commit where the group no longer reads the topic. Never while somebody may go on from it.
    fn expires_at(&self, tp: &TopicPartition, retention: Duration) -> Option<Timestamp> {
        use super::offsets::Committed;
        if self.offsets.pending(tp).is_some() {
            return None;
        }
        let committed_at = match self.offsets.seen(tp) {
            Committed::At(offset) => offset.committed_at(),
            Committed::Corrupt(_) | Committed::Absent => Timestamp::NONE,
        };
        if self.members.values().any(|member| member.subscription.wants(tp.topic())) {
            return None;
        }
        let idle_since = match self.empty_since {
            Some(since) => since.max(committed_at),
            None => committed_at,
        };
        Some(idle_since.saturating_add(retention))
    }
}
