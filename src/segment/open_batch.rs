//! What readers must know of the batch that is being built in the map, before it has a header.
//!
//! A sequence lock of atomics: the writer invalidates, stores the fields, then stores the position that
//! they belong to; a reader takes the fields only if the position is the same before and after.
//!
//! ```text
//!   writer: at = NONE (release) | fence | fields | at = start (release)
//!   reader: at == start? (acquire) | fields | fence | at == start? (acquire)
//! ```

use crate::sync::atomic::{AtomicU64, Ordering, fence};

const NONE: u64 = u64::MAX;

/// The open batch of a segment, as its readers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenBatch {
    /// Position of its header.
    pub(crate) position: u64,
    /// Offset of its first record.
    pub(crate) base_offset: u64,
    /// Timestamp of its first record, in milliseconds.
    pub(crate) base_timestamp: i64,
    /// All timestamps are the append time of the batch.
    pub(crate) log_append_time: bool,
    /// Leader epoch.
    pub(crate) leader_epoch: i32,
}

/// The cell that publishes an [`OpenBatch`].
#[derive(Debug)]
pub(crate) struct OpenBatchCell {
    at: AtomicU64,
    base_offset: AtomicU64,
    base_timestamp: AtomicU64,
    flags: AtomicU64,
}

impl OpenBatchCell {
    /// No batch is open.
    pub(crate) fn new() -> OpenBatchCell {
        OpenBatchCell {
            at: AtomicU64::new(NONE),
            base_offset: AtomicU64::new(0),
            base_timestamp: AtomicU64::new(0),
            flags: AtomicU64::new(0),
        }
    }

    /// Publishes the batch about to be built; only the one writer calls this.
    pub(crate) fn set(&self, batch: OpenBatch) {
        // Release: who finds the last batch gone also finds that it has been sealed.
        self.at.store(NONE, Ordering::Release);
        fence(Ordering::Release);
        self.base_offset.store(batch.base_offset, Ordering::Relaxed);
        self.base_timestamp.store(batch.base_timestamp as u64, Ordering::Relaxed);
        let flags = (u64::from(batch.log_append_time) << 32) | u64::from(batch.leader_epoch as u32);
        self.flags.store(flags, Ordering::Relaxed);
        self.at.store(batch.position, Ordering::Release);
    }

    /// The batch open at `position`, or `None` if another one is open by now: then it has been sealed.
    pub(crate) fn get(&self, position: u64) -> Option<OpenBatch> {
        if self.at.load(Ordering::Acquire) != position {
            return None;
        }
        let base_offset = self.base_offset.load(Ordering::Relaxed);
        let base_timestamp = self.base_timestamp.load(Ordering::Relaxed) as i64;
        let flags = self.flags.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if self.at.load(Ordering::Acquire) != position {
            return None;
        }
        Some(OpenBatch {
            position,
            base_offset,
            base_timestamp,
            log_append_time: flags >> 32 != 0,
            leader_epoch: flags as u32 as i32,
        })
    }
}

#[cfg(all(test, loom))]
impl OpenBatchCell {
    /// A mutant for loom: the fields are stored while the position still names the batch before.
    pub(super) fn set_without_invalidation(&self, batch: OpenBatch) {
        self.base_offset.store(batch.base_offset, Ordering::Relaxed);
        self.base_timestamp.store(batch.base_timestamp as u64, Ordering::Relaxed);
        self.at.store(batch.position, Ordering::Release);
    }

    /// A mutant for loom: the position is looked at once.
    pub(super) fn get_without_second_look(&self, position: u64) -> Option<(u64, i64)> {
        if self.at.load(Ordering::Acquire) != position {
            return None;
        }
        let base_offset = self.base_offset.load(Ordering::Relaxed);
        Some((base_offset, self.base_timestamp.load(Ordering::Relaxed) as i64))
    }
}
