//! What a peer must be able to do to be measured.
//!
//! ```text
//!   Peer --open--> Log --writer(log)--> Writer   append, append_batch
//!                      --reader(log)--> Reader   read (never waits), wait, fetch
//! ```
//!
//! Invariants
//! - Calls through `dyn` happen once for many records: the loops are provided methods, compiled anew for
//!   each peer, so that the call of one record is a direct one.
//! - What a peer cannot do has a reason in words, which stands in the table instead of a figure.

use std::ops::Range;
use std::path::Path;

use crate::payloads::Payloads;
use crate::sink::Sink;
use crate::{Failure, Result};

/// What a peer is compared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This crate.
    Millpond,
    /// Keeps records in files: what an acknowledged record survives is told by its facts.
    Durable,
    /// Acknowledges what only the memory of the process holds, and writes it later.
    Ring,
    /// A channel in memory: no files at all.
    Channel,
    /// A raw loop: what the machine gives.
    Bound,
}

/// What a reader of the tables must know of a peer.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// Its name in the tables and on the command line.
    pub name: &'static str,
    /// The crate whose version is printed.
    pub package: &'static str,
    /// What it is compared as.
    pub kind: Kind,
    /// What an acknowledged record survives where nothing is synced.
    pub keeps: &'static str,
    /// Its checksums.
    pub checks: &'static str,
    /// What else it does not do, or does in another way.
    pub notes: &'static str,
}

/// What it is opened for.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Each append is on the device when it returns.
    pub durable: bool,
    /// Bytes of the largest record.
    pub record: usize,
    /// Bytes of payload that each log will hold, at most.
    pub bytes: u64,
    /// Independent logs: partitions, topics, queues.
    pub logs: u32,
    /// Writers at once, over all logs.
    pub writers: u32,
    /// Somebody reads while it is written.
    pub tail: bool,
    /// How records are compressed.
    pub codec: Codec,
    /// Bytes of memory there are.
    pub memory: u64,
}

/// A compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Setup {
    /// One log of records of this size, for one writer.
    pub fn new(record: usize, bytes: u64) -> Setup {
        let (codec, memory) = (Codec::None, 8 << 30);
        Setup { durable: false, record, bytes, logs: 1, writers: 1, tail: false, codec, memory }
    }

    /// Appends are synced.
    pub fn durable(self) -> Setup {
        Setup { durable: true, ..self }
    }

    /// So many logs and writers.
    pub fn shared(self, logs: u32, writers: u32) -> Setup {
        Setup { logs, writers, ..self }
    }

    /// Read while it is written.
    pub fn tailed(self) -> Setup {
        Setup { tail: true, ..self }
    }

    /// Two writers of one log at least.
    pub fn is_contended(&self) -> bool {
        self.writers > self.logs
    }
}

/// Something to be measured.
pub trait Peer: Sync {
    /// What it is.
    fn facts(&self) -> Facts;

    /// Why it cannot do a workload; none where it can.
    fn cannot(&self, work: &str, setup: &Setup) -> Option<&'static str> {
        let _ = (work, setup);
        None
    }

    /// Bytes that it can be asked to hold, where its cost grows faster than they do.
    fn most_bytes(&self) -> u64 {
        u64::MAX
    }

    /// Reading takes the records away.
    fn reads_once(&self) -> bool {
        false
    }

    /// Opens or creates it in a directory.
    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>>;

    /// What is needed before an opening after the process was killed.
    fn before_reopening(&self, dir: &Path) -> Result<()> {
        let _ = dir;
        Ok(())
    }

    /// Reads what a log holds, from a closed directory.
    fn read_back(&self, dir: &Path, setup: &Setup, log: u32, sink: &mut Sink<'_>) -> Result<()> {
        let opened = self.open(dir, setup)?;
        {
            let mut reader = opened.reader(log)?;
            while reader.read(sink)? {}
        }
        opened.close()
    }
}

/// An open peer.
pub trait Log {
    /// Somebody who appends to a log.
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>>;

    /// Somebody who reads a log from its start.
    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let _ = log;
        Err(cannot("no reader while it is open"))
    }

    /// What has been appended is in the hands of the system: a kill of the process does not take it.
    fn settle(&self) -> Result<()> {
        Ok(())
    }

    /// Ends in an orderly way.
    fn close(self: Box<Self>) -> Result<()>;
}

/// Appends.
pub trait Writer {
    /// One record.
    fn append(&mut self, record: &[u8]) -> Result<()>;

    /// Many, by the best call there is for that.
    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        batch.iter().try_for_each(|record| self.append(record))
    }

    /// One record with a timestamp of its own, in milliseconds.
    fn append_at(&mut self, record: &[u8], time: i64) -> Result<()> {
        let _ = (record, time);
        Err(cannot("no timestamps"))
    }

    /// The records of a range, one at a time.
    fn append_all(&mut self, payloads: &mut Payloads, range: Range<u64>) -> Result<()> {
        for n in range {
            self.append(payloads.record(n))?;
        }
        Ok(())
    }

    /// The records of a range, so many at a time.
    fn append_batches(&mut self, payloads: &mut Payloads, range: Range<u64>, size: u64) -> Result<()> {
        let mut first = range.start;
        while first < range.end {
            let end = (first + size).min(range.end);
            self.append_batch(&payloads.batch(first..end))?;
            first = end;
        }
        Ok(())
    }
}

/// Reads.
pub trait Reader {
    /// Reads some of what is there; false if there is nothing new.
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool>;

    /// Parks until there is something, and reads some of it.
    fn wait(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        let _ = sink;
        Err(cannot("nothing to wait with"))
    }

    /// Whether it can park.
    fn can_wait(&self) -> bool {
        false
    }

    /// Reads the one record at an offset.
    fn fetch(&mut self, offset: u64, sink: &mut Sink<'_>) -> Result<()> {
        let _ = (offset, sink);
        Err(cannot("no offsets"))
    }

    /// Reads the first record that is not older than a time, in milliseconds.
    fn fetch_time(&mut self, time: i64, sink: &mut Sink<'_>) -> Result<()> {
        let _ = (time, sink);
        Err(cannot("no times"))
    }
}

/// A thing that is not there.
pub fn cannot(what: &str) -> Failure {
    format!("cannot: {what}").into()
}
