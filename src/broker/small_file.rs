//! The broker's own small files: where they are, and how they are read.
//!
//! ```text
//!   <data>/millpond.lock      the kernel's lock
//!          millpond.broker    who this broker is        (manifest.rs)
//!          millpond.points    recovery points           (points.rs)
//!          millpond.moved     those that have moved    (points_file.rs)
//!          millpond.clean     the clean-shutdown mark   (points.rs)
//!          millpond.producers ids of named producers    (producer_ids.rs)
//!          millpond.cells     tail cells                (cells.rs)
//!          <topic>.topic      what a topic is           (topic/manifest.rs)
//!          <topic>-<n>/       the partitions            (folders.rs)
//! ```
//!
//! Invariant: Kafka ignores these names, and no topic's file can bear one of them.

use std::path::Path;

use crate::env::{FileSystem, OpenMode, read_whole};
use crate::error::{Error, Result};
use crate::format::FormatError;

/// The lock.
pub(crate) const LOCK: &str = "millpond.lock";
/// The broker's manifest.
pub(crate) const BROKER: &str = "millpond.broker";
/// Recovery points.
pub(crate) const POINTS: &str = "millpond.points";
/// Recovery points that have moved since.
pub(crate) const MOVED: &str = "millpond.moved";
/// The clean-shutdown mark.
pub(crate) const CLEAN: &str = "millpond.clean";
/// Names of producers.
pub(crate) const PRODUCERS: &str = "millpond.producers";
/// Tail cells.
pub(crate) const CELLS: &str = "millpond.cells";

/// Kinds of sealed files; 2 and 3 are the topic's and the partition's.
pub(super) const KIND_BROKER: u16 = 1;
pub(super) const KIND_POINTS: u16 = 4;
pub(super) const KIND_CLEAN: u16 = 5;
pub(super) const KIND_PRODUCERS: u16 = 6;

/// 10,000 partitions of 1,000 topics take less.
const MAX_LEN: u64 = 1 << 30;

/// The content of a small file; `None` if there is no such file.
pub(crate) fn read(files: &dyn FileSystem, path: &Path) -> Result<Option<Vec<u8>>> {
    let read = files.open(path, OpenMode::Read).and_then(|file| read_whole(&*file, MAX_LEN));
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read a file", path, e)),
    }
}

/// What is wrong with the content of the file at `path`.
pub(super) fn unreadable(path: &Path, error: FormatError) -> Error {
    match error {
        FormatError::NewerVersion { .. } => Error::unsupported(error.to_string()).at_path(path),
        damage => Error::corrupted(path, 0, damage),
    }
}
