//! Consumer groups: polling through a group, committing, handing partitions over, and a topic as an event bus.
//!
//! Invariant: the bound of a row is the same work without a group, or what a program without a log would take.

use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use millpond::config::{Background, BrokerConfig};
use millpond::group::OffsetAndMetadata;
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use tokio::sync::broadcast;

use crate::common::machine::seconds;
use crate::common::payload::{Payloads, sum_of_words};
use crate::common::verify::Check;
use crate::common::{Failure, Result};
use crate::row::{Bench, Figures, Row, Target, open};

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "poll 100 B through a group of one (bound: a reader without a group)",
            unit: "M records/s",
            target: Target::Ratio(0.8),
            run: |bench| bench.both(poll_group, poll_reader),
        },
        Row {
            name: "commits that nobody waits for, coalesced (bound: send 100 B, Sync, wait for the last)",
            unit: "k commits/s",
            target: Target::AtLeast(100.0),
            run: |bench| {
                bench.both(|dir| commits(dir, 100_000, Waiting::AtTheEnd), |dir| sends(dir, 100_000))
            },
        },
        Row {
            name: "commit and wait (bound: send + wait 100 B, Sync)",
            unit: "k commits/s",
            target: Target::Ratio(0.8),
            run: |bench| bench.both(|dir| commits(dir, 3_000, Waiting::Each), sends_and_waits),
        },
        Row {
            name: "a member joins, 256 partitions over 16: coordinator and polls",
            unit: "ms",
            target: Target::AtMost(1.0),
            run: |_| Ok(Figures::alone(rebalance()?)),
        },
        Row {
            name: "bus, 1 publisher, 2 groups, 100 B, Memory (bound: tokio's broadcast of Bytes)",
            unit: "M events/s",
            target: Target::Ratio(1.0),
            run: bus,
        },
    ]
}

const COUNT: u64 = 3_000_000;
const PASSES: u32 = 3;

fn filled(dir: &Path) -> Result<(Broker, Topic)> {
    let (broker, topic) = open(dir, Durability::Memory, 1)?;
    let producer = topic.producer()?;
    let mut payloads = Payloads::new(100);
    for n in 0..COUNT {
        drop(producer.send(Record::new(payloads.stamped(n)))?);
    }
    Ok((broker, topic))
}

/// The log is read some times; the first time does not count. Answers records a second.
fn passes(mut pass: impl FnMut() -> Result<u64>) -> Result<f64> {
    let sum = pass()?;
    let (time, ()) = seconds(|| {
        for _ in 1..PASSES {
            if pass()? != sum {
                return Err(Failure::from("another sum than before"));
            }
        }
        Ok(())
    })?;
    Ok((COUNT * u64::from(PASSES - 1)) as f64 / time / 1e6)
}

fn add(records: &Records, sum: &mut u64, seen: &mut u64) {
    for record in records {
        *sum = sum.wrapping_add(sum_of_words(record.raw_value().unwrap_or_default()));
        *seen += 1;
    }
}

fn poll_group(dir: &Path) -> Result<f64> {
    let (broker, topic) = filled(dir)?;
    let partition = topic.partition(0)?.topic_partition().clone();
    let mut consumer = broker.group("bench")?.join("bench")?;
    drop(consumer.poll().wait()?);
    passes(|| {
        consumer.seek(&partition, Offset::ZERO)?;
        let (mut sum, mut seen) = (0, 0);
        while seen < COUNT {
            add(&consumer.poll().wait()?, &mut sum, &mut seen);
        }
        Ok(sum)
    })
}

fn poll_reader(dir: &Path) -> Result<f64> {
    let (_broker, topic) = filled(dir)?;
    let mut reader = topic.partition(0)?.read(..)?;
    passes(|| {
        reader.seek(Offset::ZERO)?;
        let (mut sum, mut seen) = (0, 0);
        while seen < COUNT {
            add(&reader.poll().wait()?, &mut sum, &mut seen);
        }
        Ok(sum)
    })
}

/// Which commits are waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Each,
    AtTheEnd,
}

fn commits(dir: &Path, count: u64, waiting: Waiting) -> Result<f64> {
    let (broker, topic) = open(dir, Durability::Memory, 1)?;
    topic.producer()?.send_batch((0..count).map(|_| Record::new("x")))?.wait()?;
    let partition = topic.partition(0)?.topic_partition().clone();
    let mut consumer = broker.group("bench")?.join("bench")?;
    drop(consumer.poll().wait()?);
    let offset = |n: u64| Offset::new(n).map(OffsetAndMetadata::new).ok_or("too large an offset");
    let (time, ()) = seconds(|| {
        for n in 1..=count {
            let commit = consumer.commit_offset(&partition, offset(n)?);
            if waiting == Waiting::Each || n == count {
                commit.wait()?;
            }
        }
        Ok(())
    })?;
    let committed = consumer.committed(&partition)?.map(|committed| committed.offset().get());
    if committed != Some(count) {
        return Err(format!("{committed:?} is committed, not {count}").into());
    }
    Ok(count as f64 / time / 1e3)
}

fn sends(dir: &Path, count: u64) -> Result<f64> {
    let (_broker, topic) = open(dir, Durability::Sync, 1)?;
    let (producer, mut payloads) = (topic.producer()?, Payloads::new(100));
    let (time, ()) = seconds(|| {
        for n in 0..count {
            drop(producer.send(Record::new(payloads.stamped(n)))?);
        }
        Ok(producer.flush().wait()?)
    })?;
    Ok(count as f64 / time / 1e3)
}

fn sends_and_waits(dir: &Path) -> Result<f64> {
    const SENDS: u64 = 3_000;
    let (_broker, topic) = open(dir, Durability::Sync, 1)?;
    let (producer, mut payloads) = (topic.producer()?, Payloads::new(100));
    let (time, ()) = seconds(|| {
        for n in 0..SENDS {
            producer.send(Record::new(payloads.stamped(n)))?.wait()?;
        }
        Ok(())
    })?;
    Ok(SENDS as f64 / time / 1e3)
}

/// The sixteenth member joins, all others let go of a partition each, and it has its part. In memory, so that no
/// disk takes part.
fn rebalance() -> Result<f64> {
    const ROUNDS: u32 = 50;
    let sim = SimEnvironment::new(1);
    let config = BrokerConfig::new().background(Background::Manual);
    let broker = Broker::builder("/data").environment(sim.environment()).config(config).open()?;
    let settings = TopicConfig::new().partitions(256).durability(Durability::Memory);
    broker.create_topic("bench", settings.segment_size(ByteSize::kib(64)))?;
    let join = || -> Result<Consumer> { Ok(broker.group("bench")?.join("bench")?) };
    let mut consumers = (0..15).map(|_| join()).collect::<Result<Vec<_>>>()?;
    let poll = |consumer: &mut Consumer| -> Result<()> {
        drop(consumer.poll().wait_timeout(Duration::ZERO)?);
        Ok(())
    };
    consumers.iter_mut().try_for_each(poll)?;
    let mut total = 0.0;
    for _ in 0..ROUNDS {
        let (time, comes) = seconds(|| {
            let mut comes = join()?;
            consumers.iter_mut().try_for_each(poll)?;
            poll(&mut comes)?;
            Ok(comes)
        })?;
        total += time;
        if comes.assignment().len() != 16 {
            return Err(format!("{} partitions instead of 16", comes.assignment().len()).into());
        }
        drop(comes);
        consumers.iter_mut().try_for_each(poll)?;
    }
    Ok(total / f64::from(ROUNDS) * 1e3)
}

const EVENTS: u64 = 1_500_000;
const SUBSCRIBERS: usize = 2;
/// Events under way in memory, at most.
const CAPACITY: usize = 16 << 10;

fn bus(bench: &Bench<'_>) -> Result<Figures> {
    let ours = |dir: &Path| through_topic(dir, Durability::Memory, EVENTS);
    let figures = bench.both(ours, |_| through_broadcast())?;
    let dir = |name: &str| -> Result<std::path::PathBuf> {
        let dir = bench.dir.join(name);
        std::fs::create_dir(&dir)?;
        Ok(dir)
    };
    let interval = Durability::Interval(Duration::from_millis(100));
    Ok(figures
        .note("a crossbeam channel for each", through_channels()?)
        .note("millpond, Interval 100 ms", through_topic(&dir("interval")?, interval, EVENTS)?)
        .note("millpond, Sync", through_topic(&dir("sync")?, Durability::Sync, EVENTS)?))
}

/// One publishes, the others see everything, in order; from the first event to the last one seen by all.
fn publish_to_all<S: FnOnce(&mut Check) -> Result<()> + Send>(
    events: u64,
    subscribers: Vec<S>,
    publish: impl FnOnce(&mut Payloads) -> Result<()>,
) -> Result<f64> {
    let barrier = Barrier::new(subscribers.len() + 1);
    let barrier = &barrier;
    let (time, (checks, payloads)) = std::thread::scope(|scope| {
        let waiting: Vec<_> = subscribers
            .into_iter()
            .map(|subscriber| {
                scope.spawn(move || -> Result<Check> {
                    let mut check = Check::new();
                    barrier.wait();
                    subscriber(&mut check)?;
                    Ok(check)
                })
            })
            .collect();
        barrier.wait();
        seconds(|| {
            let mut payloads = Payloads::new(100);
            publish(&mut payloads)?;
            let died = |_| Failure::from("a subscriber died");
            let checks = waiting.into_iter().map(|subscriber| subscriber.join().map_err(died)?);
            Ok((checks.collect::<Result<Vec<Check>>>()?, payloads))
        })
    })?;
    checks.into_iter().try_for_each(|check| check.finish(events, &payloads))?;
    Ok(events as f64 / time / 1e6)
}

fn through_topic(dir: &Path, durability: Durability, events: u64) -> Result<f64> {
    let (broker, topic) = open(dir, durability, 1)?;
    let producer = topic.producer()?;
    let mut subscribers = Vec::new();
    for n in 0..SUBSCRIBERS {
        let mut consumer = broker.group(format!("subscriber-{n}"))?.join("bench")?;
        subscribers.push(move |check: &mut Check| -> Result<()> {
            while check.seen() < events {
                for record in &consumer.poll().wait()? {
                    check.see(record.value()?.unwrap_or_default())?;
                }
            }
            Ok(())
        });
    }
    publish_to_all(events, subscribers, |payloads| {
        for n in 0..events {
            drop(producer.send(Record::new(payloads.stamped(n)))?);
        }
        Ok(())
    })
}

/// Who is slow loses events there, so the publisher waits while the ring is half full.
fn through_broadcast() -> Result<f64> {
    let (sender, first) = broadcast::channel::<bytes::Bytes>(CAPACITY);
    let mut receivers = vec![first];
    receivers.extend((1..SUBSCRIBERS).map(|_| sender.subscribe()));
    let subscriber = |mut receiver: broadcast::Receiver<bytes::Bytes>| {
        move |check: &mut Check| -> Result<()> {
            while check.seen() < EVENTS {
                check.see(&receiver.blocking_recv()?)?;
            }
            Ok(())
        }
    };
    publish_to_all(EVENTS, receivers.into_iter().map(subscriber).collect(), |payloads| {
        for n in 0..EVENTS {
            while n % 64 == 0 && sender.len() > CAPACITY / 2 {
                std::thread::yield_now();
            }
            let sent = sender.send(bytes::Bytes::copy_from_slice(payloads.stamped(n)));
            sent.map_err(|_| "nobody receives")?;
        }
        Ok(())
    })
}

fn through_channels() -> Result<f64> {
    let ends = (0..SUBSCRIBERS).map(|_| crossbeam_channel::bounded::<bytes::Bytes>(CAPACITY));
    let (senders, receivers): (Vec<_>, Vec<_>) = ends.unzip();
    let subscriber = |receiver: crossbeam_channel::Receiver<bytes::Bytes>| {
        move |check: &mut Check| -> Result<()> {
            while check.seen() < EVENTS {
                check.see(&receiver.recv()?)?;
            }
            Ok(())
        }
    };
    publish_to_all(EVENTS, receivers.into_iter().map(subscriber).collect(), |payloads| {
        for n in 0..EVENTS {
            let event = bytes::Bytes::copy_from_slice(payloads.stamped(n));
            senders.iter().try_for_each(|sender| sender.send(event.clone()))?;
        }
        Ok(())
    })
}
