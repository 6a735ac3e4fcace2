//! What every [`Clock`] must do, the system's, the one moved by hand, and a host's own.
//!
//! Invariant: a function here panics where a clock breaks a rule, and names the rule.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::env::Clock;
use crate::types::Timestamp;

/// How precise a clock must be: a few milliseconds.
const PRECISION: Duration = Duration::from_millis(20);
/// No clock is set to a later time: the end of the year 9999, in milliseconds.
const LATEST: i64 = 253_402_300_799_999;

/// Checks the rules that every clock keeps: monotonic time never goes back, whichever threads ask, and leaves room for
/// deadlines; the wall clock counts milliseconds from 1970 on.
///
/// ```
/// millpond::testing::clock::clock(&millpond::testing::ManualClock::new());
/// ```
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn clock(clock: &dyn Clock) {
    let year = Duration::from_secs(366 * 86_400);
    let mut last = clock.monotonic();
    assert!(last.checked_add(100 * year).is_some(), "monotonic time leaves room for deadlines: {last:?}");
    for _ in 0..10_000 {
        let next = clock.monotonic();
        assert!(next >= last, "monotonic time never goes back: {next:?} after {last:?}");
        last = next;
        plausible(clock.now());
    }
    // In nanoseconds since the one above.
    let seen = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    let before = seen.load(Ordering::SeqCst);
                    let elapsed = clock.monotonic().saturating_sub(last).as_nanos();
                    let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
                    assert!(elapsed >= before, "monotonic time never goes back, whichever threads ask");
                    seen.fetch_max(elapsed, Ordering::SeqCst);
                }
            });
        }
    });
}

fn plausible(now: Timestamp) {
    let millis = now.millis();
    assert!(millis >= 0, "the wall clock shows no time before 1970: {millis}");
    assert!(millis <= LATEST, "the wall clock counts milliseconds: {millis}");
}

/// Checks that both clocks show that time passes, to a few milliseconds: `let_pass` waits for as long as it is told, or
/// moves the clock by that. Nobody else sets the wall clock meanwhile.
///
/// ```
/// let clock = millpond::testing::ManualClock::new();
/// millpond::testing::clock::passing(&clock, |by| clock.advance(by));
/// ```
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn passing(clock: &dyn Clock, let_pass: impl FnOnce(Duration)) {
    let time = 5 * PRECISION;
    let began = clock.monotonic();
    let from = clock.now().millis();
    let_pass(time);
    let to = clock.now().millis();
    let elapsed = clock.monotonic().saturating_sub(began);
    assert!(elapsed + PRECISION >= time, "monotonic time passes: {elapsed:?} in {time:?}");
    let shown = u64::try_from(to - from).map(Duration::from_millis);
    let Ok(shown) = shown else { panic!("the wall clock goes back by itself: from {from} to {to}") };
    assert!(shown + PRECISION >= time, "the wall clock passes: {shown:?} in {time:?}");
    assert!(shown <= elapsed + PRECISION, "both clocks pass alike: {shown:?}, while {elapsed:?} have passed");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Environment;
    use crate::env::sim::ManualClock;

    #[test]
    fn ours_keep_the_rules() {
        let manual = ManualClock::new();
        clock(&manual);
        passing(&manual, |by| manual.advance(by));
        let system = Environment::system();
        let system = system.clock();
        clock(&**system);
        passing(&**system, |time| {
            let until = system.monotonic() + time;
            while system.monotonic() < until {
                thread::yield_now();
            }
        });
    }

    /// Shows what a function makes of the readings, of which this is the count.
    #[derive(Debug)]
    struct Broken {
        readings: AtomicU64,
        monotonic: fn(u64) -> Duration,
        millis: fn(u64) -> i64,
    }

    impl Broken {
        fn new(monotonic: fn(u64) -> Duration, millis: fn(u64) -> i64) -> Broken {
            Broken { readings: AtomicU64::new(0), monotonic, millis }
        }

        fn reading(&self) -> u64 {
            self.readings.fetch_add(1, Ordering::Relaxed)
        }
    }

    impl Clock for Broken {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis((self.millis)(self.reading()))
        }

        fn monotonic(&self) -> Duration {
            (self.monotonic)(self.reading())
        }
    }

    #[test]
    #[should_panic(expected = "never goes back")]
    fn one_that_goes_back_is_found() {
        clock(&Broken::new(|n| Duration::from_millis(n % 1000), |_| 0));
    }

    #[test]
    #[should_panic(expected = "room for deadlines")]
    fn one_at_the_end_of_time_is_found() {
        clock(&Broken::new(|_| Duration::MAX, |_| 0));
    }

    #[test]
    #[should_panic(expected = "counts milliseconds")]
    fn one_that_counts_microseconds_is_found() {
        clock(&Broken::new(Duration::from_millis, |_| 1_704_067_200_000_000));
    }

    #[test]
    #[should_panic(expected = "monotonic time passes")]
    fn one_that_stands_still_is_found() {
        passing(&Broken::new(|_| Duration::ZERO, |n| n as i64 * 100), |_| ());
    }

    #[test]
    #[should_panic(expected = "the wall clock passes")]
    fn one_that_counts_seconds_is_found() {
        passing(&Broken::new(|n| Duration::from_millis(n * 100), |n| n as i64), |_| ());
    }

    #[test]
    #[should_panic(expected = "both clocks pass alike")]
    fn clocks_that_do_not_agree_are_found() {
        passing(&Broken::new(|n| Duration::from_millis(n * 100), |n| n as i64 * 100_000), |_| ());
    }
}
