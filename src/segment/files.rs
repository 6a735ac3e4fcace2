//! The folder of a partition, as its segments see it.
//!
//! Invariants
//! - Whoever holds a segment holds this, and with it the directory's lock: no second broker opens a directory that a
//!   view of this one still points into.
//! - Of a deleted topic no file is opened or removed by name: the name is another topic's by now.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::append_times::AppendTimes;
use super::index::IndexLengths;
use super::name::FileKind;
use super::open_segments::{OpenSegments, OpenTicket};
use crate::env::{DirLock, File, FileSystem, OpenMode, read_whole, sync_data, write_all_at};
use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How and where the segments of one partition keep their files.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    /// The environment's files.
    pub(crate) files: Arc<dyn FileSystem>,
    /// The partition's folder.
    pub(crate) dir: PathBuf,
    /// Read through maps; by calls otherwise.
    pub(crate) map: bool,
    /// The broker's lock on its directory; none for an observer.
    #[expect(dead_code, reason = "held for as long as a view may point into the directory")]
    pin: Option<Arc<dyn DirLock>>,
    /// How many segments of the broker are open.
    open_segments: Arc<OpenSegments>,
    /// How many files of this partition are.
    open_here: AtomicU64,
    /// Files have been made, renamed or removed since the folder was synced; held while that is done.
    changed: AtomicBool,
    syncing: Mutex<()>,
    /// The folder is another one's, or about to go.
    gone: AtomicBool,
}

impl SegmentFiles {
    /// The folder `dir`.
    pub(crate) fn new(
        files: Arc<dyn FileSystem>,
        dir: PathBuf,
        map: bool,
        pin: Option<Arc<dyn DirLock>>,
        open_segments: Arc<OpenSegments>,
    ) -> SegmentFiles {
        SegmentFiles {
            files,
            dir,
            map,
            pin,
            open_segments,
            open_here: AtomicU64::new(0),
            changed: AtomicBool::new(false),
            syncing: Mutex::new(()),
            gone: AtomicBool::new(false),
        }
    }

    /// The topic is deleted: what is open stays so, and nothing more is opened.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    /// Whether names in the folder still mean the files of this partition.
    pub(super) fn check_here(&self) -> Result<()> {
        if self.gone.load(Ordering::Acquire) { Err(Error::closed("the partition")) } else { Ok(()) }
    }

    /// How many segments of the broker are open.
    pub(crate) fn open_segments(&self) -> &Arc<OpenSegments> {
        &self.open_segments
    }

    /// How many files of this partition's segments are open.
    pub(crate) fn open_here(&self) -> u64 {
        self.open_here.load(Ordering::Relaxed)
    }

    /// `count` more files are open, until the ticket goes.
    pub(super) fn enter(self: &Arc<Self>, count: u64) -> OpenTicket {
        self.open_here.fetch_add(count, Ordering::Relaxed);
        self.open_segments.enter(count);
        OpenTicket::new(self.clone(), count)
    }

    /// They are not any more.
    pub(super) fn leave(&self, count: u64) {
        self.open_here.fetch_sub(count, Ordering::Relaxed);
        self.open_segments.leave(count);
    }

    /// Opens one of a segment's files.
    pub(crate) fn open(&self, kind: FileKind, base: u64, mode: OpenMode) -> Result<Arc<dyn File>> {
        self.check_here()?;
        let path = kind.path(&self.dir, base);
        let failed = |e| Error::io("open a segment's file", &path, e);
        if mode != OpenMode::CreateIfMissing {
            return self.files.open(&path, mode).map_err(failed);
        }
        match self.files.open(&path, OpenMode::ReadWrite) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let file = self.files.open(&path, mode).map_err(failed);
                self.changed();
                file
            }
            file => file.map_err(failed),
        }
    }

    /// Files have been made, renamed or removed in the folder.
    pub(crate) fn changed(&self) {
        self.changed.store(true, Ordering::Release);
    }

    /// Makes what has changed in the folder durable, if anything has since this was done last.
    pub(crate) fn sync_changes(&self) -> Result<()> {
        // Whoever is told that nothing has changed must know that the sync of what had is over, and good.
        let _alone = self.syncing.lock();
        if self.changed.swap(false, Ordering::AcqRel) {
            return self.sync_dir().inspect_err(|_| self.changed());
        }
        Ok(())
    }

    /// The path of one of a segment's files.
    pub(crate) fn path(&self, kind: FileKind, base: u64) -> PathBuf {
        kind.path(&self.dir, base)
    }

    /// Makes creations, renames and removals in the folder durable.
    pub(crate) fn sync_dir(&self) -> Result<()> {
        crate::env::sync_dir(&*self.files, &self.dir)
            .map_err(|e| Error::io("sync a partition's folder", &self.dir, e))
    }

    /// Enters a segment's log into the folder anew: where a sync of the folder has failed, the entry may be
    /// only in the cache, and another sync would say that all is well. A crash between the two renames
    /// leaves `NAME.entering`, which [`entered`](Self::entered) ends.
    pub(crate) fn enter_anew(&self, base: u64) -> Result<()> {
        let path = self.path(FileKind::Log, base);
        let aside = crate::env::with_suffix(&path, "entering");
        self.files.rename(&path, &aside).map_err(|e| Error::io("rename a segment's file", &path, e))?;
        self.entered(base)
    }

    /// The second half of [`enter_anew`](Self::enter_anew).
    pub(crate) fn entered(&self, base: u64) -> Result<()> {
        let path = self.path(FileKind::Log, base);
        let aside = crate::env::with_suffix(&path, "entering");
        self.changed();
        self.files.rename(&aside, &path).map_err(|e| Error::io("rename a segment's file", &aside, e))
    }

    /// Renames every file of a segment to `NAME.deleted`, the log last, so that an interrupted removal
    /// leaves a segment that is whole or a log without indexes.
    pub(crate) fn mark_deleted(&self, base: u64) -> Result<Vec<PathBuf>> {
        self.check_here()?;
        let mut marked = Vec::new();
        // A snapshot is the partition's, not the segment's at whose offset it was taken.
        for kind in FileKind::ALL.into_iter().rev().filter(|kind| *kind != FileKind::Snapshot) {
            let path = self.path(kind, base);
            if !self.exists(&path)? {
                continue;
            }
            let gone = crate::env::with_suffix(&path, "deleted");
            self.files.rename(&path, &gone).map_err(|e| Error::io("rename a segment's file", &path, e))?;
            self.changed();
            marked.push(gone);
        }
        Ok(marked)
    }

    /// Unlinks files; one that is gone already is no error. Maps of them stay usable.
    pub(crate) fn unlink(&self, paths: &[PathBuf]) -> Result<()> {
        self.check_here()?;
        for path in paths {
            match self.files.remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove a segment's file", path, e));
                }
                _ => self.changed(),
            }
        }
        Ok(())
    }

    /// Notes durably how long a closed segment's indexes are now, beside its append times.
    pub(crate) fn recount_index(&self, base: u64, lengths: IndexLengths) -> Result<()> {
        let path = self.path(FileKind::AppendTimes, base);
        let file = self.open(FileKind::AppendTimes, base, OpenMode::CreateIfMissing)?;
        let times = AppendTimes::none();
        if let Ok(bytes) = read_whole(&*file, 1 << 12) {
            times.restore(&bytes);
        }
        times.set_index_lengths(lengths);
        write_all_at(&*file, &times.to_bytes(), 0)
            .and_then(|()| sync_data(&*file))
            .map_err(|e| Error::io("write append times", &path, e))
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        self.files.exists(path).map_err(|e| Error::io("look for a file", path, e))
    }
}
