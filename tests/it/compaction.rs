//! Compaction through the public API: what is refused, what readers see meanwhile, what survives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use millpond::broker::Verdict;
use millpond::config::{Background, BrokerConfig, CleanupPolicy, ReadMode};
use millpond::env::sim::SimEnvironment;
use millpond::prelude::*;
use millpond::types::TopicPartition;
use millpond::{ErrorKind, Observer, TopicName};

fn compacted() -> TopicConfig {
    TopicConfig::new()
        .cleanup_policy(CleanupPolicy::Compact)
        .segment_size(ByteSize::kib(16))
        .batch_size(ByteSize::kib(1))
        .durability(Durability::Memory)
}

fn read_all(topic: &Topic) -> Vec<(u64, String, Option<String>)> {
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut all = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        for record in &records {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let key = text(record.key().unwrap().unwrap());
            all.push((record.offset().get(), key, record.value().unwrap().map(text)));
        }
    }
    all
}

fn latest(all: &[(u64, String, Option<String>)]) -> BTreeMap<String, Option<String>> {
    all.iter().map(|(_, key, value)| (key.clone(), value.clone())).collect()
}

#[test]
fn records_without_a_key_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("t", compacted()).unwrap();
    let producer = topic.producer().unwrap();
    let refused = |error: millpond::Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("each record needs a key"), "{error}");
    };
    refused(producer.send(Record::new("no key")).unwrap_err());
    refused(producer.send_batch([Record::new("a"), Record::new("b")]).unwrap_err());
    let partition = topic.partition(0).unwrap();
    let end = || partition.high_watermark();
    refused(partition.append_expecting(end(), [Record::new("a")]).unwrap_err());
    producer.send(Record::new("kept").key("k")).unwrap().wait().unwrap();
    let kept = [Record::new("kept, too").key("k")];
    partition.append_expecting(end(), kept).unwrap().wait().unwrap();
    assert_eq!(end(), Offset::new(2).unwrap());
    let error = broker.create_topic("other", TopicConfig::new()).unwrap().compact().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let both = compacted().retention(Retention::age(Duration::from_secs(1)));
    assert_eq!(broker.create_topic("both", both.clone()).unwrap_err().kind(), ErrorKind::InvalidConfig);
    broker.create_topic("both", both.cleanup_policy(CleanupPolicy::CompactAndDelete)).unwrap();
}

/// The producer looks at its records while the topic takes any; when it hands them over, each needs a key.
#[test]
fn a_batch_begun_before_its_topic_was_compacted_needs_keys_too() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for (name, keys) in [("keyed", ["k", "l"].as_slice()), ("unkeyed", &[])] {
        let anything = compacted().cleanup_policy(CleanupPolicy::Delete);
        let topic = broker.create_topic(name, anything).unwrap();
        let producer = topic.producer().unwrap();
        let compact_at = |n| {
            if n == 1 {
                broker.alter_topic(name, compacted()).unwrap()
            }
        };
        let sent = if keys.is_empty() {
            producer.send_batch((0..2).inspect(|n| compact_at(*n)).map(|_| Record::new("value")))
        } else {
            producer.send_batch((0..2).inspect(|n| compact_at(*n)).map(|n| Record::new("value").key(keys[n])))
        };
        match sent {
            Ok(delivery) => assert_eq!((name, delivery.wait().unwrap()[0].count()), ("keyed", 2)),
            Err(error) => {
                assert_eq!((name, error.kind()), ("unkeyed", ErrorKind::InvalidArgument));
                assert!(read_all(&topic).is_empty());
            }
        }
    }
}

#[test]
fn the_latest_of_each_key_stays_also_after_a_reopening() {
    for mode in [ReadMode::Mapped, ReadMode::Buffered] {
        let dir = tempfile::tempdir().unwrap();
        let open = || Broker::builder(dir.path()).config(BrokerConfig::new().read_mode(mode)).open().unwrap();
        let broker = open();
        let topic = broker.create_topic("t", compacted()).unwrap();
        let producer = topic.producer().unwrap();
        for i in 0..3000u32 {
            let (key, value) = (format!("key {}", i % 50), format!("{i} {}", "v".repeat(40)));
            drop(producer.send(Record::new(value.as_str()).key(key.as_str())).unwrap());
        }
        producer.flush().wait().unwrap();
        let mut half = topic.partition(0).unwrap().read(Offset::new(1500).unwrap()..).unwrap();
        let first = half.next().unwrap().unwrap();
        let before = read_all(&topic);
        assert_eq!(before.len(), 3000);
        let told = Arc::new(AtomicBool::new(false));
        let hears = told.clone();
        let running = topic.compaction().unwrap().on_progress(move |progress| {
            assert!(progress.bytes_done() <= progress.bytes_total());
            hears.store(true, Ordering::Relaxed);
        });
        let report = running.start().wait().unwrap();
        assert!(told.load(Ordering::Relaxed));
        assert_eq!((report.records_before(), report.records_after(), report.keys()), (3000, 50, 50));
        assert!(report.bytes_after() * 10 < report.bytes_before());
        let after = read_all(&topic);
        assert_eq!(
            after.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(),
            (2950..3000).collect::<Vec<_>>()
        );
        assert_eq!(latest(&after), latest(&before));
        // What was lent before is still there, and its reader goes on to the end.
        assert_eq!(first.iter().next().unwrap().offset().get(), 1500);
        let mut last = 0;
        while let Some(records) = half.next().unwrap() {
            last = records.iter().last().map_or(last, |record| record.offset().get());
        }
        assert_eq!(last, 2999);
        producer.send(Record::tombstone().key("key 7")).unwrap().wait().unwrap();
        drop((first, half, producer, topic));
        broker.close().wait().unwrap();
        drop(broker);
        let broker = open();
        assert!(broker.recovery().was_clean());
        let topic = broker.topic("t").unwrap();
        assert_eq!(latest(&read_all(&topic))["key 7"], None);
        topic.compact().unwrap().wait().unwrap();
        assert_eq!(read_all(&topic).len(), 50, "49 values and a tombstone");
        let described = topic.describe();
        assert_eq!(described.partitions()[0].compacted_to().get(), 3001);
        let verified = Observer::open(dir.path()).unwrap().verify(|_| {}).unwrap();
        assert_ne!(verified.verdict(), Verdict::Corrupt, "{:?}", verified.findings());
    }
}

/// Readers from the start, readers at the end, a producer and compactions, all at once.
#[test]
fn readers_and_producers_go_on_while_segments_are_exchanged() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("t", compacted()).unwrap();
    let (stop, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    const KEYS: u32 = 40;
    let send = |producer: &Producer, i: u32| {
        let (key, value) = (format!("{}", i % KEYS), format!("{i}"));
        drop(producer.send(Record::new(value.as_str()).key(key.as_str())).unwrap());
    };
    let producer = topic.producer().unwrap();
    (0..KEYS).for_each(|i| send(&producer, i));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut i = KEYS;
            while !stop.load(Ordering::Relaxed) {
                // A few segments for each round, so that readers reach the end.
                if i < KEYS + 3000 * (1 + rounds.load(Ordering::Relaxed)) {
                    send(&producer, i);
                    i += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let mut readers = Vec::new();
        for _ in 0..2 {
            readers.push(scope.spawn(|| {
                let mut times = 0;
                while !stop.load(Ordering::Relaxed) {
                    let all = read_all(&topic);
                    assert_eq!(latest(&all).len(), KEYS as usize, "a key is missing");
                    assert!(all.windows(2).all(|two| two[0].0 < two[1].0));
                    for (_, key, value) in &all {
                        let value: u32 = value.as_ref().unwrap().parse().unwrap();
                        assert_eq!(key, &format!("{}", value % KEYS));
                    }
                    times += 1;
                }
                times
            }));
        }
        for _ in 0..12 {
            topic.compact().unwrap().wait().unwrap();
            rounds.fetch_add(1, Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() > 0));
    });
}

#[test]
fn a_topic_may_be_deleted_while_it_is_compacted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for round in 0..5 {
        let topic = broker.create_topic("t", compacted()).unwrap();
        let producer = topic.producer().unwrap();
        for i in 0..3000u32 {
            drop(producer.send(Record::new(&[b'v'; 50]).key(&i.to_be_bytes())).unwrap());
        }
        let compaction = topic.compact().unwrap();
        (0..round * 300).for_each(|_| std::thread::yield_now());
        broker.delete_topic("t").unwrap();
        if let Err(error) = compaction.wait() {
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        }
    }
    broker.close().wait().unwrap();
}

/// The background compacts by itself once half of a log is new, and not before.
#[test]
fn the_background_compacts_what_is_dirty_enough() {
    let sim = SimEnvironment::new(5);
    let config = BrokerConfig::new().background(Background::Manual);
    let open = |config: BrokerConfig| {
        Broker::builder("/data").config(config).environment(sim.environment()).open().unwrap()
    };
    let broker = open(config);
    let topic = broker.create_topic("t", compacted()).unwrap();
    let producer = topic.producer().unwrap();
    let send = |n: u32| {
        for i in 0..n {
            let key = format!("{}", i % 10);
            producer.send(Record::new(&[b'v'; 100]).key(key.as_str())).unwrap().wait().unwrap();
        }
    };
    let pass = || {
        topic.partition(0).unwrap();
        for _ in 0..3 {
            sim.clock().advance(Duration::from_secs(16));
            broker.tick().unwrap();
        }
    };
    let state = || topic.describe().partitions()[0].clone();
    send(1000);
    // The recovery point follows the flush of level Memory, after 30 s.
    pass();
    pass();
    let cleaned = state().compacted_to().get();
    assert!(cleaned > 800, "{cleaned}");
    let left = read_all(&topic).len();
    assert!(left < 200, "{left}");
    pass();
    assert_eq!(state().compacted_to().get(), cleaned, "nothing new, nothing to do");
}

/// Segments that compaction has put together are as old as the newest record in them: where age deletes they are put
/// together only as far as they were appended within that age.
#[test]
fn what_is_compacted_grows_old_all_the_same() {
    let sim = SimEnvironment::new(3);
    let config = BrokerConfig::new().background(Background::Manual);
    let broker = Broker::builder("/data").config(config).environment(sim.environment()).open().unwrap();
    let day = Duration::from_secs(86_400);
    let config = compacted().cleanup_policy(CleanupPolicy::CompactAndDelete);
    let topic = broker.create_topic("t", config.retention(Retention::age(day))).unwrap();
    for n in 0..60u64 {
        let key = n.to_be_bytes();
        topic.producer().unwrap().send(Record::new("x").key(&key)).unwrap().wait().unwrap();
        topic.compact().unwrap().wait().unwrap();
        sim.clock().advance(day / 6);
        broker.tick().unwrap();
        let start = topic.partition(0).unwrap().log_start_offset().get();
        assert!(n - start <= 13, "none stays for more than two days: {start} at {n}");
        assert!(n < 20 || n - start >= 5, "each stays for a day: {start} at {n}");
    }
}

/// Offsets committed a thousand times take the room of the last ones, and a broker that opens finds them.
#[test]
fn what_groups_have_committed_survives_the_compaction_of_its_topic() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new().compaction_interval(Duration::from_secs(3600));
    let broker = Broker::builder(dir.path()).config(config).open().unwrap();
    let topic = broker.create_topic("orders", TopicConfig::new().partitions(2)).unwrap();
    let producer = topic.producer().unwrap();
    let mut consumer = broker.group("billing").unwrap().join("orders").unwrap();
    for i in 0..60 {
        producer.send(Record::new(&[i as u8]).partition(i % 2)).unwrap().wait().unwrap();
        let records = consumer.poll().wait_timeout(Duration::from_secs(20)).unwrap();
        consumer.commit(&records).wait().unwrap();
    }
    let offsets = broker.topic("__consumer_offsets").unwrap();
    let before = offsets.describe().size_bytes();
    offsets.compact().unwrap().wait().unwrap();
    assert!(offsets.describe().size_bytes() * 4 < before, "{} of {before}", offsets.describe().size_bytes());
    drop((consumer, producer, topic, offsets));
    broker.close().wait().unwrap();
    drop(broker);
    let broker = Broker::open(dir.path()).unwrap();
    let group = broker.group("billing").unwrap();
    for number in 0..2 {
        let tp = TopicPartition::new(TopicName::new("orders").unwrap(), number);
        assert_eq!(group.committed(&tp).unwrap().unwrap().offset().get(), 30);
    }
}

/// More segments than files may be open: a compaction closes what it has been through.
#[test]
fn a_compaction_keeps_few_files_open() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new().max_open_segments(16);
    let broker = Broker::builder(dir.path()).config(config).open().unwrap();
    let topic = broker.create_topic("t", compacted().segment_size(ByteSize::kib(2))).unwrap();
    let producer = topic.producer().unwrap();
    for i in 0..1500u32 {
        drop(producer.send(Record::new(&[b'v'; 100]).key(&(i % 700).to_be_bytes())).unwrap());
    }
    assert!(topic.describe().partitions()[0].segment_count() > 70);
    let most = Arc::new(AtomicU64::new(0));
    let (seen, asked) = (most.clone(), broker.clone());
    let running = topic.compaction().unwrap().on_progress(move |_| {
        seen.fetch_max(asked.open_segments(), Ordering::Relaxed);
    });
    running.start().wait().unwrap();
    let most = most.load(Ordering::Relaxed);
    assert!(most <= 50, "{most} files were open at once");
}

#[test]
fn times_are_found_after_each_compaction() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("t", compacted()).unwrap();
    let producer = topic.producer().unwrap();
    let partition = topic.partition(0).unwrap();
    for round in 0..3u32 {
        for i in 0..1500u32 {
            let at = i64::from(round * 1500 + i) + if i % 400 == 0 { 5_000 } else { 0 };
            let (key, value) = (format!("key {}", i % (700 - round * 200)), "v".repeat(60));
            let record = Record::new(value.as_str()).key(key.as_str()).timestamp(Timestamp::from_millis(at));
            drop(producer.send(record).unwrap());
        }
        producer.flush().wait().unwrap();
        for _ in 0..2 {
            let mut times = Vec::new();
            let mut reader = partition.read(..).unwrap();
            while let Some(records) = reader.next().unwrap() {
                times.extend(records.iter().map(|record| (record.offset(), record.timestamp())));
            }
            for t in (0..10_000).step_by(61).map(Timestamp::from_millis) {
                let expected = times.iter().copied().find(|&(_, time)| time >= t);
                assert_eq!(partition.offset_for_timestamp(t).unwrap(), expected, "{t:?} in round {round}");
            }
            topic.compact().unwrap().wait().unwrap();
        }
    }
}
