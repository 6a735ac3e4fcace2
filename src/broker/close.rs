//! Closing a broker in order.
//!
//! ```text
//!   Open -- close --> Closing -- partitions closed, points, mark --> Closed(result)
//! ```
//!
//! Invariants
//! - The mark is written only when every partition has been closed without an error.
//! - Everybody who asks is told the same result, once it is known.

use std::sync::Arc;
use std::task::Poll;

use parking_lot::Mutex;

use super::background::{in_own_thread, threads_of, with_each};
use super::broker::Shared;
use super::points::store_clean_mark;
use crate::config::Background;
use crate::env::Clock;
use crate::error::{Error, Result};
use crate::sync::{Operation, WaitKey, WaitList};

/// Whether a broker is open.
#[derive(Debug)]
pub(crate) struct Closing {
    state: Mutex<State>,
    ended: WaitList,
}

#[derive(Debug)]
enum State {
    Open,
    Closing,
    Closed(Result<()>),
}

impl Closing {
    /// Of an open broker.
    pub(super) fn new() -> Closing {
        Closing { state: Mutex::new(State::Open), ended: WaitList::new() }
    }

    /// Refuses work on a broker that closes or is closed.
    pub(super) fn check_open(&self) -> Result<()> {
        match *self.state.lock() {
            State::Open => Ok(()),
            State::Closing | State::Closed(_) => Err(Error::closed("the broker")),
        }
    }

    /// Answers whether the caller is the one who closes.
    fn begin(&self) -> bool {
        let mut state = self.state.lock();
        let first = matches!(*state, State::Open);
        if first {
            *state = State::Closing;
        }
        first
    }

    fn end(&self, result: &Result<()>) {
        let told = result.as_ref().copied().map_err(Error::again);
        *self.state.lock() = State::Closed(told);
        self.ended.notify_after_publish();
    }

    fn result(&self) -> Option<Result<()>> {
        match &*self.state.lock() {
            State::Closed(result) => Some(result.as_ref().copied().map_err(Error::again)),
            State::Open | State::Closing => None,
        }
    }
}

/// Starts to close the broker, unless that has begun; answers with its end.
pub(super) fn close(shared: &Arc<Shared>) -> Operation<()> {
    if shared.closing.begin() {
        let closing = Arc::clone(shared);
        let work = move || {
            let result = close_now(&closing);
            closing.closing.end(&result);
        };
        match shared.config.background_kind() {
            Background::Manual => work(),
            Background::Threads => in_own_thread("millpond-close", work),
        }
    }
    let clock: Arc<dyn Clock> = Arc::clone(shared.environment.clock());
    let mut watch = Watch { shared: Arc::clone(shared), key: None };
    Operation::new(Arc::new(move || clock.monotonic()), move |context| {
        let closing = &watch.shared.closing;
        if let Some(result) = closing.result() {
            return Poll::Ready(result);
        }
        closing.ended.register(&mut watch.key, context.waker());
        closing.result().map_or(Poll::Pending, Poll::Ready)
    })
}

/// Somebody who waits for the end.
struct Watch {
    shared: Arc<Shared>,
    key: Option<WaitKey>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.closing.ended.cancel(key);
        }
    }
}

fn close_now(shared: &Shared) -> Result<()> {
    let _admin = shared.admin.lock();
    // What cannot be forgotten now is forgotten later; what has failed shows below.
    let _ = shared.expire();
    shared.txns.close();
    shared.groups.close();
    shared.service.stop();
    std::mem::take(&mut *shared.threads.lock()).join();
    let mut points = shared.points.lock();
    let mut first = Ok(());
    let topics = shared.topics.read().all();
    let mut logs = Vec::new();
    for topic in &topics {
        if topic.memory().is_some() {
            // It ends here.
            topic.partitions().iter().for_each(|log| log.abandon());
            continue;
        }
        let numbered = (0..).zip(topic.partitions().iter().cloned());
        logs.extend(numbered.map(|(number, log)| ((topic.id(), number), log)));
    }
    let closed =
        with_each(threads_of(&shared.config), &logs, |(_, log)| log.close().inspect_err(|_| log.abandon()));
    for ((key, _), closed) in logs.iter().zip(closed) {
        match closed {
            Ok(point) => points.points_mut().set(*key, point),
            Err(error) => first = first.and(Err(error)),
        }
    }
    drop(logs);
    // Also after an error: what could be made durable need not be read again.
    let stored = points.store(shared.files(), &shared.dir);
    first = first.and(stored);
    if first.is_ok() {
        first = store_clean_mark(shared.files(), &shared.dir, &shared.manifest, points.points());
    }
    *shared.topics.write() = crate::topic::Registry::new();
    shared.txns.let_go();
    shared.groups.let_go();
    *shared.lock.lock() = None;
    first
}
