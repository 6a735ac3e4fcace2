//! Single calls, measured by criterion: `cargo bench --bench calls`.

mod common;

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use millpond::config::{Background, BrokerConfig};
use millpond::group::OffsetAndMetadata;
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

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

/// The same records through a group of one; commits that nobody waits for; a member that comes and goes.
fn consuming(criterion: &mut Criterion) {
    const COUNT: u64 = 100_000;
    let (_dir, broker, topic) = open(Durability::Memory, ByteSize::kib(64)).expect("a topic");
    let producer = topic.producer().expect("a producer");
    let mut payloads = Payloads::new(100);
    for n in 0..COUNT {
        drop(producer.send(Record::new(payloads.stamped(n))).expect("sent"));
    }
    let partition = topic.partition(0).expect("there").topic_partition().clone();
    let mut consumer = broker.group("calls").and_then(|group| group.join("calls")).expect("a consumer");
    drop(consumer.poll().wait().expect("records"));
    let mut group = criterion.benchmark_group("group");
    group.throughput(Throughput::Elements(COUNT));
    group.bench_function(format!("poll {COUNT} records of 100 B"), |bench| {
        bench.iter(|| {
            consumer.seek(&partition, Offset::ZERO).expect("there");
            let mut sum = 0_u64;
            loop {
                let records = consumer.poll().wait_timeout(Duration::ZERO).expect("polled");
                if records.is_empty() {
                    break black_box(sum);
                }
                for record in &records {
                    sum = sum.wrapping_add(sum_of_words(record.raw_value().unwrap_or_default()));
                }
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    let mut at = 0;
    group.bench_function("commit, nobody waits", |bench| {
        bench.iter(|| {
            at = (at + 1) % COUNT;
            let offset = OffsetAndMetadata::new(Offset::new(at).expect("small"));
            drop(consumer.commit_offset(&partition, offset));
        });
    });
    group.bench_function("commit and wait", |bench| {
        bench.iter(|| {
            at = (at + 1) % COUNT;
            let offset = OffsetAndMetadata::new(Offset::new(at).expect("small"));
            consumer.commit_offset(&partition, offset).wait().expect("committed");
        });
    });
    group.finish();
}

fn rebalancing(criterion: &mut Criterion) {
    let sim = SimEnvironment::new(1);
    let config = BrokerConfig::new().background(Background::Manual);
    let broker =
        Broker::builder("/data").environment(sim.environment()).config(config).open().expect("a broker");
    let settings = TopicConfig::new().partitions(256).durability(Durability::Memory);
    broker.create_topic("calls", settings.segment_size(ByteSize::kib(64))).expect("a topic");
    let join = || broker.group("calls").and_then(|group| group.join("calls")).expect("a consumer");
    let mut consumers: Vec<Consumer> = (0..15).map(|_| join()).collect();
    let poll = |consumer: &mut Consumer| drop(consumer.poll().wait_timeout(Duration::ZERO).expect("polled"));
    criterion.bench_function("a member joins and leaves, 256 partitions over 16", |bench| {
        bench.iter(|| {
            let mut comes = join();
            consumers.iter_mut().for_each(poll);
            poll(&mut comes);
            assert_eq!(comes.assignment().len(), 16);
            drop(comes);
            consumers.iter_mut().for_each(poll);
        });
    });
}

#[allow(missing_docs, reason = "the macro's function has no place for them")]
mod group {
    use super::{consuming, reading, rebalancing, sealing, sending};
    criterion::criterion_group!(calls, sending, sealing, reading, consuming, rebalancing);
}
criterion::criterion_main!(group::calls);
