//! Writes logs for another implementation of Kafka's format to read: see `.ci/kafka_codec`, which says where
//! to, and compares what it finds there with what is written down beside them.

use std::io::Write;

use millpond::TopicPartition;
use millpond::config::{CleanupPolicy, Compression, TimestampType};
use millpond::group::OffsetAndMetadata;
use millpond::prelude::*;
use serde_json::{Value, json};

const CODECS: &[Compression] = &[
    Compression::None,
    #[cfg(feature = "gzip")]
    Compression::Gzip { level: None },
    #[cfg(feature = "snappy")]
    Compression::Snappy,
    #[cfg(feature = "lz4")]
    Compression::Lz4,
    #[cfg(feature = "zstd")]
    Compression::Zstd { level: None },
];
const TIMES: [TimestampType; 2] = [TimestampType::Create, TimestampType::LogAppend];

fn hex(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
    })
}

/// Every shape of record: keys and values null, empty, short and long; headers none, many, null, repeated.
fn send_everything(topic: &Topic) -> millpond::Result<()> {
    let producer = topic.producer()?;
    for n in 0..300i64 {
        let value = "abcdefgh".repeat(n as usize % 40);
        let at = Timestamp::from_millis(1_600_000_000_000 + (n * 7_919) % 10_000);
        let key = format!("key {}", n % 13);
        let delivery = match n % 6 {
            0 => producer.send(Record::new(&value).key(&key).timestamp(at))?,
            1 => producer.send(Record::new(&value).timestamp(at).partition(1))?,
            2 => producer.send(Record::tombstone().key(&key).timestamp(at))?,
            3 => producer.send(Record::new("").key("").header("h", b"1").null_header("h").timestamp(at))?,
            4 => {
                let record = Record::new(&value).key(&key).header("", b"").header("bytes", &[0, 255, 128]);
                producer.send(record.timestamp(at))?
            }
            _ => {
                let records = (0..n % 9).map(|_| Record::new(&value).key(&key).timestamp(at));
                drop(producer.send_batch(records)?);
                continue;
            }
        };
        if n % 50 == 0 {
            delivery.wait()?;
        }
    }
    producer.flush().wait()
}

/// A topic of which compaction has left the latest records of the keys, amid gaps.
fn compacted(broker: &Broker, codec: Compression) -> millpond::Result<Topic> {
    let config = TopicConfig::new()
        .cleanup_policy(CleanupPolicy::Compact)
        .partitions(2)
        .compression(codec)
        .batch_size(ByteSize::kib(2))
        .segment_size(ByteSize::kib(16))
        .index_interval(ByteSize::kib(1));
    let topic = broker.create_topic(format!("compacted.{}", codec.name()), config)?;
    let producer = topic.producer()?;
    for n in 0..4000u32 {
        // Some keys are written once, so that records stay amid those that go.
        let key = if n % 17 == 0 { format!("once {n}") } else { format!("key {}", n % 97) };
        let value = format!("{n} {}", "v".repeat(n as usize % 60));
        drop(producer.send(Record::new(value.as_str()).key(key.as_str()))?);
    }
    producer.flush().wait()?;
    let report = topic.compact()?.wait()?;
    assert!(report.records_after() < report.records_before() / 2, "{report:?}");
    Ok(topic)
}

/// What is in the topic, a record a line.
fn write_down(topic: &Topic, out: &mut impl Write) -> millpond::Result<()> {
    let mut reader = topic.read(Start::Earliest)?;
    while let Some(records) = reader.next()? {
        for record in &records {
            let headers: Vec<Value> =
                record.headers().map(|(name, value)| json!([name, hex(value)])).collect();
            let line = json!({
                "folder": record.topic_partition().to_string(),
                "offset": record.offset().get(),
                "timestamp": record.timestamp().millis(),
                "key": hex(record.key()?),
                "value": hex(record.value()?),
                "headers": headers,
            });
            writeln!(out, "{line}").expect("the file can be written");
        }
    }
    Ok(())
}

#[test]
#[ignore = "writes where MILLPOND_KAFKA_DIR says; run by `.ci/run kafka`"]
fn logs_of_every_kind() {
    let dir = std::env::var_os("MILLPOND_KAFKA_DIR").expect("MILLPOND_KAFKA_DIR says where to");
    let dir = std::path::PathBuf::from(dir);
    let broker = Broker::open(&dir).unwrap();
    let mut out = std::io::BufWriter::new(std::fs::File::create(dir.join("expected.jsonl")).unwrap());
    for level in [Durability::Memory, Durability::Sync] {
        for (codec, times) in CODECS.iter().flat_map(|&codec| TIMES.map(|times| (codec, times))) {
            let config = TopicConfig::new()
                .partitions(3)
                .durability(level)
                .compression(codec)
                .timestamp_type(times)
                .batch_size(ByteSize::kib(2))
                .segment_size(ByteSize::kib(16))
                .index_interval(ByteSize::kib(1));
            let name = format!("{level}.{}.{times}", codec.name());
            let topic = broker.create_topic(&name, config).unwrap();
            send_everything(&topic).unwrap();
            write_down(&topic, &mut out).unwrap();
        }
    }
    let moved = broker.create_topic("transactions", TopicConfig::new().partitions(2)).unwrap();
    send_transactions(&broker).unwrap();
    write_down(&moved, &mut out).unwrap();
    for codec in [Compression::None, Compression::Lz4] {
        let compacted = compacted(&broker, codec).unwrap();
        write_down(&compacted, &mut out).unwrap();
    }
    out.flush().unwrap();
    broker.close().wait().unwrap();
}

/// What the groups have committed, as the broker answers it.
fn committed(broker: &Broker, group: &str, topics: &[Topic]) -> Vec<Value> {
    let mut rows = Vec::new();
    for topic in topics {
        for partition in topic.partitions().unwrap() {
            let tp: &TopicPartition = partition.topic_partition();
            let Some(found) = broker.group(group).unwrap().committed(tp).unwrap() else { continue };
            rows.push(json!({
                "group": group,
                "topic": topic.name().as_str(),
                "partition": tp.partition(),
                "topic_id": hex(Some(topic.id().as_bytes())),
                "offset": found.offset().get(),
                "leader_epoch": found.epoch().get(),
                "metadata": found.metadata_text(),
                "timestamp": found.committed_at().millis(),
            }));
        }
    }
    rows
}

/// Every kind of record of the offsets topic: commits of dynamic and static members, with and without a text,
/// resets, deletions of offsets, of groups and of a topic, a member that has left and one that is there.
#[test]
#[ignore = "writes where MILLPOND_KAFKA_DIR says, with .groups behind; run by `.ci/run kafka`"]
fn commits_of_groups() {
    let dir = std::env::var_os("MILLPOND_KAFKA_DIR").expect("MILLPOND_KAFKA_DIR says where to");
    let dir = std::path::PathBuf::from(dir).with_extension("groups");
    let broker = Broker::open(&dir).unwrap();
    let config = || TopicConfig::new().partitions(3).durability(Durability::Memory);
    let names = ["clicks", "orders.eu"];
    let topics = names.map(|name| broker.create_topic(name, config()).unwrap());
    topics.iter().for_each(|topic| send_everything(topic).unwrap());
    let gone = broker.create_topic("gone", config()).unwrap();
    gone.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();

    let mut billing = broker.group("billing").unwrap().join(names).unwrap();
    for _ in 0..20 {
        let records = billing.poll().wait_timeout(std::time::Duration::from_millis(5)).unwrap();
        billing.commit(&records).wait().unwrap();
    }
    let first = topics[0].partition(0).unwrap().topic_partition().clone();
    let text =
        OffsetAndMetadata::new(Offset::new(7).unwrap()).metadata(&"by hand: \u{e9}\u{4e2d} ".repeat(20));
    billing.commit_offset(&first, text).wait().unwrap();

    let group = || broker.group("audit \u{e9}").unwrap().client_id("auditor").unwrap();
    let mut audit = group().instance_id("one").unwrap().join("clicks").unwrap();
    drop(audit.poll().wait().unwrap());
    audit.commit_all().wait().unwrap();
    broker.group("shelved").unwrap().reset("orders.eu", Start::Earliest).unwrap();
    broker.group("shelved").unwrap().reset("clicks", Start::Latest).unwrap();
    broker.group("shelved").unwrap().delete_offsets("orders.eu").unwrap();
    broker.group("dropped").unwrap().reset("clicks", Start::Latest).unwrap();
    broker.group("dropped").unwrap().delete().unwrap();
    broker.group("shelved").unwrap().reset("gone", Start::Latest).unwrap();
    broker.delete_topic("gone").unwrap();

    let groups = ["billing", "audit \u{e9}", "shelved"];
    let offsets: Vec<Value> = groups.iter().flat_map(|group| committed(&broker, group, &topics)).collect();
    let expected = json!({
        "offsets": offsets,
        "groups": groups,
        "deleted": [["dropped", "clicks"], ["shelved", "orders.eu"], ["shelved", "gone"]],
        "with_members": ["billing", "audit \u{e9}"],
        "member": {
            "group": "audit \u{e9}",
            "id": audit.member_id().to_string(),
            "instance": "one",
            "client": "auditor",
            "topics": ["clicks"],
            "assigned": { "topic_id": hex(Some(topics[0].id().as_bytes())), "partitions": [0, 1, 2] },
        },
    });
    std::fs::write(dir.join("expected.json"), expected.to_string()).unwrap();
    // Closed under its members, as a program that just ends: they are there in what is written.
    broker.close().wait().unwrap();
    drop((billing, audit));
}

/// Committed and aborted transactions of two producers; those aborted are large enough to have reached the log.
fn send_transactions(broker: &Broker) -> millpond::Result<()> {
    let large = "x".repeat(700_000);
    let (mut first, mut second) = (broker.transactional("first")?, broker.transactional("second")?);
    for n in 0..12u32 {
        let mut one = first.begin()?;
        let mut two = second.begin()?;
        for m in 0..3 {
            let key = format!("{n} {m}");
            let value = if n % 3 == 1 { &large } else { &key };
            one.send("transactions", Record::new(value).key(&key).partition(m % 2))?;
            two.send("transactions", Record::new(&key).partition(n % 2))?;
        }
        two.commit().wait()?;
        if n % 3 == 1 { one.abort() } else { one.commit().wait()? }
    }
    Ok(())
}
