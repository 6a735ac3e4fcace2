//! The 61 bytes before the records, as a value.
//!
//! Invariants of a parsed header: magic 2; batch length >= 49; base offset >= 0, last offset delta >= 0,
//! and the offset after the last fits an i64; 0 <= count <= last offset delta + 1 (fewer after
//! compaction, none in a batch kept for its end offset alone); no reserved attribute bit.
//! The drawing of the fields is in `batch/mod.rs`.

use super::{
    ATTRIBUTES_AT, Attributes, BASE_OFFSET_AT, BASE_SEQUENCE_AT, BASE_TIMESTAMP_AT, BATCH_LENGTH_AT, CRC_AT,
    HEADER_LEN, LAST_OFFSET_DELTA_AT, LEADER_EPOCH_AT, LOG_OVERHEAD, MAGIC, MAGIC_AT, MAX_TIMESTAMP_AT,
    MIN_BATCH_LENGTH, PRODUCER_EPOCH_AT, PRODUCER_ID_AT, RECORDS_COUNT_AT, crc_of_parts,
};
use crate::format::FormatError;
use crate::format::bytes::field;

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    pub(crate) batch_length: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: i8,
    pub(crate) crc: u32,
    pub(crate) attributes: Attributes,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) records_count: i32,
}

impl BatchHeader {
    /// The header at the start of `src`. `Truncated` below 61 bytes.
    #[inline]
    pub(crate) fn parse(src: &[u8]) -> Result<BatchHeader, FormatError> {
        let head: &[u8; HEADER_LEN] = src.first_chunk().ok_or(FormatError::Truncated)?;
        let header = BatchHeader {
            base_offset: i64::from_be_bytes(field(head, BASE_OFFSET_AT)),
            batch_length: i32::from_be_bytes(field(head, BATCH_LENGTH_AT)),
            leader_epoch: i32::from_be_bytes(field(head, LEADER_EPOCH_AT)),
            magic: i8::from_be_bytes(field(head, MAGIC_AT)),
            crc: u32::from_be_bytes(field(head, CRC_AT)),
            attributes: Attributes(i16::from_be_bytes(field(head, ATTRIBUTES_AT))),
            last_offset_delta: i32::from_be_bytes(field(head, LAST_OFFSET_DELTA_AT)),
            base_timestamp: i64::from_be_bytes(field(head, BASE_TIMESTAMP_AT)),
            max_timestamp: i64::from_be_bytes(field(head, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(head, PRODUCER_ID_AT)),
            producer_epoch: i16::from_be_bytes(field(head, PRODUCER_EPOCH_AT)),
            base_sequence: i32::from_be_bytes(field(head, BASE_SEQUENCE_AT)),
            records_count: i32::from_be_bytes(field(head, RECORDS_COUNT_AT)),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), FormatError> {
        if self.magic != MAGIC {
            return Err(FormatError::BadMagic(self.magic));
        }
        if self.batch_length < MIN_BATCH_LENGTH {
            return Err(FormatError::BadLength { what: "batch", length: i64::from(self.batch_length) });
        }
        if self.base_offset < 0 {
            return Err(FormatError::BadOffset(self.base_offset));
        }
        let Ok(last) = u32::try_from(self.last_offset_delta) else {
            return Err(FormatError::BadOffset(i64::from(self.last_offset_delta)));
        };
        if self.base_offset > i64::MAX - i64::from(last) - 1 {
            return Err(FormatError::BadOffset(self.base_offset));
        }
        match u32::try_from(self.records_count) {
            Ok(count) if count <= last + 1 => self.attributes.check(),
            _ => Err(FormatError::BadCount),
        }
    }

    /// Writes the fields over the first 61 bytes of `dst`, as they are.
    pub(crate) fn write(&self, dst: &mut [u8]) {
        let mut put = |at: usize, bytes: &[u8]| dst[at..at + bytes.len()].copy_from_slice(bytes);
        put(RECORDS_COUNT_AT, &self.records_count.to_be_bytes());
        put(BASE_SEQUENCE_AT, &self.base_sequence.to_be_bytes());
        put(PRODUCER_EPOCH_AT, &self.producer_epoch.to_be_bytes());
        put(PRODUCER_ID_AT, &self.producer_id.to_be_bytes());
        put(MAX_TIMESTAMP_AT, &self.max_timestamp.to_be_bytes());
        put(BASE_TIMESTAMP_AT, &self.base_timestamp.to_be_bytes());
        put(LAST_OFFSET_DELTA_AT, &self.last_offset_delta.to_be_bytes());
        put(ATTRIBUTES_AT, &self.attributes.0.to_be_bytes());
        put(CRC_AT, &self.crc.to_be_bytes());
        put(MAGIC_AT, &self.magic.to_be_bytes());
        put(LEADER_EPOCH_AT, &self.leader_epoch.to_be_bytes());
        put(BATCH_LENGTH_AT, &self.batch_length.to_be_bytes());
        put(BASE_OFFSET_AT, &self.base_offset.to_be_bytes());
    }

    /// The 61 bytes.
    pub(crate) fn to_bytes(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        self.write(&mut bytes);
        bytes
    }

    /// This header in front of `records_len` bytes whose checksum is `records_crc`: length and CRC are
    /// filled in without looking at the records.
    pub(crate) fn sealed(self, records_crc: u32, records_len: usize) -> Result<BatchHeader, FormatError> {
        let batch_length = batch_length(HEADER_LEN.saturating_add(records_len))?;
        let header = BatchHeader { batch_length, ..self };
        let crc = crc_of_parts(&header.to_bytes()[ATTRIBUTES_AT..], records_crc, records_len as u64);
        Ok(BatchHeader { crc, ..header })
    }

    /// Bytes of the whole batch.
    #[inline]
    pub(crate) fn total_len(&self) -> usize {
        // A header has a length of at least 49; one that was made by hand and has not counts as bare.
        LOG_OVERHEAD + usize::try_from(self.batch_length).unwrap_or(HEADER_LEN - LOG_OVERHEAD)
    }

    /// The offset of the last record that the batch was written with.
    #[inline]
    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset after the batch: where a reader goes on.
    #[inline]
    pub(crate) fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// The sequence of the last record, which wraps from 2^31-1 to 0; -1 where there is none.
    pub(crate) fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return -1;
        }
        self.base_sequence.wrapping_add(self.last_offset_delta) & i32::MAX
    }

    /// The timestamp of a record with this delta, milliseconds.
    #[inline]
    pub(crate) fn timestamp_of(&self, timestamp_delta: i64) -> i64 {
        if self.attributes.is_log_append_time() {
            self.max_timestamp
        } else {
            self.base_timestamp.wrapping_add(timestamp_delta)
        }
    }

    /// The offset of a record with this delta (which [`super::Records`] has checked).
    #[inline]
    pub(crate) fn offset_of(&self, offset_delta: i32) -> i64 {
        self.base_offset + i64::from(offset_delta)
    }

    /// Gives the batch in `dst` its place: the fields that the CRC leaves to the leader.
    pub(crate) fn patch_leader(dst: &mut [u8], base_offset: i64, leader_epoch: i32) {
        dst[BASE_OFFSET_AT..BASE_OFFSET_AT + 8].copy_from_slice(&base_offset.to_be_bytes());
        dst[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
    }
}

/// The batch length field of a batch of `total` bytes.
pub(super) fn batch_length(total: usize) -> Result<i32, FormatError> {
    total
        .checked_sub(LOG_OVERHEAD)
        .and_then(|length| i32::try_from(length).ok())
        .ok_or(FormatError::TooLarge { limit: i32::MAX as usize })
}
