//! kafko: the same model as millpond's, on tokio.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use kafko::{Compression, Consumer, LogConfig, Record};
use tokio::runtime::Runtime;

use super::mrecordlog::runtime;
use crate::Result;
use crate::payloads::Payloads;
use crate::peer::{Codec, Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Kafko;

struct Open {
    runtime: Runtime,
    broker: kafko::Kafko,
    setup: Setup,
}

struct Append<'a> {
    runtime: &'a Runtime,
    partition: Arc<kafko::Partition>,
    durable: bool,
}

struct Read<'a> {
    runtime: &'a Runtime,
    partition: Arc<kafko::Partition>,
    next: u64,
    consumer: Consumer,
}

impl Peer for Kafko {
    fn facts(&self) -> Facts {
        Facts {
            name: "kafko",
            package: "kafko",
            kind: Kind::Durable,
            keeps: "a kill",
            checks: "CRC-32 of each record, checked by each reading",
            notes: "reads the rest of the segment for each record: segments of 1 MiB here, and little data; tokio",
        }
    }

    fn cannot(&self, work: &str, setup: &Setup) -> Option<&'static str> {
        match (work, setup.codec) {
            ("codecs", Codec::Gzip | Codec::Snappy) => Some("no such codec"),
            ("small-memory", _) => Some("too slow to read so much"),
            ("topics", _) if setup.logs > 1000 => Some("two files and a task for each"),
            _ => None,
        }
    }

    fn most_bytes(&self) -> u64 {
        2 << 20
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let runtime = runtime(setup)?;
        let compression = match setup.codec {
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
            _ => Compression::None,
        };
        let config = LogConfig {
            segment_size_threshold: (1 << 20).max(setup.record as u64 * 2),
            compression,
            ..LogConfig::default()
        };
        let broker = runtime.block_on(async {
            let broker = kafko::Kafko::open_with_config(dir, config).await?;
            if !broker.has_topic("peers").await {
                broker.create_topic_with_partitions("peers", setup.logs).await?;
            }
            kafko::Result::Ok(broker)
        })?;
        Ok(Box::new(Open { runtime, broker, setup: setup.clone() }))
    }
}

impl Open {
    fn partition(&self, log: u32) -> Result<Arc<kafko::Partition>> {
        let topic = self.runtime.block_on(self.broker.topic("peers")).ok_or("no topic")?;
        Ok(Arc::clone(topic.partition(log).ok_or("no partition")?))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        let partition = self.partition(log)?;
        Ok(Box::new(Append { runtime: &self.runtime, partition, durable: self.setup.durable }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let partition = self.partition(log)?;
        let consumer = self.runtime.block_on(self.broker.consumer_for("peers"))?;
        Ok(Box::new(Read { runtime: &self.runtime, partition, next: 0, consumer }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        let Open { runtime, broker, .. } = *self;
        Ok(runtime.block_on(broker.shutdown())?)
    }
}

/// As its producer makes it, for a partition that is given.
fn record(payload: &[u8]) -> Record {
    Record::new(0, None, Bytes::copy_from_slice(payload))
}

impl Writer for Append<'_> {
    fn append(&mut self, payload: &[u8]) -> Result<()> {
        self.runtime.block_on(async {
            self.partition.append(record(payload)).await?;
            if self.durable {
                self.partition.sync().await?;
            }
            Ok(())
        })
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        self.runtime.block_on(async {
            self.partition.append_batch(batch.iter().map(|payload| record(payload)).collect()).await?;
            if self.durable {
                self.partition.sync().await?;
            }
            Ok(())
        })
    }

    fn append_all(&mut self, payloads: &mut Payloads, range: std::ops::Range<u64>) -> Result<()> {
        self.runtime.block_on(async {
            for n in range {
                self.partition.append(record(payloads.record(n))).await?;
                if self.durable {
                    self.partition.sync().await?;
                }
            }
            Ok(())
        })
    }
}

impl Reader for Read<'_> {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        self.runtime.block_on(async {
            let first = self.next;
            while self.next < self.partition.high_water_mark() && self.next < first + 256 {
                let record = self.partition.read_record_at(self.next).await?.ok_or("no record there")?;
                sink.see(record.value());
                self.next += 1;
            }
            Ok(self.next > first)
        })
    }

    fn wait(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        let record = self.runtime.block_on(self.consumer.next_record())?;
        sink.see(record.value());
        Ok(())
    }

    fn can_wait(&self) -> bool {
        true
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let record =
            self.runtime.block_on(self.partition.read_record_at(offset))?.ok_or("no record there")?;
        sink.see(record.value());
        Ok(())
    }
}
