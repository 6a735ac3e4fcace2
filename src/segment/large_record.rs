//! A record that is a batch of its own, in parts: it is written without having been put together.
//!
//! ```text
//!   [ header, 61 bytes | length, attributes, deltas, key, length of the value ][ value ][ headers ]
//!     before                                                                     lent      behind
//! ```
//!
//! Invariant: the checksum is known only when everything behind the header has been written, piece by piece; the
//! header is written last.

use super::tail::{NewRecord, OpenLimits};
use crate::format::batch::{Attributes, BatchHeader, HEADER_LEN, crc_of_parts};
use crate::format::checksum::crc32c_append;

/// Where what the checksum covers begins in the header.
const CRC_END: usize = 21;

/// The parts of the batch.
#[derive(Debug)]
pub(crate) struct LargeRecord<'a> {
    header: BatchHeader,
    before: Vec<u8>,
    value: &'a [u8],
    behind: Vec<u8>,
    /// The checksum of the record's bytes so far, and how many they are.
    summed: (u32, u64),
}

impl<'a> LargeRecord<'a> {
    /// The batch of one record at an offset, appended at `now`.
    pub(crate) fn new(record: &NewRecord<'a>, offset: u64, now: i64, limits: OpenLimits) -> LargeRecord<'a> {
        let timestamp = if limits.log_append_time { now } else { record.timestamp };
        let fields = record.fields(0, 0);
        let (mut before, mut behind) = (vec![0; HEADER_LEN], Vec::new());
        let header = header(timestamp, offset, fields.encoded_len(), limits);
        fields.encode_around(&mut before, &mut behind);
        let value = record.value.unwrap_or_default();
        let mut large = LargeRecord { header, before, value, behind, summed: (0, 0) };
        let start = large.before.get(HEADER_LEN..).unwrap_or_default();
        large.summed = (crc32c_append(0, start), start.len() as u64);
        large
    }

    /// A piece of what is behind the start is being written: it is summed up while it is in the processor's cache.
    pub(super) fn sum(&mut self, piece: &[u8]) {
        let (crc, len) = self.summed;
        self.summed = (crc32c_append(crc, piece), len + piece.len() as u64);
    }

    /// All pieces have been summed up, in order: the header, complete, and the start of the record.
    pub(super) fn finish(&mut self) -> &[u8] {
        let place = self.before.get_mut(..HEADER_LEN).unwrap_or_default();
        self.header.write(place);
        let (crc, len) = self.summed;
        self.header.crc = crc_of_parts(place.get(CRC_END..).unwrap_or_default(), crc, len);
        self.header.write(place);
        &self.before
    }

    /// The header; its checksum is not known before the [end](Self::finish).
    pub(super) fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// Bytes before the value.
    pub(super) fn start_len(&self) -> u64 {
        self.before.len() as u64
    }

    /// The value.
    pub(super) fn value(&self) -> &'a [u8] {
        self.value
    }

    /// What comes behind the value.
    pub(super) fn take_behind(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.behind)
    }

    /// The record's timestamp, in milliseconds since the epoch.
    pub(crate) fn timestamp(&self) -> i64 {
        self.header.base_timestamp
    }
}

fn header(timestamp: i64, offset: u64, len: usize, limits: OpenLimits) -> BatchHeader {
    let attributes = Attributes::NONE;
    BatchHeader {
        base_offset: offset as i64,
        batch_length: (len + HEADER_LEN - 12) as i32,
        leader_epoch: limits.leader_epoch,
        magic: 2,
        crc: 0,
        attributes: if limits.log_append_time { attributes.with_log_append_time() } else { attributes },
        last_offset_delta: 0,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: 1,
    }
}
