//! fjall as a log: records under a key that counts up.

use std::path::Path;

use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::key;
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Fjall;

struct Open {
    database: Database,
    records: Keyspace,
    durable: bool,
}

struct Append {
    database: Database,
    records: Keyspace,
    log: u32,
    durable: bool,
}

struct Read {
    records: Keyspace,
    log: u32,
    next: Vec<u8>,
}

impl Peer for Fjall {
    fn facts(&self) -> Facts {
        Facts {
            name: "fjall",
            package: "fjall",
            kind: Kind::Durable,
            keeps: "a kill, once it was told to persist: some KiB are buffered before",
            checks: "xxh3 of each journal entry and block",
            notes: "a key-value store, used with counting keys; compression off here",
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
        let database = Database::builder(dir)
            .journal_compression(CompressionType::None)
            .cache_size(setup.memory / 8)
            .open()?;
        let records = database.keyspace("records", || {
            let none = fjall::config::CompressionPolicy::all(CompressionType::None);
            KeyspaceCreateOptions::default().data_block_compression_policy(none)
        })?;
        Ok(Box::new(Open { database, records, durable: setup.durable }))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        let (database, records) = (self.database.clone(), self.records.clone());
        Ok(Box::new(Append { database, records, log, durable: self.durable }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let next = [&log.to_be_bytes()[..], &[0; 8]].concat();
        Ok(Box::new(Read { records: self.records.clone(), log, next }))
    }

    fn settle(&self) -> Result<()> {
        Ok(self.database.persist(PersistMode::Buffer)?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.settle()
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.records.insert(key(self.log, record), record)?;
        if self.durable {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        let mode = self.durable.then_some(PersistMode::SyncData);
        let mut writes = self.database.batch().durability(mode);
        for record in batch {
            writes.insert(&self.records, key(self.log, record), *record);
        }
        Ok(writes.commit()?)
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let end = (self.log + 1).to_be_bytes().to_vec();
        let mut last = None;
        for item in self.records.range(self.next.clone()..end).take(4096) {
            let (key, value) = item.into_inner()?;
            sink.see(&value);
            last = Some(key);
        }
        let Some(last) = last else { return Ok(false) };
        self.next = [&last[..], &[0]].concat();
        Ok(true)
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let key = key(self.log, &offset.to_be_bytes());
        sink.see(&self.records.get(key)?.ok_or("no record there")?);
        Ok(())
    }
}
