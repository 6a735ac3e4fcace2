//! Workers of one process that share a member's records.
//!
//! ```text
//!   dispatcher (has the consumer) --add--> Lanes --take--> worker: process
//!        ^                                   ^                |
//!        +-------- progress -----------------+-- finish ------+
//! ```
//!
//! Invariants
//! - What the caller gave runs outside the lock; a panic of it is an error like any other.
//! - After the first failure nothing more is taken.
//! - The dispatcher is woken when it waits for something: room, an end, a failure.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use super::lanes::{Item, Lanes, TrackId};
use crate::consumer::record_view::RecordView;
use crate::consumer::records::{Located, Records};
use crate::error::{Error, ErrorKind};
use crate::sync::WaitList;
use crate::sync::monitor::{Condvar, Mutex, MutexGuard};

/// What the caller's closure answers.
pub(super) type Processed = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Where a record is that is to be processed.
#[derive(Debug)]
pub(super) struct Work<K, V> {
    pub(super) records: Arc<Records<K, V>>,
    pub(super) at: Located,
}

/// What workers and dispatcher share.
pub(super) struct Pool<K, V> {
    state: Mutex<State<K, V>>,
    /// There is something to take, or nothing will be.
    work: Condvar,
    progress: WaitList,
}

pub(super) struct State<K, V> {
    pub(super) lanes: Lanes<Work<K, V>>,
    /// The dispatcher waits for these to be put back.
    pub(super) leaving: Vec<TrackId>,
    /// The dispatcher has no room for more until this few are tracked.
    pub(super) wanted: Option<usize>,
    failure: Option<Error>,
    stopped: bool,
    /// Records processed.
    pub(super) finished: u64,
}

impl<K, V> Pool<K, V> {
    pub(super) fn new() -> Pool<K, V> {
        let state = State {
            lanes: Lanes::new(),
            leaving: Vec::new(),
            wanted: None,
            failure: None,
            stopped: false,
            finished: 0,
        };
        Pool { state: Mutex::new(state), work: Condvar::new(), progress: WaitList::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State<K, V>> {
        // Nothing of the caller's runs under the lock: what panics there leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn progress(&self) -> &WaitList {
        &self.progress
    }

    /// There is something to take.
    pub(super) fn wake_workers(&self) {
        self.work.notify_all();
    }

    /// Workers take nothing more, and leave.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.lanes.end_all();
        drop(state);
        self.work.notify_all();
    }

    /// Processes one record after the other until the pool stops.
    pub(super) fn work(&self, process: &dyn Fn(RecordView<'_, K, V>) -> Processed) {
        while let Some(item) = self.take() {
            let Item { track, offset, lane, work } = item;
            let failure = process_one(&work, process);
            drop(work);
            let mut state = self.lock();
            match failure {
                None => {
                    state.finished += 1;
                    state.lanes.finish(track, offset, lane);
                }
                Some(failure) => {
                    state.lanes.put_back(track, lane);
                    state.failure.get_or_insert(failure);
                    state.stopped = true;
                    state.lanes.end_all();
                }
            }
            let (is_watched, stopped) = (state.is_watched(), state.stopped);
            drop(state);
            if stopped {
                self.work.notify_all();
            }
            if is_watched {
                self.progress.notify_after_publish();
            }
        }
    }

    fn take(&self) -> Option<Item<Work<K, V>>> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            if let Some(item) = state.lanes.take() {
                return Some(item);
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<K, V> State<K, V> {
    /// Whether what the dispatcher may wait for has come.
    fn is_watched(&self) -> bool {
        self.stopped
            || self.lanes.is_idle()
            || self.wanted.is_some_and(|wanted| self.lanes.tracked() <= wanted)
            || (!self.leaving.is_empty() && self.has_left())
    }

    /// Whether nothing of what leaves is being processed.
    pub(super) fn has_left(&self) -> bool {
        !self.leaving.iter().any(|track| self.lanes.is_taken(*track))
    }

    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }
}

/// Processes a record; answers why that failed, if it did.
fn process_one<K, V>(
    work: &Work<K, V>,
    process: &dyn Fn(RecordView<'_, K, V>) -> Processed,
) -> Option<Error> {
    let record = work.records.find(work.at)?;
    let failed = |message: String| {
        let error = Error::new(ErrorKind::Processing, message);
        error.in_partition(record.topic_partition()).at_offset(record.offset())
    };
    match catch_unwind(AssertUnwindSafe(|| process(record))) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(failed("the record was not processed".to_owned()).caused_by(error)),
        Err(panic) => Some(failed(format!("processing the record panicked: {}", words_of(&*panic)))),
    }
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without words")
}

/// Stops the pool whatever happens, so that no worker is waited for in vain.
pub(super) struct StopsAtEnd<'a, K, V>(pub(super) &'a Pool<K, V>);

impl<K, V> Drop for StopsAtEnd<'_, K, V> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
