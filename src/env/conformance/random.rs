//! What every [`Random`] must do, the system's, the seeded one, and a host's own.
//!
//! Invariant: a function here panics where a source of randomness breaks a rule, and names the rule. One that keeps the
//! rules is refused by chance about once in 2^40 runs.

use std::collections::HashSet;
use std::thread;

use crate::env::Random;

/// Numbers drawn by each of this many threads.
const DRAWN: usize = 4096;
const THREADS: usize = 4;

/// Checks the rules that every source of randomness keeps: it does not repeat itself, whichever threads ask, and all
/// 64 bits of its numbers vary, by themselves and from one number to the next.
///
/// ```
/// millpond::testing::random::random(&millpond::testing::SeededRandom::new(7));
/// ```
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn random(random: &dyn Random) {
    let numbers: Vec<u64> = (0..DRAWN).map(|_| random.next_u64()).collect();
    balanced(&numbers, "each bit is as often set as not");
    let steps: Vec<u64> = numbers.windows(2).map(|pair| pair[0] ^ pair[1]).collect();
    balanced(&steps, "each bit changes as often as not");
    let mut seen: HashSet<u64> = numbers.iter().copied().collect();
    assert_eq!(seen.len(), numbers.len(), "no number comes twice");
    let drawn: Vec<Vec<u64>> = thread::scope(|scope| {
        let draw = || (0..DRAWN).map(|_| random.next_u64()).collect();
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(draw)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    assert_eq!(drawn.len(), THREADS, "any thread may ask");
    let all = drawn.into_iter().flatten().all(|number| seen.insert(number));
    assert!(all, "no number comes twice, whichever threads ask");
}

/// Checks that one that is made anew, as after a restart, gives other numbers: ids must not be given twice. (One that is
/// seeded, for tests, keeps this with a new seed only.)
///
/// ```
/// use millpond::testing::SeededRandom;
/// let mut seed = 0;
/// millpond::testing::random::made_anew(|| {
///     seed += 1;
///     SeededRandom::new(seed)
/// });
/// ```
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn made_anew<R: Random>(mut make: impl FnMut() -> R) {
    let mut seen = HashSet::new();
    for _ in 0..64 {
        let random = make();
        let all = (0..64).all(|_| seen.insert(random.next_u64()));
        assert!(all, "one that is made anew gives other numbers");
    }
}

fn balanced(numbers: &[u64], rule: &str) {
    for bit in 0..u64::BITS {
        let set = numbers.iter().filter(|number| *number >> bit & 1 == 1).count();
        // Eight standard deviations of a fair coin.
        let fair = numbers.len() / 2;
        assert!(set.abs_diff(fair) <= numbers.len() / 16, "{rule}: bit {bit} of {set} in {}", numbers.len());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::env::Environment;
    use crate::env::sim::SeededRandom;

    #[test]
    fn ours_keep_the_rules() {
        random(&SeededRandom::new(0));
        random(&**Environment::system().random());
        made_anew(|| System(Environment::system()));
    }

    #[derive(Debug)]
    struct System(Environment);

    impl Random for System {
        fn next_u64(&self) -> u64 {
            self.0.random().next_u64()
        }
    }

    /// Gives what a function makes of the count of calls.
    #[derive(Debug)]
    struct Broken(AtomicU64, fn(u64) -> u64);

    impl Broken {
        fn new(number: fn(u64) -> u64) -> Broken {
            Broken(AtomicU64::new(0), number)
        }
    }

    impl Random for Broken {
        fn next_u64(&self) -> u64 {
            (self.1)(self.0.fetch_add(1, Ordering::Relaxed))
        }
    }

    fn good(n: u64) -> u64 {
        // One number for each seed: as random as the seeded one is.
        SeededRandom::new(n).next_u64()
    }

    #[test]
    #[should_panic(expected = "as often set as not")]
    fn a_counter_is_found() {
        random(&Broken::new(|n| n));
    }

    #[test]
    #[should_panic(expected = "as often set as not: bit 63")]
    fn one_of_63_bits_is_found() {
        random(&Broken::new(|n| good(n) >> 1));
    }

    #[test]
    #[should_panic(expected = "changes as often as not")]
    fn one_that_alternates_is_found() {
        random(&Broken::new(|n| if n % 2 == 0 { good(n) } else { !good(n - 1) }));
    }

    #[test]
    #[should_panic(expected = "no number comes twice")]
    fn one_that_repeats_itself_is_found() {
        random(&Broken::new(|n| good(n % 4095)));
    }

    #[test]
    #[should_panic(expected = "whichever threads ask")]
    fn one_that_repeats_itself_for_other_threads_is_found() {
        random(&Broken::new(|n| good(n % (2 * DRAWN as u64))));
    }

    #[test]
    #[should_panic(expected = "made anew gives other numbers")]
    fn one_that_begins_with_the_same_seed_is_found() {
        made_anew(|| SeededRandom::new(1));
    }
}
