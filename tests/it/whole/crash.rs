//! How a broker ends, and what must be left.
//!
//! Invariant: after a crash within a step the next broker is judged by what had been acknowledged before the step;
//! what the step did holds or does not, but a transaction as a whole.

use std::collections::{BTreeMap, BTreeSet};

use millpond::Observer;
use millpond::prelude::*;
use millpond::testing::{SeededRandom, SimDisk, SimEnvironment};

use super::groups::{Committed, Pending};
use super::log::{Marks, read};
use super::topics::Modelled;
use super::transactions::State;
use super::world::{Trouble, World, open};

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Close,
    Kill,
    PowerCut,
    PowerCutLosingEverything,
    PowerCutKeepingEverything,
}

type Held = (Marks, bool, BTreeSet<u64>);

/// What had been acknowledged.
struct Claims {
    /// Of each partition: its marks, whether it was poisoned, and what compaction had taken.
    topics: BTreeMap<u64, (TopicConfig, Vec<Held>)>,
    txns: Vec<State>,
    committed: BTreeMap<(String, u64, u32), Committed>,
    /// A call has failed, or will: whatever was begun may be half done.
    broken: bool,
}

impl World {
    fn claims(&self) -> Claims {
        let of_topic = |topic: &Modelled| {
            let held = topic.logs.iter().map(|log| (log.marks, log.poisoned, log.absent.clone()));
            (topic.config.clone(), held.collect())
        };
        Claims {
            topics: self.topics.iter().map(|(&number, topic)| (number, of_topic(topic))).collect(),
            txns: self.txns.iter().map(|txn| txn.state).collect(),
            committed: self.committed.clone(),
            broken: matches!(self.trouble, Trouble::Broken(_)),
        }
    }

    /// Does something; now and then the program is cut off at one of its calls.
    pub(super) fn cut_off_sometimes(&mut self, call: impl FnOnce(&mut World)) {
        if !self.one_in(30) {
            return call(self);
        }
        self.look();
        let (claims, opening) = (self.claims(), self.openings);
        let disk = self.sim.disk().clone();
        if self.one_in(3) {
            disk.snapshot_every_store(400)
        } else {
            disk.snapshot_every_call(400)
        }
        self.say("-- cut off within");
        call(self);
        disk.snapshot_every_call(0);
        disk.snapshot_every_store(0);
        let mut snapshots = disk.take_snapshots();
        if self.openings != opening {
            return;
        }
        self.observe_some(&snapshots);
        let end = self.draw_crash();
        let left = match self.below(snapshots.len() as u64 + 1) as usize {
            0 => disk.snapshot(),
            at => snapshots.swap_remove(at - 1),
        };
        self.crash(end, &left, &claims);
    }

    fn draw_crash(&self) -> End {
        match self.below(6) {
            0..=1 => End::Kill,
            2..=3 => End::PowerCut,
            4 => End::PowerCutLosingEverything,
            _ => End::PowerCutKeepingEverything,
        }
    }

    /// Ends the broker between two steps.
    pub(super) fn reopen(&mut self) {
        if !self.in_trouble() && self.one_in(3) {
            return self.reopen_cleanly();
        }
        self.look();
        let (claims, left) = (self.claims(), self.sim.disk().snapshot());
        self.crash(self.draw_crash(), &left, &claims);
    }

    pub(super) fn reopen_cleanly(&mut self) {
        self.look();
        let mut claims = self.claims();
        if let Err(error) = self.broker().close().wait() {
            self.bear("close", &error, &[]);
            let left = self.sim.disk().snapshot();
            return self.crash(End::Kill, &left, &claims);
        }
        for (number, (_, logs)) in &mut claims.topics {
            for (model, (marks, ..)) in self.topics[number].logs.iter().zip(logs) {
                let known = model.known.keys().next_back().map_or(0, |last| last + 1);
                marks.flushed = marks.end.max(known);
            }
        }
        let left = self.sim.disk().snapshot();
        self.damage_a_copy(&left);
        self.crash(End::Close, &left, &claims);
    }

    /// The broker is gone; another one is opened on what is left of the disk.
    fn crash(&mut self, end: End, disk: &SimDisk, claims: &Claims) {
        self.openings += 1;
        let random = SeededRandom::new(self.below(u64::MAX));
        self.say(format!("== {end:?}"));
        let starts = self.starts();
        self.members.clear();
        self.readers.clear();
        self.transactional.clear();
        self.broker = None;
        self.trouble = Trouble::None;
        let left = match end {
            End::Close | End::Kill => disk.after_kill(),
            End::PowerCut => disk.after_power_cut(&random),
            End::PowerCutLosingEverything => disk.after_power_cut_losing_everything(),
            End::PowerCutKeepingEverything => disk.after_power_cut_keeping_everything(),
        };
        left.set_capacity(None);
        left.stop_failing();
        self.sim = SimEnvironment::on(left, self.below(u64::MAX));
        if end != End::Close && self.one_in(4) {
            self.crash_in_recovery(end, &random);
        }
        let broker = open(&self.sim, self.seed.wrapping_add(self.openings), self.expires()).unwrap();
        self.broker = Some(broker.clone());
        self.verify();
        let restored = self.survive_topics(end, claims, &starts);
        self.survive_txns(claims);
        self.audit();
        self.survive_commits(claims, restored);
        self.look();
        for topic in self.topics.values() {
            for n in 0..topic.logs.len() {
                let partition = topic.partition(n);
                let (stable, high) = (partition.last_stable_offset(), partition.high_watermark());
                assert_eq!(stable, high, "{}-{n}: nothing is open after an opening", topic.name);
            }
        }
    }

    /// The log starts, as the last broker had them.
    fn starts(&self) -> BTreeMap<(u64, usize), u64> {
        let logs = |(&number, topic): (&u64, &Modelled)| {
            let starts: Vec<_> = (0..topic.logs.len())
                .filter_map(|n| {
                    Some(((number, n), topic.topic.partition(n as u32).ok()?.log_start_offset().get()))
                })
                .collect();
            starts
        };
        self.topics.iter().flat_map(logs).collect()
    }

    /// The next opening is cut off, too.
    fn crash_in_recovery(&mut self, end: End, random: &SeededRandom) {
        self.say("== and once more while it is opened");
        let disk = self.sim.disk().clone();
        disk.snapshot_every_call(1_000);
        drop(open(&self.sim, self.seed, self.expires()).unwrap());
        let mut snapshots = disk.take_snapshots();
        if snapshots.is_empty() {
            return;
        }
        let chosen = snapshots.swap_remove(self.below(snapshots.len() as u64) as usize);
        let left = if end == End::Kill { chosen.after_kill() } else { chosen.after_power_cut(random) };
        self.sim = SimEnvironment::on(left, self.below(u64::MAX));
    }

    fn verify(&self) {
        let observer = Observer::open_in(self.sim.environment(), "/data").unwrap();
        let report = observer.verify(|_| {}).unwrap();
        assert!(report.findings().is_empty(), "{:?}", report.findings());
    }

    fn survive_topics(
        &mut self,
        end: End,
        claims: &Claims,
        starts: &BTreeMap<(u64, usize), u64>,
    ) -> Option<u64> {
        let restored = self.deleted.take().map(|(number, topic)| {
            self.topics.insert(number, topic);
            number
        });
        let broker = self.broker();
        let numbers: Vec<u64> = self.topics.keys().copied().collect();
        for number in numbers {
            let topic = &self.topics[&number];
            let found = broker.topic(topic.name.as_str()).ok().filter(|found| found.id() == topic.id);
            let Some(found) = found else {
                // Made, or deleted, in the step that was cut off.
                let may = !claims.topics.contains_key(&number) || restored == Some(number);
                let may = may || topic.config.volatile_bound().is_some();
                assert!(may, "{} is gone", topic.name);
                self.topics.remove(&number);
                continue;
            };
            self.survive_topic(number, found, end, claims, starts);
        }
        let names: Vec<String> = broker.topics().into_iter().map(String::from).collect();
        let mut known: Vec<String> = self.topics.values().map(|topic| topic.name.clone()).collect();
        known.sort();
        assert_eq!(names, known);
        restored
    }

    fn survive_topic(
        &mut self,
        number: u64,
        found: Topic,
        end: End,
        claims: &Claims,
        starts: &BTreeMap<(u64, usize), u64>,
    ) {
        let World { topics, records, .. } = self;
        let topic = topics.get_mut(&number).unwrap();
        topic.reattach(found);
        let (config, marks) = match claims.topics.get(&number) {
            Some((config, marks)) => (config.clone(), marks.clone()),
            None => (topic.config.clone(), Vec::new()),
        };
        let now = topic.topic.config();
        let partitions = topic.topic.partition_count() as usize;
        let of = |config: &TopicConfig| config.clone().partitions(partitions as u32);
        assert!(now == of(&config) || now == of(&topic.config), "{}: {now:?}", topic.name);
        topic.takes(now);
        assert!(partitions >= marks.len() && partitions <= topic.logs.len(), "{}: {partitions}", topic.name);
        topic.logs.truncate(partitions);
        for n in 0..partitions {
            let partition = topic.topic.partition(n as u32).unwrap();
            let (before, poisoned, absent) = marks.get(n).cloned().unwrap_or_default();
            let kept = match end {
                End::Kill if !poisoned => before.high,
                _ => before.flushed,
            };
            let name = format!("{}-{n} after {end:?}", topic.name);
            let log_end = partition.log_end_offset().get();
            assert!(log_end >= kept, "{name}: {kept} were promised, the log ends at {log_end}");
            let start = partition.log_start_offset().get();
            // Markers of what the opening has aborted may stand behind the last record.
            let last = read(&partition, start, Isolation::ReadUncommitted)
                .unwrap()
                .last()
                .map(|last| last.offset + 1);
            let left = last.unwrap_or(start).max(kept);
            assert!(partition.flushed_offset().get() >= left, "{name}: an opening makes all of it durable");
            // What has failed half-way, and retention, may have come further than anybody was told.
            let known = starts.get(&(number, n)).copied();
            let known = known.filter(|_| !poisoned && !claims.broken && !topic.sized && topic.ages.is_none());
            let greatest = known.unwrap_or(u64::MAX).max(before.start).max(topic.logs[n].asked_start);
            let was = before.start;
            assert!(start >= was && start <= greatest, "{name}: from {start}, it was {was}");
            let epoch = partition.leader_epoch().get();
            assert!(epoch > before.epoch || end == End::Close || n >= marks.len(), "{name}: epoch {epoch}");
            let log = &mut topic.logs[n];
            log.absent = absent;
            log.cut(left, records);
            log.poisoned = false;
            log.marks = Marks { start, high: left, flushed: left, end: log_end, epoch };
        }
    }

    fn survive_txns(&mut self, claims: &Claims) {
        for (this, txn) in self.txns.iter_mut().enumerate() {
            let before = claims.txns.get(this).copied().unwrap_or(State::Open);
            txn.state = match (before, txn.state) {
                (State::Committed, _) => State::Committed,
                (_, State::Open | State::Aborted) => State::Aborted,
                (_, State::Committed | State::Unknown) => State::Unknown,
            };
            if txn.state == State::Committed {
                let lost =
                    txn.records.iter().find(|&&id| self.records[id].lost && !self.records[id].doubtful);
                assert!(lost.is_none(), "transaction {this} was committed, and its record {lost:?} is lost");
            }
        }
    }

    /// Offsets: as seen before, or one of those begun; then every transaction is decided.
    fn survive_commits(&mut self, claims: &Claims, restored: Option<u64>) {
        let after = std::mem::replace(&mut self.committed, claims.committed.clone());
        let there = |key: &(String, u64, u32)| self.topics.contains_key(&key.1);
        self.committed.retain(|key, _| there(key));
        let after: BTreeMap<_, _> = after.into_iter().filter(|(key, _)| there(key)).collect();
        for (key, entry) in after {
            let known = self.committed.entry(key).or_default();
            known.pending.extend(entry.pending);
            if entry.seen != known.seen {
                known.pending.push(Pending { value: entry.seen, back: true, txn: None });
            }
            known.cut = entry.cut.or(known.cut);
        }
        for ((_, number, _), entry) in &mut self.committed {
            // A topic whose deletion was cut off: its offsets go first.
            if restored == Some(*number) {
                entry.pending.push(Pending { value: None, back: true, txn: None });
            }
        }
        let begun = self.committed.clone();
        self.look_at_commits();
        self.decide(claims, &begun);
        let ends: BTreeMap<(u64, u32), u64> = self.ends();
        for ((_, number, n), entry) in &mut self.committed {
            entry.pending.clear();
            let end = ends.get(&(*number, *n)).copied().unwrap_or_default();
            if entry.seen.is_some_and(|seen| seen > end) {
                entry.cut = Some(entry.cut.map_or(end, |cut| cut.min(end)));
                entry.again = false;
            }
        }
    }

    fn ends(&self) -> BTreeMap<(u64, u32), u64> {
        let of_topic = |(&number, topic): (&u64, &Modelled)| {
            let end = |n: usize| topic.partition(n).log_end_offset().get();
            (0..topic.logs.len()).map(|n| ((number, n as u32), end(n))).collect::<Vec<_>>()
        };
        self.topics.iter().flat_map(of_topic).collect()
    }

    /// A transaction of which no record is seen was committed if its offsets are; else it is aborted.
    fn decide(&mut self, claims: &Claims, begun: &BTreeMap<(String, u64, u32), Committed>) {
        for this in 0..self.txns.len() {
            let offsets: Vec<_> = self.txns[this]
                .offsets
                .iter()
                .filter_map(|(group, number, n, value)| {
                    let key = (group.clone(), *number, *n);
                    Some((begun.get(&key)?, self.committed.get(&key)?.seen, Some(*value)))
                })
                .collect();
            let by_it_alone = |&(before, now, value): &(&Committed, Option<u64>, Option<u64>)| {
                let others = before.pending.iter().any(|other| other.txn != Some(this) && other.value == now);
                now >= value && before.seen < value && !others
            };
            if self.txns[this].state == State::Unknown {
                let holds = offsets.iter().any(by_it_alone);
                self.txns[this].state = if holds { State::Committed } else { State::Aborted };
            }
            let known = claims.txns.get(this).is_some_and(|&state| state == State::Committed);
            if self.txns[this].state == State::Committed && !known {
                for (before, now, value) in offsets {
                    let back = before.pending.iter().any(|other| other.back);
                    assert!(now >= value || back, "transaction {this}: {now:?} is committed, not {value:?}");
                }
            }
        }
    }
}
