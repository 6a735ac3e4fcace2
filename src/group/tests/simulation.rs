//! The coordinator under a schedule that a seed draws: members that join, leave, stall and come back, topics that
//! come and go, writes that fail, processes that die. After every step nothing may be wrong, and whenever things
//! calm down everything must be right.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::error::ErrorKind;
use crate::group::TopicPattern;

/// How many seeds a test runs; SEED in the environment runs one.
const SEEDS: u64 = 2_000;
const STEPS: u32 = 80;

const GROUPS: [&str; 2] = ["g", "h"];
const TOPICS: [&str; 3] = ["t", "u", "v"];

struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// A member as its own program sees it.
struct Client {
    group: GroupId,
    id: MemberId,
    instance: Option<usize>,
    mailbox: VecDeque<(Change, BTreeMap<TopicName, TopicId>)>,
    epoch: i32,
    /// What it believes to own, of which topic, and where it stands.
    owned: BTreeMap<TopicPartition, (TopicId, u64)>,
    /// Records that it polled some time ago: partition, topic, next offset, epoch.
    in_hand: Vec<(TopicPartition, TopicId, u64, i32)>,
    stalled: bool,
    fenced: bool,
}

struct World {
    draws: Draws,
    coordinator: Coordinator,
    now: Now,
    topics: BTreeMap<TopicName, KnownTopic>,
    next_id: u8,
    ends: BTreeMap<TopicPartition, u64>,
    clients: Vec<Client>,
    writes: VecDeque<(WriteId, Vec<OffsetsRecord>)>,
    log: Vec<OffsetsRecord>,
    /// Who was given a partition last, and at which epoch.
    granted: BTreeMap<(GroupId, TopicPartition), (MemberId, i32)>,
    /// What was seen last, and of which topic.
    seen: BTreeMap<(GroupId, TopicPartition), (TopicId, u64)>,
    openings: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut world = World {
            draws: Draws(seed),
            coordinator: Coordinator::new(0, WEEK),
            now: Now { monotonic: Duration::ZERO, wall: Timestamp::from_millis(1_000_000) },
            topics: BTreeMap::new(),
            next_id: 0,
            ends: BTreeMap::new(),
            clients: Vec::new(),
            writes: VecDeque::new(),
            log: Vec::new(),
            granted: BTreeMap::new(),
            seen: BTreeMap::new(),
            openings: 0,
        };
        world.act(|coordinator, now, out| coordinator.opened([], now, out));
        world.create_topic("t");
        world
    }

    fn act<T>(&mut self, call: impl FnOnce(&mut Coordinator, Now, &mut Vec<Effect>) -> T) -> T {
        let mut out = Vec::new();
        let answer = call(&mut self.coordinator, self.now, &mut out);
        let ids: BTreeMap<TopicName, TopicId> =
            self.topics.iter().map(|(name, topic)| (name.clone(), topic.id)).collect();
        for effect in out {
            match effect {
                Effect::Write { id, records } => self.writes.push_back((id, records)),
                Effect::Tell { group, member, change } => {
                    if let Change::Assigned { epoch, partitions } = &change {
                        for tp in partitions {
                            self.granted.insert((group.clone(), tp.clone()), (member.clone(), *epoch));
                        }
                    }
                    match self.clients.iter_mut().find(|client| client.id == member) {
                        Some(client) => client.mailbox.push_back((change, ids.clone())),
                        // It joins in this very call.
                        None => self.clients.push(Client {
                            group,
                            id: member,
                            instance: None,
                            mailbox: VecDeque::from([(change, ids.clone())]),
                            epoch: 0,
                            owned: BTreeMap::new(),
                            in_hand: Vec::new(),
                            stalled: false,
                            fenced: false,
                        }),
                    }
                }
            }
        }
        answer
    }

    fn create_topic(&mut self, name: &str) {
        let name = topic(name);
        if self.topics.contains_key(&name) {
            return;
        }
        self.next_id += 1;
        let known =
            KnownTopic { id: id(self.next_id), partitions: 1 + self.draws.below(6) as u32, volatile: false };
        self.set_topic(name, known);
    }

    fn set_topic(&mut self, name: TopicName, known: KnownTopic) {
        for partition in 0..known.partitions {
            self.ends.entry(TopicPartition::new(name.clone(), partition)).or_insert(0);
        }
        self.topics.insert(name.clone(), known);
        self.act(|coordinator, now, out| coordinator.topic_changed(&name, known, now, out));
    }

    fn step(&mut self) {
        match self.draws.below(100) {
            0..12 => self.join(),
            12..18 => self.leave(),
            18..22 => self.stall(),
            22..42 => self.read_mail(),
            42..57 => self.poll(),
            57..67 => self.commit_in_hand(),
            67..72 => self.append(),
            72..78 => self.pass_time(),
            78..90 => self.finish_write(),
            90..94 => self.change_topics(),
            94..96 => self.reset(),
            96..98 => self.calm_down(),
            98 => self.restart(),
            _ => self.delete_group(),
        }
        self.check();
    }

    fn join(&mut self) {
        if self.clients.len() > 10 {
            return;
        }
        let name = group(GROUPS[self.draws.below(2)]);
        let wanted: Vec<&str> =
            TOPICS.into_iter().filter(|name| self.topics.contains_key(&topic(name))).collect();
        let wanted: Vec<&str> = wanted.into_iter().filter(|_| !self.draws.one_in(4)).collect();
        let mut request = Desk::request(&wanted);
        if self.draws.one_in(4) {
            request.subscription = Subscription::matching(TopicPattern::new("?").unwrap());
        }
        let instance = self.draws.one_in(3).then(|| self.draws.below(3));
        request.instance_id = instance.map(|n| InstanceId::new(&format!("i{n}")).unwrap());
        let joined = self.act(|coordinator, now, out| coordinator.join(&name, request, now, out));
        match joined {
            Ok(member) => {
                let client =
                    self.clients.iter_mut().find(|client| client.id == member).expect("was told something");
                client.instance = instance;
            }
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::InvalidArgument | ErrorKind::GroupInUse), "{error}");
            }
        }
    }

    fn some_client(&mut self) -> Option<usize> {
        let count = self.clients.len();
        (count > 0).then(|| self.draws.below(count))
    }

    fn leave(&mut self) {
        let Some(at) = self.some_client() else { return };
        let client = self.clients.swap_remove(at);
        let how = if self.draws.one_in(3) { Leave::ForGood } else { Leave::ForNow };
        self.act(|coordinator, now, out| coordinator.leave(&client.group, &client.id, how, now, out));
        self.attempt_stale(&client);
    }

    /// Who has left, or is fenced, commits nothing any more.
    fn attempt_stale(&mut self, client: &Client) {
        for (tp, topic_id, offset, epoch) in client.in_hand.clone() {
            let answer = self.commit(&client.group, &client.id, epoch, tp, topic_id, offset);
            let kind = answer.expect_err("a stranger commits").kind();
            assert!(
                matches!(kind, ErrorKind::Fenced | ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound),
                "{kind:?}"
            );
        }
    }

    fn stall(&mut self) {
        let Some(at) = self.some_client() else { return };
        self.clients[at].stalled = !self.clients[at].stalled;
    }

    fn read_mail(&mut self) {
        let Some(at) = self.some_client() else { return };
        if self.clients[at].stalled {
            return;
        }
        let count = 1 + self.draws.below(3);
        for _ in 0..count {
            self.read_one(at);
        }
        self.drop_fenced();
    }

    fn read_one(&mut self, at: usize) {
        let Some((change, ids)) = self.clients[at].mailbox.pop_front() else { return };
        match change {
            Change::Assigned { epoch, partitions } => {
                self.clients[at].epoch = epoch;
                for tp in partitions {
                    let (seen, _) = self.coordinator.committed(&self.clients[at].group, &tp);
                    let start = match seen {
                        Committed::At(offset) => offset.offset().get(),
                        Committed::Absent | Committed::Corrupt(_) => 0,
                    };
                    self.clients[at].owned.insert(tp.clone(), (ids[tp.topic()], start));
                }
            }
            Change::Revoke { revocation, partitions } => {
                if self.draws.one_in(2) {
                    self.commit_positions(at, &partitions);
                }
                for tp in &partitions {
                    self.clients[at].owned.remove(tp);
                }
                let (group, id) = (self.clients[at].group.clone(), self.clients[at].id.clone());
                self.act(|coordinator, now, out| coordinator.released(&group, &id, revocation, now, out));
            }
            Change::Lost { partitions } => {
                for tp in &partitions {
                    self.clients[at].owned.remove(tp);
                }
            }
            Change::Fenced => {
                self.clients[at].fenced = true;
                self.clients[at].owned.clear();
            }
        }
    }

    fn drop_fenced(&mut self) {
        while let Some(at) = self.clients.iter().position(|client| client.fenced) {
            let client = self.clients.swap_remove(at);
            self.attempt_stale(&client);
        }
    }

    fn commit_positions(&mut self, at: usize, partitions: &[TopicPartition]) {
        for tp in partitions {
            let client = &self.clients[at];
            let Some((topic_id, offset)) = client.owned.get(tp).copied() else { continue };
            let (group, id, epoch) = (client.group.clone(), client.id.clone(), client.epoch);
            let _ = self.commit(&group, &id, epoch, tp.clone(), topic_id, offset);
        }
    }

    fn poll(&mut self) {
        let Some(at) = self.some_client() else { return };
        if self.clients[at].stalled {
            return;
        }
        while !self.clients[at].mailbox.is_empty() {
            self.read_one(at);
        }
        let (group, id) = (self.clients[at].group.clone(), self.clients[at].id.clone());
        self.coordinator.polled(&group, &id, self.now.monotonic);
        let client = &mut self.clients[at];
        let epoch = client.epoch;
        for (tp, (topic_id, position)) in &mut client.owned {
            let end = self.ends[tp];
            if *position < end && self.draws.one_in(2) {
                *position = (*position + 1 + self.draws.below(5) as u64).min(end);
                client.in_hand.push((tp.clone(), *topic_id, *position, epoch));
            }
        }
        self.drop_fenced();
    }

    fn commit_in_hand(&mut self) {
        let Some(at) = self.some_client() else { return };
        let count = self.clients[at].in_hand.len();
        if count == 0 {
            return;
        }
        let taken = self.draws.below(count);
        let (tp, topic_id, offset, epoch) = self.clients[at].in_hand.swap_remove(taken);
        let (group, id) = (self.clients[at].group.clone(), self.clients[at].id.clone());
        let _ = self.commit(&group, &id, epoch, tp, topic_id, offset);
    }

    /// A commit, and whether its answer is right.
    fn commit(
        &mut self,
        name: &GroupId,
        member: &MemberId,
        epoch: i32,
        tp: TopicPartition,
        topic_id: TopicId,
        offset: u64,
    ) -> Result<Option<WriteId>> {
        let log_end = self.ends.get(&tp).copied().unwrap_or(0);
        let entry = CommitEntry {
            tp: tp.clone(),
            topic_id,
            offset: OffsetAndMetadata::new(Offset::of(offset)),
            log_end: Offset::of(log_end.max(offset)),
            backward: Backward::Ignore,
        };
        let committer = Committer { member: member.clone(), epoch };
        let answer = self.act(|c, now, out| c.commit(name, &committer, vec![entry], now, out));
        if answer.is_ok() {
            let (last, since) = &self.granted[&(name.clone(), tp.clone())];
            assert!(
                last == member || self.same_instance(name, last, member),
                "{tp} belongs to {last}, not {member}"
            );
            assert!(*since <= epoch, "{tp} was polled at {epoch}, but is {member}'s own since {since}");
            assert_eq!(self.topics.get(tp.topic()).map(|topic| topic.id), Some(topic_id), "another topic");
        }
        answer
    }

    /// A static member that was given its partition while it was away, or before.
    fn same_instance(&self, name: &GroupId, last: &MemberId, member: &MemberId) -> bool {
        let group = &self.coordinator.groups[name];
        !group.members.contains_key(last)
            && group.members.get(member).is_some_and(|m| m.instance_id.is_some())
    }

    fn append(&mut self) {
        for (tp, end) in &mut self.ends {
            if self.topics.contains_key(tp.topic()) && self.draws.one_in(2) {
                *end += self.draws.below(8) as u64;
            }
        }
    }

    fn pass_time(&mut self) {
        let seconds = [1, 20, 46, 200, 400][self.draws.below(5)];
        let time = Duration::from_secs(seconds);
        self.now.monotonic += time;
        self.now.wall = self.now.wall.saturating_add(time);
        if self.draws.one_in(2) {
            let calm: Vec<_> =
                self.clients.iter().filter(|c| !c.stalled).map(|c| (c.group.clone(), c.id.clone())).collect();
            for (group, id) in calm {
                self.coordinator.polled(&group, &id, self.now.monotonic);
            }
        }
        self.act(|coordinator, now, out| coordinator.tick(now, out));
    }

    fn finish_write(&mut self) {
        let Some((id, records)) = self.writes.pop_front() else { return };
        if self.draws.one_in(12) {
            self.act(|coordinator, _, out| coordinator.failed(id, out));
            return;
        }
        self.log.extend(records);
        self.act(|coordinator, _, out| coordinator.written(id, out));
    }

    fn change_topics(&mut self) {
        let name = topic(TOPICS[self.draws.below(3)]);
        match self.topics.get(&name).copied() {
            None => self.create_topic(name.as_str()),
            Some(known) if self.draws.one_in(2) && known.partitions < 12 => {
                let partitions = known.partitions + 1 + self.draws.below(2) as u32;
                self.set_topic(name, KnownTopic { partitions, ..known });
            }
            Some(_) => {
                self.act(|coordinator, now, out| coordinator.topic_deleted(&name, now, out));
                self.topics.remove(&name);
                self.ends.retain(|tp, _| *tp.topic() != name);
            }
        }
    }

    fn reset(&mut self) {
        let name = group(GROUPS[self.draws.below(2)]);
        let Some((tp, end)) = self.ends.iter().map(|(tp, end)| (tp.clone(), *end)).nth(self.draws.below(4))
        else {
            return;
        };
        let Some(known) = self.topics.get(tp.topic()) else { return };
        let offset = self.draws.below(end as usize + 1) as u64;
        let entry =
            CommitEntry { log_end: Offset::of(end), topic_id: known.id, ..entry(tp.clone(), 0, offset) };
        let read = self.is_read(&name, tp.topic());
        let answer = self.act(|coordinator, now, out| coordinator.reset(&name, vec![entry], now, out));
        assert_eq!(answer.is_err(), read, "a reset is refused where it is read, and only there");
        if answer.is_ok() {
            self.seen.remove(&(name, tp));
        }
    }

    fn is_read(&self, name: &GroupId, topic: &TopicName) -> bool {
        self.coordinator.groups.get(name).is_some_and(|group| group.is_read(topic))
    }

    fn delete_group(&mut self) {
        let name = group(GROUPS[self.draws.below(2)]);
        let live = self.coordinator.groups.get(&name).is_some_and(|group| group.has_live_members());
        let answer = self.act(|coordinator, now, out| coordinator.delete_group(&name, now, out));
        assert!(!(live && answer.is_ok()), "a group in use is deleted");
        if answer.is_ok() {
            self.seen.retain(|(group, _), _| *group != name);
        }
    }

    /// The process dies: what was written stays, and some of what was on its way.
    fn restart(&mut self) {
        let lucky = self.draws.below(self.writes.len() + 1);
        for (_, records) in self.writes.drain(..lucky) {
            self.log.extend(records);
        }
        self.writes.clear();
        let before: Vec<Client> = std::mem::take(&mut self.clients);
        self.openings += 1;
        self.coordinator = Coordinator::new(self.openings, WEEK);
        for record in &self.log {
            self.coordinator.replay(&record.key.encode(), record.value.as_deref());
        }
        let topics: Vec<_> = self.topics.iter().map(|(name, topic)| (name.clone(), *topic)).collect();
        self.now.monotonic = Duration::ZERO;
        self.act(|coordinator, now, out| coordinator.opened(topics, now, out));
        self.granted.clear();
        for (name, group) in &self.coordinator.groups {
            for member in group.members.values() {
                assert!(!member.is_live());
                for (tp, epoch) in &member.assigned {
                    self.granted.insert((name.clone(), tp.clone()), (member.id.clone(), *epoch));
                }
            }
        }
        // What was under way and got lost was never seen; what was seen must be there. A reset may have hurried ahead.
        let written: BTreeMap<_, _> = self.seen.clone();
        for ((name, tp), (topic_id, offset)) in written {
            let known = self.topics.get(tp.topic()).map(|topic| topic.id);
            if known == Some(topic_id) {
                let (Committed::At(found), _) = self.coordinator.committed(&name, &tp) else {
                    // Its tombstone was on its way.
                    self.seen.remove(&(name, tp));
                    continue;
                };
                assert!(
                    found.offset().get() >= offset,
                    "{tp} of {name} fell from {offset} to {}",
                    found.offset()
                );
            }
        }
        for client in &before {
            self.attempt_stale(client);
        }
    }

    /// Everybody reads the mail, all writes end, and what must be so is so.
    fn calm_down(&mut self) {
        self.clients.iter_mut().for_each(|client| client.stalled = false);
        for _ in 0..10_000 {
            let Some(at) = self.clients.iter().position(|client| !client.mailbox.is_empty()) else { break };
            self.read_one(at);
            self.drop_fenced();
            self.check();
        }
        while let Some((id, records)) = self.writes.pop_front() {
            self.log.extend(records);
            self.act(|coordinator, _, out| coordinator.written(id, out));
            self.check();
        }
        self.check_calm();
        self.leave_when_calm();
    }

    fn check_calm(&self) {
        for (name, group) in &self.coordinator.groups {
            assert!(group.is_stable(), "{name} does not come to rest: {group:?}");
            for (topic, known) in &self.topics {
                let wanted = group.members.values().any(|member| member.subscription.wants(topic));
                for partition in 0..known.partitions {
                    let tp = TopicPartition::new(topic.clone(), partition);
                    assert_eq!(group.owners.contains_key(&tp), wanted, "{tp} in {name}");
                }
            }
            for member in group.members.values().filter(|member| member.is_live()) {
                let client =
                    self.clients.iter().find(|client| client.id == member.id).expect("a live member");
                assert_eq!(client.epoch, member.epoch);
                let believed: BTreeSet<_> = client.owned.keys().collect();
                assert_eq!(believed, member.assigned.keys().collect(), "{} of {name}", member.id);
            }
            if let Some(loads) = loads_of_equals(group) {
                let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
                assert!(most - least <= 1, "{name} is not balanced: {loads:?}");
            }
        }
    }

    /// Who stays keeps what it has when somebody leaves a calm group of equals.
    fn leave_when_calm(&mut self) {
        let Some(at) = self.some_client() else { return };
        let (name, id) = (self.clients[at].group.clone(), self.clients[at].id.clone());
        let group = &self.coordinator.groups[&name];
        if loads_of_equals(group).is_none() || !self.draws.one_in(3) {
            return;
        }
        let before = group.owners.clone();
        self.clients.swap_remove(at);
        self.act(|coordinator, now, out| coordinator.leave(&name, &id, Leave::ForGood, now, out));
        let Some(group) = self.coordinator.groups.get(&name) else { return };
        for (tp, owner) in before.iter().filter(|(_, owner)| **owner != id) {
            assert_eq!(group.owners.get(tp), Some(owner), "{tp} moves for no reason");
        }
    }

    /// What must be so after every step.
    fn check(&mut self) {
        self.coordinator.check();
        self.check_one_owner();
        self.check_offsets();
    }

    fn check_one_owner(&self) {
        let mut owners: BTreeMap<(&GroupId, &TopicPartition, TopicId), &MemberId> = BTreeMap::new();
        for client in &self.clients {
            let group = self.coordinator.groups.get(&client.group);
            if !group.is_some_and(|group| group.members.contains_key(&client.id)) {
                continue; // fenced, and will hear of it
            }
            for (tp, (topic_id, _)) in &client.owned {
                let other = owners.insert((&client.group, tp, *topic_id), &client.id);
                assert_eq!(other, None, "{tp} also belongs to {}", client.id);
            }
        }
    }

    fn check_offsets(&mut self) {
        let mut now_seen = BTreeMap::new();
        for (name, group) in &self.coordinator.groups {
            for (tp, _) in group.offsets.all_seen() {
                let (Committed::At(offset), _) = self.coordinator.committed(name, tp) else { continue };
                let topic_id = self.topics[tp.topic()].id;
                let offset = offset.offset().get();
                assert!(offset <= self.ends[tp], "{tp} of {name}: {offset} is beyond the log");
                now_seen.insert((name.clone(), tp.clone()), (topic_id, offset));
            }
        }
        for (key, (topic_id, offset)) in &self.seen {
            if let Some((now_id, now_offset)) = now_seen.get(key) {
                assert!(
                    now_id != topic_id || now_offset >= offset,
                    "{key:?} falls from {offset} to {now_offset}"
                );
            }
        }
        // A reset that is under way may still bring one back.
        let resetting =
            |key: &(GroupId, TopicPartition)| self.coordinator.committed(&key.0, &key.1).1.is_some();
        now_seen.retain(|key, _| self.seen.contains_key(key) || !resetting(key));
        self.seen = now_seen;
    }
}

/// Loads of the members, if all want the same.
fn loads_of_equals(group: &crate::group::group::Group) -> Option<Vec<usize>> {
    let first = group.members.values().next()?;
    let equal = group.members.values().all(|member| member.subscription == first.subscription);
    equal.then(|| group.members.values().map(|member| member.assigned.len()).collect())
}

fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
    }
    world.calm_down();
}

#[test]
fn thousands_of_schedules() {
    if let Ok(seed) = std::env::var("SEED") {
        return run(seed.parse().unwrap());
    }
    for seed in 0..SEEDS {
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            panic!("SEED={seed} fails");
        }
    }
}
