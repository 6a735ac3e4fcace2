//! Members of groups: a pipeline of two that writes what it reads, with transactions; and one that comes and goes.

use std::collections::BTreeMap;
use std::time::Duration;

use millpond::config::GroupConfig;
use millpond::prelude::*;
use millpond::{Error, ErrorKind};

use super::ledger::Book;
use super::scene::Actor;

const A_MOMENT: Duration = Duration::from_millis(5);

/// Whoever is put out, or has its partitions taken, tries again with what it has then.
fn may_happen(error: &Error) {
    let kinds =
        [ErrorKind::Rebalanced, ErrorKind::Fenced, ErrorKind::TransactionAborted, ErrorKind::Backpressure];
    assert!(kinds.contains(&error.kind()), "{error}");
}

/// Copies what comes from `events` to `out`; answers whether that holds.
fn copy(txn: Transaction<'_>, consumer: &Consumer, records: &Records) -> bool {
    let mut txn = txn;
    let copied = records.iter().try_for_each(|record| {
        let value = record.value()?.unwrap_or_default();
        txn.send("out", Record::new(value).partition(record.partition() % 3))
    });
    let ended =
        copied.and_then(|()| txn.commit_offsets(consumer, records)).and_then(|()| txn.commit().wait());
    if let Err(error) = &ended {
        may_happen(error);
    }
    ended.is_ok()
}

fn join(broker: &Broker, topics: &[&str], group: &str, most: u32) -> Consumer {
    let config = GroupConfig::new().max_records(most);
    broker.group(group).unwrap().config(config).join(topics).unwrap()
}

/// A member of the pipeline. What did not hold is read again, by whoever has it then.
pub(super) fn pipeline(actor: &Actor) -> Book {
    let mut producer = actor.broker.transactional(actor.name).unwrap();
    let mut consumer = join(&actor.broker, &["events"], "pipe", 200);
    while actor.goes_on() {
        actor.now("poll");
        let records = consumer.poll().wait_timeout(A_MOMENT);
        let records = match records {
            Ok(records) => records,
            Err(error) if error.kind() == ErrorKind::TimedOut => continue,
            Err(error) => panic!("poll: {error}"),
        };
        if records.is_empty() {
            continue;
        }
        actor.now("copy");
        let abandoned = actor.one_in(12);
        let held = !abandoned && copy(producer.begin().unwrap(), &consumer, &records);
        drop(records);
        if !held || actor.one_in(30) {
            actor.now("leave and join");
            drop(consumer);
            consumer = join(&actor.broker, &["events"], "pipe", 1 + actor.below(300) as u32);
        }
    }
    actor.now("leave");
    consumer.close().wait().unwrap();
    Book::new(actor.name, "nothing")
}

/// What the pipeline has not come to.
pub(super) fn drain(broker: &Broker) {
    let mut producer = broker.transactional("drain").unwrap();
    let mut consumer = join(broker, &["events"], "pipe", 1_000);
    let lag = || broker.group("pipe").unwrap().lag().unwrap().iter().map(|lag| lag.records()).sum::<u64>();
    for _ in 0..10_000 {
        if lag() == 0 {
            return;
        }
        let polled = consumer.poll().wait_timeout(A_MOMENT);
        match polled {
            Ok(records) if !records.is_empty() => {
                assert!(copy(producer.begin().unwrap(), &consumer, &records), "nobody else is there");
            }
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
        }
    }
    panic!("{} records are left", lag());
}

/// Joins, polls, commits, and leaves in one way or the other.
pub(super) fn comes_and_goes(actor: &Actor) -> Book {
    while actor.goes_on() {
        actor.now("join");
        let group = ["pipe-2", "others"][actor.below(2) as usize];
        let mut consumer = join(&actor.broker, &["events", "orders", "money", "bus"], group, 50);
        let mut last: BTreeMap<(String, u32), u64> = BTreeMap::new();
        for _ in 0..actor.below(12) {
            actor.now("poll");
            let Ok(records) = consumer.poll().wait_timeout(A_MOMENT) else { continue };
            for record in &records {
                let tp = record.topic_partition();
                let before = last.insert((tp.topic().to_string(), tp.partition()), record.offset().get());
                assert!(before.is_none_or(|before| before < record.offset().get()), "{tp} {before:?}");
            }
            actor.now("commit");
            let commit = consumer.commit(&records);
            if actor.one_in(2) {
                commit.wait().unwrap_or_else(|error| may_happen(&error));
            }
        }
        actor.now("go");
        match actor.below(3) {
            0 => drop(consumer),
            1 => consumer.unsubscribe(),
            _ => consumer.close().wait().unwrap_or_else(|error| may_happen(&error)),
        }
    }
    Book::new(actor.name, "nothing")
}
