//! What the benchmarks share: payloads, the raw loops that bound a figure, checks, and a calm machine.
//!
//! ```text
//!   payload   random buffers, each record stamped with its number
//!   verify    everything is read back: count, order, sum of all words
//!   raw       the bounds: a raw map, a raw file
//!   machine   memory made resident beforehand, threads pinned
//! ```
#![allow(dead_code, reason = "each benchmark takes what it needs")]

pub(crate) mod machine;
pub(crate) mod payload;
pub(crate) mod raw;
pub(crate) mod verify;

/// Whatever went wrong: a benchmark ends with it.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Of a step of a benchmark.
pub(crate) type Result<T> = std::result::Result<T, Failure>;
