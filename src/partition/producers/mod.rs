//! What a partition knows of its producers: who they are, what they appended last, which transactions are open,
//! and which were aborted.
//!
//! ```text
//!   batch of producer 7, epoch 2, sequences 40..49
//!     exactly one of the last five     -> the same answer again, nothing is appended
//!     an older epoch                   -> fenced
//!     sequence 40 is the next one      -> appended, remembered
//!     anything else                    -> refused
//! ```
//!
//! Invariants
//! - Everything here but `files.rs` is pure: no I/O, no clock, no lock.
//! - The state is that of the log: it follows from the batches in their order, from a snapshot on.
//! - A marker ends the open transaction of its own producer and epoch, and no other one; the epoch is over then.
//! - Partitions without such producers pay nothing: no file, no lock, no look.

mod aborted;
mod files;
mod producer;
mod sequence;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use aborted::AbortedIndex;
pub(super) use files::{Candidate, ProducerFiles};
pub(crate) use producer::KnownProducer;
pub(crate) use sequence::sequence_after;
pub(crate) use table::{Admission, Marker, ProducerTable, Refusal};
