//! The table: a topic as a map, its snapshots, and appends that expect a version.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::ErrorKind;
use millpond::codec::U64;
use millpond::config::{Background, BrokerConfig, CleanupPolicy};
use millpond::env::sim::SimEnvironment;
use millpond::prelude::*;
use millpond::table::Expected;

fn compacted() -> TopicConfig {
    TopicConfig::new().cleanup_policy(CleanupPolicy::Compact).segment_size(ByteSize::kib(8)).partitions(3)
}

const COUNTS: TopicDef<Utf8, U64> = TopicDef::new("counts").settings(compacted);

/// A broker in which nothing happens by itself.
fn open(sim: &SimEnvironment) -> Broker {
    let config = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").config(config).environment(sim.environment()).open().unwrap()
}

fn send(topic: &Topic<Utf8, U64>, key: &str, value: Option<u64>) {
    let producer = topic.producer().unwrap();
    match value {
        Some(value) => producer.send(Record::new(&value).key(key)).unwrap().wait().unwrap(),
        None => producer.send(Record::tombstone().key(key)).unwrap().wait().unwrap(),
    };
}

fn content(table: &Table<Utf8, U64>) -> BTreeMap<String, u64> {
    table.iter().map(|entry| (entry.key().unwrap().to_owned(), entry.value().unwrap())).collect()
}

#[test]
fn a_table_is_the_map_that_the_log_describes_with_and_without_a_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.topic(&COUNTS).unwrap();
    let mut expected = BTreeMap::new();
    for round in 0..3u64 {
        for i in 0..120u64 {
            let key = format!("key {}", i % 40);
            let value = (i % 7 != 0).then_some(round * 1000 + i);
            send(&topic, &key, value);
            match value {
                Some(value) => expected.insert(key, value),
                None => expected.remove(&key),
            };
        }
        let table = topic.table().unwrap();
        assert_eq!(content(&table), expected);
        assert_eq!(table.is_from_snapshot(), round > 0);
        table.save_snapshot().unwrap();
        topic.compact().unwrap().wait().unwrap();
        let again = topic.table().unwrap();
        assert!(again.is_from_snapshot(), "a young snapshot stays good through a compaction");
        assert_eq!(content(&again), expected);
    }
    // Damaged it is ignored.
    let path = dir.path().join("counts.table");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let table = topic.table().unwrap();
    assert!(!table.is_from_snapshot());
    assert_eq!(content(&table), expected);
    // With the topic it goes.
    table.save_snapshot().unwrap();
    drop((table, topic));
    broker.delete_topic("counts").unwrap();
    assert!(!path.exists());
    assert!(broker.topic(&COUNTS).unwrap().table().unwrap().is_empty());
}

#[test]
fn a_table_follows_its_topic() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.topic(&COUNTS).unwrap();
    let mut table = topic.table().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..50).for_each(|i| send(&topic, "k", Some(i))));
        while table.get("k").unwrap() != Some(49) {
            assert!(!table.poll().wait().unwrap().is_empty());
        }
    });
    send(&topic, "k", None);
    let changes = table.poll().wait_timeout(Duration::from_secs(20)).unwrap();
    assert!(changes.iter().all(|change| change.is_deletion() && change.raw_key() == b"k"));
    assert!(table.is_empty());
}

/// A snapshot so old that tombstones it has not seen may be gone would bring deleted keys back.
#[test]
fn an_old_snapshot_does_not_bring_deleted_keys_back() {
    let sim = SimEnvironment::new(5);
    let broker = open(&sim);
    let day = Duration::from_secs(86_400);
    let topic = broker.topic(&COUNTS).unwrap();
    for i in 0..30 {
        send(&topic, &format!("{i}"), Some(i));
    }
    topic.table().unwrap().save_snapshot().unwrap();
    send(&topic, "7", None);
    topic.compact().unwrap().wait().unwrap();
    assert!(topic.table().unwrap().is_from_snapshot());
    sim.clock().advance(day + Duration::from_secs(1));
    topic.compact().unwrap().wait().unwrap();
    let table = topic.table().unwrap();
    assert!(!table.is_from_snapshot());
    assert_eq!((table.get("7").unwrap(), table.get("8").unwrap(), table.len()), (None, Some(8), 29));
}

/// What retention deletes is in no table, whether it was there before or is opened then.
#[test]
fn what_retention_deletes_leaves_the_table() {
    let sim = SimEnvironment::new(5);
    let broker = open(&sim);
    let hour = Duration::from_secs(3600);
    let config = compacted().cleanup_policy(CleanupPolicy::CompactAndDelete).retention(Retention::age(hour));
    broker.create_topic("counts", config.partitions(1)).unwrap();
    let topic = broker.topic(&COUNTS).unwrap();
    (0..30).for_each(|i| send(&topic, &format!("{i}"), Some(i)));
    let mut table = topic.table().unwrap();
    let mut polls = topic.table().unwrap();
    sim.clock().advance(2 * hour);
    broker.tick().unwrap();
    send(&topic, "new", Some(1));
    for changes in [table.update().unwrap(), polls.poll().wait().unwrap()] {
        assert_eq!(changes.iter().filter(|change| change.is_deletion()).count(), 30);
    }
    assert_eq!(content(&table), content(&topic.table().unwrap()));
    assert_eq!((content(&polls), table.len()), (content(&table), 1));
}

/// A snapshot is as old as what the table had read, whenever it was written.
#[test]
fn a_new_snapshot_of_an_old_table_does_not_bring_deleted_keys_back() {
    let sim = SimEnvironment::new(5);
    let broker = open(&sim);
    let topic = broker.topic(&COUNTS).unwrap();
    (0..30).for_each(|i| send(&topic, &format!("{i}"), Some(i)));
    let table = topic.table().unwrap();
    send(&topic, "7", None);
    topic.compact().unwrap().wait().unwrap();
    sim.clock().advance(Duration::from_secs(86_401));
    topic.compact().unwrap().wait().unwrap();
    table.save_snapshot().unwrap();
    drop((table, topic));
    broker.close().wait().unwrap();
    drop(broker);
    let mut table = open(&sim).topic(&COUNTS).unwrap().table().unwrap();
    assert_eq!((table.get("7").unwrap(), table.len(), table.is_from_snapshot()), (None, 29, false));
    table.update().unwrap();
    table.save_snapshot().unwrap();
    drop(table);
    assert!(open(&sim).topic(&COUNTS).unwrap().table().unwrap().is_from_snapshot());
}

/// What has gone counts, and not how long tombstones stay by now: they may have been to go sooner.
#[test]
fn a_snapshot_does_not_bring_deleted_keys_back_where_tombstones_stay_longer_now() {
    let sim = SimEnvironment::new(5);
    let broker = open(&sim);
    let topic = broker.topic(&COUNTS).unwrap();
    let stay = |seconds| topic.config().delete_retention(Duration::from_secs(seconds));
    broker.alter_topic(topic.name(), stay(30)).unwrap();
    (0..30).for_each(|i| send(&topic, &format!("{i}"), Some(i)));
    topic.table().unwrap().save_snapshot().unwrap();
    send(&topic, "7", None);
    topic.compact().unwrap().wait().unwrap();
    broker.alter_topic(topic.name(), stay(86_400)).unwrap();
    assert!(topic.table().unwrap().is_from_snapshot(), "the tombstone is there");
    sim.clock().advance(Duration::from_secs(31));
    topic.compact().unwrap().wait().unwrap();
    drop(topic);
    broker.close().wait().unwrap();
    drop(broker);
    let table = open(&sim).topic(&COUNTS).unwrap().table().unwrap();
    assert_eq!((table.get("7").unwrap(), table.len(), table.is_from_snapshot()), (None, 29, false));
}

/// A table that has not been looked at for as long as tombstones stay is told all the same what was deleted.
#[test]
fn a_table_that_is_far_behind_misses_no_deletion() {
    for poll in [false, true] {
        let sim = SimEnvironment::new(5);
        let broker = open(&sim);
        let day = Duration::from_secs(86_400);
        let topic = broker.topic(&COUNTS).unwrap();
        let fill = |from: u64| (from..from + 30).for_each(|i| send(&topic, &format!("{i}"), Some(i)));
        fill(0);
        let mut table = topic.table().unwrap();
        // Enough for other segments than the one that the table is at.
        for _ in 0..20 {
            fill(100);
        }
        send(&topic, "7", None);
        fill(200);
        topic.compact().unwrap().wait().unwrap();
        sim.clock().advance(day + Duration::from_secs(1));
        topic.compact().unwrap().wait().unwrap();
        let expected = content(&topic.table().unwrap());
        let changes = match poll {
            true => table.poll().wait().unwrap(),
            false => table.update().unwrap(),
        };
        assert!(changes.iter().any(|change| change.is_deletion() && change.raw_key() == b"7"));
        assert_eq!((table.get("7").unwrap(), content(&table)), (None, expected));
        // It is not looked for again and again.
        assert!(table.update().unwrap().is_empty());
        send(&topic, "8", None);
        assert_eq!(table.update().unwrap().len(), 1);
        assert_eq!(table.len(), 88);
    }
}

#[test]
fn a_wrong_version_is_refused_with_the_actual_one() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.topic(&COUNTS).unwrap();
    let mut table = topic.table().unwrap();
    let first = table.append_if(Expected::Absent, Record::new(&1).key("k")).unwrap();
    let conflict = |error: millpond::Error, actual| {
        assert_eq!(error.kind(), ErrorKind::VersionConflict { actual }, "{error}");
    };
    conflict(table.append_if(Expected::Absent, Record::new(&2).key("k")).unwrap_err(), Some(first));
    // Somebody else sends: the table that has not heard of it refuses all the same.
    send(&topic, "k", Some(3));
    let error = table.append_if(Expected::Version(first), Record::new(&4).key("k")).unwrap_err();
    let actual = table.entry("k").unwrap().unwrap().offset();
    conflict(error, Some(actual));
    let gone = table.append_if(Expected::Version(actual), Record::tombstone().key("k")).unwrap();
    conflict(table.append_if(Expected::Version(gone), Record::new(&5).key("k")).unwrap_err(), None);
    topic.compact().unwrap().wait().unwrap();
    table.append_if(Expected::Absent, Record::new(&6).key("k")).unwrap();
}

/// Counters that many raise at once: no increment is lost, which is what the expected version is for.
#[test]
fn concurrent_increments_are_never_lost() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let config = compacted().durability(Durability::Memory).partitions(1);
    let topic = broker.create_topic("numbers", config).unwrap();
    const EACH: u64 = 60;
    std::thread::scope(|scope| {
        for worker in 0..3u64 {
            let topic = topic.clone();
            scope.spawn(move || {
                let mut table = topic.table().unwrap();
                for i in 0..EACH {
                    let key = [b'a' + ((worker + i) % 2) as u8];
                    loop {
                        let entry =
                            table.entry(&key[..]).unwrap().map(|e| (e.offset(), e.raw_value().to_vec()));
                        let (expected, count) = match entry {
                            None => (Expected::Absent, 0),
                            Some((offset, value)) => {
                                (Expected::Version(offset), u64::from_be_bytes(value.try_into().unwrap()))
                            }
                        };
                        let next = (count + 1).to_be_bytes();
                        match table.append_if(expected, Record::new(&next[..]).key(&key[..])) {
                            Ok(_) => break,
                            Err(e) => assert!(matches!(e.kind(), ErrorKind::VersionConflict { .. }), "{e}"),
                        }
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..5 {
                topic.compact().unwrap().wait().unwrap();
            }
        });
    });
    let table = topic.table().unwrap();
    let total: u64 = table.iter().map(|e| u64::from_be_bytes(e.raw_value().try_into().unwrap())).sum();
    assert_eq!(total, 3 * EACH);
}

/// A conditional append is a record as any other of the topic: compressed, stamped by its clock, with the headers that
/// name another codec, and no larger than the topic allows.
#[cfg(feature = "gzip")]
#[test]
fn a_conditional_append_does_what_the_topics_settings_ask_for() {
    use millpond::config::{Compression, TimestampType};

    let sim = SimEnvironment::new(7);
    let broker = open(&sim);
    fn settings() -> TopicConfig {
        let gzip = Compression::Gzip { level: None };
        let config = TopicConfig::new().compression(gzip).timestamp_type(TimestampType::LogAppend);
        config.max_record_size(ByteSize::kib(64))
    }
    const MINE: TopicDef<Utf8, Utf8> = TopicDef::new("texts").settings(settings);
    let mut table = broker.topic(&MINE).unwrap().table().unwrap();
    let long = "again and ".repeat(1000);
    let old = Timestamp::from_millis(1);
    table.append_if(Expected::Absent, Record::new(&long).key("long").timestamp(old)).unwrap();
    assert_eq!(table.get("long").unwrap(), Some(&*long));
    let size = broker.topic("texts").unwrap().describe().size_bytes();
    assert!(size < 1000, "{size} bytes of 10,000 that repeat themselves");
    assert_eq!(table.entry("long").unwrap().unwrap().timestamp(), sim.environment().clock().now());

    let mut raw = broker.topic("texts").unwrap().table().unwrap();
    raw.append_if(Expected::Absent, Record::new("by bytes").key("raw")).unwrap();
    let mut reader = broker.topic("texts").unwrap().partition(0).unwrap().read(..).unwrap();
    let mut headers = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        headers.extend(records.iter().map(|record| record.headers().count()));
    }
    assert_eq!(headers, [0, 2], "the one that is not in the topic's own codec says so");

    let huge = "x".repeat(70_000);
    let error = table.append_if(Expected::Absent, Record::new(&huge).key("huge")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RecordTooLarge { .. }), "{error}");
}
