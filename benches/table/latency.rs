//! From the moment a record was meant to be sent to the moment a reader has it, at 100,000 a second.
//!
//! The time of a record is when the pace asked for it, not when the writer came to it: a writer that was
//! held up does not hide what its records waited. Writer and reader are pinned to a processor each.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::prelude::*;

use crate::common::machine::{now, percentile, pin};
use crate::common::payload::{Payloads, stamp};
use crate::common::{Failure, Result};
use crate::row::{Bench, Figures, Row, Target, open};

/// Nanoseconds between two records.
const PACE: u64 = 10_000;
const COUNT: u64 = 150_000;

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    let (unit, target) = ("us, p50", Target::AtMostRatio(2.0));
    vec![
        Row {
            name: "publish to consume, 100 k/s, reader polling (bound: one cache line)",
            unit,
            target,
            run: |bench| compare(bench, Way::Polling),
        },
        Row {
            name: "publish to consume, 100 k/s, reader parked (bound: park/unpark)",
            unit,
            target,
            run: |bench| compare(bench, Way::Parked),
        },
        Row {
            name: "publish to consume through a group, member polling (bound: reader polling)",
            unit,
            target: Target::AtMostRatio(1.5),
            run: |bench| compare_group(bench, Way::Polling),
        },
        Row {
            name: "publish to consume through a group, member parked (bound: reader parked)",
            unit,
            target: Target::AtMostRatio(1.5),
            run: |bench| compare_group(bench, Way::Parked),
        },
    ]
}

/// How the reader waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Polling,
    Parked,
}

fn compare(bench: &Bench<'_>, way: Way) -> Result<Figures> {
    let (mut ours, mut bound) = (Vec::new(), Vec::new());
    for mine in [bench.ours_first, !bench.ours_first] {
        match mine {
            true => ours = through_log(bench.dir, way)?,
            false => bound = through_word(way)?,
        }
    }
    let us = |latencies: &[u64], share| percentile(latencies, share) as f64 / 1e3;
    Ok(Figures { ours: us(&ours, 0.5), bound: Some(us(&bound, 0.5)), notes: Vec::new() }
        .note("p99", us(&ours, 0.99))
        .note("bound p99", us(&bound, 0.99)))
}

/// A member of a group beside a reader without one.
fn compare_group(bench: &Bench<'_>, way: Way) -> Result<Figures> {
    let tail = std::cell::Cell::new((0.0, 0.0));
    let figures = bench.both(
        |dir| {
            let latencies = through_group(dir, way)?;
            tail.set((percentile(&latencies, 0.99) as f64 / 1e3, tail.get().1));
            Ok(percentile(&latencies, 0.5) as f64 / 1e3)
        },
        |dir| {
            let latencies = through_log(dir, way)?;
            tail.set((tail.get().0, percentile(&latencies, 0.99) as f64 / 1e3));
            Ok(percentile(&latencies, 0.5) as f64 / 1e3)
        },
    )?;
    Ok(figures.note("p99", tail.get().0).note("bound p99", tail.get().1))
}

/// Calls `send` for each record at its time, with the nanoseconds of that time since `start`.
fn pace(start: Instant, mut send: impl FnMut(u64) -> Result<()>) -> Result<()> {
    for n in 1..=COUNT {
        let due = n * PACE;
        while (start.elapsed().as_nanos() as u64) < due {
            std::hint::spin_loop();
        }
        send(due)?;
    }
    Ok(())
}

fn since(start: Instant, due: u64) -> u64 {
    (start.elapsed().as_nanos() as u64).saturating_sub(due)
}

/// Sorted, without the first fifth.
fn sorted(latencies: &[u64]) -> Vec<u64> {
    let mut sorted = latencies[latencies.len() / 5..].to_vec();
    sorted.sort_unstable();
    sorted
}

fn through_log(dir: &Path, way: Way) -> Result<Vec<u64>> {
    let (_broker, topic) = open(dir, Durability::Memory, 1)?;
    let mut reader = topic.partition(0)?.read(..)?;
    through(&topic, || match way {
        Way::Polling => Ok(reader.next()?),
        Way::Parked => Ok(Some(reader.poll().wait_timeout(Duration::from_secs(5))?)),
    })
}

fn through_group(dir: &Path, way: Way) -> Result<Vec<u64>> {
    let (broker, topic) = open(dir, Durability::Memory, 1)?;
    let mut consumer = broker.group("bench")?.join("bench")?;
    drop(consumer.poll().wait_timeout(Duration::ZERO)?);
    through(&topic, || match way {
        Way::Polling => {
            let records = consumer.poll().wait_timeout(Duration::ZERO)?;
            Ok((!records.is_empty()).then_some(records))
        }
        Way::Parked => Ok(Some(consumer.poll().wait_timeout(Duration::from_secs(5))?)),
    })
}

/// Sends at the pace, and takes what comes.
fn through(topic: &Topic, mut next: impl FnMut() -> Result<Option<Records>>) -> Result<Vec<u64>> {
    let producer = topic.producer()?;
    let start = now();
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            pin(0);
            let mut payloads = Payloads::new(100);
            pace(start, |due| {
                let _: () = drop(producer.send(Record::new(payloads.stamped(due)))?);
                Ok(())
            })
        });
        pin(1);
        let mut latencies = Vec::with_capacity(COUNT as usize);
        while latencies.len() < COUNT as usize {
            let Some(records) = next()? else {
                std::hint::spin_loop();
                continue;
            };
            if records.is_empty() {
                return Err(Failure::from("nothing came for five seconds"));
            }
            for record in &records {
                let due = stamp(record.value()?.unwrap_or_default());
                latencies.push(since(start, due));
            }
        }
        writer.join().map_err(|_| "the writer died")??;
        Ok(sorted(&latencies))
    })
}

/// One word in one cache line.
#[repr(align(128))]
struct Line(AtomicU64);

fn through_word(way: Way) -> Result<Vec<u64>> {
    let (line, done) = (Line(AtomicU64::new(0)), AtomicBool::new(false));
    let reader = std::thread::current();
    let start = now();
    std::thread::scope(|scope| {
        let (word, done) = (&line.0, &done);
        scope.spawn(move || {
            pin(0);
            let paced = pace(start, |due| {
                word.store(due, Ordering::Release);
                if way == Way::Parked {
                    reader.unpark();
                }
                Ok(())
            });
            done.store(true, Ordering::Release);
            reader.unpark();
            paced
        });
        pin(1);
        let mut latencies = Vec::with_capacity(COUNT as usize);
        let mut last = 0;
        while !done.load(Ordering::Acquire) {
            let due = word.load(Ordering::Acquire);
            if due == last {
                match way {
                    Way::Polling => std::hint::spin_loop(),
                    Way::Parked => std::thread::park(),
                }
                continue;
            }
            last = due;
            latencies.push(since(start, due));
        }
        Ok(sorted(&latencies))
    })
}
