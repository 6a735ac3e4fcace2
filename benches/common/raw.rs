//! The bounds: what the bare system gives to a loop that does only what must be done.
//!
//! ```text
//!   RawMap    copy + running CRC + release store, into a map that the same thread prefaults as it goes
//!   RawFile   pwrite, fdatasync, into a file that is really allocated
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Result;

/// Prefaulted at once.
const PIECE: usize = 8 << 20;

/// A preallocated file that is mapped and filled from its start.
pub(crate) struct RawMap {
    map: memmap2::MmapMut,
    present: usize,
    end: usize,
    crc: u32,
    published: AtomicU64,
}

impl RawMap {
    /// A map of `len` bytes, none of which is present.
    pub(crate) fn create(dir: &Path, len: usize) -> Result<RawMap> {
        let file = allocated(&dir.join("bound.map"), len as u64)?;
        // SAFETY: the file was made by this process in a directory of its own, and nobody cuts it.
        let map = unsafe { memmap2::MmapOptions::new().len(len).map_mut(&file)? };
        Ok(RawMap { map, present: 0, end: 0, crc: 0, published: AtomicU64::new(0) })
    }

    /// Copies a record in, carries the CRC on and publishes.
    #[inline]
    pub(crate) fn push(&mut self, record: &[u8]) -> Result<()> {
        self.copy(record)?;
        self.crc = crc32c::crc32c_append(self.crc, record);
        self.published.store(self.end as u64, Ordering::Release);
        Ok(())
    }

    /// Copies a whole batch in and publishes it.
    #[inline]
    pub(crate) fn push_batch(&mut self, batch: &[u8]) -> Result<()> {
        self.copy(batch)?;
        self.published.store(self.end as u64, Ordering::Release);
        Ok(())
    }

    #[inline]
    fn copy(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.end + bytes.len();
        if end > self.present {
            self.populate(end)?;
        }
        self.map[self.end..end].copy_from_slice(bytes);
        self.end = end;
        Ok(())
    }

    #[cold]
    fn populate(&mut self, need: usize) -> Result<()> {
        let end = need.next_multiple_of(PIECE).min(self.map.len());
        if need > end {
            return Err("the raw map is full".into());
        }
        self.map.advise_range(memmap2::Advice::PopulateWrite, self.present, end - self.present)?;
        self.present = end;
        Ok(())
    }

    /// What has been copied in.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[..self.end]
    }
}

/// A preallocated file that is written from its start.
pub(crate) struct RawFile {
    file: File,
    end: u64,
}

impl RawFile {
    /// A file of `len` allocated bytes.
    pub(crate) fn create(dir: &Path, len: u64) -> Result<RawFile> {
        Ok(RawFile { file: allocated(&dir.join("bound.log"), len)?, end: 0 })
    }

    /// Writes behind the last write.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all_at(bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Brings it to the device.
    pub(crate) fn sync(&self) -> Result<()> {
        Ok(self.file.sync_data()?)
    }
}

/// A new file with `len` bytes of blocks that are on the disk.
fn allocated(path: &Path, len: u64) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len)?;
    file.sync_all()?;
    Ok(file)
}

/// Encodes a batch of format version 2 as plainly as it can be done: records without key and headers.
pub(crate) fn encode_batch<'a>(into: &mut Vec<u8>, payloads: impl Iterator<Item = &'a [u8]>) -> u64 {
    into.clear();
    into.resize(61, 0);
    let mut count = 0;
    for payload in payloads {
        encode_record(into, count, payload);
        count += 1;
    }
    into[57..61].copy_from_slice(&(count as u32).to_be_bytes());
    let crc = crc32c::crc32c(&into[21..]);
    into[17..21].copy_from_slice(&crc.to_be_bytes());
    count
}

/// Encodes one record: length, attributes, deltas, no key, the value, no headers.
#[inline]
pub(crate) fn encode_record(into: &mut Vec<u8>, delta: u64, payload: &[u8]) {
    let (delta, len) = (delta * 2, payload.len() as u64 * 2);
    let body = 1 + 1 + varint_len(delta) + 1 + varint_len(len) + payload.len() + 1;
    put_varint(into, body as u64 * 2);
    into.extend_from_slice(&[0, 0]);
    put_varint(into, delta);
    into.push(1);
    put_varint(into, len);
    into.extend_from_slice(payload);
    into.push(0);
}

fn varint_len(value: u64) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

#[inline]
fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}
