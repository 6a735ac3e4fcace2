//! raft-engine: a log for many Raft groups. A log here is a group for each of its writers.

use std::path::Path;
use std::sync::Arc;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::Result;
use crate::payloads::stamp;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

/// Writers of one log, at most.
const MOST_WRITERS: u64 = 64;

pub struct RaftEngine;

struct Open {
    engine: Arc<Engine>,
    durable: bool,
    writers: u64,
}

struct Append {
    engine: Arc<Engine>,
    log: u64,
    durable: bool,
    batch: LogBatch,
    entries: Vec<BytesValue>,
}

struct Read {
    engine: Arc<Engine>,
    log: u64,
    writers: u64,
    /// The writer whose group is read, and the index that comes next.
    writer: u64,
    next: u64,
    entries: Vec<BytesValue>,
}

#[derive(Clone)]
struct Entry;

impl MessageExt for Entry {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        stamp(entry.get_value()).1 + 1
    }
}

fn group(log: u64, writer: u64) -> u64 {
    log * MOST_WRITERS + writer + 1
}

impl Peer for RaftEngine {
    fn facts(&self) -> Facts {
        Facts {
            name: "raft-engine",
            package: "raft-engine",
            kind: Kind::Durable,
            keeps: "a kill",
            checks: "CRC-32 of each batch, checked by each reading",
            notes: "protobuf entries of Raft groups, an index of every entry in memory; compression off here",
        }
    }

    fn cannot(&self, work: &str, _: &Setup) -> Option<&'static str> {
        (work == "codecs").then_some("entries need their index")
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let config = Config {
            dir: dir.to_str().ok_or("not a name")?.into(),
            batch_compression_threshold: ReadableSize(0),
            ..Config::default()
        };
        let engine = Arc::new(Engine::open(config)?);
        let writers = u64::from(setup.writers.div_ceil(setup.logs));
        Ok(Box::new(Open { engine, durable: setup.durable, writers }))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        let engine = Arc::clone(&self.engine);
        let (batch, entries) = (LogBatch::default(), Vec::new());
        Ok(Box::new(Append { engine, log: log.into(), durable: self.durable, batch, entries }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Read {
            engine: Arc::clone(&self.engine),
            log: log.into(),
            writers: self.writers,
            writer: 0,
            next: 1,
            entries: Vec::new(),
        }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Append {
    fn push(&mut self, record: &[u8]) {
        let mut entry = BytesValue::new();
        entry.set_value(record.to_vec());
        self.entries.push(entry);
    }

    fn write(&mut self) -> Result<()> {
        let writer = self.entries.first().map_or(0, |entry| stamp(entry.get_value()).0);
        self.batch.add_entries::<Entry>(group(self.log, writer), &self.entries)?;
        self.engine.write(&mut self.batch, self.durable)?;
        self.entries.clear();
        Ok(())
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.push(record);
        self.write()
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        batch.iter().for_each(|record| self.push(record));
        self.write()
    }
}

impl Read {
    fn range(&mut self, group: u64, first: u64, end: u64, sink: &mut Sink<'_>) -> Result<()> {
        self.entries.clear();
        self.engine.fetch_entries_to::<Entry>(group, first, end, None, &mut self.entries)?;
        self.entries.iter().for_each(|entry| sink.see(entry.get_value()));
        Ok(())
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        while self.writer < self.writers {
            let group = group(self.log, self.writer);
            let end = self.engine.last_index(group).unwrap_or(0) + 1;
            if self.next < end {
                let to = end.min(self.next + 1024);
                self.range(group, self.next, to, sink)?;
                self.next = to;
                return Ok(true);
            }
            if self.writers == 1 {
                return Ok(false);
            }
            (self.writer, self.next) = (self.writer + 1, 1);
        }
        Ok(false)
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        self.range(group(self.log, 0), offset + 1, offset + 2, sink)
    }
}
