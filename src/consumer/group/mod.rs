//! Consumers of groups: the coordinator's decisions carried out.
//!
//! ```text
//!   Consumer --join, commit, released--> GroupService --records--> log of __consumer_offsets
//!      ^                                   | Coordinator (pure)
//!      +-- Mailbox <-- changes ------------+
//!      +-- logs of its partitions <-- Directory (the broker)
//! ```
//!
//! Invariants
//! - The coordinator is asked under one lock; nothing of the caller's runs under it but the assignor, and no
//!   log is touched.
//! - A member hears of changes in their order, in the thread that polls.

mod administration;
mod commit;
mod committing;
mod concurrent;
mod consumer;
mod decoding;
mod fetching;
mod interrupter;
mod lanes;
mod listener;
mod mailbox;
mod opening;
mod place;
mod polls;
mod pool;
mod rebalancing;
mod service;
#[cfg(feature = "stream")]
mod stream;
mod transacted;
mod writing;

pub(crate) use administration::LagSource;
pub use commit::Commit;
pub use consumer::Consumer;
pub(crate) use consumer::Membership;
pub use interrupter::Interrupter;
pub use listener::{Handover, RebalanceListener};
pub use polls::Polls;
pub(crate) use service::{Directory, FoundPartition, GroupService};
