//! How a commit ends: decided by a durable record, given up, or unknown until the next opening.
//!
//! ```text
//!   record -> wait_recorded / poll_recorded -> decided           markers follow, offsets hold
//!      `-> refused: give_up (aborted)     `-> the disk failed: unknown
//! ```
//!
//! Invariant: offsets hold with the record, never before it.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::commit::CommitTask;
use super::service::TxnService;
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::TxnOutcome;
use crate::sync::WaitKey;

impl TxnService {
    /// Appends the commit record of a transaction whose records are durable; answers the end of it.
    pub(super) fn record(&self, task: &CommitTask) -> Result<u64> {
        let mut effects = Vec::new();
        let (id, holder) = (&task.session.id, task.holder);
        let decides = self.state.lock().coordinator.commit(id, holder, self.now(), &mut effects)?;
        if !decides {
            return Ok(0);
        }
        match self.carry_out(effects) {
            Ok(end) => Ok(end.unwrap_or(0)),
            Err(error) => {
                self.state.lock().coordinator.undecided(id, holder, self.now());
                Err(error)
            }
        }
    }

    pub(super) fn wait_recorded(&self, end: u64) -> Result<()> {
        if end == 0 { Ok(()) } else { self.state_log()?.wait_acked(end) }
    }

    pub(super) fn poll_recorded(
        &self,
        end: u64,
        context: &mut Context<'_>,
        key: &mut Option<WaitKey>,
    ) -> Poll<Result<()>> {
        match (end, self.state_log()) {
            (0, _) => Poll::Ready(Ok(())),
            (_, Ok(log)) => log.poll_acked(end, context, key),
            (_, Err(error)) => Poll::Ready(Err(error)),
        }
    }

    pub(super) fn cancel_recorded(&self, key: WaitKey) {
        if let Ok(log) = self.state_log() {
            log.cancel_acked(key);
        }
    }

    /// The commit record is durable.
    pub(super) fn decided(&self, task: &CommitTask) {
        let session = &task.session;
        let mut inner = session.state.lock();
        let mut effects = Vec::new();
        let decided = self.state.lock().coordinator.decided(&session.id, task.holder, &mut effects);
        let _ = self.carry_out(effects);
        let offsets = std::mem::take(&mut inner.offsets);
        self.groups.end_transaction(&offsets, TxnOutcome::Commit);
        let holder = decided.unwrap_or(inner.holder);
        inner.end(holder);
    }

    /// Nothing was decided: it is aborted.
    pub(super) fn give_up(&self, task: &CommitTask) {
        let mut inner = task.session.state.lock();
        self.abort_locked(&task.session, &mut inner);
    }

    /// Whether it was decided shows at the next opening.
    pub(super) fn unknown(&self, task: &CommitTask) {
        self.state.lock().coordinator.unknown(&task.session.id, task.holder);
        let id = &task.session.id;
        let why =
            format!("whether the transaction of {id} is committed shows when the broker is opened again");
        task.logs().for_each(|log| super::undecided::hold(log, task.holder, ErrorKind::Poisoned, &why));
        let mut inner = task.session.state.lock();
        let offsets = std::mem::take(&mut inner.offsets);
        self.groups.hold_transaction(&offsets, &Error::new(ErrorKind::Poisoned, why));
        let holder = inner.holder;
        inner.end(holder);
    }

    /// Nobody waits for a commit: the broker's upkeep takes it to its end.
    pub(super) fn look_after(&self, task: Arc<CommitTask>) {
        self.state.lock().orphans.push(task);
        self.wake_at(self.clock.monotonic());
    }
}
