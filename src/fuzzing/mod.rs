//! The door through which the fuzzer reaches what is private: each function takes arbitrary bytes, and a
//! panic is what the fuzzer looks for. Compiled for tests and for the fuzzer only.
//!
//! ```text
//!   decode_batch       bytes --> batches, records, control records, compression
//!   indexes            bytes --> index entries; a log whose index files hold anything
//!   checkpoints        bytes --> leader epochs, snapshot, partition.metadata, sealed files, manifest
//!   segment_recovery   bytes --> a .log file on the simulated disk, opened and read
//!   op_sequence        bytes --> operations on a partition, against a list of values
//! ```
//!
//! Invariants
//! - What is checksummed is fed twice: as it comes, and with the checksum put right, so that the fuzzer
//!   gets behind it.
//! - The same input does the same each time.

mod input;
mod machine;
mod model;
mod operations;
mod parsers;
mod recovery;
#[cfg(test)]
mod tests;

pub use operations::op_sequence;
pub use parsers::{checkpoints, decode_batch, indexes};
pub use recovery::segment_recovery;
