//! Files of a host's own: another file system's, but for what a test changes.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millpond::env::{DirEntry, DirLock, File, FileSystem, OpenMode, Region};
use millpond::prelude::*;

/// What is different with a host.
pub(crate) trait Host: Debug + Send + Sync + 'static {
    /// The mode in which a file is opened that is to be opened in this one.
    fn mode(&self, asked: OpenMode) -> OpenMode {
        asked
    }

    /// How many of `len` bytes a read or write takes.
    fn takes(&self, len: usize) -> io::Result<usize> {
        Ok(len)
    }

    /// A file is about to be synced.
    fn syncing(&self, path: &Path) {
        let _ = path;
    }

    /// Whether files can be mapped.
    fn maps(&self) -> bool {
        true
    }

    /// Whether it has those calls that need not be there.
    fn has_all_calls(&self) -> bool {
        true
    }
}

/// The files of a host.
#[derive(Debug)]
pub(crate) struct Hosted<H> {
    inner: Arc<dyn FileSystem>,
    pub(crate) host: Arc<H>,
}

#[derive(Debug)]
struct HostedFile<H> {
    inner: Arc<dyn File>,
    path: PathBuf,
    host: Arc<H>,
}

impl<H: Host> Hosted<H> {
    pub(crate) fn over(inner: &Arc<dyn FileSystem>, host: H) -> Hosted<H> {
        Hosted { inner: inner.clone(), host: Arc::new(host) }
    }
}

impl<H> Clone for Hosted<H> {
    fn clone(&self) -> Hosted<H> {
        Hosted { inner: self.inner.clone(), host: self.host.clone() }
    }
}

impl<H: Host> FileSystem for Hosted<H> {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path, self.host.mode(mode))?;
        Ok(Arc::new(HostedFile { inner, path: path.to_path_buf(), host: self.host.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.inner.lock(path)
    }

    fn trusts_mapped_stores(&self, dir: &Path) -> bool {
        self.host.maps() && self.inner.trusts_mapped_stores(dir)
    }
}

impl<H: Host> File for HostedFile<H> {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let some = self.host.takes(buf.len())?;
        self.inner.read_at(&mut buf[..some], position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let some = self.host.takes(buf.len())?;
        self.inner.write_at(&buf[..some], position)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.inner.set_size(size)
    }

    fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(position, len)
    }

    fn data_in(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        if self.host.has_all_calls() { self.inner.data_in(range) } else { Ok(vec![range]) }
    }

    fn begin_sync(&self, range: Range<u64>) {
        if self.host.has_all_calls() {
            self.inner.begin_sync(range);
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.host.syncing(&self.path);
        self.inner.sync_data()
    }

    fn map(&self, len: usize) -> io::Result<Region> {
        if self.host.maps() { self.inner.map(len) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn modified(&self) -> io::Result<Timestamp> {
        self.inner.modified()
    }
}
