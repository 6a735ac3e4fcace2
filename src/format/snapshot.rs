//! Producer snapshots (`.snapshot`, version 1): what a partition knows about its producers up to an
//! offset, so that opening need not read the log from its start.
//!
//! ```text
//!   0 version i16 = 1 | 2 crc u32 (of all that follows it) | 6 count i32 | 10 entries of 46 bytes
//!   entry: producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32
//!          | timestamp i64 | coordinator epoch i32 | first offset of the open transaction i64
//! ```
//!
//! Invariants: the count is exactly what the file holds; a producer occurs once. A file that is wrong is
//! dropped and an older one used.

use super::FormatError;
use super::bytes::{array_at, field};
use super::checksum::crc32c;

const VERSION: i16 = 1;
const CRC_AT: usize = 2;
const COUNT_AT: usize = 6;
const ENTRIES_AT: usize = 10;
const ENTRY_LEN: usize = 46;

/// What is known of a producer: its last batch, and its open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerEntry {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    /// Of its last record; -1 none.
    pub(crate) last_sequence: i32,
    /// Of its last record; -1 none.
    pub(crate) last_offset: i64,
    /// Last minus first offset of its last batch.
    pub(crate) offset_delta: i32,
    /// Of its last batch, milliseconds.
    pub(crate) timestamp: i64,
    /// Of the last marker; -1 none.
    pub(crate) coordinator_epoch: i32,
    /// Where its open transaction begins; -1 none.
    pub(crate) current_txn_first_offset: i64,
}

/// The content of a snapshot file.
pub(crate) fn encode(entries: &[ProducerEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENTRIES_AT + entries.len() * ENTRY_LEN);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    // 2^31 producers would be a snapshot of 92 GiB.
    out.extend_from_slice(&(entries.len() as i32).to_be_bytes());
    for e in entries {
        out.extend_from_slice(&e.producer_id.to_be_bytes());
        out.extend_from_slice(&e.epoch.to_be_bytes());
        out.extend_from_slice(&e.last_sequence.to_be_bytes());
        out.extend_from_slice(&e.last_offset.to_be_bytes());
        out.extend_from_slice(&e.offset_delta.to_be_bytes());
        out.extend_from_slice(&e.timestamp.to_be_bytes());
        out.extend_from_slice(&e.coordinator_epoch.to_be_bytes());
        out.extend_from_slice(&e.current_txn_first_offset.to_be_bytes());
    }
    let crc = crc32c(&out[COUNT_AT..]);
    out[CRC_AT..COUNT_AT].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The entries of a snapshot file.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<ProducerEntry>, FormatError> {
    let version = i16::from_be_bytes(array_at(bytes, 0).ok_or(FormatError::Truncated)?);
    if version != VERSION {
        return Err(FormatError::BadVersion(i64::from(version)));
    }
    let stored = u32::from_be_bytes(array_at(bytes, CRC_AT).ok_or(FormatError::Truncated)?);
    let count = i32::from_be_bytes(array_at(bytes, COUNT_AT).ok_or(FormatError::Truncated)?);
    let computed = crc32c(&bytes[COUNT_AT..]);
    if stored != computed {
        return Err(FormatError::BadCrc { stored, computed });
    }
    let body = &bytes[ENTRIES_AT..];
    let expected = usize::try_from(count).ok().and_then(|n| n.checked_mul(ENTRY_LEN));
    if expected != Some(body.len()) {
        return Err(FormatError::BadCount);
    }
    let entries: Vec<_> = body.chunks_exact(ENTRY_LEN).map(entry).collect();
    refuse_duplicates(&entries)?;
    Ok(entries)
}

fn entry(src: &[u8]) -> ProducerEntry {
    ProducerEntry {
        producer_id: i64::from_be_bytes(field(src, 0)),
        epoch: i16::from_be_bytes(field(src, 8)),
        last_sequence: i32::from_be_bytes(field(src, 10)),
        last_offset: i64::from_be_bytes(field(src, 14)),
        offset_delta: i32::from_be_bytes(field(src, 22)),
        timestamp: i64::from_be_bytes(field(src, 26)),
        coordinator_epoch: i32::from_be_bytes(field(src, 34)),
        current_txn_first_offset: i64::from_be_bytes(field(src, 38)),
    }
}

fn refuse_duplicates(entries: &[ProducerEntry]) -> Result<(), FormatError> {
    let mut ids: Vec<_> = entries.iter().map(|e| e.producer_id).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(_) => Err(FormatError::BadCount),
        None => Ok(()),
    }
}
