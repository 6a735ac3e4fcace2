//! A commit on its way.
//!
//! ```text
//!   Flushing: every partition, side by side -- all durable --> Recording: the commit record -- durable --> Done
//!       | one failed: aborted                                      | not appended: aborted
//!       v                                                          v failed: unknown until the next opening
//! ```
//!
//! Invariants
//! - Whoever waits drives it; one at a time does. Without anybody the broker's upkeep does.
//! - The result is the same for everybody who asks.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use super::coordinator::Holder;
use super::service::TxnService;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::partition::Log;
use crate::sync::{Mutex, WaitKey, WaitList};

/// A commit on its way.
pub(super) struct CommitTask {
    pub(super) session: Arc<Session>,
    pub(super) holder: Holder,
    /// What must be durable, and up to where.
    logs: Vec<(Arc<Log>, u64)>,
    step: Mutex<Step>,
    result: OnceLock<Result<()>>,
    ended: WaitList,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Flushing,
    /// The record is appended: durable when the log is, up to here.
    Recording(u64),
    Done,
}

impl CommitTask {
    pub(super) fn new(session: &Arc<Session>, holder: Holder, logs: Vec<(Arc<Log>, u64)>) -> CommitTask {
        CommitTask {
            session: session.clone(),
            holder,
            logs,
            step: Mutex::new(Step::Flushing),
            result: OnceLock::new(),
            ended: WaitList::new(),
        }
    }

    /// Has the flushes begin in the background: all but the one that whoever waits begins with. (To wake a thread
    /// for it costs as much as a third of a flush.)
    pub(super) fn begin(&self) {
        let others = self.logs.len().saturating_sub(1);
        self.logs.iter().take(others).for_each(|(log, end)| log.flush_soon(*end));
    }

    /// From the last to the first, whatever nobody is at yet; the background goes the other way round. Then all that
    /// somebody else has begun.
    fn flush_all(&self) -> Result<()> {
        self.logs.iter().rev().try_for_each(|(log, end)| log.flush_if_free(*end).map(|_| ()))?;
        self.logs.iter().try_for_each(|(log, end)| log.flush_until(*end))
    }

    /// The partitions it has records in.
    pub(super) fn logs(&self) -> impl Iterator<Item = &Arc<Log>> {
        self.logs.iter().map(|(log, _)| log)
    }

    pub(super) fn result(&self) -> Option<Result<()>> {
        self.result.get().map(|result| result.as_ref().copied().map_err(Error::again))
    }

    /// Takes it to its end in this thread.
    pub(super) fn drive(&self, service: &TxnService) -> Result<()> {
        self.drive_from(&mut self.step.lock(), service)
    }

    /// As [`drive`](Self::drive), unless somebody else is at it.
    pub(super) fn drive_if_free(&self, service: &TxnService) -> Option<Result<()>> {
        self.step.try_lock().map(|mut step| self.drive_from(&mut step, service))
    }

    fn drive_from(&self, step: &mut Step, service: &TxnService) -> Result<()> {
        loop {
            if let Some(result) = self.result() {
                return result;
            }
            match *step {
                Step::Flushing => {
                    let flushed = self.flush_all();
                    self.flushed(service, step, flushed);
                }
                Step::Recording(end) => {
                    let recorded = service.wait_recorded(end);
                    if let Some(error) = self.recorded(service, step, recorded) {
                        return Err(error);
                    }
                }
                Step::Done => return Err(Error::closed("the commit")),
            }
        }
    }

    /// Takes it as far as it goes without waiting.
    fn advance(&self, service: &TxnService, context: &mut Context<'_>, keys: &mut Keys) -> Poll<Result<()>> {
        let Some(mut step) = self.step.try_lock() else { return Poll::Pending };
        loop {
            if let Some(result) = self.result() {
                return Poll::Ready(result);
            }
            match *step {
                Step::Flushing => {
                    let flushed = std::task::ready!(self.poll_flushed(context, keys));
                    self.flushed(service, &mut step, flushed);
                }
                Step::Recording(end) => {
                    let recorded = std::task::ready!(service.poll_recorded(end, context, &mut keys.record));
                    if let Some(error) = self.recorded(service, &mut step, recorded) {
                        return Poll::Ready(Err(error));
                    }
                }
                Step::Done => return Poll::Ready(Err(Error::closed("the commit"))),
            }
        }
    }

    fn poll_flushed(&self, context: &mut Context<'_>, keys: &mut Keys) -> Poll<Result<()>> {
        keys.flushes.resize_with(self.logs.len(), || None);
        let mut pending = false;
        for ((log, end), key) in self.logs.iter().zip(&mut keys.flushes) {
            match log.poll_flushed(*end, context, key) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    /// Everything is durable, or something is not.
    fn flushed(&self, service: &TxnService, step: &mut Step, flushed: Result<()>) {
        match flushed.and_then(|()| service.record(self)) {
            Ok(end) => *step = Step::Recording(end),
            Err(error) => {
                service.give_up(self);
                self.end(step, Err(error));
            }
        }
    }

    /// The record is durable, or may not be; answers an error after which it goes on all the same.
    fn recorded(&self, service: &TxnService, step: &mut Step, recorded: Result<()>) -> Option<Error> {
        match recorded {
            Ok(()) => {
                service.decided(self);
                self.end(step, Ok(()));
                None
            }
            Err(error) if error.kind() == ErrorKind::StorageFull => {
                // A task that found this thread at it drives it from here.
                self.ended.notify_after_publish();
                Some(error)
            }
            Err(error) => {
                service.unknown(self);
                self.end(step, Err(error));
                None
            }
        }
    }

    fn end(&self, step: &mut Step, result: Result<()>) {
        *step = Step::Done;
        let _ = self.result.set(result);
        self.ended.notify_after_publish();
    }
}

/// Where a poll has left its wakers.
#[derive(Default)]
struct Keys {
    flushes: Vec<Option<WaitKey>>,
    record: Option<WaitKey>,
    ended: Option<WaitKey>,
}

/// A commit of a transaction: wait for it in a thread, or await it in a task; or drop it, and it goes on.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// broker.create_topic("a", TopicConfig::new())?;
/// broker.create_topic("b", TopicConfig::new())?;
/// let mut producer = broker.transactional("mover")?;
///
/// let mut transfer = producer.begin()?;
/// transfer.send("a", Record::new("-10"))?;
/// transfer.send("b", Record::new("+10"))?;
/// transfer.commit().wait()?;                        // both, or none: also after a power cut
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "whether a transaction was committed is known only to who waits for it"]
pub struct TransactionCommit {
    service: Arc<TxnService>,
    task: std::result::Result<Arc<CommitTask>, Option<Result<()>>>,
    keys: Keys,
}

impl TransactionCommit {
    pub(super) fn on_its_way(service: &Arc<TxnService>, task: Arc<CommitTask>) -> TransactionCommit {
        TransactionCommit { service: service.clone(), task: Ok(task), keys: Keys::default() }
    }

    pub(super) fn finished(service: &Arc<TxnService>, result: Result<()>) -> TransactionCommit {
        TransactionCommit { service: service.clone(), task: Err(Some(result)), keys: Keys::default() }
    }

    /// Waits in this thread until the transaction is committed, durably; readers of committed records see it then.
    /// In a task `.await` it instead.
    ///
    /// # Errors
    /// `TransactionAborted` if it was open for too long, or another error of what kept it from being committed: it
    /// is aborted then. `Fenced` if another producer has taken over the id. `Poisoned` if the disk has failed while
    /// the commit was recorded: whether it holds shows when the broker is opened again. `StorageFull` while there
    /// is no room for the record: it goes on when there is.
    pub fn wait(mut self) -> Result<()> {
        match &mut self.task {
            Ok(task) => task.drive(&self.service),
            Err(result) => result.take().unwrap_or(Ok(())),
        }
    }

    /// Waits in this thread for at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` if it has not finished; it goes on, and can be waited for again. Else as
    /// [`wait`](TransactionCommit::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<()> {
        let service = self.service.clone();
        let now = || service.clock().monotonic();
        match crate::sync::block_on_for(self, timeout, &now) {
            Some(result) => result,
            None => {
                let message =
                    format!("not finished after {timeout:?}; it goes on and can be waited for again");
                Err(Error::new(ErrorKind::TimedOut, message))
            }
        }
    }

    fn stop_waiting(&mut self) {
        let Ok(task) = &self.task else { return };
        for ((log, _), key) in task.logs.iter().zip(&mut self.keys.flushes) {
            if let Some(key) = key.take() {
                log.cancel_acked(key);
            }
        }
        if let Some(key) = self.keys.record.take() {
            self.service.cancel_recorded(key);
        }
        if let Some(key) = self.keys.ended.take() {
            task.ended.cancel(key);
        }
    }
}

impl Future for TransactionCommit {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let TransactionCommit { service, task, keys } = &mut *self;
        let task = match task {
            Ok(task) => task.clone(),
            Err(result) => return Poll::Ready(result.take().unwrap_or(Ok(()))),
        };
        // Somebody else may drive it, and tells when it has ended.
        task.ended.register(&mut keys.ended, context.waker());
        task.advance(service, context, keys)
    }
}

impl Drop for TransactionCommit {
    fn drop(&mut self) {
        self.stop_waiting();
        if let Ok(task) = &self.task {
            if task.result().is_none() {
                self.service.look_after(task.clone());
            }
        }
    }
}

impl fmt::Debug for TransactionCommit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.task.as_ref().is_ok_and(|task| task.result().is_none());
        f.debug_struct("TransactionCommit").field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::consumer::GroupService;
    use crate::env::sim::SimEnvironment;

    #[test]
    fn the_upkeep_passes_over_a_commit_that_another_thread_is_at() {
        let wait = Duration::from_secs(1);
        let environment = SimEnvironment::new(1).environment();
        let clock = environment.clock();
        let groups = Arc::new(GroupService::new(clock.clone(), 1, wait, wait));
        let service = Arc::new(TxnService::new(clock.clone(), groups, wait));
        let holder = Holder { producer_id: 0, epoch: 0 };
        let task = Arc::new(CommitTask::new(&Arc::new(Session::new("one", holder)), holder, Vec::new()));
        service.look_after(task.clone());
        let flushing = task.step.lock();
        let (done, ended) = mpsc::channel();
        let upkeep = service.clone();
        let thread = std::thread::spawn(move || {
            upkeep.tick();
            let _ = done.send(());
        });
        ended.recv_timeout(Duration::from_secs(60)).expect("the upkeep waits for another thread's flush");
        assert!(task.result().is_none());
        drop(flushing);
        thread.join().unwrap();
        // It is not forgotten.
        service.tick();
        assert!(task.result().is_some());
    }
}
