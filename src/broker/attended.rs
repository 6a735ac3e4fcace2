//! What a partition asks of the background, remembered once however often it asks.
//!
//! ```text
//!   Log -- flush_soon / prepare_soon / due_at --> Attended --> Service (queues, timers)
//!    ^-------------------- Weak ------------------+
//! ```
//!
//! Invariants
//! - A request is forgotten before it is served, so that one made meanwhile is served again.
//! - A partition has one timer, the earliest asked for; `due` changes only under the service's lock of timers.
//! - The background never keeps a partition alive by itself.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::points::PartitionKey;
use super::service::{Job, Service};
use crate::cleaner::{due, retain};
use crate::config::Durability;
use crate::error::{ErrorKind, Result};
use crate::partition::{Attendant, Log, RecoveryPoint};

/// No timer is set.
pub(super) const NEVER: u64 = u64::MAX;
/// After a full disk the next attempt comes this much later, should nobody append before.
const RETRY: Duration = Duration::from_millis(250);
/// When so many bytes have been flushed since the last recovery point, the next one is made at once: opening after
/// a crash writes again what lies above it.
const POINT_EVERY: u64 = 8 << 20;

/// The attendant of one partition.
pub(crate) struct Attended {
    me: Weak<Attended>,
    /// Tells it from the broker's other ones.
    number: u64,
    service: Arc<Service>,
    log: OnceLock<Weak<Log>>,
    /// Which partition.
    key: PartitionKey,
    /// It has a recovery point: it is no volatile one.
    lasts: bool,
    /// It has been flushed since its recovery point was asked for.
    flushed: AtomicBool,
    /// A recovery point of its own has been asked for.
    point_asked: AtomicBool,
    flush_asked: AtomicBool,
    prepare_asked: AtomicBool,
    /// The earliest timer, in nanoseconds of the monotonic clock.
    due: AtomicU64,
}

impl Attended {
    /// The attendant of a partition that is about to be opened.
    pub(crate) fn new(service: &Arc<Service>, key: PartitionKey, lasts: bool) -> Arc<Attended> {
        Arc::new_cyclic(|me| Attended {
            me: me.clone(),
            number: service.next_number(),
            service: service.clone(),
            log: OnceLock::new(),
            key,
            lasts,
            flushed: AtomicBool::new(false),
            point_asked: AtomicBool::new(false),
            flush_asked: AtomicBool::new(false),
            prepare_asked: AtomicBool::new(false),
            due: AtomicU64::new(NEVER),
        })
    }

    /// The partition is open: from now on it is served.
    pub(crate) fn attach(&self, log: &Arc<Log>) {
        let _ = self.log.set(Arc::downgrade(log));
        self.due_at(self.service.now());
        // What has been recovered is a reason for a new point, too.
        self.flushed(0);
    }

    /// Which partition.
    pub(super) fn key(&self) -> PartitionKey {
        self.key
    }

    /// The recovery point, if it has moved; none of a partition that is closed, or of a deleted topic.
    pub(super) fn checkpoint(&self) -> Result<Option<RecoveryPoint>> {
        self.flushed.store(false, Ordering::Release);
        self.point()
    }

    /// As [`checkpoint`](Self::checkpoint), ahead of the other partitions; it stays noted as flushed.
    pub(super) fn checkpoint_ahead(&self) -> Result<Option<RecoveryPoint>> {
        self.point_asked.store(false, Ordering::Release);
        self.point()
    }

    /// The recovery point that was asked for is not made now: it may be asked for again.
    pub(super) fn no_point(&self) {
        self.point_asked.store(false, Ordering::Release);
    }

    fn point(&self) -> Result<Option<RecoveryPoint>> {
        let Some(log) = self.log() else { return Ok(None) };
        match log.checkpoint() {
            // It is closed, or deleted with its topic, meanwhile perhaps: who asks for all points asks for others'.
            Err(_) if log.is_closed() => Ok(None),
            Err(e) => {
                // Only a full disk lets it be tried again.
                if e.kind() == ErrorKind::StorageFull {
                    self.flushed(0);
                }
                Err(e)
            }
            point => point,
        }
    }

    /// This recovery point is on the device.
    pub(super) fn point_stored(&self, point: &RecoveryPoint) {
        if let Some(log) = self.log() {
            log.point_stored(point.segment);
        }
    }

    /// Tells it from the broker's other ones.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// When its timer fires, in nanoseconds of the monotonic clock; `NEVER` if none is set.
    pub(super) fn due(&self) -> u64 {
        self.due.load(Ordering::Acquire)
    }

    /// Its timer has been set, or has fired; the caller holds the lock of timers.
    pub(super) fn set_due(&self, nanos: u64) {
        self.due.store(nanos, Ordering::Release);
    }

    /// Somebody waits: brings what is staged as far as the topic's level asks.
    pub(super) fn flush(&self) -> Result<()> {
        unless_closed(self.try_flush())
    }

    fn try_flush(&self) -> Result<()> {
        self.flush_asked.store(false, Ordering::Release);
        // Who closes a log flushes it.
        let Some(log) = self.log().filter(|log| !log.is_closed()) else { return Ok(()) };
        let wanted = log.take_flush_wanted();
        let done = match log.settings().durability {
            Durability::Sync => log.flush(),
            _ if wanted => log.flush(),
            _ => log.seal_and_write(),
        };
        if wanted && is_full(&done) {
            log.want_flush();
        }
        self.retry_if_full(done)?;
        // An interval that has run out is a flush that somebody waits for, too.
        self.tick()
    }

    /// Allocates and prefaults ahead of the writer.
    pub(super) fn prepare(&self) -> Result<()> {
        self.prepare_asked.store(false, Ordering::Release);
        let Some(log) = self.log() else { return Ok(()) };
        unless_closed(log.prepare_ahead())
    }

    /// Does what is due, and sets the next timer.
    pub(super) fn tick(&self) -> Result<()> {
        unless_closed(self.try_tick())
    }

    fn try_tick(&self) -> Result<()> {
        let Some(log) = self.log().filter(|log| !log.is_closed()) else { return Ok(()) };
        self.flush_if_wanted(&log)?;
        match log.tick(self.service.now()) {
            Ok(next) => {
                if let Some(next) = next {
                    self.due_at(next);
                }
                self.retain(&log)
            }
            Err(error) => self.retry_if_full(Err(error)),
        }
    }

    /// Somebody waits for a flush that the disk had no room for.
    fn flush_if_wanted(&self, log: &Log) -> Result<()> {
        if !log.take_flush_wanted() {
            return Ok(());
        }
        let done = log.flush();
        if is_full(&done) {
            log.want_flush();
        }
        self.retry_if_full(done)
    }

    /// Lets go of what the topic's retention does not keep.
    fn retain(&self, log: &Log) -> Result<()> {
        // Where groups count, only the broker knows how far they are.
        if log.is_poisoned() || log.settings().keep_unread.is_some() {
            return Ok(());
        }
        let next = if self.service.paces_retention() {
            let due = due(log, None)?;
            if !due.segments.is_empty() {
                self.service.ask_to_retain();
            }
            due.next
        } else {
            retain(log)?
        };
        if let Some(left) = next {
            self.due_at(self.service.now().saturating_add(left));
        }
        Ok(())
    }

    fn log(&self) -> Option<Arc<Log>> {
        self.log.get().and_then(Weak::upgrade)
    }

    fn retry_if_full(&self, done: Result<()>) -> Result<()> {
        if is_full(&done) {
            self.due_at(self.service.now() + RETRY);
        }
        done
    }
}

impl Attendant for Attended {
    fn flush_soon(&self) {
        if self.flush_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            self.service.ask(Job::Flush(me));
        }
    }

    fn flushed(&self, above_point: u64) {
        if !self.lasts {
            return;
        }
        let me = || self.me.upgrade();
        if !self.flushed.swap(true, Ordering::AcqRel) {
            me().into_iter().for_each(|me| self.service.note_flushed(me));
        }
        if above_point >= POINT_EVERY && !self.point_asked.swap(true, Ordering::AcqRel) {
            me().into_iter().for_each(|me| self.service.ask(Job::Point(me)));
        }
    }

    fn prepare_soon(&self) {
        if self.prepare_asked.load(Ordering::Relaxed) || self.prepare_asked.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            self.service.ask_to_prepare(me);
        }
    }

    fn close_idle_soon(&self) {
        self.service.ask_to_close();
    }

    fn close_idle_now(&self) {
        // A partition whose flush fails is poisoned, and says so to its own callers.
        let _ = self.service.close_idle();
    }

    fn due_at(&self, when: Duration) {
        let nanos = nanos(when);
        if self.due() <= nanos {
            return;
        }
        if let Some(me) = self.me.upgrade() {
            self.service.set_timer(nanos, me);
        }
    }
}

/// Of a partition that is closed, or whose topic is deleted, nothing is due any more, though somebody still has it.
fn unless_closed(done: Result<()>) -> Result<()> {
    done.or_else(|e| if e.kind() == ErrorKind::Closed { Ok(()) } else { Err(e) })
}

fn is_full(done: &Result<()>) -> bool {
    done.as_ref().is_err_and(|e| e.kind() == ErrorKind::StorageFull)
}

fn nanos(when: Duration) -> u64 {
    // 584 years of uptime fit; NEVER stays free.
    u64::try_from(when.as_nanos()).unwrap_or(NEVER).min(NEVER - 1)
}

impl fmt::Debug for Attended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attended").field("due", &self.due).finish_non_exhaustive()
    }
}
