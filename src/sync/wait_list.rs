//! Who waits for the next publication: a list of wakers that costs the publisher one fence and one load
//! while nobody waits.
//!
//! The protocol, by which no wake-up is lost:
//!
//! ```text
//!   publisher                              waiter
//!   1  store the condition (Release)       1  register: count += 1, under the lock
//!   2  fence(SeqCst)                       2  fence(SeqCst), the last thing register does
//!   3  count == 0 ? done : wake_all        3  look at the condition again: true ? go on : Pending
//! ```
//!
//! One of the two fences comes first in their single total order. If it is the publisher's, the waiter's
//! look in step 3 sees the condition; if it is the waiter's, the publisher's look in step 3 sees the count.
//! Both may happen (a wake-up too many, which is harmless), but never neither.
//!
//! Invariants
//! - `count` is the number of registered wakers; it changes only under the lock, and is read without it.
//! - A registration lasts until the next `wake_all`, which ends the *round*: it takes all wakers, and every
//!   key of that round becomes void. Who finds the condition still false registers again.
//! - Within a round a slot is given away again only after its key, which cannot be copied, was cancelled.
//!   So a void key is told apart by its round alone.
//! - Wakers are cloned, woken and dropped outside the lock: they may call back into this list.

use std::task::Waker;

use super::Mutex;
use super::atomic::{AtomicUsize, Ordering, fence};

/// The wakers of those who wait for one condition.
#[derive(Debug)]
pub(crate) struct WaitList {
    count: AtomicUsize,
    slots: Mutex<Slots>,
}

/// A registration in a [`WaitList`], void after the next `wake_all`.
#[derive(Debug)]
pub(crate) struct WaitKey {
    round: u64,
    slot: usize,
}

#[derive(Debug)]
struct Slots {
    /// How many `wake_all` there were.
    round: u64,
    wakers: Vec<Option<Waker>>,
    /// The empty places in `wakers`.
    free: Vec<usize>,
    /// Storage of the last round, empty, so that rounds do not allocate.
    spare: Vec<Option<Waker>>,
}

impl WaitList {
    pub(crate) fn new() -> WaitList {
        WaitList {
            count: AtomicUsize::new(0),
            slots: Mutex::new(Slots { round: 0, wakers: Vec::new(), free: Vec::new(), spare: Vec::new() }),
        }
    }

    /// Asks to be woken at the next `wake_all`. A key that is still valid keeps its place and gets this
    /// waker; otherwise `key` becomes a new one.
    ///
    /// The caller looks at its condition again *after* this call and only then answers `Pending`.
    pub(crate) fn register(&self, key: &mut Option<WaitKey>, waker: &Waker) {
        self.insert(key, waker);
        // Step 2 of the waiter: orders the count before the caller's second look at its condition.
        fence(Ordering::SeqCst);
    }

    /// Ends a registration; a void key is no error.
    pub(crate) fn cancel(&self, key: WaitKey) {
        let removed = {
            let mut slots = self.slots.lock();
            let removed = slots.remove(&key);
            self.count.store(slots.len(), Ordering::Relaxed);
            removed
        };
        drop(removed);
    }

    /// Whether somebody waits. Decides about a wake-up only behind a `fence(SeqCst)` that follows the
    /// store of the condition; see [`notify_after_publish`](WaitList::notify_after_publish).
    #[inline]
    pub(crate) fn has_waiters(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// Wakes all who wait, if anybody does. Called after the store (at least Release) of the condition.
    #[inline]
    pub(crate) fn notify_after_publish(&self) {
        fence(Ordering::SeqCst);
        if self.has_waiters() {
            self.wake_all();
        }
    }

    /// Wakes all who wait and ends the round.
    #[cold]
    pub(crate) fn wake_all(&self) {
        let mut woken = {
            let mut slots = self.slots.lock();
            self.count.store(0, Ordering::Relaxed);
            slots.end_round()
        };
        for waker in woken.drain(..).flatten() {
            waker.wake();
        }
        self.slots.lock().keep_storage(woken);
    }

    /// Step 1 of the waiter, without its fence.
    fn insert(&self, key: &mut Option<WaitKey>, waker: &Waker) {
        if self.is_registered(key.as_ref(), waker) {
            return;
        }
        let fresh = waker.clone();
        let replaced = {
            let mut slots = self.slots.lock();
            let replaced = slots.put(key, fresh);
            self.count.store(slots.len(), Ordering::Relaxed);
            replaced
        };
        drop(replaced);
    }

    fn is_registered(&self, key: Option<&WaitKey>, waker: &Waker) -> bool {
        let Some(key) = key else { return false };
        let mut slots = self.slots.lock();
        slots.get_mut(key).is_some_and(|slot| slot.as_ref().is_some_and(|known| known.will_wake(waker)))
    }
}

impl Slots {
    /// How many wakers there are.
    fn len(&self) -> usize {
        self.wakers.len() - self.free.len()
    }

    /// The place of a key that is not void.
    fn get_mut(&mut self, key: &WaitKey) -> Option<&mut Option<Waker>> {
        if key.round != self.round {
            return None;
        }
        self.wakers.get_mut(key.slot).filter(|slot| slot.is_some())
    }

    /// Puts a waker into the place of its key, or into a new one; gives back the waker that was there.
    fn put(&mut self, key: &mut Option<WaitKey>, waker: Waker) -> Option<Waker> {
        if let Some(slot) = key.as_ref().and_then(|key| self.get_mut(key)) {
            return slot.replace(waker);
        }
        let slot = if let Some(slot) = self.free.pop() {
            self.wakers[slot] = Some(waker);
            slot
        } else {
            self.wakers.push(Some(waker));
            self.wakers.len() - 1
        };
        *key = Some(WaitKey { round: self.round, slot });
        None
    }

    fn remove(&mut self, key: &WaitKey) -> Option<Waker> {
        let removed = self.get_mut(key)?.take();
        self.free.push(key.slot);
        removed
    }

    fn end_round(&mut self) -> Vec<Option<Waker>> {
        self.round += 1;
        self.free.clear();
        let spare = std::mem::take(&mut self.spare);
        std::mem::replace(&mut self.wakers, spare)
    }

    /// Keeps emptied storage for the round after the next `end_round`.
    fn keep_storage(&mut self, empty: Vec<Option<Waker>>) {
        if empty.capacity() > self.spare.capacity() {
            self.spare = empty;
        }
    }
}

#[cfg(all(test, loom))]
impl WaitList {
    /// A mutant for loom: registers without the waiter's fence.
    pub(super) fn register_without_fence(&self, key: &mut Option<WaitKey>, waker: &Waker) {
        self.insert(key, waker);
    }

    /// A mutant for loom: looks for waiters without the publisher's fence.
    pub(super) fn notify_without_fence(&self) {
        if self.has_waiters() {
            self.wake_all();
        }
    }
}
