//! Topics: what names one, and how its partitions are chosen.
//!
//! Invariants: a definition is a constant and does no work; a partitioner takes no lock and answers with
//! a number below the number of partitions.

#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
mod definition;
mod manifest;
mod partitioner;
mod registry;

pub use definition::TopicDef;
pub(crate) use manifest::{CodecMark, TopicLife, TopicManifest};
pub(crate) use partitioner::built_in;
pub use partitioner::{HashKey, Partitioner, RoundRobin, Sticky};
pub(crate) use registry::Registry;
