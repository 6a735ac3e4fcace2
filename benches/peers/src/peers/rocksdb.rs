//! RocksDB as a log: records under a key that counts up.

use std::path::Path;
use std::sync::Arc;

use rocksdb::{DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions};

use super::key;
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Rocksdb;

struct Open {
    database: Arc<DB>,
    durable: bool,
}

struct Append {
    database: Arc<DB>,
    log: u32,
    durable: bool,
}

struct Read {
    database: Arc<DB>,
    log: u32,
    next: Vec<u8>,
}

impl Peer for Rocksdb {
    fn facts(&self) -> Facts {
        Facts {
            name: "rocksdb",
            package: "rocksdb",
            kind: Kind::Durable,
            keeps: "a kill",
            checks: "CRC32C of each write and block",
            notes: "a key-value store in C++, used with counting keys; compression off here",
        }
    }

    fn cannot(&self, work: &str, _: &Setup) -> Option<&'static str> {
        match work {
            "codecs" => Some("records need a number"),
            "topics" | "footprint" => Some("no topics: one key space"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_enable_pipelined_write(true);
        options.set_write_buffer_size(256 << 20);
        Ok(Box::new(Open { database: Arc::new(DB::open(&options, dir)?), durable: setup.durable }))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Append { database: Arc::clone(&self.database), log, durable: self.durable }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let next = log.to_be_bytes().to_vec();
        Ok(Box::new(Read { database: Arc::clone(&self.database), log, next }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.append_batch(&[record])
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        let mut writes = WriteBatch::default();
        for record in batch {
            writes.put(key(self.log, record), record);
        }
        let mut options = WriteOptions::default();
        options.set_sync(self.durable);
        Ok(self.database.write_opt(&writes, &options)?)
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let mut last = None;
        for item in self.database.iterator(IteratorMode::From(&self.next, Direction::Forward)).take(65_536) {
            let (key, value) = item?;
            if key[..4] != self.log.to_be_bytes() {
                break;
            }
            sink.see(&value);
            last = Some(key);
        }
        let Some(last) = last else { return Ok(false) };
        self.next = [&last[..], &[0]].concat();
        Ok(true)
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let key = key(self.log, &offset.to_be_bytes());
        sink.see(&self.database.get(key)?.ok_or("no record there")?);
        Ok(())
    }
}
