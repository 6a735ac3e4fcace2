//! Compressing and decompressing the records of a batch, bounded.
//!
//! ```text
//!   id  codec   after byte 61 of the batch                    written with
//!    0  none    the records
//!    1  gzip    one RFC 1952 member                           level 1-9 (default 6)
//!    2  snappy  xerial stream (read: raw snappy too)          32 KiB blocks
//!    3  lz4     LZ4 frame (read: any legal frame)             independent blocks of 64 KiB, no checksums
//!    4  zstd    zstd frame (read: several too)                level -131072..22 (default 3)
//! ```
//!
//! Invariants: decompressing yields at most `limit` bytes, and memory grows with the bytes that really
//! come out, never with what a length field claims; bytes that end early or go on behind the end are
//! errors. A [`Codec`] exists whatever the features; using one that was not built in is
//! `UnsupportedCodec`.

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

#[cfg(any(feature = "gzip", feature = "lz4", feature = "zstd"))]
use std::io::Read;

use super::FormatError;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Codec {
    /// Not at all.
    #[default]
    None,
    /// DEFLATE in a gzip member.
    Gzip,
    /// Snappy in xerial's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// All of them, by id.
    pub(crate) const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The number in the attributes of a batch.
    pub(crate) const fn id(self) -> i16 {
        self as i16
    }

    /// The codec with this number.
    pub(crate) fn from_id(id: i16) -> Option<Codec> {
        Codec::ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// Kafka's name, which is also the feature's.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }

    /// Whether this build can use it.
    pub(crate) const fn is_built_in(self) -> bool {
        match self {
            Codec::None => true,
            Codec::Gzip => cfg!(feature = "gzip"),
            Codec::Snappy => cfg!(feature = "snappy"),
            Codec::Lz4 => cfg!(feature = "lz4"),
            Codec::Zstd => cfg!(feature = "zstd"),
        }
    }

    /// Refuses a level that the codec does not have (Kafka's ranges; lz4's levels change nothing here,
    /// as the encoder has only one).
    pub(crate) fn check_level(self, level: Option<i32>) -> Result<(), FormatError> {
        let Some(level) = level else { return Ok(()) };
        let fits = match self {
            Codec::None | Codec::Snappy => true,
            Codec::Gzip => level == -1 || (1..=9).contains(&level),
            Codec::Lz4 => (1..=17).contains(&level),
            Codec::Zstd => (-131_072..=22).contains(&level),
        };
        if fits { Ok(()) } else { Err(FormatError::BadLevel(level)) }
    }
}

/// `data` compressed; without a level with Kafka's default.
pub(crate) fn compress(codec: Codec, level: Option<i32>, data: &[u8]) -> Result<Vec<u8>, FormatError> {
    codec.check_level(level)?;
    match codec {
        Codec::None => Ok(data.to_vec()),
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::compress(level, data),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::compress(data),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::compress(data),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::compress(level, data),
        #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
        missing => Err(FormatError::UnsupportedCodec(missing.name())),
    }
}

/// What was compressed to `data`, if it has at most `limit` bytes; else `TooLarge`.
pub(crate) fn decompress(codec: Codec, data: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
    match codec {
        Codec::None if data.len() > limit => Err(FormatError::TooLarge { limit }),
        Codec::None => Ok(data.to_vec()),
        #[cfg(feature = "gzip")]
        Codec::Gzip => gzip::decompress(data, limit),
        #[cfg(feature = "snappy")]
        Codec::Snappy => snappy::decompress(data, limit),
        #[cfg(feature = "lz4")]
        Codec::Lz4 => lz4::decompress(data, limit),
        #[cfg(feature = "zstd")]
        Codec::Zstd => zstd::decompress(data, limit),
        #[cfg(not(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")))]
        missing => Err(FormatError::UnsupportedCodec(missing.name())),
    }
}

/// Appends everything that `reader` still gives to `out`, as long as `out` stays within `limit`.
#[cfg(any(feature = "gzip", feature = "lz4", feature = "zstd"))]
fn read_bounded(reader: impl Read, out: &mut Vec<u8>, limit: usize) -> Result<(), FormatError> {
    let room = limit.saturating_sub(out.len()) as u64;
    // One byte more than allowed is enough to know.
    reader
        .take(room.saturating_add(1))
        .read_to_end(out)
        .map_err(|e| FormatError::Decompress(e.to_string()))?;
    if out.len() > limit { Err(FormatError::TooLarge { limit }) } else { Ok(()) }
}

#[cfg(any(feature = "gzip", feature = "lz4", feature = "zstd"))]
fn compress_error(error: impl ToString) -> FormatError {
    FormatError::Compress(error.to_string())
}
