//! Which exchange of segments a partition was about to finish, where its manifest cannot say so any more.
//!
//! ```text
//!   recorded | old ones, the last first: NAME.deleted | BASE.log.swap -> BASE.log | record cleared | unlinked
//!              ^ from here on something is missing that only BASE.log.swap has
//! ```
//!
//! Invariants
//! - Nothing is changed here.
//! - A compacted segment is taken only where one that it was made from has begun to leave: before that they are all
//!   there, and it has nothing that they do not have.
//! - It stands for all that it was made from: none of those counts beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::walk::Walk;
use crate::env::FileSystem;
use crate::error::{Error, Result};
use crate::partition::{PartitionManifest, SwapRange};
use crate::segment::{FileKind, SegmentFileName};

/// What a folder says without its manifest.
#[derive(Debug, Default)]
pub(super) struct FolderState {
    /// Base offset of the first segment, if there is one.
    pub(super) first: Option<u64>,
    /// The exchange that was recorded.
    pub(super) recorded: Option<SwapRange>,
    /// Logs of compacted segments that do not count.
    pub(super) undecided: Vec<PathBuf>,
}

/// What the files of a folder are called.
#[derive(Debug, Default)]
struct Names {
    live: Vec<u64>,
    /// Of segments that have begun to leave.
    leaving: Vec<u64>,
    swaps: Vec<u64>,
}

/// What a partition's folder says, of whose manifest only this is known.
pub(super) fn state_of(
    files: &Arc<dyn FileSystem>,
    folder: &Path,
    manifest: &PartitionManifest,
) -> Result<FolderState> {
    let names = Names::in_folder(&**files, folder)?;
    let mut state = FolderState { first: names.live.iter().min().copied(), ..FolderState::default() };
    for &base in &names.swaps {
        if state.recorded.is_none() && names.has_begun_at(base) {
            let end = end_of_swap(files, folder, manifest, base)?;
            state.recorded = Some(names.range(base, end));
            state.first = Some(state.first.map_or(base, |first| first.min(base)));
        } else {
            let path = FileKind::Log.path(folder, base);
            state.undecided.push(crate::env::with_suffix(&path, "swap"));
        }
    }
    Ok(state)
}

impl Names {
    fn in_folder(files: &dyn FileSystem, folder: &Path) -> Result<Names> {
        let entries = files.list(folder).map_err(|e| Error::io("list a partition's folder", folder, e))?;
        let mut names = Names::default();
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            match SegmentFileName::parse(&entry.name) {
                SegmentFileName::Live(base, FileKind::Log) | SegmentFileName::Entering(base) => {
                    names.live.push(base);
                }
                SegmentFileName::Swap(base, FileKind::Log) => names.swaps.push(base),
                SegmentFileName::Leftover => names.leaving.extend(leaving(&entry.name)),
                _ => {}
            }
        }
        names.swaps.sort_unstable();
        Ok(names)
    }

    /// Segments have begun to leave for the sake of the compacted one at this base: those of another beginning would lie
    /// below, or their exchange would be over.
    fn has_begun_at(&self, base: u64) -> bool {
        !self.live.contains(&base) || self.leaving.iter().any(|&of| of >= base)
    }

    /// What a compacted segment takes the place of, whose last offset is below `end`.
    fn range(&self, from: u64, end: u64) -> SwapRange {
        // The last one leaves first: nothing below it is any other than those.
        let last_gone = self.leaving.iter().copied().max().unwrap_or(from);
        let last = from.max(last_gone).max(end.saturating_sub(1));
        let behind = self.live.iter().copied().filter(|&base| base > last).min();
        SwapRange { from, to: behind.unwrap_or(last.saturating_add(1)) }
    }
}

/// The base offset of a segment that has begun to leave, if this is a file of one.
fn leaving(name: &str) -> Option<u64> {
    match SegmentFileName::parse(name.strip_suffix(".deleted")?) {
        SegmentFileName::Live(base, kind) if kind != FileKind::Snapshot => Some(base),
        _ => None,
    }
}

/// The offset behind the last batch of a compacted segment that waits for its place.
fn end_of_swap(
    files: &Arc<dyn FileSystem>,
    folder: &Path,
    manifest: &PartitionManifest,
    base: u64,
) -> Result<u64> {
    let mut manifest = manifest.clone();
    manifest.swap = Some(SwapRange { from: base, to: u64::MAX });
    let mut walk = Walk::over(files, folder, manifest)?;
    walk.seek_segment(base);
    loop {
        if let Err(stop) = walk.next()? {
            return Ok(stop.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(live: &[u64], leaving: &[u64]) -> Names {
        Names { live: live.to_vec(), leaving: leaving.to_vec(), swaps: Vec::new() }
    }

    #[test]
    fn it_has_begun_where_something_is_missing() {
        assert!(!names(&[0, 10, 20, 30], &[]).has_begun_at(0));
        assert!(names(&[0, 10, 30], &[20]).has_begun_at(0));
        assert!(names(&[30], &[0, 10, 20]).has_begun_at(0));
        assert!(names(&[30], &[]).has_begun_at(0));
        // Retention lets go of what lies before.
        assert!(!names(&[10, 20, 30], &[0]).has_begun_at(10));
    }

    #[test]
    fn none_of_what_it_was_made_from_counts_beside_it() {
        let to = |live: &[u64], leaving: &[u64], end| names(live, leaving).range(0, end).to;
        assert_eq!(to(&[0, 10, 30, 40], &[20], 5), 30);
        assert_eq!(to(&[10, 20, 30], &[0], 25), 30);
        assert_eq!(to(&[], &[0, 10], 25), 25);
        assert_eq!(to(&[], &[], 0), 1);
    }

    #[test]
    fn a_file_that_leaves_names_its_segment() {
        assert_eq!(leaving("00000000000000000007.index.deleted"), Some(7));
        assert_eq!(leaving("00000000000000000007.snapshot.deleted"), None);
        assert_eq!(leaving("00000000000000000007.log.cleaned"), None);
    }
}
