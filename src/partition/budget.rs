//! Bounded memory for staged batches, shared by all partitions of a broker.
//!
//! Invariant: what is taken is given back exactly once, when the batch has been written or dropped.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, WaitList};

/// Bytes of staging memory.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    used: AtomicU64,
    room: WaitList,
    /// Memory of batches that have been written, for the next ones.
    spare: Mutex<Vec<Vec<u8>>>,
}

/// The most buffers kept: batches that are under construction or on their way at once.
const KEPT: usize = 16;
/// A buffer that grew beyond this many bytes is not kept.
const KEPT_SIZE: usize = 256 << 10;

impl Budget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Budget {
        Budget { limit, used: AtomicU64::new(0), room: WaitList::new(), spare: Mutex::new(Vec::new()) }
    }

    /// Takes `bytes`, if there is room; one taker alone may exceed the limit, so that a record larger
    /// than the whole budget still passes.
    pub(crate) fn try_take(&self, bytes: u64) -> bool {
        let take = |used: u64| (used == 0 || used + bytes <= self.limit).then_some(used + bytes);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// Gives `bytes` back.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.room.notify_after_publish();
    }

    /// Bytes taken.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire)
    }

    /// The limit, in bytes.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Memory for a batch, of an earlier one if there is any at hand. Never waits.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.spare.try_lock().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    /// Keeps the memory of a batch, unless there is enough.
    pub(crate) fn keep_buffer(&self, buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > KEPT_SIZE {
            return;
        }
        let mut spare = self.spare.lock();
        if spare.len() < KEPT {
            spare.push(buffer);
        }
    }

    /// Who waits for room.
    pub(crate) fn waiters(&self) -> &WaitList {
        &self.room
    }
}
