//! Producers: plain ones, one with a name, one by key, transactional ones.
//!
//! A value is `who number`, or `who transaction number of count`, and some padding.

use millpond::ErrorKind;
use millpond::prelude::*;

use super::ledger::{Book, Fate};
use super::scene::{Actor, PARTITIONS};

/// Records that one sender sends at most.
const MOST: u64 = 8_000;

fn value(actor: &Actor, number: u64) -> String {
    let padding = if actor.one_in(40) { actor.below(7_000) } else { actor.below(120) };
    format!("{} {number} {:x<2$}", actor.name, "", padding as usize)
}

/// Sends to `events`, one by one or many at once, and waits now and then.
pub(super) fn plain(actor: &Actor) -> Book {
    let mut book = Book::new(actor.name, "events");
    let producer = actor.topic("events").producer().unwrap();
    let mut number = 0;
    while actor.goes_on() && number < MOST {
        if actor.one_in(4) {
            let values: Vec<String> = (0..actor.below(60)).map(|at| value(actor, number + at)).collect();
            actor.now(format!("send_batch {number}"));
            let records = values.iter().map(|value| {
                Record::new(value).key(value).partition(actor.below(u64::from(PARTITIONS)) as u32)
            });
            let mut delivery = producer.send_batch(records.collect::<Vec<_>>()).unwrap();
            let wait = actor.one_in(2);
            if wait {
                actor.now(format!("wait for the batch of {number}"));
                delivery.wait_timeout(std::time::Duration::from_secs(80)).unwrap();
            }
            for _ in &values {
                book.sent(number, if wait { Fate::Acknowledged } else { Fate::Sent });
                number += 1;
            }
            continue;
        }
        let text = value(actor, number);
        actor.now(format!("send {number}"));
        let record = Record::new(&text).key(&text).partition(actor.below(u64::from(PARTITIONS)) as u32);
        let delivery = producer.send(record).unwrap();
        let wait = actor.one_in(20);
        if wait {
            actor.now(format!("wait for {number}"));
            delivery.wait().unwrap();
        }
        book.sent(number, if wait { Fate::Acknowledged } else { Fate::Sent });
        number += 1;
        if actor.one_in(100) {
            actor.now("flush");
            producer.flush().wait().unwrap();
            book.all_acknowledged();
        }
    }
    actor.now("the last flush");
    producer.flush().wait().unwrap();
    book.all_acknowledged();
    book
}

/// Sends to `orders` by numbers, and much of it twice.
pub(super) fn named(actor: &Actor) -> Book {
    let mut book = Book::new(actor.name, "orders");
    let topic = actor.topic("orders");
    let mut producer = topic.idempotent_producer(actor.name).unwrap();
    let (mut number, mut next) = (0, [0u64; PARTITIONS as usize]);
    while actor.goes_on() && number < MOST {
        let n = actor.below(u64::from(PARTITIONS)) as usize;
        let texts: Vec<String> = (0..1 + actor.below(8)).map(|at| value(actor, number + at)).collect();
        let records = || texts.iter().map(|text| Record::new(text).key(text));
        actor.now(format!("send_at {n} {}", next[n]));
        let sent = producer.send_at(n as u32, next[n], records()).unwrap();
        if actor.one_in(2) {
            actor.now(format!("send_at {n} {} again", next[n]));
            let again = producer.send_at(n as u32, next[n], records()).map(drop).unwrap_err();
            assert!(matches!(again.kind(), ErrorKind::Duplicate { .. }), "{again}");
        } else if actor.one_in(2) {
            actor.now(format!("wait for {n} {}", next[n]));
            sent.wait().unwrap();
        }
        next[n] += texts.len() as u64;
        for _ in &texts {
            book.sent(number, Fate::Sent);
            number += 1;
        }
        if actor.one_in(50) {
            actor.now("take the name anew");
            drop(producer);
            producer = topic.idempotent_producer(actor.name).unwrap();
        }
    }
    for n in 0..PARTITIONS {
        actor.now(format!("last_acknowledged {n}"));
        let last = producer.last_acknowledged(n).unwrap();
        assert_eq!(last.map_or(0, |last| last + 1), next[n as usize], "of partition {n}");
    }
    book.all_acknowledged();
    book
}

/// Sends a few keys to `state`, over and over, with deletions.
pub(super) fn keyed(actor: &Actor) -> Book {
    let mut book = Book::new(actor.name, "state");
    let producer = actor.topic("state").producer().unwrap();
    let mut number = 0;
    while actor.goes_on() && number < MOST {
        let key = format!("key-{}", actor.below(50));
        let partition = u32::from(key.len() as u8 % 2);
        actor.now(format!("send {key}"));
        if actor.one_in(10) {
            drop(producer.send(Record::tombstone().key(&key).partition(partition)).unwrap());
            book.keyed(&key, None);
        } else {
            let text = value(actor, number);
            drop(producer.send(Record::new(&text).key(&key).partition(partition)).unwrap());
            book.keyed(&key, Some(number));
        }
        number += 1;
    }
    actor.now("the last flush");
    producer.flush().wait().unwrap();
    book
}

/// Sends to a topic without a disk, whose oldest records go.
pub(super) fn volatile(actor: &Actor) -> Book {
    let book = Book::new(actor.name, "bus");
    let producer = actor.topic("bus").producer().unwrap();
    let mut number = 0;
    while actor.goes_on() && number < MOST {
        let text = format!("{} {number} {:x<2$}", actor.name, "", actor.below(300) as usize);
        actor.now(format!("send {number} to the bus"));
        let partition = actor.below(u64::from(PARTITIONS)) as u32;
        drop(producer.send(Record::new(&text).partition(partition)).unwrap());
        number += 1;
    }
    book
}

/// Transactions over several partitions of `money`, committed or not.
pub(super) fn transactional(actor: &Actor) -> Book {
    let mut book = Book::new(actor.name, "money");
    let mut producer = actor.broker.transactional(actor.name).unwrap();
    let mut number = 0;
    while actor.goes_on() && number < 2_000 {
        actor.now(format!("begin {number}"));
        let count = 1 + actor.below(12);
        let mut txn = producer.begin().unwrap();
        for at in 0..count {
            actor.now(format!("send {at} of {number}"));
            let text = format!("{} {number} {at} {count} {:x<2$}", actor.name, "", actor.below(200) as usize);
            let partition = actor.below(u64::from(PARTITIONS)) as u32;
            txn.send("money", Record::new(&text).key(&text).partition(partition)).unwrap();
        }
        if actor.one_in(4) {
            actor.now(format!("abort {number}"));
            txn.abort();
            book.sent(number, Fate::Aborted);
        } else {
            actor.now(format!("commit {number}"));
            let commit = txn.commit();
            if actor.one_in(2) {
                commit.wait().unwrap();
                book.sent(number, Fate::Acknowledged);
            } else {
                book.sent(number, Fate::Sent);
            }
        }
        number += 1;
        if actor.one_in(60) {
            actor.now("take the id anew");
            drop(producer);
            producer = actor.broker.transactional(actor.name).unwrap();
        }
    }
    book
}
