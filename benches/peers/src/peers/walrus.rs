//! walrus-rust: topics in blocks of 10 MB, with its mapped files (faster here than its other backend).

use std::path::Path;
use std::sync::Arc;

use walrus_rust::{FsyncSchedule, ReadConsistency, disable_fd_backend};

use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Walrus;

struct Open(Arc<walrus_rust::Walrus>, usize);

struct Append {
    walrus: Arc<walrus_rust::Walrus>,
    topic: String,
}

struct Read {
    walrus: Arc<walrus_rust::Walrus>,
    topic: String,
    /// Bytes of one call, at most.
    most: usize,
}

impl Peer for Walrus {
    fn facts(&self) -> Facts {
        Facts {
            name: "walrus",
            package: "walrus-rust",
            kind: Kind::Durable,
            keeps: "a kill",
            checks: "FNV-1a of each record, checked by each reading",
            notes: "no offsets; one cursor a topic, which reading moves; a reader at the tail skips and repeats records",
        }
    }

    fn cannot(&self, work: &str, setup: &Setup) -> Option<&'static str> {
        match work {
            "random" => Some("no offsets"),
            "codecs" => Some("no compression"),
            "topics" | "footprint" if setup.logs > 1000 => Some("10 MB a topic"),
            _ => None,
        }
    }

    fn reads_once(&self) -> bool {
        true
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        disable_fd_backend();
        // Its directory is a variable of the process: the folder is a name space below it.
        let key = dir.file_name().and_then(|name| name.to_str()).ok_or("not a name")?;
        let schedule = if setup.durable { FsyncSchedule::SyncEach } else { FsyncSchedule::NoFsync };
        let consistency = ReadConsistency::AtLeastOnce { persist_every: 1000 };
        let walrus = walrus_rust::Walrus::with_consistency_and_schedule_for_key(key, consistency, schedule)?;
        Ok(Box::new(Open(Arc::new(walrus), (1 << 20).max(setup.record * 2))))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Append { walrus: Arc::clone(&self.0), topic: format!("log-{log}") }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Read { walrus: Arc::clone(&self.0), topic: format!("log-{log}"), most: self.1 }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        Ok(self.walrus.append_for_topic(&self.topic, record)?)
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        Ok(self.walrus.batch_append_for_topic(&self.topic, batch)?)
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let entries = self.walrus.batch_read_for_topic(&self.topic, self.most, true)?;
        entries.iter().for_each(|entry| sink.see(&entry.data));
        Ok(!entries.is_empty())
    }
}
