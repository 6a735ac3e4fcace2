//! What a member is told, and what it tells by polling.
//!
//! Invariants
//! - Mail is put in under the coordinator's lock, so that its order is the coordinator's.
//! - Looking whether there is any costs one load.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::group::Change;
use crate::partition::ReadCount;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, WaitList};
use crate::types::{Offset, TopicPartition};

/// A member's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Mutex<VecDeque<Change>>,
    has_mail: AtomicBool,
    interrupted: AtomicBool,
    /// In nanoseconds of the monotonic clock.
    last_poll: AtomicU64,
    /// A poll waits: whoever waits does not stall.
    waiting: AtomicBool,
    /// Who waits for mail.
    arrived: WaitList,
    /// How far it has read each partition that it has, for those who ask.
    reads: Mutex<BTreeMap<TopicPartition, Arc<ReadCount>>>,
}

impl Mailbox {
    pub(super) fn new(now: Duration) -> Mailbox {
        Mailbox {
            queue: Mutex::new(VecDeque::new()),
            has_mail: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            last_poll: AtomicU64::new(nanos(now)),
            waiting: AtomicBool::new(false),
            arrived: WaitList::new(),
            reads: Mutex::new(BTreeMap::new()),
        }
    }

    /// Puts a change in; `wake` follows when the coordinator's lock is free again.
    pub(super) fn put(&self, change: Change) {
        self.queue.lock().push_back(change);
        self.has_mail.store(true, Ordering::Release);
    }

    pub(super) fn wake(&self) {
        self.arrived.notify_after_publish();
    }

    pub(super) fn has_mail(&self) -> bool {
        self.has_mail.load(Ordering::Acquire)
    }

    pub(super) fn take(&self) -> Option<Change> {
        if !self.has_mail() {
            return None;
        }
        let mut queue = self.queue.lock();
        let change = queue.pop_front();
        if queue.is_empty() {
            self.has_mail.store(false, Ordering::Release);
        }
        change
    }

    pub(super) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) fn take_interrupt(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed) && self.interrupted.swap(false, Ordering::AcqRel)
    }

    pub(super) fn polled(&self, now: Duration) {
        self.last_poll.store(nanos(now), Ordering::Relaxed);
    }

    pub(super) fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// When it polled last: now, if it waits.
    pub(super) fn last_poll(&self, now: Duration) -> Duration {
        if self.waiting.load(Ordering::Relaxed) {
            return now;
        }
        Duration::from_nanos(self.last_poll.load(Ordering::Relaxed))
    }

    /// It reads this partition, and counts here.
    pub(super) fn reads(&self, tp: &TopicPartition, count: &Arc<ReadCount>) {
        self.reads.lock().insert(tp.clone(), count.clone());
    }

    /// It reads these partitions no more.
    pub(super) fn reads_no_more(&self, partitions: &[TopicPartition]) {
        let mut reads = self.reads.lock();
        for tp in partitions {
            reads.remove(tp);
        }
    }

    /// The offset that it reads next in a partition, if that is known.
    pub(super) fn position(&self, tp: &TopicPartition) -> Option<Offset> {
        self.reads.lock().get(tp).and_then(|count| count.position()).map(Offset::of)
    }

    pub(super) fn arrived(&self) -> &WaitList {
        &self.arrived
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
