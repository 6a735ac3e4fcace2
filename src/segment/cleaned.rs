//! A segment that is being written anew by compaction, beside the ones it is to replace.
//!
//! ```text
//!   BASE.log.cleaned, .index.cleaned, ...   being written: an opening throws them away
//!   BASE.log.swap, .index.swap, ...         whole and synced; they count once the partition's manifest says so
//!   BASE.log, .index, ...                   in place
//! ```
//!
//! Invariants
//! - Nothing of it is renamed to `.swap` before all of it is on the device, the log last.
//! - It is never written to again: its indexes are complete, and its append times are those of what it replaces.

use std::path::PathBuf;
use std::sync::Arc;

use super::append_times::AppendTimes;
use super::files::SegmentFiles;
use super::index::LiveIndex;
use super::name::FileKind;
use super::open_segment::OpenSegment;
use super::segment::Segment;
use crate::env::{File, OpenMode, sync_data, with_suffix, write_all_at};
use crate::error::{Error, Result};
use crate::format::batch::BatchHeader;

/// Positions in a segment are 32-bit and signed in Kafka's indexes.
const MAX_LEN: u64 = i32::MAX as u64;
/// Written at once.
const PIECE: usize = 1 << 20;

/// The kinds of files that a compacted segment has, the log last.
const KINDS: [FileKind; 4] =
    [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::AppendTimes, FileKind::Log];

/// A segment on its way.
#[derive(Debug)]
pub(crate) struct CleanedSegment {
    home: Arc<SegmentFiles>,
    base: u64,
    log: Arc<dyn File>,
    index: LiveIndex,
    index_settings: (u64, u64),
    /// Bytes that are not in the file yet.
    pending: Vec<u8>,
    len: u64,
}

/// A segment that is whole under its `.swap` names, with its files open.
#[derive(Debug)]
pub(crate) struct WholeSegment {
    /// As readers will see it.
    pub(crate) segment: Arc<Segment>,
    #[expect(dead_code, reason = "keeps its files open until they have their final names")]
    open: Arc<OpenSegment>,
}

impl CleanedSegment {
    /// An empty one with the base offset of the first segment that it replaces.
    pub(crate) fn create(
        home: &Arc<SegmentFiles>,
        base: u64,
        index_settings: (u64, u64),
    ) -> Result<CleanedSegment> {
        let path = cleaned(home, FileKind::Log, base);
        let log = create(home, &path)?;
        Ok(CleanedSegment {
            home: home.clone(),
            base,
            log,
            index: LiveIndex::new(index_settings.0, index_settings.1),
            index_settings,
            pending: Vec::new(),
            len: 0,
        })
    }

    /// How many bytes it may still take.
    pub(crate) fn room(&self) -> u64 {
        MAX_LEN.saturating_sub(self.len)
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds a whole batch.
    pub(crate) fn push(&mut self, bytes: &[u8], header: &BatchHeader) -> Result<()> {
        let delta = u32::try_from(header.last_offset() as u64 - self.base).ok();
        let (Some(delta), Ok(position)) = (delta, u32::try_from(self.len)) else {
            return Err(Error::corrupted(&self.path(), self.len, "a compacted segment spans too much"));
        };
        if self.pending.len() + bytes.len() > PIECE {
            self.write_out()?;
        }
        self.pending.extend_from_slice(bytes);
        self.index.appended(position, bytes.len() as u64, delta, header.max_timestamp);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Writes the rest, makes all its files durable and gives them their `.swap` names, which are durable after a
    /// sync of the folder. The times are those of what it replaces.
    pub(crate) fn finish(mut self, first: i64, last: i64) -> Result<WholeSegment> {
        self.write_out()?;
        let end = u32::try_from(self.len).map_err(|_| self.failed(std::io::ErrorKind::InvalidData.into()))?;
        sync_data(&*self.log).map_err(|e| self.failed(e))?;
        self.index.close();
        let lengths = self.index.lengths();
        let times = AppendTimes::between(first, last, lengths, self.len);
        let side = [
            (FileKind::OffsetIndex, self.index.offset_bytes()),
            (FileKind::TimeIndex, self.index.time_bytes()),
            (FileKind::AppendTimes, times.to_bytes()),
        ];
        for (kind, bytes) in side {
            let path = cleaned(&self.home, kind, self.base);
            let file = create(&self.home, &path)?;
            write_all_at(&*file, &bytes, 0)
                .and_then(|()| sync_data(&*file))
                .map_err(|e| Error::io("write a compacted segment's file", &path, e))?;
        }
        self.index.mark_written(lengths);
        for kind in KINDS {
            let from = cleaned(&self.home, kind, self.base);
            let to = with_suffix(&kind.path(&self.home.dir, self.base), "swap");
            self.home.files.rename(&from, &to).map_err(|e| Error::io("rename a file", &from, e))?;
        }
        let CleanedSegment { home, base, log, index, index_settings, .. } = self;
        let (segment, open) = Segment::rewritten(&home, base, log, end, index, times, index_settings)?;
        Ok(WholeSegment { segment, open })
    }

    fn write_out(&mut self) -> Result<()> {
        let at = self.len - self.pending.len() as u64;
        write_all_at(&*self.log, &self.pending, at).map_err(|e| self.failed(e))?;
        self.pending.clear();
        Ok(())
    }

    fn path(&self) -> PathBuf {
        cleaned(&self.home, FileKind::Log, self.base)
    }

    fn failed(&self, e: std::io::Error) -> Error {
        Error::io("write a compacted segment", &self.path(), e)
    }
}

impl SegmentFiles {
    /// Removes whatever is left of a compacted segment that does not come to be.
    pub(crate) fn discard_cleaned(&self, base: u64) -> Result<()> {
        let paths = |suffix| KINDS.map(|kind| with_suffix(&kind.path(&self.dir, base), suffix));
        // The log first: without it nothing of it is taken for whole.
        for suffix in ["swap", "cleaned"] {
            for path in paths(suffix).iter().rev() {
                if self.files.exists(path).map_err(|e| Error::io("look for a file", path, e))? {
                    self.unlink(std::slice::from_ref(path))?;
                }
            }
        }
        Ok(())
    }

    /// Whether there is a compacted log of this base that waits for its place.
    pub(crate) fn has_swap(&self, base: u64) -> Result<bool> {
        let path = with_suffix(&self.path(FileKind::Log, base), "swap");
        self.files.exists(&path).map_err(|e| Error::io("look for a file", &path, e))
    }

    /// Gives the files of a compacted segment their names, the log last; those that have them already are left
    /// alone. Durable after a sync of the folder.
    pub(crate) fn put_in_place(&self, base: u64) -> Result<()> {
        for kind in KINDS {
            let to = self.path(kind, base);
            let from = with_suffix(&to, "swap");
            if self.files.exists(&from).map_err(|e| Error::io("look for a file", &from, e))? {
                self.files.rename(&from, &to).map_err(|e| Error::io("rename a file", &from, e))?;
                self.changed();
            }
        }
        Ok(())
    }
}

fn cleaned(home: &SegmentFiles, kind: FileKind, base: u64) -> PathBuf {
    with_suffix(&kind.path(&home.dir, base), "cleaned")
}

/// An empty file, whatever an earlier attempt has left under this name.
fn create(home: &SegmentFiles, path: &std::path::Path) -> Result<Arc<dyn File>> {
    let made = home.files.open(path, OpenMode::CreateIfMissing).and_then(|file| {
        file.set_size(0)?;
        Ok(file)
    });
    home.changed();
    made.map_err(|e| Error::io("make a file for compaction", path, e))
}
