//! A batch that has lost records to compaction.
//!
//! ```text
//!   before: base 500 | deltas 0 1 2 3 | count 4 | base time t0
//!   after:  base 500 | deltas     2 3 | count 2 | base time t2, or the delete horizon
//! ```
//!
//! Invariants: base offset, last offset, leader epoch, producer, sequence and the bits but for the codec are
//! those of the original batch; so is every record but for its timestamp delta, whose sum with the base stays.

use super::header::batch_length;
use super::{Attributes, BatchHeader, HEADER_LEN, seal_header};
use crate::format::FormatError;
use crate::format::compression::{Codec, compress};
use crate::format::record::{HeaderRef, RecordFields, RecordRef};

/// The batch with this header and only these of its records (one at least). A `horizon` (milliseconds) is when
/// the tombstones in it may go: it takes the place of the base timestamp.
pub(crate) fn rebuild(
    header: &BatchHeader,
    records: &[RecordRef<'_>],
    horizon: Option<i64>,
) -> Result<Vec<u8>, FormatError> {
    let Some(first) = records.first() else { return Err(FormatError::BadCount) };
    let timestamp = |record: &RecordRef<'_>| header.timestamp_of(record.timestamp_delta);
    let base_timestamp = horizon.unwrap_or_else(|| timestamp(first));
    let mut bytes = vec![0; HEADER_LEN];
    let mut headers: Vec<HeaderRef<'_>> = Vec::new();
    for record in records {
        headers.clear();
        headers.extend(record.headers.iter());
        let fields = RecordFields {
            timestamp_delta: timestamp(record).wrapping_sub(base_timestamp),
            offset_delta: record.offset_delta,
            key: record.key,
            value: record.value,
            headers: &headers,
        };
        let start = bytes.len();
        bytes.resize(start + fields.encoded_len(), 0);
        fields.encode(&mut bytes[start..]);
    }
    let newest = records.iter().map(timestamp).max().unwrap_or(-1);
    let mut attributes = header.attributes;
    if horizon.is_some() {
        attributes = attributes.with_delete_horizon();
    }
    let codec = attributes.codec()?;
    match compressed(codec, &bytes)? {
        Some(blob) => bytes = blob,
        None => attributes = attributes.with_codec(Codec::None),
    }
    batch_length(bytes.len())?;
    let count = i32::try_from(records.len()).map_err(|_| FormatError::BadCount)?;
    let max_timestamp = if attributes.is_log_append_time() { header.max_timestamp } else { newest };
    let changed = BatchHeader { attributes, base_timestamp, max_timestamp, records_count: count, ..*header };
    seal_header(&mut bytes, &changed)?;
    Ok(bytes)
}

/// The batch with this header without any record: what is left of it says where it was, and of whom.
pub(crate) fn empty(header: &BatchHeader) -> Result<Vec<u8>, FormatError> {
    let kept = Attributes::LOG_APPEND_TIME | Attributes::TRANSACTIONAL | Attributes::CONTROL;
    let mut bytes = vec![0; HEADER_LEN];
    let attributes = Attributes(header.attributes.0 & kept);
    let changed = BatchHeader { attributes, base_timestamp: -1, records_count: 0, ..*header };
    seal_header(&mut bytes, &changed)?;
    Ok(bytes)
}

/// The batch `bytes` with its records compressed, where that makes it smaller.
fn compressed(codec: Codec, bytes: &[u8]) -> Result<Option<Vec<u8>>, FormatError> {
    if codec == Codec::None {
        return Ok(None);
    }
    let records = &bytes[HEADER_LEN..];
    let blob = compress(codec, None, records)?;
    if blob.len() >= records.len() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(HEADER_LEN + blob.len());
    out.resize(HEADER_LEN, 0);
    out.extend_from_slice(&blob);
    Ok(Some(out))
}
