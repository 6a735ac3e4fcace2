//! logdb: a ring in memory, which a thread of its own writes to files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use logdb::{Config, DurabilityMode, LogDb, Tailer};

use super::folder;
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Logdb;

struct Open {
    logs: Vec<Arc<LogDb>>,
    tail: bool,
    durable: bool,
    is_written: Arc<AtomicBool>,
}

struct Append {
    log: Arc<LogDb>,
    is_written: Arc<AtomicBool>,
    durable: bool,
}

struct Read {
    log: Arc<LogDb>,
    next: u64,
}

struct Follow(Tailer);

impl Peer for Logdb {
    fn facts(&self) -> Facts {
        Facts {
            name: "logdb",
            package: "logdb",
            kind: Kind::Ring,
            keeps: "nothing until its thread has written it: the ring is lost with the process",
            checks: "CRC-32 of each record",
            notes: "readers see only what was synced; opened again after a second segment it loses the last one",
        }
    }

    fn cannot(&self, work: &str, setup: &Setup) -> Option<&'static str> {
        match work {
            "codecs" => Some("records of its own format only"),
            "topics" | "footprint" => Some("no topics"),
            "random" => Some("reads only what was synced"),
            "producers" if setup.logs > 1 => Some("a spinning thread for each log"),
            _ if setup.record > 32 << 20 => Some("64 MiB is too large"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let open = |log| -> Result<Arc<LogDb>> {
            Ok(Arc::new(LogDb::open(Config {
                data_dir: folder(dir, log)?,
                // One segment: a second one makes it lose data when it is opened again.
                segment_size: (setup.bytes * 2).next_multiple_of(1 << 20).max(256 << 20),
                ring_size: if setup.record > 64 << 10 { 16 } else { 8192 },
                max_content_size: (1 << 20).max(setup.record),
                durability_mode: match (setup.durable, setup.tail) {
                    (true, _) => DurabilityMode::Sync,
                    // A reader sees what was synced: somebody must.
                    (false, true) => DurabilityMode::Batch,
                    (false, false) => DurabilityMode::Async,
                },
                ..Config::default()
            })?))
        };
        let logs = (0..setup.logs).map(open).collect::<Result<_>>()?;
        Ok(Box::new(Open { logs, tail: setup.tail, durable: setup.durable, is_written: Arc::default() }))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Append {
            log: Arc::clone(&self.logs[log as usize]),
            is_written: Arc::clone(&self.is_written),
            durable: self.durable,
        }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let log = &self.logs[log as usize];
        Ok(match self.tail {
            true => Box::new(Follow(log.new_tailer("reader"))),
            false => Box::new(Read { log: Arc::clone(log), next: 0 }),
        })
    }

    fn settle(&self) -> Result<()> {
        for log in &self.logs {
            while log.committed_cursor() < log.producer_cursor() {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        for log in self.logs {
            if !self.is_written.load(Ordering::Relaxed) {
                // One that was only read has nothing to flush, and yet its end waits seconds for that.
                std::mem::forget(log);
                continue;
            }
            log.flush().map_err(|error| format!("{error:?}"))?;
            let log = Arc::into_inner(log).ok_or("still in use")?;
            log.shutdown(Duration::from_secs(30)).map_err(|error| format!("{error:?}"))?;
        }
        Ok(())
    }
}

impl Append {
    fn sync(&self) -> Result<()> {
        self.is_written.store(true, Ordering::Relaxed);
        if self.durable {
            self.log.flush().map_err(|error| format!("{error:?}"))?;
        }
        Ok(())
    }
}

impl Writer for Append {
    #[inline]
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.log.append(record).map_err(|error| format!("{error:?}"))?;
        self.sync()
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        self.log.append_batch(batch).map_err(|error| format!("{error:?}"))?;
        self.sync()
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let first = self.next;
        for record in self.log.scan(first, u64::MAX).map_err(|error| format!("{error:?}"))? {
            sink.see(&record.map_err(|error| format!("{error:?}"))?.content);
            self.next += 1;
        }
        Ok(self.next > first)
    }
}

impl Reader for Follow {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        match self.0.next_batch(4096).map_err(|error| format!("{error:?}"))? {
            Some(records) => {
                records.iter().for_each(|record| sink.see(&record.content));
                Ok(!records.is_empty())
            }
            None => Ok(false),
        }
    }
}
