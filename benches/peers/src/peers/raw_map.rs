//! The bound of what is not synced: copy, CRC and release store into a map whose pages are all present.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{folder, raw_frame};
use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

/// Zeros are written so many at once.
const PIECE: usize = 1 << 20;

pub struct RawMap;

struct Open {
    maps: Vec<Arc<Map>>,
}

struct Map {
    bytes: MmapRaw,
    published: AtomicUsize,
}

struct Append {
    map: Arc<Map>,
    end: usize,
    batch: Vec<u8>,
}

struct Read {
    map: Arc<Map>,
    at: usize,
}

impl Peer for RawMap {
    fn facts(&self) -> Facts {
        Facts {
            name: "raw map",
            package: "",
            kind: Kind::Bound,
            keeps: "a kill",
            checks: "CRC32C, checked by each reading",
            notes: "a loop: copy, CRC, release store into a map that was written and prefaulted before the clock started",
        }
    }

    fn cannot(&self, work: &str, setup: &Setup) -> Option<&'static str> {
        match work {
            "durable" | "latency" | "random" | "open" | "topics" | "footprint" | "small-memory" => {
                Some("not a bound")
            }
            _ if setup.is_contended() => Some("one writer"),
            _ => None,
        }
    }

    fn open(&self, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let frames = setup.bytes / setup.record as u64 + 1;
        let len = (setup.bytes + frames * 16 + (1 << 20)).next_multiple_of(PIECE as u64);
        let maps = (0..setup.logs).map(|log| Ok(Arc::new(Map::open(&folder(dir, log)?, len)?)));
        Ok(Box::new(Open { maps: maps.collect::<Result<_>>()? }))
    }
}

impl Map {
    fn open(dir: &Path, len: u64) -> Result<Map> {
        let path = dir.join("raw.map");
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        if is_new {
            let zeros = vec![0; PIECE];
            for at in (0..len).step_by(PIECE) {
                file.write_all_at(&zeros, at)?;
            }
        }
        let bytes = MmapOptions::new().map_raw(&file)?;
        if is_new {
            bytes.advise(Advice::PopulateWrite)?;
        }
        // Of an old one everything is published: its frames end with a zero.
        let published = AtomicUsize::new(if is_new { 0 } else { bytes.len() });
        Ok(Map { bytes, published })
    }

    fn published(&self) -> &[u8] {
        let end = self.published.load(Ordering::Acquire);
        // SAFETY: the range lies in the map, was written before it was published, and is never written again.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), end) }
    }
}

impl Log for Open {
    fn writer(&self, log: u32) -> Result<Box<dyn Writer + Send + '_>> {
        let map = Arc::clone(&self.maps[log as usize]);
        Ok(Box::new(Append { map, end: 0, batch: Vec::new() }))
    }

    fn reader(&self, log: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Read { map: Arc::clone(&self.maps[log as usize]), at: 0 }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Append {
    #[inline]
    fn copy(&mut self, header: &[u8], bytes: &[u8]) -> Result<()> {
        let end = self.end + header.len() + bytes.len();
        if end > self.map.bytes.len() {
            return Err("the raw map is full".into());
        }
        // SAFETY: the range lies in the map, above what is published, and there is one writer.
        let room = unsafe {
            std::slice::from_raw_parts_mut(self.map.bytes.as_mut_ptr().add(self.end), end - self.end)
        };
        let (front, back) = room.split_at_mut(header.len());
        front.copy_from_slice(header);
        back.copy_from_slice(bytes);
        self.end = end;
        self.map.published.store(end, Ordering::Release);
        Ok(())
    }
}

impl Writer for Append {
    #[inline]
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.copy(&raw_frame::header(record), record)
    }

    fn append_batch(&mut self, batch: &[&[u8]]) -> Result<()> {
        let mut encoded = std::mem::take(&mut self.batch);
        raw_frame::encode_batch(&mut encoded, batch);
        self.copy(&[], &encoded)?;
        self.batch = encoded;
        Ok(())
    }
}

impl Reader for Read {
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let bytes = &self.map.published()[self.at..];
        let read = raw_frame::read_frames(bytes, sink)?;
        self.at += read;
        Ok(read > 0)
    }
}
