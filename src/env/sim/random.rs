//! Randomness that a seed decides.
//!
//! Invariant: equal seeds give equal sequences (splitmix64), on every machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::env::Random;

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Random numbers from a seed. Clones go on with the same sequence.
///
/// ```
/// use millpond::env::{Random, sim::SeededRandom};
/// assert_eq!(SeededRandom::new(1).next_u64(), SeededRandom::new(1).next_u64());
/// assert!(SeededRandom::new(2).below(10) < 10);
/// ```
#[derive(Clone, Debug)]
pub struct SeededRandom(Arc<AtomicU64>);

impl SeededRandom {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> SeededRandom {
        SeededRandom(Arc::new(AtomicU64::new(seed)))
    }

    /// A number from 0 to `bound - 1`; 0 if the bound is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        below(self, bound)
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        mix(self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
    }
}

/// A number from 0 to `bound - 1`; 0 if the bound is 0. Its bias is of no account for small bounds.
pub(super) fn below(random: &dyn Random, bound: u64) -> u64 {
    random.next_u64() % bound.max(1)
}

/// The same for an index.
pub(super) fn index_below(random: &dyn Random, bound: usize) -> usize {
    usize::try_from(below(random, bound as u64)).unwrap_or(0)
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
