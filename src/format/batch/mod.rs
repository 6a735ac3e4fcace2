//! The record batch, version 2: the unit that is checksummed, compressed, replicated and read.
//!
//! ```text
//!    0 base offset i64 | 8 batch length i32 | 12 leader epoch i32 | 16 magic i8 = 2 | 17 crc u32
//!   21 attributes i16 | 23 last offset delta i32 | 27 base timestamp i64 | 35 max timestamp i64
//!   43 producer id i64 | 51 producer epoch i16 | 53 base sequence i32 | 57 records count i32
//!   61 records: back to back, or one compressed blob
//! ```
//!
//! Invariants: the CRC-32C covers byte 21 to the end, so a leader may patch base offset and leader epoch;
//! for that reason these two, the length and the magic must be checked by continuity. The batch length
//! counts what follows it (total - 12). Batches follow one another without padding.

mod attributes;
mod builder;
mod header;
mod rewrite;
mod view;

pub(crate) use attributes::Attributes;
pub(crate) use builder::{BatchBuilder, BatchSpec, seal_header};
pub(crate) use header::BatchHeader;
pub(crate) use rewrite::{empty, rebuild};
pub(crate) use view::{BatchView, CheckInPieces, Records};

use super::checksum::{crc32c, crc32c_combine};

/// Bytes of a batch before its records.
pub(crate) const HEADER_LEN: usize = 61;
/// Bytes that the batch length does not count: base offset and the length itself.
pub(crate) const LOG_OVERHEAD: usize = 12;
/// Bytes up to and including the magic: what a reader needs before it can decide anything.
pub(crate) const UP_TO_MAGIC: usize = 17;
/// The least batch length: a header without records.
pub(crate) const MIN_BATCH_LENGTH: i32 = (HEADER_LEN - LOG_OVERHEAD) as i32;
/// The only format.
pub(crate) const MAGIC: i8 = 2;
/// Base offset, i64.
pub(crate) const BASE_OFFSET_AT: usize = 0;
/// Batch length, i32.
pub(crate) const BATCH_LENGTH_AT: usize = 8;
/// Leader epoch, i32; -1 unknown.
pub(crate) const LEADER_EPOCH_AT: usize = 12;
/// Magic, i8.
pub(crate) const MAGIC_AT: usize = 16;
/// CRC-32C, u32.
pub(crate) const CRC_AT: usize = 17;
/// Attributes, i16; the CRC begins here.
pub(crate) const ATTRIBUTES_AT: usize = 21;
/// Last offset minus base offset, i32.
pub(crate) const LAST_OFFSET_DELTA_AT: usize = 23;
/// Base timestamp (or delete horizon), i64, milliseconds.
pub(crate) const BASE_TIMESTAMP_AT: usize = 27;
/// Largest timestamp (or the append time), i64, milliseconds.
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;
/// Producer id, i64; -1 none.
pub(crate) const PRODUCER_ID_AT: usize = 43;
/// Producer epoch, i16; -1 none.
pub(crate) const PRODUCER_EPOCH_AT: usize = 51;
/// Sequence of the first record, i32; -1 none.
pub(crate) const BASE_SEQUENCE_AT: usize = 53;
/// Records really present, i32.
pub(crate) const RECORDS_COUNT_AT: usize = 57;

/// The checksum of a whole batch (which holds at least its header): what its CRC field should say.
#[inline]
pub(crate) fn batch_crc(batch: &[u8]) -> u32 {
    crc32c(&batch[ATTRIBUTES_AT..])
}

/// The checksum of a batch from its bytes 21 to 61 and the checksum and length of its records.
#[inline]
pub(crate) fn crc_of_parts(header40: &[u8], records_crc: u32, records_len: u64) -> u32 {
    crc32c_combine(crc32c(header40), records_crc, records_len)
}
