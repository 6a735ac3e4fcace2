//! The bytes of the log: pure functions between values and Kafka's formats, with no I/O.
//!
//! ```text
//!   record  ->  batch (61-byte header, CRC, maybe compressed)  ->  .log
//!   offset -> position  .index      time -> offset  .timeindex      aborted transactions  .txnindex
//!   groups: offsets_topic      transactional ids: transaction_state
//!   producers  .snapshot      epochs  leader-epoch-checkpoint      topic id  partition.metadata
//!   millpond's own small files: sealed_file
//! ```
//!
//! Invariants: every integer on disk is big-endian (or a zig-zag varint); bytes that come from outside
//! never panic, and never make us allocate more than a bound that the caller or their own length sets;
//! what is written here is what Kafka's own classes write (the vectors in `tests/vectors` hold it).
#![allow(
    dead_code,
    unused_imports,
    reason = "the words of the format are complete; the layers above use what they need"
)]

pub(crate) mod batch;
mod bytes;
pub(crate) mod checksum;
pub(crate) mod compression;
pub(crate) mod control;
mod error;
pub(crate) mod index;
pub(crate) mod leader_epochs;
pub(crate) mod murmur2;
pub(crate) mod offsets_topic;
pub(crate) mod partition_metadata;
pub(crate) mod record;
pub(crate) mod sealed_file;
pub(crate) mod snapshot;
pub(crate) mod transaction_state;
pub(crate) mod varint;

#[cfg(test)]
mod tests;

pub(crate) use error::FormatError;
pub(crate) use murmur2::partition_for_key;
