//! Transactions and named producers on a compacted topic: what each does alone holds for both together.

use std::collections::BTreeMap;

use millpond::config::{Background, BrokerConfig, CleanupPolicy, ReaderConfig};
use millpond::env::sim::SimEnvironment;
use millpond::prelude::*;

const KEYS: u64 = 12;

fn compacted() -> TopicConfig {
    TopicConfig::new()
        .cleanup_policy(CleanupPolicy::Compact)
        .segment_size(ByteSize::kib(8))
        .batch_size(ByteSize::kib(1))
        .durability(Durability::Memory)
}

fn open(sim: &SimEnvironment) -> Broker {
    let config = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap()
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// The latest committed value of each key.
type Expected = BTreeMap<String, String>;

fn committed(topic: &Topic) -> Expected {
    let config = ReaderConfig::new().isolation(Isolation::ReadCommitted);
    let mut reader = topic.partition(0).unwrap().reader_builder().config(config).build().unwrap();
    let mut latest = Expected::new();
    while let Some(records) = reader.next().unwrap() {
        for record in &records {
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            latest.insert(text(record.key().unwrap()), text(record.value().unwrap()));
        }
    }
    latest
}

fn in_table(topic: &Topic) -> Expected {
    let table = topic.table().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let entries = table.iter().map(|entry| (text(entry.key().unwrap().unwrap()), entry));
    entries.map(|(key, entry)| (key, text(entry.value().unwrap().unwrap()))).collect()
}

/// One transaction of a few records, some large enough to reach the log before it ends.
fn transact(broker: &Broker, topic: &Topic, random: &mut Random, n: u64, expected: &mut Expected) {
    let mut producer = broker.transactional("mover").unwrap();
    let mut txn = producer.begin().unwrap();
    let mut staged = Expected::new();
    for m in 0..1 + random.below(4) {
        let key = format!("key {}", random.below(KEYS));
        let value = format!("{n} {m} {}", "v".repeat(random.below(1500) as usize));
        txn.send(topic, Record::new(value.as_str()).key(key.as_str())).unwrap();
        staged.insert(key, value);
    }
    if random.below(3) == 0 {
        txn.abort();
    } else {
        txn.commit().wait().unwrap();
        expected.extend(staged);
    }
}

#[test]
fn compaction_keeps_what_was_committed_and_who_wrote_it() {
    for seed in 1..=12u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut sim = SimEnvironment::new(seed);
        let mut broker = open(&sim);
        let mut topic = broker.create_topic("t", compacted()).unwrap();
        let (mut expected, mut written) = (Expected::new(), 0u64);
        for n in 0..60 {
            match random.below(10) {
                0..=4 => transact(&broker, &topic, &mut random, n, &mut expected),
                5 | 6 => {
                    let named = topic.idempotent_producer("importer").unwrap();
                    let (key, value) = (format!("key {}", random.below(KEYS)), format!("import {n}"));
                    let record = || [Record::new(value.as_str()).key(key.as_str())];
                    named.send_at(0, written, record()).unwrap().wait().unwrap();
                    // The same once more is refused, whatever has been compacted away.
                    let again = named.send_at(0, written, record()).map(|delivery| delivery.wait());
                    let duplicate = again.and_then(|done| done).unwrap_err();
                    assert!(
                        matches!(duplicate.kind(), ErrorKind::Duplicate { .. }),
                        "seed {seed}: {duplicate}"
                    );
                    expected.insert(key, value);
                    written += 1;
                }
                7 | 8 => drop(topic.compact().unwrap().wait().unwrap()),
                _ => {
                    drop(topic);
                    if random.below(2) == 0 {
                        broker.close().wait().unwrap();
                        drop(broker);
                    } else {
                        let killed = SimEnvironment::on(sim.disk().after_kill(), seed + n);
                        drop(broker);
                        sim = killed;
                    }
                    broker = open(&sim);
                    topic = broker.topic("t").unwrap();
                    let named = topic.idempotent_producer("importer").unwrap();
                    let last = named.last_acknowledged(0).unwrap();
                    assert_eq!(last, written.checked_sub(1), "seed {seed}");
                }
            }
            assert_eq!(committed(&topic), expected, "seed {seed}, step {n}");
        }
        assert_eq!(in_table(&topic), expected, "seed {seed}");
    }
}

fn aborted(topic: &Topic) -> usize {
    topic.partition(0).unwrap().aborted_transactions().len()
}

/// Transactions that are aborted when they have records in the log, and one that is committed after every four.
fn abort_many(broker: &Broker, topic: &Topic, count: u64) {
    let large = "v".repeat(600_000);
    let mut producer = broker.transactional("mover").unwrap();
    for n in 0..count {
        let mut txn = producer.begin().unwrap();
        let key = format!("key {n}");
        if n % 5 == 4 {
            txn.send(topic, Record::new("kept").key(key.as_str())).unwrap();
            txn.commit().wait().unwrap();
            continue;
        }
        (0..3).for_each(|_| txn.send(topic, Record::new(&large).key(key.as_str())).unwrap());
        txn.abort();
    }
}

fn large() -> TopicConfig {
    TopicConfig::new().segment_size(ByteSize::mib(4)).durability(Durability::Memory)
}

#[test]
fn aborted_transactions_are_forgotten_when_compaction_has_taken_them_from_every_reader() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = broker.create_topic("t", large().cleanup_policy(CleanupPolicy::Compact)).unwrap();
    abort_many(&broker, &topic, 15);
    assert_eq!(aborted(&topic), 12);
    // A reader in the midst of what is about to be replaced.
    let config = ReaderConfig::new().isolation(Isolation::ReadCommitted).max_records(1);
    let mut reader = topic.partition(0).unwrap().reader_builder().config(config).build().unwrap();
    let first = reader.next().unwrap().unwrap();
    let beside = first.iter().next().unwrap().offset().get();
    drop(first);
    topic.compact().unwrap().wait().unwrap();
    let tick = || {
        sim.clock().advance(std::time::Duration::from_secs(601));
        broker.tick().unwrap();
    };
    tick();
    assert!(aborted(&topic) > 0, "a reader may come to them");
    let mut seen = vec![beside];
    while let Some(records) = reader.next().unwrap() {
        for record in &records {
            assert_eq!(record.value().unwrap(), Some(&b"kept"[..]));
            seen.push(record.offset().get());
        }
    }
    assert_eq!(seen.len(), 3);
    drop(reader);
    tick();
    assert_eq!(aborted(&topic), 0);
    assert_eq!(committed(&topic).len(), 3);
    // Those that come later count, and so they do at the next opening.
    abort_many(&broker, &topic, 4);
    assert_eq!(aborted(&topic), 4);
    for disk in [sim.disk().after_kill(), sim.disk().after_power_cut_keeping_everything()] {
        let broker = open(&SimEnvironment::on(disk, 2));
        let topic = broker.topic("t").unwrap();
        assert_eq!(aborted(&topic), 4);
        assert_eq!(committed(&topic).len(), 3);
    }
}

#[test]
fn aborted_transactions_are_forgotten_with_their_records() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = broker.create_topic("t", large()).unwrap();
    abort_many(&broker, &topic, 15);
    let partition = topic.partition(0).unwrap();
    let marker = partition.aborted_transactions()[9].marker_offset();
    partition.delete_records(Offset::new(marker.get() + 1).unwrap()).unwrap();
    // Nothing is appended.
    sim.clock().advance(std::time::Duration::from_secs(601));
    broker.tick().unwrap();
    assert_eq!(aborted(&topic), 2);
}
