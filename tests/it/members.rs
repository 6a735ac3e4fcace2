//! Members of groups where it gets odd: put out and refused, at a seam of two epochs, with records of others.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use millpond::ErrorKind;
use millpond::config::{Compression, GroupConfig, ReaderConfig, Volatile};
use millpond::consumer::{Handover, RebalanceListener};
use millpond::group::{Assignor, GroupAssignment, GroupSubscription, OffsetAndMetadata};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

use crate::groups::{Heard, Listener, drain, flush, memory, numbers, offset, open, send, simulated, tp};

const AT_ONCE: Duration = Duration::ZERO;

fn committed(broker: &Broker) -> Option<Offset> {
    broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().map(|committed| committed.offset())
}

#[test]
fn who_could_not_join_again_tries_at_each_poll() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(1)).unwrap();
    send(&topic, 0..4);
    let config = GroupConfig::new().max_poll_interval(Duration::from_secs(10));
    let join = || {
        let group = broker.group("g").unwrap().config(config.clone());
        group.instance_id("i").unwrap().join("t").unwrap()
    };
    let mut slow = join();
    assert_eq!(drain(&mut slow).len(), 4);
    sim.clock().advance(Duration::from_secs(10));
    broker.tick().unwrap();
    let other = join();
    for _ in 0..2 {
        let refused = slow.poll().wait_timeout(AT_ONCE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::GroupInUse, "its instance id is another's by now");
    }
    drop(other);
    assert_eq!(drain(&mut slow).len(), 4, "nothing was committed");
}

/// A topic with ten records of an epoch that a kill has ended.
fn behind_a_seam_of_epochs() -> (Broker, Topic) {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(1)).unwrap();
    send(&topic, 0..10);
    let sim = SimEnvironment::on(sim.disk().after_kill(), 2);
    drop((topic, broker));
    let broker = simulated(&sim);
    let topic = broker.topic("t").unwrap();
    (broker, topic)
}

#[test]
fn who_seeks_over_a_seam_of_epochs_goes_on_from_there() {
    let (broker, topic) = behind_a_seam_of_epochs();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 10);
    send(&topic, 10..20);
    consumer.seek(&tp("t", 0), Start::Latest).unwrap();
    consumer.commit_all().wait().unwrap();
    drop(consumer);
    let heard = Arc::new(Heard::default());
    let mut consumer = broker.group("g").unwrap().listener(Listener(heard.clone())).join("t").unwrap();
    assert!(drain(&mut consumer).is_empty(), "it has gone to the end");
    assert!(heard.truncated.lock().unwrap().is_empty(), "nothing was");
}

#[test]
fn who_seeks_back_over_a_seam_of_epochs_commits_the_one_before_it() {
    let (broker, topic) = behind_a_seam_of_epochs();
    send(&topic, 10..20);
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 20);
    consumer.commit_all().wait().unwrap();
    let end = broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().unwrap();
    consumer.seek(&tp("t", 0), Start::Offset(offset(5))).unwrap();
    consumer.commit_all().wait().unwrap();
    let back = broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().unwrap();
    assert_eq!((end.offset(), back.offset()), (offset(20), offset(5)));
    assert!(back.epoch() < end.epoch(), "{back:?} was written by the leader of {end:?}");
}

#[test]
fn what_is_passed_over_across_a_seam_of_epochs_has_been_read() {
    let (broker, topic) = behind_a_seam_of_epochs();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    let large = vec![0; 600_000]; // what has filled a batch is in the log, aborted or not
    for _ in 0..3 {
        txn.send(&topic, Record::new(&large)).unwrap();
    }
    txn.abort();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 10);
    consumer.commit_all().wait().unwrap();
    drop(consumer);
    let end = topic.partition(0).unwrap().log_end_offset();
    assert!(end > offset(10) && committed(&broker) == Some(end), "what is aborted is passed over");
    let heard = Arc::new(Heard::default());
    let mut consumer = broker.group("g").unwrap().listener(Listener(heard.clone())).join("t").unwrap();
    assert!(drain(&mut consumer).is_empty());
    assert!(heard.truncated.lock().unwrap().is_empty(), "nothing was");
}

/// Commits what only the page cache has, as `commit` says; answers what a member reads after a power cut and ten
/// records more.
fn after_a_power_cut(commit: impl FnOnce(&Broker, Consumer)) -> Vec<u64> {
    let sim = SimEnvironment::new(5);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(1)).unwrap();
    send(&topic, 0..5);
    flush(&broker, &topic);
    send(&topic, 5..10); // in the page cache only
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 10);
    commit(&broker, consumer);
    assert_eq!(committed(&broker), Some(offset(10)));
    let after = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 6);
    drop((topic, broker));
    let broker = simulated(&after);
    let topic = broker.topic("t").unwrap();
    assert!(topic.partition(0).unwrap().log_end_offset().get() < 10);
    send(&topic, 100..110);
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    drain(&mut consumer)
}

#[test]
fn offsets_committed_by_hand_know_their_epoch() {
    let all: Vec<u64> = (100..110).collect();
    let by_hand = after_a_power_cut(|_, consumer| {
        consumer.commit_offset(&tp("t", 0), OffsetAndMetadata::new(offset(10))).wait().unwrap();
    });
    assert_eq!(by_hand, all);
}

#[test]
fn who_commits_where_it_began_keeps_the_epoch() {
    let all: Vec<u64> = (100..110).collect();
    let idle = after_a_power_cut(|broker, consumer| {
        consumer.commit_all().wait().unwrap();
        drop(consumer);
        let mut consumer = broker.group("g").unwrap().join("t").unwrap();
        assert!(drain(&mut consumer).is_empty());
        consumer.commit_all().wait().unwrap();
    });
    assert_eq!(idle, all);
}

#[test]
fn records_of_another_group_are_not_committed() {
    let (_dir, broker, topic) = open(1);
    send(&topic, 0..4);
    let mut other = broker.group("other").unwrap().join("t").unwrap();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let none = consumer.poll().wait_timeout(AT_ONCE);
    drop(none);
    let theirs = other.poll().wait().unwrap();
    assert_eq!(theirs.iter().count(), 4);
    let refused = consumer.commit(&theirs).wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    let refused = txn.commit_offsets(&consumer, &theirs).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    assert_eq!(committed(&broker), None);
}

#[test]
fn what_was_polled_before_it_was_put_out_is_not_committed() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(1)).unwrap();
    send(&topic, 0..4);
    let config = GroupConfig::new().max_poll_interval(Duration::from_secs(10));
    let mut consumer = broker.group("g").unwrap().config(config).join("t").unwrap();
    let before = consumer.poll().wait_timeout(AT_ONCE).unwrap();
    assert_eq!(numbers(&before).len(), 4);
    sim.clock().advance(Duration::from_secs(10));
    broker.tick().unwrap();
    assert_eq!(drain(&mut consumer).len(), 4);
    assert_eq!(consumer.commit(&before).wait().unwrap_err().kind(), ErrorKind::Rebalanced);
    assert_eq!(committed(&broker), None);
}

#[test]
fn a_transaction_that_is_aborted_commits_no_offset_in_memory() {
    for commits in [false, true] {
        let (_dir, broker) = {
            let dir = tempfile::tempdir().unwrap();
            let broker = Broker::open(dir.path()).unwrap();
            (dir, broker)
        };
        let volatile = TopicConfig::new().volatile(Volatile::drop_oldest(ByteSize::mib(1)));
        let topic = broker.create_topic("t", volatile).unwrap();
        send(&topic, 0..4);
        let mut consumer = broker.group("g").unwrap().join("t").unwrap();
        let records = consumer.poll().wait().unwrap();
        let mut producer = broker.transactional("one").unwrap();
        let mut txn = producer.begin().unwrap();
        txn.commit_offsets(&consumer, &records).unwrap();
        assert_eq!(committed(&broker), None, "not yet");
        if commits {
            txn.commit().wait().unwrap();
        } else {
            txn.abort();
        }
        assert_eq!(committed(&broker), commits.then(|| offset(4)));
    }
}

#[test]
fn the_last_automatic_commit_is_of_what_it_still_has() {
    let (_dir, broker, topic) = open(1);
    broker.create_topic("u", memory(1)).unwrap();
    send(&topic, 0..4);
    let config = GroupConfig::new().auto_commit_interval(Duration::from_secs(3600));
    let mut consumer = broker.group("g").unwrap().config(config).join(["t", "u"]).unwrap();
    assert_eq!(drain(&mut consumer).len(), 4);
    broker.delete_topic("u").unwrap();
    consumer.close().wait().unwrap();
    assert_eq!(committed(&broker), Some(offset(4)));
}

#[test]
fn what_closing_has_told_survives_a_power_cut() {
    for deletes in [false, true] {
        let sim = SimEnvironment::new(5);
        let broker = simulated(&sim);
        let topics = ["t", "u", "v"];
        for topic in &topics[..2] {
            broker.create_topic(topic, memory(1)).unwrap();
        }
        let volatile = TopicConfig::new().volatile(Volatile::drop_oldest(ByteSize::mib(1)));
        broker.create_topic("v", volatile).unwrap();
        topics.iter().for_each(|topic| send(&broker.topic(*topic).unwrap(), 0..4));
        flush(&broker, &broker.topic("t").unwrap());
        let config = GroupConfig::new().auto_commit_interval(Duration::from_secs(3600));
        let group = broker.group("g").unwrap().config(config).listener(OnlyVolatile);
        let mut consumer = group.join(topics).unwrap();
        assert_eq!(drain(&mut consumer).len(), 12);
        if deletes {
            broker.delete_topic("u").unwrap();
        }
        consumer.close().wait().unwrap();
        let after = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 6);
        drop(broker);
        assert_eq!(committed(&simulated(&after)), Some(offset(4)), "{deletes}");
    }
}

/// Commits what holds at once.
struct OnlyVolatile;

impl RebalanceListener for OnlyVolatile {
    fn revoked(&mut self, handover: &mut Handover) {
        handover.commit(&tp("v", 0), OffsetAndMetadata::new(offset(3))).unwrap();
    }
}

#[test]
fn listeners_commit_when_the_consumer_is_closed() {
    let (_dir, broker, topic) = open(1);
    send(&topic, 0..4);
    let heard = Arc::new(Heard::default());
    let join = || broker.group("g").unwrap().listener(Listener(heard.clone())).join("t").unwrap();
    let mut consumer = join();
    assert_eq!(drain(&mut consumer).len(), 4);
    consumer.close().wait().unwrap();
    assert_eq!(committed(&broker), Some(offset(4)));
    send(&topic, 4..6);
    let mut consumer = join();
    assert_eq!(drain(&mut consumer).len(), 2);
    consumer.unsubscribe();
    assert_eq!(heard.revoked.lock().unwrap().len(), 2);
    send(&topic, 6..8);
    let mut consumer = join();
    assert_eq!(drain(&mut consumer), [6, 7]);
    drop(consumer);
    assert_eq!(heard.revoked.lock().unwrap().len(), 2, "who drops it may be in no state to commit");
}

/// Commits by hand what is right, and what is not.
struct ByHand;

impl RebalanceListener for ByHand {
    fn revoked(&mut self, handover: &mut Handover) {
        let at = |at: u64| OffsetAndMetadata::new(offset(at));
        handover.commit(&tp("t", 0), at(4)).unwrap();
        let refused = |told: millpond::Result<()>, because: &str| {
            let error = told.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(because), "{error}");
        };
        refused(handover.commit(&tp("t", 0), at(9)), "the log ends at 8");
        refused(handover.commit(&tp("t", 0), at(1).metadata(&"x".repeat(5000))), "metadata of 5000 bytes");
        refused(handover.commit(&tp("u", 0), at(0)), "is not among those that go");
        handover.commit(&tp("t", 0), at(3)).unwrap();
    }
}

#[test]
fn a_bad_offset_by_hand_is_refused_at_once_and_takes_no_other_with_it() {
    let (_dir, broker, topic) = open(1);
    broker.create_topic("u", memory(1)).unwrap();
    send(&topic, 0..8);
    let config = GroupConfig::new().auto_commit_interval(Duration::from_secs(3600));
    let mut consumer = broker.group("g").unwrap().config(config).listener(ByHand).join("t").unwrap();
    assert_eq!(drain(&mut consumer).len(), 8);
    consumer.close().wait().unwrap();
    assert_eq!(
        committed(&broker),
        Some(offset(3)),
        "by hand also below the position, which was committed before"
    );
}

#[test]
fn lag_is_known_before_a_partition_is_begun() {
    let (_dir, broker, topic) = open(2);
    send(&topic, 0..20);
    let config = GroupConfig::new().max_records(1).max_bytes(ByteSize::bytes(1));
    let join = || broker.group("g").unwrap().config(config.clone()).join("t").unwrap();
    let mut consumer = join();
    assert_eq!(drain(&mut consumer).len(), 20);
    consumer.commit_all().wait().unwrap();
    drop(consumer);
    send(&topic, 20..24);
    let mut consumer = join();
    assert_eq!(consumer.poll().wait().unwrap().iter().count(), 1);
    let lags = [0, 1].map(|partition| consumer.lag(&tp("t", partition)).unwrap());
    assert_eq!(lags, [1, 2]);
}

#[test]
fn a_poll_hands_out_no_more_records_than_it_may() {
    let lz4 = cfg!(feature = "lz4").then(|| memory(1).compression(Compression::Lz4));
    for (number, settings) in [memory(1), TopicConfig::new()].into_iter().chain(lz4).enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path()).unwrap();
        let topic = broker.create_topic("t", settings).unwrap();
        let producer = topic.producer().unwrap();
        let records = (0..100_u64).map(u64::to_be_bytes).collect::<Vec<_>>();
        producer.send_batch(records.iter().map(Record::new)).unwrap().wait().unwrap();
        send(&topic, 100..200);
        let config = GroupConfig::new().max_records(7);
        let mut consumer = broker.group("g").unwrap().config(config).join("t").unwrap();
        let mut seen = Vec::new();
        while seen.len() < 200 {
            let records = consumer.poll().wait_timeout(Duration::MAX).unwrap();
            assert!((1..=7).contains(&records.iter().count()), "{number}");
            seen.extend(numbers(&records));
            consumer.commit(&records).wait().unwrap();
            assert_eq!(committed(&broker), Some(offset(seen.len() as u64)));
        }
        assert!(seen.into_iter().eq(0..200), "{number}");
        let config = ReaderConfig::new().max_records(1);
        let mut reader = topic.partition(0).unwrap().reader_builder().config(config).build().unwrap();
        let mut count = 0;
        while let Some(records) = reader.next().unwrap() {
            assert_eq!(records.iter().count(), 1);
            count += 1;
        }
        assert_eq!(count, 200);
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn who_has_sought_waits_for_no_commit_of_another_member() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(1)).unwrap();
    send(&topic, 0..4);
    let mut before = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(drain(&mut before).len(), 4);
    let commit = before.commit_all();
    drop(before);
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let waker = Arc::new(Counting::default());
    let woken = Waker::from(waker.clone());
    let mut poll = consumer.poll();
    assert!(Pin::new(&mut poll).poll(&mut Context::from_waker(&woken)).is_pending(), "for the commit");
    drop(poll);
    consumer.seek(&tp("t", 0), Start::Latest).unwrap();
    commit.wait().unwrap();
    let before = waker.0.load(Ordering::SeqCst);
    let mut poll = consumer.poll();
    for _ in 0..2 {
        assert!(matches!(Pin::new(&mut poll).poll(&mut Context::from_waker(&woken)), Poll::Pending));
    }
    assert_eq!(waker.0.load(Ordering::SeqCst), before, "nothing came: it sleeps");
}

#[derive(Debug)]
struct Panics;

impl Assignor for Panics {
    fn name(&self) -> &str {
        "panics"
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        assert!(group.members().len() < 2, "more than one is too many");
        GroupAssignment::new(group)
    }
}

#[derive(Debug)]
struct TakesAll;

impl Assignor for TakesAll {
    fn name(&self) -> &str {
        "takes-all"
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        let mut all = GroupAssignment::new(group);
        group.partitions().for_each(|partition| all.give(0, partition));
        all
    }
}

#[test]
fn static_members_keep_what_an_assignor_of_their_own_has_given_them() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    broker.create_topic("t", memory(4)).unwrap();
    let join = |broker: &Broker, instance: &str| {
        let group = broker.group("g").unwrap().assignor(TakesAll).instance_id(instance).unwrap();
        group.join("t").unwrap()
    };
    let mut members = ["a", "b"].map(|instance| join(&broker, instance));
    members.iter_mut().for_each(|member| drop(member.poll().wait_timeout(AT_ONCE).unwrap()));
    assert_eq!([4, 0], [0, 1].map(|at: usize| members[at].assignment().len()));
    members.into_iter().for_each(|member| member.close().wait().unwrap());
    broker.close().wait().unwrap();
    drop(broker);

    let broker = simulated(&sim);
    let rebalances = || broker.group("g").unwrap().describe().unwrap().rebalances();
    let before = rebalances();
    let mut members = ["b", "a"].map(|instance| join(&broker, instance));
    members.iter_mut().for_each(|member| drop(member.poll().wait_timeout(AT_ONCE).unwrap()));
    assert_eq!([0, 4], [0, 1].map(|at: usize| members[at].assignment().len()));
    assert_eq!(rebalances(), before, "they had everything already");
}

#[derive(Debug)]
struct ForOne;

impl Assignor for ForOne {
    fn name(&self) -> &str {
        "for-one"
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        let mut one = GroupAssignment::new(&GroupSubscription::new([], group.members().first().cloned()));
        group.partitions().for_each(|partition| one.give(0, partition));
        one
    }
}

#[test]
fn an_assignor_that_panics_stops_nobody() {
    let (_dir, broker, topic) = open(4);
    send(&topic, 0..8);
    let join = || broker.group("g").unwrap().assignor(Panics).join("t").unwrap();
    let mut one = join();
    assert!(drain(&mut one).is_empty(), "it gives nothing to one");
    let mut two = join();
    assert_eq!(drain(&mut one).len() + drain(&mut two).len(), 8);
    let told = broker.group("g").unwrap().describe().unwrap();
    assert!(told.assignor_complaint().unwrap().contains("panicked"), "{told:?}");
}

#[test]
fn who_is_missing_in_an_assignors_answer_gets_nothing() {
    let (_dir, broker, topic) = open(4);
    send(&topic, 0..8);
    let group = || broker.group("g").unwrap().assignor(ForOne);
    let mut last = group().join("t").unwrap();
    assert_eq!(drain(&mut last).len(), 8);
    let mut first = group().instance_id("static ones are first").unwrap().join("t").unwrap();
    assert!(drain(&mut last).is_empty());
    assert_eq!(drain(&mut first).len(), 8);
    assert_eq!((first.assignment().len(), last.assignment().len()), (4, 0));
}
