//! The simulated environment: a disk in memory whose plug can be pulled, time moved by hand, and
//! randomness from a seed.
//!
//! Invariants
//! - What a completed sync covers survives every power cut; of everything else each 4 KiB page, each
//!   size and each directory entry is kept or lost on its own.
//! - A kill loses nothing but locks; what was not durable before it is not durable after it either.
//! - The same seed and the same calls give the same images.
//!
//! ```text
//!   calls, stores --> cache -- snapshot / after_kill --> a disk with the same cache, still not durable
//!                       |
//!                sync_data, sync_dir
//!                       v
//!                    durable -- after_power_cut(seed) --> a disk with durable + some of the rest
//!
//!   of each page since its last sync:   old | v1 | v2 | now        one of them, or torn at 512 bytes
//! ```

mod calls;
mod clock;
mod content;
mod disk;
mod file;
mod image;
mod random;
mod state;
mod tree;

use std::sync::Arc;

pub use calls::{Failure, Fault, Op, Times};
pub use clock::ManualClock;
pub use disk::SimDisk;
pub use random::SeededRandom;

use super::Environment;

/// A simulated disk, a clock moved by hand and seeded randomness, as one [`Environment`].
///
/// ```
/// use millpond::env::sim::SimEnvironment;
/// use millpond::env::OpenMode;
/// use std::path::Path;
///
/// let sim = SimEnvironment::new(7);
/// let environment = sim.environment();                       // for the program under test
/// let file = environment.files().open(Path::new("/a"), OpenMode::CreateNew)?;
/// file.write_at(b"never synced", 0)?;
///
/// let after = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 8);
/// assert!(!after.environment().files().exists(Path::new("/a"))?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SimEnvironment {
    disk: SimDisk,
    random: SeededRandom,
}

impl SimEnvironment {
    /// One with an empty disk.
    #[must_use]
    pub fn new(seed: u64) -> SimEnvironment {
        SimEnvironment::on(SimDisk::new(), seed)
    }

    /// One over a disk that exists already: what is left after a crash. The clock is the disk's.
    #[must_use]
    pub fn on(disk: SimDisk, seed: u64) -> SimEnvironment {
        SimEnvironment { disk, random: SeededRandom::new(seed) }
    }

    /// What the program under test is given.
    #[must_use]
    pub fn environment(&self) -> Environment {
        let clock = self.disk.clock().clone();
        Environment::new(Arc::new(self.disk.clone()), Arc::new(clock), Arc::new(self.random.clone()))
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        self.disk.clock()
    }

    /// The randomness, shared with the environment.
    #[must_use]
    pub fn random(&self) -> &SeededRandom {
        &self.random
    }
}

#[cfg(test)]
mod tests;
