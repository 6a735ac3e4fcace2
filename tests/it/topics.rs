//! Topics: created, found, described, changed, deleted; and all of it again after a reopening.

use std::path::Path;
use std::time::Duration;

use millpond::codec::U64;
use millpond::config::{Background, BrokerConfig, Compression};
use millpond::prelude::*;
use millpond::testing::{Failure, Fault, Op, SimEnvironment};
use millpond::{BrokerBuilder, ErrorKind};

fn simulated(sim: &SimEnvironment) -> BrokerBuilder {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual)
}

fn names(broker: &Broker) -> Vec<String> {
    broker.topics().into_iter().map(String::from).collect()
}

fn count(topic: &Topic) -> usize {
    let mut reader = topic.read(Start::Earliest).unwrap();
    let mut seen = 0;
    while let Some(records) = reader.next().unwrap() {
        seen += records.iter().count();
    }
    seen
}

#[test]
fn topics_are_made_listed_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let small =
        TopicConfig::new().partitions(3).durability(Durability::Memory).segment_size(ByteSize::kib(64));
    let broker = Broker::open(dir.path()).unwrap();
    let id = broker.create_topic("b.topic", small.clone()).unwrap().id();
    broker.create_topic("a", TopicConfig::new()).unwrap();
    assert_eq!(names(&broker), ["a", "b.topic"]);
    assert_eq!(broker.create_topic("a", TopicConfig::new()).unwrap_err().kind(), ErrorKind::TopicExists);
    broker.close().wait().unwrap();
    drop(broker);

    let broker = Broker::open(dir.path()).unwrap();
    assert_eq!(names(&broker), ["a", "b.topic"]);
    let topic = broker.topic("b.topic").unwrap();
    assert_eq!((topic.id(), topic.config(), topic.partition_count()), (id, small, 3));
    assert_eq!(broker.topic("c").unwrap_err().kind(), ErrorKind::TopicNotFound);
    assert_eq!(topic.partition(3).unwrap_err().kind(), ErrorKind::PartitionNotFound);
}

#[test]
fn what_is_invalid_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for name in ["", ".", "..", "no spaces", &"x".repeat(250)] {
        let error = broker.create_topic(name, TopicConfig::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name}");
    }
    let error = broker.create_topic("t", TopicConfig::new().partitions(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("partitions"), "{error}");
    let error = broker.create_topic("t", TopicConfig::new().linger(Duration::from_secs(100))).unwrap_err();
    assert!(error.to_string().contains("linger"), "{error}");
    let broken = BrokerConfig::new().flush_threads(0);
    let other = tempfile::tempdir().unwrap();
    let error = Broker::builder(other.path()).config(broken).open().unwrap_err();
    assert!(error.to_string().contains("flush_threads"), "{error}");
    assert!(broker.topics().is_empty());
}

#[test]
fn the_longest_name_works() {
    let dir = tempfile::tempdir().unwrap();
    let name = "x".repeat(249);
    let broker = Broker::open(dir.path()).unwrap();
    broker.create_topic(&name, TopicConfig::new()).unwrap();
    broker.alter_topic(&name, TopicConfig::new().durability(Durability::Memory)).unwrap();
    broker.close().wait().unwrap();
    drop(broker);
    let broker = Broker::open(dir.path()).unwrap();
    assert_eq!(broker.topic(&name).unwrap().config().durability_level(), Durability::Memory);
    broker.delete_topic(&name).unwrap();
    assert!(broker.topics().is_empty());
}

#[test]
fn a_deleted_topic_is_gone_and_its_name_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let old = broker.create_topic("clicks", TopicConfig::new().partitions(2)).unwrap();
    let producer = old.producer().unwrap();
    producer.send(Record::new("old").partition(0)).unwrap().wait().unwrap();
    let mut reader = old.partition(0).unwrap().read(..).unwrap();
    let held = reader.next().unwrap().unwrap();

    broker.delete_topic("clicks").unwrap();
    assert_eq!(broker.topic("clicks").unwrap_err().kind(), ErrorKind::TopicNotFound);
    assert_eq!(broker.delete_topic("clicks").unwrap_err().kind(), ErrorKind::TopicNotFound);
    assert_eq!(producer.send(Record::new("late")).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(old.partition(0).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(held.iter().next().unwrap().value().unwrap(), Some(&b"old"[..]));

    let new = broker.create_topic("clicks", TopicConfig::new()).unwrap();
    assert_ne!(new.id(), old.id());
    assert_eq!(count(&new), 0);
    let folders: Vec<_> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!folders.iter().any(|name| name.to_string_lossy().ends_with("-delete")), "{folders:?}");
}

#[test]
fn partitions_are_added_under_the_feet_of_producers_and_readers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("clicks", TopicConfig::new()).unwrap();
    let producer = topic.producer().unwrap();
    let mut reader = topic.read(Start::Earliest).unwrap();
    assert_eq!(
        producer.send(Record::new("x").partition(2)).unwrap_err().kind(),
        ErrorKind::PartitionNotFound
    );
    broker.add_partitions("clicks", 3).unwrap();
    producer.send(Record::new("x").partition(2)).unwrap().wait().unwrap();
    let records = reader.next().unwrap().unwrap();
    assert_eq!(records.iter().map(|record| record.partition()).collect::<Vec<_>>(), [2]);
    assert_eq!(broker.add_partitions("clicks", 3).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(broker.add_partitions("clicks", 20_000).unwrap_err().kind(), ErrorKind::InvalidConfig);
    drop((records, reader, producer, topic));
    broker.close().wait().unwrap();
    drop(broker);
    assert_eq!(Broker::open(dir.path()).unwrap().topic("clicks").unwrap().partition_count(), 3);
}

#[test]
fn settings_change_and_stay_changed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("clicks", TopicConfig::new().durability(Durability::Memory)).unwrap();
    topic.producer().unwrap().send(Record::new("before")).unwrap().wait().unwrap();
    broker.alter_topic("clicks", topic.config().durability(Durability::Sync)).unwrap();
    let partition = topic.partition(0).unwrap();
    assert_eq!(partition.flushed_offset(), partition.log_end_offset(), "raising the level flushes first");
    let error = broker.alter_topic("clicks", topic.config().partitions(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(error.to_string().contains("add_partitions"), "{error}");
    let far = Compression::Gzip { level: Some(77) };
    assert!(broker.alter_topic("clicks", topic.config().compression(far)).is_err());
    drop((topic, partition));
    broker.close().wait().unwrap();
    drop(broker);
    let broker = Broker::open(dir.path()).unwrap();
    assert_eq!(broker.topic("clicks").unwrap().config().durability_level(), Durability::Sync);
}

#[test]
fn codecs_are_remembered() {
    const VISITS: TopicDef<Utf8, U64> = TopicDef::new("visits");
    const OTHER: TopicDef<Utf8, Utf8> = TopicDef::new("visits");
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    broker.create_topic("visits", TopicConfig::new().partitions(2)).unwrap();
    assert_eq!(broker.topic(&VISITS).unwrap().partition_count(), 2, "the topic was there, untyped");
    drop(broker);
    let broker = open_again(dir.path());
    let error = broker.topic(&OTHER).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("u64") && error.to_string().contains("utf8"), "{error}");
    let description = broker.describe_topic("visits").unwrap();
    assert_eq!(description.value_codec(), Some(("u64", 0)));
    assert!(broker.topic("visits").is_ok());
}

/// A dropped broker's threads may hold the lock for a moment longer.
fn open_again(path: &Path) -> Broker {
    for _ in 0..10_000 {
        match Broker::open(path) {
            Err(error) if error.kind() == ErrorKind::Locked => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
    panic!("still locked");
}

#[test]
fn a_creation_or_deletion_cut_short_is_finished_or_undone() {
    let sim = SimEnvironment::new(11);
    let broker = simulated(&sim).open().unwrap();
    let kept = broker.create_topic("kept", TopicConfig::new()).unwrap();
    kept.producer().unwrap().send(Record::new("kept")).unwrap().wait().unwrap();
    sim.disk().snapshot_every_call(1_000);
    broker.create_topic("made", TopicConfig::new().partitions(2)).unwrap();
    broker.add_partitions("made", 3).unwrap();
    broker.delete_topic("made").unwrap();
    let snapshots = sim.disk().take_snapshots();
    assert!(snapshots.len() > 30);
    let (mut seen_made, mut seen_gone) = (0, 0);
    for (n, disk) in snapshots.into_iter().enumerate() {
        for after in [
            disk.after_kill(),
            disk.after_power_cut_losing_everything(),
            disk.after_power_cut_keeping_everything(),
        ] {
            let again = SimEnvironment::on(after, n as u64);
            let broker = simulated(&again).open().unwrap_or_else(|error| panic!("call {n}: {error}"));
            assert_eq!(count(&broker.topic("kept").unwrap()), 1);
            match broker.topic("made") {
                Ok(made) => {
                    seen_made += 1;
                    assert!((2..=3).contains(&made.partition_count()), "call {n}");
                    made.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
                    assert_eq!(count(&made), 1);
                }
                Err(error) => {
                    seen_gone += 1;
                    assert_eq!(error.kind(), ErrorKind::TopicNotFound);
                    broker.create_topic("made", TopicConfig::new()).unwrap();
                }
            }
        }
    }
    assert!(seen_made > 10 && seen_gone > 10, "{seen_made} {seen_gone}");
}

#[test]
fn a_creation_that_fails_can_be_repeated() {
    for op in [Op::Sync, Op::SyncDir, Op::Write, Op::Create, Op::Rename] {
        for nth in 1..40 {
            let sim = SimEnvironment::new(nth);
            let broker = simulated(&sim).open().unwrap();
            sim.disk().inject(Failure::nth(nth, Fault::Io).only(op));
            let made = broker.create_topic("made", TopicConfig::new().partitions(2));
            sim.disk().stop_failing();
            if made.is_ok() {
                break;
            }
            assert!(broker.topics().is_empty());
            let made = broker.create_topic("made", TopicConfig::new().partitions(3)).unwrap();
            made.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
            broker.close().wait().unwrap();
            drop((made, broker));
            assert_eq!(count(&simulated(&sim).open().unwrap().topic("made").unwrap()), 1, "{op:?} {nth}");
        }
    }
}

#[test]
fn a_folder_without_a_manifest_is_not_built_over() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("clicks-1")).unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let error = broker.create_topic("clicks", TopicConfig::new().partitions(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupted);
    assert_eq!(error.path(), Some(&*dir.path().join("clicks-1")));
}
