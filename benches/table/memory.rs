//! Sending at the level Memory, in one thread.

use std::path::Path;

use millpond::prelude::*;

use crate::common::payload::{Payloads, sum_of_words};
use crate::common::raw::{RawMap, encode_batch};
use crate::common::{Result, machine::seconds, verify};
use crate::row::{Bench, Figures, Row, Target, open};

/// Records in a batch of `send_batch`.
const BATCH: usize = 100;

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    let unit = "M records/s";
    vec![
        Row {
            name: "send 100 B, Memory",
            unit,
            target: Target::RatioAnd(0.6, 10.0),
            run: |bench| bench.both(|dir| send(dir, 100, 5_000_000), |dir| bound(dir, 100, 5_000_000)),
        },
        Row {
            name: "send 1 KiB, Memory",
            unit,
            target: Target::RatioAnd(1.0, 2.5),
            run: |bench| bench.both(|dir| send(dir, 1024, 700_000), |dir| bound(dir, 1024, 700_000)),
        },
        Row {
            name: "send + wait 100 B, Memory (bound: send)",
            unit,
            target: Target::Ratio(0.8),
            run: |bench| bench.both(|dir| send_and_wait(dir, 5_000_000), |dir| send(dir, 100, 5_000_000)),
        },
        Row {
            name: "send_batch 100 x 100 B, Memory",
            unit,
            target: Target::RatioAnd(0.7, 14.0),
            run: batches,
        },
    ]
}

fn send(dir: &Path, size: usize, count: u64) -> Result<f64> {
    let (broker, topic) = open(dir, Durability::Memory, 1)?;
    let producer = topic.producer()?;
    let mut payloads = Payloads::new(size);
    let (time, ()) = seconds(|| {
        for n in 0..count {
            drop(producer.send(Record::new(payloads.stamped(n)))?);
        }
        Ok(())
    })?;
    finish(&broker, &topic, count, &payloads)?;
    Ok(count as f64 / time / 1e6)
}

fn send_and_wait(dir: &Path, count: u64) -> Result<f64> {
    let (broker, topic) = open(dir, Durability::Memory, 1)?;
    let producer = topic.producer()?;
    let mut payloads = Payloads::new(100);
    let (time, ()) = seconds(|| {
        for n in 0..count {
            producer.send(Record::new(payloads.stamped(n)))?.wait()?;
        }
        Ok(())
    })?;
    finish(&broker, &topic, count, &payloads)?;
    Ok(count as f64 / time / 1e6)
}

fn bound(dir: &Path, size: usize, count: u64) -> Result<f64> {
    let mut payloads = Payloads::new(size);
    let mut map = RawMap::create(dir, size * count as usize)?;
    let (time, ()) = seconds(|| {
        for n in 0..count {
            map.push(payloads.stamped(n))?;
        }
        Ok(())
    })?;
    let mut check = verify::Check::new();
    map.bytes().chunks(size).try_for_each(|record| check.see(record))?;
    check.finish(count, &payloads)?;
    Ok(count as f64 / time / 1e6)
}

fn batches(bench: &Bench<'_>) -> Result<Figures> {
    const COUNT: u64 = 5_000_000;
    let ours = |dir: &Path| {
        let (broker, topic) = open(dir, Durability::Memory, 1)?;
        let producer = topic.producer()?;
        let mut payloads = Payloads::new(100);
        let (time, ()) = seconds(|| {
            for first in (0..COUNT).step_by(BATCH) {
                let records = payloads.batch(first, BATCH).map(Record::new);
                drop(producer.send_batch(records)?);
            }
            Ok(())
        })?;
        finish(&broker, &topic, COUNT, &payloads)?;
        Ok(COUNT as f64 / time / 1e6)
    };
    let bound = |dir: &Path| {
        let mut payloads = Payloads::new(100);
        let mut map = RawMap::create(dir, 120 * COUNT as usize)?;
        let mut batch = Vec::new();
        let (time, ()) = seconds(|| {
            for first in (0..COUNT).step_by(BATCH) {
                encode_batch(&mut batch, payloads.batch(first, BATCH));
                map.push_batch(&batch)?;
            }
            Ok(())
        })?;
        std::hint::black_box(sum_of_words(map.bytes()));
        Ok(COUNT as f64 / time / 1e6)
    };
    bench.both(ours, bound)
}

/// Reads everything back and closes.
pub(crate) fn finish(broker: &Broker, topic: &Topic, count: u64, payloads: &Payloads) -> Result<()> {
    for partition in topic.partitions()? {
        verify::partition(topic, partition.number(), count, payloads)?;
    }
    // Its files are removed next: there is nothing to bring to the device.
    let _ = broker;
    Ok(())
}
