//! Whether the indexes of a partition point where its batches are.
//!
//! Invariants
//! - Only what has been synced is looked at: the indexes of the segments below the recovery point, and that
//!   of its own segment up to the lengths that it names, and to the point itself. Entries of what was appended behind
//!   it may be among those lengths: a crash can take the batches, and what comes then is written over the entries.
//! - An index is a cache: what is wrong with one costs no record, but may cost an answer.

use std::path::PathBuf;
use std::sync::Arc;

use super::walk::Walk;
use crate::env::{FileSystem, OpenMode, read_whole};
use crate::format::index::{self, IndexEntry, OffsetEntry, TimeEntry};
use crate::partition::RecoveryPoint;
use crate::segment::{FileKind, ScannedBatch};

/// No index is longer.
const MAX_LEN: u64 = 1 << 31;

/// What is wrong: file, position, why.
type Wrong = (PathBuf, u64, String);

/// Compares the indexes with the batches that a walk meets.
pub(super) struct IndexCheck {
    files: Arc<dyn FileSystem>,
    point: Option<RecoveryPoint>,
    closed: bool,
    /// The segment that the walk is in.
    segment: Option<u64>,
    /// Its entries that no batch has confirmed yet, with their place in the file.
    entries: std::iter::Peekable<std::vec::IntoIter<(usize, OffsetEntry)>>,
    wrong: Vec<Wrong>,
}

impl IndexCheck {
    pub(super) fn new(files: &Arc<dyn FileSystem>, point: Option<RecoveryPoint>, closed: bool) -> IndexCheck {
        let entries = Vec::new().into_iter().peekable();
        IndexCheck { files: files.clone(), point, closed, segment: None, entries, wrong: Vec::new() }
    }

    /// The walk has met a batch.
    pub(super) fn batch(&mut self, walk: &Walk, segment: u64, batch: &ScannedBatch) {
        if self.segment != Some(segment) {
            self.end_segment(walk);
            self.begin_segment(walk, segment);
        }
        while let Some((place, entry)) =
            self.entries.next_if(|(_, e)| u64::from(e.position) <= batch.position)
        {
            let last = (batch.header.last_offset() as u64).saturating_sub(segment);
            if u64::from(entry.position) != batch.position || u64::from(entry.delta) > last {
                let offset = segment + u64::from(entry.delta);
                let why =
                    format!("an entry says offset {offset} at byte {}, where it is not", entry.position);
                let path = walk.path(FileKind::OffsetIndex, segment);
                self.wrong.push((path, place as u64 * 8, why));
            }
        }
    }

    /// Everything that is wrong.
    pub(super) fn finish(mut self, walk: &Walk) -> Vec<Wrong> {
        self.end_segment(walk);
        self.wrong
    }

    fn begin_segment(&mut self, walk: &Walk, segment: u64) {
        self.segment = Some(segment);
        let Some(point) = self.point.filter(|point| segment <= point.segment) else { return };
        let own = segment == point.segment && !self.closed;
        let limit = |len: u64| if own { len } else { MAX_LEN };
        let offsets = self.read(walk, FileKind::OffsetIndex, segment, limit(point.indexes.offsets));
        let times = self.read(walk, FileKind::TimeIndex, segment, limit(point.indexes.times));
        let behind = |delta: u32| own && segment + u64::from(delta) >= point.offset;
        let is_behind = |e: &OffsetEntry| behind(e.delta) && u64::from(e.position) >= point.position;
        let len = offsets.as_ref().map_or(0, Vec::len);
        let offsets = offsets.map(|offsets| up_to::<OffsetEntry>(offsets, is_behind)).unwrap_or_default();
        // A time entry does not tell whether it was made behind the point: it names an earlier record, perhaps.
        let times = times.filter(|_| offsets.len() == len);
        let times = times.map(|times| up_to::<TimeEntry>(times, |entry| behind(entry.delta)));
        if let Some(e) = times.and_then(|times| index::check::<TimeEntry>(&times).err()) {
            self.wrong.push((walk.path(FileKind::TimeIndex, segment), 0, e.to_string()));
        }
        if let Err(e) = index::check::<OffsetEntry>(&offsets) {
            self.wrong.push((walk.path(FileKind::OffsetIndex, segment), 0, e.to_string()));
            return;
        }
        let entries: Vec<_> = index::entries::<OffsetEntry>(&offsets).enumerate().collect();
        self.entries = entries.into_iter().peekable();
    }

    fn end_segment(&mut self, walk: &Walk) {
        let left = std::mem::replace(&mut self.entries, Vec::new().into_iter().peekable());
        let Some(segment) = self.segment else { return };
        // What a truncation has cut off stays in the index until the next opening.
        let next = walk.bases().iter().copied().find(|&base| base > segment).unwrap_or(u64::MAX);
        for (place, entry) in left.filter(|(_, entry)| segment + u64::from(entry.delta) < next) {
            let why = format!("an entry points to byte {}, behind the last batch", entry.position);
            self.wrong.push((walk.path(FileKind::OffsetIndex, segment), place as u64 * 8, why));
        }
    }

    /// At most `limit` bytes of an index; nothing where there is none, as it is made anew when it is needed.
    fn read(&self, walk: &Walk, kind: FileKind, segment: u64, limit: u64) -> Option<Vec<u8>> {
        let file = self.files.open(&walk.path(kind, segment), OpenMode::Read).ok()?;
        let mut bytes = read_whole(&*file, MAX_LEN).ok()?;
        bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Some(bytes)
    }
}

/// The entries before the first one of this kind, as bytes.
fn up_to<E: IndexEntry>(mut bytes: Vec<u8>, ends: impl Fn(&E) -> bool) -> Vec<u8> {
    let kept = index::entries::<E>(&bytes).position(|entry| ends(&entry));
    bytes.truncate(kept.map_or(bytes.len(), |kept| kept * E::LEN));
    bytes
}
