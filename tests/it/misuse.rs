//! The library in the hands of somebody who has not read the documentation: every mistake is answered at
//! once, with an error that says what to do, without a panic and without a wait.

use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use millpond::config::{
    Background, BrokerConfig, Compression, CrcCheck, ProducerConfig, ReadMode, ReaderConfig,
};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use millpond::topic::Partitioner;
use millpond::{Error, ErrorKind};

const LEVELS: [Durability; 2] = [Durability::Memory, Durability::Sync];

/// Does something in a thread of its own; minutes later it hangs (a busy disk syncs slowly).
fn promptly<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, answer) = mpsc::channel();
    thread::spawn(move || done.send(what()));
    answer.recv_timeout(Duration::from_secs(300)).expect("it neither hangs nor panics")
}

fn open() -> (tempfile::TempDir, Broker) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    (dir, broker)
}

fn by_hand(sim: &SimEnvironment) -> Broker {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
}

fn offset(n: u64) -> Offset {
    Offset::new(n).unwrap()
}

/// The kind, if the message says something: more than a word, on one line.
fn kind_of(error: &Error) -> ErrorKind {
    let text = error.to_string();
    assert!(text.len() > 12 && !text.contains('\n'), "{text:?}");
    assert!(!format!("{error:?}").is_empty());
    error.kind()
}

#[test]
fn names_that_are_none() {
    let (_dir, broker) = open();
    let long = "x".repeat(250);
    let names = [
        "",
        ".",
        "..",
        "/",
        "../up",
        "a/b",
        "a\\b",
        "no spaces",
        "tab\t",
        "nul\0",
        "new\nline",
        "caf\u{e9}",
        "\u{1f600}",
        "a:b",
        "*",
        long.as_str(),
    ];
    for name in names {
        let error = broker.create_topic(name, TopicConfig::new()).unwrap_err();
        assert_eq!(kind_of(&error), ErrorKind::InvalidArgument, "{name:?}");
        assert_eq!(kind_of(&broker.delete_topic(name).unwrap_err()), ErrorKind::InvalidArgument);
        assert_eq!(kind_of(&broker.describe_topic(name).unwrap_err()), ErrorKind::InvalidArgument);
        assert_eq!(kind_of(&broker.topic(name).unwrap_err()), ErrorKind::InvalidArgument);
        assert_eq!(kind_of(&broker.add_partitions(name, 2).unwrap_err()), ErrorKind::InvalidArgument);
    }
    assert!(broker.topics().is_empty());
}

/// Names that look like our own files, like folders of other topics, or like nothing.
#[test]
fn names_that_look_like_something_else() {
    let (dir, broker) = open();
    let names = [
        "a-0",
        "a",
        "a-0-0",
        "-",
        "_",
        "...",
        "millpond.clean",
        "a.topic",
        "lock",
        "a-0.deleted",
        "con",
        "A",
    ];
    for name in names {
        let topic = broker.create_topic(name, TopicConfig::new().partitions(2)).unwrap();
        let value = name.as_bytes();
        topic.producer().unwrap().send(Record::new(value).partition(1)).unwrap().wait().unwrap();
    }
    broker.close().wait().unwrap();
    drop(broker);
    let broker = Broker::open(dir.path()).unwrap();
    assert_eq!(broker.topics().len(), names.len());
    for name in names {
        let mut reader = broker.topic(name).unwrap().partition(1).unwrap().read(..).unwrap();
        let records = reader.next().unwrap().unwrap();
        assert_eq!(records.iter().next().unwrap().value().unwrap(), Some(name.as_bytes()));
        drop((records, reader));
        broker.delete_topic(name).unwrap();
    }
    assert!(broker.topics().is_empty());
}

#[test]
fn settings_out_of_bounds_are_named() {
    let (_dir, broker) = open();
    let day = Duration::from_secs(86_400);
    let wrong = [
        ("partitions", TopicConfig::new().partitions(0)),
        ("partitions", TopicConfig::new().partitions(u32::MAX)),
        ("durability", TopicConfig::new().durability(Durability::Interval(Duration::ZERO))),
        ("durability", TopicConfig::new().durability(Durability::Interval(Duration::MAX))),
        ("linger", TopicConfig::new().linger(Duration::MAX)),
        ("batch_size", TopicConfig::new().batch_size(ByteSize::bytes(0))),
        ("batch_size", TopicConfig::new().batch_size(ByteSize::bytes(u64::MAX))),
        ("segment_size", TopicConfig::new().segment_size(ByteSize::bytes(0))),
        ("segment_size", TopicConfig::new().segment_size(ByteSize::bytes(u64::MAX))),
        ("segment_size", TopicConfig::new().segment_size(ByteSize::gib(2))),
        ("segment_age", TopicConfig::new().segment_age(Duration::ZERO)),
        ("max_record_size", TopicConfig::new().max_record_size(ByteSize::bytes(0))),
        ("max_record_size", TopicConfig::new().max_record_size(ByteSize::gib(4))),
        ("index_size", TopicConfig::new().index_size(ByteSize::bytes(0))),
        ("index_interval", TopicConfig::new().index_interval(ByteSize::bytes(u64::MAX))),
        ("retention", TopicConfig::new().retention(Retention::age(Duration::ZERO))),
        ("min_in_sync_replicas", TopicConfig::new().min_in_sync_replicas(0)),
        ("min_in_sync_replicas", TopicConfig::new().min_in_sync_replicas(u32::MAX)),
        ("compression", TopicConfig::new().compression(Compression::Gzip { level: Some(i32::MAX) })),
        ("compression", TopicConfig::new().compression(Compression::Zstd { level: Some(i32::MIN) })),
    ];
    for (name, config) in wrong {
        let error = broker.create_topic("t", config).unwrap_err();
        assert_eq!(kind_of(&error), ErrorKind::InvalidConfig, "{name}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    assert!(broker.topics().is_empty());

    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    for (name, config) in [
        ("buffer_memory", BrokerConfig::new().buffer_memory(ByteSize::bytes(0))),
        ("max_block", BrokerConfig::new().max_block(Duration::MAX)),
        ("flush_threads", BrokerConfig::new().flush_threads(u32::MAX)),
        ("checkpoint_interval", BrokerConfig::new().checkpoint_interval(Duration::ZERO)),
        ("memory_flush_interval", BrokerConfig::new().memory_flush_interval(10 * day)),
    ] {
        let other = tempfile::tempdir().unwrap();
        let error = Broker::builder(other.path().join("new")).config(config).open().unwrap_err();
        assert_eq!(kind_of(&error), ErrorKind::InvalidConfig, "{name}");
        assert!(error.to_string().contains(name), "{name}: {error}");
        assert!(!other.path().join("new").exists(), "nothing is made for settings that are wrong");
    }
    let config = ProducerConfig::new().max_block(Duration::MAX);
    assert_eq!(
        kind_of(&topic.producer_builder().config(config).build().unwrap_err()),
        ErrorKind::InvalidConfig
    );
    for config in [ReaderConfig::new().max_records(0), ReaderConfig::new().max_bytes(ByteSize::bytes(0))] {
        let built = topic.partition(0).unwrap().reader_builder().config(config.clone()).build();
        assert_eq!(kind_of(&built.unwrap_err()), ErrorKind::InvalidConfig);
        let built = topic.reader_builder().config(config).build();
        assert_eq!(kind_of(&built.unwrap_err()), ErrorKind::InvalidConfig);
    }
}

#[test]
fn paths_that_are_no_directories() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"not a directory").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Broker::open(&path).unwrap_err();
        assert_eq!(kind_of(&error), ErrorKind::Io, "{}", path.display());
        assert!(error.path().is_some() && std::error::Error::source(&error).is_some());
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"not a directory");
    assert_eq!(kind_of(&Broker::open("").unwrap_err()), ErrorKind::InvalidArgument);
    assert!(Broker::open(Path::new("nul\0byte")).is_err());
    // A directory full of other things is left as it is, and serves.
    std::fs::write(dir.path().join("notes.txt"), b"mine").unwrap();
    std::fs::create_dir(dir.path().join("photos-2024")).unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    broker.create_topic("t", TopicConfig::new()).unwrap();
    broker.close().wait().unwrap();
    drop(broker);
    assert_eq!(Broker::open(dir.path()).unwrap().topics().len(), 1);
    assert_eq!(std::fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
    assert!(dir.path().join("photos-2024").exists());
}

#[test]
fn records_that_do_not_fit() {
    for durability in [Durability::Memory, Durability::Sync] {
        let (_dir, broker) = open();
        let small = TopicConfig::new()
            .durability(durability)
            .max_record_size(ByteSize::kib(10))
            .segment_size(ByteSize::kib(64))
            .batch_size(ByteSize::kib(4));
        let topic = broker.create_topic("t", small).unwrap();
        let producer = topic.producer().unwrap();
        let large = vec![1; 64 << 20];
        let check = |error: Error| match kind_of(&error) {
            ErrorKind::RecordTooLarge { size, limit } => {
                assert!(size > limit && limit == 10 << 10, "{error}")
            }
            other => panic!("{other:?}"),
        };
        check(producer.send(Record::new(&large)).unwrap_err());
        check(producer.try_send(Record::new("v").key(&large)).unwrap_err());
        check(producer.send(Record::new("v").header("h", &large)).unwrap_err());
        let name = "n".repeat(11 << 10);
        check(producer.send(Record::new("v").null_header(&name)).unwrap_err());
        check(producer.send_batch([Record::new(&large)]).unwrap_err());
        let mut many = Record::new("v");
        for _ in 0..100_000 {
            many = many.null_header("");
        }
        check(producer.send(many).unwrap_err());
        // A batch larger than a segment is cut into several.
        let value = vec![2; 5 << 10];
        let batches = producer.send_batch((0..100).map(|_| Record::new(&value))).unwrap().wait().unwrap();
        assert!(batches.len() > 1);
        // What fits to the byte, and one above, never does more than fail.
        for len in (10 << 10) - 120..(10 << 10) + 2 {
            match producer.send(Record::new(&vec![3; len])) {
                Ok(delivery) => drop(delivery.wait().unwrap()),
                Err(error) => check(error),
            }
        }
        let end = topic.partition(0).unwrap().log_end_offset();
        let mut reader = topic.read(Start::Earliest).unwrap();
        let mut seen = 0;
        while let Some(records) = reader.next().unwrap() {
            seen += records.iter().map(|record| record.check().unwrap()).count() as u64;
        }
        assert_eq!(seen, end.get());
    }
}

#[test]
fn nothing_at_all() {
    let (_dir, broker) = open();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let producer = topic.producer().unwrap();
    let none: [Record<'_, &str>; 0] = [];
    assert!(producer.send_batch(none).unwrap().wait().unwrap().is_empty());
    producer.flush().wait().unwrap();
    producer.send(Record::new("").key("")).unwrap().wait().unwrap();
    assert_eq!(kind_of(&producer.send(Record::tombstone()).unwrap_err()), ErrorKind::InvalidArgument);
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let records = reader.next().unwrap().unwrap();
    let record = records.iter().next().unwrap();
    assert_eq!((record.key().unwrap(), record.value().unwrap()), (Some(&b""[..]), Some(&b""[..])));
    assert!(reader.next().unwrap().is_none());
    assert!(reader.poll().wait_timeout(Duration::ZERO).unwrap().is_empty());
    broker.create_topic("empty", TopicConfig::new()).unwrap();
    let empty = broker.topic("empty").unwrap().partition(0).unwrap();
    assert!(empty.read(..).unwrap().next().unwrap().is_none());
    assert!(empty.offset_for_timestamp(Timestamp::from_millis(i64::MIN)).unwrap().is_none());
    assert_eq!(empty.delete_records(Offset::ZERO).unwrap(), Offset::ZERO);
    assert_eq!(empty.truncate(Offset::MAX).unwrap(), Offset::ZERO);
}

#[test]
fn offsets_and_ranges_that_make_no_sense() {
    let (_dir, broker) = open();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    topic.producer().unwrap().send_batch(["a", "b", "c"].map(Record::new)).unwrap().wait().unwrap();
    let partition = topic.partition(0).unwrap();
    let count = |range: (std::ops::Bound<Offset>, std::ops::Bound<Offset>)| {
        let mut reader = partition.read(range).unwrap();
        let mut seen = 0;
        while let Some(records) = reader.next().unwrap() {
            seen += records.iter().count();
        }
        seen
    };
    use std::ops::Bound::{Excluded, Included, Unbounded};
    assert_eq!(count((Included(offset(2)), Excluded(offset(1)))), 0, "upside down");
    assert_eq!(count((Included(offset(1)), Included(offset(1)))), 1);
    assert_eq!(count((Included(offset(1)), Excluded(offset(1)))), 0);
    assert_eq!(count((Excluded(offset(0)), Included(Offset::MAX))), 2);
    assert_eq!(count((Unbounded, Excluded(Offset::MAX))), 3);
    // An empty range has ended: waiting for it does not hang.
    let partition_again = partition.clone();
    let empty = promptly(move || {
        let mut reader = partition_again.read(offset(1)..offset(1)).unwrap();
        reader.poll().wait().unwrap().is_empty()
    });
    assert!(empty);
    for start in [offset(4), Offset::MAX] {
        let error = partition.reader(start).unwrap_err();
        let range = matches!(
            kind_of(&error),
            ErrorKind::OffsetOutOfRange { requested, earliest, latest }
                if requested == start && earliest == Offset::ZERO && latest == offset(3)
        );
        assert!(range, "{error}");
        assert!(partition.delete_records(start).is_err());
    }
    let mut reader = partition.reader(Start::Last(u64::MAX)).unwrap();
    assert_eq!(reader.position(), Offset::ZERO);
    assert!(reader.seek(Offset::MAX).is_err());
    assert_eq!(reader.position(), Offset::ZERO, "a seek that fails moves nothing");
    for at in [i64::MIN, i64::MAX, -1, 0] {
        let at = Timestamp::from_millis(at);
        reader.seek(Start::Timestamp(at)).unwrap();
        partition.offset_for_timestamp(at).unwrap();
    }
    assert_eq!(kind_of(&topic.partition(1).unwrap_err()), ErrorKind::PartitionNotFound);
    assert_eq!(kind_of(&topic.partition(u32::MAX).unwrap_err()), ErrorKind::PartitionNotFound);
    let mut all = topic.read(Start::Earliest).unwrap();
    assert_eq!(kind_of(&all.seek(7, Offset::ZERO).unwrap_err()), ErrorKind::PartitionNotFound);
    assert_eq!(kind_of(&all.position(7).unwrap_err()), ErrorKind::PartitionNotFound);
    // What was deleted stays deleted, however often it is asked for.
    partition.delete_records(offset(2)).unwrap();
    assert_eq!(partition.delete_records(offset(1)).unwrap(), offset(2));
    assert!(partition.read(offset(1)..).is_err());
    assert!(partition.truncate(offset(1)).is_err());
    let mut behind = partition.read(offset(2)..).unwrap();
    partition.delete_records(offset(3)).unwrap();
    assert!(matches!(kind_of(&behind.next().unwrap_err()), ErrorKind::OffsetOutOfRange { .. }));
    assert!(matches!(kind_of(&behind.poll().wait().unwrap_err()), ErrorKind::OffsetOutOfRange { .. }));
    behind.seek(Start::Earliest).unwrap();
    assert!(behind.next().unwrap().is_none());
}

#[test]
fn a_topic_deleted_under_everybody() {
    for durability in [Durability::Memory, Durability::Sync] {
        let (_dir, broker) = open();
        let topic =
            broker.create_topic("t", TopicConfig::new().partitions(2).durability(durability)).unwrap();
        let partition = topic.partition(0).unwrap();
        let producer = topic.producer().unwrap();
        for _ in 0..10 {
            producer.send(Record::new("x").partition(0)).unwrap().wait().unwrap();
        }
        let unacknowledged = producer.send(Record::new("y").partition(1)).unwrap();
        let mut reader = partition.read(..).unwrap();
        let mut waiting = topic.read(Start::Latest).unwrap();
        let waiter = thread::spawn(move || waiting.poll().wait().map(|_| ()));
        broker.delete_topic("t").unwrap();
        let woken = promptly(move || waiter.join().unwrap());
        // The unacknowledged record may have come first.
        if let Err(error) = woken {
            assert_eq!(kind_of(&error), ErrorKind::Closed);
        }
        let answered = promptly(move || unacknowledged.wait());
        assert!(answered.is_ok() || answered.is_err_and(|e| e.kind() == ErrorKind::Closed));

        assert_eq!(kind_of(&topic.producer().unwrap_err()), ErrorKind::Closed);
        assert_eq!(kind_of(&topic.read(Start::Earliest).unwrap_err()), ErrorKind::Closed);
        assert_eq!(kind_of(&topic.partitions().unwrap_err()), ErrorKind::Closed);
        assert_eq!(kind_of(&partition.read(..).unwrap_err()), ErrorKind::Closed);
        assert_eq!(kind_of(&partition.delete_records(Offset::ZERO).unwrap_err()), ErrorKind::Closed);
        assert_eq!(kind_of(&partition.truncate(Offset::ZERO).unwrap_err()), ErrorKind::Closed);
        assert_eq!(kind_of(&partition.append_batches(&[]).unwrap_err()), ErrorKind::Closed);
        assert_eq!(
            kind_of(&partition.offset_for_timestamp(Timestamp::from_millis(0)).unwrap_err()),
            ErrorKind::Closed
        );
        assert_eq!(kind_of(&producer.send_batch([Record::new("x")]).unwrap_err()), ErrorKind::Closed);
        assert_eq!(kind_of(&producer.try_send(Record::new("x")).unwrap_err()), ErrorKind::Closed);
        let ready = producer.clone();
        let _ = promptly(move || ready.ready().wait());
        let flush = producer.clone();
        let _ = promptly(move || flush.flush().wait());
        // A reader lends what it can, or says that it cannot; and it does not wait for what never comes.
        for _ in 0..3 {
            if let Err(error) = reader.next() {
                kind_of(&error);
            }
        }
        let ended = promptly(move || {
            loop {
                if let Err(error) = reader.poll().wait() {
                    break error;
                }
            }
        });
        assert_eq!(kind_of(&ended), ErrorKind::Closed);
        // Looking is always allowed.
        assert_eq!(topic.name().as_str(), "t");
        let _ = (topic.describe(), topic.config(), partition.log_end_offset(), partition.size_bytes());
        let _ = format!("{topic:?} {partition:?} {producer:?} {broker:?}");
        assert_eq!(kind_of(&broker.add_partitions("t", 3).unwrap_err()), ErrorKind::TopicNotFound);
        assert_eq!(
            kind_of(&broker.alter_topic("t", TopicConfig::new()).unwrap_err()),
            ErrorKind::TopicNotFound
        );
    }
}

#[test]
fn a_closed_broker_under_everybody() {
    let (dir, broker) = open();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let partition = topic.partition(0).unwrap();
    let producer = topic.producer().unwrap();
    producer.send(Record::new("x")).unwrap().wait().unwrap();
    let mut reader = partition.read(..).unwrap();
    broker.close().wait().unwrap();
    broker.close().wait().unwrap();
    assert_eq!(kind_of(&broker.create_topic("u", TopicConfig::new()).unwrap_err()), ErrorKind::Closed);
    assert_eq!(kind_of(&broker.topic("t").unwrap_err()), ErrorKind::Closed);
    assert_eq!(kind_of(&broker.describe_topic("t").unwrap_err()), ErrorKind::Closed);
    assert_eq!(kind_of(&broker.tick().unwrap_err()), ErrorKind::Closed);
    assert_eq!(kind_of(&producer.send(Record::new("y")).unwrap_err()), ErrorKind::Closed);
    assert_eq!(kind_of(&topic.producer().unwrap_err()), ErrorKind::Closed);
    assert_eq!(kind_of(&topic.partition(0).unwrap_err()), ErrorKind::Closed);
    assert!(broker.topics().is_empty());
    let ended = promptly(move || {
        loop {
            if let Err(error) = reader.poll().wait() {
                break error;
            }
        }
    });
    assert_eq!(kind_of(&ended), ErrorKind::Closed);
    assert_eq!(kind_of(&Broker::open(dir.path()).unwrap_err()), ErrorKind::Locked, "handles are left");
    drop((broker, topic, partition, producer));
    Broker::open(dir.path()).unwrap();
}

/// Nobody holds the broker but a producer, a reader that waits and a record that is looked at.
#[test]
fn a_dropped_broker_with_live_readers() {
    let (dir, broker) = open();
    let topic = broker.create_topic("t", TopicConfig::new().durability(Durability::Memory)).unwrap();
    let producer = topic.producer().unwrap();
    producer.send(Record::new("x")).unwrap().wait().unwrap();
    let mut reader = topic.read(Start::Earliest).unwrap();
    let held = reader.next().unwrap().unwrap();
    let waiter = thread::spawn(move || reader.poll().wait().map(|records| records.iter().count()));
    drop((topic, broker));
    producer.send(Record::new("y")).unwrap().wait().unwrap();
    assert_eq!(promptly(move || waiter.join().unwrap()).unwrap(), 1, "they keep it open");
    drop(producer);
    assert_eq!(held.iter().next().unwrap().value().unwrap(), Some(&b"x"[..]));
    assert_eq!(kind_of(&Broker::open(dir.path()).unwrap_err()), ErrorKind::Locked);
    drop(held);
    // Threads of the old broker may be on their way out.
    let again = promptly(move || {
        loop {
            match Broker::open(dir.path()) {
                Err(error) if error.kind() == ErrorKind::Locked => thread::yield_now(),
                opened => break (opened.unwrap(), dir),
            }
        }
    });
    assert_eq!(again.0.topic("t").unwrap().partition(0).unwrap().log_end_offset().get(), 2);
}

#[test]
fn two_brokers_on_one_directory() {
    let (dir, broker) = open();
    broker.create_topic("t", TopicConfig::new()).unwrap();
    for path in [dir.path().to_path_buf(), dir.path().join("."), dir.path().join("t-0/..")] {
        let error = Broker::open(&path).unwrap_err();
        assert_eq!(kind_of(&error), ErrorKind::Locked, "{}", path.display());
    }
    // One folder too deep is no data directory of its own.
    let error = Broker::open(dir.path().join("t-0")).unwrap_err();
    assert_eq!(kind_of(&error), ErrorKind::InvalidArgument);
    assert!(!dir.path().join("t-0/millpond.broker").exists());
    // Many at once: one gets it.
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join("data");
    let opened: Vec<_> =
        (0..8).map(|_| path.clone()).map(|path| thread::spawn(move || Broker::open(path))).collect();
    let opened: Vec<_> = opened.into_iter().map(|opening| opening.join().unwrap()).collect();
    assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
    for refused in opened.iter().filter_map(|opened| opened.as_ref().err()) {
        assert_eq!(kind_of(refused), ErrorKind::Locked);
    }
}

/// Handles of one broker in the calls of another: a transaction there could never end what it wrote here.
#[test]
fn handles_of_another_broker() {
    let ((_here, broker), (_there, other)) = (open(), open());
    for broker in [&broker, &other] {
        broker.create_topic("t", TopicConfig::new()).unwrap();
    }
    let foreign = other.topic("t").unwrap();
    let mut producer = broker.transactional("id").unwrap();
    // Before it knows the name, and after.
    for _ in 0..2 {
        let mut txn = producer.begin().unwrap();
        let error = txn.send(&foreign, Record::new("x")).unwrap_err();
        assert_eq!(kind_of(&error), ErrorKind::InvalidArgument);
        txn.send("t", Record::new("x")).unwrap();
        txn.commit().wait().unwrap();
    }
    assert_eq!(foreign.partition(0).unwrap().log_end_offset(), Offset::ZERO);
    assert_eq!(kind_of(&broker.topic(&foreign).unwrap_err()), ErrorKind::InvalidArgument);
    let joined = broker.group("g").unwrap().join(&foreign);
    assert_eq!(kind_of(&joined.unwrap_err()), ErrorKind::InvalidArgument);

    foreign.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
    let mut stranger = other.group("g").unwrap().join(&foreign).unwrap();
    let records = stranger.poll().wait().unwrap();
    let mine = broker.group("g").unwrap().join("t").unwrap();
    assert!(mine.commit(&records).wait().is_err());
    let mut txn = producer.begin().unwrap();
    let error = txn.commit_offsets(&stranger, &records).unwrap_err();
    assert_eq!(kind_of(&error), ErrorKind::InvalidArgument);
}

/// One record of a stranger there, and no transaction would begin in this directory any more.
#[test]
fn internal_topics_are_the_brokers() {
    let (_dir, broker) = open();
    broker.create_topic("t", TopicConfig::new()).unwrap();
    broker.transactional("id").unwrap().begin().unwrap().send("t", Record::new("x")).unwrap();
    let consumer = broker.group("g").unwrap().join("t").unwrap();
    consumer.commit_all().wait().unwrap();
    for name in ["__transaction_state", "__consumer_offsets"] {
        let topic = broker.topic(name).unwrap();
        assert!(topic.name().is_internal());
        let partition = topic.partition(0).unwrap();
        let end = partition.log_end_offset();
        let mut producer = broker.transactional("other").unwrap();
        let refused = [
            topic.producer().map(drop),
            topic.idempotent_producer("p").map(drop),
            producer.begin().unwrap().send(name, Record::new("x").key("y")),
            partition.append_expecting(end, [Record::new("x").key("y")]).map(drop),
            partition.append_batches(&[]).map(drop),
            partition.truncate(Offset::ZERO).map(drop),
            partition.delete_records(end).map(drop),
            broker.delete_topic(name),
            broker.alter_topic(name, TopicConfig::new()),
        ];
        for refused in refused {
            assert_eq!(kind_of(&refused.unwrap_err()), ErrorKind::InvalidArgument);
        }
        // Looking is allowed.
        topic.read(Start::Earliest).unwrap().next().unwrap();
    }
}

#[test]
fn many_threads_create_and_delete_the_same_topic() {
    let (_dir, broker) = open();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let broker = broker.clone();
            thread::spawn(move || {
                for _ in 0..4 {
                    if let Err(error) = broker.create_topic("t", TopicConfig::new()) {
                        assert_eq!(kind_of(&error), ErrorKind::TopicExists);
                    }
                    if let Ok(topic) = broker.topic("t") {
                        let sent = topic.producer().and_then(|producer| producer.send(Record::new("x")));
                        if let Err(error) = sent.and_then(|delivery| delivery.wait()) {
                            assert_eq!(kind_of(&error), ErrorKind::Closed);
                        }
                    }
                    if let Err(error) = broker.delete_topic("t") {
                        assert_eq!(kind_of(&error), ErrorKind::TopicNotFound);
                    }
                }
            })
        })
        .collect();
    promptly(move || threads.into_iter().for_each(|thread| thread.join().unwrap()));
    assert!(broker.topics().is_empty());
}

#[test]
fn a_partitioner_that_points_beyond() {
    #[derive(Debug)]
    struct Beyond;
    impl Partitioner for Beyond {
        fn partition(&self, _: Option<&[u8]>, _: usize, partitions: u32) -> u32 {
            partitions
        }
    }
    let (_dir, broker) = open();
    let topic = broker.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
    let producer = topic.producer_builder().partitioner(Beyond).build().unwrap();
    let error = producer.send(Record::new("x")).unwrap_err();
    assert_eq!(kind_of(&error), ErrorKind::PartitionNotFound);
    assert!(error.to_string().contains("Beyond"), "{error}");
    assert_eq!(kind_of(&producer.send_batch([Record::new("x")]).unwrap_err()), ErrorKind::PartitionNotFound);
}

/// Callbacks run under no lock of ours: they may use the library themselves.
#[test]
fn a_partitioner_and_a_codec_that_call_back() {
    #[derive(Debug)]
    struct Calls(Topic);
    impl Partitioner for Calls {
        fn partition(&self, _: Option<&[u8]>, _: usize, _: u32) -> u32 {
            let producer = self.0.producer().unwrap();
            producer.send(Record::new("from within").partition(1)).unwrap().wait().unwrap();
            let _ = self.0.broker().create_topic("made-within", TopicConfig::new());
            0
        }
    }
    let (_dir, broker) = open();
    let topic = broker.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
    let producer = topic.producer_builder().partitioner(Calls(topic.clone())).build().unwrap();
    promptly(move || {
        producer.send(Record::new("x")).unwrap().wait().unwrap();
        producer.send_batch(["y", "z"].map(Record::new)).unwrap().wait().unwrap();
    });
    assert_eq!(topic.partition(1).unwrap().log_end_offset().get(), 3);
    assert_eq!(topic.partition(0).unwrap().log_end_offset().get(), 3);
    assert!(broker.topic("made-within").is_ok());
}

/// An iterator of `send_batch` that sends on its own, to the same partition.
#[test]
fn a_batch_whose_iterator_sends() {
    let (_dir, broker) = open();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let producer = topic.producer().unwrap();
    let values = ["a", "b"];
    let inner = producer.clone();
    promptly(move || {
        let records = values.iter().map(|value| {
            inner.send(Record::new("inner")).unwrap().wait().unwrap();
            Record::new(*value)
        });
        producer.send_batch(records).unwrap().wait().unwrap();
    });
    assert_eq!(topic.partition(0).unwrap().log_end_offset().get(), 4);
}

#[test]
fn bytes_that_are_no_batches() {
    let (_dir, broker) = open();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let producer = topic.producer().unwrap();
    producer.send_batch(["a", "b"].map(Record::new)).unwrap().wait().unwrap();
    let partition = topic.partition(0).unwrap();
    let log = broker.path().join("t-0/00000000000000000000.log");
    let batch = std::fs::read(log).unwrap()[..partition.size_bytes() as usize].to_vec();
    let follower = broker.create_topic("follower", TopicConfig::new()).unwrap().partition(0).unwrap();
    let mut wrong = vec![
        vec![0; 1],
        vec![0; 61],
        vec![0xFF; 200],
        batch[..batch.len() - 1].to_vec(),
        [&batch[..], &batch[..]].concat(),
        [&batch[..], &[0; 70]].concat(),
    ];
    for at in 0..batch.len() {
        let mut flipped = batch.clone();
        flipped[at] ^= 0x10;
        // The leader epoch is the leader's word, and no checksum covers it.
        if !(12..16).contains(&at) {
            wrong.push(flipped);
        }
    }
    for bytes in wrong {
        let error = follower.append_batches(&bytes).unwrap_err();
        let kind = kind_of(&error);
        assert!(matches!(kind, ErrorKind::InvalidArgument | ErrorKind::Corrupted), "{error}");
        assert_eq!(follower.log_end_offset(), Offset::ZERO, "nothing of it is appended");
    }
    assert_eq!(follower.append_batches(&batch).unwrap().get(), 2);
    assert_eq!(follower.append_batches(&[]).unwrap().get(), 2);
    let mut reader = follower.read(..).unwrap();
    assert_eq!(reader.poll().wait().unwrap().iter().count(), 2);
}

/// A follower's append and a program's: whoever mixes them gets a log that can be opened again.
#[test]
fn a_follower_that_also_sends() {
    let sim = SimEnvironment::new(5);
    let broker = by_hand(&sim);
    let source = broker.create_topic("source", TopicConfig::new()).unwrap();
    source.producer().unwrap().send(Record::new("a")).unwrap().wait().unwrap();
    let size = source.partition(0).unwrap().size_bytes() as usize;
    let mut batch =
        sim.disk().read_file(Path::new("/data/source-0/00000000000000000000.log")).unwrap()[..size].to_vec();
    batch[12..16].copy_from_slice(&7i32.to_be_bytes()); // of a later leader
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let partition = topic.partition(0).unwrap();
    partition.append_batches(&batch).unwrap();
    topic.producer().unwrap().send(Record::new("b")).unwrap().wait().unwrap();
    topic.producer().unwrap().send_batch([Record::new("c")]).unwrap().wait().unwrap();
    assert_eq!(partition.leader_epoch().get(), 7);
    let after = SimEnvironment::on(sim.disk().after_kill(), 6);
    let again = by_hand(&after);
    let partition = again.topic("t").unwrap().partition(0).unwrap();
    assert_eq!(partition.log_end_offset().get(), 3, "what was acknowledged is there");
    assert_eq!(partition.leader_epoch().get(), 8);
}

#[test]
fn upkeep_that_nobody_does() {
    // With `Background::Manual` and no tick at all, whoever waits does the work.
    let sim = SimEnvironment::new(9);
    let broker = by_hand(&sim);
    let topic = broker.create_topic("t", TopicConfig::new().linger(Duration::from_secs(60))).unwrap();
    let producer = topic.producer().unwrap();
    let waited = promptly(move || {
        let deliveries: Vec<_> = (0..3).map(|_| producer.send(Record::new("x")).unwrap()).collect();
        deliveries.into_iter().map(|delivery| delivery.wait().unwrap().offset().get()).collect::<Vec<_>>()
    });
    assert_eq!(waited, [0, 1, 2]);
}

#[test]
fn everything_at_its_smallest() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new()
        .buffer_memory(ByteSize::kib(64))
        .flush_threads(1)
        .read_mode(ReadMode::Buffered)
        .crc_check(CrcCheck::Always);
    let broker = Broker::builder(dir.path()).config(config).open().unwrap();
    let config = TopicConfig::new()
        .segment_size(ByteSize::kib(1))
        .batch_size(ByteSize::kib(1))
        .index_size(ByteSize::bytes(64))
        .index_interval(ByteSize::bytes(0))
        .linger(Duration::ZERO);
    for (name, level) in [("a", Durability::Sync), ("b", Durability::Memory)] {
        let topic = broker.create_topic(name, config.clone().durability(level)).unwrap();
        let producer = topic.producer().unwrap();
        for n in 0..200u32 {
            let value = vec![n as u8; (n as usize * 7) % 900];
            drop(producer.send(Record::new(&value)).unwrap());
        }
        producer.flush().wait().unwrap();
        let config = ReaderConfig::new().max_records(1).max_bytes(ByteSize::bytes(1));
        let mut reader = topic.reader_builder().config(config).build().unwrap();
        let mut next = 0u32;
        while let Some(records) = reader.next().unwrap() {
            for record in &records {
                let value = record.value().unwrap().unwrap();
                assert_eq!((value.len(), record.offset().get()), ((next as usize * 7) % 900, next.into()));
                next += 1;
            }
        }
        assert_eq!(next, 200);
    }
}

/// Bytes that no codec makes smaller, in batches as large as a segment.
#[test]
fn compression_that_makes_it_larger() {
    let codecs: &[Compression] = &[
        Compression::None,
        #[cfg(feature = "lz4")]
        Compression::Lz4,
        #[cfg(feature = "snappy")]
        Compression::Snappy,
        #[cfg(feature = "zstd")]
        Compression::Zstd { level: None },
        #[cfg(feature = "gzip")]
        Compression::Gzip { level: None },
    ];
    for (&codec, level) in codecs.iter().flat_map(|codec| LEVELS.map(|level| (codec, level))) {
        let (dir, broker) = open();
        let config = TopicConfig::new()
            .compression(codec)
            .durability(level)
            .segment_size(ByteSize::kib(4))
            .batch_size(ByteSize::kib(4))
            .linger(Duration::from_secs(60));
        let topic = broker.create_topic("t", config).unwrap();
        let producer = topic.producer().unwrap();
        let noise = |n: u64| -> Vec<u8> {
            let step = |x: &mut u64| {
                *x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                Some((*x >> 56) as u8)
            };
            std::iter::repeat(()).scan(n, |x, ()| step(x)).take(97 + n as usize % 900).collect()
        };
        let values: Vec<Vec<u8>> = (0..100).map(noise).collect();
        for value in &values {
            drop(producer.send(Record::new(value)).unwrap());
        }
        let batches = producer.send_batch(values.iter().map(Record::new)).unwrap().wait().unwrap();
        assert_eq!(batches.iter().map(|batch| batch.count()).sum::<u32>(), 100, "{codec} {level}");
        // As large as may be, for each codec adds a little.
        for len in (3_960..4_050).step_by(2) {
            match producer.send(Record::new(&vec![1; len])) {
                Ok(delivery) => assert_eq!(delivery.wait().unwrap().partition(), 0),
                Err(error) => assert!(matches!(kind_of(&error), ErrorKind::RecordTooLarge { .. })),
            }
        }
        let end = topic.partition(0).unwrap().log_end_offset().get();
        broker.close().wait().unwrap();
        drop((broker, topic, producer));
        let broker = Broker::open(dir.path()).unwrap();
        let mut reader = broker.topic("t").unwrap().partition(0).unwrap().read(..).unwrap();
        let mut next = 0;
        while let Some(records) = reader.next().unwrap() {
            for record in &records {
                let expected = values.get(next as usize % 100).filter(|_| next < 200);
                let value = record.value().unwrap().unwrap();
                assert!(expected.is_none_or(|expected| expected == value), "{codec} {level} {next}");
                next += 1;
            }
        }
        assert_eq!(next, end, "{codec} {level}");
    }
}

/// A topic deleted and made again, with the same records: what the old one left vouches for nothing.
#[test]
fn a_recreated_topic_inherits_nothing() {
    let sim = SimEnvironment::new(12);
    let broker = by_hand(&sim);
    let send = |values: &[&str]| {
        let topic = broker.create_topic("t", TopicConfig::new().durability(Durability::Memory)).unwrap();
        let producer = topic.producer().unwrap();
        for value in values {
            producer.send(Record::new(*value)).unwrap().wait().unwrap();
        }
    };
    send(&["same"]);
    broker.delete_topic("t").unwrap();
    send(&["same", "and more"]);
    let after = SimEnvironment::on(sim.disk().after_kill(), 13);
    let again = by_hand(&after);
    assert_eq!(again.topic("t").unwrap().partition(0).unwrap().log_end_offset().get(), 2);
    again.delete_topic("t").unwrap();
    again.create_topic("t", TopicConfig::new()).unwrap();
    let last = SimEnvironment::on(after.disk().after_kill(), 14);
    assert_eq!(by_hand(&last).topic("t").unwrap().partition(0).unwrap().log_end_offset().get(), 0);
}
