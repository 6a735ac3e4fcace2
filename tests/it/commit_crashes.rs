//! Crash states of the offsets topic: a program of commits, rebalances, resets and deletions on the simulated disk,
//! cut off at every call that it makes of the disk, by a kill and by power cuts.
//!
//! ```text
//!   step -> snapshot at every call -> images (kill, cuts that keep nothing, all, some) -> opened:
//!           what is committed is one of the values begun, not before the last one acknowledged
//!           a member goes on there or before, never beyond the log
//! ```
//!
//! Invariant: an image is judged by what had been acknowledged before the step that it was taken in.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use millpond::TopicPartition;
use millpond::config::{Background, BrokerConfig, GroupConfig};
use millpond::env::Random;
use millpond::group::OffsetAndMetadata;
use millpond::prelude::*;
use millpond::testing::{SeededRandom, SimDisk, SimEnvironment};

/// All values of a group's offset in a partition, in the order in which they were begun; `None` is a deletion.
#[derive(Clone, Debug)]
struct History {
    begun: Vec<Option<u64>>,
    /// This one and all before it have been acknowledged.
    acknowledged: usize,
}

type Histories = BTreeMap<(String, TopicPartition), History>;

/// A disk within a step, and what must be left of it.
struct State {
    disk: SimDisk,
    claims: Rc<Histories>,
}

/// A program at work.
struct Run {
    sim: SimEnvironment,
    broker: Broker,
    random: SeededRandom,
    histories: Histories,
    members: Vec<Consumer>,
    states: Vec<State>,
}

fn open(sim: &SimEnvironment) -> millpond::Result<Broker> {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open()
}

fn small() -> GroupConfig {
    GroupConfig::new().max_records(5).max_bytes(ByteSize::bytes(100))
}

impl Run {
    fn new(durability: Durability, seed: u64) -> Run {
        let sim = SimEnvironment::new(seed);
        let broker = open(&sim).unwrap();
        let config = TopicConfig::new().partitions(2).durability(durability).segment_size(ByteSize::kib(16));
        broker.create_topic("t", config).unwrap();
        let random = SeededRandom::new(seed);
        let members = Vec::new();
        Run { sim, broker, random, histories: Histories::new(), members, states: Vec::new() }
    }

    fn below(&self, limit: u64) -> u64 {
        self.random.next_u64() % limit
    }

    /// Does something, and keeps the disk as it was at every call in between.
    fn step(&mut self) {
        let before = self.histories.clone();
        self.sim.disk().snapshot_every_call(60);
        match self.below(12) {
            0..=2 => self.send(),
            3..=7 => self.poll_and_commit(),
            8 => self.come_or_go(),
            9 => self.reset(),
            10 => self.delete_offsets(),
            _ => {
                self.sim.clock().advance(Duration::from_millis(700));
                self.broker.tick().unwrap();
            }
        }
        let mut claims = self.histories.clone();
        for (key, history) in &mut claims {
            // What the step itself has had acknowledged may not have been yet.
            history.acknowledged = before.get(key).map_or(0, |before| before.acknowledged);
        }
        let claims = Rc::new(claims);
        let snapshots = self.sim.disk().take_snapshots();
        self.states.extend(snapshots.into_iter().map(|disk| State { disk, claims: claims.clone() }));
        let claims = Rc::new(self.histories.clone());
        self.states.push(State { disk: self.sim.disk().snapshot(), claims });
    }

    fn send(&self) {
        let producer = self.broker.topic("t").unwrap().producer().unwrap();
        let partition = self.below(2) as u32;
        let records = (0..1 + self.below(8)).map(|_| Record::new("record").partition(partition));
        producer.send_batch(records).unwrap().wait().unwrap();
    }

    fn begin(&mut self, group: &str, tp: &TopicPartition, value: Option<u64>) -> usize {
        let empty = || History { begun: vec![None], acknowledged: 0 };
        let history = self.histories.entry((group.to_owned(), tp.clone())).or_insert_with(empty);
        history.begun.push(value);
        history.begun.len() - 1
    }

    fn acknowledge(&mut self, group: &str, tp: &TopicPartition, value: usize) {
        let history = self.histories.get_mut(&(group.to_owned(), tp.clone())).unwrap();
        history.acknowledged = history.acknowledged.max(value);
    }

    fn poll_and_commit(&mut self) {
        let mut members = std::mem::take(&mut self.members);
        for consumer in &mut members {
            let records = consumer.poll().wait_timeout(Duration::ZERO).unwrap();
            drop(records);
            for tp in consumer.assignment() {
                let Some(position) = consumer.position(&tp).unwrap() else { continue };
                let value = self.begin("g", &tp, Some(position.get()));
                let commit = consumer.commit_offset(&tp, OffsetAndMetadata::new(position));
                if self.below(2) == 0 {
                    commit.wait().unwrap();
                    self.acknowledge("g", &tp, value);
                }
            }
        }
        self.members = members;
    }

    fn come_or_go(&mut self) {
        if self.members.len() < 2 {
            let group = self.broker.group("g").unwrap().config(small());
            let group = match self.below(2) {
                0 => group.instance_id(format!("static-{}", self.members.len())).unwrap(),
                _ => group,
            };
            match group.join("t") {
                Ok(member) => self.members.push(member),
                Err(error) => assert_eq!(error.kind(), ErrorKind::GroupInUse),
            }
        } else {
            let gone = self.below(2) as usize;
            self.members.remove(gone).unsubscribe();
        }
    }

    /// Of a group that nobody reads with.
    fn reset(&mut self) {
        let topic = self.broker.topic("t").unwrap();
        for partition in topic.partitions().unwrap() {
            let tp = partition.topic_partition().clone();
            let to = Offset::new(self.below(partition.high_watermark().get() + 1)).unwrap();
            let value = self.begin("idle", &tp, Some(to.get()));
            self.broker.group("idle").unwrap().reset_partition(&tp, to).unwrap();
            self.acknowledge("idle", &tp, value);
        }
    }

    fn delete_offsets(&mut self) {
        let keys: Vec<_> = self.histories.keys().filter(|(group, _)| group == "idle").cloned().collect();
        let values: Vec<_> = keys.iter().map(|(group, tp)| self.begin(group, tp, None)).collect();
        match self.broker.group("idle").unwrap().delete_offsets("t") {
            Ok(()) => keys.iter().zip(values).for_each(|((group, tp), value)| {
                self.acknowledge(group, tp, value);
            }),
            // There are none: nothing was begun.
            Err(_) => keys.iter().for_each(|key| {
                self.histories.get_mut(key).unwrap().begun.pop();
            }),
        }
    }
}

/// Opens an image, and says what is wrong with it.
fn judge(image: SimDisk, claims: &Histories, seed: u64) -> Result<(), String> {
    let sim = SimEnvironment::on(image, seed);
    let broker = open(&sim).map_err(|error| format!("does not open: {error}"))?;
    let mut found = BTreeMap::new();
    for ((group, tp), history) in claims {
        let committed = broker.group(group).unwrap().committed(tp);
        let committed = committed.map_err(|error| format!("{group} {tp}: {error}"))?;
        let committed = committed.map(|committed| committed.offset().get());
        let allowed = &history.begun[history.acknowledged..];
        if !allowed.contains(&committed) {
            return Err(format!("{group} {tp}: {committed:?} is committed, and not one of {allowed:?}"));
        }
        found.insert((group.clone(), tp.clone()), committed);
    }
    let Ok(mut consumer) = broker.group("g").unwrap().join("t") else { return Ok(()) };
    // Static members are waited for: their partitions are not handed out yet.
    let records = consumer.poll().wait_timeout(Duration::ZERO).map_err(|error| error.to_string())?;
    let mut first = BTreeMap::new();
    for record in &records {
        first.entry(record.topic_partition().clone()).or_insert(record.offset().get());
    }
    for tp in consumer.assignment() {
        let log = broker.topic("t").unwrap().partition(tp.partition()).unwrap();
        let position = consumer.position(&tp).unwrap().ok_or(format!("{tp}: no position"))?.get();
        let end = log.log_end_offset().get();
        let committed = found.get(&("g".to_owned(), tp.clone())).copied().flatten().unwrap_or(0);
        let resumed = first.get(&tp).copied().unwrap_or(position);
        if resumed > end || resumed > committed {
            return Err(format!(
                "{tp}: goes on at {resumed}, with {committed} committed and the end at {end}"
            ));
        }
    }
    Ok(())
}

fn explore(durability: Durability, seed: u64, steps: usize, seen: &mut HashSet<u64>) {
    let mut run = Run::new(durability, seed);
    for _ in 0..steps {
        run.step();
    }
    let random = SeededRandom::new(seed ^ 0x5eed);
    for (number, state) in run.states.iter().enumerate() {
        let disk = &state.disk;
        let images = [
            ("a kill", disk.after_kill()),
            ("a cut that loses all", disk.after_power_cut_losing_everything()),
            ("a cut that keeps all", disk.after_power_cut_keeping_everything()),
            ("a cut", disk.after_power_cut(&random)),
        ];
        for (how, image) in images {
            if !seen.insert(image.image_hash()) {
                continue;
            }
            if let Err(wrong) = judge(image, &state.claims, seed) {
                panic!("MILLPOND_SEED={seed}, {durability}, state {number}, {how}: {wrong}");
            }
        }
    }
}

#[test]
fn after_a_crash_at_any_call_each_group_resumes_at_its_last_commit_or_before() {
    let seed = std::env::var("MILLPOND_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let mut seen = HashSet::new();
    for (number, durability) in (0..).zip([Durability::Sync, Durability::Memory]) {
        for seed in seed.map_or(number * 10..number * 10 + 2, |seed| seed..seed + 1) {
            explore(durability, seed, 30, &mut seen);
        }
    }
    println!("{} distinct images", seen.len());
    assert!(seed.is_some() || seen.len() >= 250, "only {} distinct images", seen.len());
}
