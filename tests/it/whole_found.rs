//! What a random model of the whole broker (`whole`) has found, each as small as it goes.

use std::time::Duration;

use millpond::Observer;
use millpond::broker::{Verdict, repair_in};
use millpond::config::{Background, BrokerConfig, CleanupPolicy};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use millpond::{TopicName, TopicPartition};

const HOUR: Duration = Duration::from_secs(3600);

fn open(sim: &SimEnvironment) -> Broker {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
}

/// A segment is as old as its last record, also one that had been closed, grew again and came through a crash: what its
/// file of times says is from before.
#[test]
fn after_a_crash_a_segment_is_as_old_as_its_last_record() {
    let sim = SimEnvironment::new(1);
    let config = TopicConfig::new().durability(Durability::Sync);
    let broker = open(&sim);
    let topic = broker.create_topic("t", config.clone()).unwrap();
    topic.producer().unwrap().send(Record::new("old")).unwrap().wait().unwrap();
    broker.close().wait().unwrap();
    let sim = SimEnvironment::on(sim.disk().snapshot(), 2);
    let broker = open(&sim);
    sim.clock().advance(HOUR * 3);
    let producer = broker.topic("t").unwrap().producer().unwrap();
    producer.send(Record::new("young")).unwrap().wait().unwrap();

    let sim = SimEnvironment::on(sim.disk().after_kill(), 2);
    let broker = open(&sim);
    // It ends, and something else is behind it.
    broker.alter_topic("t", config.durability(Durability::Memory)).unwrap();
    let topic = broker.topic("t").unwrap();
    topic.producer().unwrap().send(Record::new("behind")).unwrap().wait().unwrap();
    broker.alter_topic("t", topic.config().retention(Retention::age(HOUR * 2))).unwrap();
    broker.tick().unwrap();
    topic.retain().unwrap();
    assert_eq!(topic.partition(0).unwrap().log_start_offset(), Offset::ZERO);
    sim.clock().advance(HOUR * 3);
    topic.retain().unwrap();
    assert!(topic.partition(0).unwrap().log_start_offset().get() >= 2);
}

/// A deleted topic that somebody still reads: its retention leaves the topic of the same name alone.
#[test]
fn retention_of_a_deleted_topic_touches_no_other() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config = TopicConfig::new().segment_size(ByteSize::kib(16)).max_record_size(ByteSize::kib(8));
    let config = config.retention(Retention::age(HOUR));
    let fill = |topic: &Topic| {
        let producer = topic.producer().unwrap();
        for _ in 0..40 {
            producer.send(Record::new(&[b'x'; 1000])).unwrap().wait().unwrap();
        }
    };
    let old = broker.create_topic("t", config.clone()).unwrap();
    fill(&old);
    let reader = old.partition(0).unwrap().read(..).unwrap();
    broker.delete_topic("t").unwrap();
    let new = broker.create_topic("t", config.retention(Retention::forever())).unwrap();
    fill(&new);
    sim.clock().advance(HOUR * 2);
    broker.tick().unwrap();
    drop(reader);
    let sim = SimEnvironment::on(sim.disk().after_kill(), 2);
    let partition = open(&sim).topic("t").unwrap().partition(0).unwrap();
    assert_eq!((partition.log_start_offset().get(), partition.log_end_offset().get()), (0, 40));
}

/// Nothing is due in a partition whose topic is gone, though somebody still has it.
#[test]
fn a_tick_passes_over_what_is_left_of_a_deleted_topic() {
    for level in [Durability::Sync, Durability::Interval(Duration::from_millis(400)), Durability::Memory] {
        let sim = SimEnvironment::new(1);
        let broker = open(&sim);
        let topic = broker.create_topic("t", TopicConfig::new().durability(level)).unwrap();
        let _delivery = topic.producer().unwrap().send(Record::new("a")).unwrap();
        let _reader = topic.partition(0).unwrap().read(..).unwrap();
        broker.delete_topic("t").unwrap();
        for _ in 0..3 {
            sim.clock().advance(HOUR);
            broker.tick().unwrap();
        }
    }
}

/// A checkpoint makes more of an index durable than lies below its point. A power cut takes the batches behind the
/// point; their entries are no damage.
#[test]
fn entries_of_batches_that_a_power_cut_took_are_no_damage() {
    let sim = SimEnvironment::new(1);
    let seldom =
        BrokerConfig::new().background(Background::Manual).checkpoint_interval(Duration::from_secs(6));
    let broker = Broker::builder("/data").environment(sim.environment()).config(seldom).open().unwrap();
    let level = Durability::Interval(Duration::from_secs(10));
    let config = TopicConfig::new().durability(level).index_interval(ByteSize::bytes(0));
    let topic = broker.create_topic("t", config).unwrap();
    let producer = topic.producer().unwrap();
    let send = || producer.send_batch([Record::new("a")]).unwrap().wait().unwrap();
    (0..5).for_each(|_| drop(send()));
    sim.clock().advance(Duration::from_millis(5_100));
    broker.tick().unwrap();
    (0..5).for_each(|_| drop(send()));
    // The point that follows from the flush.
    sim.clock().advance(Duration::from_secs(1));
    broker.tick().unwrap();
    let dark = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 2);
    let broker = open(&dark);
    assert_eq!(broker.topic("t").unwrap().partition(0).unwrap().log_end_offset().get(), 5);
    let report = Observer::open_in(dark.environment(), "/data").unwrap().verify(|_| {}).unwrap();
    assert!(report.findings().is_empty(), "{:?}", report.findings());
}

/// A member that was put out comes back to the topics that are left, as one that has stayed goes on with them.
#[test]
fn a_member_that_was_put_out_comes_back_though_one_of_its_topics_is_deleted() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let left = broker.create_topic("left", TopicConfig::new()).unwrap();
    broker.create_topic("gone", TopicConfig::new()).unwrap();
    let mut member = broker.group("g").unwrap().join(["left", "gone"]).unwrap();
    assert!(member.poll().wait_timeout(Duration::ZERO).unwrap().is_empty());
    broker.delete_topic("gone").unwrap();
    sim.clock().advance(HOUR);
    broker.tick().unwrap();
    left.producer().unwrap().send(Record::new("a")).unwrap().wait().unwrap();
    let mut polls = (0..3).map(|_| member.poll().wait_timeout(Duration::ZERO).unwrap().iter().count());
    assert!(polls.any(|count| count == 1));
}

/// A crash while records are deleted takes no producer's number with them.
#[test]
fn a_crash_while_records_are_deleted_forgets_no_producer() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let named = topic.idempotent_producer("named").unwrap();
    named.send([Record::new("a"), Record::new("b")]).unwrap().wait().unwrap();
    sim.disk().snapshot_every_call(100);
    topic.partition(0).unwrap().delete_records(Offset::new(2).unwrap()).unwrap();
    for disk in sim.disk().take_snapshots() {
        for left in [disk.after_kill(), disk.after_power_cut_losing_everything()] {
            let broker = open(&SimEnvironment::on(left, 2));
            let named = broker.topic("t").unwrap().idempotent_producer("named").unwrap();
            assert_eq!(named.last_acknowledged(0).unwrap(), Some(1));
        }
    }
}

/// A reader of a deleted topic reads what it still has, and never a topic of the same name.
#[test]
fn a_reader_of_a_deleted_topic_reads_no_other() {
    let sim = SimEnvironment::new(1);
    let few = BrokerConfig::new().background(Background::Manual).max_open_segments(16);
    let broker = Broker::builder("/data").environment(sim.environment()).config(few).open().unwrap();
    let config = TopicConfig::new().segment_size(ByteSize::kib(16)).max_record_size(ByteSize::kib(8));
    let fill = |topic: &Topic, with: u8| {
        let producer = topic.producer().unwrap();
        for _ in 0..400 {
            producer.send(Record::new(&[with; 1000])).unwrap().wait().unwrap();
        }
        sim.clock().advance(HOUR);
        broker.tick().unwrap();
    };
    let old = broker.create_topic("t", config.clone()).unwrap();
    fill(&old, b'x');
    let mut reader = old.partition(0).unwrap().read(..).unwrap();
    broker.delete_topic("t").unwrap();
    let new = broker.create_topic("t", config).unwrap();
    fill(&new, b'y');
    let mut count = 0;
    let end = loop {
        match reader.next() {
            Ok(Some(records)) => {
                for record in records.iter() {
                    count += 1;
                    assert_eq!(record.value().unwrap(), Some(&[b'x'; 1000][..]), "at {}", record.offset());
                }
            }
            end => break end.map(|_| ()),
        }
    };
    assert_eq!(end.unwrap_err().kind(), ErrorKind::Closed, "after {count} records");
}

/// Whoever looks from outside while the offsets topic is being made sees no groups yet, and no error.
#[test]
fn groups_can_be_told_while_the_first_one_is_made() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    broker.create_topic("t", TopicConfig::new()).unwrap();
    sim.disk().snapshot_every_call(1_000);
    let _member = broker.group("g").unwrap().join("t").unwrap();
    let states = sim.disk().take_snapshots();
    assert!(states.len() > 5);
    for state in states {
        let beside = SimEnvironment::on(state.after_kill(), 1);
        let observer = Observer::open_in(beside.environment(), "/data").unwrap();
        assert!(observer.groups().unwrap().len() <= 1);
        observer.watch().look().unwrap();
    }
}

/// A file that gets shorter, because its broker gives back room that it has not used, is read to its end from outside.
#[test]
fn room_that_is_given_back_disturbs_nobody_outside() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = broker.create_topic("t", TopicConfig::new().durability(Durability::Memory)).unwrap();
    let producer = topic.producer().unwrap();
    for _ in 0..300 {
        drop(producer.send(Record::new(&[b'x'; 1_000])).unwrap());
    }
    producer.flush().wait().unwrap();
    let observer = Observer::open_in(sim.environment(), "/data").unwrap();
    let mut records = observer.read("t", 0, ..).unwrap();
    records.next().unwrap().unwrap();
    for _ in 0..3 {
        sim.clock().advance(HOUR);
        broker.tick().unwrap();
    }
    let mut count = 1;
    while records.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 300);
}

/// A base offset is under no checksum, and a compacted log has gaps: what lies beyond the end is damage all the same,
/// for readers, for whoever verifies, and for a repair.
#[test]
fn a_batch_that_claims_offsets_beyond_the_log_is_corrupt() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact).segment_size(ByteSize::kib(16));
    let config = config.max_record_size(ByteSize::kib(8)).min_cleanable_dirty_percent(0);
    let topic = broker.create_topic("t", config).unwrap();
    let producer = topic.producer().unwrap();
    for number in 0..200 {
        let key = format!("key {}", number % 40);
        producer.send(Record::new(&[b'x'; 1_000]).key(&key)).unwrap().wait().unwrap();
    }
    sim.clock().advance(HOUR);
    broker.tick().unwrap();
    topic.compact().and_then(|compaction| compaction.wait()).unwrap();
    broker.close().wait().unwrap();
    let logs = sim.disk().files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "log"));
    let logs: Vec<_> = logs.filter(|path| !sim.disk().read_file(path).unwrap().is_empty()).collect();
    assert!(logs.len() > 1);
    for path in logs {
        let flipped = SimEnvironment::on(sim.disk().after_kill(), 2);
        flipped.disk().flip_bit(&path, 2, 3).unwrap();
        let observer = Observer::open_in(flipped.environment(), "/data").unwrap();
        assert_eq!(observer.verify(|_| {}).unwrap().verdict(), Verdict::Corrupt, "{}", path.display());
        let copy = SimEnvironment::on(flipped.disk().snapshot(), 2);
        let mut reader = open(&copy).topic("t").unwrap().partition(0).unwrap().read(..).unwrap();
        let error = loop {
            match reader.next() {
                Ok(records) => assert!(records.is_some(), "the log ends in silence: {}", path.display()),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Corrupted, "{error}");
        repair_in(flipped.environment(), "/data").unwrap();
        let broker = open(&flipped);
        assert!(broker.topic("t").unwrap().partition(0).unwrap().log_end_offset().get() <= 200);
        broker.close().wait().unwrap();
        assert_eq!(observer.verify(|_| {}).unwrap().verdict(), Verdict::Clean);
    }
}

/// Offsets that are just expiring are deleted when that is told, and not only soon.
#[test]
fn offsets_that_expire_just_now_are_deleted_when_that_is_told() {
    let sim = SimEnvironment::new(1);
    let config = BrokerConfig::new().background(Background::Manual).offsets_retention(HOUR);
    let open = |sim: &SimEnvironment| {
        Broker::builder("/data").environment(sim.environment()).config(config.clone()).open().unwrap()
    };
    let broker = open(&sim);
    broker.create_topic("t", TopicConfig::new()).unwrap();
    let tp = TopicPartition::new(TopicName::new("t").unwrap(), 0);
    broker.group("g").unwrap().reset_partition(&tp, Offset::ZERO).unwrap();
    assert!(broker.group("g").unwrap().committed(&tp).unwrap().is_some());
    broker.create_topic("u", TopicConfig::new()).unwrap();
    let _member = broker.group("g").unwrap().join("u").unwrap();
    for _ in 0..2 {
        sim.clock().advance(HOUR);
        broker.tick().unwrap();
    }
    broker.group("g").unwrap().delete_offsets("t").unwrap();
    assert!(broker.group("g").unwrap().committed(&tp).unwrap().is_none());
    let dark = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 2);
    assert!(open(&dark).group("g").unwrap().committed(&tp).unwrap().is_none());
}

/// Offsets that were set for a group which nobody ever joins expire, too.
#[test]
fn offsets_that_were_set_and_never_used_expire() {
    let sim = SimEnvironment::new(1);
    let config = BrokerConfig::new().background(Background::Manual).offsets_retention(HOUR);
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap();
    broker.create_topic("t", TopicConfig::new()).unwrap();
    let tp = TopicPartition::new(TopicName::new("t").unwrap(), 0);
    broker.group("g").unwrap().reset_partition(&tp, Offset::ZERO).unwrap();
    for _ in 0..3 {
        sim.clock().advance(HOUR);
        broker.tick().unwrap();
    }
    assert!(broker.group("g").unwrap().committed(&tp).unwrap().is_none());
}
