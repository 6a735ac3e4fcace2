//! Consumer groups: shared topics, committed offsets, members that come, go, stall and die.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, GroupConfig, OffsetReset};
use millpond::consumer::{Handover, RebalanceListener};
use millpond::group::{GroupState, OffsetAndMetadata, Range, TopicPattern};
use millpond::prelude::*;
use millpond::testing::{Failure, Fault, Op, SeededRandom, SimEnvironment, Times};
use millpond::{ErrorKind, TopicName, TopicPartition};

pub(crate) const SOON: Duration = Duration::from_millis(20);

pub(crate) fn tp(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), partition)
}

pub(crate) fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

pub(crate) fn memory(partitions: u32) -> TopicConfig {
    TopicConfig::new().partitions(partitions).durability(Durability::Memory).segment_size(ByteSize::mib(1))
}

/// A broker in a directory of its own, with one topic.
pub(crate) fn open(partitions: u32) -> (tempfile::TempDir, Broker, Topic) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("t", memory(partitions)).unwrap();
    (dir, broker, topic)
}

pub(crate) fn simulated(sim: &SimEnvironment) -> Broker {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
}

/// Sends numbers, in turns to all partitions.
pub(crate) fn send(topic: &Topic, numbers: std::ops::Range<u64>) {
    let producer = topic.producer().unwrap();
    let count = u64::from(topic.partition_count());
    for number in numbers {
        let partition = (number % count) as u32;
        drop(producer.send(Record::new(&number.to_be_bytes()).partition(partition)).unwrap());
    }
    producer.flush().wait().unwrap();
}

/// Raising a topic's level brings it to the device first.
pub(crate) fn flush(broker: &Broker, topic: &Topic) {
    let config = topic.config();
    broker.alter_topic("t", config.clone().durability(Durability::Sync)).unwrap();
    broker.alter_topic("t", config).unwrap();
}

pub(crate) fn numbers(records: &Records) -> Vec<u64> {
    let number = |value: Option<&[u8]>| u64::from_be_bytes(value.unwrap().try_into().unwrap());
    records.iter().map(|record| number(record.value().unwrap())).collect()
}

/// Everything that comes within a moment.
pub(crate) fn drain(consumer: &mut Consumer) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let records = consumer.poll().wait_timeout(SOON).unwrap();
        if records.is_empty() {
            return seen;
        }
        seen.extend(numbers(&records));
    }
}

/// Polls all, one after the other, until their partitions are as many as these; what they see goes to `seen`.
fn settle(consumers: &mut [Consumer], partitions: usize, seen: &mut Vec<u64>) {
    for _ in 0..1_000 {
        for consumer in consumers.iter_mut() {
            seen.extend(numbers(&consumer.poll().wait_timeout(Duration::ZERO).unwrap()));
        }
        let mine: usize = consumers.iter().map(|consumer| consumer.assignment().len()).sum();
        if mine == partitions {
            return;
        }
    }
    panic!("{consumers:?}");
}

#[test]
fn a_group_goes_on_where_it_has_committed() {
    let (dir, broker, topic) = open(2);
    send(&topic, 0..10);
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let records = consumer.poll().wait().unwrap();
    assert_eq!(records.iter().count(), 10);
    consumer.commit(&records).wait().unwrap();
    send(&topic, 10..14);
    assert_eq!(drain(&mut consumer).len(), 4, "handed out, but not committed");
    drop((records, consumer));
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 4, "again");
    assert_eq!(consumer.committed(&tp("t", 0)).unwrap().unwrap().offset(), offset(5));
    drop(consumer);
    let mut other = broker.group("another").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut other).len(), 14, "another group has its own way");
    other.commit_all().wait().unwrap();
    drop(other);
    broker.close().wait().unwrap();
    drop((topic, broker));

    let broker = Broker::open(dir.path()).unwrap();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 4, "after a reopening, too");
    let mut other = broker.group("another").unwrap().join("t").unwrap();
    assert!(drain(&mut other).is_empty());
    assert_eq!(broker.topics().len(), 1, "the internal topic is not listed");
}

#[test]
fn members_share_and_hand_over() {
    let (_dir, broker, topic) = open(4);
    send(&topic, 0..8);
    let join = || broker.group("g").unwrap().join("t").unwrap();
    let mut consumers = vec![join()];
    let mut seen = drain(&mut consumers[0]);
    assert_eq!(seen.len(), 8);
    consumers[0].commit_all().wait().unwrap();
    consumers.push(join());
    settle(&mut consumers, 4, &mut seen);
    assert_eq!(consumers.iter().map(|c| c.assignment().len()).collect::<Vec<_>>(), [2, 2]);
    send(&topic, 8..16);
    for consumer in &mut consumers {
        let mine = drain(consumer);
        assert_eq!(mine.len(), 4);
        seen.extend(mine);
    }
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 16);
    assert_eq!(seen.len(), 16, "nothing twice: what went to another had been committed");
    let description = broker.group("g").unwrap().describe().unwrap();
    assert_eq!((description.state(), description.members().len()), (GroupState::Stable, 2));
    drop(consumers.remove(0));
    settle(&mut consumers, 4, &mut seen);
    assert_eq!(broker.group("g").unwrap().describe().unwrap().members().len(), 1);
}

#[test]
fn threads_share_a_topic_and_one_of_them_dies() {
    let (_dir, broker, topic) = open(8);
    send(&topic, 0..4_000);
    let seen = Mutex::new(BTreeMap::new());
    let work = |dies_after: usize| {
        let mut consumer = broker.group("g").unwrap().join("t").unwrap();
        let mut handled = 0;
        while seen.lock().unwrap().len() < 4_000 {
            let records = consumer.poll().wait_timeout(SOON).unwrap();
            for number in numbers(&records) {
                *seen.lock().unwrap().entry(number).or_insert(0) += 1;
                handled += 1;
                assert!(handled < dies_after, "dies on purpose");
            }
            match consumer.commit(&records).wait() {
                Ok(()) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::Rebalanced, "{error}"),
            }
        }
    };
    std::thread::scope(|scope| {
        let dying = scope.spawn(|| work(100));
        let others: Vec<_> = (0..3).map(|_| scope.spawn(|| work(usize::MAX))).collect();
        let _ = dying.join();
        others.into_iter().for_each(|other| other.join().unwrap());
    });
    assert_eq!(seen.lock().unwrap().len(), 4_000);
    assert!(broker.group("g").unwrap().lag().unwrap().iter().all(|lag| lag.records() == 0));
}

#[test]
fn who_does_not_poll_in_time_is_put_out() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(2)).unwrap();
    send(&topic, 0..4);
    let config = GroupConfig::new().max_poll_interval(Duration::from_secs(10));
    let join = || broker.group("g").unwrap().config(config.clone()).join("t").unwrap();
    let mut slow = join();
    let late = slow.poll().wait_timeout(Duration::ZERO).unwrap();
    assert_eq!(late.iter().count(), 4);
    let mut quick = join();
    assert!(quick.poll().wait_timeout(Duration::ZERO).unwrap().is_empty(), "the slow one has all");
    sim.clock().advance(Duration::from_secs(9));
    broker.tick().unwrap();
    assert!(quick.poll().wait_timeout(Duration::ZERO).unwrap().is_empty());
    sim.clock().advance(Duration::from_secs(1));
    broker.tick().unwrap();
    let records = quick.poll().wait_timeout(Duration::ZERO).unwrap();
    assert_eq!(records.iter().count(), 4, "nothing was committed: all again");
    assert_eq!(slow.commit(&late).wait().unwrap_err().kind(), ErrorKind::Fenced);
    quick.commit(&records).wait().unwrap();
    // The slow one comes back as another member.
    let before = slow.member_id().clone();
    assert!(slow.poll().wait_timeout(Duration::ZERO).unwrap().is_empty());
    assert_ne!(slow.member_id(), &before);
    let both = [quick, slow];
    let mut both = both;
    settle(&mut both, 2, &mut Vec::new());
}

#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) assigned: Mutex<Vec<TopicPartition>>,
    pub(crate) revoked: Mutex<Vec<TopicPartition>>,
    pub(crate) lost: Mutex<Vec<TopicPartition>>,
    pub(crate) truncated: Mutex<Vec<(Offset, Offset)>>,
}

pub(crate) struct Listener(pub(crate) Arc<Heard>);

impl RebalanceListener for Listener {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        self.0.assigned.lock().unwrap().extend_from_slice(partitions);
    }

    fn revoked(&mut self, handover: &mut Handover) {
        self.0.revoked.lock().unwrap().extend(handover.partitions().map(|(tp, _)| tp.clone()));
        handover.commit_all();
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.0.lost.lock().unwrap().extend_from_slice(partitions);
    }

    fn truncated(&mut self, _partition: &TopicPartition, committed: Offset, resumed: Offset) {
        self.0.truncated.lock().unwrap().push((committed, resumed));
    }
}

#[test]
fn listeners_hear_of_partitions_and_commit_on_the_way() {
    let (_dir, broker, topic) = open(2);
    send(&topic, 0..6);
    let heard = Arc::new(Heard::default());
    let first = broker.group("g").unwrap().listener(Listener(heard.clone())).join("t").unwrap();
    let mut consumers = vec![first];
    assert_eq!(drain(&mut consumers[0]).len(), 6);
    assert_eq!(heard.assigned.lock().unwrap().len(), 2);
    consumers.push(broker.group("g").unwrap().join("t").unwrap());
    let mut seen = Vec::new();
    settle(&mut consumers, 2, &mut seen);
    assert_eq!(*heard.revoked.lock().unwrap(), [tp("t", 1)]);
    assert!(drain(&mut consumers[1]).is_empty(), "it was committed on the way");
    broker.delete_topic("t").unwrap();
    let gone = consumers[0].poll().wait_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Closed, "{gone}");
    assert_eq!(*heard.lost.lock().unwrap(), [tp("t", 0)]);
    assert_eq!(consumers[0].assignment(), []);
}

#[test]
fn a_static_member_comes_back_after_a_restart() {
    let sim = SimEnvironment::new(3);
    let broker = simulated(&sim);
    broker.create_topic("t", memory(4)).unwrap();
    let join = |broker: &Broker, name: &str| {
        broker.group("g").unwrap().instance_id(name).unwrap().join("t").unwrap()
    };
    let mut both = [join(&broker, "a"), join(&broker, "b")];
    settle(&mut both, 4, &mut Vec::new());
    let before = both[1].assignment();
    let epoch = broker.group("g").unwrap().describe().unwrap().epoch();
    let taken = broker.group("g").unwrap().instance_id("a").unwrap().join("t").unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::GroupInUse);
    let [a, b] = both;
    drop(b);
    a.close().wait().unwrap();
    broker.close().wait().unwrap();
    drop(broker);
    sim.clock().advance(Duration::from_secs(30));

    let broker = simulated(&sim);
    let mut b = join(&broker, "b");
    let _ = b.poll().wait_timeout(Duration::ZERO).unwrap();
    assert_eq!(b.assignment(), before);
    assert_eq!(broker.group("g").unwrap().describe().unwrap().epoch(), epoch, "without a rebalance");
    sim.clock().advance(Duration::from_secs(20));
    broker.tick().unwrap();
    let _ = b.poll().wait_timeout(Duration::ZERO).unwrap();
    assert_eq!(b.assignment().len(), 4, "the other one stayed away for too long");
    b.unsubscribe();
    assert_eq!(broker.group("g").unwrap().describe().unwrap_err().kind(), ErrorKind::GroupNotFound);
}

#[test]
fn topics_come_grow_and_go_under_a_pattern() {
    let (_dir, broker, _topic) = open(1);
    let mut consumer = broker.group("g").unwrap().join(TopicPattern::new("?").unwrap()).unwrap();
    assert!(drain(&mut consumer).is_empty());
    let u = broker.create_topic("u", memory(1)).unwrap();
    broker.create_topic("other", memory(1)).unwrap();
    send(&u, 0..3);
    assert_eq!(drain(&mut consumer).len(), 3);
    broker.add_partitions("u", 3).unwrap();
    send(&u, 3..9);
    assert_eq!(drain(&mut consumer).len(), 6);
    consumer.commit_all().wait().unwrap();
    broker.delete_topic("u").unwrap();
    let u = broker.create_topic("u", memory(1)).unwrap();
    send(&u, 0..2);
    assert_eq!(drain(&mut consumer), [0, 1], "a topic of the same name inherits no offsets");
    assert_eq!(consumer.topics().len(), 2);
}

#[test]
fn positions_are_moved_paused_and_measured() {
    let (_dir, broker, topic) = open(2);
    send(&topic, 0..20);
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 20);
    let zero = tp("t", 0);
    assert_eq!(consumer.position(&zero).unwrap(), Some(offset(10)));
    assert_eq!(consumer.lag(&zero).unwrap(), 0);
    consumer.commit_all().wait().unwrap();
    consumer.seek(&zero, Start::Last(2)).unwrap();
    assert_eq!((consumer.lag(&zero).unwrap(), drain(&mut consumer)), (2, vec![16, 18]));
    consumer.seek(&zero, offset(3)).unwrap();
    consumer.pause([&zero]).unwrap();
    assert_eq!((drain(&mut consumer), consumer.paused()), (vec![], vec![zero.clone()]));
    consumer.commit_all().wait().unwrap();
    assert_eq!(
        consumer.committed(&zero).unwrap().unwrap().offset(),
        offset(3),
        "a commit after a seek goes back"
    );
    consumer.resume([&zero]).unwrap();
    assert_eq!(drain(&mut consumer).len(), 7);
    let note = OffsetAndMetadata::new(offset(5)).metadata("half way");
    consumer.commit_offset(&zero, note).wait().unwrap();
    assert_eq!(consumer.committed(&zero).unwrap().unwrap().metadata_text(), "half way");
    let lag = broker.group("g").unwrap().lag().unwrap();
    assert_eq!(lag.iter().map(|lag| lag.records()).collect::<Vec<_>>(), [5, 0]);
    assert!(lag[0].oldest_unread().is_some() && lag[1].oldest_unread().is_none());
    assert_eq!(lag[0].owner(), Some(consumer.member_id()));
}

#[test]
fn late_commits_do_not_go_back() {
    let (_dir, broker, topic) = open(1);
    send(&topic, 0..4);
    let config = GroupConfig::new().max_records(1).max_bytes(ByteSize::bytes(1));
    let mut consumer = broker.group("g").unwrap().config(config).join("t").unwrap();
    let first = consumer.poll().wait().unwrap();
    send(&topic, 4..8);
    let second = consumer.poll().wait().unwrap();
    consumer.commit(&second).wait().unwrap();
    let committed = consumer.committed(&tp("t", 0)).unwrap();
    consumer.commit(&first).wait().unwrap();
    assert_eq!(consumer.committed(&tp("t", 0)).unwrap(), committed);
}

#[test]
fn the_reset_policy_is_as_the_settings_say() {
    let (_dir, broker, topic) = open(1);
    send(&topic, 0..5);
    let join = |name: &str, reset: OffsetReset| {
        broker.group(name).unwrap().config(GroupConfig::new().offset_reset(reset)).join("t").unwrap()
    };
    assert_eq!(drain(&mut join("earliest", OffsetReset::Earliest)).len(), 5);
    let mut latest = join("latest", OffsetReset::Latest);
    assert_eq!(drain(&mut latest).len(), 0);
    send(&topic, 5..7);
    assert_eq!(drain(&mut latest), [5, 6]);
    let mut fail = join("none", OffsetReset::Fail);
    assert_eq!(fail.poll().wait_timeout(SOON).unwrap_err().kind(), ErrorKind::NoOffset);
    fail.seek(&tp("t", 0), offset(4)).unwrap();
    assert_eq!(drain(&mut fail).len(), 3);
    fail.commit_all().wait().unwrap();
    drop(fail);
    topic.partition(0).unwrap().delete_records(offset(7)).unwrap();
    broker.group("none").unwrap().reset("t", Start::Earliest).unwrap();
    assert!(drain(&mut join("none", OffsetReset::Fail)).is_empty());
}

#[test]
fn administrators_do_not_pull_offsets_from_under_members() {
    let (_dir, broker, topic) = open(2);
    send(&topic, 0..20);
    let group = || broker.group("g").unwrap();
    let mut consumer = group().join("t").unwrap();
    drain(&mut consumer);
    consumer.commit_all().wait().unwrap();
    assert_eq!(group().reset("t", Start::Earliest).unwrap_err().kind(), ErrorKind::GroupInUse);
    assert_eq!(group().delete().unwrap_err().kind(), ErrorKind::GroupInUse);
    assert_eq!(group().delete_offsets("t").unwrap_err().kind(), ErrorKind::GroupInUse);
    drop(consumer);
    let lags = || group().lag().unwrap().iter().map(|lag| lag.records()).collect::<Vec<_>>();
    assert_eq!(lags(), [0, 0]);
    group().shift("t", -3).unwrap();
    assert_eq!(lags(), [3, 3]);
    group().shift("t", 1).unwrap();
    group().reset_partition(&tp("t", 1), Start::Earliest).unwrap();
    assert_eq!(lags(), [2, 10]);
    assert_eq!(group().reset("t", offset(11)).unwrap_err().kind(), OUT_OF_RANGE(11, 10));
    group().delete_offsets("t").unwrap();
    assert_eq!(group().describe().unwrap_err().kind(), ErrorKind::GroupNotFound, "nothing is left of it");
    group().reset("t", Start::Latest).unwrap();
    assert_eq!(broker.groups().unwrap().len(), 1);
    group().delete().unwrap();
    assert!(broker.groups().unwrap().is_empty());
}

#[expect(non_snake_case, reason = "stands for a variant of ErrorKind")]
fn OUT_OF_RANGE(requested: u64, latest: u64) -> ErrorKind {
    ErrorKind::OffsetOutOfRange {
        requested: offset(requested),
        earliest: Offset::ZERO,
        latest: offset(latest),
    }
}

#[test]
fn misuse_is_named() {
    let (_dir, broker, topic) = open(1);
    send(&topic, 0..2);
    let kind = |error: millpond::Error| error.kind();
    assert_eq!(kind(broker.group("").unwrap_err()), ErrorKind::InvalidArgument);
    assert_eq!(kind(broker.group("new\nline").unwrap_err()), ErrorKind::InvalidArgument);
    let group = || broker.group("g").unwrap();
    assert_eq!(kind(group().join("missing").unwrap_err()), ErrorKind::TopicNotFound);
    assert_eq!(kind(group().join("no name").unwrap_err()), ErrorKind::InvalidArgument);
    assert_eq!(kind(group().join("__consumer_offsets").unwrap_err()), ErrorKind::TopicNotFound);
    assert_eq!(kind(group().join(Vec::<&str>::new()).unwrap_err()), ErrorKind::InvalidArgument);
    let config = GroupConfig::new().max_records(0);
    assert_eq!(kind(group().config(config).join("t").unwrap_err()), ErrorKind::InvalidConfig);
    assert_eq!(
        kind(broker.create_topic("__consumer_offsets", memory(1)).unwrap_err()),
        ErrorKind::InvalidArgument
    );
    assert_eq!(kind(broker.delete_topic("__consumer_offsets").unwrap_err()), ErrorKind::InvalidArgument);
    assert!(broker.groups().unwrap().is_empty());

    let mut consumer = group().join("t").unwrap();
    assert_eq!(kind(group().assignor(Range).join("t").unwrap_err()), ErrorKind::InvalidArgument);
    let unpolled = topic.read(Start::Earliest).unwrap().next().unwrap().unwrap();
    assert_eq!(kind(consumer.commit(&unpolled).wait().unwrap_err()), ErrorKind::InvalidArgument);
    let beyond = OffsetAndMetadata::new(offset(3));
    let zero = tp("t", 0);
    assert_eq!(
        kind(consumer.commit_offset(&zero, beyond.clone()).wait().unwrap_err()),
        ErrorKind::Rebalanced
    );
    drain(&mut consumer);
    assert_eq!(kind(consumer.commit_offset(&zero, beyond).wait().unwrap_err()), ErrorKind::InvalidArgument);
    let long = OffsetAndMetadata::new(offset(1)).metadata(&"x".repeat(5_000));
    assert_eq!(kind(consumer.commit_offset(&zero, long).wait().unwrap_err()), ErrorKind::InvalidArgument);
    assert_eq!(kind(consumer.seek(&zero, offset(3)).unwrap_err()), OUT_OF_RANGE(3, 2));
    assert_eq!(kind(consumer.seek(&tp("t", 1), offset(0)).unwrap_err()), ErrorKind::Rebalanced);
    assert_eq!(kind(consumer.pause([&tp("u", 0)]).unwrap_err()), ErrorKind::Rebalanced);
    broker.close().wait().unwrap();
    assert_eq!(kind(consumer.poll().wait().unwrap_err()), ErrorKind::Closed);
    assert_eq!(kind(consumer.commit_all().wait().unwrap_err()), ErrorKind::Closed);
}

#[test]
fn a_poll_is_interrupted_and_ended_by_the_brokers_close() {
    let (_dir, broker, _topic) = open(1);
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let interrupter = consumer.interrupter();
    std::thread::scope(|scope| {
        scope.spawn(|| interrupter.interrupt());
        assert!(consumer.poll().wait().unwrap().is_empty());
        let waiting = scope.spawn(|| consumer.poll().wait().unwrap_err().kind());
        broker.close().wait().unwrap();
        assert_eq!(waiting.join().unwrap(), ErrorKind::Closed);
    });
}

#[test]
fn tasks_wait_for_records_and_commits() {
    let (_dir, broker, topic) = open(3);
    let seen = AtomicU64::new(0);
    let consume = async {
        let mut consumer = broker.group("g").unwrap().join("t").unwrap();
        while seen.load(Ordering::Relaxed) < 30 {
            let records = consumer.poll().await.unwrap();
            seen.fetch_add(records.iter().count() as u64, Ordering::Relaxed);
            consumer.commit(&records).await.unwrap();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| pollster::block_on(consume));
        for n in 0..10 {
            send(&topic, n * 3..(n + 1) * 3);
        }
    });
    assert!(broker.group("g").unwrap().lag().unwrap().iter().all(|lag| lag.records() == 0));
}

#[test]
fn positions_are_committed_automatically_if_asked_for() {
    let (_dir, broker, topic) = open(2);
    send(&topic, 0..10);
    let config = GroupConfig::new().auto_commit_interval(Duration::from_millis(1));
    let mut consumer = broker.group("g").unwrap().config(config).join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 10);
    consumer.close().wait().unwrap();
    assert!(broker.group("g").unwrap().lag().unwrap().iter().all(|lag| lag.records() == 0));
}

#[test]
fn after_a_power_cut_a_group_never_skips() {
    let sim = SimEnvironment::new(5);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(1)).unwrap();
    send(&topic, 0..5);
    flush(&broker, &topic);
    send(&topic, 5..10); // in the page cache only
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 10);
    consumer.commit_all().wait().unwrap(); // durable, unlike what it speaks of
    let after = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 6);
    drop((consumer, topic, broker));

    let broker = simulated(&after);
    let topic = broker.topic("t").unwrap();
    let end = topic.partition(0).unwrap().log_end_offset().get();
    assert!((5..10).contains(&end), "{end}");
    send(&topic, 100..110); // at the same offsets as what was lost
    let heard = Arc::new(Heard::default());
    let mut consumer = broker.group("g").unwrap().listener(Listener(heard.clone())).join("t").unwrap();
    let records = consumer.poll().wait_timeout(Duration::ZERO).unwrap();
    assert_eq!(
        numbers(&records),
        (100..110).collect::<Vec<_>>(),
        "all that is new, from where the logs parted"
    );
    assert_eq!(*heard.truncated.lock().unwrap(), [(offset(10), offset(end))]);
    consumer.commit(&records).wait().unwrap();
    assert_eq!(consumer.committed(&tp("t", 0)).unwrap().unwrap().offset(), offset(end + 10));
}

#[test]
fn after_every_power_cut_a_group_resumes_at_its_last_commit_or_before() {
    for seed in 0..40 {
        let sim = SimEnvironment::new(seed);
        let broker = simulated(&sim);
        let topic = broker.create_topic("t", memory(1)).unwrap();
        send(&topic, 0..50);
        flush(&broker, &topic);
        let config = GroupConfig::new().max_records(1).max_bytes(ByteSize::bytes(1));
        let mut consumer = broker.group("g").unwrap().config(config).join("t").unwrap();
        let (mut acknowledged, mut started) = (0, 0);
        for n in 0..seed % 7 {
            let to = (n + 1) * 7;
            let _ = consumer.poll().wait_timeout(Duration::ZERO).unwrap();
            let commit = consumer.commit_offset(&tp("t", 0), OffsetAndMetadata::new(offset(to)));
            started = to;
            if n % 2 == 0 {
                commit.wait().unwrap();
                acknowledged = to;
            }
        }
        let after = SimEnvironment::on(sim.disk().after_power_cut(&SeededRandom::new(seed)), seed);
        drop((consumer, topic, broker));
        let broker = simulated(&after);
        let committed = broker.group("g").unwrap().committed(&tp("t", 0)).unwrap();
        let committed = committed.map_or(0, |committed| committed.offset().get());
        assert!(
            (acknowledged..=started).contains(&committed),
            "{seed}: {acknowledged} {committed} {started}"
        );
    }
}

#[test]
fn a_thousand_rebalances_leave_nothing_behind() {
    let (_dir, broker, topic) = open(4);
    send(&topic, 0..40);
    let mut stays = [broker.group("g").unwrap().join("t").unwrap()];
    for _ in 0..500 {
        let mut comes = broker.group("g").unwrap().join("t").unwrap();
        let _ = stays[0].poll().wait_timeout(Duration::ZERO).unwrap();
        let _ = comes.poll().wait_timeout(Duration::ZERO).unwrap();
        assert_eq!(comes.assignment().len(), 2);
    }
    settle(&mut stays, 4, &mut Vec::new());
    let description = broker.group("g").unwrap().describe().unwrap();
    assert!(description.rebalances() >= 1_000);
    assert_eq!(description.members().len(), 1);
}

#[test]
fn members_share_256_partitions_one_4_or_64_of_them() {
    [1, 4, 64].into_iter().for_each(share_256_partitions);
}

fn share_256_partitions(members: usize) {
    let sim = SimEnvironment::new(9);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(256).segment_size(ByteSize::kib(64))).unwrap();
    let mut consumers: Vec<_> = (0..members).map(|_| broker.group("g").unwrap().join("t").unwrap()).collect();
    let mut seen = Vec::new();
    for _ in 0..3 {
        settle(&mut consumers, 256, &mut seen);
        consumers.iter_mut().for_each(|c| drop(c.poll().wait_timeout(Duration::ZERO).unwrap()));
    }
    assert!(consumers.iter().all(|consumer| consumer.assignment().len() == 256 / members));
    send(&topic, 0..512);
    for consumer in &mut consumers {
        seen.extend(drain(consumer));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..512).collect::<Vec<_>>());
}

#[test]
fn typed_consumers_decode() {
    const NAMES: TopicDef<Utf8, Utf8> = TopicDef::new("names");
    let (_dir, broker, _topic) = open(1);
    let producer = broker.topic(&NAMES).unwrap().producer().unwrap();
    producer.send(Record::new("Alice").key("a")).unwrap().wait().unwrap();
    let mut consumer = broker.group("g").unwrap().join(&NAMES).unwrap();
    let records = consumer.poll().wait().unwrap();
    let names: Vec<&str> = records.iter().map(|record| record.value().unwrap()).collect();
    assert_eq!(names, ["Alice"]);
    const WRONG: TopicDef<Utf8, millpond::codec::U64> = TopicDef::new("names");
    assert_eq!(broker.group("g").unwrap().join(&WRONG).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// The offsets topic cannot be written: who commits is told, and nothing is seen that does not hold.
#[test]
fn a_failed_write_of_offsets_is_told() {
    for (fault, expected) in [(Fault::Io, ErrorKind::Io), (Fault::StorageFull, ErrorKind::StorageFull)] {
        let sim = SimEnvironment::new(11);
        let broker = simulated(&sim);
        let topic = broker.create_topic("t", memory(1)).unwrap();
        send(&topic, 0..5);
        let mut consumer = broker.group("g").unwrap().join("t").unwrap();
        assert_eq!(drain(&mut consumer).len(), 5);
        let zero = tp("t", 0);
        consumer.commit_offset(&zero, OffsetAndMetadata::new(offset(2))).wait().unwrap();
        sim.disk().inject(Failure::nth(1, fault).only(Op::Write).times(Times::Always));
        let commit = consumer.commit_all();
        let error = commit.wait().expect_err("nothing can be written");
        assert!([expected, ErrorKind::Poisoned].contains(&error.kind()), "{error}");
        assert_eq!(consumer.committed(&zero).unwrap().unwrap().offset(), offset(2));
        sim.disk().stop_failing();
        if expected == ErrorKind::StorageFull {
            consumer.commit_all().wait().unwrap();
            assert_eq!(consumer.committed(&zero).unwrap().unwrap().offset(), offset(5));
        } else {
            assert_eq!(consumer.commit_all().wait().unwrap_err().kind(), ErrorKind::Poisoned);
            // Reading goes on, also for who takes over.
            let mut other = broker.group("g").unwrap().join("t").unwrap();
            drop(consumer);
            assert_eq!(numbers(&other.poll().wait().unwrap()), [2, 3, 4]);
        }
    }
}

/// The offsets topic is damaged: groups say so, everything else works, and nobody starts anew by mistake.
#[test]
fn a_damaged_offsets_topic_is_no_empty_one() {
    let (dir, broker, topic) = open(1);
    send(&topic, 0..5);
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 5);
    consumer.commit_all().wait().unwrap();
    drop(consumer);
    broker.close().wait().unwrap();
    drop((topic, broker));
    let log = dir.path().join("__consumer_offsets-0").join("00000000000000000000.log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[70] ^= 0xff;
    std::fs::write(&log, bytes).unwrap();

    // From outside, too: no groups and no lag would be a comforting answer.
    let observer = millpond::Observer::open(dir.path()).unwrap();
    assert_eq!(observer.groups().unwrap_err().kind(), ErrorKind::Corrupted);
    let sight = observer.watch().look().unwrap();
    assert_eq!(sight.unreadable()[0].kind(), ErrorKind::Corrupted);
    let broker = Broker::open(dir.path()).unwrap();
    let mut reader = broker.topic("t").unwrap().read(Start::Earliest).unwrap();
    // In as many chunks as the flushes have made batches.
    let chunks = std::iter::from_fn(|| reader.next().unwrap());
    assert_eq!(chunks.map(|records| records.iter().count()).sum::<usize>(), 5);
    drop(reader);
    assert_eq!(broker.groups().unwrap_err().kind(), ErrorKind::Corrupted);
    assert_eq!(broker.group("g").unwrap().join("t").unwrap_err().kind(), ErrorKind::Corrupted);
    assert_eq!(
        broker.group("g").unwrap().reset("t", Start::Earliest).unwrap_err().kind(),
        ErrorKind::Corrupted
    );
    broker.delete_topic("t").unwrap();
}

#[test]
fn the_background_puts_out_who_stalls() {
    let (_dir, broker, topic) = open(1);
    send(&topic, 0..3);
    let config = GroupConfig::new().max_poll_interval(Duration::from_millis(50));
    let mut stalls = broker.group("g").unwrap().config(config).join("t").unwrap();
    let late = stalls.poll().wait().unwrap();
    let mut waits = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(numbers(&waits.poll().wait().unwrap()).len(), 3, "woken when the partition is its own");
    assert_eq!(stalls.commit(&late).wait().unwrap_err().kind(), ErrorKind::Fenced);
}

#[test]
fn who_begins_at_the_latest_records_misses_nothing_that_comes_later() {
    let (dir, broker, topic) = open(2);
    send(&topic, 0..10);
    let join = |broker: &Broker| {
        let config = GroupConfig::new().offset_reset(OffsetReset::Latest);
        broker.group("g").unwrap().config(config).join(TopicPattern::new("*").unwrap()).unwrap()
    };
    let mut consumer = join(&broker);
    // Before it has polled: it joined above these.
    send(&topic, 10..12);
    assert_eq!(drain(&mut consumer), [10, 11]);
    // Written before the new partition is noticed.
    broker.add_partitions("t", 3).unwrap();
    send(&topic, 12..15);
    let u = broker.create_topic("u", memory(1)).unwrap();
    send(&u, 100..103);
    let mut seen = drain(&mut consumer);
    seen.sort_unstable();
    assert_eq!(seen, [12, 13, 14, 100, 101, 102]);
    // Nobody reads while these are written, and nothing was committed of what has been read above.
    drop(consumer);
    broker.add_partitions("t", 4).unwrap();
    send(&topic, 15..19);
    broker.close().wait().unwrap();
    drop((topic, u, broker));
    let broker = Broker::open(dir.path()).unwrap();
    let mut seen = drain(&mut join(&broker));
    seen.sort_unstable();
    assert_eq!(seen, [10, 11, 12, 13, 14, 15, 16, 17, 18, 100, 101, 102]);
    // Another member, of a group that has begun.
    let mut both = [join(&broker), join(&broker)];
    let mut seen = Vec::new();
    settle(&mut both, 5, &mut seen);
    seen.extend(both.iter_mut().flat_map(drain));
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 12, "{seen:?}");
}
