//! What those who read a topic are told when it is deleted: first what there is of it, then that it is gone.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use millpond::Error;
use millpond::group::TopicPattern;
use millpond::prelude::*;

const CLICKS: TopicDef<Utf8, Utf8> = TopicDef::new("clicks").partitions(3);
const LONG: Duration = Duration::from_secs(30);

fn open() -> (tempfile::TempDir, Broker) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    (dir, broker)
}

fn send(topic: &Topic<Utf8, Utf8>, partition: u32, values: &[&str]) {
    let producer = topic.producer().unwrap();
    for value in values {
        producer.send(Record::new(value).key(value).partition(partition)).unwrap().wait().unwrap();
    }
}

/// The error of a topic that is gone.
#[track_caller]
fn assert_deleted(error: &Error, topic: &str) {
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(error.to_string().ends_with(&format!("topic {topic} has been deleted")), "{error}");
}

#[test]
fn readers_read_what_is_left_and_are_told_then() {
    let (_dir, broker) = open();
    let topic = broker.topic(&CLICKS).unwrap();
    send(&topic, 0, &["a", "b"]);
    send(&topic, 2, &["c"]);
    let two = Offset::new(2).unwrap();
    let partition = topic.partition(0).unwrap();
    let (mut begun, mut late) = (partition.read(..).unwrap(), partition.read(two..).unwrap());
    let (mut range, mut beyond) = (partition.read(..two).unwrap(), partition.read(..two.next()).unwrap());
    let mut all = topic.read(Start::Earliest).unwrap();
    assert_eq!(begun.next().unwrap().map(|records| records.iter().count()), Some(2));
    assert!(begun.next().unwrap().is_none() && late.next().unwrap().is_none());

    broker.delete_topic("clicks").unwrap();
    // A topic of the same name is another one.
    send(&broker.topic(&CLICKS).unwrap(), 0, &["x", "y", "z"]);
    for _ in 0..2 {
        assert_deleted(&begun.next().unwrap_err(), "clicks");
        assert_deleted(&late.next().unwrap_err(), "clicks");
        assert_deleted(&late.poll().wait().unwrap_err(), "clicks");
        assert_deleted(&late.poll().wait_timeout(Duration::ZERO).unwrap_err(), "clicks");
    }
    assert_eq!(range.next().unwrap().map(|records| records.iter().count()), Some(2));
    assert!(range.next().unwrap().is_none(), "it has all that it wanted");
    assert!(beyond.next().unwrap().is_some());
    assert_deleted(&beyond.next().unwrap_err(), "clicks");
    let seen: usize =
        std::iter::from_fn(|| all.next().ok().flatten()).map(|records| records.iter().count()).sum();
    assert_eq!(seen, 3, "of all partitions");
    assert_deleted(&all.next().unwrap_err(), "clicks");
    assert_deleted(&all.poll().wait().unwrap_err(), "clicks");
    begun.seek(Start::Earliest).unwrap();
    assert_eq!(begun.next().unwrap().map(|records| records.iter().count()), Some(2), "as often as one likes");
}

#[test]
fn a_closed_broker_is_told_by_next_too() {
    let (_dir, broker) = open();
    let topic = broker.topic(&CLICKS).unwrap();
    send(&topic, 0, &["a"]);
    let mut reader = topic.read(Start::Earliest).unwrap();
    broker.close().wait().unwrap();
    assert_eq!(reader.next().unwrap().map(|records| records.iter().count()), Some(1));
    let error = reader.next().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().ends_with("the partition is closed"), "{error}");
}

#[test]
fn a_table_has_what_was_left_and_is_told_then() {
    let (_dir, broker) = open();
    let topic = broker.topic(&CLICKS).unwrap();
    send(&topic, 0, &["a"]);
    let mut table = topic.table().unwrap();
    send(&topic, 1, &["b"]);
    broker.delete_topic("clicks").unwrap();
    assert_eq!(table.update().unwrap().len(), 1);
    assert_deleted(&table.update().unwrap_err(), "clicks");
    assert_deleted(&table.poll().wait().unwrap_err(), "clicks");
    assert_eq!((table.len(), table.get("b").unwrap()), (2, Some("b")));
}

/// What a thread answers, which would wait for ever if nobody woke it.
fn promptly<T: Send + 'static>(
    work: impl FnOnce(mpsc::Sender<()>) -> T + Send + 'static,
    then: impl FnOnce(),
) -> T {
    let (ready, is_ready) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let thread = thread::spawn(move || tell.send(work(ready)).unwrap());
    is_ready.recv_timeout(LONG).unwrap();
    then();
    let answer = told.recv_timeout(LONG).expect("nobody woke it");
    thread.join().unwrap();
    answer
}

#[test]
fn who_waits_is_woken() {
    for _ in 0..20 {
        let (_dir, broker) = open();
        let topic = broker.topic(&CLICKS).unwrap();
        let mut reader = topic.partition(1).unwrap().read(..).unwrap();
        let mut table = topic.table().unwrap();
        let mut consumer = broker.group("g").unwrap().join(&CLICKS).unwrap();
        assert!(consumer.poll().wait_timeout(Duration::ZERO).unwrap().is_empty());
        let (first, second, third) = promptly(
            move |ready| {
                thread::scope(|scope| {
                    let reader = scope.spawn(|| reader.poll().wait().map(drop).unwrap_err());
                    let table = scope.spawn(|| table.poll().wait().map(drop).unwrap_err());
                    ready.send(()).unwrap();
                    let consumer = consumer.poll().wait().map(drop).unwrap_err();
                    (reader.join().unwrap(), table.join().unwrap(), consumer)
                })
            },
            || broker.delete_topic("clicks").unwrap(),
        );
        for error in [first, second, third] {
            assert_deleted(&error, "clicks");
        }
    }
}

#[test]
fn a_consumer_waits_for_topics_that_are_left_and_for_those_that_come_anew() {
    let (_dir, broker) = open();
    let others = TopicDef::<Utf8, Utf8>::new("others");
    broker.topic(&CLICKS).unwrap();
    broker.topic(&others).unwrap();
    let mut both = broker.group("both").unwrap().join([&CLICKS, &others]).unwrap();
    let mut one = broker.group("one").unwrap().join(&CLICKS).unwrap();
    let mut matching = broker.group("matching").unwrap().join(TopicPattern::new("click*").unwrap()).unwrap();
    // More members than partitions: nothing is wrong with that.
    let mut idle: Vec<_> = (0..4).map(|_| broker.group("one").unwrap().join(&CLICKS).unwrap()).collect();
    for member in &mut idle {
        assert!(member.poll().wait_timeout(Duration::ZERO).unwrap().is_empty());
    }
    drop(idle);
    broker.delete_topic("clicks").unwrap();
    let soon = Duration::from_millis(5);
    assert!(both.poll().wait_timeout(soon).unwrap().is_empty());
    assert!(matching.poll().wait_timeout(soon).unwrap().is_empty());
    assert_deleted(&one.poll().wait_timeout(soon).unwrap_err(), "clicks");
    assert_deleted(&one.iter().next().unwrap().unwrap_err(), "clicks");
    assert_deleted(&one.for_each_concurrent(2, |_| Ok(())).unwrap_err(), "clicks");
    match pin!(one.poll()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(told) => assert_deleted(&told.unwrap_err(), "clicks"),
        Poll::Pending => panic!("nothing can come"),
    }
    broker.delete_topic("others").unwrap();
    let error = both.poll().wait_timeout(soon).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(error.to_string().contains("all topics"), "{error}");

    send(&broker.topic(&CLICKS).unwrap(), 0, &["again"]);
    assert_eq!(one.poll().wait().unwrap().iter().count(), 1);
    assert_eq!(both.poll().wait().unwrap().iter().count(), 1);
    assert_eq!(matching.poll().wait().unwrap().iter().count(), 1);
}

#[test]
fn who_sends_is_told_the_same() {
    let (_dir, broker) = open();
    let topic = broker.topic(&CLICKS).unwrap();
    let producer = topic.producer().unwrap();
    broker.delete_topic("clicks").unwrap();
    assert_deleted(&producer.send(Record::new("late").partition(0)).unwrap_err(), "clicks");
    assert_deleted(&producer.try_send(Record::new("late").partition(0)).unwrap_err(), "clicks");
    assert_deleted(&topic.partition(0).unwrap_err(), "clicks");
}
