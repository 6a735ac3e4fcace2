//! Walking over a partition's batches from outside: with calls, without a lock, beside a broker that may
//! be writing.
//!
//! ```text
//!   segment 0 .................| segment 1 ...........| segment 2 ...... end, open batch, zeros
//!   next() next() next()        goes on by itself       Stop; later: next() goes on from there
//! ```
//!
//! Invariants
//! - Nothing is written, and nothing is mapped.
//! - Each batch is intact and follows the one before; the walk stops at the first that is not, and stays.
//! - Bytes that a truncation has cut, and that are in the file still, are not seen.
//! - Where the manifest records an exchange of segments, the new one is read, under whichever name it has by then.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::env::{File, FileSystem, OpenMode, with_suffix};
use crate::error::{Error, Result};
use crate::partition::{PartitionManifest, RecoveryPoint};
use crate::segment::{BatchCheck, FileKind, Scan, ScannedBatch, SegmentFileName, Stop};

/// Why a batch cannot stand below a recovery point.
pub(super) fn denied_by(point: &RecoveryPoint, segment: u64, batch: &ScannedBatch) -> Option<String> {
    let last = batch.header.last_offset() as u64;
    let below = (segment, batch.position) < (point.segment, point.position);
    let denied = below && last >= point.offset;
    denied
        .then(|| format!("a batch up to offset {last}, below the recovery point of offset {}", point.offset))
}

impl WalkStop {
    /// Segment and position.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.segment, self.position)
    }

    /// What is there has been on the device.
    pub(super) fn is_below(&self, point: &RecoveryPoint) -> bool {
        self.place() < (point.segment, point.position)
    }
}

/// A place in a partition, between two batches.
pub(super) struct Walk {
    files: Arc<dyn FileSystem>,
    folder: PathBuf,
    manifest: PartitionManifest,
    bases: Vec<u64>,
    /// Files that do not have their names yet, and what is behind them.
    aside: Vec<Aside>,
    /// Which of `bases`.
    at: usize,
    position: u64,
    check: BatchCheck,
    scan: Option<Scan>,
}

/// A file of a segment that waits for its name.
type Aside = (u64, FileKind, &'static str);

/// Why a walk went no further.
#[derive(Clone, Debug)]
pub(super) struct WalkStop {
    /// Base offset of the segment it stands in.
    pub(super) segment: u64,
    /// The position there.
    pub(super) position: u64,
    /// The offset expected next.
    pub(super) offset: u64,
    /// What is wrong there; nothing at the end of what has been written.
    pub(super) why: Option<String>,
    /// It is the last segment.
    pub(super) last: bool,
    /// The length of the segment's file.
    pub(super) file_len: u64,
}

impl Walk {
    /// A walk from the start of the log. `None` if the partition's folder has no manifest.
    pub(super) fn new(files: &Arc<dyn FileSystem>, folder: &Path) -> Result<Option<Walk>> {
        let Some(manifest) = PartitionManifest::load(&**files, folder)? else { return Ok(None) };
        Walk::over(files, folder, manifest).map(Some)
    }

    /// A walk from the start of the log by this manifest.
    pub(super) fn over(
        files: &Arc<dyn FileSystem>,
        folder: &Path,
        manifest: PartitionManifest,
    ) -> Result<Walk> {
        let (bases, aside) = segments_in(&**files, folder, &manifest)?;
        let first = bases.first().copied().unwrap_or(manifest.log_start);
        let check = BatchCheck { next_offset: first, gaps: manifest.compacted, leader_epoch: -1 };
        let (files, folder) = (files.clone(), folder.to_path_buf());
        Ok(Walk { files, folder, manifest, bases, aside, at: 0, position: 0, check, scan: None })
    }

    /// Begins at the start of the segment that holds `offset`.
    pub(super) fn seek_segment(&mut self, offset: u64) {
        let after = self.bases.partition_point(|&base| base <= offset);
        self.begin_segment(after.saturating_sub(1));
    }

    /// The partition's manifest.
    pub(super) fn manifest(&self) -> &PartitionManifest {
        &self.manifest
    }

    /// Base offsets of the segments.
    pub(super) fn bases(&self) -> &[u64] {
        &self.bases
    }

    /// The path of a file of a segment.
    pub(super) fn path(&self, kind: FileKind, base: u64) -> PathBuf {
        let path = kind.path(&self.folder, base);
        let aside = self.aside.iter().find(|(of, its, _)| *of == base && *its == kind);
        aside.map_or(path.clone(), |(_, _, suffix)| with_suffix(&path, suffix))
    }

    /// Base offset of the segment it stands in.
    pub(super) fn segment(&self) -> u64 {
        self.bases.get(self.at).copied().unwrap_or(self.check.next_offset)
    }

    /// The next batch, or why there is none now; asking again looks again.
    pub(super) fn next(&mut self) -> Result<std::result::Result<ScannedBatch, WalkStop>> {
        loop {
            let Some(&base) = self.bases.get(self.at) else { return self.before_any_segment() };
            let mut scan = match self.scan.take() {
                Some(scan) => scan,
                None => self.open_scan(base)?,
            };
            let step = scan.next().map_err(|e| self.read_error(base, e))?;
            match step {
                Ok(batch) if self.is_cut_off(&batch) => {
                    if let ControlFlow::Break(stop) = self.end_of_segment(base, None, scan.position())? {
                        return Ok(Err(stop));
                    }
                }
                Ok(batch) => {
                    if let Some(why) = self.reaches_beyond(&batch)? {
                        return self.stop_before(&batch, why).map(Err);
                    }
                    (self.position, self.check) = (scan.position(), scan.check());
                    self.scan = Some(scan);
                    return Ok(Ok(batch));
                }
                Err(stop) => {
                    let why = match stop {
                        Stop::Bad(why) => Some(why),
                        Stop::End | Stop::Zeros => None,
                    };
                    if let ControlFlow::Break(stop) = self.end_of_segment(base, why, scan.position())? {
                        return Ok(Err(stop));
                    }
                }
            }
        }
    }

    /// Bytes of the log's files, as long as they are now.
    pub(super) fn size(&self) -> Result<u64> {
        self.bases.iter().map(|&base| self.size_of(base)).sum()
    }

    /// Opens the log file of a segment for reading.
    pub(super) fn open_log(&self, base: u64) -> Result<Arc<dyn File>> {
        let path = self.path(FileKind::Log, base);
        let named = FileKind::Log.path(&self.folder, base);
        let opened = match self.files.open(&path, OpenMode::Read) {
            // A broker has given it its name meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && path != named => {
                self.files.open(&named, OpenMode::Read)
            }
            opened => opened,
        };
        opened.map_err(|e| Error::io("open a segment", &path, e))
    }

    fn size_of(&self, base: u64) -> Result<u64> {
        self.open_log(base)?.size().map_err(|e| self.read_error(base, e))
    }

    fn open_scan(&self, base: u64) -> Result<Scan> {
        let file = self.open_log(base)?;
        let size = file.size().map_err(|e| self.read_error(base, e))?;
        Ok(Scan::new(file, self.position, size.max(self.position), self.check))
    }

    fn read_error(&self, base: u64, error: std::io::Error) -> Error {
        Error::io("read a segment", &self.path(FileKind::Log, base), error)
    }

    /// The batch lies behind a truncation, whose segment begins below its offset.
    fn is_cut_off(&self, batch: &ScannedBatch) -> bool {
        let next = self.bases.get(self.at + 1);
        next.is_some_and(|next| {
            self.manifest.overlaps.contains(next) && batch.header.base_offset as u64 >= *next
        })
    }

    /// The batch has offsets of the next segment: its base offset is damaged, where gaps keep that from being seen.
    fn reaches_beyond(&mut self, batch: &ScannedBatch) -> Result<Option<String>> {
        let last = batch.header.last_offset() as u64;
        let beyond = |walk: &Walk| walk.bases.get(walk.at + 1).copied().filter(|&next| last >= next);
        if beyond(self).is_some() {
            // Unless an exchange has taken that one away meanwhile.
            self.look_for_segments()?;
        }
        Ok(beyond(self)
            .map(|next| format!("a batch up to offset {last}, but the next segment begins at {next}")))
    }

    /// The walk ends before this batch.
    pub(super) fn stop_before(&self, batch: &ScannedBatch, why: String) -> Result<WalkStop> {
        let segment = self.segment();
        Ok(WalkStop {
            segment,
            position: batch.position,
            offset: batch.header.base_offset as u64,
            why: Some(why),
            last: self.bases.last() == Some(&segment),
            file_len: self.size_of(segment)?,
        })
    }

    /// The segment gives no more: on to the next one, if there is one and it follows.
    fn end_of_segment(
        &mut self,
        base: u64,
        why: Option<String>,
        position: u64,
    ) -> Result<ControlFlow<WalkStop>> {
        self.position = position;
        let was_last = self.at + 1 >= self.bases.len();
        self.look_for_segments()?;
        let next = self.bases.get(self.at + 1).copied();
        if was_last && next.is_some() {
            // A broker has gone on here, too, before it began the next one: what was read may be from before.
            return Ok(ControlFlow::Continue(()));
        }
        let expected = self.check.next_offset;
        let why = match next {
            Some(next) if why.is_none() && self.follows(next) => {
                self.check.next_offset = next;
                self.at += 1;
                self.position = 0;
                return Ok(ControlFlow::Continue(()));
            }
            Some(next) if why.is_none() => {
                Some(format!("offset {expected} is expected next, but the next segment begins at {next}"))
            }
            _ => why,
        };
        let last = next.is_none();
        let (offset, file_len) = (expected, self.size_of(base)?);
        Ok(ControlFlow::Break(WalkStop { segment: base, position, offset, why, last, file_len }))
    }

    fn follows(&self, next: u64) -> bool {
        next == self.check.next_offset || (self.manifest.compacted && next > self.check.next_offset)
    }

    /// A broker may have begun new segments meanwhile.
    fn look_for_segments(&mut self) -> Result<()> {
        let here = self.segment();
        let (mut bases, aside) = segments_in(&*self.files, &self.folder, &self.manifest)?;
        self.aside = aside;
        bases.retain(|&base| base >= here);
        if bases.first() != Some(&here) {
            bases.insert(0, here);
        }
        self.bases.truncate(self.at);
        self.bases.extend(bases);
        Ok(())
    }

    fn before_any_segment(&mut self) -> Result<std::result::Result<ScannedBatch, WalkStop>> {
        let offset = self.check.next_offset;
        let stop = WalkStop { segment: offset, position: 0, offset, why: None, last: true, file_len: 0 };
        let (bases, aside) = segments_in(&*self.files, &self.folder, &self.manifest)?;
        if bases.is_empty() {
            return Ok(Err(stop));
        }
        (self.bases, self.aside) = (bases, aside);
        self.begin_segment(0);
        self.next()
    }

    fn begin_segment(&mut self, at: usize) {
        (self.at, self.position, self.scan) = (at, 0, None);
        if let Some(&base) = self.bases.get(at) {
            self.check.next_offset = base;
        }
    }
}

/// Base offsets of the segments in a folder, ascending, and the files of them that wait for their names. Those that
/// a truncation has begun to delete do not count, nor do those that a compacted one takes the place of.
fn segments_in(
    files: &dyn FileSystem,
    folder: &Path,
    manifest: &PartitionManifest,
) -> Result<(Vec<u64>, Vec<Aside>)> {
    let entries = files.list(folder).map_err(|e| Error::io("list a partition's folder", folder, e))?;
    let (mut bases, mut aside) = (Vec::new(), Vec::new());
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        match SegmentFileName::parse(&entry.name) {
            SegmentFileName::Live(base, FileKind::Log) => bases.push(base),
            SegmentFileName::Entering(base) => {
                bases.push(base);
                aside.push((base, FileKind::Log, "entering"));
            }
            SegmentFileName::Swap(base, kind) if manifest.swap.is_some_and(|swap| swap.from == base) => {
                aside.push((base, kind, "swap"));
                if kind == FileKind::Log {
                    bases.push(base);
                }
            }
            _ => {}
        }
    }
    bases.retain(|&base| manifest.truncation.is_none_or(|to| base < to));
    bases.retain(|&base| manifest.swap.is_none_or(|swap| base <= swap.from || base >= swap.to));
    bases.sort_unstable();
    bases.dedup();
    Ok((bases, aside))
}
