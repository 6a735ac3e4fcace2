//! Opening a directory: the lock, the clean mark, recovery after a kill and a power cut, damage.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, ReadMode};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use millpond::{BrokerBuilder, ErrorKind};

fn simulated(sim: &SimEnvironment) -> BrokerBuilder {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual)
}

fn values(topic: &Topic) -> Vec<String> {
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut seen = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        for record in &records {
            seen.push(String::from_utf8(record.value().unwrap().unwrap().to_vec()).unwrap());
        }
    }
    seen
}

#[test]
fn a_directory_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let error = Broker::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    let topic = broker.create_topic("clicks", TopicConfig::new()).unwrap();
    topic.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let held = reader.next().unwrap().unwrap();
    broker.close().wait().unwrap();
    drop((broker, topic, reader));
    assert_eq!(Broker::open(dir.path()).unwrap_err().kind(), ErrorKind::Locked, "a record is looked at");
    assert_eq!(held.iter().next().unwrap().value().unwrap(), Some(&b"x"[..]));
    drop(held);
    Broker::open(dir.path()).unwrap();
}

#[test]
fn a_closed_broker_answers_closed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("clicks", TopicConfig::new()).unwrap();
    let producer = topic.producer().unwrap();
    let mut reader = topic.read(Start::Earliest).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || reader.poll().wait_timeout(Duration::from_secs(20)).map(|_| ()));
        broker.close().wait().unwrap();
        broker.close().wait().unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    });
    let closed = |kind| assert_eq!(kind, ErrorKind::Closed);
    closed(producer.send(Record::new("x")).unwrap_err().kind());
    closed(topic.producer().unwrap_err().kind());
    closed(topic.partition(0).unwrap_err().kind());
    closed(broker.create_topic("b", TopicConfig::new()).unwrap_err().kind());
    closed(broker.tick().unwrap_err().kind());
}

#[test]
fn a_clean_close_needs_no_recovery() {
    for mode in [ReadMode::Mapped, ReadMode::Buffered] {
        let dir = tempfile::tempdir().unwrap();
        let open = || Broker::builder(dir.path()).config(BrokerConfig::new().read_mode(mode)).open().unwrap();
        let broker = open();
        assert!(broker.recovery().was_clean());
        for (name, durability) in [("s", Durability::Sync), ("m", Durability::Memory)] {
            let topic = broker.create_topic(name, TopicConfig::new().durability(durability)).unwrap();
            let producer = topic.producer().unwrap();
            for n in 0..100 {
                drop(producer.send(Record::new(&format!("{n}"))).unwrap());
            }
        }
        broker.close().wait().unwrap();
        drop(broker);
        let broker = open();
        assert!(broker.recovery().was_clean());
        for name in ["s", "m"] {
            let topic = broker.topic(name).unwrap();
            assert_eq!(values(&topic), (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
            assert_eq!(topic.partition(0).unwrap().leader_epoch().get(), 0);
        }
    }
}

#[test]
fn an_unclean_end_raises_the_epoch_and_is_reported() {
    let sim = SimEnvironment::new(21);
    let broker = simulated(&sim).open().unwrap();
    let memory = broker.create_topic("m", TopicConfig::new().durability(Durability::Memory)).unwrap();
    let sync = broker.create_topic("s", TopicConfig::new()).unwrap();
    for n in 0..10 {
        memory.producer().unwrap().send(Record::new(&format!("{n}"))).unwrap().wait().unwrap();
        sync.producer().unwrap().send(Record::new(&format!("{n}"))).unwrap().wait().unwrap();
    }
    let all: Vec<_> = (0..10).map(|n| n.to_string()).collect();

    let killed = SimEnvironment::on(sim.disk().after_kill(), 1);
    let calls = Arc::new(AtomicU64::new(0));
    let counted = calls.clone();
    let heard = move |_: &millpond::broker::Progress| {
        counted.fetch_add(1, Ordering::Relaxed);
    };
    let again = simulated(&killed).on_recovery(heard).open().unwrap();
    assert!(calls.load(Ordering::Relaxed) > 0, "nobody was told of the progress");
    assert!(!again.recovery().was_clean());
    assert_eq!(values(&again.topic("m").unwrap()), all, "a kill loses nothing");
    assert_eq!(values(&again.topic("s").unwrap()), all);
    let partition = again.topic("m").unwrap().partition(0).unwrap();
    assert_eq!(partition.leader_epoch().get(), 1);
    let report = again.recovery().partition(partition.topic_partition()).unwrap();
    assert_eq!(report.records_sealed(), 10);
    assert_eq!(report.log_end_offset().get(), 10);

    let cut = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 2);
    let again = simulated(&cut).open().unwrap();
    assert_eq!(values(&again.topic("s").unwrap()), all, "what Sync acknowledged survives");
    assert_eq!(again.recovery().partitions().count(), 2);
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged_at_any_moment() {
    let sim = SimEnvironment::new(22);
    let broker = simulated(&sim).open().unwrap();
    let topic = broker.create_topic("m", TopicConfig::new().durability(Durability::Memory)).unwrap();
    let producer = topic.producer().unwrap();
    let mut acked = Vec::new();
    for n in 0..40_u64 {
        producer.send(Record::new(&format!("{n}"))).unwrap().wait().unwrap();
        acked.push(n.to_string());
        if n % 4 == 0 {
            sim.clock().advance(Duration::from_secs(1));
            broker.tick().unwrap();
        }
        let killed = SimEnvironment::on(sim.disk().after_kill(), n);
        assert_eq!(values(&simulated(&killed).open().unwrap().topic("m").unwrap()), acked);
    }
}

#[test]
fn a_second_kill_during_the_opening_is_as_good_as_one() {
    let sim = SimEnvironment::new(23);
    let broker = simulated(&sim).open().unwrap();
    let topic = broker.create_topic("m", TopicConfig::new().durability(Durability::Memory)).unwrap();
    for n in 0..10 {
        topic.producer().unwrap().send(Record::new(&format!("{n}"))).unwrap().wait().unwrap();
    }
    let all = values(&topic);
    assert_eq!(all.len(), 10);
    let killed = SimEnvironment::on(sim.disk().after_kill(), 1);
    killed.disk().snapshot_every_call(1_000);
    let again = simulated(&killed).open().unwrap();
    assert_eq!(values(&again.topic("m").unwrap()), all);
    for (n, disk) in killed.disk().take_snapshots().into_iter().enumerate() {
        let again = SimEnvironment::on(disk.after_kill(), n as u64);
        let broker = simulated(&again).open().unwrap_or_else(|error| panic!("call {n}: {error}"));
        assert_eq!(values(&broker.topic("m").unwrap()), all, "call {n}");
    }
}

#[test]
fn a_dropped_broker_is_recovered() {
    let sim = SimEnvironment::new(24);
    let broker = simulated(&sim).open().unwrap();
    let topic = broker.create_topic("m", TopicConfig::new().durability(Durability::Memory)).unwrap();
    drop(topic.producer().unwrap().send(Record::new("a")).unwrap());
    drop((broker, topic));
    let broker = simulated(&sim).open().unwrap();
    assert!(!broker.recovery().was_clean());
    assert_eq!(values(&broker.topic("m").unwrap()), ["a"]);
    broker.close().wait().unwrap();
    drop(broker);
    assert!(simulated(&sim).open().unwrap().recovery().was_clean());
}

#[test]
fn damage_of_the_brokers_own_files_is_named() {
    let made = || {
        let sim = SimEnvironment::new(25);
        let broker = simulated(&sim).open().unwrap();
        let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
        topic.producer().unwrap().send(Record::new("a")).unwrap().wait().unwrap();
        broker.close().wait().unwrap();
        sim
    };
    for name in ["millpond.broker", "t.topic"] {
        let sim = made();
        let path = Path::new("/data").join(name);
        sim.disk().flip_bit(&path, 20, 3).unwrap();
        let error = simulated(&sim).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
        assert_eq!(error.path(), Some(&*path));
    }
    // A mark or a file of points that is damaged costs time, not data.
    for name in ["millpond.clean", "millpond.points"] {
        let sim = made();
        sim.disk().flip_bit(&Path::new("/data").join(name), 20, 3).unwrap();
        let broker = simulated(&sim).open().unwrap();
        assert_eq!(values(&broker.topic("t").unwrap()), ["a"]);
        assert_eq!(broker.recovery().was_clean(), name == "millpond.points");
    }
}

#[test]
fn a_missing_folder_or_manifest_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    broker.create_topic("t", TopicConfig::new().partitions(2)).unwrap();
    broker.close().wait().unwrap();
    drop(broker);
    std::fs::rename(dir.path().join("t-1"), dir.path().join("elsewhere")).unwrap();
    let error = Broker::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupted);
    assert!(error.to_string().contains("t-1"), "{error}");
    std::fs::rename(dir.path().join("elsewhere"), dir.path().join("t-1")).unwrap();
    std::fs::remove_file(dir.path().join("millpond.broker")).unwrap();
    assert_eq!(Broker::open(dir.path()).unwrap_err().kind(), ErrorKind::Corrupted);
}

#[test]
fn a_truncated_partition_reopens_at_its_end() {
    let sim = SimEnvironment::new(26);
    let broker = simulated(&sim).open().unwrap();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    for n in 0..10 {
        topic.producer().unwrap().send(Record::new(&format!("{n}"))).unwrap().wait().unwrap();
    }
    sim.clock().advance(Duration::from_secs(2));
    broker.tick().unwrap();
    sim.disk().snapshot_every_call(1_000);
    let to = Offset::new(5).unwrap();
    assert_eq!(topic.partition(0).unwrap().truncate(to).unwrap(), to);
    let after = sim.disk().snapshot();
    for disk in sim.disk().take_snapshots() {
        let again = SimEnvironment::on(disk.after_power_cut_losing_everything(), 3);
        let count = values(&simulated(&again).open().unwrap().topic("t").unwrap()).len();
        assert!(count == 5 || count == 10, "{count}");
    }
    let again = SimEnvironment::on(after.after_power_cut_losing_everything(), 4);
    assert_eq!(values(&simulated(&again).open().unwrap().topic("t").unwrap()).len(), 5);
}

#[test]
fn recovery_points_follow_what_is_flushed() {
    const BATCH: usize = 256 << 10;
    const BATCHES: u64 = 150;
    // As often as a point of its own is made, and the batch that brings it about.
    const MOST_ABOVE: u64 = (8 << 20) + (BATCH as u64 + 1024);
    let value = vec![b'x'; BATCH];
    let sim = SimEnvironment::new(31);
    let broker = simulated(&sim).open().unwrap();
    // Small segments: what lies in older ones counts, too.
    let topic = broker.create_topic("t", TopicConfig::new().segment_size(ByteSize::mib(5))).unwrap();
    let producer = topic.producer().unwrap();
    for n in 0..BATCHES {
        producer.send(Record::new(&value)).unwrap().wait().unwrap();
        // The clock stands still: what is done follows from the bytes alone.
        broker.tick().unwrap();
        if n % 10 != 9 {
            continue;
        }
        for disk in [sim.disk().after_kill(), sim.disk().after_power_cut_losing_everything()] {
            let again = simulated(&SimEnvironment::on(disk, 1)).open().unwrap();
            let partition = again.topic("t").unwrap().partition(0).unwrap();
            assert_eq!(partition.log_end_offset().get(), n + 1);
            let rewritten = again.recovery().partitions().map(|(_, one)| one.bytes_rewritten()).sum::<u64>();
            assert!(rewritten <= MOST_ABOVE, "{rewritten} bytes written again after {n} batches");
        }
    }
    // Not with every batch: points of their own are as many as the bytes ask for.
    let moved = sim.disk().read_file(Path::new("/data/millpond.moved")).unwrap_or_default();
    let points = moved.len() as u64 / 76;
    assert!(points <= BATCHES * BATCH as u64 / (8 << 20), "{points} points");
}
