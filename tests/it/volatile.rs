//! Volatile topics: the same partition without a disk, bounded by bytes; the oldest go, or senders wait.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use millpond::config::{BrokerConfig, Compression, Overflow, ProducerConfig, Volatile};
use millpond::prelude::*;
use millpond::{ErrorKind, LogFile, TopicName, TopicPartition};

const BOUND: ByteSize = ByteSize::kib(512);

fn open() -> (tempfile::TempDir, Broker) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    (dir, broker)
}

fn dropping() -> TopicConfig {
    TopicConfig::new().volatile(Volatile::drop_oldest(BOUND))
}

fn waiting() -> TopicConfig {
    TopicConfig::new().volatile(Volatile::senders_wait(BOUND))
}

fn tp(topic: &str) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), 0)
}

fn size(topic: &Topic) -> u64 {
    topic.partition(0).unwrap().size_bytes()
}

/// Sends records of 100 bytes, without waiting for each, until there is no room; answers how many.
fn fill(topic: &Topic) -> u64 {
    let producer = topic.producer().unwrap();
    let mut sent = 0;
    loop {
        match producer.try_send(Record::new(&[7u8; 100])) {
            Ok(delivery) => drop(delivery),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Backpressure);
                return sent;
            }
        }
        sent += 1;
        assert!(sent < 100_000, "a bound that does not hold");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        found.push(entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(names(&entry.path()));
        }
    }
    found
}

#[test]
fn the_same_calls_work_and_nothing_of_it_is_on_the_disk() {
    let (dir, broker) = open();
    let bus = broker.create_topic("bus", dropping().partitions(2)).unwrap();
    assert!(bus.describe().is_volatile());
    let producer = bus.producer().unwrap();
    let mut tail = bus.read(Start::Latest).unwrap();
    let stored = producer.send(Record::new("one").key("k").header("h", "x")).unwrap().wait().unwrap();
    assert_eq!(stored.offset(), Offset::ZERO);
    let many = (0..100).map(|n| Record::new("more").key("k").timestamp(Timestamp::from_millis(n)));
    producer.send_batch(many).unwrap().wait().unwrap();

    let partition = bus.partition(stored.partition()).unwrap();
    let mut seen = 0;
    while let Some(records) = tail.next().unwrap() {
        seen += records.iter().count();
    }
    assert_eq!(seen, 101);
    let mut reader = partition.read(Offset::ZERO..).unwrap();
    let records = reader.next().unwrap().unwrap();
    let first = records.iter().next().unwrap();
    assert_eq!((first.value().unwrap(), first.key().unwrap()), (Some(&b"one"[..]), Some(&b"k"[..])));
    let found = partition.offset_for_timestamp(Timestamp::from_millis(50)).unwrap();
    assert!(found.is_some());

    broker.add_partitions("bus", 3).unwrap();
    broker.alter_topic("bus", bus.config().linger(Duration::ZERO)).unwrap();
    assert_eq!((bus.partition_count(), bus.config().linger_duration()), (3, Duration::ZERO));
    let ten = Offset::new(10).unwrap();
    assert_eq!(partition.delete_records(ten).unwrap(), ten);
    assert_eq!(
        partition.read(Offset::ZERO..).unwrap_err().kind(),
        ErrorKind::OffsetOutOfRange {
            requested: Offset::ZERO,
            earliest: ten,
            latest: Offset::new(101).unwrap(),
        }
    );
    assert_eq!(partition.truncate(ten).unwrap_err().kind(), ErrorKind::InvalidArgument);
    broker.tick().unwrap();

    let of_it: Vec<String> = names(dir.path()).into_iter().filter(|name| name.contains("bus")).collect();
    assert_eq!(of_it, Vec::<String>::new());
    broker.delete_topic("bus").unwrap();
    assert_eq!(producer.send(Record::new("late")).unwrap_err().kind(), ErrorKind::Closed);
    assert!(broker.topics().is_empty());
}

#[test]
fn it_is_gone_after_a_restart_and_leaves_the_others_alone() {
    let (dir, broker) = open();
    let bus = broker.create_topic("bus", dropping()).unwrap();
    drop(bus.producer().unwrap().send(Record::new("x")).unwrap());
    drop(bus);
    let kept = broker.create_topic("kept", TopicConfig::new()).unwrap();
    kept.producer().unwrap().send(Record::new("y")).unwrap().wait().unwrap();
    broker.close().wait().unwrap();
    drop(kept);

    let broker = Broker::open(dir.path()).unwrap();
    assert!(broker.recovery().was_clean());
    assert_eq!(broker.topics(), [TopicName::new("kept").unwrap()]);
    assert_eq!(broker.topic("bus").unwrap_err().kind(), ErrorKind::TopicNotFound);
    // The name is free for either kind, but for one at a time.
    broker.create_topic("bus", TopicConfig::new()).unwrap();
    assert_eq!(broker.create_topic("bus", dropping()).unwrap_err().kind(), ErrorKind::TopicExists);
    broker.create_topic("other", dropping()).unwrap();
    assert_eq!(broker.create_topic("other", TopicConfig::new()).unwrap_err().kind(), ErrorKind::TopicExists);
}

#[test]
fn records_that_are_looked_at_do_not_hold_the_directory() {
    let (dir, broker) = open();
    let bus = broker.create_topic("bus", dropping()).unwrap();
    bus.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
    let mut reader = bus.read(Start::Earliest).unwrap();
    let records = reader.next().unwrap().unwrap();
    broker.close().wait().unwrap();
    drop((reader, bus, broker));
    let again = Broker::open(dir.path()).unwrap();
    assert_eq!(records.iter().next().unwrap().value().unwrap(), Some(&b"x"[..]));
    drop(again);
}

#[test]
fn a_million_records_and_the_oldest_go() {
    let (_dir, broker) = open();
    let bus = broker.create_topic("bus", dropping()).unwrap();
    let producer = bus.producer().unwrap();
    let mut behind = bus.partition(0).unwrap().read(Offset::ZERO..).unwrap();
    let (value, mut most) = ([7u8; 20], 0);
    for round in 0..1_000 {
        for _ in 0..1_000 {
            drop(producer.send(Record::new(&value)).unwrap());
        }
        most = most.max(size(&bus));
        if round % 100 == 0 {
            assert!(producer.try_send(Record::new(&value)).is_ok(), "there is always room");
        }
    }
    producer.flush().wait().unwrap();
    let partition = bus.partition(0).unwrap();
    assert_eq!(partition.log_end_offset().get(), 1_000_010);
    assert!(most <= BOUND.as_u64(), "{most}");
    assert!(most > BOUND.as_u64() / 2, "what has room is kept: {most}");

    let error = behind.next().unwrap_err();
    let ErrorKind::OffsetOutOfRange { requested, earliest, .. } = error.kind() else { panic!("{error}") };
    assert_eq!((requested, earliest), (Offset::ZERO, partition.log_start_offset()));
    let mut reader = bus.read(Start::Earliest).unwrap();
    let mut next = partition.log_start_offset();
    while let Some(records) = reader.next().unwrap() {
        for record in &records {
            assert_eq!((record.offset(), record.value().unwrap()), (next, Some(&value[..])));
            next = next.next();
        }
    }
    assert_eq!(next.get(), 1_000_010);
}

#[test]
fn a_million_records_through_a_group_and_senders_wait() {
    let (_dir, broker) = open();
    let bus = broker.create_topic("bus", waiting()).unwrap();
    let mut consumer = broker.group("g").unwrap().join("bus").unwrap();
    let producer = bus.producer().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..1_000_000u64 {
                drop(producer.send(Record::new(&number.to_be_bytes())).unwrap());
            }
            producer.flush().wait().unwrap();
        });
        let (mut next, mut most) = (0u64, 0);
        while next < 1_000_000 {
            let records = consumer.poll().wait().unwrap();
            for record in &records {
                assert_eq!(record.value().unwrap(), Some(&next.to_be_bytes()[..]), "nothing is lost");
                next += 1;
            }
            most = most.max(size(&bus));
            drop(consumer.commit(&records));
        }
        assert!(most <= BOUND.as_u64(), "{most}");
    });
    assert!(bus.partition(0).unwrap().log_start_offset() > Offset::ZERO);
}

#[test]
fn senders_wait_until_room_is_made() {
    let (_dir, broker) = open();
    let bus = broker.create_topic("bus", waiting()).unwrap();
    let sent = fill(&bus);
    let held = size(&bus);
    assert!(held <= BOUND.as_u64() && held > BOUND.as_u64() * 3 / 4, "{held}");

    let partition = bus.partition(0).unwrap();
    let (done, outcome) = mpsc::channel();
    std::thread::scope(|scope| {
        let producer = bus.producer().unwrap();
        let ready = producer.ready();
        scope.spawn(move || {
            // Of two waiting ones, one in `send`, one through `ready`.
            done.send(producer.send(Record::new(&[8u8; 100])).map(drop)).unwrap();
        });
        assert!(outcome.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
        partition.delete_records(Offset::new(sent / 2).unwrap()).unwrap();
        outcome.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
        ready.wait().unwrap();
    });
    assert!(fill(&bus) > sent / 4, "there is room again");
}

#[test]
fn who_waits_for_room_too_long_or_in_vain_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new().max_block(Duration::from_millis(20));
    let broker = Broker::builder(dir.path()).config(config).open().unwrap();
    let bus = broker.create_topic("bus", waiting()).unwrap();
    fill(&bus);
    let producer = bus.producer().unwrap();
    assert_eq!(producer.send(Record::new(&[8u8; 100])).unwrap_err().kind(), ErrorKind::TimedOut);

    let patient = ProducerConfig::new().max_block(Duration::from_secs(60));
    let producer = bus.producer_builder().config(patient).build().unwrap();
    let (done, outcome) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || done.send(producer.send(Record::new(&[8u8; 100])).map(drop)).unwrap());
        assert!(outcome.recv_timeout(Duration::from_millis(20)).is_err(), "it waits");
        broker.delete_topic("bus").unwrap();
        let released = outcome.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(released.unwrap_err().kind(), ErrorKind::Closed);
    });
}

#[test]
fn room_comes_with_what_every_group_has_committed() {
    let (_dir, broker) = open();
    let bus = broker.create_topic("bus", waiting()).unwrap();
    let mut fast = broker.group("fast").unwrap().join("bus").unwrap();
    let slow = broker.group("slow").unwrap().join("bus").unwrap();
    let sent = fill(&bus);
    let mut seen = 0;
    while seen < sent {
        let records = fast.poll().wait().unwrap();
        seen += records.iter().count() as u64;
        fast.commit(&records).wait().unwrap();
    }
    let producer = bus.producer().unwrap();
    let refused = producer.try_send(Record::new(&[8u8; 100])).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Backpressure, "the slow one has seen nothing");
    let partition = bus.partition(0).unwrap();
    assert_eq!(partition.log_start_offset(), Offset::ZERO);

    // Half of it: the other half stays, whatever the fast one has.
    slow.close().wait().unwrap();
    broker.group("slow").unwrap().reset("bus", Offset::new(sent / 2).unwrap()).unwrap();
    assert!(fill(&bus) > sent / 4);
    let start = partition.log_start_offset().get();
    assert!(start > sent / 4 && start <= sent / 2, "{start} of {sent}");

    broker.group("slow").unwrap().delete().unwrap();
    assert!(fill(&bus) > 0, "a group that is deleted holds nobody up");
    assert!(partition.log_start_offset().get() > sent / 2);
    assert!(partition.log_start_offset().get() <= sent, "never above what the fast one has committed");
}

#[test]
fn a_group_that_is_away_and_deleted_holds_nobody_up() {
    let (_dir, broker) = open();
    let bus = broker.create_topic("bus", waiting()).unwrap();
    let mut fast = broker.group("fast").unwrap().join("bus").unwrap();
    let away = broker.group("away").unwrap().instance_id("it will come back").unwrap();
    away.join("bus").unwrap().close().wait().unwrap();
    let sent = fill(&bus);
    let mut seen = 0;
    while seen < sent {
        let records = fast.poll().wait().unwrap();
        seen += records.iter().count() as u64;
        fast.commit(&records).wait().unwrap();
    }
    assert_eq!(fill(&bus), 0, "whoever is away has seen nothing");
    broker.group("away").unwrap().delete().unwrap();
    assert!(fill(&bus) > 0);
}

#[test]
fn offsets_are_in_memory_and_lag_is_known() {
    let (dir, broker) = open();
    let bus = broker.create_topic("bus", dropping()).unwrap();
    bus.producer().unwrap().send_batch(["a", "b", "c"].map(Record::new)).unwrap().wait().unwrap();
    let mut consumer = broker.group("g").unwrap().join("bus").unwrap();
    let records = consumer.poll().wait().unwrap();
    let two = Offset::new(2).unwrap();
    let at = millpond::group::OffsetAndMetadata::new(two).metadata("note");
    consumer.commit_offset(&tp("bus"), at).wait().unwrap();
    drop(records);
    consumer.close().wait().unwrap();
    let group = broker.group("g").unwrap();
    let committed = group.committed(&tp("bus")).unwrap().unwrap();
    assert_eq!((committed.offset(), committed.metadata_text()), (two, "note"));
    assert_eq!(group.lag().unwrap().iter().map(|lag| lag.records()).collect::<Vec<_>>(), [1]);
    let mut again = broker.group("g").unwrap().join("bus").unwrap();
    assert_eq!(again.poll().wait().unwrap().iter().next().unwrap().offset(), two);
    again.close().wait().unwrap();

    // Another topic of the name inherits nothing.
    broker.delete_topic("bus").unwrap();
    broker.create_topic("bus", dropping()).unwrap();
    assert!(broker.group("g").unwrap().committed(&tp("bus")).unwrap().is_none());
    broker.close().wait().unwrap();
    drop(bus);

    let path = dir.path().join("__consumer_offsets-0/00000000000000000000.log");
    let bytes = std::fs::read(&path).unwrap();
    assert!(!bytes.windows(3).any(|window| window == b"bus"), "nothing of it is written down");
    LogFile::open(&path).unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    broker.create_topic("bus", dropping()).unwrap();
    assert!(broker.group("g").unwrap().committed(&tp("bus")).unwrap().is_none());
}

#[test]
fn a_group_that_falls_behind_goes_on_where_the_log_starts() {
    let (_dir, broker) = open();
    let bus = broker.create_topic("bus", dropping()).unwrap();
    let producer = bus.producer().unwrap();
    let mut consumer = broker.group("g").unwrap().join("bus").unwrap();
    producer.send(Record::new("first")).unwrap().wait().unwrap();
    let records = consumer.poll().wait().unwrap();
    consumer.commit(&records).wait().unwrap();
    for _ in 0..20_000 {
        drop(producer.send(Record::new(&[7u8; 100])).unwrap());
    }
    producer.flush().wait().unwrap();
    let start = bus.partition(0).unwrap().log_start_offset();
    assert!(start > Offset::ZERO);
    let records = consumer.poll().wait().unwrap();
    assert_eq!(records.iter().next().unwrap().offset(), start);
}

#[test]
fn compressed_and_in_many_threads_it_stays_within_its_bound() {
    let (_dir, broker) = open();
    let config = dropping().compression(Compression::Snappy).partitions(2);
    let config = if config.validate().is_ok() { config } else { dropping().partitions(2) };
    let bus = broker.create_topic("bus", config).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let producer = bus.producer().unwrap();
            scope.spawn(move || {
                for number in 0..20_000u32 {
                    let value = [(number ^ thread).to_be_bytes(); 30].concat();
                    drop(producer.send(Record::new(&value).partition(number % 2)).unwrap());
                }
                let many = (0..2_000).map(|_| Record::new(&[9u8; 200]).partition(0));
                producer.send_batch(many).unwrap().wait().unwrap();
                // A compressed batch counts when it is complete; who waits for it closes it.
                producer.flush().wait().unwrap();
            });
        }
    });
    for partition in bus.partitions().unwrap() {
        assert!(partition.size_bytes() <= BOUND.as_u64());
        assert!(partition.log_end_offset().get() >= 40_000);
    }
}

#[test]
fn misuse_is_refused() {
    let (_dir, broker) = open();
    let refused = |config: TopicConfig, words: &str| {
        let error = broker.create_topic("bus", config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains(words), "{error}");
    };
    refused(dropping().durability(Durability::Sync), "durability");
    let interval = TopicConfig::new().durability(Durability::Interval(Duration::from_secs(1)));
    refused(interval.volatile(Volatile::drop_oldest(BOUND)), "durability");
    refused(TopicConfig::new().volatile(Volatile::drop_oldest(ByteSize::kib(1))), "volatile");
    refused(dropping().max_record_size(ByteSize::kib(100)), "max_record_size");
    refused(dropping().batch_size(ByteSize::kib(100)), "batch_size");

    let bus = broker.create_topic("bus", waiting()).unwrap();
    let error = bus.producer().unwrap().send(Record::new(&vec![0; 100 << 10])).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RecordTooLarge { limit: 65_536, .. }), "{error}");
    for other in [TopicConfig::new().durability(Durability::Memory), dropping()] {
        let error = broker.alter_topic("bus", other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.to_string().contains("volatile"), "{error}");
    }
    broker.create_topic("kept", TopicConfig::new()).unwrap();
    assert!(broker.alter_topic("kept", dropping()).is_err());
}

#[test]
fn the_setting_has_a_text() {
    let config = TopicConfig::from_pairs([("volatile", "senders_wait:1MiB")]).unwrap();
    assert_eq!(config.durability_level(), Durability::Memory);
    assert!(TopicConfig::from_pairs([("durability", "sync"), ("volatile", "senders_wait:1MiB")]).is_err());
    let volatile = config.volatile_bound().unwrap();
    assert_eq!((volatile.bound(), volatile.overflow()), (ByteSize::mib(1), Overflow::SendersWait));
    assert_eq!(TopicConfig::from_pairs(config.to_pairs()).unwrap(), config);
    assert_eq!(config.segment_size_bytes(), 128 << 10);
    for text in ["senders_wait", "drop_oldest:", "keep:1MiB", "drop_oldest:1KiB"] {
        let error = TopicConfig::from_pairs([("durability", "memory"), ("volatile", text)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    }
}

#[test]
fn closing_a_producer_ends_the_wait_of_its_clones() {
    let (_dir, broker) = open();
    let bus = broker.create_topic("bus", waiting()).unwrap();
    let before = fill(&bus);
    let patient = ProducerConfig::new().max_block(Duration::from_secs(3600));
    let producer = bus.producer_builder().config(patient.clone()).build().unwrap();
    let other = bus.producer_builder().config(patient).build().unwrap();
    let (done, outcome) = mpsc::channel();
    let (others, outcome_of_other) = mpsc::channel();
    std::thread::scope(|scope| {
        let (one, all) = (producer.clone(), done.clone());
        scope.spawn(move || all.send(one.send(Record::new(&[8u8; 100])).map(drop)).unwrap());
        let batches = producer.clone();
        scope.spawn(move || done.send(batches.send_batch([Record::new(&[8u8; 100])]).map(drop)).unwrap());
        scope.spawn(move || others.send(other.send(Record::new(&[8u8; 100])).map(drop)).unwrap());
        assert!(outcome.recv_timeout(Duration::from_millis(50)).is_err(), "they wait");
        producer.close().wait().unwrap();
        for _ in 0..2 {
            let told = outcome.recv_timeout(Duration::from_secs(30)).unwrap().unwrap_err();
            assert_eq!(told.kind(), ErrorKind::Closed, "{told}");
        }
        assert!(outcome_of_other.recv_timeout(Duration::from_millis(50)).is_err(), "it is not closed");
        assert_eq!(bus.partition(0).unwrap().log_end_offset().get(), before, "nothing was appended");
        broker.close().wait().unwrap();
        let told = outcome_of_other.recv_timeout(Duration::from_secs(30)).unwrap().unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Closed);
    });
}
