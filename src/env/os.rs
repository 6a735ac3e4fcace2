//! The real environment: the operating system's files, clock and randomness.
//!
//! Invariants
//! - This file and the one beside it for each system hold every difference between systems.
//! - Directories and files are private to the user; a symbolic link in place of a file is refused.
//! - A map is made only of a file opened for writing, and only where the system has shared maps that
//!   may reach beyond the end of the file.
//!
//! ```text
//!              Linux                     macOS and other Unix        Windows
//!   allocate   fallocate, else zeros     zeros                       zeros
//!   sync_data  fdatasync                 F_FULLFSYNC / fsync         FlushFileBuffers
//!   sync_dir   fsync                     F_FULLFSYNC / fsync         nothing
//!   lock       flock                     flock                       exclusive open
//!   map        mmap                      mmap                        Unsupported
//! ```

#[cfg(unix)]
#[path = "os/unix.rs"]
mod sys;
#[cfg(windows)]
#[path = "os/windows.rs"]
mod sys;

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use parking_lot::RwLock;

use super::{Clock, DirEntry, DirLock, File, FileSystem, OpenMode, Random, Region};
use crate::types::Timestamp;

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OsFileSystem;

impl OsFileSystem {
    /// The file system of this machine.
    pub(crate) fn new() -> OsFileSystem {
        OsFileSystem
    }
}

impl FileSystem for OsFileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        sys::create_dir(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = sys::open_options();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::ReadWrite => options.read(true).write(true),
            OpenMode::CreateIfMissing => options.read(true).write(true).create(true).truncate(false),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
        };
        let file = options.open(path)?;
        Ok(Arc::new(OsFile { file, writable: mode != OpenMode::Read, zeroing: RwLock::new(()) }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().into_string() {
                entries.push(DirEntry { name, is_dir: entry.file_type()?.is_dir() });
            }
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn size_of(&self, path: &Path) -> io::Result<u64> {
        let found = fs::symlink_metadata(path)?;
        if found.is_file() { Ok(found.len()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn open_file_limit(&self) -> Option<u64> {
        sys::open_file_limit()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sys::sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        Ok(Box::new(OsLock { _held: sys::lock(path)? }))
    }

    fn trusts_mapped_stores(&self, dir: &Path) -> bool {
        sys::trusts_mapped_stores(dir)
    }
}

/// A lock that ends with its file descriptor.
#[derive(Debug)]
struct OsLock {
    _held: fs::File,
}

impl DirLock for OsLock {}

/// An open file.
#[derive(Debug)]
struct OsFile {
    file: fs::File,
    /// Opened for writing; only then it can be mapped.
    writable: bool,
    /// Held for writing while zeros stand in for a missing `fallocate`: a zero that came late would
    /// destroy a record written meanwhile.
    zeroing: RwLock<()>,
}

impl OsFile {
    /// Allocates by writing zeros from the end of the file on; for systems without `fallocate`.
    fn allocate_by_writing(&self, end: u64) -> io::Result<()> {
        const PIECE: usize = 256 * 1024;
        let zeros = vec![0; PIECE];
        loop {
            let _alone = self.zeroing.write();
            let size = self.size()?;
            if size >= end {
                return Ok(());
            }
            let piece = usize::try_from(end - size).unwrap_or(PIECE).min(PIECE);
            match sys::write_at(&self.file, &zeros[..piece], size) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl File for OsFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        sys::read_at(&self.file, buf, position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let _with_others = self.zeroing.read();
        sys::write_at(&self.file, buf, position)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        let end = position.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        if len == 0 {
            return Ok(());
        }
        match sys::allocate(&self.file, position, len) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => self.allocate_by_writing(end),
            done => done,
        }
    }

    fn data_in(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        Ok(sys::data_in(&self.file, range))
    }

    fn sync_data(&self) -> io::Result<()> {
        // The standard library asks for fdatasync on Linux, F_FULLFSYNC on Apple's systems (plain fsync
        // leaves the bytes in the drive's cache there) and FlushFileBuffers on Windows.
        self.file.sync_data()
    }

    fn begin_sync(&self, range: Range<u64>) {
        sys::begin_sync(&self.file, range);
    }

    fn write_back(&self, range: Range<u64>) -> io::Result<()> {
        sys::write_back(&self.file, range)
    }

    fn map(&self, len: usize) -> io::Result<Region> {
        if !self.writable {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a file opened for reading cannot be mapped",
            ));
        }
        sys::map(&self.file, len)
    }

    fn modified(&self) -> io::Result<Timestamp> {
        let time = self.file.metadata()?.modified()?;
        let millis = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
        };
        Ok(Timestamp::from_millis(millis))
    }
}

/// The machine's clocks; on Linux the coarse ones, which a record can afford.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    #[cfg(windows)]
    start: std::time::Instant,
}

impl SystemClock {
    /// The machine's clocks.
    pub(crate) fn new() -> SystemClock {
        SystemClock {
            #[cfg(windows)]
            start: sys::instant(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(sys::unix_millis())
    }

    #[cfg(unix)]
    fn monotonic(&self) -> Duration {
        sys::monotonic()
    }

    #[cfg(windows)]
    fn monotonic(&self) -> Duration {
        sys::instant().duration_since(self.start)
    }
}

/// Random numbers from the keys that the standard library draws from the system for each thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OsRandom;

impl Random for OsRandom {
    fn next_u64(&self) -> u64 {
        // Each RandomState differs from all before it; SipHash under an unknown key spreads that over
        // all 64 bits. Good for ids, not for secrets, and the same on every system.
        RandomState::new().hash_one(0_u64)
    }
}

#[cfg(test)]
mod tests;
