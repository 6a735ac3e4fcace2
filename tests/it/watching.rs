//! What an operator sees: counts, rates, hot partitions, groups and their lag, from inside and from outside.

use std::time::Duration;

use millpond::broker::{Metrics, PartitionMetrics};
use millpond::config::{Background, BrokerConfig};
use millpond::group::GroupState;
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use millpond::{ErrorKind, Observer, TopicName, TopicPartition};

fn simulated(sim: &SimEnvironment) -> Broker {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
}

fn memory(partitions: u32) -> TopicConfig {
    TopicConfig::new().partitions(partitions).durability(Durability::Memory).segment_size(ByteSize::kib(64))
}

fn send(topic: &Topic, partition: u32, count: u64) {
    let producer = topic.producer().unwrap();
    for n in 0..count {
        drop(producer.send(Record::new(&n.to_be_bytes()).partition(partition)).unwrap());
    }
    producer.flush().wait().unwrap();
}

fn partition(metrics: &Metrics, topic: &str, number: usize) -> PartitionMetrics {
    let found = metrics.topics.iter().find(|found| found.name.as_str() == topic).unwrap();
    found.partitions[number].clone()
}

#[test]
fn what_goes_in_and_out_is_counted() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(2)).unwrap();
    send(&topic, 0, 30);
    send(&topic, 1, 10);
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    while reader.next().unwrap().is_some() {}
    let metrics = broker.metrics();
    assert_eq!(metrics.topics.len(), 1, "internal topics are left out");
    let (first, second) = (partition(&metrics, "t", 0), partition(&metrics, "t", 1));
    assert_eq!((first.traffic.records_in, first.traffic.records_out, first.readers), (30, 30, 1));
    assert_eq!((second.traffic.records_in, second.traffic.records_out, second.readers), (10, 0, 0));
    assert!(first.traffic.bytes_in > first.size_bytes, "the open batch is not sealed");
    assert!(first.traffic.bytes_out > 30 * 8 && first.traffic.bytes_out <= first.traffic.bytes_in);
    assert_eq!((first.log_start_offset, first.log_end_offset.get()), (Offset::ZERO, 30));
    assert_eq!(metrics.topics[0].traffic().records_in, 40);
    assert!(metrics.open_segments > 0 && !first.poisoned);

    drop((reader, topic, broker));
    let again = simulated(&sim).metrics();
    let first = partition(&again, "t", 0);
    assert_eq!((first.traffic.records_in, first.traffic.records_out), (0, 0), "counted since the opening");
    assert_eq!(first.log_end_offset.get(), 30);
}

#[test]
fn rates_and_shares_come_from_two_moments() {
    let sim = SimEnvironment::new(2);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(4)).unwrap();
    let single = broker.create_topic("single", memory(1)).unwrap();
    send(&topic, 1, 100);
    let before = broker.metrics();
    assert!(broker.metrics().rates_since(&before).is_empty(), "no time has passed");
    for (number, count) in [(0, 10), (1, 10), (2, 10), (3, 170)] {
        send(&topic, number, count);
    }
    send(&single, 0, 50);
    sim.clock().advance(Duration::from_secs(10));
    let rates = broker.metrics().rates_since(&before);
    let by_name: Vec<_> = rates.iter().map(|rates| (rates.partition.to_string(), rates.records_in)).collect();
    let expected = [("single-0", 5.0), ("t-0", 1.0), ("t-1", 1.0), ("t-2", 1.0), ("t-3", 17.0)];
    assert_eq!(by_name, expected.map(|(name, rate)| (name.to_owned(), rate)));
    let shares: f64 = rates.iter().filter(|r| r.partition.topic().as_str() == "t").map(|r| r.share_in).sum();
    assert!((shares - 1.0).abs() < 1e-9);

    let hot = broker.metrics().hot_partitions_since(&before, 2.0);
    let names: Vec<_> = hot.iter().map(|rates| rates.partition.to_string()).collect();
    assert_eq!(names, ["t-3"], "one partition alone is not hot");
    assert!(hot[0].heat() > 3.0 && hot[0].heat() <= 4.0);
    let all = broker.metrics().hot_partitions_since(&before, 0.0);
    assert_eq!(all.len(), 4);

    // A topic of the same name is another one: its counts begin at nothing.
    let before = broker.metrics();
    broker.delete_topic("single").unwrap();
    let single = broker.create_topic("single", memory(1)).unwrap();
    send(&single, 0, 20);
    sim.clock().advance(Duration::from_secs(1));
    assert_eq!(broker.metrics().rates_since(&before)[0].records_in, 20.0);
}

#[test]
fn groups_are_counted_and_timed() {
    let sim = SimEnvironment::new(3);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(2)).unwrap();
    send(&topic, 0, 10);
    sim.clock().advance(Duration::from_secs(60));
    send(&topic, 1, 5);
    let mut consumer = broker.group("g").unwrap().join("t").unwrap();
    let lag = broker.group("g").unwrap().lag().unwrap();
    assert_eq!(lag[0].position(), None, "nothing was polled");
    let records = consumer.poll().wait().unwrap();
    assert_eq!(records.iter().count(), 15);
    sim.clock().advance(Duration::from_secs(5));

    let metrics = broker.metrics();
    let group = &metrics.groups[0];
    assert_eq!((group.group.as_str(), group.state, group.members), ("g", GroupState::Stable, 1));
    assert_eq!((group.lag_records, group.rebalances), (15, 1));
    let [first, second] = &group.partitions[..] else { panic!("{group:?}") };
    assert_eq!((first.position, first.committed), (Offset::new(10), None));
    assert_eq!((first.lag_records, first.lag_time), (10, Some(Duration::from_secs(65))));
    assert_eq!((second.lag_records, second.lag_time), (5, Some(Duration::from_secs(5))));
    assert_eq!(first.owner.as_deref(), Some(consumer.member_id().to_string().as_str()));
    assert_eq!(partition(&metrics, "t", 0).traffic.records_out, 10);

    consumer.commit(&records).wait().unwrap();
    send(&topic, 1, 1);
    sim.clock().advance(Duration::from_secs(2));
    let metrics = broker.metrics();
    let [first, second] = &metrics.groups[0].partitions[..] else { panic!("{metrics:?}") };
    assert_eq!((first.lag_records, first.lag_time), (0, Some(Duration::ZERO)));
    assert_eq!((second.lag_records, second.lag_time), (1, Some(Duration::from_secs(2))));
    assert_eq!(
        (second.committed, second.position, second.end),
        (Offset::new(5), Offset::new(5), Offset::new(6).unwrap())
    );

    // A second member takes one of the partitions; the hand-over takes as long as the first is away.
    drop(records);
    let mut other = broker.group("g").unwrap().join("t").unwrap();
    assert_eq!(broker.metrics().groups[0].state, GroupState::Reconciling);
    sim.clock().advance(Duration::from_secs(3));
    for consumer in [&mut consumer, &mut other] {
        drop(consumer.poll().wait_timeout(Duration::ZERO).unwrap());
    }
    let metrics = broker.metrics();
    let group = &metrics.groups[0];
    assert_eq!((group.state, group.members, group.rebalances), (GroupState::Stable, 2, 2));
    assert_eq!((group.moved_partitions, group.last_rebalance), (1, Some(Duration::from_secs(3))));
    assert_eq!(group.rebalance_time, Duration::from_secs(3));
    drop((consumer, other));
    assert_eq!(broker.metrics().groups[0].members, 0);
    assert_eq!(broker.metrics().groups[0].partitions[0].owner, None);
}

#[test]
fn records_that_are_looked_at_pin_what_was_deleted() {
    let sim = SimEnvironment::new(4);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(1).segment_size(ByteSize::kib(4))).unwrap();
    send(&topic, 0, 1000);
    let only = topic.partition(0).unwrap();
    let records = only.read(..).unwrap().next().unwrap().unwrap();
    only.delete_records(Offset::new(900).unwrap()).unwrap();
    assert!(partition(&broker.metrics(), "t", 0).pinned_bytes > 0);
    drop(records);
    assert_eq!(partition(&broker.metrics(), "t", 0).pinned_bytes, 0);
}

fn tp(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new(topic).unwrap(), partition)
}

fn observer(sim: &SimEnvironment) -> Observer {
    Observer::open_in(sim.environment(), "/data").unwrap()
}

/// From outside a group is seen as from inside, but for positions and for members that are not static.
fn assert_same(broker: &Broker, observer: &Observer, group: &str) {
    let inside = broker.group(group).unwrap().lag().unwrap();
    let outside = observer.group(group).unwrap();
    let row = |lag: &millpond::broker::PartitionLag| {
        let committed = lag.committed().map(|committed| (committed.offset(), committed.committed_at()));
        (lag.partition().clone(), committed, lag.end(), lag.records(), lag.time(), lag.oldest_unread())
    };
    assert_eq!(outside.lag().iter().map(row).collect::<Vec<_>>(), inside.iter().map(row).collect::<Vec<_>>());
}

#[test]
fn an_observer_sees_the_lag_of_groups() {
    for durability in [Durability::Memory, Durability::Sync] {
        let sim = SimEnvironment::new(5);
        let broker = simulated(&sim);
        let topic = broker.create_topic("t", memory(2).durability(durability)).unwrap();
        assert!(observer(&sim).groups().unwrap().is_empty());
        assert_eq!(observer(&sim).group("g").unwrap_err().kind(), ErrorKind::GroupNotFound);
        assert_eq!(observer(&sim).group("").unwrap_err().kind(), ErrorKind::InvalidArgument);
        let mut watch = observer(&sim).watch();
        assert!(watch.look().unwrap().groups.is_empty());

        let mut consumer = broker.group("g").unwrap().join("t").unwrap();
        for round in 0..5_u64 {
            send(&topic, 0, 40);
            send(&topic, 1, 10 * round);
            sim.clock().advance(Duration::from_secs(7));
            let records = consumer.poll().wait().unwrap();
            consumer.commit(&records).wait().unwrap();
            send(&topic, 0, 2);
            sim.clock().advance(Duration::from_secs(1));
            assert_same(&broker, &observer(&sim), "g");
            let sight = watch.look().unwrap();
            let seen = &sight.groups[0];
            assert_eq!((seen.id().as_str(), seen.has_members(), sight.live), ("g", true, true));
            assert_eq!(seen.lag_records(), broker.metrics().groups[0].lag_records, "{durability} {round}");
            assert_eq!(seen.lag()[0].time(), Some(Duration::from_secs(1)));
            let ends = |topics: &[millpond::broker::TopicDescription]| -> Vec<u64> {
                topics[0].partitions().iter().map(|found| found.log_end_offset().get()).collect()
            };
            assert_eq!(ends(&sight.topics), ends(&[topic.describe()]));
            drop(records);
        }
        // Back, and beyond what was looked at: what is read on from is given up.
        consumer
            .commit_offset(&tp("t", 0), millpond::group::OffsetAndMetadata::new(Offset::ZERO))
            .wait()
            .unwrap();
        let first = watch.look().unwrap().groups[0].lag()[0].clone();
        assert_eq!((first.records(), first.time()), (210, Some(Duration::from_secs(40))));
        assert_same(&broker, &observer(&sim), "g");
        drop(consumer);
        let empty = &watch.look().unwrap().groups[0];
        assert!(!empty.has_members() && empty.empty_since().is_some());
    }
}

#[test]
fn an_observer_follows_topics_that_come_go_and_are_cut() {
    let sim = SimEnvironment::new(6);
    let broker = simulated(&sim);
    let small = || memory(1).segment_size(ByteSize::kib(4));
    let topic = broker.create_topic("t", small()).unwrap();
    send(&topic, 0, 500);
    broker.group("g").unwrap().reset("t", Offset::new(10).unwrap()).unwrap();
    let mut watch = observer(&sim).watch();
    let lag = |watch: &mut millpond::broker::Watch| watch.look().unwrap().groups[0].lag_records();
    assert_eq!(lag(&mut watch), 490);
    topic.partition(0).unwrap().delete_records(Offset::new(400).unwrap()).unwrap();
    assert_eq!(lag(&mut watch), 100, "what is gone is not waited for");
    send(&topic, 0, 1000);
    assert_eq!(lag(&mut watch), 1100, "over rolls");

    broker.delete_topic("t").unwrap();
    let sight = watch.look().unwrap();
    assert!(sight.topics.is_empty() && sight.groups.is_empty(), "{sight:?}");
    let topic = broker.create_topic("t", small()).unwrap();
    send(&topic, 0, 3);
    let sight = watch.look().unwrap();
    assert_eq!(sight.topics[0].partitions()[0].log_end_offset().get(), 3);
    broker.close().wait().unwrap();
    drop((topic, broker));
    let sight = watch.look().unwrap();
    assert!(!sight.live);
    assert_eq!(sight.topics[0].partitions()[0].log_end_offset().get(), 3);
}

#[test]
fn an_observer_sees_static_members() {
    let sim = SimEnvironment::new(7);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(3)).unwrap();
    send(&topic, 1, 4);
    let group = || broker.group("g").unwrap().client_id("reader").unwrap();
    let mut consumer = group().instance_id("one").unwrap().join("t").unwrap();
    drop(consumer.poll().wait().unwrap());
    // What is written of members goes with the next commit.
    consumer.commit_all().wait().unwrap();
    let seen = observer(&sim).group("g").unwrap();
    let [member] = seen.static_members() else { panic!("{seen:?}") };
    assert_eq!((member.instance_id().to_string(), member.client_id()), ("one".to_owned(), "reader"));
    assert_eq!(member.assigned(), [tp("t", 0), tp("t", 1), tp("t", 2)]);
    assert_eq!(member.away_until(), None);
    assert_eq!(seen.lag()[1].owner(), Some(member.id()));
    consumer.close().wait().unwrap();
    let seen = observer(&sim).group("g").unwrap();
    assert!(seen.static_members()[0].away_until().is_some());
}

#[test]
fn lag_tells_of_each_partition_of_the_topics_that_a_group_has_committed_in() {
    let sim = SimEnvironment::new(8);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(3)).unwrap();
    broker.create_topic("other", memory(1)).unwrap();
    send(&topic, 1, 4);
    send(&topic, 2, 6);
    let group = broker.group("g").unwrap();
    group.reset_partition(&tp("t", 1), Start::Offset(Offset::new(3).unwrap())).unwrap();
    let rows: Vec<_> = group.lag().unwrap();
    let told = |lag: &millpond::broker::PartitionLag| {
        (lag.partition().to_string(), lag.committed().map(|at| at.offset().get()), lag.records())
    };
    let expected = [("t-0", None, 0), ("t-1", Some(3), 1), ("t-2", None, 6)];
    assert_eq!(rows.iter().map(told).collect::<Vec<_>>(), expected.map(|(p, c, r)| (p.to_owned(), c, r)));
    assert_same(&broker, &observer(&sim), "g");
    assert_eq!(broker.metrics().groups[0].lag_records, 7);
    // What is not committed is not deleted either.
    group.delete_offsets("t").unwrap();
    assert_eq!(broker.group("g").unwrap().lag().unwrap_err().kind(), ErrorKind::GroupNotFound);
}

#[test]
fn a_damaged_partition_does_not_hide_the_others() {
    let sim = SimEnvironment::new(9);
    let broker = simulated(&sim);
    let topic = broker.create_topic("t", memory(3)).unwrap();
    for number in 0..3 {
        send(&topic, number, 10);
    }
    broker.group("g").unwrap().reset("t", Start::Earliest).unwrap();
    broker.close().wait().unwrap();
    drop((topic, broker));
    let log =
        |partition: &str| std::path::PathBuf::from(format!("/data/{partition}/00000000000000000000.log"));

    let damaged = SimEnvironment::on(sim.disk().after_kill(), 1);
    let mut early = observer(&damaged).watch();
    damaged.disk().flip_bit(&log("t-1"), 70, 0).unwrap();
    let described = observer(&damaged).describe("t").unwrap();
    let group = observer(&damaged).group("g").unwrap();
    let sight = early.look().unwrap();
    for described in [&described, &sight.topics[0]] {
        let numbers: Vec<u32> = described.partitions().iter().map(|found| found.partition()).collect();
        assert_eq!(numbers, [0, 2]);
        assert_eq!(described.unreadable().len(), 1);
    }
    for group in [&group, &sight.groups[0]] {
        let read: Vec<_> =
            group.lag().iter().map(|lag| (lag.partition().partition(), lag.records())).collect();
        assert_eq!(read, [(0, 10), (2, 10)]);
        assert_eq!((group.lag_records(), group.unreadable().len()), (20, 1));
    }
    let told = sight.unreadable();
    assert_eq!(told.len(), 1, "once, though topic and group miss it: {told:?}");
    for error in [told[0], &described.unreadable()[0], &group.unreadable()[0]] {
        assert_eq!((error.kind(), error.topic_partition()), (ErrorKind::Corrupted, Some(&tp("t", 1))));
    }

    let forgetful = SimEnvironment::on(sim.disk().after_kill(), 2);
    forgetful.disk().flip_bit(&log("__consumer_offsets-0"), 70, 0).unwrap();
    assert_eq!(observer(&forgetful).groups().unwrap_err().kind(), ErrorKind::Corrupted);
    let sight = observer(&forgetful).watch().look().unwrap();
    assert_eq!((sight.topics[0].partitions().len(), sight.groups.len()), (3, 0));
    assert_eq!(sight.unreadable()[0].topic_partition(), Some(&tp("__consumer_offsets", 0)));
}
