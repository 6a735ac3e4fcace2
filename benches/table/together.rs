//! Several threads at once: a writer with its reader, many writers on one and on several partitions; and one
//! writer on very many.

use std::path::Path;
use std::sync::{Arc, Barrier};

use millpond::config::Volatile;
use millpond::prelude::*;

use crate::common::machine::{now, pause, seconds};
use crate::common::payload::Payloads;
use crate::common::verify::{self, Check};
use crate::common::{Failure, Result};
use crate::row::{Bench, Figures, Row, Target, open};

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    let unit = "M records/s";
    vec![
        Row {
            name: "one writer, one reader, 100 B, Memory (bound: crossbeam-channel of Vec<u8>)",
            unit,
            target: Target::RatioAnd(1.0, 7.5),
            run: |bench| Ok(bench.both(tail, channel)?.note("a channel of [u8; 100]", channel_of_arrays()?)),
        },
        Row {
            name: "one writer, a group of one, 100 B, volatile, 64 MiB (bound: crossbeam-channel of Vec<u8>)",
            unit,
            target: Target::Ratio(0.5),
            run: |bench| bench.both(volatile, channel),
        },
        Row {
            name: "4 producers, 4 partitions, prepared (bound: 1 producer)",
            unit,
            target: Target::Ratio(1.6),
            run: |bench| four(bench, Rounds { count: 40, records: 60_000, pause_ms: 30 }),
        },
        Row {
            name: "4 producers, 4 partitions, while preparing (bound: 1 producer)",
            unit,
            target: Target::Ratio(1.0),
            run: |bench| four(bench, Rounds { count: 1, records: 1_500_000, pause_ms: 0 }),
        },
        Row {
            name: "send with a reader at the tail, 100 B, Memory (bound: send alone)",
            unit,
            target: Target::Ratio(0.75),
            run: |bench| bench.both(|dir| writing(dir, true), |dir| writing(dir, false)),
        },
        Row {
            name: "16 producers, 1 partition, 100 B, Memory (bound: 1 producer)",
            unit,
            target: Target::Ratio(0.7),
            run: |bench| bench.both(|dir| sharing(dir, 16), |dir| sharing(dir, 1)),
        },
        Row {
            name: "send to 1,000 partitions by key, 100 B, Memory (bound: to one)",
            unit,
            target: Target::Ratio(0.4),
            run: |bench| bench.both(|dir| keyed(dir, 1_000), |dir| keyed(dir, 1)),
        },
    ]
}

const TAILED: u64 = 4_000_000;

fn send_all(producer: &Producer) -> Result<Payloads> {
    let mut payloads = Payloads::new(100);
    for n in 0..TAILED {
        drop(producer.send(Record::new(payloads.stamped(n)))?);
    }
    Ok(payloads)
}

fn tail(dir: &Path) -> Result<f64> {
    let (_broker, topic) = open(dir, Durability::Memory, 1)?;
    let producer = topic.producer()?;
    let mut reader = topic.partition(0)?.read(..)?;
    let (time, check) = seconds(|| {
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || send_all(&producer));
            let mut check = Check::new();
            while check.seen() < TAILED {
                for record in &reader.poll().wait()? {
                    check.see(record.value()?.unwrap_or_default())?;
                }
            }
            let payloads = writer.join().map_err(|_| "the writer died")??;
            Ok((check, payloads))
        })
    })?;
    check.0.finish(TAILED, &check.1)?;
    Ok(TAILED as f64 / time / 1e6)
}

/// The writer's rate, with or without a reader at the tail.
fn writing(dir: &Path, read: bool) -> Result<f64> {
    let (_broker, topic) = open(dir, Durability::Memory, 1)?;
    let producer = topic.producer()?;
    let mut reader = topic.partition(0)?.read(..)?;
    let (time, payloads) = std::thread::scope(|scope| -> Result<(f64, Payloads)> {
        let writer = scope.spawn(move || seconds(|| send_all(&producer)));
        if read {
            let mut check = Check::new();
            while check.seen() < TAILED {
                for record in &reader.poll().wait()? {
                    check.see(record.value()?.unwrap_or_default())?;
                }
            }
        }
        writer.join().map_err(|_| "the writer died")?
    })?;
    verify::partition(&topic, 0, TAILED, &payloads)?;
    Ok(TAILED as f64 / time / 1e6)
}

/// Threads that send to one partition: their records together by the time until the last one has ended.
fn sharing(dir: &Path, threads: u64) -> Result<f64> {
    let (_broker, topic) = open(dir, Durability::Memory, 1)?;
    let barrier = Barrier::new(threads as usize);
    let (time, ()) = seconds(|| {
        std::thread::scope(|scope| -> Result<()> {
            let senders: Vec<_> = (0..threads)
                .map(|_| {
                    let (barrier, producer) = (&barrier, topic.producer()?);
                    Ok(scope.spawn(move || -> Result<()> {
                        let mut payloads = Payloads::new(100);
                        barrier.wait();
                        for n in 0..TAILED / threads {
                            drop(producer.send(Record::new(payloads.stamped(n)))?);
                        }
                        Ok(())
                    }))
                })
                .collect::<Result<_>>()?;
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().map_err(|_| Failure::from("a sender died"))?)
        })
    })?;
    are_there(&topic, 1, TAILED)?;
    Ok(TAILED as f64 / time / 1e6)
}

/// One thread whose records have keys, all of them different.
fn keyed(dir: &Path, partitions: u32) -> Result<f64> {
    let (broker, topic) = open(dir, Durability::Memory, partitions)?;
    let producer = topic.producer()?;
    let mut payloads = Payloads::new(92);
    let (time, ()) = seconds(|| -> Result<()> {
        for n in 0..TAILED {
            let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
            drop(producer.send(Record::new(payloads.stamped(n)).key(&key))?);
        }
        Ok(())
    })?;
    are_there(&topic, partitions, TAILED)?;
    // Dropped, it would still be closing a thousand files while the folder is removed.
    broker.close().wait()?;
    Ok(TAILED as f64 / time / 1e6)
}

/// So many records are in these partitions, whatever their order.
fn are_there(topic: &Topic, partitions: u32, count: u64) -> Result<()> {
    let mut seen = 0;
    for partition in 0..partitions {
        let mut reader = topic.partition(partition)?.read(..)?;
        while let Some(records) = reader.next()? {
            seen += records.iter().count() as u64;
        }
    }
    if seen == count { Ok(()) } else { Err(format!("{seen} of {count} records are there").into()) }
}

/// Through a volatile topic whose senders wait for what the group has committed.
fn volatile(dir: &Path) -> Result<f64> {
    let broker = Broker::open(dir)?;
    let bound = Volatile::senders_wait(ByteSize::mib(64));
    let topic = broker.create_topic("bus", TopicConfig::new().volatile(bound))?;
    let producer = topic.producer()?;
    let mut consumer = broker.group("bench")?.join("bus")?;
    let (time, check) = seconds(|| {
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || -> Result<Payloads> {
                let payloads = send_all(&producer)?;
                producer.flush().wait()?;
                Ok(payloads)
            });
            let mut check = Check::new();
            while check.seen() < TAILED {
                let records = consumer.poll().wait()?;
                for record in &records {
                    check.see(record.value()?.unwrap_or_default())?;
                }
                drop(consumer.commit(&records));
            }
            let payloads = writer.join().map_err(|_| "the writer died")??;
            Ok((check, payloads))
        })
    })?;
    check.0.finish(TAILED, &check.1)?;
    Ok(TAILED as f64 / time / 1e6)
}

/// Records of whatever length, each in memory of its own, as a channel of records must have them.
fn channel(_: &Path) -> Result<f64> {
    through_channel(|record| record.to_vec())
}

/// Records whose length is part of their type.
fn channel_of_arrays() -> Result<f64> {
    through_channel(|record| {
        let mut copy = [0; 100];
        copy.copy_from_slice(record);
        copy
    })
}

fn through_channel<T: AsRef<[u8]> + Send + 'static>(make: fn(&[u8]) -> T) -> Result<f64> {
    let (sender, receiver) = crossbeam_channel::bounded::<T>(64 << 10);
    let (time, check) = seconds(|| {
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || -> Result<Payloads> {
                let mut payloads = Payloads::new(100);
                for n in 0..TAILED {
                    sender.send(make(payloads.stamped(n))).map_err(|_| "nobody receives")?;
                }
                Ok(payloads)
            });
            let mut check = Check::new();
            for record in &receiver {
                check.see(record.as_ref())?;
            }
            let payloads = writer.join().map_err(|_| "the writer died")??;
            Ok((check, payloads))
        })
    })?;
    check.0.finish(TAILED, &check.1)?;
    Ok(TAILED as f64 / time / 1e6)
}

/// How the four producers send: in bursts, between which room can be prepared, or all at once.
#[derive(Clone, Copy)]
struct Rounds {
    count: u64,
    /// Records of each producer in each round.
    records: u64,
    pause_ms: u64,
}

fn four(bench: &Bench<'_>, rounds: Rounds) -> Result<Figures> {
    bench.both(|dir| producers(dir, 4, rounds), |dir| producers(dir, 1, rounds))
}

/// All producers begin each round together; answers the records of all of them by the time of the rounds.
fn producers(dir: &Path, threads: u32, rounds: Rounds) -> Result<f64> {
    let (_broker, topic) = open(dir, Durability::Memory, threads)?;
    let barrier = Arc::new(Barrier::new(threads as usize + 1));
    let mut time = 0.0;
    std::thread::scope(|scope| -> Result<()> {
        let senders: Vec<_> = (0..threads)
            .map(|partition| {
                let (barrier, topic) = (Arc::clone(&barrier), topic.clone());
                scope.spawn(move || send_rounds(&topic, partition, rounds, &barrier))
            })
            .collect();
        for _ in 0..rounds.count {
            pause(std::time::Duration::from_millis(rounds.pause_ms));
            barrier.wait();
            let start = now();
            barrier.wait();
            time += start.elapsed().as_secs_f64();
        }
        senders
            .into_iter()
            .try_for_each(|sender| sender.join().map_err(|_| Failure::from("a sender died"))?)
    })?;
    let each = rounds.count * rounds.records;
    let mut payloads = Payloads::new(100);
    payloads.stamped(0);
    for partition in 0..threads {
        verify::partition(&topic, partition, each, &payloads)?;
    }
    Ok((each * u64::from(threads)) as f64 / time / 1e6)
}

fn send_rounds(topic: &Topic, partition: u32, rounds: Rounds, barrier: &Barrier) -> Result<()> {
    let sent = topic.producer().map(|producer| (producer, Payloads::new(100)));
    let mut outcome = Ok(());
    // Whatever happens, the others are not left alone at the barrier.
    let (producer, mut payloads) = match sent {
        Ok(both) => both,
        Err(error) => {
            for _ in 0..rounds.count * 2 {
                barrier.wait();
            }
            return Err(error.into());
        }
    };
    for round in 0..rounds.count {
        barrier.wait();
        for n in round * rounds.records..(round + 1) * rounds.records {
            let sent = producer.send(Record::new(payloads.stamped(n)).partition(partition));
            if let Err(error) = sent {
                outcome = Err(error.into());
                break;
            }
        }
        barrier.wait();
    }
    outcome
}
