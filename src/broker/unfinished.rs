//! Files that something begun and not finished has left in a partition's folder: what they are, and what an opening does
//! with them.
//!
//! ```text
//!   NAME.deleted   NAME.cleaned   NAME.tmp     removed
//!   BASE.log.swap, ...                         put in place where the manifest records the exchange, else removed;
//!                                              before, a repair that makes the manifest anew records what had begun
//!   BASE.log.entering                          renamed to BASE.log
//! ```
//!
//! Invariant: it says what `partition/open.rs` does; a test holds one against the other.

use std::path::{Path, PathBuf};

use crate::env::FileSystem;
use crate::error::{Error, Result};
use crate::partition::PartitionManifest;
use crate::segment::SegmentFileName;

/// What such a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Unfinished {
    Deleted,
    Cleaned,
    Swap,
    Entering,
    Temporary,
}

impl Unfinished {
    /// Every kind.
    const ALL: [Unfinished; 5] = [
        Unfinished::Deleted,
        Unfinished::Cleaned,
        Unfinished::Swap,
        Unfinished::Entering,
        Unfinished::Temporary,
    ];

    /// What a file of this name is, if it is such a one.
    pub(super) fn of(name: &str) -> Option<Unfinished> {
        match SegmentFileName::parse(name) {
            SegmentFileName::Entering(_) => Some(Unfinished::Entering),
            SegmentFileName::Swap(..) => Some(Unfinished::Swap),
            SegmentFileName::Leftover if name.ends_with(".deleted") => Some(Unfinished::Deleted),
            SegmentFileName::Leftover if name.ends_with(".cleaned") => Some(Unfinished::Cleaned),
            SegmentFileName::Leftover => Some(Unfinished::Temporary),
            SegmentFileName::Live(..) | SegmentFileName::Other => None,
        }
    }

    /// What it is, and what the next opening does with it, by its name alone.
    pub(super) fn fate(self) -> &'static str {
        match self {
            Unfinished::Deleted => "of a segment on its way out: the next opening deletes it",
            Unfinished::Cleaned => "of a compaction that did not end: the next opening deletes it",
            Unfinished::Swap => {
                "of a compacted segment, whole: the next opening puts it in its place if the partition's manifest \
                 records the exchange, and deletes it if not"
            }
            Unfinished::Entering => {
                "of a segment that a recovery was entering into its folder anew: the next opening gives it its name"
            }
            Unfinished::Temporary => "written to replace another, and not whole: the next opening deletes it",
        }
    }

    /// The same, for one that is known to be recorded, or not.
    fn fate_in(self, recorded: bool) -> &'static str {
        match self {
            Unfinished::Swap if recorded => {
                "of a compacted segment, whole and recorded: the next opening puts it in the place of those it was \
                 made from"
            }
            Unfinished::Swap => {
                "of a compacted segment that was not decided on: the next opening deletes it, and loses nothing"
            }
            other => other.fate(),
        }
    }
}

/// What is left in a folder, one line for each kind of file: the first of them, and what they are.
pub(super) fn left_in(
    files: &dyn FileSystem,
    folder: &Path,
    manifest: &PartitionManifest,
) -> Result<Vec<(PathBuf, String)>> {
    let entries = files.list(folder).map_err(|e| Error::io("list a partition's folder", folder, e))?;
    let mut left = Vec::new();
    for kind in Unfinished::ALL {
        let is_such = |name: &&str| Unfinished::of(name) == Some(kind);
        let names: Vec<&str> = entries.iter().map(|entry| &*entry.name).filter(is_such).collect();
        let Some(first) = names.first() else { continue };
        let fate = kind.fate_in(manifest.swap.is_some());
        let what = match names.len() {
            1 => format!("a file {fate}"),
            count => format!("the first of {count} files, each {fate}"),
        };
        left.push((folder.join(first), what));
    }
    Ok(left)
}

/// What a recorded exchange of segments means for the next opening; `Err` says what is missing for it.
pub(super) fn exchange(
    files: &dyn FileSystem,
    folder: &Path,
    manifest: &PartitionManifest,
) -> Result<Option<std::result::Result<String, String>>> {
    let Some(range) = manifest.swap else { return Ok(None) };
    let entries = files.list(folder).map_err(|e| Error::io("list a partition's folder", folder, e))?;
    let is_log = |name: &str| match SegmentFileName::parse(name) {
        SegmentFileName::Swap(base, kind) | SegmentFileName::Live(base, kind) => {
            base == range.from && kind == crate::segment::FileKind::Log
        }
        _ => false,
    };
    let (from, to) = (range.from, range.to);
    if entries.iter().any(|entry| is_log(&entry.name)) {
        let why = format!("segments from offset {from} up to {to} were being exchanged for a compacted one");
        return Ok(Some(Ok(format!("{why}: the next opening finishes that"))));
    }
    let why = format!("the segment at offset {from} that compaction has made is missing");
    Ok(Some(Err(format!("{why}; those that it was made from are not the log any more"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_was_not_finished() {
        let name = |suffix: &str| format!("00000000000000000007.{suffix}");
        assert_eq!(Unfinished::of(&name("log")), None);
        assert_eq!(Unfinished::of(&name("log.deleted")), Some(Unfinished::Deleted));
        assert_eq!(Unfinished::of(&name("timeindex.cleaned")), Some(Unfinished::Cleaned));
        assert_eq!(Unfinished::of(&name("index.swap")), Some(Unfinished::Swap));
        assert_eq!(Unfinished::of(&name("log.entering")), Some(Unfinished::Entering));
        assert_eq!(Unfinished::of("millpond.partition.tmp"), Some(Unfinished::Temporary));
        assert_eq!(Unfinished::of("millpond.partition.previous"), None);
    }
}
