//! commitlog: segments and a mapped index; one owner, so whoever shares it takes turns.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use commitlog::message::{MessageBuf, MessageSet};
use commitlog::{CommitLog, LogOptions, ReadLimit};

use super::folder;
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Commitlog;

type Shared = Arc<Mutex<CommitLog>>;

struct Open {
    logs: Vec<Shared>,
    limit: usize,
}

struct Append {
    log: Shared,
    batch: MessageBuf,
}

struct Read {
    log: Shared,
    next: u64,
    limit: usize,
}

impl Peer for Commitlog {
    fn facts(&self) -> Facts {
        Facts {
            name: "commitlog",
            package: "commitlog",
            kind: Kind::Durable,
            keeps: "a kill",
            checks: "CRC32C of each record, checked by each reading",
            notes: "its flush syncs nothing; one owner: readers and writers take turns",
        }
    }

    fn cannot(&self, work: &str, _: &Setup) -> Option<&'static str> {
        match work {
            "durable" => Some("no sync"),
            "topics" => Some("no topics"),
            "codecs" => Some("no compression"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let largest = setup.record + 1024;
        let open = |log| -> Result<Shared> {
            let mut options = LogOptions::new(folder(dir, log)?);
            options.segment_max_bytes((256 << 20).max(largest * 2)).message_max_bytes(largest.max(1_000_000));
            Ok(Arc::new(Mutex::new(CommitLog::new(options)?)))
        };
        let logs = (0..setup.logs).map(open).collect::<Result<_>>()?;
        Ok(Box::new(Open { logs, limit: largest.max(1 << 20) }))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        let log = Arc::clone(&self.logs[log as usize]);
        Ok(Box::new(Append { log, batch: MessageBuf::default() }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Read { log: Arc::clone(&self.logs[log as usize]), next: 0, limit: self.limit }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        for log in &self.logs {
            log.lock().unwrap_or_else(PoisonError::into_inner).flush()?;
        }
        Ok(())
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.append_msg(record).map_err(|error| format!("{error:?}"))?;
        Ok(())
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        self.batch.clear();
        for record in batch {
            self.batch.push(record).map_err(|error| format!("{error:?}"))?;
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.append(&mut self.batch).map_err(|error| format!("{error:?}"))?;
        Ok(())
    }
}

impl Read {
    fn some(&mut self, limit: usize) -> Result<MessageBuf> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(log.read(self.next, ReadLimit::max_bytes(limit)).map_err(|error| format!("{error:?}"))?)
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let messages = self.some(self.limit)?;
        if messages.is_empty() {
            return Ok(false);
        }
        for message in messages.iter() {
            sink.see(message.payload());
            self.next = message.offset() + 1;
        }
        Ok(true)
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        self.next = offset;
        let messages = self.some(2048)?;
        sink.see(messages.iter().next().ok_or("no record there")?.payload());
        Ok(())
    }
}
