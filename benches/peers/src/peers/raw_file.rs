//! The bound of what goes through system calls: copy, CRC, `pwrite`, and `fdatasync` where it must last.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{folder, raw_frame};
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

/// Read at once.
const PIECE: usize = 256 << 10;

pub struct RawFile;

struct Open {
    files: Vec<Arc<File>>,
    durable: bool,
}

struct Append {
    file: Arc<File>,
    end: u64,
    durable: bool,
    frame: Vec<u8>,
}

struct Read {
    file: Arc<File>,
    at: u64,
    buffer: Vec<u8>,
}

impl Peer for RawFile {
    fn facts(&self) -> Facts {
        Facts {
            name: "raw file",
            package: "",
            kind: Kind::Bound,
            keeps: "a kill",
            checks: "CRC32C, checked by each reading",
            notes: "a loop: copy, CRC, pwrite into an allocated file; fdatasync where durable, no group commit",
        }
    }

    fn cannot(&self, work: &str, setup: &Setup) -> Option<&'static str> {
        match work {
            "latency" | "random" | "open" | "topics" | "footprint" | "tail" | "growth" => Some("not a bound"),
            _ if setup.is_contended() => Some("one writer"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let len = setup.bytes + (setup.bytes / setup.record as u64 + 1) * 16 + (1 << 20);
        let files = (0..setup.logs).map(|log| Ok(Arc::new(allocated(&folder(dir, log)?, len)?)));
        Ok(Box::new(Open { files: files.collect::<Result<_>>()?, durable: setup.durable }))
    }
}

fn allocated(dir: &Path, len: u64) -> Result<File> {
    let path = dir.join("raw.file");
    let is_new = !path.exists();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if is_new {
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len)?;
        file.sync_all()?;
    }
    Ok(file)
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        let file = Arc::clone(&self.files[log as usize]);
        Ok(Box::new(Append { file, end: 0, durable: self.durable, frame: Vec::new() }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Read { file: Arc::clone(&self.files[log as usize]), at: 0, buffer: Vec::new() }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Append {
    fn write(&mut self) -> Result<()> {
        self.file.write_all_at(&self.frame, self.end)?;
        self.end += self.frame.len() as u64;
        if self.durable {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

impl Writer for Append {
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.frame.clear();
        self.frame.extend_from_slice(&raw_frame::header(record));
        self.frame.extend_from_slice(record);
        self.write()
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        raw_frame::encode_batch(&mut self.frame, batch);
        self.write()
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let mut size = PIECE;
        loop {
            self.buffer.resize(size, 0);
            let there = self.file.read_at(&mut self.buffer, self.at)?;
            let read = raw_frame::read_frames(&self.buffer[..there], sink)?;
            self.at += read as u64;
            // A frame larger than the buffer needs a larger one.
            let is_cut = read == 0 && there == size && self.buffer[..4] != [0; 4];
            if !is_cut {
                return Ok(read > 0);
            }
            size *= 2;
        }
    }
}
