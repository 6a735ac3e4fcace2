//! Transactions: all or nothing, in every partition and for the offsets of a group, whatever happens.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, GroupConfig, ReaderConfig, TransactionConfig};
use millpond::group::OffsetAndMetadata;
use millpond::prelude::*;
use millpond::testing::{Failure, Fault, Op, SeededRandom, SimDisk, SimEnvironment, Times};
use millpond::txn::TransactionState;
use millpond::{ErrorKind, TopicName, TopicPartition};

pub(crate) const SOON: Duration = Duration::from_millis(20);

pub(crate) fn tp(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), partition)
}

pub(crate) fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

pub(crate) fn simulated(sim: &SimEnvironment) -> Broker {
    try_open(sim).unwrap()
}

fn try_open(sim: &SimEnvironment) -> millpond::Result<Broker> {
    let manual = BrokerConfig::new().background(Background::Manual).max_block(Duration::from_millis(50));
    Broker::builder("/data").environment(sim.environment()).config(manual).open()
}

pub(crate) fn small(partitions: u32, durability: Durability) -> TopicConfig {
    TopicConfig::new().partitions(partitions).durability(durability).segment_size(ByteSize::mib(1))
}

/// What readers of this isolation see of a partition.
fn seen(topic: &Topic, partition: u32, isolation: Isolation) -> Vec<String> {
    let config = ReaderConfig::new().isolation(isolation);
    let partition = topic.partition(partition).unwrap();
    let mut reader = partition.reader_builder().config(config).build().unwrap();
    let mut seen = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap()).into_owned();
        seen.extend(records.iter().map(|record| text(record.value().unwrap())));
    }
    seen
}

pub(crate) fn committed(topic: &Topic, partition: u32) -> Vec<String> {
    seen(topic, partition, Isolation::ReadCommitted)
}

fn everything(topic: &Topic, partition: u32) -> Vec<String> {
    seen(topic, partition, Isolation::ReadUncommitted)
}

#[test]
fn readers_of_committed_records_see_all_of_a_transaction_or_nothing() {
    for durability in [Durability::Memory, Durability::Sync] {
        let sim = SimEnvironment::new(1);
        let broker = simulated(&sim);
        let topic = broker.create_topic("t", small(2, durability)).unwrap();
        let plain = topic.producer().unwrap();
        let mut producer = broker.transactional("one").unwrap();
        let mut other = broker.transactional("other").unwrap();

        let mut txn = producer.begin().unwrap();
        for n in 0..100 {
            txn.send("t", Record::new(&format!("a{n}{}", "x".repeat(40_000))).partition(0)).unwrap();
        }
        txn.send("t", Record::new("b").partition(1)).unwrap();
        let written = topic.partition(0).unwrap().log_end_offset();
        assert!(written > Offset::ZERO || durability == Durability::Sync, "full batches are handed over");
        assert!(committed(&topic, 0).is_empty());
        let mut second = other.begin().unwrap();
        second.send("t", Record::new("never").partition(0)).unwrap();
        second.abort();
        plain.send(Record::new("plain").partition(0)).unwrap().wait().unwrap();
        assert!(committed(&topic, 0).is_empty(), "what comes behind an open transaction waits");
        let partition = topic.partition(0).unwrap();
        assert_eq!(partition.last_stable_offset(), Offset::ZERO);
        txn.commit().wait().unwrap();
        assert!(partition.last_stable_offset() >= offset(101), "{durability}");
        let visible: String = committed(&topic, 0).iter().map(|value| value[..1].to_owned()).collect();
        assert_eq!(visible.replace('p', ""), "a".repeat(100));
        assert_eq!(visible.matches('p').count(), 1);
        assert_eq!(committed(&topic, 1), ["b"]);
    }
}

#[test]
fn aborted_records_are_passed_over_and_control_records_never_handed_out() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    for n in 0..20 {
        let mut txn = producer.begin().unwrap();
        txn.send(&topic, Record::new(&format!("{n}"))).unwrap();
        match n % 3 {
            0 => txn.commit().wait().unwrap(),
            1 => txn.abort(),
            _ => {
                txn.send(&topic, Record::new("more")).unwrap();
                drop(txn);
            }
        }
    }
    let kept: Vec<String> = (0..20).step_by(3).map(|n| n.to_string()).collect();
    assert_eq!(committed(&topic, 0), kept);
    // What was aborted before its batch was handed over never was in the log.
    assert_eq!(everything(&topic, 0), kept);
    broker.close().wait().unwrap();
    let broker = simulated(&SimEnvironment::on(sim.disk().snapshot(), 2));
    assert_eq!(committed(&broker.topic("t").unwrap(), 0), kept);
}

/// Aborted records that did reach the log.
#[test]
fn large_aborted_transactions_are_in_the_log_and_not_seen() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let large = "x".repeat(600_000);
    let mut producer = broker.transactional("one").unwrap();
    for n in 0..6 {
        let mut txn = producer.begin().unwrap();
        for _ in 0..3 {
            txn.send(&topic, Record::new(&format!("{n}{large}"))).unwrap();
        }
        if n % 2 == 0 { txn.commit().wait().unwrap() } else { txn.abort() }
    }
    let firsts = |values: Vec<String>| -> String { values.iter().map(|value| &value[..1]).collect() };
    assert!(firsts(committed(&topic, 0)) == "000222444");
    let all = firsts(everything(&topic, 0));
    assert!(all.contains('1') && all.contains('3') && all.contains('5'), "{all}");
    let aborted = topic.partition(0).unwrap().aborted_transactions();
    assert_eq!(aborted.len(), 3);
    broker.close().wait().unwrap();
    let sim = SimEnvironment::on(sim.disk().snapshot(), 2);
    let broker = simulated(&sim);
    let topic = broker.topic("t").unwrap();
    assert_eq!(topic.partition(0).unwrap().aborted_transactions(), aborted);
    assert_eq!(firsts(committed(&topic, 0)), "000222444");
    // And after a crash, from the log alone.
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("last")).unwrap();
    txn.commit().wait().unwrap();
    for disk in [sim.disk().after_kill(), sim.disk().after_power_cut_losing_everything()] {
        for path in disk.files() {
            let name = path.to_string_lossy().into_owned();
            if name.contains("/t-0/") && (name.ends_with(".aborted") || name.ends_with(".txnindex")) {
                disk.truncate_file(&path, 3).unwrap();
            }
        }
        let broker = simulated(&SimEnvironment::on(disk, 2));
        let topic = broker.topic("t").unwrap();
        let values = committed(&topic, 0);
        assert_eq!(values.last().unwrap(), "last");
        assert_eq!(firsts(values), "000222444l");
    }
}

#[test]
fn a_newer_holder_fences_the_older() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Sync)).unwrap();
    let mut older = broker.transactional("one").unwrap();
    let mut txn = older.begin().unwrap();
    txn.send(&topic, Record::new("older")).unwrap();
    let mut newer = broker.transactional("one").unwrap();
    assert_eq!(txn.send(&topic, Record::new("late")).unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(txn.commit().wait().unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(older.begin().unwrap_err().kind(), ErrorKind::Fenced);
    let mut txn = newer.begin().unwrap();
    txn.send(&topic, Record::new("newer")).unwrap();
    txn.commit().wait().unwrap();
    assert_eq!(committed(&topic, 0), ["newer"]);
    assert_eq!(
        topic.partition(0).unwrap().last_stable_offset(),
        topic.partition(0).unwrap().high_watermark()
    );
}

#[test]
fn a_transaction_that_is_open_for_too_long_is_aborted() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let config = TransactionConfig::new().timeout(Duration::from_secs(5));
    let mut producer = broker.transactional_builder("one").config(config).build().unwrap();
    let large = "x".repeat(900_000);
    let mut txn = producer.begin().unwrap();
    for _ in 0..3 {
        txn.send(&topic, Record::new(&large)).unwrap();
    }
    let known = broker.transactions().unwrap();
    assert_eq!((known[0].state(), known[0].partitions().len()), (TransactionState::Open, 1));
    topic.producer().unwrap().send(Record::new("behind")).unwrap().wait().unwrap();
    assert!(committed(&topic, 0).is_empty());
    sim.clock().advance(Duration::from_secs(4));
    broker.tick().unwrap();
    assert!(committed(&topic, 0).is_empty());
    assert!(broker.next_tick() <= sim.environment().clock().monotonic() + Duration::from_secs(1));
    sim.clock().advance(Duration::from_secs(2));
    broker.tick().unwrap();
    assert_eq!(committed(&topic, 0), ["behind"], "readers go on");
    assert_eq!(txn.send(&topic, Record::new("late")).unwrap_err().kind(), ErrorKind::TransactionAborted);
    assert_eq!(txn.commit().wait().unwrap_err().kind(), ErrorKind::TransactionAborted);
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("again")).unwrap();
    txn.commit().wait().unwrap();
    assert_eq!(committed(&topic, 0), ["behind", "again"]);
}

#[test]
fn an_administrator_aborts() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    assert!(!broker.abort_transaction("one").unwrap());
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("x")).unwrap();
    assert!(broker.abort_transaction("one").unwrap());
    assert_eq!(txn.commit().wait().unwrap_err().kind(), ErrorKind::TransactionAborted);
}

#[test]
fn the_epoch_rises_with_every_transaction() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut last = -1;
    for n in 0..5 {
        let mut txn = producer.begin().unwrap();
        let epoch = txn.epoch().get();
        assert!(epoch > last);
        last = epoch;
        txn.send(&topic, Record::new("x")).unwrap();
        if n % 2 == 0 { txn.commit().wait().unwrap() } else { txn.abort() }
    }
    drop(producer);
    let mut producer = broker.transactional("one").unwrap();
    assert!(producer.begin().unwrap().epoch().get() > last);
}

#[test]
fn a_commit_goes_on_when_nobody_waits_for_it() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(2, Durability::Sync)).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("a").partition(0)).unwrap();
    txn.send(&topic, Record::new("b").partition(1)).unwrap();
    drop(txn.commit());
    assert!(committed(&topic, 0).is_empty());
    broker.tick().unwrap();
    assert_eq!((committed(&topic, 0), committed(&topic, 1)), (vec!["a".into()], vec!["b".into()]));
    // The next transaction waits for the commit before it.
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("c").partition(0)).unwrap();
    drop(txn.commit());
    drop(producer.begin().unwrap());
    assert_eq!(committed(&topic, 0), ["a", "c"]);
}

#[test]
fn a_commit_can_be_awaited() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for durability in [Durability::Memory, Durability::Sync] {
        let name = format!("t-{durability}");
        let topic = broker.create_topic(&name, small(3, durability)).unwrap();
        let mut producer = broker.transactional("one").unwrap();
        for round in 0..5 {
            let mut txn = producer.begin().unwrap();
            for partition in 0..3 {
                txn.send(&topic, Record::new(&format!("{round}")).partition(partition)).unwrap();
            }
            futures_executor::block_on(txn.commit()).unwrap();
            for partition in 0..3 {
                assert_eq!(committed(&topic, partition).len(), round + 1);
                let partition = topic.partition(partition).unwrap();
                assert!(partition.flushed_offset() >= offset(2 * round as u64 + 1), "also at {durability}");
            }
            let mut txn = producer.begin().unwrap();
            txn.send(&topic, Record::new("gone")).unwrap();
            txn.abort();
        }
    }
}

#[test]
fn committing_to_n_partitions_takes_n_and_one_flushes() {
    for durability in [Durability::Memory, Durability::Sync] {
        let sim = SimEnvironment::new(1);
        let broker = simulated(&sim);
        let topic = broker.create_topic("t", small(8, durability)).unwrap();
        let mut producer = broker.transactional("one").unwrap();
        let commit = |producer: &mut TransactionalProducer, partitions: u32| {
            let mut txn = producer.begin().unwrap();
            for partition in 0..partitions {
                txn.send(&topic, Record::new("x").partition(partition)).unwrap();
            }
            let before = sim.disk().calls_of(Op::Sync);
            txn.commit().wait().unwrap();
            sim.disk().calls_of(Op::Sync) - before
        };
        // The first ones make files, and say durably that there are producers.
        commit(&mut producer, 8);
        for partitions in [1, 2, 5, 8] {
            assert_eq!(commit(&mut producer, partitions), u64::from(partitions) + 1, "{durability}");
        }
    }
}

#[test]
fn offsets_of_a_transaction_hold_when_it_is_committed() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let source = broker.create_topic("in", small(1, Durability::Sync)).unwrap();
    let sink = broker.create_topic("out", small(1, Durability::Sync)).unwrap();
    source.producer().unwrap().send_batch(["a", "b", "c"].map(Record::new)).unwrap().wait().unwrap();
    let mut consumer = broker.group("g").unwrap().join("in").unwrap();
    let mut producer = broker.transactional("one").unwrap();

    let records = consumer.poll().wait_timeout(SOON).unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&sink, Record::new("first try")).unwrap();
    txn.commit_offsets(&consumer, &records).unwrap();
    assert_eq!(consumer.committed(&tp("in", 0)).unwrap(), None);
    txn.abort();
    assert_eq!(consumer.committed(&tp("in", 0)).unwrap(), None);

    let mut txn = producer.begin().unwrap();
    txn.send(&sink, Record::new("second try")).unwrap();
    txn.commit_offsets(&consumer, &records).unwrap();
    // Whoever is given the partition waits for the transaction.
    drop((records, consumer));
    let mut next = broker.group("g").unwrap().join("in").unwrap();
    assert!(next.poll().wait_timeout(SOON).unwrap().is_empty(), "pending");
    txn.commit().wait().unwrap();
    assert!(next.poll().wait_timeout(SOON).unwrap().is_empty(), "nothing is left");
    assert_eq!(next.committed(&tp("in", 0)).unwrap().unwrap().offset(), offset(3));
    assert_eq!(committed(&sink, 0), ["second try"]);
    broker.close().wait().unwrap();
    let broker = simulated(&SimEnvironment::on(sim.disk().snapshot(), 2));
    let mut next = broker.group("g").unwrap().join("in").unwrap();
    assert!(next.poll().wait_timeout(SOON).unwrap().is_empty());
}

#[test]
fn who_goes_on_with_a_closed_broker_is_told_that_it_is_closed() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("a")).unwrap();
    broker.close().wait().unwrap();
    assert_eq!(txn.send(&topic, Record::new("b")).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(txn.commit().wait().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(producer.begin().map(|_| ()).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn an_aborted_commit_of_offsets_lets_the_next_owner_begin_where_the_group_was() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let source = broker.create_topic("in", small(1, Durability::Sync)).unwrap();
    source.producer().unwrap().send_batch(["a", "b"].map(Record::new)).unwrap().wait().unwrap();
    let mut consumer = broker.group("g").unwrap().join("in").unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let records = consumer.poll().wait_timeout(SOON).unwrap();
    let mut txn = producer.begin().unwrap();
    txn.commit_offsets(&consumer, &records).unwrap();
    drop((records, consumer));
    let mut next = broker.group("g").unwrap().join("in").unwrap();
    assert!(next.poll().wait_timeout(SOON).unwrap().is_empty(), "pending");
    txn.abort();
    assert_eq!(next.poll().wait_timeout(SOON).unwrap().iter().count(), 2);
}

#[test]
fn a_member_without_the_partition_commits_nothing_within_a_transaction() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let source = broker.create_topic("in", small(1, Durability::Sync)).unwrap();
    source.producer().unwrap().send(Record::new("a")).unwrap().wait().unwrap();
    let config = GroupConfig::new().max_poll_interval(Duration::from_secs(1));
    let mut consumer = broker.group("g").unwrap().config(config).join("in").unwrap();
    let records = consumer.poll().wait_timeout(SOON).unwrap();
    sim.clock().advance(Duration::from_secs(2));
    broker.tick().unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    let refused = txn.commit_offsets(&consumer, &records).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Fenced | ErrorKind::Rebalanced), "{refused}");
    // The transaction itself goes on.
    txn.commit().wait().unwrap();
}

/// What a program of transactions leaves: `commits` of them have been acknowledged when a disk was copied.
struct Copied {
    disk: SimDisk,
    commits: u64,
}

const PARTITIONS: [(&str, u32); 4] = [("a", 0), ("a", 1), ("b", 0), ("b", 1)];

/// Runs transactions: each moves one record of `in` to all partitions, with the group's offset; every third is
/// aborted first, with the same records under another name.
fn run(sim: &SimEnvironment, rounds: u64, mut copy: impl FnMut(u64)) -> millpond::Result<u64> {
    let broker = try_open(sim)?;
    let mut consumer = broker.group("g")?.join("in")?;
    let mut producer = broker.transactional("mover")?;
    let mut done = 0;
    for round in 0..rounds {
        let records = consumer.poll().wait_timeout(SOON)?;
        if records.is_empty() {
            break;
        }
        if round % 3 == 2 {
            let mut txn = producer.begin()?;
            for (topic, partition) in PARTITIONS {
                txn.send(topic, Record::new(&format!("aborted {round}")).partition(partition))?;
            }
            txn.commit_offsets(&consumer, &records)?;
            txn.abort();
        }
        let mut txn = producer.begin()?;
        for record in &records {
            let value = String::from_utf8_lossy(record.value()?.unwrap_or_default()).into_owned();
            for (topic, partition) in PARTITIONS {
                txn.send(topic, Record::new(&value).partition(partition))?;
            }
        }
        txn.commit_offsets(&consumer, &records)?;
        txn.commit().wait()?;
        done += records.iter().count() as u64;
        copy(done);
        sim.clock().advance(Duration::from_millis(700));
        broker.tick()?;
    }
    drop((consumer, producer));
    broker.close().wait()?;
    copy(done);
    Ok(done)
}

fn prepare(sim: &SimEnvironment, count: usize) {
    let broker = simulated(sim);
    let source = broker.create_topic("in", small(1, Durability::Sync)).unwrap();
    broker.create_topic("a", small(2, Durability::Memory)).unwrap();
    broker.create_topic("b", small(2, Durability::Sync)).unwrap();
    let producer = source.producer().unwrap();
    for n in 0..count {
        producer.send(Record::new(&n.to_string())).unwrap().wait().unwrap();
    }
    broker.close().wait().unwrap();
}

/// Opens what is left and looks whether it is all or nothing; then goes on to the end, and looks again.
fn check(disk: SimDisk, at_least: u64, total: u64, go_on: bool, what: &str) {
    let sim = SimEnvironment::on(disk, 77);
    let broker = match try_open(&sim) {
        Ok(broker) => broker,
        Err(error) => panic!("{what}: {error}"),
    };
    let look = |broker: &Broker, at_least: u64| {
        let mut counts = BTreeMap::new();
        for (topic, partition) in PARTITIONS {
            let topic = broker.topic(topic).unwrap();
            let values = committed(&topic, partition);
            let expected: Vec<String> = (0..values.len()).map(|n| n.to_string()).collect();
            assert_eq!(values, expected, "{what}: {} {partition}", topic.name());
            counts.insert(values.len() as u64, partition);
            let partition = topic.partition(partition).unwrap();
            assert_eq!(partition.last_stable_offset(), partition.high_watermark(), "{what}: something hangs");
        }
        assert_eq!(counts.len(), 1, "{what}: not the same everywhere: {counts:?}");
        let count = *counts.keys().next().unwrap();
        assert!(count >= at_least, "{what}: {count} of {at_least} acknowledged");
        let lag = broker.group("g").unwrap().committed(&tp("in", 0)).unwrap();
        let offset = lag.as_ref().map_or(0, |committed: &OffsetAndMetadata| committed.offset().get());
        assert_eq!(offset, count, "{what}: the group's offset");
        count
    };
    look(&broker, at_least);
    if go_on {
        drop(broker);
        run(&sim, total + 1, |_| ()).unwrap_or_else(|error| panic!("{what}, going on: {error}"));
        let broker = simulated(&sim);
        assert_eq!(look(&broker, at_least), total, "{what}: the end");
    }
}

#[test]
fn transactions_are_atomic_in_every_crash_state() {
    let sim = SimEnvironment::new(5);
    let count = 4;
    prepare(&sim, count);
    let disk = sim.disk().clone();
    disk.snapshot_every_call(usize::MAX);
    let mut copied = Vec::new();
    let mut last = 0;
    let mut note = |commits: u64| {
        copied.extend(disk.take_snapshots().into_iter().map(|disk| Copied { disk, commits: last }));
        last = commits;
    };
    run_one_by_one(&sim, count as u64, &mut note);
    assert!(copied.len() > 100, "{}", copied.len());
    let mut checked = 0;
    for (at, Copied { disk, commits }) in copied.iter().enumerate() {
        let random = SeededRandom::new(at as u64);
        let images = [
            ("kill", disk.after_kill()),
            ("all lost", disk.after_power_cut_losing_everything()),
            ("power cut", disk.after_power_cut(&random)),
            ("power cut", disk.after_power_cut(&random)),
        ];
        for (how, image) in images {
            checked += 1;
            check(image, *commits, count as u64, at % 16 == 0, &format!("call {at}, {how}"));
        }
    }
    assert!(checked > 400, "{checked}");
}

/// As `run`, with the records of `in` handed out one by one.
fn run_one_by_one(sim: &SimEnvironment, count: u64, copy: &mut impl FnMut(u64)) {
    let broker = simulated(sim);
    let config = GroupConfig::new().max_records(1).max_bytes(ByteSize::bytes(1));
    let mut consumer = broker.group("g").unwrap().config(config).join("in").unwrap();
    let mut producer = broker.transactional("mover").unwrap();
    for round in 0..count {
        let records = consumer.poll().wait_timeout(SOON).unwrap();
        assert_eq!(records.iter().count(), 1);
        if round % 2 == 1 {
            let mut txn = producer.begin().unwrap();
            for (topic, partition) in PARTITIONS {
                txn.send(topic, Record::new("aborted").partition(partition)).unwrap();
            }
            txn.commit_offsets(&consumer, &records).unwrap();
            txn.abort();
        }
        let mut txn = producer.begin().unwrap();
        for (topic, partition) in PARTITIONS {
            txn.send(topic, Record::new(&round.to_string()).partition(partition)).unwrap();
        }
        txn.commit_offsets(&consumer, &records).unwrap();
        txn.commit().wait().unwrap();
        copy(round + 1);
        sim.clock().advance(Duration::from_millis(700));
        broker.tick().unwrap();
    }
    drop((consumer, producer));
    broker.close().wait().unwrap();
    copy(count);
}

#[test]
fn transactions_are_atomic_whichever_call_fails() {
    let count = 3;
    let prepared = SimEnvironment::new(6);
    prepare(&prepared, count);
    let whole = prepared.disk().snapshot();
    let calls = {
        let sim = SimEnvironment::on(whole.snapshot(), 1);
        let before = sim.disk().calls();
        run(&sim, 10, |_| ()).unwrap();
        sim.disk().calls() - before
    };
    let mut failed = 0;
    for (fault, times) in
        [(Fault::Io, Times::Once), (Fault::StorageFull, Times::Once), (Fault::Io, Times::Always)]
    {
        for nth in 1..=calls {
            let sim = SimEnvironment::on(whole.snapshot(), nth);
            sim.disk().inject(Failure::nth(nth, fault).times(times));
            let mut done = 0;
            let ended = run(&sim, 10, |commits| done = commits);
            failed += u64::from(ended.is_err());
            sim.disk().stop_failing();
            let what = format!("{fault:?} {times:?} at call {nth}");
            let random = SeededRandom::new(nth);
            check(sim.disk().after_kill(), done, count as u64, nth % 7 == 0, &what);
            check(sim.disk().after_power_cut(&random), done, count as u64, nth % 7 == 3, &what);
        }
    }
    assert!(failed > calls, "{failed} of {calls}");
}

/// Kafka's own transactional log: of two interleaved transactions the first is aborted, the second committed.
#[test]
fn a_transactional_log_of_kafkas_reads_as_kafka_reads_it() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../vectors/record_batches.json")).unwrap();
    let vectors = vectors.get("vectors").unwrap_or(&vectors).as_array().unwrap().clone();
    let log = vectors.iter().find(|vector| vector["name"] == "txn_log").unwrap();
    let hex = log["hex"].as_str().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let batches = log["batches"].as_array().unwrap();
    let mut ends = Vec::new();
    let mut end = 0;
    for batch in batches {
        end += batch["size"].as_u64().unwrap() as usize;
        ends.push(end);
    }
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let partition = topic.partition(0).unwrap();
    let mut from = 0;
    // Before the markers, and behind each: where readers of committed records stop.
    let stable = [0, 0, 0, 2, 6].map(offset);
    for (end, stable) in ends.iter().zip(stable) {
        partition.append_batches(&bytes[from..*end]).unwrap();
        from = *end;
        assert_eq!(partition.last_stable_offset(), stable);
    }
    assert_eq!(everything(&topic, 0), ["1", "2", "3", "4"]);
    assert_eq!(committed(&topic, 0), ["3"]);
    let aborted = partition.aborted_transactions();
    let entry = &aborted[0];
    assert_eq!((aborted.len(), entry.producer_id().get()), (1, 1));
    assert_eq!((entry.first_offset(), entry.marker_offset()), (offset(0), offset(4)));
    let disk = sim.disk().after_kill();
    let broker = simulated(&SimEnvironment::on(disk, 2));
    assert_eq!(committed(&broker.topic("t").unwrap(), 0), ["3"]);
    // Cut back to the middle of it, both are open again.
    let topic = broker.topic("t").unwrap();
    let partition = topic.partition(0).unwrap();
    partition.truncate(offset(4)).unwrap();
    assert_eq!(partition.last_stable_offset(), Offset::ZERO);
    assert!(committed(&topic, 0).is_empty());
}

/// Whatever becomes of the files that hold the state of producers: it is that of the log.
#[test]
fn a_damaged_cache_of_producers_is_built_anew() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Sync)).unwrap();
    let importer = topic.idempotent_producer("importer").unwrap();
    let large = "x".repeat(600_000);
    let mut producer = broker.transactional("one").unwrap();
    for n in 0..4u64 {
        importer.send_at(0, n, [Record::new(&n.to_string())]).unwrap().wait().unwrap();
        let mut txn = producer.begin().unwrap();
        for _ in 0..3 {
            txn.send(&topic, Record::new(&large)).unwrap();
        }
        txn.abort();
        topic.producer().unwrap().flush().wait().unwrap();
        sim.clock().advance(Duration::from_millis(1_100));
        broker.tick().unwrap();
    }
    let clean = {
        let disk = sim.disk().clone();
        broker.close().wait().unwrap();
        disk.snapshot()
    };
    let cached = |disk: &SimDisk| {
        let mut files = disk.files();
        files.retain(|path| {
            let name = path.to_string_lossy().into_owned();
            let state = [".snapshot", ".txnindex", "millpond.aborted"];
            name.contains("/t-0/") && state.iter().any(|kind| name.ends_with(kind))
        });
        files
    };
    let files = cached(&clean);
    assert!(files.len() >= 4, "{files:?}");
    let mut states = 0;
    for (at, path) in files.iter().enumerate() {
        let size = clean.read_file(path).unwrap().len() as u64;
        let cuts = (0..size).step_by(7).map(|cut| (cut, None));
        let flips = (0..size).step_by(3).map(|byte| (byte, Some((byte % 8) as u8)));
        for (byte, bit) in cuts.chain(flips) {
            let disk = if states % 2 == 0 { clean.snapshot() } else { clean.after_kill() };
            match bit {
                Some(bit) => disk.flip_bit(path, byte, bit).unwrap(),
                None => disk.truncate_file(path, byte).unwrap(),
            }
            states += 1;
            let broker = simulated(&SimEnvironment::on(disk, at as u64));
            let topic = broker.topic("t").unwrap();
            let what = format!("{} at {byte} {bit:?}", path.display());
            assert_eq!(committed(&topic, 0), ["0", "1", "2", "3"], "{what}");
            let importer = topic.idempotent_producer("importer").unwrap();
            assert_eq!(importer.last_acknowledged(0).unwrap(), Some(3), "{what}");
        }
    }
    assert!(states > 100, "{states}");
}

#[test]
fn a_poisoned_partition_aborts_what_it_is_part_of_and_the_next_opening_settles_it() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(2, Durability::Sync)).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("kept").partition(0)).unwrap();
    txn.send(&topic, Record::new("kept").partition(1)).unwrap();
    txn.commit().wait().unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("lost").partition(0)).unwrap();
    txn.send(&topic, Record::new("lost").partition(1)).unwrap();
    sim.disk().inject(Failure::nth(1, Fault::Io).only(Op::Sync));
    let failed = txn.commit().wait().unwrap_err();
    assert!(matches!(failed.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{failed}");
    sim.disk().stop_failing();
    for disk in [sim.disk().after_kill(), sim.disk().after_power_cut_keeping_everything()] {
        let broker = simulated(&SimEnvironment::on(disk, 2));
        let topic = broker.topic("t").unwrap();
        for partition in 0..2 {
            assert_eq!(committed(&topic, partition), ["kept"]);
            let partition = topic.partition(partition).unwrap();
            assert_eq!(partition.last_stable_offset(), partition.high_watermark());
        }
    }
}
