//! Single calls, measured by criterion: `cargo bench --bench calls`.

mod common;

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use millpond::prelude::*;

use common::payload::{Payloads, sum_of_words};

/// A broker with one topic of this level.
fn open(durability: Durability, batch_size: ByteSize) -> common::Result<(tempfile::TempDir, Broker, Topic)> {
    let dir = tempfile::tempdir()?;
    let broker = Broker::open(dir.path())?;
    let settings = TopicConfig::new()
        .durability(durability)
        .batch_size(batch_size)
        .segment_size(ByteSize::mib(64))
        .retention(Retention::size(ByteSize::mib(256)));
    let topic = broker.create_topic("calls", settings)?;
    Ok((dir, broker, topic))
}

fn sending(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("send");
    let levels = [("Memory", Durability::Memory), ("Sync, nobody waits", Durability::Sync)];
    for (level, durability) in levels {
        for size in [100, 1024] {
            let (_dir, _broker, topic) = open(durability, ByteSize::kib(64)).expect("a topic");
            let producer = topic.producer().expect("a producer");
            let (mut payloads, mut n) = (Payloads::new(size), 0);
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(format!("{size} B, {level}"), |bench| {
                bench.iter(|| {
                    n += 1;
                    drop(producer.send(Record::new(payloads.stamped(n))).expect("sent"));
                });
            });
        }
    }
    group.finish();
}

fn sealing(criterion: &mut Criterion) {
    // Batches of one record: each send seals the batch before it.
    let (_dir, _broker, topic) = open(Durability::Memory, ByteSize::kib(1)).expect("a topic");
    let producer = topic.producer().expect("a producer");
    let (mut payloads, mut n) = (Payloads::new(1000), 0);
    criterion.bench_function("send 1000 B and seal", |bench| {
        bench.iter(|| {
            n += 1;
            drop(producer.send(Record::new(payloads.stamped(n))).expect("sent"));
        });
    });
}

fn reading(criterion: &mut Criterion) {
    const COUNT: u64 = 100_000;
    let mut group = criterion.benchmark_group("read");
    for size in [100, 1024] {
        let (_dir, _broker, topic) = open(Durability::Memory, ByteSize::kib(64)).expect("a topic");
        let producer = topic.producer().expect("a producer");
        let mut payloads = Payloads::new(size);
        for n in 0..COUNT {
            drop(producer.send(Record::new(payloads.stamped(n))).expect("sent"));
        }
        let mut reader = topic.partition(0).and_then(|partition| partition.read(..)).expect("a reader");
        group.throughput(Throughput::Elements(COUNT));
        group.bench_function(format!("{COUNT} records of {size} B"), |bench| {
            bench.iter(|| {
                reader.seek(Offset::ZERO).expect("there");
                let mut sum = 0_u64;
                while let Some(records) = reader.next().expect("read") {
                    for record in &records {
                        sum = sum.wrapping_add(sum_of_words(record.raw_value().unwrap_or_default()));
                    }
                }
                black_box(sum)
            });
        });
    }
    group.finish();
}

#[allow(missing_docs, reason = "the macro's function has no place for them")]
mod group {
    use super::{reading, sealing, sending};
    criterion::criterion_group!(calls, sending, sealing, reading);
}
criterion::criterion_main!(group::calls);
