//! okaywal: a write-ahead log that is read when it recovers.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use super::folder;
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Setup, Writer};
use crate::sink::Sink;

/// Records go from the recovering log to whoever reads back, so many at a time.
type Records = Arc<Mutex<Vec<Vec<u8>>>>;

pub struct Okaywal;

struct Open(Vec<WriteAheadLog>);

struct Append(WriteAheadLog);

#[derive(Debug)]
struct Manager {
    /// None: entries are passed over.
    records: Option<Records>,
}

impl LogManager for Manager {
    fn recover(&mut self, entry: &mut Entry<'_>) -> std::io::Result<()> {
        let Some(records) = &self.records else { return Ok(()) };
        if let Some(chunks) = entry.read_all_chunks()? {
            records.lock().unwrap_or_else(PoisonError::into_inner).extend(chunks);
        }
        Ok(())
    }

    fn checkpoint_to(&mut self, _: EntryId, _: &mut SegmentReader, _: &WriteAheadLog) -> std::io::Result<()> {
        Ok(())
    }
}

fn open(dir: &Path, log: u32, manager: Manager) -> Result<WriteAheadLog> {
    let config = Configuration::default_for(folder(dir, log)?)
        .preallocate_bytes(64 << 20)
        .checkpoint_after_bytes(u64::from(u32::MAX))
        .buffer_bytes(128 << 10);
    Ok(config.open(manager)?)
}

impl Peer for Okaywal {
    fn facts(&self) -> Facts {
        Facts {
            name: "okaywal",
            package: "okaywal",
            kind: Kind::Durable,
            keeps: "a power cut: it always syncs",
            checks: "CRC-32 of each chunk",
            notes: "a write-ahead log: read only while it recovers; always syncs",
        }
    }

    fn cannot(&self, work: &str, _: &Setup) -> Option<&'static str> {
        match work {
            "durable" | "large" | "open" => None,
            "read" | "random" | "tail" | "latency" | "small-memory" => Some("read only while it recovers"),
            "codecs" => Some("no compression"),
            "topics" | "footprint" => Some("no topics"),
            _ => Some("always syncs"),
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let logs = (0..setup.logs).map(|log| open(dir, log, Manager { records: None }));
        Ok(Box::new(Open(logs.collect::<Result<_>>()?)))
    }

    fn read_back(&self, dir: &Path, _: &Setup, log: u32, sink: &mut Sink<'_>) -> Result<()> {
        let records = Records::default();
        let log = open(dir, log, Manager { records: Some(Arc::clone(&records)) })?;
        log.shutdown()?;
        records.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|record| sink.see(record));
        Ok(())
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Append(self.0[log as usize].clone())))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.0.into_iter().try_for_each(WriteAheadLog::shutdown)?)
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.append_batch(&[record])
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        let mut entry = self.0.begin_entry()?;
        for record in batch {
            entry.write_chunk(record)?;
        }
        entry.commit()?;
        Ok(())
    }
}
