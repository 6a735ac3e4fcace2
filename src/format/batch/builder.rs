//! Building a batch in memory, record by record.
//!
//! ```text
//!   buffer: | 61 bytes kept for the header | record 0 | record 1 | ...     finish() fills in the header
//! ```
//!
//! Invariants: records have the offset deltas 0, 1, 2, ...; the base timestamp is the first record's; a
//! builder is empty again after `finish`, and unchanged when `finish` fails.

use super::header::batch_length;
use super::{Attributes, BatchHeader, CRC_AT, HEADER_LEN, MAGIC, batch_crc};
use crate::format::FormatError;
use crate::format::compression::{Codec, compress};
use crate::format::record::{HeaderRef, MeasuredRecord, RecordFields};

/// What a batch says about all its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchSpec {
    /// Codec, timestamp type, transactional, control.
    pub(crate) attributes: Attributes,
    /// -1 where unknown.
    pub(crate) leader_epoch: i32,
    /// -1 for none.
    pub(crate) producer_id: i64,
    /// -1 for none.
    pub(crate) producer_epoch: i16,
    /// -1 for none.
    pub(crate) base_sequence: i32,
}

impl Default for BatchSpec {
    /// No codec, no epoch, no producer.
    fn default() -> BatchSpec {
        BatchSpec {
            attributes: Attributes::NONE,
            leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

/// A batch that is being built.
#[derive(Clone, Debug)]
pub(crate) struct BatchBuilder {
    spec: BatchSpec,
    /// As long as it has ever been, or empty: what lies behind `used` means nothing.
    buffer: Vec<u8>,
    used: usize,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    append_time: Option<i64>,
}

impl BatchBuilder {
    /// An empty batch.
    pub(crate) fn new(spec: BatchSpec) -> BatchBuilder {
        BatchBuilder::reusing(spec, Vec::new())
    }

    /// An empty batch in the memory of an earlier one.
    pub(crate) fn reusing(spec: BatchSpec, buffer: Vec<u8>) -> BatchBuilder {
        BatchBuilder {
            spec,
            buffer,
            used: HEADER_LEN,
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            append_time: None,
        }
    }

    /// Adds a record; returns the bytes it took (its timestamp is in milliseconds). Limits on count and
    /// size are the caller's; what exceeds the format is refused by [`Self::finish`].
    pub(crate) fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[HeaderRef<'_>],
    ) -> usize {
        let record = self.measure(timestamp, key, value, headers);
        self.append_measured(timestamp, record)
    }

    /// A record as [`Self::append`] would add it next, and what it takes.
    #[inline(always)]
    pub(crate) fn measure<'a>(
        &self,
        timestamp: i64,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: &'a [HeaderRef<'a>],
    ) -> MeasuredRecord<'a> {
        let base = if self.count == 0 { timestamp } else { self.base_timestamp };
        // Wraps for timestamps that are more than 2^63 apart, and wraps back when it is read.
        let timestamp_delta = timestamp.wrapping_sub(base);
        let fields = RecordFields { timestamp_delta, offset_delta: self.count, key, value, headers };
        fields.measure()
    }

    /// Adds a record that was measured since the last one was added; returns the bytes it took.
    #[inline(always)]
    pub(crate) fn append_measured(&mut self, timestamp: i64, record: MeasuredRecord<'_>) -> usize {
        debug_assert_eq!(record.offset_delta(), self.count, "measured for another place");
        if self.count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let (start, len) = (self.used, record.len());
        let end = start + len;
        if end > self.buffer.len() {
            self.grow(end);
        }
        record.encode(&mut self.buffer[start..end]);
        self.used = end;
        self.count += 1;
        len
    }

    #[cold]
    fn grow(&mut self, need: usize) {
        // No batch of the usual sizes takes so much more that its memory is not kept for the next one.
        const USUAL: usize = 1 << 20;
        let more = self.buffer.len() + self.buffer.len() / 2;
        let len = if need <= USUAL { need.max(more).min(USUAL) } else { need.max(more) };
        self.buffer.reserve_exact(len - self.buffer.len());
        self.buffer.resize(len, 0);
    }

    /// Whether it has no more memory than for its header.
    pub(crate) fn is_bare(&self) -> bool {
        self.buffer.len() <= HEADER_LEN
    }

    /// Bytes so far, uncompressed, the header included.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Records so far.
    #[inline]
    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    /// Whether there is no record yet.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What the batch says about all its records; may be changed until it is finished.
    pub(crate) fn spec_mut(&mut self) -> &mut BatchSpec {
        &mut self.spec
    }

    /// Makes it a LogAppendTime batch: `timestamp` (milliseconds) is the time of all its records.
    pub(crate) fn set_append_time(&mut self, timestamp: i64) {
        self.append_time = Some(timestamp);
    }

    /// Gives an empty builder the memory of an earlier batch.
    pub(crate) fn reuse(&mut self, memory: Vec<u8>) {
        if self.is_empty() && memory.len() > self.buffer.len() {
            self.buffer = memory;
        }
    }

    /// Its memory, for another builder.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.buffer
    }

    /// Empties the batch; its memory and what it says about its records stay.
    pub(crate) fn clear(&mut self) {
        self.used = HEADER_LEN;
        self.count = 0;
        self.base_timestamp = -1;
        self.max_timestamp = -1;
        self.append_time = None;
    }

    /// The finished batch at `base_offset`; the builder is empty afterwards. `level` is the codec's
    /// (none: Kafka's default); records that it would not make smaller are stored as they are.
    ///
    /// Errors: `BadCount` without records, `BadOffset` for an impossible offset, `TooLarge` above 2 GiB,
    /// and those of the codec; the builder is as it was.
    pub(crate) fn finish(&mut self, base_offset: i64, level: Option<i32>) -> Result<Vec<u8>, FormatError> {
        self.finish_with_header(base_offset, level).map(|(batch, _)| batch)
    }

    /// [`finish`](Self::finish), and the header as it was written.
    pub(crate) fn finish_with_header(
        &mut self,
        base_offset: i64,
        level: Option<i32>,
    ) -> Result<(Vec<u8>, BatchHeader), FormatError> {
        let mut header = self.header(base_offset)?;
        let records = &self.buffer[HEADER_LEN..self.used];
        let blob = match header.attributes.codec()? {
            Codec::None => None,
            codec => Some(compress(codec, level, records)?).filter(|blob| blob.len() < records.len()),
        };
        let mut batch = match blob {
            Some(blob) => {
                let mut batch = Vec::with_capacity(HEADER_LEN + blob.len());
                batch.resize(HEADER_LEN, 0);
                batch.extend_from_slice(&blob);
                batch
            }
            None => {
                // What no codec makes smaller stays as it is, so that a batch that fits goes on fitting.
                header.attributes = header.attributes.with_codec(Codec::None);
                batch_length(self.used)?;
                self.buffer.truncate(self.used);
                std::mem::take(&mut self.buffer)
            }
        };
        self.clear();
        let header = seal_header(&mut batch, &header)?;
        Ok((batch, header))
    }

    fn header(&self, base_offset: i64) -> Result<BatchHeader, FormatError> {
        if self.count < 1 {
            return Err(FormatError::BadCount);
        }
        if base_offset < 0 || base_offset > i64::MAX - i64::from(self.count) {
            return Err(FormatError::BadOffset(base_offset));
        }
        let BatchSpec { attributes, leader_epoch, producer_id, producer_epoch, base_sequence } = self.spec;
        attributes.check()?;
        let (attributes, max_timestamp) = match self.append_time {
            Some(time) => (attributes.with_log_append_time(), time),
            None => (attributes, self.max_timestamp),
        };
        Ok(BatchHeader {
            base_offset,
            batch_length: 0,
            leader_epoch,
            magic: MAGIC,
            crc: 0,
            attributes,
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            records_count: self.count,
        })
    }
}

/// Writes `header` over the first 61 bytes of the whole batch in `buf`, with the length of `buf` and the
/// CRC of its bytes in place of the header's own; returns the header as written.
pub(crate) fn seal_header(buf: &mut [u8], header: &BatchHeader) -> Result<BatchHeader, FormatError> {
    if buf.len() < HEADER_LEN {
        return Err(FormatError::Truncated);
    }
    let mut sealed = BatchHeader { batch_length: batch_length(buf.len())?, ..*header };
    sealed.write(buf);
    sealed.crc = batch_crc(buf);
    buf[CRC_AT..CRC_AT + 4].copy_from_slice(&sealed.crc.to_be_bytes());
    Ok(sealed)
}
