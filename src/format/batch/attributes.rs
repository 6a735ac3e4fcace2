//! The attribute bits of a batch.
//!
//! ```text
//!   15 ........ 7 |       6        |    5    |       4       |       3        | 2 1 0
//!    reserved = 0 | delete horizon | control | transactional | LogAppendTime  | codec
//! ```
//!
//! Invariants: reserved bits are written 0, and a batch that has one set is refused.

use crate::format::FormatError;
use crate::format::compression::Codec;

/// The attribute bits of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(pub(crate) i16);

impl Attributes {
    /// No codec, CreateTime, no transaction.
    pub(crate) const NONE: Attributes = Attributes(0);
    /// Where the codec is.
    pub(crate) const CODEC_MASK: i16 = 0b111;
    /// Timestamps are the append time.
    pub(crate) const LOG_APPEND_TIME: i16 = 1 << 3;
    /// Part of a transaction.
    pub(crate) const TRANSACTIONAL: i16 = 1 << 4;
    /// Holds one control record, which no application sees.
    pub(crate) const CONTROL: i16 = 1 << 5;
    /// The base timestamp is the time when tombstones may go.
    pub(crate) const DELETE_HORIZON: i16 = 1 << 6;
    /// Bits without a meaning.
    pub(crate) const RESERVED: i16 = !0x7f;

    /// Refuses bits without a meaning.
    #[inline]
    pub(crate) fn check(self) -> Result<(), FormatError> {
        if self.0 & Attributes::RESERVED == 0 { Ok(()) } else { Err(FormatError::BadAttributes(self.0)) }
    }

    /// How the records are compressed.
    #[inline]
    pub(crate) fn codec(self) -> Result<Codec, FormatError> {
        Codec::from_id(self.0 & Attributes::CODEC_MASK).ok_or(FormatError::BadAttributes(self.0))
    }

    /// Whether the records are stored as they are.
    #[inline]
    pub(crate) const fn is_uncompressed(self) -> bool {
        self.0 & Attributes::CODEC_MASK == 0
    }

    /// Whether every record's timestamp is the batch's max timestamp.
    #[inline]
    pub(crate) const fn is_log_append_time(self) -> bool {
        self.0 & Attributes::LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    #[inline]
    pub(crate) const fn is_transactional(self) -> bool {
        self.0 & Attributes::TRANSACTIONAL != 0
    }

    /// Whether the batch is a control batch.
    #[inline]
    pub(crate) const fn is_control(self) -> bool {
        self.0 & Attributes::CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon.
    #[inline]
    pub(crate) const fn has_delete_horizon(self) -> bool {
        self.0 & Attributes::DELETE_HORIZON != 0
    }

    /// These bits with another codec.
    pub(crate) const fn with_codec(self, codec: Codec) -> Attributes {
        Attributes(self.0 & !Attributes::CODEC_MASK | codec.id())
    }

    /// These bits with LogAppendTime.
    pub(crate) const fn with_log_append_time(self) -> Attributes {
        Attributes(self.0 | Attributes::LOG_APPEND_TIME)
    }

    /// These bits, transactional.
    pub(crate) const fn with_transactional(self) -> Attributes {
        Attributes(self.0 | Attributes::TRANSACTIONAL)
    }

    /// These bits of a control batch.
    pub(crate) const fn with_control(self) -> Attributes {
        Attributes(self.0 | Attributes::CONTROL)
    }

    /// These bits with a delete horizon.
    pub(crate) const fn with_delete_horizon(self) -> Attributes {
        Attributes(self.0 | Attributes::DELETE_HORIZON)
    }
}
