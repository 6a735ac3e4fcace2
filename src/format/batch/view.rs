//! A batch that lies somewhere in memory, and the records in it.
//!
//! Invariants: a view spans exactly one batch; iterating checks every record before it is handed out
//! (its own bytes, its offset delta rising and within the header's), that as many come as the header
//! says, and that nothing is left behind the last; after an error there is nothing more.

use std::borrow::Cow;

use super::{ATTRIBUTES_AT, BatchHeader, HEADER_LEN, batch_crc};
use crate::format::FormatError;
use crate::format::checksum::{crc32c, crc32c_append};
use crate::format::compression::{Codec, decompress};
use crate::format::record::{RecordRef, decode_record};

/// One batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchView<'a> {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch at the start of `src`, which may go on behind it. `Truncated` where it does not reach
    /// the batch's end. The CRC is not looked at: see [`Self::check_crc`].
    #[inline]
    pub(crate) fn parse(src: &'a [u8]) -> Result<BatchView<'a>, FormatError> {
        let header = BatchHeader::parse(src)?;
        let bytes = src.get(..header.total_len()).ok_or(FormatError::Truncated)?;
        Ok(BatchView { header, bytes })
    }

    /// Whether the bytes are those that were written.
    #[inline]
    pub(crate) fn check_crc(&self) -> Result<(), FormatError> {
        let (stored, computed) = (self.header.crc, batch_crc(self.bytes));
        if stored == computed { Ok(()) } else { Err(FormatError::BadCrc { stored, computed }) }
    }

    /// What follows the header: the records, or one compressed blob.
    #[inline]
    pub(crate) fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The records back to back, decompressed if need be into at most `limit` bytes; they are read by
    /// [`Records::new`].
    pub(crate) fn decompressed(&self, limit: usize) -> Result<Cow<'a, [u8]>, FormatError> {
        match self.header.attributes.codec()? {
            Codec::None => Ok(Cow::Borrowed(self.payload())),
            // A batch that lost its records to compaction keeps no codec, but older ones might.
            _ if self.payload().is_empty() => Ok(Cow::Borrowed(&[])),
            codec => decompress(codec, self.payload(), limit).map(Cow::Owned),
        }
    }

    /// The records of an uncompressed batch; one `Compressed` error for any other.
    #[inline]
    pub(crate) fn records(&self) -> Records<'a> {
        let mut records = Records::new(&self.header, self.payload());
        if !self.header.attributes.is_uncompressed() && !self.payload().is_empty() {
            records.state = State::Refused;
        }
        records
    }
}

/// The check of a batch whose bytes come in pieces, so that each can be looked at while it is in the processor's
/// cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckInPieces {
    header: BatchHeader,
    computed: u32,
    left: usize,
}

impl CheckInPieces {
    /// The first piece, which holds the header at least, and nothing behind the batch.
    pub(crate) fn begin(first: &[u8]) -> Result<CheckInPieces, FormatError> {
        let header = BatchHeader::parse(first)?;
        let covered = first.get(ATTRIBUTES_AT..).ok_or(FormatError::Truncated)?;
        let left = header.total_len().checked_sub(first.len()).ok_or(FormatError::Trailing)?;
        Ok(CheckInPieces { header, computed: crc32c(covered), left })
    }

    /// The next piece.
    pub(crate) fn add(&mut self, piece: &[u8]) -> Result<(), FormatError> {
        self.left = self.left.checked_sub(piece.len()).ok_or(FormatError::Trailing)?;
        self.computed = crc32c_append(self.computed, piece);
        Ok(())
    }

    /// Whether the bytes, which were all, are those that were written.
    pub(crate) fn end(self) -> Result<(), FormatError> {
        let (stored, computed) = (self.header.crc, self.computed);
        match self.left {
            0 if stored == computed => Ok(()),
            0 => Err(FormatError::BadCrc { stored, computed }),
            _ => Err(FormatError::Truncated),
        }
    }
}

/// Iterates records that lie back to back.
#[derive(Clone, Debug)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    /// Records that the header promises and that have not come yet.
    left: i32,
    /// The least offset delta that the next record may have.
    floor: i64,
    last_offset_delta: i32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Refused,
    Done,
}

impl<'a> Records<'a> {
    /// The records of the batch with this header in `payload`, which is not compressed (any more).
    #[inline]
    pub(crate) fn new(header: &BatchHeader, payload: &'a [u8]) -> Records<'a> {
        Records {
            rest: payload,
            left: header.records_count,
            floor: 0,
            last_offset_delta: header.last_offset_delta,
            state: State::Reading,
        }
    }

    #[inline]
    fn read(&mut self) -> Result<RecordRef<'a>, FormatError> {
        // A batch is whole, so bytes that are missing in it will not come.
        let (record, len) = decode_record(self.rest).map_err(inside_batch)?;
        let delta = record.offset_delta;
        if i64::from(delta) < self.floor || delta > self.last_offset_delta {
            return Err(FormatError::BadOffset(i64::from(delta)));
        }
        self.floor = i64::from(delta) + 1;
        self.left -= 1;
        self.rest = &self.rest[len..];
        Ok(record)
    }

    #[cold]
    fn end(&mut self) -> Option<Result<RecordRef<'a>, FormatError>> {
        let state = std::mem::replace(&mut self.state, State::Done);
        match state {
            State::Refused => Some(Err(FormatError::Compressed)),
            State::Reading if !self.rest.is_empty() => Some(Err(FormatError::Trailing)),
            State::Reading | State::Done => None,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordRef<'a>, FormatError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 || self.state != State::Reading {
            return self.end();
        }
        let record = self.read();
        if record.is_err() {
            self.state = State::Done;
        }
        Some(record)
    }
}

impl std::iter::FusedIterator for Records<'_> {}

#[cold]
fn inside_batch(error: FormatError) -> FormatError {
    match error {
        FormatError::Truncated => FormatError::BadCount,
        other => other,
    }
}
