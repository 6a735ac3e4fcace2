//! The programs that a newcomer writes first.

use std::time::Duration;

use millpond::prelude::*;

#[test]
fn the_readme_program_runs() {
    let dir = tempfile::tempdir().unwrap();
    let seen = program(&dir.path().join("data")).unwrap();
    assert_eq!(seen, [(0, Some(b"/home".to_vec()))]);
}

fn program(data: &std::path::Path) -> millpond::Result<Vec<(u64, Option<Vec<u8>>)>> {
    let broker = Broker::open(data)?;
    let week = Retention::age(Duration::from_secs(7 * 86_400));
    let clicks = broker.create_topic("clicks", TopicConfig::new().partitions(3).retention(week))?;

    let record = Record::new(b"/home").key(b"alice").header("ua", b"curl");
    let delivery = clicks.producer()?.send(record)?;
    let stored = delivery.wait()?;

    let mut seen = Vec::new();
    let mut reader = clicks.partition(stored.partition())?.read(Offset::ZERO..)?;
    while let Some(records) = reader.next()? {
        for record in &records {
            assert_eq!(record.headers().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(), ["ua"]);
            seen.push((record.offset().get(), record.value()?.map(<[u8]>::to_vec)));
        }
    }
    Ok(seen)
}

#[test]
fn typed_topics_are_constants() {
    const NAMES: TopicDef<Utf8, Utf8> = TopicDef::new("names").partitions(2);
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let names = broker.topic(&NAMES).unwrap();
    assert_eq!(names.partition_count(), 2);
    names.producer().unwrap().send(Record::new("Ada").key("1")).unwrap().wait().unwrap();
    let mut reader = names.read(Start::Earliest).unwrap();
    let records = reader.poll().wait_timeout(Duration::from_secs(10)).unwrap();
    let values: Vec<&str> = records.iter().map(|record| record.value().unwrap()).collect();
    assert_eq!(values, ["Ada"]);
}

#[test]
fn handles_go_everywhere() {
    fn check<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    check::<Broker>();
    check::<Topic>();
    check::<Topic<Utf8, Utf8>>();
    check::<Partition>();
}

/// The broker's threads serve who waits: a reader that waits in one thread, a sender in another.
#[test]
fn a_waiting_reader_is_woken() {
    for durability in [Durability::Memory, Durability::Interval(Duration::from_millis(20)), Durability::Sync]
    {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path()).unwrap();
        let config = TopicConfig::new().durability(durability).linger(Duration::from_secs(60));
        let clicks = broker.create_topic("clicks", config).unwrap();
        let mut reader = clicks.read(Start::Earliest).unwrap();
        let producer = clicks.producer().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                let mut seen = 0;
                while seen < 100 {
                    seen += reader.poll().wait_timeout(Duration::from_secs(20)).unwrap().iter().count();
                }
                seen
            });
            for n in 0..100 {
                drop(producer.send(Record::new(&format!("{n}"))).unwrap());
            }
            assert_eq!(waiting.join().unwrap(), 100, "{durability}");
        });
        broker.close().wait().unwrap();
    }
}

#[test]
fn a_producer_or_reader_alone_keeps_the_broker_open() {
    let dir = tempfile::tempdir().unwrap();
    let (producer, mut reader, mut one) = {
        let broker = Broker::open(dir.path()).unwrap();
        let clicks = broker.create_topic("clicks", TopicConfig::new()).unwrap();
        let one = clicks.partition(0).unwrap().read(..).unwrap();
        (clicks.producer().unwrap(), clicks.read(Start::Earliest).unwrap(), one)
    };
    drop(producer.send(Record::new("x")).unwrap());
    drop(producer);
    assert_eq!(reader.poll().wait().unwrap().iter().count(), 1);
    drop(reader);
    assert_eq!(one.poll().wait().unwrap().iter().count(), 1);
}
