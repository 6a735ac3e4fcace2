//! Bounded memory for staged batches, shared by all partitions of a broker; or for all batches of one partition,
//! of a volatile topic, where those that have been written stay in memory.
//!
//! Invariant: what is taken is given back exactly once: when the batch has been written or dropped, or when its
//! segment is gone.

use crate::config::Overflow;
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
    /// Of a partition whose written batches stay in it.
    keeps: Option<Keeps>,
}

/// What may be let go of a partition in memory.
#[derive(Debug)]
pub(crate) struct Keeps {
    overflow: Overflow,
    /// Below this nobody needs the records any more.
    released: AtomicU64,
    /// Held by who lets segments go.
    pub(super) alone: Mutex<()>,
}

/// The most buffers kept: batches that are under construction or on their way at once.
const KEPT: usize = 16;
/// A buffer that grew beyond this many bytes is not kept: the largest batch that producers build.
const KEPT_SIZE: usize = 1 << 20;
/// Larger ones are for batches that are known to be large.
const SMALL_SIZE: usize = 256 << 10;
/// The most bytes kept.
const KEPT_BYTES: usize = 4 << 20;

impl Budget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Budget {
        let (used, room, spare) = (AtomicU64::new(0), WaitList::new(), Mutex::new(Vec::new()));
        Budget { limit, used, room, spare, keeps: None }
    }

    /// A budget of `limit` bytes for one partition, in which batches stay when they have been written.
    pub(crate) fn keeping(limit: u64, overflow: Overflow) -> Budget {
        let keeps = Keeps { overflow, released: AtomicU64::new(0), alone: Mutex::new(()) };
        Budget { keeps: Some(keeps), ..Budget::new(limit) }
    }

    /// What may be let go, if written batches stay in it.
    #[inline]
    pub(crate) fn keeps(&self) -> Option<&Keeps> {
        self.keeps.as_ref()
    }

    /// Whether `bytes` more can be taken now.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let used = self.used();
        used == 0 || used.saturating_add(bytes) <= self.limit
    }

    /// For what `taken` bytes were taken, `needed` are: more, at worst, by the header of a batch.
    pub(crate) fn change(&self, taken: u64, needed: u64) {
        if needed > taken {
            self.used.fetch_add(needed - taken, Ordering::AcqRel);
        } else {
            self.give_back(taken - needed);
        }
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
    #[cfg(test)]
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Memory for a batch, of an earlier one if there is any at hand. Never waits.
    pub(crate) fn take_buffer(&self) -> Vec<u8> {
        self.take_buffer_up_to(KEPT_SIZE)
    }

    /// The same, where the batch may stay small: a large buffer would be held by few records.
    pub(crate) fn take_small_buffer(&self) -> Vec<u8> {
        self.take_buffer_up_to(SMALL_SIZE)
    }

    fn take_buffer_up_to(&self, largest: usize) -> Vec<u8> {
        let Some(mut spare) = self.spare.try_lock() else { return Vec::new() };
        let fits = spare.iter().rposition(|buffer| buffer.capacity() <= largest);
        fits.map(|place| spare.swap_remove(place)).unwrap_or_default()
    }

    /// Keeps the memory of a batch, unless there is enough.
    pub(crate) fn keep_buffer(&self, buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > KEPT_SIZE {
            return;
        }
        let mut spare = self.spare.lock();
        let (most, bytes) = if self.keeps.is_some() { (1, KEPT_SIZE / 4) } else { (KEPT, KEPT_BYTES) };
        let kept: usize = spare.iter().map(Vec::capacity).sum();
        if spare.len() < most && kept + buffer.capacity() <= bytes {
            spare.push(buffer);
        }
    }

    /// Who waits for room.
    pub(crate) fn waiters(&self) -> &WaitList {
        &self.room
    }
}

impl Keeps {
    /// Everything below `floor` may go when room is needed.
    pub(crate) fn release(&self, floor: u64) {
        self.released.store(floor, Ordering::Release);
    }

    /// Below this everything may go.
    pub(crate) fn floor(&self) -> u64 {
        match self.overflow {
            Overflow::DropOldest => u64::MAX,
            Overflow::SendersWait => self.released.load(Ordering::Acquire),
        }
    }
}
