//! How much of a segment is on the device.
//!
//! ```text
//!   0 ............. below ............. published
//!     a completed      written, or stored
//!     sync covers it   through the map
//! ```
//!
//! Invariants
//! - `below` rises after a sync that has succeeded, and never falls: what it covers is never written again.
//! - After a sync that has failed there is no other one, here or through another descriptor: the system may have told
//!   one caller only.
//! - Nothing is durable while a sync runs, while the file's cut waits for one, or before the side files of a segment
//!   that grows no more are written.

use super::prepare::Way;
use super::segment::Segment;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Of which bytes, files and cuts the device knows.
#[derive(Debug)]
pub(super) struct OnDevice {
    below: AtomicU64,
    /// The file has been cut since the last sync.
    cut: AtomicBool,
    /// The segment grows no more, and its end has not been cut or its side files not been written yet.
    unfinished: AtomicBool,
    /// The index files have been written to since their last sync.
    index_behind: AtomicBool,
    /// A sync has failed; held while one runs.
    failed: Mutex<Option<Error>>,
}

impl OnDevice {
    /// Everything below is there.
    pub(super) fn below(position: u64) -> OnDevice {
        OnDevice {
            below: AtomicU64::new(position),
            cut: AtomicBool::new(false),
            unfinished: AtomicBool::new(false),
            index_behind: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// Whether a completed sync covers everything up to `end`, and nothing has been cut since. A sync that
    /// runs has not completed.
    pub(super) fn covers(&self, end: u64) -> bool {
        let failed = self.failed.try_lock().is_none_or(|failed| failed.is_some());
        let below = self.below.load(Ordering::Acquire);
        !failed && !self.has_cut() && !self.is_unfinished() && below >= end
    }

    /// The file has been cut: that wants a sync, too.
    pub(super) fn note_cut(&self) {
        self.cut.store(true, Ordering::Release);
    }

    /// The file has been cut since the last sync.
    pub(super) fn has_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Whether the end of the segment, which grows no more, is still to be cut, or its side files to be written.
    pub(super) fn is_unfinished(&self) -> bool {
        self.unfinished.load(Ordering::Acquire)
    }

    /// The segment grows no more: its end is to be cut and its side files are to be written; or that has been done.
    pub(super) fn set_unfinished(&self, unfinished: bool) {
        self.unfinished.store(unfinished, Ordering::Release);
    }

    /// Whether the index files have been written to since their last sync.
    pub(super) fn is_index_behind(&self) -> bool {
        self.index_behind.load(Ordering::Acquire)
    }

    /// The index files have been written to; or a sync of them begins, which covers what has been written so far.
    pub(super) fn set_index_behind(&self, behind: bool) {
        self.index_behind.store(behind, Ordering::Release);
    }
}

impl Segment {
    /// Makes the log durable up to `position` at least; no call if it is already. One thread at a time, and
    /// never again after a failure. `way` is how the bytes since the last sync have come here.
    pub(crate) fn sync(&self, position: u64, way: Way) -> Result<()> {
        let mut failed = self.on_device.failed.lock();
        if let Some(earlier) = &*failed {
            let what = "could not sync a segment: an earlier sync of it has failed";
            return Err(Error::new(ErrorKind::Io, what).at_path(&self.log_path()).caused_by(earlier.again()));
        }
        if !self.on_device.has_cut() && self.synced() >= position {
            return Ok(());
        }
        let open = self.open()?;
        // Who cuts it from here on may come too late for this sync.
        self.on_device.cut.store(false, Ordering::Release);
        if let Err(e) = open.sync(self.synced()..position, way) {
            let error = Error::io("sync a segment", &self.log_path(), e);
            *failed = Some(error.again());
            return Err(error);
        }
        self.on_device.below.fetch_max(position, Ordering::AcqRel);
        Ok(())
    }

    /// Up to where a completed sync covers the log.
    pub(crate) fn synced(&self) -> u64 {
        self.on_device.below.load(Ordering::Acquire)
    }
}
