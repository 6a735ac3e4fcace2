//! A thread that waits for a future: it polls, looks for a moment (for longer while that pays), and sleeps until its
//! waker is called.
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
const LOOKS: u32 = if cfg!(loom) { 0 } else { 100 };

/// The same where that has paid lately: some 40 us. To sleep and be woken takes 10 of the waker's time, too, who is the
/// writer: at 100,000 records a second each was late by what it took to wake the reader for the one before (publish to
/// consume 11.3 us; with this, 0.95).
const MANY_LOOKS: u32 = if cfg!(loom) { 0 } else { 1024 };

/// After so many waits at most it is tried again whether many looks pay.
const MOST_SKIPPED: u32 = 32;

/// Polls `future` on this thread until it is ready.
pub(crate) fn block_on<F: Future + Unpin>(future: &mut F) -> F::Output {
    with_parker(|Kept { parker, patience, .. }, context| {
        loop {
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(context) {
                return output;
            }
            parker.park(None, patience);
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
    with_parker(|Kept { parker, patience, .. }, context| {
        if let Poll::Ready(output) = Pin::new(&mut *future).poll(context) {
            return Some(output);
        }
        let start = now();
        let mut left = timeout;
        while !left.is_zero() {
            left = match parker.park(Some(left), patience) {
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
fn with_parker<R>(wait: impl FnOnce(&Kept, &mut Context<'_>) -> R) -> R {
    let kept = take_kept().unwrap_or_else(Kept::new);
    let result = wait(&kept, &mut Context::from_waker(&kept.waker));
    keep(kept);
    result
}

/// A parker, the waker that leads to it, and what its waits have taught.
struct Kept {
    parker: Arc<Parker>,
    waker: Waker,
    patience: Patience,
}

impl Kept {
    fn new() -> Kept {
        let parker = Arc::new(Parker::new());
        Kept { waker: Waker::from(Arc::clone(&parker)), parker, patience: Patience::default() }
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

/// How long to look for a wake-up before going to sleep: for long while that pays, else seldom.
#[derive(Debug, Default)]
struct Patience {
    /// Waits to come before many looks are tried again.
    skip: Cell<u32>,
    /// How many were skipped the last time.
    skipped: Cell<u32>,
}

impl Patience {
    fn looks(&self) -> u32 {
        if self.skip.get() == 0 { MANY_LOOKS } else { LOOKS }
    }

    /// So many looks were made, and a wake-up came meanwhile, or did not.
    fn learn(&self, looks: u32, came: bool) {
        if came {
            self.skip.set(0);
            self.skipped.set(0);
        } else if looks == LOOKS {
            self.skip.set(self.skip.get().saturating_sub(1));
        } else {
            self.skipped.set((self.skipped.get() * 2).clamp(1, MOST_SKIPPED));
            self.skip.set(self.skipped.get());
        }
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
    fn park(&self, timeout: Option<Duration>, patience: &Patience) -> Parked {
        let looks = patience.looks();
        let came = self.look(looks);
        patience.learn(looks, came);
        if came {
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
    fn look(&self, looks: u32) -> bool {
        for _ in 0..looks {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How many looks each of so many waits makes, to each of which a wake-up comes in time, or does not.
    fn looks(patience: &Patience, waits: usize, came: bool) -> Vec<u32> {
        let wait = |_| {
            let looks = patience.looks();
            patience.learn(looks, came);
            looks
        };
        (0..waits).map(wait).collect()
    }

    #[test]
    fn who_is_woken_soon_goes_on_looking_for_long() {
        let patience = Patience::default();
        assert_eq!(looks(&patience, 100, true), [MANY_LOOKS; 100]);
    }

    #[test]
    fn who_looks_in_vain_does_so_ever_more_seldom() {
        let patience = Patience::default();
        let looks = looks(&patience, 1000, false);
        let tries: Vec<usize> = (0..1000).filter(|&wait| looks[wait] == MANY_LOOKS).collect();
        let gaps: Vec<usize> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps[..7], [2, 3, 5, 9, 17, 33, 33]);
        assert!(
            gaps[7..].iter().all(|&gap| gap == 33),
            "tried again for ever, but not more seldom: {gaps:?}"
        );
    }

    #[test]
    fn one_wake_up_in_time_is_enough_to_look_for_long_again() {
        let patience = Patience::default();
        looks(&patience, 500, false);
        looks(&patience, 1, true);
        assert_eq!(looks(&patience, 1, false), [MANY_LOOKS]);
        assert_eq!(looks(&patience, 2, false), [LOOKS, MANY_LOOKS], "from the beginning");
    }
}
