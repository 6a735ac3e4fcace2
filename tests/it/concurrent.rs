//! Records of one member processed by several threads: order by key, commits, ends, and hand-overs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, GroupConfig};
use millpond::group::{Assignor, GroupAssignment, GroupSubscription};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use millpond::{ErrorKind, TopicName, TopicPartition};

const SOON: Duration = Duration::from_millis(20);

fn zero() -> TopicPartition {
    TopicPartition::new(TopicName::new("t").unwrap(), 0)
}

fn memory(partitions: u32) -> TopicConfig {
    TopicConfig::new().partitions(partitions).durability(Durability::Memory).segment_size(ByteSize::mib(1))
}

fn open(partitions: u32) -> (tempfile::TempDir, Broker, Topic) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("t", memory(partitions)).unwrap();
    (dir, broker, topic)
}

/// Sends these keys, with their numbers as values.
fn send<'a>(topic: &Topic, keys: impl IntoIterator<Item = &'a str>) {
    let producer = topic.producer().unwrap();
    for (number, key) in (0u64..).zip(keys) {
        drop(producer.send(Record::new(&number.to_be_bytes()).key(key)).unwrap());
    }
    producer.flush().wait().unwrap();
}

fn join(broker: &Broker) -> Consumer {
    broker.group("g").unwrap().join("t").unwrap()
}

fn number(value: Option<&[u8]>) -> u64 {
    u64::from_be_bytes(value.unwrap().try_into().unwrap())
}

fn committed(broker: &Broker) -> Option<u64> {
    broker.group("g").unwrap().committed(&zero()).unwrap().map(|committed| committed.offset().get())
}

#[test]
fn different_keys_are_processed_at_once_and_each_in_order() {
    let (_dir, broker, topic) = open(3);
    let keys = ["a", "b", "c", "d"];
    send(&topic, keys.iter().copied().cycle().take(400));
    let mut consumer = join(&broker);
    let interrupter = consumer.interrupter();
    let (all, seen) = (Barrier::new(4), Mutex::new(BTreeMap::<Vec<u8>, Vec<u64>>::new()));
    let done = AtomicU32::new(0);
    consumer
        .for_each_concurrent(4, |record| {
            let key = record.key()?.unwrap().to_vec();
            let first = !seen.lock().unwrap().contains_key(&key);
            seen.lock().unwrap().entry(key).or_default().push(number(record.value()?));
            if first {
                all.wait(); // only if four keys are processed at once
            }
            if done.fetch_add(1, Ordering::Relaxed) == 399 {
                interrupter.interrupt();
            }
            Ok(())
        })
        .unwrap();
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), 4);
    for numbers in seen.values() {
        assert_eq!(numbers.len(), 100);
        assert!(numbers.is_sorted(), "{numbers:?}");
    }
    assert!(broker.group("g").unwrap().lag().unwrap().iter().all(|lag| lag.records() == 0));
}

#[test]
fn nothing_is_committed_above_a_record_that_is_not_done() {
    let (_dir, broker, topic) = open(1);
    send(&topic, ["a", "b", "c", "d", "stuck", "e", "f", "g", "h", "stuck"]);
    let mut consumer = join(&broker);
    let others = Barrier::new(2);
    let done = AtomicU32::new(0);
    let error = consumer
        .for_each_concurrent(2, |record| {
            if record.key()? == Some(b"stuck") {
                others.wait();
                return Err("it cannot be done".into());
            }
            if done.fetch_add(1, Ordering::Relaxed) == 7 {
                others.wait(); // all others are done
            }
            Ok(())
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Processing, "{error}");
    assert_eq!((error.offset(), error.topic_partition()), (Offset::new(4), Some(&zero())));
    assert_eq!(error.to_string(), "t-0: the record was not processed (offset 4)");
    assert_eq!(format!("{error:#}"), "t-0: the record was not processed (offset 4): it cannot be done");
    assert_eq!(committed(&broker), Some(4));
    let again: Vec<u64> = consumer.poll().wait().unwrap().iter().map(|r| r.offset().get()).collect();
    assert_eq!(again, [4, 5, 6, 7, 8, 9], "it goes on at the record that was not done");
}

#[test]
fn a_panic_is_an_error_and_the_consumer_goes_on() {
    let (_dir, broker, topic) = open(1);
    send(&topic, ["a", "b", "c"]);
    let mut consumer = join(&broker);
    let error = consumer
        .for_each_concurrent(3, |record| {
            assert_ne!(record.key()?, Some(&b"b"[..]), "on purpose");
            Ok(())
        })
        .unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Processing, Offset::new(1)));
    assert!(error.to_string().contains("on purpose"), "{error}");
    assert!(committed(&broker) <= Some(1));
    let interrupter = consumer.interrupter();
    let seen = Mutex::new(BTreeSet::new());
    consumer
        .for_each_concurrent(1, |record| {
            seen.lock().unwrap().insert(record.offset().get());
            if record.offset().get() == 2 {
                interrupter.interrupt();
            }
            Ok(())
        })
        .unwrap();
    assert!(seen.into_inner().unwrap().is_superset(&BTreeSet::from([1, 2])));
    assert_eq!(committed(&broker), Some(3));
}

#[test]
fn what_is_not_begun_when_it_is_interrupted_is_left() {
    let (_dir, broker, topic) = open(1);
    send(&topic, std::iter::repeat_n("one key", 100));
    let mut consumer = join(&broker);
    let interrupter = consumer.interrupter();
    let mut next = 0;
    while next < 100 {
        let seen = Mutex::new(Vec::new());
        consumer
            .for_each_concurrent(4, |record| {
                let offset = record.offset().get();
                seen.lock().unwrap().push(offset);
                if offset % 10 == 9 {
                    interrupter.interrupt();
                }
                Ok(())
            })
            .unwrap();
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen, (next..next + seen.len() as u64).collect::<Vec<_>>());
        next += seen.len() as u64;
        assert_eq!(committed(&broker), Some(next));
    }
}

#[test]
fn its_arguments_are_checked() {
    let (_dir, broker, _topic) = open(1);
    let mut consumer = join(&broker);
    for threads in [0, 1025, usize::MAX] {
        let error = consumer.for_each_concurrent(threads, |_| Ok(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{threads}");
    }
    broker.close().wait().unwrap();
    assert_eq!(consumer.for_each_concurrent(2, |_| Ok(())).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn members_come_and_go_and_every_record_is_processed_after_those_before_it() {
    const COUNT: usize = 6_000;
    const KEYS: u64 = 97;
    let (_dir, broker, topic) = open(8);
    let keys: Vec<String> = (0..COUNT).map(|number| format!("key {}", number as u64 % KEYS)).collect();
    let seen = Mutex::new(BTreeMap::<u64, u32>::new());
    let all_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Should one fail, all end.
        struct Ends<'a>(&'a AtomicBool);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.fetch_or(std::thread::panicking(), Ordering::Relaxed);
            }
        }
        let work = |leaves_after: usize| {
            let _ends = Ends(&all_done);
            let mut consumer = join(&broker);
            let interrupter = consumer.interrupter();
            let mine = AtomicU32::new(0);
            while !all_done.load(Ordering::Relaxed) && (mine.load(Ordering::Relaxed) as usize) < leaves_after
            {
                scope.spawn({
                    let (interrupter, all_done) = (interrupter.clone(), &all_done);
                    move || {
                        while !all_done.load(Ordering::Relaxed) {
                            std::thread::yield_now();
                        }
                        interrupter.interrupt();
                    }
                });
                consumer
                    .for_each_concurrent(3, |record| {
                        let value = number(record.value()?);
                        let mut seen = seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        let before = value.checked_sub(KEYS);
                        // What was done above a record that was not is done again, in order.
                        assert!(before.is_none_or(|before| seen.contains_key(&before)), "{value}");
                        *seen.entry(value).or_insert(0) += 1;
                        all_done.fetch_or(seen.len() == COUNT, Ordering::Relaxed);
                        if mine.fetch_add(1, Ordering::Relaxed) as usize + 1 >= leaves_after {
                            interrupter.interrupt();
                        }
                        Ok(())
                    })
                    .unwrap();
            }
        };
        let first = scope.spawn(move || work(usize::MAX));
        scope.spawn(move || work(500));
        send(&topic, keys.iter().map(String::as_str));
        scope.spawn(move || work(500));
        first.join().unwrap();
    });
    let seen = seen.into_inner().unwrap();
    assert_eq!(seen.len(), COUNT);
    assert!(broker.group("g").unwrap().lag().unwrap().iter().all(|lag| lag.records() == 0));
}

#[test]
fn who_is_stuck_is_put_out_and_commits_nothing_of_what_it_lost() {
    let sim = SimEnvironment::new(1);
    let manual = BrokerConfig::new().background(Background::Manual);
    let broker = Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap();
    let topic = broker.create_topic("t", memory(1)).unwrap();
    send(&topic, ["a", "b", "c", "d"]);
    let config = GroupConfig::new().max_poll_interval(Duration::from_secs(10)).max_records(1);
    let mut slow: Consumer = broker.group("g").unwrap().config(config).join("t").unwrap();
    let interrupter = slow.interrupter();
    let (stuck, is_stuck) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    std::thread::scope(|scope| {
        let slow = scope.spawn(move || {
            slow.for_each_concurrent(2, |_| {
                stuck.send(())?;
                released.lock().unwrap().recv()?;
                Ok(())
            })
        });
        is_stuck.recv().unwrap();
        let mut quick = join(&broker);
        let records = loop {
            // The member polls last after it has given its record out.
            sim.clock().advance(Duration::from_secs(10));
            broker.tick().unwrap();
            let records = quick.poll().wait_timeout(SOON).unwrap();
            if !records.is_empty() {
                break records;
            }
        };
        assert_eq!(records.iter().count(), 4, "nothing was committed: all again");
        quick.commit_offset(&zero(), millpond::group::OffsetAndMetadata::new(Offset::ZERO)).wait().unwrap();
        interrupter.interrupt();
        drop(release);
        let _ = slow.join().unwrap();
        assert_eq!(committed(&broker), Some(0));
    });
}

#[test]
fn a_revoked_partition_is_let_go_when_nothing_of_it_is_under_way() {
    let (_dir, broker, topic) = open(1);
    send(&topic, ["a", "b", "c"]);
    let (begun, has_begun) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    // Whose name comes first gets the only partition.
    let join =
        |name: &str| broker.group("g").unwrap().assignor(ByName).client_id(name).unwrap().join("t").unwrap();
    std::thread::scope(|scope| {
        let mut old: Consumer = join("b");
        let interrupter = old.interrupter();
        let old = scope.spawn(move || {
            old.for_each_concurrent(1, |record| {
                begun.send(record.offset().get())?;
                released.lock().unwrap().recv()?;
                Ok(())
            })
        });
        assert_eq!(has_begun.recv().unwrap(), 0);
        let mut new: Consumer = join("a");
        for _ in 0..5 {
            assert!(new.poll().wait_timeout(SOON).unwrap().is_empty(), "the first record is under way");
        }
        release.send(()).unwrap();
        let records = new.poll().wait().unwrap();
        let offsets: Vec<u64> = records.iter().map(|record| record.offset().get()).collect();
        assert_eq!(offsets, [1, 2], "the first one is done and committed, the others were left");
        interrupter.interrupt();
        old.join().unwrap().unwrap();
        assert!(has_begun.try_recv().is_err());
        new.commit(&records).wait().unwrap();
        assert_eq!(committed(&broker), Some(3));
    });
}

/// Gives everything to the member whose name comes first.
#[derive(Debug)]
struct ByName;

impl Assignor for ByName {
    fn name(&self) -> &str {
        "by-name"
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        let mut assignment = GroupAssignment::new(group);
        for partition in group.partitions() {
            if let Some(first) = group.subscribers(partition.topic()).first() {
                assignment.give(*first, partition);
            }
        }
        assignment
    }
}
