//! A thread that waits for a future: it polls, spins for a moment, and sleeps until its waker is called.
//!
//! ```text
//!             park: nothing yet
//!     EMPTY ---------------------> PARKED -- time is up --> EMPTY
//!       |                            |
//!       | wake                       | wake: takes the lock once, then signals
//!       v                            v
//!     NOTIFIED -- park returns --> EMPTY
//! ```
//!
//! Invariants
//! - A wake-up is kept until the next `park`, which then does not sleep: none is lost between the poll
//!   that answered `Pending` and the sleep.
//! - From its last look at the state until it sleeps, the thread holds the lock; who finds it PARKED
//!   passes through the lock before signalling, so the signal cannot come too early.
//! - The parker is not the thread's own token (`std::thread::park`), which other libraries use as well:
//!   so a sleep that was not interrupted is known to have lasted its whole time.
//! - Waits nest (a future may wait inside its `poll`): each has a parker of its own, so that the inner
//!   one does not swallow the outer one's wake-up. The outermost one of a thread is kept for its next wait.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::atomic::{AtomicU32, Ordering};
use super::monitor::{Condvar, Mutex};

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// Looks at the state before sleeping: a hand-over between two running threads takes less than a sleep.
const SPINS: u32 = if cfg!(loom) { 0 } else { 100 };

/// Polls `future` on this thread until it is ready.
pub(crate) fn block_on<F: Future + Unpin>(future: &mut F) -> F::Output {
    with_parker(|parker, context| {
        loop {
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(context) {
                return output;
            }
            parker.park(None);
        }
    })
}

/// Polls `future` on this thread until it is ready, for at most `timeout`; `None` if it was not. The future
/// is polled at least once, and can be waited for again.
///
/// `now` is the environment's monotonic clock. Time is up when the clock says so, or when one uninterrupted
/// sleep has lasted as long as was left: with a clock that a test moves by hand, nobody waits for ever.
pub(crate) fn block_on_for<F: Future + Unpin>(
    future: &mut F,
    timeout: Duration,
    now: &dyn Fn() -> Duration,
) -> Option<F::Output> {
    with_parker(|parker, context| {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(context) {
            return Some(output);
        }
        let start = now();
        let mut left = timeout;
        while !left.is_zero() {
            left = match parker.park(Some(left)) {
                Parked::Awake => timeout.saturating_sub(now().saturating_sub(start)),
                Parked::TimeIsUp => Duration::ZERO,
            };
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(context) {
                return Some(output);
            }
        }
        None
    })
}

/// Runs `wait` with this thread's parker, or with a new one if that is in use.
fn with_parker<R>(wait: impl FnOnce(&Parker, &mut Context<'_>) -> R) -> R {
    let kept = take_kept().unwrap_or_else(Kept::new);
    let result = wait(&kept.parker, &mut Context::from_waker(&kept.waker));
    keep(kept);
    result
}

/// A parker and the waker that leads to it.
struct Kept {
    parker: Arc<Parker>,
    waker: Waker,
}

impl Kept {
    fn new() -> Kept {
        let parker = Arc::new(Parker::new());
        Kept { waker: Waker::from(Arc::clone(&parker)), parker }
    }
}

thread_local! {
    static KEPT: Cell<Option<Kept>> = const { Cell::new(None) };
}

/// This thread's parker; `None` if it has none yet, or it is in use, or the thread is about to end.
fn take_kept() -> Option<Kept> {
    // loom's objects belong to one execution, while a thread may outlive it.
    if cfg!(loom) { None } else { KEPT.try_with(Cell::take).ok().flatten() }
}

fn keep(kept: Kept) {
    if !cfg!(loom) {
        // Fails only while the thread ends; then there is nothing to keep it for.
        let _ = KEPT.try_with(|cell| cell.set(Some(kept)));
    }
}

/// Puts one thread to sleep until it is woken.
#[derive(Debug)]
struct Parker {
    state: AtomicU32,
    lock: Mutex<()>,
    signal: Condvar,
}

/// Why [`Parker::park`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parked {
    /// A wake-up came (or, rarely, nothing did): poll again.
    Awake,
    /// The sleep lasted the whole time and no wake-up came.
    TimeIsUp,
}

impl Parker {
    fn new() -> Parker {
        Parker { state: AtomicU32::new(EMPTY), lock: Mutex::new(()), signal: Condvar::new() }
    }

    /// Sleeps until woken, for at most `timeout`. Returns at once if a wake-up came since the last call.
    fn park(&self, timeout: Option<Duration>) -> Parked {
        if self.spin() {
            return Parked::Awake;
        }
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state.compare_exchange(EMPTY, PARKED, Ordering::AcqRel, Ordering::Acquire).is_err() {
            self.take_wake_up();
            return Parked::Awake;
        }
        let time_is_up = match timeout {
            None => {
                drop(self.signal.wait(guard).unwrap_or_else(PoisonError::into_inner));
                false
            }
            Some(timeout) => {
                let woken = self.signal.wait_timeout(guard, timeout);
                woken.unwrap_or_else(PoisonError::into_inner).1.timed_out()
            }
        };
        if self.take_wake_up() || !time_is_up { Parked::Awake } else { Parked::TimeIsUp }
    }

    /// Looks for a wake-up for a moment; takes it if it comes.
    fn spin(&self) -> bool {
        for _ in 0..SPINS {
            if self.state.load(Ordering::Relaxed) == NOTIFIED {
                return self.take_wake_up();
            }
            std::hint::spin_loop();
        }
        false
    }

    /// Back to EMPTY; whether there was a wake-up. What its sender did before is visible after.
    fn take_wake_up(&self) -> bool {
        self.state.swap(EMPTY, Ordering::AcqRel) == NOTIFIED
    }

    fn notify(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == PARKED {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.signal.notify_one();
        }
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.notify();
    }
}
