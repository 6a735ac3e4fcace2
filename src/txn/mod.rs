//! Transactions: records in any partitions, and offsets of a group, that all hold or none.
//!
//! ```text
//!   begin -> send* , commit_offsets* -> commit
//!     every partition flushed, at once           n flushes side by side
//!     the commit record flushed                  1 flush: this is the commit
//!     markers appended, readers go on            flushed with whatever comes next, or soon
//! ```
//!
//! Invariants
//! - The coordinator is pure: events and time in, effects out. What it knows follows from the records of
//!   `__transaction_state` and from the transactions that partitions have open.
//! - A transaction without a durable commit record is aborted: by its holder, by its timeout, or by the next opening.
//! - A committed one stays in its id's record, and in those after it, until each of its markers is durable.
//! - The epoch rises with every transaction, and a marker ends only the transaction of its epoch.
//! - A record of a transaction is appended only while its holder may: whoever ends it waits for that first.
#![doc = ""]
#![doc = include_str!("../../docs/transactions.md")]

mod commit;
mod coordinator;
mod description;
mod expiry;
mod markers;
mod outcome;
mod recovery;
mod service;
mod session;
#[cfg(test)]
mod tests;
mod undecided;

pub use commit::TransactionCommit;
pub use description::{TransactionDescription, TransactionState};
pub(crate) use service::TxnService;
pub(crate) use session::Session;
pub use undecided::UndecidedTransaction;
