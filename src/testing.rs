//! For your own tests (feature `testing`): a simulated disk, a clock moved by hand, seeded randomness.
//!
//! ```
//! use millpond::config::{Background, BrokerConfig};
//! use millpond::prelude::*;
//! use millpond::testing::SimEnvironment;
//!
//! let sim = SimEnvironment::new(7);
//! let open = |sim: &SimEnvironment| {
//!     let manual = BrokerConfig::new().background(Background::Manual);
//!     Broker::builder("/data").environment(sim.environment()).config(manual).open()
//! };
//! let broker = open(&sim)?;
//! let clicks = broker.create_topic("clicks", TopicConfig::new())?;
//! clicks.producer()?.send(Record::new("/home"))?.wait()?;      // Sync: acknowledged means on the device
//!
//! let after = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 8);
//! let again = open(&after)?;
//! assert_eq!(again.topic("clicks")?.partition(0)?.log_end_offset().get(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use crate::env::sim::{Failure, Fault, ManualClock, Op, SeededRandom, SimDisk, SimEnvironment, Times};

/// What an [`Assignor`](crate::group::Assignor) of your own must keep.
pub mod assignor {
    pub use crate::group::conformance::{assignor, sticky_assignor};
}

/// What a [`Clock`](crate::env::Clock) of your own must keep.
pub mod clock {
    pub use crate::env::conformance::clock::{clock, passing};
}

/// What a [`Codec`](crate::codec::Codec) of your own must keep.
pub mod codec {
    pub use crate::codec::conformance::{codec, encoding};
}

/// What a [`FileSystem`](crate::env::FileSystem) of your own must keep.
pub mod file_system {
    pub use crate::env::conformance::file_system;
}

/// What a [`Partitioner`](crate::topic::Partitioner) of your own must keep.
pub mod partitioner {
    pub use crate::topic::conformance::partitioner;
}

/// What a [`Random`](crate::env::Random) of your own must keep.
pub mod random {
    pub use crate::env::conformance::random::{made_anew, random};
}
