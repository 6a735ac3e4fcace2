//! A record that is a batch of its own, in parts: it is written without having been put together.
//!
//! ```text
//!   [ header, 61 bytes | length, attributes, deltas, key, length of the value ][ value ][ headers ]
//!     before                                                                     lent      behind
//! ```

use super::tail::{NewRecord, OpenLimits};
use crate::format::batch::{Attributes, BatchHeader, HEADER_LEN, crc_of_parts};
use crate::format::checksum::crc32c_append;

/// The parts of the batch.
#[derive(Debug)]
pub(crate) struct LargeRecord<'a> {
    header: BatchHeader,
    before: Vec<u8>,
    value: &'a [u8],
    behind: Vec<u8>,
}

impl<'a> LargeRecord<'a> {
    /// The batch of one record at an offset, appended at `now`.
    pub(crate) fn new(record: &NewRecord<'a>, offset: u64, now: i64, limits: OpenLimits) -> LargeRecord<'a> {
        let timestamp = if limits.log_append_time { now } else { record.timestamp };
        let fields = record.fields(0, 0);
        let (mut before, behind) = (vec![0; HEADER_LEN], Vec::new());
        let mut large = LargeRecord {
            header: header(timestamp, offset, fields.encoded_len(), limits),
            value: record.value.unwrap_or_default(),
            behind,
            before: Vec::new(),
        };
        fields.encode_around(&mut before, &mut large.behind);
        let (place, start) = before.split_at_mut(HEADER_LEN);
        let parts = [&*start, large.value, &*large.behind];
        let records_crc = parts.into_iter().fold(0, crc32c_append);
        large.header.write(place);
        let len = parts.iter().map(|part| part.len() as u64).sum();
        large.header.crc = crc_of_parts(place.get(21..).unwrap_or_default(), records_crc, len);
        large.header.write(place);
        large.before = before;
        large
    }

    /// The header, complete.
    pub(super) fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes, in order.
    pub(super) fn parts(&self) -> [&[u8]; 3] {
        [&self.before, self.value, &self.behind]
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
