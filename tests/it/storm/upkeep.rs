//! Readers from anywhere, an administrator, one that makes and deletes topics, and one that looks from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::broker::Verdict;
use millpond::config::{Compression, ReaderConfig};
use millpond::prelude::*;
use millpond::{ErrorKind, Observer};

use super::ledger::{Book, parse};
use super::scene::{Actor, PARTITIONS};

/// Reads from some place to the end, and checks the order of each sender's records.
pub(super) fn reader(actor: &Actor) -> Book {
    while actor.goes_on() {
        let topic = ["events", "orders", "money", "out", "state", "bus"][actor.below(6) as usize];
        let partition = actor.topic(topic).partition(actor.below(u64::from(PARTITIONS)) as u32).unwrap();
        let isolation = [Isolation::ReadCommitted, Isolation::ReadUncommitted][actor.below(2) as usize];
        let config = ReaderConfig::new().isolation(isolation).max_records(1 + actor.below(500) as u32);
        let start =
            [Start::Earliest, Start::Last(actor.below(2_000)), Start::Latest][actor.below(3) as usize];
        actor.now(format!("read {topic} from {start}"));
        let mut reader = partition.reader_builder().config(config).start(start).build().unwrap();
        let mut last: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut offset = None;
        for _ in 0..actor.below(200) {
            let records = match reader.next() {
                Ok(Some(records)) => records,
                Ok(None) => match reader.poll().wait_timeout(Duration::from_millis(1)) {
                    Ok(records) => records,
                    Err(error) if error.kind() == ErrorKind::TimedOut => break,
                    Err(error) => {
                        gone_with_time(topic, &error);
                        break;
                    }
                },
                Err(error) => {
                    gone_with_time(topic, &error);
                    break;
                }
            };
            for record in &records {
                let before = offset.replace(record.offset());
                assert!(before < Some(record.offset()), "{topic}: {before:?}, {}", record.offset());
                let Some(value) = record.value().unwrap() else { continue };
                let (by, numbers) = parse(std::str::from_utf8(value).unwrap());
                let before = last.insert(by.to_owned(), numbers.clone());
                // What a pipeline copies twice, it has aborted once.
                let ordered = before.as_ref().is_none_or(|before| *before < numbers);
                assert!(ordered || topic == "out", "{topic}: {by} {numbers:?} after {before:?}");
            }
        }
    }
    Book::new(actor.name, "nothing")
}

/// The oldest records of a topic that is bounded may be gone.
fn gone_with_time(topic: &str, error: &millpond::Error) {
    let gone = matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. });
    assert!(gone && topic == "bus", "{topic}: {error}");
}

/// Changes settings, adds partitions, compacts, applies retention, and counts.
pub(super) fn administrator(actor: &Actor) -> Book {
    let levels = [Durability::Memory, Durability::Interval(Duration::from_millis(10)), Durability::Sync];
    while actor.goes_on() {
        let name = ["events", "orders", "money", "out", "state"][actor.below(5) as usize];
        let topic = actor.topic(name);
        match actor.below(8) {
            0..=2 => {
                let config = topic
                    .config()
                    .durability(levels[actor.below(3) as usize])
                    .linger(Duration::from_millis(actor.below(6)))
                    .batch_size(ByteSize::kib(1 + actor.below(16)));
                let codec = if cfg!(feature = "lz4") && actor.one_in(2) {
                    Compression::Lz4
                } else {
                    Compression::None
                };
                actor.now(format!("alter {name}"));
                actor.broker.alter_topic(name, config.compression(codec)).unwrap();
            }
            3 if topic.partition_count() < 6 && name != "events" => {
                actor.now(format!("add partitions to {name}"));
                actor.broker.add_partitions(name, topic.partition_count() + 1).unwrap();
            }
            4 => {
                actor.now("compact");
                actor.topic("state").compact().and_then(|compaction| compaction.wait()).unwrap();
            }
            5 => {
                actor.now("retain");
                actor.broker.retain().unwrap();
            }
            6 => {
                actor.now("look");
                drop(actor.broker.metrics());
                let table = actor.topic("state").table().unwrap();
                assert!(table.iter().count() <= 50);
            }
            _ => {
                actor.now("look up groups and times");
                if let Ok(described) = actor.broker.group("pipe").and_then(|group| group.describe()) {
                    drop(described);
                }
                let partition = topic.partition(0).unwrap();
                partition.offset_for_timestamp(Timestamp::from_millis(0)).unwrap();
            }
        }
    }
    Book::new(actor.name, "nothing")
}

/// Makes a topic, fills it, deletes its records, deletes it, and makes it again.
pub(super) fn makes_and_deletes(actor: &Actor) -> Book {
    let mut round = 0;
    while actor.goes_on() {
        actor.now("make a topic");
        let config = TopicConfig::new().segment_size(ByteSize::kib(16)).max_record_size(ByteSize::kib(8));
        let config = config.durability(Durability::Memory).retention(Retention::size(ByteSize::kib(64)));
        let topic = actor.broker.create_topic("churn", config).unwrap();
        let producer = topic.producer().unwrap();
        let value = format!("maker {round} {:x<1$}", "", 400);
        let count = actor.below(400);
        for _ in 0..count {
            actor.now("fill it");
            drop(producer.send(Record::new(&value)).unwrap());
        }
        producer.flush().wait().unwrap();
        let partition = topic.partition(0).unwrap();
        let mut reader = partition.reader(Start::Last(5)).unwrap();
        while let Ok(Some(records)) = reader.next() {
            records.iter().for_each(|record| assert_eq!(record.value().unwrap(), Some(value.as_bytes())));
        }
        let to = partition.log_start_offset().get().max(count / 2);
        actor.now("delete records");
        partition.delete_records(Offset::new(to).unwrap()).unwrap();
        actor.now("delete the topic");
        actor.broker.delete_topic("churn").unwrap();
        assert_eq!(producer.send(Record::new("late")).map(drop).unwrap_err().kind(), ErrorKind::Closed);
        round += 1;
    }
    Book::new(actor.name, "nothing")
}

/// Looks from outside: nothing is corrupt.
pub(super) fn observer(actor: &Actor) -> Book {
    while actor.goes_on() {
        actor.now("verify from outside");
        let observer = Observer::open(&actor.path).unwrap();
        assert!(observer.is_live().unwrap());
        let report = observer.verify(|_| {}).unwrap();
        let corrupt: Vec<_> =
            report.findings().iter().filter(|found| found.verdict() == Verdict::Corrupt).collect();
        assert!(corrupt.is_empty(), "{corrupt:?}");
        actor.now("describe from outside");
        let name = ["events", "state", "out", "churn"][actor.below(4) as usize];
        let described = match observer.describe(name) {
            Ok(described) => described,
            Err(error) if name == "churn" => {
                actor.now(error);
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        for part in described.partitions() {
            assert!(part.log_start_offset() <= part.high_watermark(), "{part:?}");
            assert!(part.high_watermark() <= part.log_end_offset(), "{part:?}");
        }
        actor.now(format!("read {name} from outside"));
        if name != "churn" {
            let mut records = observer.read(name, 0, ..).unwrap();
            let mut last = None;
            while let Some(record) = records.next().unwrap() {
                let before = last.replace(record.offset());
                assert!(before < Some(record.offset()), "{name}: {before:?}, {}", record.offset());
            }
        }
        observer.watch().look().unwrap();
        observer
            .group("pipe")
            .map(drop)
            .or_else(|error| match error.kind() {
                ErrorKind::GroupNotFound => Ok(()),
                _ => Err(error),
            })
            .unwrap();
        observer.transactions().unwrap();
    }
    Book::new(actor.name, "nothing")
}
