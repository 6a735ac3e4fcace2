//! Nothing is deleted unless asked; then whole segments leave at the start of the log.

use std::time::Duration;

use millpond::ErrorKind;
use millpond::config::{Background, BrokerConfig, CleanupPolicy, Durability, Retention, Volatile};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

fn broker(machine: &SimEnvironment) -> Broker {
    let config = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/pond").environment(machine.environment()).config(config).open().unwrap()
}

fn fill(broker: &Broker, retention: Retention) -> Topic {
    let config =
        TopicConfig::new().durability(Durability::Memory).segment_size(ByteSize::kib(4)).retention(retention);
    let topic = broker.create_topic("t", config).unwrap();
    let producer = topic.producer().unwrap();
    for _ in 0..200 {
        drop(producer.send(Record::new(&[7u8; 100])).unwrap());
    }
    topic
}

#[test]
fn for_ever_by_default() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let topic = fill(&broker, Retention::forever());
    machine.clock().advance(Duration::from_secs(10 * 365 * 86_400));
    broker.tick().unwrap();
    assert_eq!(topic.partition(0).unwrap().log_start_offset(), Offset::ZERO);
}

#[test]
fn by_age_without_traffic() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let topic = fill(&broker, Retention::age(Duration::from_secs(3600)));
    let partition = topic.partition(0).unwrap();
    machine.clock().advance(Duration::from_secs(3599));
    broker.tick().unwrap();
    assert_eq!(partition.log_start_offset(), Offset::ZERO);
    machine.clock().advance(Duration::from_secs(2));
    broker.tick().unwrap();
    assert!(partition.log_start_offset() > Offset::new(100).unwrap());
    assert_eq!(partition.log_end_offset(), Offset::new(200).unwrap());
}

/// A topic in which little comes in has segments that do not fill: they are ended by the retention's age, too.
#[test]
fn by_age_also_what_fills_no_segment() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let hour = Duration::from_secs(3600);
    let start = |topic: &Topic| topic.partition(0).unwrap().log_start_offset().get();
    let idle = TopicConfig::new().retention(Retention::age(hour));
    let idle = broker.create_topic("idle", idle).unwrap();
    let slow = broker.create_topic("slow", idle.config()).unwrap();
    let kept = broker.create_topic("kept", TopicConfig::new()).unwrap();
    for topic in [&idle, &kept] {
        topic.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
    }
    machine.clock().advance(hour);
    broker.tick().unwrap();
    assert_eq!(start(&idle), 0);
    machine.clock().advance(Duration::from_millis(2));
    broker.tick().unwrap();
    assert_eq!((start(&idle), start(&kept)), (1, 0));
    // One comes every ten minutes: none is there for more than two hours.
    for n in 0..100 {
        slow.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
        machine.clock().advance(hour / 6);
        broker.tick().unwrap();
        assert!(n - start(&slow) <= 13, "{n}: {}", start(&slow));
    }
    assert!(start(&slow) > 80);
}

/// What is asked for later counts for what is there, as does what was asked for before the broker was opened.
#[test]
fn an_age_that_is_set_later_reaches_what_is_there() {
    for reopen in [false, true] {
        let machine = SimEnvironment::new(1);
        let mut first = broker(&machine);
        let mut topic = first.create_topic("t", TopicConfig::new()).unwrap();
        topic.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
        machine.clock().advance(Duration::from_secs(60));
        first.tick().unwrap();
        let hour = Duration::from_secs(3600);
        first.alter_topic("t", topic.config().retention(Retention::age(hour))).unwrap();
        if reopen {
            first.close().wait().unwrap();
            drop((topic, first));
            first = broker(&machine);
            topic = first.topic("t").unwrap();
        }
        machine.clock().advance(2 * hour);
        first.tick().unwrap();
        assert_eq!(topic.partition(0).unwrap().log_start_offset().get(), 1, "reopened: {reopen}");
    }
}

/// A compaction that is held to its rate takes long: the disk budget is kept meanwhile.
#[test]
fn a_long_compaction_does_not_keep_retention_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let config = BrokerConfig::new()
        .compaction_interval(Duration::from_millis(100))
        .compaction_rate(ByteSize::kib(32))
        .disk_budget(ByteSize::mib(4));
    let broker = Broker::builder(dir.path()).config(config).open().unwrap();
    let small = TopicConfig::new().segment_size(ByteSize::kib(64)).durability(Durability::Memory);
    let keys = small.clone().durability(Durability::Sync).cleanup_policy(CleanupPolicy::Compact);
    let keys = broker.create_topic("keys", keys).unwrap();
    let frames = broker.create_topic("frames", small).unwrap();
    let send = |topic: &Topic, count: u32| {
        let producer = topic.producer().unwrap();
        for n in 0..count {
            drop(producer.send(Record::new(&[7; 1000]).key(&n.to_be_bytes())).unwrap());
        }
        producer.flush().wait().unwrap();
    };
    send(&keys, 1500);
    let mut quiet = keys.read(Start::Latest).unwrap();
    let mut pause = || drop(quiet.poll().wait_timeout(Duration::from_millis(20)).unwrap());
    // The background looks ten times a second: then a compaction is under way, which takes a minute and more.
    (0..75).for_each(|_| pause());
    send(&frames, 6000);
    let size = || keys.describe().size_bytes() + frames.describe().size_bytes();
    let kept = (0..1000).any(|_| {
        let kept = size() <= 4 << 20;
        if !kept {
            pause();
        }
        kept
    });
    assert!(kept, "{} bytes", size());
    assert_eq!(keys.describe().partitions()[0].compacted_to(), Offset::ZERO, "it is not at its end");
}

/// Timestamps are the sender's: neither the past nor the future that they name moves what is deleted.
#[test]
fn event_time_does_not_count() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let config = TopicConfig::new()
        .durability(Durability::Memory)
        .segment_size(ByteSize::kib(4))
        .retention(Retention::age(Duration::from_secs(3600)));
    let topic = broker.create_topic("t", config).unwrap();
    let producer = topic.producer().unwrap();
    let send = |millis: i64| {
        for _ in 0..100 {
            let record = Record::new(&[7u8; 100]).timestamp(Timestamp::from_millis(millis));
            drop(producer.send(record).unwrap());
        }
    };
    send(0);
    send(4_102_444_800_000); // the year 2100
    send(0);
    let partition = topic.partition(0).unwrap();
    machine.clock().advance(Duration::from_secs(3599));
    broker.tick().unwrap();
    assert_eq!(partition.log_start_offset(), Offset::ZERO, "1970 is no age");
    machine.clock().advance(Duration::from_secs(2));
    broker.tick().unwrap();
    assert!(partition.log_start_offset() > Offset::new(200).unwrap(), "nor is 2100 a lease");
}

#[test]
fn by_size_keeps_at_least_the_limit() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let topic = fill(&broker, Retention::size(ByteSize::kib(10)));
    machine.clock().advance(Duration::from_secs(60));
    broker.tick().unwrap();
    let partition = topic.partition(0).unwrap();
    let kept = 200 - partition.log_start_offset().get();
    assert!((90..150).contains(&kept), "{kept} records of about 110 bytes kept");
}

#[test]
fn the_topics_size_counts_over_its_partitions() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let config = TopicConfig::new()
        .partitions(3)
        .durability(Durability::Memory)
        .segment_size(ByteSize::kib(4))
        .retention(Retention::topic_size(ByteSize::kib(30)));
    let topic = broker.create_topic("t", config).unwrap();
    let producer = topic.producer().unwrap();
    for i in 0..600u32 {
        drop(producer.send(Record::new(&[7u8; 100]).partition(i % 3)).unwrap());
        machine.clock().advance(Duration::from_millis(1));
    }
    let report = topic.retain().unwrap();
    let size: u64 = topic.describe().size_bytes();
    assert!((22_000..=30 << 10).contains(&size), "{size}");
    assert!(report.bytes_deleted() > 30_000 && report.segments_deleted() > 6, "{report:?}");
    // The oldest went, of each partition about as much.
    let starts: Vec<u64> =
        topic.partitions().unwrap().iter().map(|partition| partition.log_start_offset().get()).collect();
    assert!(starts.iter().all(|start| (80..180).contains(start)), "{starts:?}");
}

#[test]
fn one_budget_for_all_topics_that_delete() {
    let machine = SimEnvironment::new(1);
    let config = BrokerConfig::new().background(Background::Manual).disk_budget(ByteSize::mib(1));
    let broker = Broker::builder("/pond").environment(machine.environment()).config(config).open().unwrap();
    let fill = |name: &str, policy| {
        let config = TopicConfig::new()
            .cleanup_policy(policy)
            .durability(Durability::Memory)
            .segment_size(ByteSize::kib(64));
        let topic = broker.create_topic(name, config).unwrap();
        let producer = topic.producer().unwrap();
        for i in 0..900u32 {
            drop(producer.send(Record::new(&[7u8; 1000]).key(&i.to_be_bytes())).unwrap());
        }
        machine.clock().advance(Duration::from_secs(1));
        topic
    };
    let kept = fill("kept", CleanupPolicy::Compact);
    let old = fill("old", CleanupPolicy::Delete);
    let new = fill("new", CleanupPolicy::Delete);
    // In the background, by the same timer as compaction.
    machine.clock().advance(Duration::from_secs(15));
    broker.tick().unwrap();
    let size = |topic: &Topic| topic.describe().size_bytes();
    assert!(size(&kept) + size(&old) + size(&new) <= 1 << 20);
    assert_eq!(kept.partition(0).unwrap().log_start_offset(), Offset::ZERO, "what is only compacted stays");
    assert!(size(&old) < 100 << 10, "the oldest goes first: {}", size(&old));
    assert!(size(&new) > 20 << 10, "{}", size(&new));
}

#[test]
fn what_a_group_has_not_read_is_spared_up_to_a_bound() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let make = |name: &str, bound| {
        let config = TopicConfig::new()
            .durability(Durability::Memory)
            .segment_size(ByteSize::kib(4))
            .retention(Retention::age(Duration::from_secs(60)))
            .keep_unread(bound);
        let topic = broker.create_topic(name, config).unwrap();
        let mut consumer = broker.group("slow").unwrap().join(name).unwrap();
        let producer = topic.producer().unwrap();
        (0..50).for_each(|_| drop(producer.send(Record::new(&[7u8; 100])).unwrap()));
        let records = consumer.poll().wait_timeout(Duration::ZERO).unwrap();
        consumer.commit(&records).wait().unwrap();
        (0..150).for_each(|_| drop(producer.send(Record::new(&[7u8; 100])).unwrap()));
        topic
    };
    let spared = make("spared", ByteSize::mib(1));
    let full = make("full", ByteSize::kib(8));
    machine.clock().advance(Duration::from_secs(3600));
    broker.tick().unwrap();
    broker.retain().unwrap();
    let start = |topic: &Topic| topic.partition(0).unwrap().log_start_offset().get();
    assert!((1..=50).contains(&start(&spared)), "{}", start(&spared));
    assert!(start(&full) > 100, "above the bound even the unread goes: {}", start(&full));
}

/// A group that has read one partition still needs the other one; and where its offsets cannot be read, all of both.
#[test]
fn what_a_group_has_committed_nothing_in_is_spared() {
    let machine = SimEnvironment::new(1);
    let first = broker(&machine);
    let config = TopicConfig::new()
        .partitions(2)
        .durability(Durability::Memory)
        .segment_size(ByteSize::kib(4))
        .retention(Retention::age(Duration::from_secs(60)))
        .keep_unread(ByteSize::mib(1));
    let topic = first.create_topic("t", config.clone()).unwrap();
    let nobodys = first.create_topic("nobodys", config).unwrap();
    let mut consumer = first.group("slow").unwrap().join("t").unwrap();
    let send = |topic: &Topic, partition, count| {
        let producer = topic.producer().unwrap();
        let record = || Record::new(&[7u8; 100]).partition(partition);
        (0..count).for_each(|_| drop(producer.send(record()).unwrap()));
    };
    send(&topic, 0, 200);
    let records = consumer.poll().wait_timeout(Duration::ZERO).unwrap();
    consumer.commit(&records).wait().unwrap();
    send(&topic, 1, 200);
    send(&nobodys, 0, 200);
    let starts = |topic: &Topic| [0, 1].map(|n| topic.partition(n).unwrap().log_start_offset().get());
    let pass = |broker: &Broker| {
        machine.clock().advance(Duration::from_secs(3600));
        broker.tick().unwrap();
        broker.retain().unwrap();
    };
    pass(&first);
    assert_eq!((starts(&topic)[1], starts(&nobodys)[0]), (0, 200));
    assert!((1..=records.iter().count() as u64).contains(&starts(&topic)[0]), "{:?}", starts(&topic));
    let before = starts(&topic);
    drop((records, consumer));
    first.close().wait().unwrap();
    drop((topic, nobodys, first));

    let log = std::path::Path::new("/pond/__consumer_offsets-0/00000000000000000000.log");
    machine.disk().flip_bit(log, 70, 1).unwrap();
    let second = broker(&machine);
    assert_eq!(second.groups().unwrap_err().kind(), ErrorKind::Corrupted);
    pass(&second);
    assert_eq!(starts(&second.topic("t").unwrap()), before);
}

#[test]
fn what_is_looked_at_is_counted_until_it_is_let_go() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let topic = fill(&broker, Retention::forever());
    let partition = topic.partition(0).unwrap();
    let mut reader = partition.read(..).unwrap();
    let records = reader.next().unwrap().unwrap();
    assert_eq!(broker.pinned_bytes(), 0);
    partition.delete_records(Offset::new(150).unwrap()).unwrap();
    let pinned = broker.pinned_bytes();
    assert!((1000..10_000).contains(&pinned), "{pinned}");
    assert_eq!(
        records.iter().count(),
        usize::try_from(records.iter().last().unwrap().offset().get()).unwrap() + 1
    );
    drop((records, reader));
    assert_eq!(broker.pinned_bytes(), 0);
}

/// Whoever else deletes at the same time: what is left is as much as the topic keeps.
#[test]
fn many_at_once_delete_no_more_than_one() {
    for seed in 0..20 {
        let machine = SimEnvironment::new(seed);
        let broker = broker(&machine);
        let of_each = fill_more(&broker, "each", Retention::age(HOUR).and_size(ByteSize::mib(1)));
        machine.clock().advance(HOUR + Duration::from_secs(1));
        let producer = of_each.producer().unwrap();
        for _ in 0..500 {
            drop(producer.send(Record::new(&[7u8; 100])).unwrap());
        }
        producer.flush().wait().unwrap();
        let of_topic = fill_more(&broker, "topic", Retention::topic_size(ByteSize::kib(120)));
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (broker, of_each, of_topic) = (&broker, &of_each, &of_topic);
                scope.spawn(move || match n {
                    0 => broker.retain().map(drop).unwrap(),
                    1 => broker.tick().unwrap(),
                    2 => of_topic.retain().map(drop).unwrap(),
                    _ => of_each.retain().map(drop).unwrap(),
                });
            }
        });
        let sizes = [&of_each, &of_topic].map(|topic| topic.describe().size_bytes() >> 10);
        // Of the first one what is younger than an hour, some 53 KiB.
        assert!((48..=60).contains(&sizes[0]) && (112..=120).contains(&sizes[1]), "{sizes:?}");
    }
}

/// A broker whose retention deletes so many KiB in a second.
fn slow_broker(machine: &SimEnvironment, kib: u64) -> Broker {
    let config = BrokerConfig::new().background(Background::Manual).retention_rate(ByteSize::kib(kib));
    Broker::builder("/pond").environment(machine.environment()).config(config).open().unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

/// Fills a topic with 200 KiB in segments of 4 KiB.
fn fill_more(broker: &Broker, name: &str, retention: Retention) -> Topic {
    let config =
        TopicConfig::new().durability(Durability::Memory).segment_size(ByteSize::kib(4)).retention(retention);
    let topic = broker.create_topic(name, config).unwrap();
    let producer = topic.producer().unwrap();
    for _ in 0..1900 {
        drop(producer.send(Record::new(&[7u8; 100])).unwrap());
    }
    producer.flush().wait().unwrap();
    topic
}

/// Where the first segment begins whose file is there.
fn first_file(machine: &SimEnvironment, folder: &str) -> u64 {
    let entries = machine.environment().files().list(std::path::Path::new(folder)).unwrap();
    let bases = entries.iter().filter_map(|entry| entry.name.strip_suffix(".log")?.parse().ok());
    bases.min().unwrap()
}

/// Ticks every 100 ms until nothing changes for two seconds; each second no more may go than the rate allows, and a
/// segment. Answers the bytes deleted, and in how many milliseconds.
fn watch_it_go(machine: &SimEnvironment, broker: &Broker, topics: &[&Topic], rate: u64) -> (u64, u64) {
    let size = || -> u64 { topics.iter().map(|topic| topic.describe().size_bytes()).sum() };
    let before = size();
    let (mut sizes, mut last_change) = (vec![before], 0);
    for step in 1.. {
        broker.tick().unwrap();
        let now = size();
        if now != *sizes.last().unwrap() {
            last_change = step;
        }
        sizes.push(now);
        let second_ago = sizes[sizes.len().saturating_sub(11)];
        // A batch that was open counts from when it is sealed.
        let gone = second_ago.saturating_sub(now);
        assert!(gone <= rate + (4 << 10), "{gone} in a second");
        for topic in topics {
            let start = topic.partition(0).unwrap().log_start_offset().get();
            assert_eq!(first_file(machine, &format!("/pond/{}-0", topic.name())), start);
        }
        if step > last_change + 20 {
            break;
        }
        machine.clock().advance(Duration::from_millis(100));
    }
    (before - size(), (last_change - 1) * 100)
}

fn check_rate((bytes, millis): (u64, u64), rate: u64) {
    let expected = (bytes - (4 << 10)) * 1000 / rate;
    let error = millis.abs_diff(expected);
    assert!(error <= 600, "{bytes} bytes in {millis} ms, not {expected}");
}

#[test]
fn in_the_background_no_more_goes_than_the_rate() {
    let machine = SimEnvironment::new(1);
    let broker = slow_broker(&machine, 20);
    let by_age = fill_more(&broker, "age", Retention::age(HOUR));
    let by_size = fill_more(&broker, "size", Retention::size(ByteSize::kib(50)));
    let by_topic = fill_more(&broker, "topic", Retention::topic_size(ByteSize::kib(60)));
    machine.clock().advance(HOUR + Duration::from_secs(1));
    let topics = [&by_age, &by_size, &by_topic];
    let gone = watch_it_go(&machine, &broker, &topics, 20 << 10);
    check_rate(gone, 20 << 10);
    let sizes = topics.map(|topic| topic.describe().size_bytes() >> 10);
    assert!(sizes[0] <= 4 && (50..=54).contains(&sizes[1]) && (56..=60).contains(&sizes[2]), "{sizes:?}");
    assert_eq!(broker.retain().unwrap().segments_deleted(), 0);
}

#[test]
fn on_request_all_goes_at_once() {
    let machine = SimEnvironment::new(1);
    let broker = slow_broker(&machine, 4);
    let topic = fill_more(&broker, "t", Retention::age(HOUR));
    machine.clock().advance(HOUR + Duration::from_secs(1));
    broker.tick().unwrap();
    let size = topic.describe().size_bytes();
    assert!(size > 190 << 10, "{size}");
    assert!(topic.retain().unwrap().bytes_deleted() > 180 << 10);
    assert!(topic.describe().size_bytes() <= 4 << 10);
}

#[test]
fn what_is_behind_after_a_long_stop_catches_up_at_the_rate() {
    let machine = SimEnvironment::new(1);
    let broker = slow_broker(&machine, 40);
    fill_more(&broker, "t", Retention::age(HOUR));
    broker.close().wait().unwrap();
    machine.clock().advance(24 * HOUR);
    let broker = slow_broker(&machine, 40);
    let topic = broker.topic("t").unwrap();
    let gone = watch_it_go(&machine, &broker, &[&topic], 40 << 10);
    assert!(gone.0 > 190 << 10, "{gone:?}");
    check_rate(gone, 40 << 10);
}

#[test]
fn what_waits_is_spared_if_the_settings_change() {
    let machine = SimEnvironment::new(1);
    let broker = slow_broker(&machine, 4);
    let topic = fill_more(&broker, "t", Retention::age(HOUR));
    machine.clock().advance(HOUR + Duration::from_secs(1));
    broker.tick().unwrap();
    let size = topic.describe().size_bytes();
    broker.alter_topic("t", topic.config().retention(Retention::forever())).unwrap();
    for _ in 0..100 {
        machine.clock().advance(Duration::from_secs(1));
        broker.tick().unwrap();
    }
    assert_eq!(topic.describe().size_bytes(), size);
}

/// What the rate would not have deleted by the next look goes at once.
#[test]
fn the_disk_budget_comes_before_the_rate() {
    let machine = SimEnvironment::new(1);
    let config = BrokerConfig::new()
        .background(Background::Manual)
        .retention_rate(ByteSize::kib(16))
        .disk_budget(ByteSize::mib(1));
    let broker = Broker::builder("/pond").environment(machine.environment()).config(config).open().unwrap();
    let topics: Vec<Topic> =
        (0..10).map(|n| fill_more(&broker, &format!("t{n}"), Retention::forever())).collect();
    let size = || -> u64 { topics.iter().map(|topic| topic.describe().size_bytes() >> 10).sum() };
    assert!(size() > 1900, "{}", size());
    machine.clock().advance(Duration::from_secs(15));
    broker.tick().unwrap();
    // 15 seconds at the rate are left to go.
    assert!((1024 + 232..=1024 + 240).contains(&size()), "{}", size());
    for _ in 0..140 {
        machine.clock().advance(Duration::from_millis(100));
        broker.tick().unwrap();
    }
    assert!((1024..=1024 + 20).contains(&size()), "{}", size());
    for _ in 0..5 {
        machine.clock().advance(Duration::from_secs(1));
        broker.tick().unwrap();
    }
    assert!((1016..=1024).contains(&size()), "{}", size());
}

#[test]
fn memory_does_not_count_in_the_disk_budget() {
    let machine = SimEnvironment::new(1);
    let config = BrokerConfig::new().background(Background::Manual).disk_budget(ByteSize::mib(1));
    let broker = Broker::builder("/pond").environment(machine.environment()).config(config).open().unwrap();
    let on_disk = fill_more(&broker, "disk", Retention::forever());
    let config =
        TopicConfig::new().volatile(Volatile::drop_oldest(ByteSize::mib(4))).segment_size(ByteSize::kib(64));
    let producer = broker.create_topic("memory", config).unwrap().producer().unwrap();
    for _ in 0..2000 {
        drop(producer.send(Record::new(&[7u8; 1000])).unwrap());
    }
    assert_eq!(broker.retain().unwrap().segments_deleted(), 0);
    assert_eq!(on_disk.partition(0).unwrap().log_start_offset(), Offset::ZERO);
}
