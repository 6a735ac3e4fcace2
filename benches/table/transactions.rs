//! Transactions beside plain sends, reading committed records beside reading all, and what a commit costs.

use std::path::Path;

use millpond::config::ReaderConfig;
use millpond::prelude::*;

use crate::common::payload::Payloads;
use crate::common::{Result, machine::seconds};
use crate::row::{Bench, Figures, Row, Target, open};

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    let unit = "k records/s";
    vec![
        Row {
            name: "transactions of 1 x 100 B, Sync (bound: send_batch + wait)",
            unit,
            target: Target::Ratio(0.4),
            run: |bench| transactions(bench, 1, 2_000),
        },
        Row {
            name: "transactions of 100 x 100 B, Sync (bound: send_batch + wait)",
            unit,
            target: Target::Ratio(0.4),
            run: |bench| transactions(bench, 100, 2_000),
        },
        Row {
            name: "transactions of 10,000 x 100 B, Sync (bound: send_batch + wait)",
            unit,
            target: Target::Ratio(0.6),
            run: |bench| transactions(bench, 10_000, 60),
        },
        Row {
            name: "read 100 B at ReadCommitted (bound: ReadUncommitted)",
            unit: "M records/s",
            target: Target::Ratio(0.95),
            run: read_committed,
        },
        Row {
            name: "commit over 1 partition, Sync (bound: 2 x send + wait)",
            unit: "us",
            target: Target::AtMostRatio(1.3),
            run: |bench| commits(bench, 1),
        },
        Row {
            name: "commit over 4 partitions, Sync (bound: 2 x send + wait)",
            unit: "us",
            target: Target::AtMostRatio(2.0),
            run: |bench| commits(bench, 4),
        },
        Row {
            name: "commit over 16 partitions, Sync (bound: 2 x send + wait)",
            unit: "us",
            target: Target::AtMostRatio(6.0),
            run: |bench| commits(bench, 16),
        },
    ]
}

fn transactions(bench: &Bench<'_>, size: u64, count: u64) -> Result<Figures> {
    let rate = |time: f64| (size * count) as f64 / time / 1e3;
    let ours = |dir: &Path| {
        let (broker, topic) = open(dir, Durability::Sync, 1)?;
        let mut producer = broker.transactional("bench")?;
        let mut payloads = Payloads::new(100);
        let (time, ()) = seconds(|| {
            for n in 0..count {
                let mut txn = producer.begin()?;
                for m in 0..size {
                    txn.send(&topic, Record::new(payloads.stamped(n * size + m)))?;
                }
                txn.commit().wait()?;
            }
            Ok(())
        })?;
        let seen = seen(&topic, Isolation::ReadCommitted)?;
        if seen != size * count {
            return Err(format!("{seen} records of {}", size * count).into());
        }
        Ok(rate(time))
    };
    let bound = |dir: &Path| {
        let (_broker, topic) = open(dir, Durability::Sync, 1)?;
        let producer = topic.producer()?;
        let mut payloads = Payloads::new(100);
        let (time, ()) = seconds(|| {
            for n in 0..count {
                let batch: Vec<Vec<u8>> =
                    (0..size).map(|m| payloads.stamped(n * size + m).to_vec()).collect();
                producer.send_batch(batch.iter().map(Record::new))?.wait()?;
            }
            Ok(())
        })?;
        Ok(rate(time))
    };
    bench.both(ours, bound)
}

fn seen(topic: &Topic, isolation: Isolation) -> Result<u64> {
    let config = ReaderConfig::new().isolation(isolation);
    let mut reader = topic.partition(0)?.reader_builder().config(config).start(Start::Earliest).build()?;
    let (mut count, mut bytes) = (0, 0);
    while let Some(records) = reader.next()? {
        for record in &records {
            count += 1;
            bytes += record.value()?.map_or(0, <[u8]>::len);
        }
    }
    std::hint::black_box(bytes);
    Ok(count)
}

/// Transactions of 1,000 records, one of ten aborted.
fn read_committed(bench: &Bench<'_>) -> Result<Figures> {
    const COUNT: u64 = 2_000;
    let (broker, topic) = open(bench.dir, Durability::Memory, 1)?;
    let mut producer = broker.transactional("bench")?;
    let mut payloads = Payloads::new(100);
    for n in 0..COUNT {
        let mut txn = producer.begin()?;
        for m in 0..1_000 {
            txn.send(&topic, Record::new(payloads.stamped(n * 1_000 + m)))?;
        }
        if n % 10 == 9 { txn.abort() } else { txn.commit().wait()? }
    }
    let (mut ours, mut bound) = (0.0, 0.0);
    for pass in 0..4 {
        for mine in [bench.ours_first, !bench.ours_first] {
            let isolation = if mine { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
            let (time, count) = seconds(|| seen(&topic, isolation))?;
            if pass > 0 {
                *(if mine { &mut ours } else { &mut bound }) += count as f64 / time / 3e6;
            }
        }
    }
    Ok(Figures { ours, bound: Some(bound), notes: Vec::new() })
}

fn commits(bench: &Bench<'_>, partitions: u32) -> Result<Figures> {
    const COUNT: u32 = 1_000;
    let ours = |dir: &Path| {
        let (broker, topic) = open(dir, Durability::Sync, partitions)?;
        let mut producer = broker.transactional("bench")?;
        let mut payloads = Payloads::new(100);
        let (time, ()) = seconds(|| {
            for n in 0..COUNT {
                let mut txn = producer.begin()?;
                for partition in 0..partitions {
                    txn.send(&topic, Record::new(payloads.stamped(n.into())).partition(partition))?;
                }
                txn.commit().wait()?;
            }
            Ok(())
        })?;
        Ok(time / f64::from(COUNT) * 1e6)
    };
    let bound = |dir: &Path| {
        let (_broker, topic) = open(dir, Durability::Sync, 1)?;
        let producer = topic.producer()?;
        let mut payloads = Payloads::new(100);
        let (time, ()) = seconds(|| {
            for n in 0..2 * COUNT {
                producer.send(Record::new(payloads.stamped(n.into())))?.wait()?;
            }
            Ok(())
        })?;
        Ok(time / f64::from(COUNT) * 1e6)
    };
    bench.both(ours, bound)
}
