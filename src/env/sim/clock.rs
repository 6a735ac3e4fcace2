//! Time that stands still until a test moves it.
//!
//! Invariant: monotonic time never goes back; wall-clock time goes where it is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use crate::env::Clock;
use crate::types::Timestamp;

/// Where the wall clock of a new [`ManualClock`] stands: 2024-01-01 00:00:00 UTC.
const START_MILLIS: i64 = 1_704_067_200_000;

/// A clock that a test moves. Clones show and move the same time.
///
/// A thread that waits with a bound waits by the machine's clock, not by this one.
///
/// ```
/// use millpond::env::{Clock, sim::ManualClock};
/// use std::time::Duration;
/// let clock = ManualClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.now().millis() - before.millis(), 1_000);
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    /// Wall-clock time, in milliseconds, when nothing had elapsed.
    base_millis: AtomicI64,
    elapsed_nanos: AtomicU64,
}

impl ManualClock {
    /// A clock at 2024-01-01 00:00:00 UTC.
    #[must_use]
    pub fn new() -> ManualClock {
        ManualClock(Arc::new(Hands {
            base_millis: AtomicI64::new(START_MILLIS),
            elapsed_nanos: AtomicU64::new(0),
        }))
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.elapsed_nanos.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Sets the wall clock, backwards too; monotonic time stays.
    pub fn set(&self, now: Timestamp) {
        self.0.base_millis.store(now.millis().saturating_sub(self.elapsed_millis()), Ordering::SeqCst);
    }

    fn elapsed_millis(&self) -> i64 {
        i64::try_from(self.0.elapsed_nanos.load(Ordering::SeqCst) / 1_000_000).unwrap_or(i64::MAX)
    }
}

impl Default for ManualClock {
    fn default() -> ManualClock {
        ManualClock::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(
            self.0.base_millis.load(Ordering::SeqCst).saturating_add(self.elapsed_millis()),
        )
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.elapsed_nanos.load(Ordering::SeqCst))
    }
}
