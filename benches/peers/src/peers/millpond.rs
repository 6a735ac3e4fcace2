//! millpond: one topic, a partition for each log, settings as they come.

use std::path::Path;

use millpond::config::{Compression, ReaderConfig};
use millpond::prelude::*;

use crate::Result;
use crate::peer::{Codec, Facts, Kind, Log, Peer, Setup, Writer};
use crate::sink::Sink;

pub struct Millpond;
/// A topic for each log, instead of a partition.
pub struct Topics;

struct Open {
    broker: Broker,
    /// One topic of many partitions, or many topics of one partition.
    topics: Vec<Topic>,
    setup: Setup,
}

struct Send {
    producer: Producer,
    partition: u32,
    durable: bool,
}

struct Read {
    partition: Partition,
    reader: Reader,
    /// For single records: chunks no larger than they must be.
    single: Option<Reader>,
}

impl Peer for Millpond {
    fn facts(&self) -> Facts {
        Facts {
            name: "millpond",
            package: "millpond",
            kind: Kind::Millpond,
            keeps: "a kill",
            checks: "CRC32C of the batch, checked once for what this process did not write",
            notes: "offsets, times, partitions, several readers, lends",
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        open(dir, setup, 1, setup.logs)
    }
}

impl Peer for Topics {
    fn facts(&self) -> Facts {
        Facts { name: "millpond topics", notes: "a topic of one partition for each log", ..Millpond.facts() }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        open(dir, setup, setup.logs, 1)
    }

    fn cannot(&self, _: &str, setup: &Setup) -> Option<&'static str> {
        (setup.logs > 1000).then_some("takes long to make")
    }
}

fn open(dir: &Path, setup: &Setup, topics: u32, partitions: u32) -> Result<Box<dyn Log>> {
    let broker = Broker::open(dir)?;
    let durability = if setup.durable { Durability::Sync } else { Durability::Memory };
    let largest = ByteSize::bytes(setup.record as u64 + 1024).max(ByteSize::mib(1));
    let config = TopicConfig::new()
        .partitions(partitions)
        .durability(durability)
        .max_record_size(largest)
        .compression(compression(setup.codec));
    let is_new = broker.topics().is_empty();
    let topic = |number| -> Result<Topic> {
        let name = format!("peers-{number}");
        Ok(if is_new { broker.create_topic(name, config.clone())? } else { broker.topic(name.as_str())? })
    };
    let topics = (0..topics).map(topic).collect::<Result<_>>()?;
    Ok(Box::new(Open { broker, topics, setup: setup.clone() }))
}

fn compression(codec: Codec) -> Compression {
    match codec {
        Codec::None => Compression::None,
        Codec::Gzip => Compression::Gzip { level: None },
        Codec::Snappy => Compression::Snappy,
        Codec::Lz4 => Compression::Lz4,
        Codec::Zstd => Compression::Zstd { level: None },
    }
}

impl Open {
    /// Topic and partition of a log.
    fn place(&self, log: u32) -> (&Topic, u32) {
        match &self.topics[..] {
            [one] => (one, log),
            many => (&many[log as usize], 0),
        }
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + std::marker::Send + '_>> {
        let (topic, partition) = self.place(log);
        let producer = topic.producer()?;
        Ok(Box::new(Send { producer, partition, durable: self.setup.durable }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn crate::peer::Reader + std::marker::Send + '_>> {
        let (topic, partition) = self.place(log);
        let partition = topic.partition(partition)?;
        let reader = partition.reader(Start::Earliest)?;
        Ok(Box::new(Read { partition, reader, single: None }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.broker.close().wait()?)
    }
}

impl Writer for Send {
    #[inline]
    fn append(&mut self, record: &[u8]) -> Result<()> {
        let delivery = self.producer.send(Record::new(record).partition(self.partition))?;
        if self.durable {
            delivery.wait()?;
        }
        Ok(())
    }

    #[inline]
    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        let records = batch.iter().map(|record| Record::new(*record).partition(self.partition));
        let delivery = self.producer.send_batch(records)?;
        if self.durable {
            delivery.wait()?;
        }
        Ok(())
    }

    fn append_at(&mut self, record: &[u8], time: i64) -> Result<()> {
        let record = Record::new(record).partition(self.partition).timestamp(Timestamp::from_millis(time));
        drop(self.producer.send(record)?);
        Ok(())
    }
}

impl Read {
    fn one(&mut self, start: Start, sink: &mut Sink<'_>) -> Result<()> {
        let single = match &mut self.single {
            Some(single) => single,
            none => {
                let config = ReaderConfig::new().max_records(1);
                none.insert(self.partition.reader_builder().config(config).build()?)
            }
        };
        single.seek(start)?;
        let records = single.next()?.ok_or("no record there")?;
        let record = records.iter().next().ok_or("no record there")?;
        sink.see(record.value()?.unwrap_or_default());
        Ok(())
    }
}

impl crate::peer::Reader for Read {
    #[inline]
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let Some(records) = self.reader.next()? else { return Ok(false) };
        for record in &records {
            sink.see(record.value()?.unwrap_or_default());
        }
        Ok(true)
    }

    #[inline]
    fn wait(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        for record in &self.reader.poll().wait_timeout(std::time::Duration::from_millis(100))? {
            sink.see(record.value()?.unwrap_or_default());
        }
        Ok(())
    }

    fn can_wait(&self) -> bool {
        true
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        self.one(Start::Offset(Offset::new(offset).ok_or("no such offset")?), sink)
    }

    fn fetch_time(&mut self, time: i64, sink: &mut Sink<'_>) -> Result<()> {
        self.one(Start::Timestamp(Timestamp::from_millis(time)), sink)
    }
}
