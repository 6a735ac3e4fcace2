//! A topic as a map: the latest value of each key, in memory, kept up with the log.
//!
//! ```text
//!   log --TopicReader--> update(): rows put, replaced, removed --> get, iterate
//!    ^                      ^ poll(): waits for changes            snapshot file: opens without reading all
//!    +--- append_if(expected version): only where the log still ends where the table has read to
//! ```
//!
//! Invariants
//! - A table holds what a reader from the start of the log would end up with at the same positions.
//! - A snapshot is believed only if it is whole, of this topic, and no tombstone that it has not seen can be gone.

mod changes;
mod conditional;
mod rows;
mod snapshot;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod table;

pub use changes::{Change, Changes, PollChanges};
pub use conditional::Expected;
pub(crate) use snapshot::SnapshotPlace;
pub use table::{Entry, Table};
