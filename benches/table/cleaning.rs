//! Compaction beside a plain copy, appends while it runs, and opening a table.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use millpond::config::{BrokerConfig, CleanupPolicy};
use millpond::prelude::*;
use millpond::{Broker, Topic};

use crate::common::Result;
use crate::common::machine::seconds;
use crate::common::payload::Payloads;
use crate::row::{Bench, Figures, Row, Target};

const BATCH: usize = 100;
/// Batches of 100 x 1 KiB: 256 MiB.
const BATCHES: u64 = 2_560;
/// Different keys: one record in eight is the latest of its key.
const KEYS: u64 = BATCHES * BATCH as u64 / 8;
const MILLION: u64 = 1_000_000;
/// Records of each key in the log that is opened as a table.
const VERSIONS: u64 = 4;

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "compaction, 1 KiB, 1 of 8 stays (bound: copy the files)",
            unit: "MB/s",
            target: Target::Ratio(0.3),
            run: compaction,
        },
        Row {
            name: "send while compaction runs, 100 B, Memory (bound: without)",
            unit: "M/s",
            target: Target::Ratio(0.7),
            run: sending,
        },
        Row {
            name: "open a table of a million keys from its snapshot (bound: from a log of 4 versions each)",
            unit: "s",
            target: Target::AtMostRatio(0.7),
            run: table,
        },
    ]
}

fn compacted(dir: &Path, segment: ByteSize) -> Result<(Broker, Topic)> {
    // By request only.
    let config = BrokerConfig::new().compaction_interval(std::time::Duration::from_secs(3600));
    let broker = Broker::builder(dir.join("data")).config(config).open()?;
    let topic = TopicConfig::new()
        .cleanup_policy(CleanupPolicy::Compact)
        .durability(Durability::Memory)
        .segment_size(segment);
    let topic = broker.create_topic("bench", topic)?;
    Ok((broker, topic))
}

fn fill(topic: &Topic) -> Result<()> {
    let (producer, mut payloads) = (topic.producer()?, Payloads::new(1024));
    for n in 0..BATCHES {
        let first = n * BATCH as u64;
        let keys: Vec<[u8; 8]> = (first..).take(BATCH).map(|i| (i % KEYS).to_be_bytes()).collect();
        let values = payloads.batch(first, BATCH);
        let records = values.into_iter().zip(&keys).map(|(value, key)| Record::new(value).key(&key[..]));
        drop(producer.send_batch(records)?);
    }
    producer.flush().wait()?;
    Ok(())
}

fn compaction(bench: &Bench<'_>) -> Result<Figures> {
    bench.both(
        |dir| {
            let (broker, topic) = compacted(dir, ByteSize::mib(64))?;
            fill(&topic)?;
            let (time, report) = seconds(|| Ok(topic.compact()?.wait()?))?;
            assert_eq!(report.records_after(), KEYS);
            broker.close().wait()?;
            Ok(report.bytes_before() as f64 / time / 1e6)
        },
        |dir| {
            let (broker, topic) = compacted(dir, ByteSize::mib(64))?;
            fill(&topic)?;
            let copied = dir.join("copy");
            std::fs::create_dir(&copied)?;
            let (time, bytes) = seconds(|| {
                let mut bytes = 0;
                for entry in std::fs::read_dir(dir.join("data/bench-0"))? {
                    let entry = entry?;
                    if entry.path().extension().is_some_and(|end| end == "log") {
                        bytes += std::fs::copy(entry.path(), copied.join(entry.file_name()))?;
                        std::fs::File::open(copied.join(entry.file_name()))?.sync_data()?;
                    }
                }
                Ok(bytes)
            })?;
            broker.close().wait()?;
            Ok(bytes as f64 / time / 1e6)
        },
    )
}

/// Sends 100 B records to one topic, while another one is compacted again and again, or not.
fn sending(bench: &Bench<'_>) -> Result<Figures> {
    let run = |dir: &Path, compacts: bool| -> Result<f64> {
        let (broker, other) = compacted(dir, ByteSize::mib(16))?;
        fill(&other)?;
        let config = TopicConfig::new().durability(Durability::Memory);
        let producer = broker.create_topic("sent", config)?.producer()?;
        let stop = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| -> Result<f64> {
            if compacts {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        if other.compact().and_then(|running| running.wait()).is_err() {
                            break;
                        }
                    }
                });
            }
            let (value, count) = ([7u8; 100], 5_000_000u64);
            let (time, sent) = seconds(|| {
                for _ in 0..count {
                    drop(producer.send(Record::new(&value))?);
                }
                Ok(count)
            })?;
            stop.store(true, Ordering::Relaxed);
            Ok(sent as f64 / time / 1e6)
        })?;
        broker.close().wait()?;
        Ok(sent)
    };
    bench.both(|dir| run(dir, true), |dir| run(dir, false))
}

fn table(bench: &Bench<'_>) -> Result<Figures> {
    let run = |dir: &Path, snapshot: bool| -> Result<f64> {
        let (broker, topic) = compacted(dir, ByteSize::mib(64))?;
        let (producer, value) = (topic.producer()?, [7u8; 100]);
        for i in 0..VERSIONS * MILLION {
            drop(producer.send(Record::new(&value).key(&(i % MILLION).to_be_bytes()))?);
        }
        producer.flush().wait()?;
        if snapshot {
            topic.table()?.save_snapshot()?;
        }
        let (time, table) = seconds(|| Ok(topic.table()?))?;
        assert_eq!((table.len() as u64, table.is_from_snapshot()), (MILLION, snapshot));
        drop((table, producer, topic));
        broker.close().wait()?;
        Ok(time)
    };
    bench.both(|dir| run(dir, true), |dir| run(dir, false))
}
