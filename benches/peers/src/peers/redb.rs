//! redb as a log: records under a key that counts up.

use std::path::Path;
use std::sync::Arc;

use redb::{Database, Durability, ReadableDatabase, TableDefinition};

use crate::Result;
use crate::payloads::stamp;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

const RECORDS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("records");

pub struct Redb;

struct Open {
    database: Arc<Database>,
    durable: bool,
}

struct Append {
    database: Arc<Database>,
    log: u32,
    durable: bool,
}

struct Read {
    database: Arc<Database>,
    log: u32,
    next: u64,
}

impl Peer for Redb {
    fn facts(&self) -> Facts {
        Facts {
            name: "redb",
            package: "redb",
            kind: Kind::Durable,
            keeps: "nothing until a durable commit: lost with the process",
            checks: "xxh3 of pages, checked when it is repaired",
            notes: "a key-value store, used with counting keys; a transaction for each call",
        }
    }

    fn cannot(&self, work: &str, _: &Setup) -> Option<&'static str> {
        match work {
            "codecs" => Some("no compression"),
            "topics" | "footprint" => Some("no topics: one table"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let path = dir.join("records.redb");
        let is_new = !path.exists();
        let database = Database::builder().set_cache_size((setup.memory / 8) as usize).create(path)?;
        if is_new {
            let write = database.begin_write()?;
            write.open_table(RECORDS)?;
            write.commit()?;
        }
        Ok(Box::new(Open { database: Arc::new(database), durable: setup.durable }))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Append { database: Arc::clone(&self.database), log, durable: self.durable }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Read { database: Arc::clone(&self.database), log, next: 0 }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        // What was not durable becomes so.
        let write = self.database.begin_write()?;
        Ok(write.commit()?)
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.append_batch(&[record])
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        let mut write = self.database.begin_write()?;
        write.set_durability(if self.durable { Durability::Immediate } else { Durability::None })?;
        {
            let mut records = write.open_table(RECORDS)?;
            for record in batch {
                let (writer, number) = stamp(record);
                records.insert((self.log, writer << 48 | number), *record)?;
            }
        }
        Ok(write.commit()?)
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let read = self.database.begin_read()?;
        let records = read.open_table(RECORDS)?;
        let first = self.next;
        for item in records.range((self.log, first)..(self.log + 1, 0))?.take(65_536) {
            let (key, value) = item?;
            sink.see(value.value());
            self.next = key.value().1 + 1;
        }
        Ok(self.next > first)
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let read = self.database.begin_read()?;
        let records = read.open_table(RECORDS)?;
        sink.see(records.get((self.log, offset))?.ok_or("no record there")?.value());
        Ok(())
    }
}
