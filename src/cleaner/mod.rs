//! Upkeep: what a log no longer has to keep.
//!
//! ```text
//!   retention:  whole segments leave at the start, by age and size, in the background at a rate
//!   compaction: of each key the latest record stays
//!     plan (which, when) -> survey (transactions, producers) -> offset map -> filter -> segments swapped
//! ```
//!
//! Invariant: nothing is deleted unless the topic's settings ask for it.

mod compaction;
mod deletion_rate;
mod filter;
mod offset_map;
mod pace;
mod plan;
mod report;
mod retention;
mod siphash;
mod survey;
mod transactions;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub(crate) use compaction::Compaction;
pub(crate) use deletion_rate::{BETWEEN, DeletionRate};
pub(crate) use pace::Pace;
pub(crate) use plan::{dirtiness, is_due};
pub use report::{CompactionReport, RetentionReport};
pub(crate) use retention::{Leaving, due, retain};
