//! How a log ends: closed, deleted with its topic, or poisoned by an error of the disk.
//!
//! Invariants
//! - After a failed write or sync nothing more is acknowledged, and nothing above the flushed offset is lent; a
//!   full disk is no such failure.
//! - Whoever waits is woken, and told why.
//! - Readers read to the end what there is before they are told.

use super::appender::Appender;
use super::log::Log;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::Ordering;

impl Log {
    /// Takes note of a failure. A full disk is no poison; anything else is.
    pub(super) fn fail(&self, error: Error) -> Error {
        let error = error.in_partition(&self.tp);
        let harmless =
            matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::Poisoned | ErrorKind::Closed);
        if !harmless {
            self.poison_by(&error);
        }
        error
    }

    /// As [`fail`](Self::fail), where even a full disk leaves something half done that only an opening ends.
    pub(super) fn fail_for_good(&self, error: Error) -> Error {
        let error = error.in_partition(&self.tp);
        self.poison_by(&error);
        error
    }

    fn poison_by(&self, error: &Error) {
        self.poison.set(error);
        self.marks.cap_at_flushed();
        self.append.lock().stop();
        self.wake_everybody();
    }

    /// Nothing will come that a reader cannot see by now; tells everybody who waits.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake_everybody();
    }

    /// Whether the log has ended. Who has found nothing before asking must look once more.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Why readers have nothing to wait for: the log is poisoned, or has ended.
    pub(crate) fn check_going_on(&self) -> Result<()> {
        self.poison.check(&self.tp)?;
        if self.has_ended() { self.check_open() } else { Ok(()) }
    }

    /// Why nothing new will come: the log is poisoned or closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.poison.check(&self.tp)?;
        self.append.lock().closed_error(&self.tp).map_or(Ok(()), Err)
    }

    /// Whether it has been closed or given up.
    pub(crate) fn is_closed(&self) -> bool {
        self.append.lock().closed_error(&self.tp).is_some()
    }

    /// Whether a write or sync has failed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Closes the partition without a flush: what is staged is lost, everybody who waits is told.
    pub(crate) fn abandon(&self) {
        self.give_up(Appender::close);
    }

    /// The same, as the topic is deleted.
    pub(crate) fn delete(&self) {
        self.give_up(Appender::delete);
    }

    fn give_up(&self, stop: impl FnOnce(&mut Appender)) {
        let taken = {
            let mut appender = self.append.lock();
            stop(&mut appender);
            appender.staging_mut().map_or(0, super::staging::Staging::discard)
        };
        if taken > 0 {
            self.budget.give_back(taken);
        }
        self.end();
    }
}
