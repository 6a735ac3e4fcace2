//! A topic changed while the disk fails at any call: what it had goes on, the call may be repeated, and after a crash
//! the topic is the old one or the new one.

use millpond::config::{Background, BrokerConfig};
use millpond::prelude::*;
use millpond::testing::{Failure, Fault, SimDisk, SimEnvironment, Times};
use millpond::{ErrorKind, Result};

const BEFORE: u32 = 2;
const AFTER: u32 = 4;

type Change = fn(&Broker) -> Result<()>;

/// How a topic is changed, and whether its settings say that it was.
struct Case {
    name: &'static str,
    begin: TopicConfig,
    change: Change,
    is_changed: fn(&Topic) -> bool,
}

fn config() -> TopicConfig {
    TopicConfig::new().partitions(BEFORE).segment_size(ByteSize::kib(64))
}

fn altered(broker: &Broker, durability: Durability) -> Result<()> {
    let config = broker.topic("t").unwrap().config();
    broker.alter_topic("t", config.durability(durability).segment_size(ByteSize::kib(128)))
}

fn level(topic: &Topic) -> Durability {
    topic.config().durability_level()
}

fn cases() -> [Case; 3] {
    [
        Case {
            name: "more partitions",
            begin: config(),
            change: |broker| match broker.topic("t").unwrap().partition_count() {
                AFTER => Ok(()),
                _ => broker.add_partitions("t", AFTER),
            },
            is_changed: |topic| topic.partition_count() == AFTER,
        },
        Case {
            name: "lowered",
            begin: config(),
            change: |broker| altered(broker, Durability::Memory),
            is_changed: |topic| level(topic) == Durability::Memory,
        },
        Case {
            name: "raised",
            begin: config().durability(Durability::Memory),
            change: |broker| altered(broker, Durability::Sync),
            is_changed: |topic| level(topic) == Durability::Sync,
        },
    ]
}

fn open(sim: &SimEnvironment) -> Broker {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
}

/// Five durable records in each of the partitions that there are before.
fn begin(case: &Case, seed: u64) -> (SimEnvironment, Broker) {
    let sim = SimEnvironment::new(seed);
    let broker = open(&sim);
    let topic = broker.create_topic("t", case.begin.clone()).unwrap();
    let producer = topic.producer().unwrap();
    for n in 0..5 * BEFORE {
        let value = format!("{n}");
        producer.send(Record::new(&value).partition(n % BEFORE)).unwrap().wait().unwrap();
    }
    // Up and down again: at any level all of it is on the device.
    altered(&broker, Durability::Sync).unwrap();
    broker.alter_topic("t", case.begin.clone()).unwrap();
    (sim, broker)
}

fn assert_holds(topic: &Topic, told: &str) {
    for number in 0..BEFORE {
        let mut reader = topic.partition(number).unwrap().read(..).unwrap();
        let mut seen = Vec::new();
        while let Some(records) = reader.next().unwrap() {
            seen.extend(
                records
                    .iter()
                    .map(|record| String::from_utf8_lossy(record.value().unwrap().unwrap()).into_owned()),
            );
        }
        let expected: Vec<_> = (0..5).map(|n| format!("{}", n * BEFORE + number)).collect();
        assert_eq!(seen.get(..5), Some(&expected[..]), "{told}");
    }
}

/// Each partition takes records, and keeps what the topic says that it promises.
fn assert_takes(topic: &Topic, told: &str) {
    let producer = topic.producer().unwrap();
    for number in 0..topic.partition_count() {
        let partition = topic.partition(number).unwrap();
        let sent = producer.send(Record::new("more").partition(number)).and_then(|delivery| delivery.wait());
        match sent {
            Ok(stored) if level(topic) == Durability::Sync => {
                assert!(
                    partition.flushed_offset() > stored.offset(),
                    "{told}: {number} is weaker than it says"
                );
            }
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned, "{told}: {error}"),
        }
    }
}

fn is_poisoned(topic: &Topic) -> bool {
    topic.describe().partitions().iter().any(|partition| partition.is_poisoned())
}

/// The old topic or the new one, with everything that was acknowledged; and changed for good by one call more.
fn assert_recovers(case: &Case, disk: SimDisk, seed: u64, told: &str) {
    let sim = SimEnvironment::on(disk, seed);
    let broker = open(&sim);
    let topic = broker.topic("t").unwrap();
    assert_holds(&topic, told);
    assert_takes(&topic, told);
    (case.change)(&broker).unwrap();
    assert!((case.is_changed)(&topic), "{told}");
    assert!([BEFORE, AFTER].contains(&topic.partition_count()));
    assert_takes(&topic, told);
    broker.close().wait().unwrap();
    drop((topic, broker));
    let broker = open(&sim);
    let topic = broker.topic("t").unwrap();
    assert!((case.is_changed)(&topic), "{told}");
    assert_holds(&topic, told);
}

fn trial(case: &Case, nth: u64, fault: Fault, times: Times) {
    let told = format!("{}: call {nth}, {fault:?}, {times:?}", case.name);
    let (sim, broker) = begin(case, nth);
    let topic = broker.topic("t").unwrap();
    sim.disk().inject(Failure::nth(nth, fault).times(times));
    let changed = (case.change)(&broker);
    let at_once = sim.disk().snapshot();
    sim.disk().stop_failing();
    assert_holds(&topic, &told);
    let lowered = case.name == "lowered" && changed.is_err();
    assert!(lowered || (case.is_changed)(&topic) == changed.is_ok(), "{told}: {changed:?}");
    assert_takes(&topic, &told);
    for (disk, what) in [
        (at_once.after_kill(), "killed"),
        (at_once.after_power_cut_losing_everything(), "cut"),
        (at_once.after_power_cut_keeping_everything(), "cut, all kept"),
    ] {
        assert_recovers(case, disk, 1000 + nth, &format!("{told}, {what}"));
    }
    // And in the same process, where nothing was poisoned.
    if !is_poisoned(&topic) {
        (case.change)(&broker).unwrap_or_else(|error| panic!("{told}: {error}"));
        assert!((case.is_changed)(&topic), "{told}");
        assert_takes(&topic, &told);
        broker.close().wait().unwrap();
    }
    let disk = sim.disk().after_kill();
    drop((topic, broker));
    assert_recovers(case, disk, 2000 + nth, &format!("{told}, later"));
}

#[test]
fn a_change_that_fails_half_way_can_be_repeated() {
    for case in cases() {
        let (sim, broker) = begin(&case, 1);
        let before = sim.disk().calls();
        (case.change)(&broker).unwrap();
        let calls = sim.disk().calls() - before;
        drop(broker);
        assert!(calls > 10, "{}: {calls}", case.name);
        for nth in 1..=calls {
            for fault in [Fault::Io, Fault::StorageFull, Fault::ShortWrite] {
                trial(&case, nth, fault, Times::Once);
            }
            trial(&case, nth, Fault::StorageFull, Times::Always);
        }
    }
}

#[test]
fn more_partitions_that_could_not_be_made_are_not_there_later() {
    let case = &cases()[0];
    let (sim, broker) = begin(case, 3);
    // The second folder cannot be made.
    sim.disk().inject(Failure::nth(2, Fault::StorageFull).only(millpond::testing::Op::Create));
    let error = broker.add_partitions("t", AFTER).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    sim.disk().stop_failing();
    drop(broker);
    let broker = open(&SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 4));
    assert_eq!(broker.topic("t").unwrap().partition_count(), BEFORE);
}
