//! An open simulated file, its maps and its lock.
//!
//! Invariant: a file's content lives while a handle, a map or a name of it does.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::calls::{Fault, Op};
use super::disk::SimDisk;
use super::tree::NodeId;
use crate::env::{Clock, DirLock, File, Region, StoreTap};
use crate::types::Timestamp;

/// Up to where a file can be allocated, in bytes: its pages are counted one by one.
const MAX_ALLOCATED: u64 = 1 << 36;

/// An open file.
#[derive(Debug)]
pub(super) struct SimFile {
    handle: Arc<Handle>,
    /// What it was opened as, for the log of calls.
    path: PathBuf,
    writable: bool,
}

/// Keeps a file's content.
#[derive(Debug)]
pub(super) struct Handle {
    disk: SimDisk,
    id: NodeId,
}

impl Handle {
    /// One more; the disk has counted it.
    pub(super) fn new(disk: SimDisk, id: NodeId) -> Handle {
        Handle { disk, id }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(content) = self.disk.state().files.get_mut(&self.id) {
            content.handles -= 1;
        }
    }
}

impl StoreTap for Handle {
    fn stored(&self, range: Range<u64>) {
        let mut state = self.disk.state();
        let random = state.random.clone();
        let len = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
        assert!(
            state.room_for(self.id, range.start, len) == len,
            "a store to {range:?}, which is not allocated, on a full disk: SIGBUS"
        );
        let now = self.disk.clock().now().millis();
        if let Some(content) = state.files.get_mut(&self.id) {
            content.stored(&range, &random);
            content.modified = now;
        }
        state.note_store();
    }
}

impl SimFile {
    pub(super) fn new(handle: Handle, path: &Path, writable: bool) -> SimFile {
        SimFile { handle: Arc::new(handle), path: path.to_owned(), writable }
    }

    fn disk(&self) -> &SimDisk {
        &self.handle.disk
    }

    fn describe(&self, what: impl std::fmt::Display) -> String {
        format!("{} {what}", self.path.display())
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        Ok(self.disk().state().content(self.handle.id)?.read(buf, position))
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.check_writable()?;
        position.checked_add(buf.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        let id = self.handle.id;
        let describe = || self.describe(format_args!("{} bytes at {position}", buf.len()));
        self.disk().call(Op::Write, describe, |state, fault| {
            let asked = match fault {
                Some(Fault::StorageFull) => return Err(io::ErrorKind::StorageFull.into()),
                Some(Fault::Io | Fault::ShortWrite) => buf.len() / 2,
                None => buf.len(),
            };
            let len = state.room_for(id, position, asked);
            let random = state.random.clone();
            let content = state.content(id)?;
            content.write(&buf[..len], position, &random);
            content.modified = self.disk().clock().now().millis();
            match fault.and_then(Fault::error) {
                Some(error) => Err(error),
                None if len == 0 && asked > 0 => Err(io::ErrorKind::StorageFull.into()),
                None => Ok(len),
            }
        })
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk().state().content(self.handle.id)?.size)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.check_writable()?;
        self.disk().call(
            Op::SetSize,
            || self.describe(size),
            |state, fault| {
                refuse(fault)?;
                let random = state.random.clone();
                let content = state.content(self.handle.id)?;
                content.set_size(size, &random);
                content.modified = self.disk().clock().now().millis();
                Ok(())
            },
        )
    }

    fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let end = position.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
        let describe = || self.describe(format_args!("{len} bytes at {position}"));
        self.disk().call(Op::Allocate, describe, |state, fault| {
            refuse(fault)?;
            if end > MAX_ALLOCATED {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let bytes = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
            if state.room_for(self.handle.id, position, bytes) < bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let random = state.random.clone();
            state.content(self.handle.id)?.allocate(position, end, &random);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk().call(
            Op::Sync,
            || self.describe(""),
            |state, fault| {
                let content = state.content(self.handle.id)?;
                match fault.and_then(Fault::error) {
                    Some(error) => {
                        content.drop_dirty();
                        Err(error)
                    }
                    None => {
                        content.sync();
                        Ok(())
                    }
                }
            },
        )
    }

    fn write_back(&self, range: Range<u64>) -> io::Result<()> {
        self.disk().call(
            Op::WriteBack,
            || self.describe(format_args!("{range:?}")),
            |state, fault| match fault.and_then(Fault::error) {
                Some(error) => {
                    state.content(self.handle.id)?.drop_dirty();
                    Err(error)
                }
                None => Ok(()),
            },
        )
    }

    fn map(&self, len: usize) -> io::Result<Region> {
        if !self.writable {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a file opened for reading cannot be mapped",
            ));
        }
        self.disk().call(
            Op::Map,
            || self.describe(len),
            |state, fault| {
                refuse(fault)?;
                let heard = state.settings.hears_stores;
                let content = state.content(self.handle.id)?;
                let memory = content.memory(len, heard).ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "mapped before with fewer bytes, and never moved",
                    )
                })?;
                let tap = heard.then(|| self.handle.clone() as Arc<dyn StoreTap>);
                Ok(Region::heap(memory, len, tap))
            },
        )
    }

    fn modified(&self) -> io::Result<Timestamp> {
        Ok(Timestamp::from_millis(self.disk().state().content(self.handle.id)?.modified))
    }
}

/// A lock, until it is dropped.
#[derive(Debug)]
pub(super) struct SimLock {
    disk: SimDisk,
    id: NodeId,
}

impl SimLock {
    /// A lock that the disk has noted.
    pub(super) fn new(disk: SimDisk, id: NodeId) -> SimLock {
        SimLock { disk, id }
    }
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.id);
    }
}

/// The error of a fault that keeps a call from doing anything.
pub(super) fn refuse(fault: Option<Fault>) -> io::Result<()> {
    fault.and_then(Fault::error).map_or(Ok(()), Err)
}
