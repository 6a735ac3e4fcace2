//! Sending at the level Sync: figures of the device, and of what is added to it.

use std::path::Path;

use millpond::prelude::*;

use crate::common::payload::Payloads;
use crate::common::raw::{RawFile, encode_batch, encode_record};
use crate::common::{Result, machine, machine::seconds, verify};
use crate::row::{Bench, Figures, Row, Target, open};

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "send 100 B, Sync, wait for the last",
            unit: "M records/s",
            target: Target::Ratio(0.6),
            run: wait_for_last,
        },
        Row {
            name: "send + wait 1 KiB, Sync, 1 thread",
            unit: "k records/s",
            target: Target::Ratio(0.95),
            run: one_thread,
        },
        Row {
            name: "send + wait 1 KiB, Sync, 8 threads, 1 partition (bound: 8 x 1 thread)",
            unit: "k records/s",
            target: Target::RatioAnd(0.7, 30.0),
            run: eight_threads,
        },
        Row {
            name: "send_batch 100 x 1 KiB + wait, Sync",
            unit: "k records/s",
            target: Target::Ratio(0.9),
            run: batches,
        },
    ]
}

fn wait_for_last(bench: &Bench<'_>) -> Result<Figures> {
    const COUNT: u64 = 3_000_000;
    let ours = |dir: &Path| {
        let (_broker, topic) = open(dir, Durability::Sync, 1)?;
        let producer = topic.producer()?;
        let mut payloads = Payloads::new(100);
        let (time, ()) = seconds(|| {
            let mut last = None;
            for n in 0..COUNT {
                last = Some(producer.send(Record::new(payloads.stamped(n)))?);
            }
            last.map_or(Ok(()), |last| last.wait().map(drop))?;
            Ok(())
        })?;
        verify::partition(&topic, 0, COUNT, &payloads)?;
        Ok(COUNT as f64 / time / 1e6)
    };
    let bound = |dir: &Path| {
        const FULL: usize = 64 << 10;
        let mut payloads = Payloads::new(100);
        let mut file = RawFile::create(dir, 120 * COUNT)?;
        let mut batch = vec![0; 61];
        let (time, ()) = seconds(|| {
            let mut delta = 0;
            for n in 0..COUNT {
                encode_record(&mut batch, delta, payloads.stamped(n));
                delta += 1;
                if batch.len() + 111 > FULL || n + 1 == COUNT {
                    let crc = crc32c::crc32c(&batch[21..]);
                    batch[17..21].copy_from_slice(&crc.to_be_bytes());
                    file.write(&batch)?;
                    batch.truncate(61);
                    delta = 0;
                }
            }
            file.sync()
        })?;
        Ok(COUNT as f64 / time / 1e6)
    };
    bench.both(ours, bound)
}

/// Ours and the bound by turns, in pieces: the device has its own tides.
fn one_thread(bench: &Bench<'_>) -> Result<Figures> {
    const PIECES: u64 = 8;
    const PIECE: u64 = 400;
    let (_broker, topic) = open(bench.dir, Durability::Sync, 1)?;
    machine::pin(machine::calm_processor());
    let producer = topic.producer()?;
    let mut payloads = Payloads::new(1024);
    let mut file = RawFile::create(bench.dir, (PIECES * PIECE + 100) * 1100)?;
    let mut batch = Vec::new();
    let (mut ours, mut bound) = (0.0, 0.0);
    for piece in 0..PIECES {
        let records = piece * PIECE..(piece + 1) * PIECE;
        for mine in [bench.ours_first, !bench.ours_first] {
            let (time, ()) = seconds(|| {
                for n in records.clone() {
                    if mine {
                        producer.send(Record::new(payloads.stamped(n)))?.wait()?;
                    } else {
                        encode_batch(&mut batch, std::iter::once(payloads.stamped(n)));
                        file.write(&batch)?;
                        file.sync()?;
                    }
                }
                Ok(())
            })?;
            *(if mine { &mut ours } else { &mut bound }) += time;
        }
    }
    let count = PIECES * PIECE;
    verify::partition(&topic, 0, count, &payloads)?;
    let rate = |time: f64| count as f64 / time / 1e3;
    Ok(Figures { ours: rate(ours), bound: Some(rate(bound)), notes: Vec::new() })
}

fn eight_threads(bench: &Bench<'_>) -> Result<Figures> {
    const THREADS: u64 = 8;
    const EACH: u64 = 4000;
    let ours = |dir: &Path| {
        let (_broker, topic) = open(dir, Durability::Sync, 1)?;
        let producer = topic.producer()?;
        let (time, ()) = seconds(|| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|_| {
                        let producer = producer.clone();
                        scope.spawn(move || -> Result<()> {
                            let mut payloads = Payloads::new(1024);
                            for n in 0..EACH {
                                producer.send(Record::new(payloads.stamped(n)))?.wait()?;
                            }
                            Ok(())
                        })
                    })
                    .collect();
                threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread died")?)
            })
        })?;
        count_of_each(&topic, THREADS, EACH)?;
        Ok((THREADS * EACH) as f64 / time / 1e3)
    };
    let bound = |dir: &Path| {
        const COUNT: u64 = 3000;
        let mut payloads = Payloads::new(1024);
        let mut file = RawFile::create(dir, (COUNT + 1) * 1100)?;
        let mut batch = Vec::new();
        let (time, ()) = seconds(|| {
            for n in 0..COUNT {
                encode_batch(&mut batch, std::iter::once(payloads.stamped(n)));
                file.write(&batch)?;
                file.sync()?;
            }
            Ok(())
        })?;
        Ok(THREADS as f64 * COUNT as f64 / time / 1e3)
    };
    bench.both(ours, bound)
}

/// Each stamp came once from each thread.
fn count_of_each(topic: &Topic, threads: u64, each: u64) -> Result<()> {
    let mut reader = topic.partition(0)?.read(..)?;
    let mut seen = vec![0; each as usize];
    while let Some(records) = reader.next()? {
        for record in &records {
            let stamp = crate::common::payload::stamp(record.value()?.unwrap_or_default());
            *seen.get_mut(stamp as usize).ok_or("an unknown stamp")? += 1;
        }
    }
    if seen.iter().all(|&count| count == threads) { Ok(()) } else { Err("records are missing".into()) }
}

fn batches(bench: &Bench<'_>) -> Result<Figures> {
    const PIECES: u64 = 8;
    const PIECE: u64 = 100;
    const BATCH: u64 = 100;
    let (_broker, topic) = open(bench.dir, Durability::Sync, 1)?;
    machine::pin(machine::calm_processor());
    let producer = topic.producer()?;
    let mut payloads = Payloads::new(1024);
    let mut file = RawFile::create(bench.dir, (PIECES * PIECE + 1) * BATCH * 1100)?;
    let mut batch = Vec::new();
    let (mut ours, mut bound) = (0.0, 0.0);
    for piece in 0..PIECES {
        for mine in [bench.ours_first, !bench.ours_first] {
            let (time, ()) = seconds(|| {
                for n in piece * PIECE..(piece + 1) * PIECE {
                    let records = payloads.batch(n * BATCH, BATCH as usize);
                    if mine {
                        producer.send_batch(records.map(Record::new))?.wait()?;
                    } else {
                        encode_batch(&mut batch, records);
                        file.write(&batch)?;
                        file.sync()?;
                    }
                }
                Ok(())
            })?;
            *(if mine { &mut ours } else { &mut bound }) += time;
        }
    }
    let count = PIECES * PIECE * BATCH;
    verify::partition(&topic, 0, count, &payloads)?;
    let rate = |time: f64| count as f64 / time / 1e3;
    Ok(Figures { ours: rate(ours), bound: Some(rate(bound)), notes: Vec::new() })
}
