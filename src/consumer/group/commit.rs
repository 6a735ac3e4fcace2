//! A commit on its way.
//!
//! Invariants: the call that returned it has appended the offsets, or failed; waiting only watches; dropped, the
//! commit goes on.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::service::GroupService;
use super::writing::Ticket;
use crate::error::{Error, ErrorKind, Result};
use crate::partition::Log;
use crate::sync::WaitKey;

/// A commit of offsets: wait for it in a thread, or await it in a task; or drop it, and it goes on.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// topic.producer()?.send(Record::new("/home"))?.wait()?;
///
/// let mut consumer = broker.group("readers")?.join("clicks")?;
/// let records = consumer.poll().wait()?;
/// consumer.commit(&records).wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "whether offsets were committed is known only to who waits for it"]
pub struct Commit {
    /// That of the offsets topic.
    log: Option<Arc<Log>>,
    state: CommitState,
    key: Option<WaitKey>,
    /// Why a part was refused: told when the others hold.
    refused: Option<Error>,
}

enum CommitState {
    /// It held already, or was refused.
    Done(Result<()>),
    Waiting(Arc<Ticket>),
}

impl Commit {
    /// A commit whose write is this one; without one it holds already.
    pub(super) fn of(groups: &GroupService, committed: Result<Option<Arc<Ticket>>>) -> Commit {
        let state = match committed {
            Ok(Some(ticket)) => CommitState::Waiting(ticket),
            Ok(None) => CommitState::Done(Ok(())),
            Err(error) => CommitState::Done(Err(error)),
        };
        Commit { log: groups.offsets_log(), state, key: None, refused: None }
    }

    /// Both: what becomes of the later write, before which the earlier one holds; then the first error of parts that
    /// have been refused.
    pub(super) fn then(mut self, mut later: Commit) -> Commit {
        let refused = self.take_refusal();
        let refused = refused.or(later.take_refusal());
        let mut both = if matches!(later.state, CommitState::Waiting(_)) { later } else { self };
        both.refused = refused;
        both
    }

    /// Why it was refused, as a whole or in part; what is left of it was not.
    fn take_refusal(&mut self) -> Option<Error> {
        match std::mem::replace(&mut self.state, CommitState::Done(Ok(()))) {
            CommitState::Done(Err(error)) => Some(error),
            other => {
                self.state = other;
                self.refused.take()
            }
        }
    }

    /// The rest holds.
    fn check_refused(&self) -> Result<()> {
        self.refused.as_ref().map_or(Ok(()), |error| Err(error.again()))
    }

    /// Whether it was refused, for one of its partitions or as a whole: nothing of it is written.
    pub(super) fn was_refused(&self) -> bool {
        matches!(&self.state, CommitState::Done(Err(_)))
    }

    /// Whether it was refused for what is not the member's own any more.
    pub(super) fn was_of_others(&self) -> bool {
        matches!(&self.state, CommitState::Done(ended) if is_of_others(ended))
    }

    /// The log that must be acknowledged, and up to where; or how it ended.
    fn end(&self) -> std::result::Result<(&Arc<Log>, u64), Result<()>> {
        let closed = || Err(Err(Error::closed("the offsets topic")));
        match &self.state {
            CommitState::Done(Ok(())) => Err(self.check_refused()),
            CommitState::Done(Err(error)) => Err(Err(error.again())),
            CommitState::Waiting(ticket) => match (ticket.end(), &self.log) {
                (Some(Ok(end)), Some(log)) => Ok((log, end)),
                (Some(Err(error)), _) => Err(Err(error)),
                (Some(Ok(_)) | None, _) => closed(),
            },
        }
    }

    /// Waits in this thread until the offsets are as durable as a topic of the level `Sync`. In a task `.await`
    /// it instead.
    ///
    /// # Errors
    /// `Fenced` if this is no member any more; `Rebalanced` if the partition was given away since the records
    /// were polled: somebody else processes them; `InvalidArgument` beyond the log end; `TopicNotFound` for a
    /// deleted topic; `Poisoned`, `StorageFull`, `Closed` if they cannot be written; `Backpressure` for offsets below
    /// those that a transaction may commit which is open (but not where they are committed already, or more is), and
    /// `Poisoned` where its end shows at the next opening only.
    pub fn wait(self) -> Result<()> {
        match self.end() {
            Ok((log, end)) => log.wait_acked(end).and_then(|()| self.check_refused()),
            Err(done) => done,
        }
    }

    /// Waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` if it has not finished; it goes on, and can be waited for again. Else as
    /// [`wait`](Commit::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<()> {
        match self.end() {
            Ok((log, end)) => log.wait_acked_for(end, timeout).and_then(|()| self.check_refused()),
            Err(done) => done,
        }
    }
}

/// What is of others by now, or gone with its topic, is committed by nobody here.
pub(super) fn is_of_others(committed: &Result<()>) -> bool {
    use ErrorKind::{Fenced, PartitionNotFound, Rebalanced, TopicNotFound};
    let kind = committed.as_ref().err().map(Error::kind);
    matches!(kind, Some(Fenced | Rebalanced | TopicNotFound | PartitionNotFound))
}

impl Future for Commit {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let (log, end) = match self.end() {
            Ok((log, end)) => (log.clone(), end),
            Err(done) => return Poll::Ready(done),
        };
        log.poll_acked(end, context, &mut self.key).map(|acked| acked.and_then(|()| self.check_refused()))
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        if let (Some(key), Some(log)) = (self.key.take(), &self.log) {
            log.cancel_acked(key);
        }
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = matches!(self.state, CommitState::Waiting(_));
        f.debug_struct("Commit").field("waiting", &waiting).finish_non_exhaustive()
    }
}
