//! mrecordlog: many queues in one log, all of it in memory as well.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mrecordlog::{MultiRecordLog, SyncPolicy};
use tokio::runtime::Runtime;

use crate::Result;
use crate::payloads::Payloads;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Mrecordlog;

type Shared = Arc<Mutex<MultiRecordLog>>;

struct Open {
    runtime: Runtime,
    log: Shared,
}

struct Append<'a> {
    runtime: &'a Runtime,
    log: Shared,
    queue: String,
}

struct Read {
    log: Shared,
    queue: String,
    next: u64,
}

impl Peer for Mrecordlog {
    fn facts(&self) -> Facts {
        Facts {
            name: "mrecordlog",
            package: "mrecordlog",
            kind: Kind::Ring,
            keeps: "what was flushed: the rest is lost with the process",
            checks: "CRC-32 of each frame, checked at opening",
            notes: "never syncs, whatever its policy; holds all data in memory; tokio; one owner",
        }
    }

    fn cannot(&self, work: &str, _: &Setup) -> Option<&'static str> {
        match work {
            "durable" => Some("no sync"),
            "small-memory" => Some("holds all in memory"),
            "codecs" => Some("no compression"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let runtime = runtime(setup)?;
        let log = runtime.block_on(async {
            let policy = SyncPolicy::OnDelay(Duration::from_secs(1));
            let mut log = MultiRecordLog::open_with_prefs(dir, policy).await?;
            for number in 0..setup.logs {
                if !log.queue_exists(&name(number)) {
                    log.create_queue(&name(number)).await?;
                }
            }
            Result::Ok(Arc::new(Mutex::new(log)))
        })?;
        Ok(Box::new(Open { runtime, log }))
    }
}

/// For as long as a call takes: each is driven to its end by the thread that makes it.
fn locked(log: &Shared) -> MutexGuard<'_, MultiRecordLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread where one thread is enough.
pub fn runtime(setup: &Setup) -> Result<Runtime> {
    let mut builder = match setup.writers > 1 || setup.tail {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    Ok(builder.worker_threads(2).enable_all().build()?)
}

fn name(log: u32) -> String {
    format!("log-{log}")
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Append { runtime: &self.runtime, log: Arc::clone(&self.log), queue: name(log) }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Read { log: Arc::clone(&self.log), queue: name(log), next: 0 }))
    }

    fn settle(&self) -> Result<()> {
        Ok(self.runtime.block_on(async { locked(&self.log).sync().await })?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.settle()
    }
}

impl Writer for Append<'_> {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.append_batch(&[record])
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        self.runtime.block_on(async {
            let mut log = locked(&self.log);
            log.append_records(&self.queue, None, batch.iter().copied()).await?;
            Ok(())
        })
    }

    fn append_all(&mut self, payloads: &mut Payloads, range: std::ops::Range<u64>) -> Result<()> {
        self.runtime.block_on(async {
            for n in range {
                let mut log = locked(&self.log);
                log.append_record(&self.queue, None, payloads.record(n)).await?;
            }
            Ok(())
        })
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let log = locked(&self.log);
        let from = self.next;
        for (position, record) in log.range(&self.queue, from..).map_err(|_| "no such queue")?.take(4096) {
            sink.see(&record);
            self.next = position + 1;
        }
        Ok(self.next > from)
    }

    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let log = locked(&self.log);
        let mut records = log.range(&self.queue, offset..).map_err(|_| "no such queue")?;
        sink.see(&records.next().ok_or("no record there")?.1);
        Ok(())
    }
}
