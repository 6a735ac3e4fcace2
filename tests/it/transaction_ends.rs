//! Readers of committed records wait for no transaction longer than it may take: held operations, failed disks,
//! damage of the topic that says how transactions have ended.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, ReadMode, ReaderConfig, TransactionConfig};
use millpond::prelude::*;
use millpond::testing::{Failure, Fault, Op, SimDisk, SimEnvironment, Times};
use millpond::txn::TransactionState;
use millpond::{ErrorKind, Observer, TopicName, TopicPartition};

fn open(sim: &SimEnvironment) -> Broker {
    try_open(sim).unwrap()
}

fn try_open(sim: &SimEnvironment) -> millpond::Result<Broker> {
    let config = BrokerConfig::new().background(Background::Manual).max_block(Duration::from_millis(50));
    Broker::builder("/data").environment(sim.environment()).config(config).open()
}

fn by_committed(topic: &Topic, partition: u32) -> millpond::Result<Vec<String>> {
    let config = ReaderConfig::new().isolation(Isolation::ReadCommitted);
    let mut reader = topic.partition(partition)?.reader_builder().config(config).build()?;
    let mut seen = Vec::new();
    while let Some(records) = reader.next()? {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap()).into_owned();
        seen.extend(records.iter().map(|record| text(record.value().unwrap())));
    }
    Ok(seen)
}

#[test]
fn a_commit_that_is_held_and_never_looked_at_again_ends_in_its_time() {
    for polls in 0..2 {
        let sim = SimEnvironment::new(1);
        sim.disk().start_log();
        let broker = open(&sim);
        let config = TopicConfig::new().partitions(3).segment_size(ByteSize::mib(1));
        let topic = broker.create_topic("t", config).unwrap();
        let timeout = TransactionConfig::new().timeout(Duration::from_secs(5));
        let mut producer = broker.transactional_builder("one").config(timeout).build().unwrap();
        let mut txn = producer.begin().unwrap();
        for partition in 0..3 {
            txn.send("t", Record::new("x").partition(partition)).unwrap();
        }
        let mut held = pin!(txn.commit());
        for _ in 0..polls {
            assert!(held.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            broker.tick().unwrap();
        }
        sim.clock().advance(Duration::from_secs(6));
        broker.tick().unwrap();
        for partition in 0..3 {
            assert_eq!(by_committed(&topic, partition).unwrap(), ["x"], "{polls} polls");
        }
        let now = held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(now, std::task::Poll::Ready(Ok(()))));
    }
}

const STATE: &str = "/data/__transaction_state-0/00000000000000000000.log";

/// Where each batch of the topic of transactions begins, and the end.
fn batches(disk: &SimDisk) -> Vec<u64> {
    let bytes = disk.read_file(Path::new(STATE)).unwrap();
    let mut starts = vec![0];
    while let Some(length) = bytes.get(starts[starts.len() - 1] + 8..).and_then(|rest| rest.get(..4)) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        starts.push(starts[starts.len() - 1] + 12 + length);
    }
    starts.into_iter().map(|at| at as u64).collect()
}

/// A crash after `first` has committed, whose markers are lost, and while `second` has records in the log. What the
/// topic of transactions holds lies below its recovery point: damage there is no torn tail. Answers the producer
/// ids, too.
pub(crate) fn crashed() -> (SimDisk, [i64; 2]) {
    let sim = SimEnvironment::new(1);
    let config = BrokerConfig::new()
        .background(Background::Manual)
        .checkpoint_interval(Duration::from_millis(1))
        .max_block(Duration::from_millis(50));
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap();
    let config =
        TopicConfig::new().partitions(2).segment_size(ByteSize::mib(4)).durability(Durability::Memory);
    let topic = broker.create_topic("t", config).unwrap();
    let mut first = broker.transactional("first").unwrap();
    let mut second = broker.transactional("second").unwrap();
    let large = "x".repeat(600_000);
    let mut open = second.begin().unwrap();
    for partition in [0, 0, 0, 1, 1, 1] {
        open.send(&topic, Record::new(&large).partition(partition)).unwrap();
    }
    topic.producer().unwrap().flush().wait().unwrap();
    let mut txn = first.begin().unwrap();
    let ids = [txn.producer_id().get(), open.producer_id().get()];
    for partition in 0..2 {
        txn.send(&topic, Record::new("a").partition(partition)).unwrap();
    }
    txn.commit().wait().unwrap();
    sim.clock().advance(Duration::from_millis(2));
    broker.tick().unwrap();
    (sim.disk().after_power_cut_losing_everything(), ids)
}

pub(crate) fn damaged(disk: &SimDisk, record: usize) -> SimEnvironment {
    let disk = disk.snapshot();
    let starts = batches(&disk);
    assert_eq!(starts.len(), 4, "two ids taken, one commit");
    disk.flip_bit(Path::new(STATE), starts[record + 1] - 3, 2).unwrap();
    SimEnvironment::on(disk, 3)
}

fn last_stable_is_the_end(topic: &Topic) -> bool {
    (0..2).all(|number| {
        let partition = topic.partition(number).unwrap();
        partition.last_stable_offset() == partition.high_watermark()
    })
}

#[test]
fn what_a_record_says_holds_though_another_one_is_damaged() {
    let (disk, _) = crashed();
    for damage in [None, Some(0)] {
        let sim = match damage {
            Some(record) => damaged(&disk, record),
            None => SimEnvironment::on(disk.snapshot(), 3),
        };
        sim.disk().start_log();
        let broker = open(&sim);
        let topic = broker.topic("t").unwrap();
        assert!(broker.undecided_transactions().is_empty());
        assert!(last_stable_is_the_end(&topic));
        for partition in 0..2 {
            assert_eq!(by_committed(&topic, partition).unwrap(), ["a"], "{damage:?}");
        }
        let taken = broker.transactional("first").map(|_| ());
        match damage {
            Some(_) => assert_eq!(taken.unwrap_err().kind(), ErrorKind::Corrupted),
            None => taken.unwrap(),
        }
    }
}

#[test]
fn what_a_damaged_record_may_have_committed_is_neither_aborted_nor_waited_for() {
    let (disk, ids) = crashed();
    for (record, hidden) in [(1, &ids[1..]), (2, &ids[..])] {
        let sim = damaged(&disk, record);
        sim.disk().start_log();
        let broker = open(&sim);
        let topic = broker.topic("t").unwrap();
        let undecided = broker.undecided_transactions();
        let found: Vec<_> = undecided.iter().map(|one| one.producer_id().get()).collect();
        assert_eq!(found.len(), hidden.len());
        assert!(hidden.iter().all(|id| found.contains(id)), "{found:?} {hidden:?}");
        for partition in 0..2 {
            assert_eq!(by_committed(&topic, partition).unwrap_err().kind(), ErrorKind::Corrupted);
            let config = ReaderConfig::new().isolation(Isolation::ReadCommitted);
            let partition = topic.partition(partition).unwrap();
            let mut reader = partition.reader_builder().config(config).build().unwrap();
            let polled = reader.poll().wait_timeout(Duration::from_secs(60)).map(|_| ());
            assert_eq!(polled.unwrap_err().kind(), ErrorKind::Corrupted);
        }
        // Time does not tell, either.
        sim.clock().advance(Duration::from_secs(3600));
        broker.tick().unwrap();
        assert_eq!(broker.undecided_transactions(), undecided);
        // The rest of the broker works; transactions do not.
        let plain = topic.producer().unwrap();
        plain.send(Record::new("plain").partition(0)).unwrap().wait().unwrap();
        assert_eq!(broker.transactional("first").map(|_| ()).unwrap_err().kind(), ErrorKind::Corrupted);
        // After another crash it is the same.
        let again = open(&SimEnvironment::on(sim.disk().after_kill(), 4));
        assert_eq!(again.undecided_transactions(), undecided);
        drop(again);

        for one in &undecided {
            if one.producer_id().get() == ids[0] {
                broker.commit_undecided(one).unwrap();
            } else {
                broker.abort_undecided(one).unwrap();
            }
            let twice = broker.abort_undecided(one).unwrap_err();
            assert_eq!(twice.kind(), ErrorKind::InvalidArgument);
        }
        assert!(broker.undecided_transactions().is_empty() && last_stable_is_the_end(&topic));
        assert_eq!(by_committed(&topic, 0).unwrap(), ["a", "plain"]);
        assert_eq!(by_committed(&topic, 1).unwrap(), ["a"]);
        // It lasts, and repair makes transactions possible again.
        let sim = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 5);
        let report = millpond::broker::repair_in(sim.environment(), "/data").unwrap();
        assert!(!report.actions().is_empty());
        sim.disk().start_log();
        let broker = open(&sim);
        let topic = broker.topic("t").unwrap();
        assert_eq!(by_committed(&topic, 1).unwrap(), ["a"]);
        let mut first = broker.transactional("first").unwrap();
        let mut txn = first.begin().unwrap();
        txn.send(&topic, Record::new("b").partition(1)).unwrap();
        txn.commit().wait().unwrap();
        assert_eq!(by_committed(&topic, 1).unwrap(), ["a", "b"]);
    }
}

#[test]
fn a_failed_disk_under_the_topic_of_transactions_holds_nobody_up() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config =
        TopicConfig::new().partitions(2).segment_size(ByteSize::mib(4)).durability(Durability::Memory);
    let topic = broker.create_topic("t", config).unwrap();
    let timeout = TransactionConfig::new().timeout(Duration::from_secs(5));
    let mut slow = broker.transactional_builder("slow").config(timeout).build().unwrap();
    let mut unlucky = broker.transactional("unlucky").unwrap();
    let mut open_one = slow.begin().unwrap();
    let large = "x".repeat(600_000);
    for _ in 0..3 {
        open_one.send(&topic, Record::new(&large).partition(0)).unwrap();
    }
    for value in ["warm", "u"] {
        let mut txn = unlucky.begin().unwrap();
        txn.send(&topic, Record::new(value).partition(1)).unwrap();
        if value == "warm" {
            txn.commit().wait().unwrap();
            continue;
        }
        // The data, then the record.
        sim.disk().inject(Failure::nth(2, Fault::Io).only(Op::Sync));
        let unknown = txn.commit().wait().unwrap_err();
        assert!(matches!(unknown.kind(), ErrorKind::Io | ErrorKind::Poisoned), "{unknown}");
        sim.disk().stop_failing();
    }
    // Whether it holds nobody can say before the next opening: who waits for it is told so.
    assert_eq!(by_committed(&topic, 1).unwrap_err().kind(), ErrorKind::Poisoned);
    // What is open ends in its time, though its record cannot be written.
    sim.clock().advance(Duration::from_secs(6));
    broker.tick().unwrap();
    let partition = topic.partition(0).unwrap();
    assert_eq!(partition.last_stable_offset(), partition.high_watermark());
    assert!(by_committed(&topic, 0).unwrap().is_empty());
    drop(open_one);
    for disk in [sim.disk().after_kill(), sim.disk().after_power_cut_losing_everything()] {
        let broker = open(&SimEnvironment::on(disk, 2));
        let topic = broker.topic("t").unwrap();
        assert!(by_committed(&topic, 0).unwrap().is_empty());
        by_committed(&topic, 1).unwrap();
        assert!(last_stable_is_the_end(&topic));
    }
}

#[test]
fn a_record_that_does_not_fit_leaves_earlier_commits_alone() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config = TopicConfig::new()
        .partitions(2)
        .segment_size(ByteSize::mib(1))
        .max_record_size(ByteSize::kib(64))
        .durability(Durability::Memory);
    let topic = broker.create_topic("t", config).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut first = producer.begin().unwrap();
    first.send(&topic, Record::new("a").partition(0)).unwrap();
    first.commit().wait().unwrap();
    // Its marker is in memory only. What comes does not reach that partition.
    let large = "x".repeat(100_000);
    let mut second = producer.begin().unwrap();
    let refused = second.send(&topic, Record::new(&large).partition(0)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::RecordTooLarge { .. }), "{refused}");
    second.send(&topic, Record::new("b").partition(1)).unwrap();
    second.commit().wait().unwrap();
    for disk in [sim.disk().after_power_cut_losing_everything(), sim.disk().after_kill()] {
        let broker = open(&SimEnvironment::on(disk, 2));
        let topic = broker.topic("t").unwrap();
        assert_eq!(by_committed(&topic, 0).unwrap(), ["a"]);
        assert_eq!(by_committed(&topic, 1).unwrap(), ["b"]);
        assert!(last_stable_is_the_end(&topic));
    }
}

#[test]
fn a_batch_that_no_longer_fits_its_segments_aborts_the_transaction() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config =
        TopicConfig::new().partitions(2).segment_size(ByteSize::mib(4)).durability(Durability::Memory);
    let topic = broker.create_topic("t", config).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let large = "x".repeat(100_000);
    let mut txn = producer.begin().unwrap();
    for _ in 0..10 {
        txn.send(&topic, Record::new(&large).partition(0)).unwrap();
    }
    broker.alter_topic("t", topic.config().segment_size(ByteSize::kib(256))).unwrap();
    // The batch is full: the ten records are handed over before this one.
    let lost = txn.send(&topic, Record::new(&large).partition(0)).unwrap_err();
    assert!(matches!(lost.kind(), ErrorKind::RecordTooLarge { .. }), "{lost}");
    let after = txn.send(&topic, Record::new("b").partition(1)).unwrap_err();
    assert_eq!(after.kind(), ErrorKind::TransactionAborted);
    assert_eq!(txn.commit().wait().unwrap_err().kind(), ErrorKind::TransactionAborted);
    assert!(by_committed(&topic, 1).unwrap().is_empty());
}

#[test]
fn an_undecided_transaction_that_is_half_ended_ends_the_same_way_everywhere() {
    let (disk, ids) = crashed();
    for failing in 1..=2 {
        let sim = damaged(&disk, 2);
        sim.disk().start_log();
        let broker = open(&sim);
        let of = |broker: &Broker, id: i64| {
            let undecided = broker.undecided_transactions();
            undecided.into_iter().find(|one| one.producer_id().get() == id).unwrap()
        };
        let one = of(&broker, ids[1]);
        assert_eq!(one.partitions().len(), 2);
        sim.disk().inject(Failure::nth(failing, Fault::Io).only(Op::Sync));
        assert_eq!(broker.abort_undecided(&one).unwrap_err().kind(), ErrorKind::Io);
        sim.disk().stop_failing();
        // Who has a change of mind comes too late.
        let other = broker.commit_undecided(&one).unwrap_err();
        assert_eq!(other.kind(), ErrorKind::InvalidArgument, "{other}");
        // The partition whose flush has failed is poisoned.
        broker.abort_undecided(&one).unwrap_err();
        // The next opening knows of the part that was flushed only: the same call ends the rest.
        let broker = open(&SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 5));
        let topic = broker.topic("t").unwrap();
        let rest = of(&broker, ids[1]);
        assert_eq!(rest.partitions().len(), if failing == 1 { 2 } else { 1 });
        broker.abort_undecided(&rest).unwrap();
        broker.commit_undecided(&of(&broker, ids[0])).unwrap();
        for partition in 0..2 {
            assert_eq!(by_committed(&topic, partition).unwrap(), ["a"]);
        }
        assert!(broker.undecided_transactions().is_empty() && last_stable_is_the_end(&topic));
    }
}

#[test]
fn who_is_given_a_partition_whose_offsets_nobody_can_tell_is_told_so() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config = TopicConfig::new().segment_size(ByteSize::mib(1));
    let source = broker.create_topic("in", config).unwrap();
    source.producer().unwrap().send_batch(["a", "b"].map(Record::new)).unwrap().wait().unwrap();
    let mut consumer = broker.group("g").unwrap().join("in").unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let soon = Duration::from_millis(20);
    let records = consumer.poll().wait_timeout(soon).unwrap();
    let mut txn = producer.begin().unwrap();
    txn.commit_offsets(&consumer, &records).unwrap();
    drop((records, consumer));
    let mut next = broker.group("g").unwrap().join("in").unwrap();
    assert!(next.poll().wait_timeout(soon).unwrap().is_empty(), "pending");
    // The offsets, then the record.
    sim.disk().inject(Failure::nth(2, Fault::Io).only(Op::Sync));
    txn.commit().wait().unwrap_err();
    sim.disk().stop_failing();
    for _ in 0..2 {
        assert_eq!(next.poll().wait_timeout(soon).map(|_| ()).unwrap_err().kind(), ErrorKind::Poisoned);
    }
    let mut later = broker.group("g").unwrap().join("in").unwrap();
    drop(next);
    assert_eq!(later.poll().wait_timeout(soon).map(|_| ()).unwrap_err().kind(), ErrorKind::Poisoned);
    // The next opening knows.
    let broker = open(&SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 2));
    let mut next = broker.group("g").unwrap().join("in").unwrap();
    assert_eq!(next.poll().wait_timeout(soon).unwrap().iter().count(), 2);
}

#[test]
fn an_awaited_commit_goes_on_when_a_full_disk_has_room_again() {
    let sim = SimEnvironment::new(1);
    // Batches are staged.
    let config = BrokerConfig::new().background(Background::Manual).read_mode(ReadMode::Buffered);
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap();
    let config = TopicConfig::new().segment_size(ByteSize::mib(1)).durability(Durability::Memory);
    let topic = broker.create_topic("t", config).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("a")).unwrap();
    txn.commit().wait().unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("b")).unwrap();
    // There is no room for the batch that is staged.
    sim.disk().inject(Failure::nth(1, Fault::StorageFull).only(Op::Write).times(Times::Always));
    let mut commit = pin!(txn.commit());
    let mut poll = || commit.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll().is_pending());
    assert_eq!(broker.tick().unwrap_err().kind(), ErrorKind::StorageFull);
    sim.disk().stop_failing();
    for _ in 0..4 {
        sim.clock().advance(Duration::from_millis(300));
        broker.tick().unwrap();
    }
    // No poll in between: what was asked for is not forgotten.
    let partition = topic.partition(0).unwrap();
    assert_eq!(partition.flushed_offset(), partition.log_end_offset());
    for _ in 0..4 {
        if poll().is_ready() {
            break;
        }
        broker.tick().unwrap();
    }
    assert_eq!(by_committed(&topic, 0).unwrap(), ["a", "b"]);
}

/// A crash while a transaction with offsets of one group is open, and another group has committed behind them; and so
/// many other transactions that their markers do not fit into the memory for records that wait to be written.
fn crashed_with_offsets_behind_open_ones() -> SimDisk {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config = TopicConfig::new().segment_size(ByteSize::mib(4));
    let source = broker.create_topic("in", config.clone()).unwrap();
    let many = broker.create_topic("many", config).unwrap();
    source.producer().unwrap().send_batch(["a", "b", "c"].map(Record::new)).unwrap().wait().unwrap();
    let mut others: Vec<_> = (0..850).map(|n| broker.transactional(format!("other-{n}")).unwrap()).collect();
    let commit = |other: &mut TransactionalProducer| {
        let mut txn = other.begin().unwrap();
        txn.send(&many, Record::new("x")).unwrap();
        txn.commit()
    };
    let _begun: Vec<_> = others.iter_mut().map(commit).collect();
    many.producer().unwrap().flush().wait().unwrap();
    let soon = Duration::from_millis(20);
    let mut within = broker.group("within").unwrap().join("in").unwrap();
    let mut plain = broker.group("plain").unwrap().join("in").unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let records = within.poll().wait_timeout(soon).unwrap();
    let mut txn = producer.begin().unwrap();
    txn.commit_offsets(&within, &records).unwrap();
    let records = plain.poll().wait_timeout(soon).unwrap();
    plain.commit(&records).wait().unwrap();
    sim.disk().after_kill()
}

#[test]
fn what_a_group_has_committed_is_not_hidden_by_a_marker_that_has_no_room() {
    let disk = crashed_with_offsets_behind_open_ones();
    let config = BrokerConfig::new()
        .background(Background::Manual)
        .max_block(Duration::from_millis(50))
        .buffer_memory(ByteSize::kib(64));
    let open = |sim: &SimEnvironment| {
        Broker::builder("/data").environment(sim.environment()).config(config.clone()).open()
    };
    let whole = SimEnvironment::on(disk.snapshot(), 3);
    let broker = open(&whole).unwrap();
    let writes = whole.disk().calls_of(Op::Write);
    drop(broker);
    // From one of the first markers on there is no room for any.
    let sim = SimEnvironment::on(disk.snapshot(), 3);
    let full = Failure::nth(writes - 848, Fault::StorageFull).only(Op::Write).times(Times::Always);
    sim.disk().inject(full);
    let broker = open(&sim).unwrap();
    let tp = TopicPartition::new(TopicName::new("in").unwrap(), 0);
    let committed = |group: &str| {
        let committed = broker.group(group).unwrap().committed(&tp);
        committed.map(|offset| offset.map(|offset| offset.offset().get()))
    };
    assert_eq!(committed("plain").unwrap_err().kind(), ErrorKind::StorageFull);
    let refused = broker.group("plain").unwrap().join("in").map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    // A topic that is made meanwhile is known afterwards.
    sim.disk().stop_failing();
    broker.create_topic("later", TopicConfig::new().segment_size(ByteSize::mib(1))).unwrap();
    for _ in 0..3 {
        sim.clock().advance(Duration::from_millis(200));
        broker.tick().unwrap();
    }
    assert_eq!(committed("plain").unwrap(), Some(3));
    assert_eq!(committed("within").unwrap(), None);
    let mut consumer = broker.group("plain").unwrap().join("later").unwrap();
    broker.topic("later").unwrap().producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
    let records = consumer.poll().wait_timeout(Duration::from_millis(20)).unwrap();
    assert_eq!(records.iter().count(), 1);
    consumer.commit(&records).wait().unwrap();
}

#[test]
fn what_is_written_down_as_open_is_written_down_as_ended_when_there_is_room_again() {
    let sim = SimEnvironment::new(1);
    let config = BrokerConfig::new()
        .background(Background::Manual)
        .read_mode(ReadMode::Buffered)
        .max_block(Duration::from_millis(50))
        .buffer_memory(ByteSize::kib(64));
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap();
    let config = TopicConfig::new().segment_size(ByteSize::mib(1)).durability(Durability::Memory);
    let topic = broker.create_topic("t", config).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("a")).unwrap();
    let tick = || {
        sim.clock().advance(Duration::from_millis(1_000));
        let _ = broker.tick();
    };
    let state = || {
        // What is staged has to get there.
        broker.transactional("another").unwrap();
        Observer::open_in(sim.environment(), "/data").unwrap().transactions().unwrap()[1].state()
    };
    tick();
    tick();
    assert_eq!(state(), TransactionState::Open);
    sim.disk().inject(Failure::nth(1, Fault::StorageFull).only(Op::Write).times(Times::Always));
    let other = topic.producer().unwrap();
    for size in [100, 0] {
        while other.try_send(Record::new(&"x".repeat(size))).is_ok() {}
    }
    txn.abort();
    sim.disk().stop_failing();
    other.flush().wait().unwrap();
    assert_eq!(state(), TransactionState::Open);
    for _ in 0..3 {
        tick();
    }
    assert_eq!(state(), TransactionState::Aborted);
}

#[test]
fn a_topic_that_was_made_anew_is_sent_to_from_the_next_transaction_on() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let make = || broker.create_topic("t", TopicConfig::new()).unwrap();
    make();
    let mut producer = broker.transactional("one").unwrap();
    let mut send = |value: &str, meanwhile: &dyn Fn()| {
        let mut txn = producer.begin()?;
        txn.send("t", Record::new(value))?;
        meanwhile();
        txn.commit().wait()
    };
    send("a", &|| ()).unwrap();
    broker.delete_topic("t").unwrap();
    assert_eq!(send("b", &|| ()).unwrap_err().kind(), ErrorKind::TopicNotFound);
    let topic = make();
    send("c", &|| ()).unwrap();
    assert_eq!(by_committed(&topic, 0).unwrap(), ["c"]);
    let anew = || {
        broker.delete_topic("t").unwrap();
        make();
    };
    assert_eq!(send("d", &anew).unwrap_err().kind(), ErrorKind::Closed);
    send("e", &|| ()).unwrap();
    assert_eq!(by_committed(&broker.topic("t").unwrap(), 0).unwrap(), ["e"]);
}
