//! writeahead: one writer thread that commits for all who wait.

use std::path::Path;

use futures::StreamExt;
use futures::executor::block_on;
use writeahead::{
    RetentionOptions, SimpleFile, WriteAhead, WriteAheadOptions, WriteAheadStream, WriteHandle,
};

use super::folder;
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Writeahead;

struct Open(Vec<WriteAhead<SimpleFile>>);

struct Append(WriteHandle);

struct Read(WriteAheadStream<SimpleFile>);

impl Peer for Writeahead {
    fn facts(&self) -> Facts {
        Facts {
            name: "writeahead",
            package: "writeahead",
            kind: Kind::Durable,
            keeps: "a power cut: it always syncs",
            checks: "murmur3 of each record, checked by each reading",
            notes: "always syncs; a reader ends at what was there when it began; addresses instead of offsets",
        }
    }

    fn cannot(&self, work: &str, _: &Setup) -> Option<&'static str> {
        match work {
            "durable" | "read" | "open" | "large" => None,
            "random" => Some("no offsets"),
            "tail" | "latency" => Some("a reader ends at what was there"),
            "codecs" => Some("no compression"),
            "topics" | "footprint" => Some("no topics"),
            _ => Some("always syncs"),
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let open = |log| -> Result<_> {
            let mut ahead = WriteAhead::with_options(WriteAheadOptions {
                log_dir: folder(dir, log)?,
                max_batch_bytes: (256 << 10).max(setup.record * 2).max(4 << 20),
                retention: RetentionOptions::default(),
                ..WriteAheadOptions::default()
            });
            ahead.start()?;
            Ok(ahead)
        };
        Ok(Box::new(Open((0..setup.logs).map(open).collect::<Result<_>>()?)))
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Append(self.0[log as usize].writer()?)))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Read(self.0[log as usize].create_stream()?)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        block_on(self.0.write(record.to_vec()))?;
        Ok(())
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        block_on(self.0.write_batch(batch.iter().map(|record| record.to_vec()).collect()))?;
        Ok(())
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        block_on(async {
            let mut any = false;
            for _ in 0..1024 {
                let Some(record) = self.0.next().await else { break };
                sink.see(&record?.1);
                any = true;
            }
            Ok(any)
        })
    }
}
