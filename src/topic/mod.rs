//! Topics: what names one, and how its partitions are chosen.
//!
//! Invariants: a definition is a constant and does no work; a partitioner takes no lock and answers with
//! a number below the number of partitions.

mod definition;
mod partitioner;

pub use definition::TopicDef;
pub(crate) use partitioner::built_in;
pub use partitioner::{HashKey, Partitioner, RoundRobin, Sticky};
