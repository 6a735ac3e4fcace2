//! Ten thousand partitions in one broker: few open files, whatever is done with them.

use std::path::Path;

use millpond::ErrorKind;
use millpond::config::{Background, BrokerConfig};
use millpond::env::sim::{Failure, Fault, Op, SimEnvironment};
use millpond::prelude::*;

const PARTITIONS: u32 = 10_000;
const MOST_OPEN: u32 = 128;
/// What may be open beyond the setting, before an append closes files itself, and for each of the threads that
/// open files meanwhile.
const SLACK: u64 = MOST_OPEN as u64 / 8 + 16;

fn config() -> BrokerConfig {
    BrokerConfig::new().max_open_segments(MOST_OPEN)
}

/// How many of this process's file handles lead into `dir`, by the kernel's account.
#[cfg(target_os = "linux")]
fn handles_into(dir: &Path) -> u64 {
    let Ok(handles) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let targets = handles.filter_map(|handle| std::fs::read_link(handle.ok()?.path()).ok());
    targets.filter(|target| target.starts_with(dir) && target.extension().is_some_and(|e| e == "log")).count()
        as u64
}

#[cfg(not(target_os = "linux"))]
fn handles_into(_: &Path) -> u64 {
    0
}

fn assert_few_open(broker: &Broker, dir: &Path) {
    let most = u64::from(MOST_OPEN) + SLACK;
    let (open, handles) = (broker.open_segments(), handles_into(dir));
    assert!(open <= most && handles <= most, "{open} segments open, {handles} handles");
}

fn value(partition: u32, round: u32) -> String {
    format!("record {round} of partition {partition}")
}

#[test]
fn ten_thousand_partitions_take_few_file_handles() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let broker = Broker::builder(&path).config(config()).open().unwrap();
    let settings = TopicConfig::new().partitions(PARTITIONS).durability(Durability::Memory);
    let topic = broker.create_topic("many", settings).unwrap();
    assert_eq!(broker.open_segments(), 0, "a new partition opens nothing before it is used");
    let producer = topic.producer().unwrap();
    let used = || (0..PARTITIONS).step_by(20);
    for round in 0..2 {
        for partition in used() {
            let value = value(partition, round);
            drop(producer.send(Record::new(value.as_str()).partition(partition)).unwrap());
        }
        assert_few_open(&broker, &path);
    }
    drop((producer, topic));
    broker.close().wait().unwrap();
    drop(broker);
    assert_eq!(handles_into(&path), 0);

    let broker = Broker::builder(&path).config(config()).open().unwrap();
    assert!(broker.recovery().was_clean());
    assert_eq!(broker.open_segments(), 0, "nothing is opened that nobody uses");
    let topic = broker.topic("many").unwrap();
    // A reader of all partitions, which stays.
    let mut reader = topic.read(Start::Earliest).unwrap();
    let mut seen = 0;
    while let Some(records) = reader.next().unwrap() {
        for record in &records {
            let expected = value(record.partition(), record.offset().get() as u32);
            assert_eq!(record.value().unwrap(), Some(expected.as_bytes()));
            seen += 1;
        }
    }
    assert_eq!(seen, 2 * used().count());
    // Waiting at the end of all of them it keeps none open.
    assert!(reader.poll().wait_timeout(std::time::Duration::ZERO).unwrap().is_empty());
    let producer = topic.producer().unwrap();
    for partition in used().take(400) {
        let value = value(partition, 2);
        drop(producer.send(Record::new(value.as_str()).partition(partition)).unwrap());
    }
    assert_few_open(&broker, &path);
    let mut seen = 0;
    while let Some(records) = reader.next().unwrap() {
        seen += records.iter().count();
    }
    assert_eq!(seen, 400);
}

/// Who only writes opens segments, too.
#[test]
fn who_only_writes_keeps_few_open() {
    let sim = SimEnvironment::new(7);
    let config = BrokerConfig::new().background(Background::Manual).max_open_segments(16);
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap();
    for level in [Durability::Memory, Durability::Sync] {
        let settings = TopicConfig::new().segment_size(ByteSize::kib(16)).max_record_size(ByteSize::kib(8));
        let topic = broker.create_topic(format!("{level:?}"), settings.durability(level)).unwrap();
        let producer = topic.producer().unwrap();
        for _ in 0..400 {
            producer.send(Record::new(&[b'x'; 1000])).unwrap().wait().unwrap();
        }
        broker.tick().unwrap();
        assert!(broker.open_segments() <= 16, "{} at {level:?}", broker.open_segments());
    }
}

#[test]
fn the_oldest_used_are_closed_first_and_a_failed_flush_keeps_its_file() {
    let sim = SimEnvironment::new(7);
    let config = BrokerConfig::new().background(Background::Manual).max_open_segments(16);
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap();
    let settings = TopicConfig::new().partitions(40).durability(Durability::Memory);
    let topic = broker.create_topic("many", settings).unwrap();
    let producer = topic.producer().unwrap();
    let send = |partition| {
        producer.send(Record::new("record").partition(partition)).unwrap().wait().unwrap();
    };
    for partition in 0..16 {
        send(partition);
    }
    broker.tick().unwrap();
    assert_eq!(broker.open_segments(), 16);
    let syncs = sim.disk().calls_of(Op::Sync);
    // Partition 0 is used again; 1 and those behind it were used longer ago.
    sim.clock().advance(std::time::Duration::from_millis(100));
    send(0);
    send(16);
    broker.tick().unwrap();
    assert_eq!(broker.open_segments(), 14, "an eighth is closed beyond the setting");
    let after = sim.disk().calls_of(Op::Sync);
    assert!(after > syncs, "closed without a flush");
    let opened = |partition: u32| {
        let maps = sim.disk().calls_of(Op::Map);
        send(partition);
        sim.disk().calls_of(Op::Map) > maps
    };
    assert!(!opened(0) && !opened(16) && !opened(4), "closed though others were used longer ago");
    assert!(opened(1) && opened(2), "used longest ago and not closed");

    // The flush before the closing fails: that partition is poisoned, the others are closed all the same.
    sim.disk().inject(Failure::nth(1, Fault::Io).only(Op::Sync));
    for partition in 20..22 {
        send(partition);
    }
    assert_eq!(broker.tick().unwrap_err().kind(), ErrorKind::Io);
    assert!(broker.open_segments() <= 16);
    let poisoned = |partition: &u32| {
        let record = Record::new("record").partition(*partition);
        producer.send(record).is_err_and(|e| e.kind() == ErrorKind::Poisoned)
    };
    assert_eq!((0..24).filter(poisoned).count(), 1);
}
