//! Offsets that are committed with a transaction, and beside one; and how far behind a group is meanwhile.

use std::time::Duration;

use millpond::Observer;
use millpond::consumer::{Handover, RebalanceListener};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

use crate::transactions::{SOON, committed, offset, simulated, small, tp};

#[test]
fn lag_says_what_a_transaction_holds_back() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let plain = topic.producer().unwrap();
    plain.send(Record::new("a")).unwrap().wait().unwrap();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    let large = "x".repeat(600_000);
    (0..3).for_each(|_| txn.send(&topic, Record::new(&large)).unwrap());
    plain.send(Record::new("b")).unwrap().wait().unwrap();
    let lag = || {
        let lag = broker.group("g").unwrap().lag().unwrap().remove(0);
        let stable = lag.last_stable_offset().unwrap().get();
        (lag.records(), lag.readable(), lag.end().get() - stable)
    };
    let (records, readable, held_back) = lag();
    assert_eq!((readable, records), (Some(1), 1 + held_back));
    assert!(held_back >= 2, "what has reached the log, and what is behind it");
    let records = consumer.poll().wait_timeout(SOON).unwrap();
    consumer.commit(&records).wait().unwrap();
    assert_eq!(lag(), (held_back, Some(0), held_back));
    txn.commit().wait().unwrap();
    let mut seen = 0;
    while seen < 4 {
        let records = consumer.poll().wait_timeout(SOON).unwrap();
        seen += records.iter().count();
        consumer.commit(&records).wait().unwrap();
    }
    // Markers count for nothing once who is behind them has committed.
    assert_eq!(lag(), (0, Some(0), 0));
    // From outside nobody can say.
    let seen = Observer::open_in(sim.environment(), "/data").unwrap().group("g").unwrap();
    assert_eq!(seen.lag()[0].last_stable_offset(), None);
}

#[test]
fn a_commit_beside_a_transaction_does_not_depend_on_it() {
    for commits in [true, false] {
        let sim = SimEnvironment::new(1);
        let broker = simulated(&sim);
        let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
        topic.producer().unwrap().send_batch(["a", "b", "c"].map(Record::new)).unwrap().wait().unwrap();
        let mut consumer = broker.group("g").unwrap().join("t").unwrap();
        let mut producer = broker.transactional("one").unwrap();
        let records = consumer.poll().wait_timeout(SOON).unwrap();
        let mut txn = producer.begin().unwrap();
        txn.commit_offsets(&consumer, &records).unwrap();
        consumer.commit(&records).wait().unwrap();
        let committed = || broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().unwrap().offset();
        assert_eq!(committed(), offset(3));
        if commits {
            txn.commit().wait().unwrap()
        } else {
            txn.abort()
        }
        assert_eq!(committed(), offset(3));
        let broker = simulated(&SimEnvironment::on(sim.disk().after_kill(), 2));
        let committed = broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().unwrap();
        assert_eq!(committed.offset(), offset(3));
    }
}

#[test]
fn a_transaction_does_not_count_on_a_commit_that_nobody_has_waited_for() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    topic.producer().unwrap().send_batch(["a", "b", "c"].map(Record::new)).unwrap().wait().unwrap();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let records = consumer.poll().wait_timeout(SOON).unwrap();
    drop(consumer.commit(&records));
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("made of them")).unwrap();
    txn.commit_offsets(&consumer, &records).unwrap();
    txn.commit().wait().unwrap();
    let broker = simulated(&SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 2));
    assert_eq!(committed(&broker.topic("t").unwrap(), 0).last().unwrap(), "made of them");
    let held = broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().map(|held| held.offset());
    assert_eq!(held, Some(offset(3)));
}

#[test]
fn a_late_commit_below_an_open_transactions_is_told_to_wait() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let [earlier, records] = ["a", "b"].map(|value| sent_and_polled(&topic, &mut consumer, value));
    let mut txn = producer.begin().unwrap();
    txn.commit_offsets(&consumer, &records).unwrap();
    let late = consumer.commit(&earlier).wait().unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Backpressure, "{late}");
    txn.commit().wait().unwrap();
    consumer.commit(&earlier).wait().unwrap();
    let committed = broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().unwrap();
    assert_eq!(committed.offset(), offset(2), "a late commit of a lower offset does nothing");
}

/// Commits on the way out where it is.
struct OnTheWay;

impl RebalanceListener for OnTheWay {
    fn revoked(&mut self, handover: &mut Handover) {
        handover.commit_all();
    }
}

#[test]
fn what_a_transaction_forbids_in_one_partition_is_committed_on_the_way_out_in_the_others() {
    const NAMES: TopicDef<Utf8, Utf8> = TopicDef::new("t");
    for automatic in [true, false] {
        let sim = SimEnvironment::new(1);
        let broker = simulated(&sim);
        let topic = broker.create_topic("t", small(2, Durability::Memory)).unwrap();
        let send = |partition, value: &[u8]| {
            topic.producer().unwrap().send(Record::new(value).partition(partition)).unwrap().wait().unwrap();
        };
        let group = || broker.group("g").unwrap();
        let mut consumer = match automatic {
            true => {
                let config = GroupConfig::new().auto_commit_interval(Duration::from_secs(3600));
                group().config(config).join(&NAMES).unwrap()
            }
            false => group().listener(OnTheWay).join(&NAMES).unwrap(),
        };
        send(0, b"a");
        send(0, &[0xff]);
        let records = consumer.poll().wait_timeout(SOON).unwrap();
        let mut producer = broker.transactional("one").unwrap();
        let mut txn = producer.begin().unwrap();
        txn.commit_offsets(&consumer, &records).unwrap();
        // The position goes back to what could not be decoded, below what the transaction may commit.
        consumer.decode(records.iter().last().unwrap()).unwrap_err();
        consumer.pause(&[tp("t", 0)]).unwrap();
        send(1, b"b");
        assert_eq!(consumer.poll().wait_timeout(SOON).unwrap().iter().count(), 1);

        let refused = consumer.close().wait().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Backpressure, "it is told: {refused}");
        let committed = |n| group().committed(&tp("t", n)).unwrap().map(|committed| committed.offset().get());
        assert_eq!([0, 1].map(committed), [None, Some(1)], "automatic: {automatic}");
        txn.commit().wait().unwrap();
        assert_eq!(committed(0), Some(2), "what the transaction has");
    }
}

#[test]
fn of_two_transactions_with_the_same_offsets_each_holds_by_itself() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    topic.producer().unwrap().send_batch(["a", "b", "c"].map(Record::new)).unwrap().wait().unwrap();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let mut one = broker.transactional("one").unwrap();
    let mut two = broker.transactional("two").unwrap();
    let records = consumer.poll().wait_timeout(SOON).unwrap();
    let (mut first, mut second) = (one.begin().unwrap(), two.begin().unwrap());
    first.commit_offsets(&consumer, &records).unwrap();
    // Once more is nothing more.
    first.commit_offsets(&consumer, &records).unwrap();
    second.commit_offsets(&consumer, &records).unwrap();
    second.commit().wait().unwrap();
    first.abort();
    let committed = broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().unwrap();
    assert_eq!(committed.offset(), offset(3));
    assert_eq!(committed_after_power_cut(&sim), Some(offset(3)));
}

#[test]
fn a_transaction_of_less_holds_the_plain_commit_that_it_leaves_in_place() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", small(1, Durability::Memory)).unwrap();
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let [earlier, records] = ["a", "b"].map(|value| sent_and_polled(&topic, &mut consumer, value));
    drop(consumer.commit(&records));
    let mut txn = producer.begin().unwrap();
    txn.commit_offsets(&consumer, &earlier).unwrap();
    txn.commit().wait().unwrap();
    assert_eq!(committed_after_power_cut(&sim), Some(offset(2)));
}

/// What a member polls after one more record.
fn sent_and_polled(topic: &Topic, consumer: &mut Consumer, value: &str) -> Records {
    topic.producer().unwrap().send(Record::new(value)).unwrap().wait().unwrap();
    consumer.poll().wait_timeout(SOON).unwrap()
}

/// Where the group goes on when only what was synced is left.
fn committed_after_power_cut(sim: &SimEnvironment) -> Option<Offset> {
    let broker = simulated(&SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 2));
    broker.group("g").unwrap().committed(&tp("t", 0)).unwrap().map(|held| held.offset())
}
