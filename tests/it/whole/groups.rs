//! Groups: members that come, poll, commit, seek and go; and what is committed.
//!
//! ```text
//!   committed --(assigned)--> position --poll--> position' : all that is readable in between was handed out
//!   what is seen as committed: as before, or one of the values begun since; back only if that was asked for
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::config::GroupConfig;
use millpond::consumer::RebalanceListener;
use millpond::group::OffsetAndMetadata;
use millpond::prelude::*;
use millpond::{ErrorKind, TopicName, TopicPartition};

use super::log::{Seen, Source, read};
use super::transactions::State;
use super::world::{EXPIRY, World, offset};

pub(super) const GROUPS: [&str; 2] = ["g0", "g1"];

/// A commit that may come to hold.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) value: Option<u64>,
    /// It may be less than what is committed.
    pub(super) back: bool,
    pub(super) txn: Option<usize>,
}

/// What a group has committed in a partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Committed {
    pub(super) seen: Option<u64>,
    pub(super) pending: Vec<Pending>,
    /// A power cut has taken what lies above, since it was committed.
    pub(super) cut: Option<u64>,
    /// Since then a commit of the same value was begun: nobody can tell whether it holds.
    pub(super) again: bool,
    /// When a commit was begun last.
    at: i64,
}

/// Where a member stands in a partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) at: Option<u64>,
    pub(super) sought: bool,
}

/// Records that a member was handed, and where they end.
pub(super) struct Held {
    pub(super) records: Records,
    pub(super) ends: Vec<(u64, u32, u64)>,
}

/// A member of a group.
pub(super) struct Member {
    pub(super) group: String,
    pub(super) consumer: Consumer,
    /// What it has joined for.
    topics: Vec<String>,
    changes: Arc<Mutex<Vec<TopicPartition>>>,
    pub(super) places: BTreeMap<(u64, u32), Place>,
    pub(super) held: Option<Held>,
    /// Its polls commit what the ones before have handed out.
    auto: bool,
}

/// Notes which partitions come and go.
struct Listener(Arc<Mutex<Vec<TopicPartition>>>);

impl RebalanceListener for Listener {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        self.0.lock().unwrap().extend_from_slice(partitions);
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.0.lock().unwrap().extend_from_slice(partitions);
    }
}

impl World {
    pub(super) fn any_member(&self) -> Option<usize> {
        (!self.members.is_empty()).then(|| self.below(self.members.len() as u64) as usize)
    }

    fn number_of(&self, name: &str) -> Option<u64> {
        self.topics.iter().find(|(_, topic)| topic.name == name).map(|(&number, _)| number)
    }

    pub(super) fn tp(&self, number: u64, n: u32) -> TopicPartition {
        TopicPartition::new(TopicName::new(&self.topics[&number].name).unwrap(), n)
    }

    pub(super) fn join(&mut self) {
        if self.members.len() >= 4 || self.topics.is_empty() {
            return;
        }
        let group = GROUPS[self.below(2) as usize];
        let names: Vec<String> = match self.one_in(3) {
            true => self.any_topic().map(|number| self.topics[&number].name.clone()).into_iter().collect(),
            false => self.topics.values().map(|topic| topic.name.clone()).collect(),
        };
        self.say(format!("join {group}: {names:?}"));
        let instance = self.one_in(3).then(|| format!("i{}", self.below(2)));
        self.join_as(group, &names, instance);
    }

    pub(super) fn join_as(&mut self, group: &str, names: &[String], instance: Option<String>) {
        let auto = self.one_in(4);
        let few = GroupConfig::new().max_records(1 + self.below(20) as u32);
        let few = if auto { few.auto_commit_interval(Duration::from_millis(100)) } else { few };
        let changes = Arc::new(Mutex::new(Vec::new()));
        let broker = self.broker();
        let joined = broker
            .group(group)
            .and_then(|group| match &instance {
                Some(instance) => group.instance_id(instance),
                None => Ok(group),
            })
            .and_then(|group| group.config(few).listener(Listener(changes.clone())).join(names));
        match joined {
            Ok(consumer) => {
                let (group, topics, places) = (group.to_owned(), names.to_vec(), BTreeMap::new());
                self.members.push(Member { group, consumer, topics, changes, places, held: None, auto });
            }
            // A static member is one at a time.
            Err(error) if instance.is_some() => self.bear("join", &error, &[ErrorKind::GroupInUse]),
            Err(error) => self.bear("join", &error, &[]),
        }
    }

    pub(super) fn leave(&mut self) {
        let Some(at) = self.any_member() else { return };
        self.commits_by_itself(at);
        let member = self.members.remove(at);
        let how = self.below(3);
        self.say(format!("leave {at} of {}, {how}", member.group));
        match how {
            0 => {
                if let Err(error) = member.consumer.close().wait() {
                    self.bear("close", &error, &[ErrorKind::Rebalanced, ErrorKind::Fenced]);
                }
            }
            1 => member.consumer.unsubscribe(),
            _ => drop(member),
        }
    }

    /// What a group is seen to have committed; `Err` if nobody can tell, for a reason.
    pub(super) fn committed_in(&mut self, group: &str, number: u64, n: u32) -> Result<Option<u64>, ()> {
        let tp = self.tp(number, n);
        match self.broker().group(group).and_then(|group| group.committed(&tp)) {
            Ok(committed) => Ok(committed.map(|committed| committed.offset().get())),
            Err(error) => {
                self.bear("committed", &error, &[]);
                Err(())
            }
        }
    }

    pub(super) fn begin_commit(&mut self, group: &str, number: u64, n: u32, pending: Pending) {
        let now = self.now();
        let entry = self.committed.entry((group.to_owned(), number, n)).or_default();
        // Where the log was cut below, what is committed may be less than before.
        let back = pending.back || entry.cut.is_some();
        entry.again |= entry.cut.is_some() && pending.value == entry.seen;
        entry.pending.push(Pending { back, ..pending });
        entry.at = now;
    }

    /// A commit of this value was acknowledged.
    pub(super) fn must_be_committed(&mut self, group: &str, number: u64, n: u32, value: u64) {
        if !self.topics.contains_key(&number) {
            return;
        }
        let Ok(seen) = self.committed_in(group, number, n) else { return };
        let entry = &self.committed[&(group.to_owned(), number, n)];
        let went_back = entry.pending.iter().any(|pending| pending.back && pending.value == seen);
        assert!(
            seen.is_some_and(|seen| seen >= value) || went_back,
            "{group} has committed {value} in {number}-{n}, and {seen:?} is seen; {entry:?}"
        );
    }

    /// What is seen as committed everywhere follows from what was begun.
    pub(super) fn look_at_commits(&mut self) {
        let topics = &self.topics;
        self.committed.retain(|(_, number, _), _| topics.contains_key(number));
        let all = topics.iter().flat_map(|(&number, topic)| (0..topic.logs.len()).map(move |n| (number, n)));
        let all: Vec<(u64, u32)> = all.map(|(number, n)| (number, n as u32)).collect();
        for (number, n) in all {
            for group in GROUPS {
                let Ok(now) = self.committed_in(group, number, n) else { continue };
                self.take_up_commit(group, number, n, now);
            }
        }
    }

    fn take_up_commit(&mut self, group: &str, number: u64, n: u32, now: Option<u64>) {
        let (expires, time) = (self.expires(), self.now());
        let txns = &self.txns;
        let entry = self.committed.entry((group.to_owned(), number, n)).or_default();
        if now != entry.seen {
            let holds = |pending: &Pending| match pending.txn {
                Some(txn) => matches!(txns[txn].state, State::Committed | State::Unknown),
                None => true,
            };
            let reached = |pending: &Pending| {
                pending.value == now && (pending.back || now > entry.seen) && holds(pending)
            };
            let by = entry.pending.iter().rposition(reached);
            // Of a group that is away what it has committed goes with time.
            let expired = expires && now.is_none() && time - entry.at >= EXPIRY.as_millis() as i64;
            assert!(expired || by.is_some(), "{group} in {number}-{n}: {now:?} is committed; {entry:?}");
            entry.seen = now;
            entry.cut = None;
        }
        // Whoever still may come: what an open transaction holds, and what nobody has waited for.
        entry.pending.retain(|pending| match pending.txn {
            Some(txn) => matches!(txns[txn].state, State::Open | State::Unknown),
            None => pending.back || pending.value > entry.seen,
        });
    }

    /// What a member may commit by itself when it polls or leaves.
    fn commits_by_itself(&mut self, at: usize) {
        if !self.members[at].auto {
            return;
        }
        let group = self.members[at].group.clone();
        for ((number, n), place) in self.members[at].places.clone() {
            if place.at.is_some() {
                self.begin_commit(
                    &group,
                    number,
                    n,
                    Pending { value: place.at, back: place.sought, txn: None },
                );
            }
        }
    }

    pub(super) fn poll(&mut self) {
        if let Some(at) = self.any_member() {
            self.poll_one(at);
        }
    }

    /// Polls, and checks what comes; answers how many records it was.
    pub(super) fn poll_one(&mut self, at: usize) -> usize {
        let before = self.all_committed(at);
        self.commits_by_itself(at);
        let mut member = self.members.remove(at);
        let answer = member.consumer.poll().wait_timeout(Duration::ZERO);
        for tp in member.changes.lock().unwrap().drain(..) {
            if let Some(number) = self.number_of(tp.topic().as_str()) {
                member.places.remove(&(number, tp.partition()));
            }
        }
        let count = match answer {
            Ok(records) => self.take_up(&mut member, records, &before),
            Err(error) => {
                let is_there = |name: &String| self.topics.values().any(|topic| topic.name == *name);
                let gone = !member.topics.iter().any(is_there);
                // Or a static member that was put out, whose place another one has taken.
                let known = [ErrorKind::GroupInUse, ErrorKind::Closed];
                self.bear("poll", &error, if gone { &known } else { &known[..1] });
                0
            }
        };
        self.members.insert(at, member);
        count
    }

    fn all_committed(&mut self, at: usize) -> BTreeMap<(u64, u32), Option<u64>> {
        let group = self.members[at].group.clone();
        let of_group = self.committed.iter().filter(|((of, ..), _)| *of == group);
        of_group.map(|((_, number, n), committed)| ((*number, *n), committed.seen)).collect()
    }

    fn take_up(
        &mut self,
        member: &mut Member,
        records: Records,
        before: &BTreeMap<(u64, u32), Option<u64>>,
    ) -> usize {
        let mut by_partition: BTreeMap<(u64, u32), Vec<Seen>> = BTreeMap::new();
        for record in &records {
            let number = self.number_of(record.topic_partition().topic().as_str()).expect("it exists");
            by_partition.entry((number, record.partition())).or_default().push(Seen::of(&record));
        }
        let count = by_partition.values().map(Vec::len).sum();
        let ends = records.partitions().filter_map(|(tp, next)| {
            Some((self.number_of(tp.topic().as_str())?, tp.partition(), next.get()))
        });
        let ends: Vec<(u64, u32, u64)> = ends.collect();
        self.say(format!("poll {}: {count} records, ends {ends:?}", member.group));
        for tp in member.consumer.assignment() {
            let Some(number) = self.number_of(tp.topic().as_str()) else { continue };
            let Some(position) = member.consumer.position(&tp).unwrap() else { continue };
            let at = (number, tp.partition());
            let place = member.places.entry(at).or_default();
            let was = place.at.replace(position.get());
            let seen = by_partition.remove(&at).unwrap_or_default();
            self.check_handed_out(
                &member.group,
                at,
                was,
                before.get(&at).copied().flatten(),
                &seen,
                position.get(),
            );
        }
        assert!(by_partition.is_empty(), "records of partitions that are not its own: {by_partition:?}");
        if count > 0 {
            member.held = Some(Held { records, ends });
        }
        count
    }

    /// Between where it was (or what was committed) and where it is, everything readable was handed out.
    fn check_handed_out(
        &mut self,
        group: &str,
        (number, n): (u64, u32),
        was: Option<u64>,
        before: Option<u64>,
        seen: &[Seen],
        position: u64,
    ) {
        let name = format!("{group} in {number}-{n}");
        let entry = self.committed.get(&(group.to_owned(), number, n));
        let (cut, again) = entry.map_or((None, false), |entry| (entry.cut, entry.again));
        let from = match was {
            Some(was) => was,
            None => {
                let Ok(after) = self.committed_in(group, number, n) else { return };
                let resumed = before.max(after).unwrap_or(0);
                if cut.is_none() {
                    let least = before.unwrap_or(0);
                    let first = seen.first().map_or(position, |first| first.offset);
                    assert!(first >= least, "{name}: begins at {first}, before {least}, which is committed");
                }
                cut.filter(|_| !again).map_or(resumed, |cut| resumed.min(cut))
            }
        };
        for record in seen {
            self.witness(record, number, n);
            if let Source::Txn(txn) = self.records[record.id].source {
                let state = &mut self.txns[txn].state;
                assert!(
                    matches!(state, State::Committed | State::Unknown),
                    "{name}: {record:?} of transaction {txn}, which is {state:?}"
                );
                *state = State::Committed;
            }
        }
        let mut offsets = seen.iter().map(|record| record.offset);
        assert!(
            offsets.clone().is_sorted() && offsets.all(|offset| offset >= from || cut.is_some()),
            "{name}: {seen:?}"
        );
        self.check_passed_over(&name, (number, n), from, seen, position);
    }

    pub(super) fn check_passed_over(
        &self,
        name: &str,
        (number, n): (u64, u32),
        from: u64,
        seen: &[Seen],
        to: u64,
    ) {
        let topic = &self.topics[&number];
        let log = &topic.logs[n as usize];
        let partition = topic.partition(n as usize);
        if log.poisoned || from >= to {
            return;
        }
        for (&at, &id) in log.known.range(from..to) {
            let handed_out = seen.iter().any(|record| record.offset == at);
            if handed_out || at < partition.log_start_offset().get() || !self.is_committed(id) {
                continue;
            }
            // Unless compaction has taken it.
            let Ok(next) = read(&partition, at, Isolation::ReadCommitted) else {
                assert!(self.in_trouble(), "{name}");
                return;
            };
            let there = next.first().is_some_and(|record| record.offset == at);
            assert!(!there, "{name}: record {id} at {at} was passed over, from {from} to {to}");
        }
    }

    /// Readers of committed records are to see it.
    pub(super) fn is_committed(&self, id: usize) -> bool {
        match self.records[id].source {
            Source::Txn(txn) => self.txns[txn].state == State::Committed,
            _ => true,
        }
    }

    pub(super) fn commit(&mut self) {
        let Some(at) = self.any_member() else { return };
        let Some(held) = &self.members[at].held else { return };
        let (group, ends) = (self.members[at].group.clone(), held.ends.clone());
        for &(number, n, value) in &ends {
            let back = self.members[at].places.get(&(number, n)).is_some_and(|place| place.sought);
            self.begin_commit(&group, number, n, Pending { value: Some(value), back, txn: None });
        }
        let commit = self.members[at].consumer.commit(&held_records(&self.members[at]).records);
        let wait = self.one_in(2);
        self.say(format!("commit {group} {ends:?}, wait {wait}"));
        if wait {
            self.committed_as_told(&group, &ends, commit.wait());
        }
    }

    fn committed_as_told(&mut self, group: &str, ends: &[(u64, u32, u64)], answer: millpond::Result<()>) {
        match answer {
            Ok(()) => {
                for &(number, n, value) in ends {
                    self.must_be_committed(group, number, n, value);
                }
            }
            Err(error) => {
                let gone = ends.iter().any(|(number, ..)| !self.topics.contains_key(number));
                let within = self.txns.iter().any(|txn| matches!(txn.state, State::Open | State::Unknown));
                assert!(error.kind() != ErrorKind::TopicNotFound || gone, "{error}");
                assert!(error.kind() != ErrorKind::Backpressure || within || self.in_trouble(), "{error}");
                let allowed = [
                    ErrorKind::Rebalanced,
                    ErrorKind::Fenced,
                    ErrorKind::TopicNotFound,
                    ErrorKind::Backpressure,
                ];
                self.bear("commit", &error, &allowed);
            }
        }
    }

    pub(super) fn commit_by_hand(&mut self) {
        let Some(at) = self.any_member() else { return };
        let member = &self.members[at];
        let known: Vec<((u64, u32), u64)> =
            member.places.iter().filter_map(|(&at, place)| Some((at, place.at?))).collect();
        let known: Vec<_> =
            known.into_iter().filter(|((number, _), _)| self.topics.contains_key(number)).collect();
        if known.is_empty() {
            return;
        }
        let ((number, n), position) = known[self.below(known.len() as u64) as usize];
        let start = self.topics[&number].partition(n as usize).log_start_offset().get();
        let value = start + self.below(position.saturating_sub(start) + 1);
        let (tp, group) = (self.tp(number, n), self.members[at].group.clone());
        self.say(format!("commit by hand {group} {number}-{n} {value}"));
        self.begin_commit(&group, number, n, Pending { value: Some(value), back: true, txn: None });
        let answer =
            self.members[at].consumer.commit_offset(&tp, OffsetAndMetadata::new(offset(value))).wait();
        self.committed_as_told(&group, &[(number, n, value)], answer);
    }

    pub(super) fn seek(&mut self) {
        let Some(at) = self.any_member() else { return };
        let assigned = self.members[at].consumer.assignment();
        let Some(tp) = assigned.get(self.below(assigned.len() as u64) as usize) else { return };
        let Some(number) = self.number_of(tp.topic().as_str()) else { return };
        let partition = self.topics[&number].partition(tp.partition() as usize);
        let (start, end) = (partition.log_start_offset().get(), partition.high_watermark().get());
        let to = start + self.below(end.saturating_sub(start) + 1);
        self.say(format!("seek {tp} {to}"));
        match self.members[at].consumer.seek(tp, offset(to)) {
            Ok(()) => {
                let place = Place { at: Some(to), sought: true };
                self.members[at].places.insert((number, tp.partition()), place);
            }
            Err(error) => self.bear("seek", &error, &[ErrorKind::Rebalanced]),
        }
    }
}

fn held_records(member: &Member) -> &Held {
    member.held.as_ref().expect("it was looked at")
}
