//! Records that cannot be decoded: stop, skip, or divert; and the ways to poll.

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, GroupConfig};
use millpond::consumer::Undecodable;
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use millpond::{ErrorKind, TopicName, TopicPartition};

const NAMES: TopicDef<Utf8, Utf8> = TopicDef::new("names").partitions(2);

fn tp(partition: u32) -> TopicPartition {
    TopicPartition::new(TopicName::new("names").unwrap(), partition)
}

/// Two partitions of `names`, each with a, bad, b; and a topic for dead letters.
fn open() -> (tempfile::TempDir, Broker) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    broker.create_topic("dead", TopicConfig::new()).unwrap();
    // Made before there is a definition: its records do not say that they are raw.
    let raw = broker.create_topic("names", TopicConfig::new().partitions(2)).unwrap().producer().unwrap();
    for partition in 0..2 {
        for value in [&b"a"[..], &[0xff, partition as u8], b"b"] {
            let record = Record::new(value).key("k").header("trace", "7").null_header("none");
            drop(raw.send(record.partition(partition).timestamp(Timestamp::from_millis(5))).unwrap());
        }
    }
    raw.flush().wait().unwrap();
    (dir, broker)
}

fn join(broker: &Broker, bad: Undecodable) -> Consumer<Utf8, Utf8> {
    broker.group("g").unwrap().undecodable(bad).join(&NAMES).unwrap()
}

fn committed(broker: &Broker, partition: u32) -> Option<u64> {
    let committed = broker.group("g").unwrap().committed(&tp(partition)).unwrap();
    committed.map(|committed| committed.offset().get())
}

#[test]
fn where_it_stops_the_position_stays_and_nothing_is_passed_over() {
    let (_dir, broker) = open();
    let mut consumer = join(&broker, Undecodable::Stop);
    for _ in 0..2 {
        let records = consumer.poll().wait().unwrap();
        let mut records = records.iter().skip_while(|record| record.offset() == Offset::ZERO);
        let bad = records.next().unwrap();
        let error = consumer.decode(bad).unwrap_err();
        assert_eq!((error.kind(), error.offset()), (ErrorKind::Codec, Offset::new(1)));
        assert_eq!(consumer.position(bad.topic_partition()).unwrap(), Offset::new(1));
    }
    // What was handed out behind it does not count as handed out.
    consumer.commit_all().wait().unwrap();
    let (here, other) = if committed(&broker, 0) == Some(1) { (0, 1) } else { (1, 0) };
    assert_eq!(committed(&broker, here), Some(1));
    assert!(committed(&broker, other).unwrap_or(0) <= 1);
    consumer.seek(&tp(here), Offset::new(2).unwrap()).unwrap();
    let records = consumer.poll().wait().unwrap();
    let here: Vec<_> = records.iter().filter(|record| record.partition() == here).collect();
    assert_eq!(consumer.decode(here[0]).unwrap(), Some("b"));
    assert_eq!((here.len(), consumer.passed_over()), (1, 0));
}

#[test]
fn skipped_records_are_passed_over_and_committed() {
    let (_dir, broker) = open();
    let mut consumer = join(&broker, Undecodable::Skip);
    let (mut seen, mut count) = (Vec::new(), 0);
    while count < 6 {
        let records = consumer.poll().wait().unwrap();
        for record in &records {
            count += 1;
            assert_eq!(consumer.decode_key(record).unwrap(), Some("k"));
            seen.extend(consumer.decode(record).unwrap().map(str::to_owned));
        }
        consumer.commit(&records).wait().unwrap();
    }
    assert_eq!((seen.len(), consumer.passed_over()), (4, 2));
    assert_eq!((committed(&broker, 0), committed(&broker, 1)), (Some(3), Some(3)));
}

#[test]
fn dead_letters_say_where_they_come_from() {
    let (_dir, broker) = open();
    let mut consumer = join(&broker, Undecodable::divert_to("dead").unwrap());
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let records = consumer.poll().wait().unwrap();
        for record in &records {
            seen.extend(consumer.decode(record).unwrap().map(str::to_owned));
        }
        consumer.commit(&records).wait().unwrap();
    }
    let mut dead = broker.topic("dead").unwrap().read(Start::Earliest).unwrap();
    let letters = dead.poll().wait().unwrap();
    assert_eq!(letters.iter().count(), 2);
    for letter in &letters {
        let partition = letter.value().unwrap().unwrap()[1].to_string();
        assert_eq!(letter.key().unwrap(), Some(&b"k"[..]));
        assert_eq!(letter.timestamp(), Timestamp::from_millis(5));
        let headers: Vec<_> = letter.headers().collect();
        assert_eq!(headers[..2], [("trace", Some(&b"7"[..])), ("none", None)]);
        let expected = [
            (Undecodable::TOPIC, "names"),
            (Undecodable::PARTITION, partition.as_str()),
            (Undecodable::OFFSET, "1"),
            (Undecodable::GROUP, "g"),
        ];
        for (found, (name, value)) in headers[2..].iter().zip(expected) {
            assert_eq!(*found, (name, Some(value.as_bytes())));
        }
        assert_eq!(headers[6].0, Undecodable::ERROR);
    }
    assert_eq!(committed(&broker, 0), Some(3));
}

#[test]
fn dead_letters_that_cannot_be_sent_stop_it() {
    let (_dir, broker) = open();
    let dead = Undecodable::divert_to("dead").unwrap();
    let join_raw = |topic: &str, bad: &Undecodable| {
        broker.group("other").unwrap().undecodable(bad.clone()).join(topic).map(drop)
    };
    assert_eq!(join_raw("dead", &dead).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let missing = Undecodable::divert_to("missing").unwrap();
    assert_eq!(join_raw("names", &missing).unwrap_err().kind(), ErrorKind::TopicNotFound);
    let mut consumer = join(&broker, dead);
    broker.delete_topic("dead").unwrap();
    let records = consumer.poll().wait().unwrap();
    let bad = records.iter().nth(1).unwrap();
    assert_eq!(consumer.decode(bad).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(consumer.position(bad.topic_partition()).unwrap(), Offset::new(1));
}

#[test]
fn workers_pass_bad_records_over_or_stop_at_them() {
    for (bad, done) in [(Undecodable::Stop, false), (Undecodable::Skip, true)] {
        let (_dir, broker) = open();
        let mut consumer = join(&broker, bad);
        let interrupter = consumer.interrupter();
        let seen = Mutex::new(0);
        let ended = consumer.for_each_concurrent(2, |record| {
            let _name = record.value()?;
            *seen.lock().unwrap() += 1;
            if *seen.lock().unwrap() == 4 {
                interrupter.interrupt();
            }
            Ok(())
        });
        assert_eq!(ended.is_ok(), done, "{ended:?}");
        assert_eq!(committed(&broker, 0) == Some(3) && committed(&broker, 1) == Some(3), done);
        if let Err(error) = ended {
            assert_eq!((error.kind(), error.offset()), (ErrorKind::Processing, Offset::new(1)));
        }
        if !done {
            // Other errors of the closure are no matter of decoding.
            let error = consumer.for_each_concurrent(1, |_| Err("no".into())).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Processing);
        }
    }
}

#[test]
fn an_iterator_polls_until_it_is_interrupted_or_all_is_closed() {
    let (_dir, broker) = open();
    let mut consumer = join(&broker, Undecodable::Stop);
    let interrupter = consumer.interrupter();
    let mut polls = consumer.iter();
    let mut seen = 0;
    while let Some(records) = polls.next() {
        let records = records.unwrap();
        seen += records.iter().count();
        polls.consumer().commit(&records).wait().unwrap();
        if seen == 6 {
            interrupter.interrupt();
        }
    }
    assert_eq!((seen, committed(&broker, 1)), (6, Some(3)));
    let mut polls = consumer.iter();
    broker.close().wait().unwrap();
    assert_eq!(polls.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(polls.next().is_none());
}

#[test]
fn who_waits_does_not_stall_whichever_way_it_polls() {
    let sim = SimEnvironment::new(5);
    let manual = BrokerConfig::new().background(Background::Manual);
    let broker = Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap();
    let topic = broker.create_topic("t", TopicConfig::new().durability(Durability::Memory)).unwrap();
    let config = GroupConfig::new().max_poll_interval(Duration::from_secs(10));
    let mut consumer: Consumer = broker.group("g").unwrap().config(config).join("t").unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let stall = || {
        sim.clock().advance(Duration::from_secs(60));
        broker.tick().unwrap();
        broker.group("g").unwrap().describe().map_or(0, |group| group.members().len())
    };
    let mut poll = consumer.poll();
    assert!(Pin::new(&mut poll).poll(&mut context).is_pending());
    assert_eq!(stall(), 1, "a poll that waits");
    drop(poll);
    #[cfg(feature = "stream")]
    {
        let mut stream = std::pin::pin!(&mut consumer);
        assert!(futures_util::Stream::poll_next(stream.as_mut(), &mut context).is_pending());
        assert_eq!(stall(), 1, "a stream that waits");
        topic.producer().unwrap().send(Record::new("v")).unwrap().wait().unwrap();
        let std::task::Poll::Ready(Some(Ok(records))) =
            futures_util::Stream::poll_next(stream.as_mut(), &mut context)
        else {
            panic!("there is a record");
        };
        assert_eq!(records.iter().count(), 1);
        assert!(futures_util::Stream::poll_next(stream.as_mut(), &mut context).is_pending());
        assert_eq!(stall(), 1, "it waits again");
        topic.producer().unwrap().send(Record::new("v")).unwrap().wait().unwrap();
        assert_eq!(stall(), 0, "it was woken, and nobody polls");
        assert!(futures_util::Stream::poll_next(stream.as_mut(), &mut context).is_ready(), "it came back");
    }
    drop(topic);
    let id = consumer.member_id().clone();
    assert_eq!(stall(), 0, "one that is busy elsewhere");
    let _ = Pin::new(&mut consumer.poll()).poll(&mut context);
    assert_ne!(consumer.member_id(), &id);
}
