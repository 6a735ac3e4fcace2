//! Time for commands: how long something took, and doing something so many times a second.
//!
//! Invariant: a pace is kept over the whole run, so a delay is caught up with.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

/// Time since it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch {
    start: Instant,
}

impl Stopwatch {
    /// Starts now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the library's clock is coarser than what is measured here"
    )]
    pub(crate) fn start() -> Stopwatch {
        Stopwatch { start: Instant::now() }
    }

    /// The time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until this much time has passed since the start.
    pub(crate) fn wait_until(self, due: Duration) {
        loop {
            let left = due.saturating_sub(self.elapsed());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }
}

/// So many turns a second.
#[derive(Debug)]
pub(crate) struct Pace {
    watch: Stopwatch,
    per_second: NonZeroU64,
    turns: u64,
}

impl Pace {
    /// The first turn is now.
    pub(crate) fn new(per_second: NonZeroU64) -> Pace {
        Pace { watch: Stopwatch::start(), per_second, turns: 0 }
    }

    /// Waits for the next turn.
    pub(crate) fn wait(&mut self) {
        let (seconds, rest) = (self.turns / self.per_second, self.turns % self.per_second);
        let nanos = u128::from(rest) * 1_000_000_000 / u128::from(self.per_second.get());
        // Less than a second, as the rest is less than the rate.
        let due = Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        self.watch.wait_until(due);
        self.turns += 1;
    }
}
