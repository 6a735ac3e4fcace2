//! What can be wrong with bytes.
//!
//! Invariants: `Truncated` is the only variant that more bytes could heal (a read that ended inside a
//! batch, a torn tail); every other one says that the bytes at hand are wrong.

use std::path::Path;

use crate::error::Error;

/// Why bytes could not be read, or values could not be written.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub(crate) enum FormatError {
    /// The bytes end before what they announce.
    #[error("bytes end too early")]
    Truncated,
    /// A length field is impossible.
    #[error("{what} length {length} is impossible")]
    BadLength { what: &'static str, length: i64 },
    /// Not a batch of the only format we know.
    #[error("magic is {0}, not 2")]
    BadMagic(i8),
    /// The content is not what was written.
    #[error("crc is {computed:08x}, but {stored:08x} is stored")]
    BadCrc { stored: u32, computed: u32 },
    /// A varint is longer than its type.
    #[error("varint is too long")]
    BadVarint,
    /// A count does not fit what it counts.
    #[error("count does not fit what it counts")]
    BadCount,
    /// Bytes are left where none may be.
    #[error("bytes are left over")]
    Trailing,
    /// A bit that must be zero is set, or the codec is none that exists.
    #[error("attributes {0:#06x} have no meaning")]
    BadAttributes(i16),
    /// An offset is negative, too large, or out of order.
    #[error("offset {0} is out of order")]
    BadOffset(i64),
    /// An entry of an index is impossible where it stands.
    #[error("entry {0} is out of order")]
    BadEntry(usize),
    /// Text is not UTF-8 (a header key, a name).
    #[error("text is not utf-8")]
    BadUtf8,
    /// The records are compressed; they must be decompressed before they are read.
    #[error("records are compressed")]
    Compressed,
    /// The build lacks this feature.
    #[error("this build lacks the feature `{0}`")]
    UnsupportedCodec(&'static str),
    /// The codec refused the bytes.
    #[error("could not decompress: {0}")]
    Decompress(String),
    /// The codec could not write.
    #[error("could not compress: {0}")]
    Compress(String),
    /// The codec has no such level.
    #[error("compression level {0} does not exist")]
    BadLevel(i32),
    /// More bytes than the caller allows, or than the format can hold.
    #[error("more than {limit} bytes")]
    TooLarge { limit: usize },
    /// A file of another kind or format.
    #[error("not a {0}")]
    NotA(&'static str),
    /// A file written by a later version.
    #[error("format version {found} is newer than {known}")]
    NewerVersion { found: u16, known: u16 },
    /// A version that never existed, or no longer does.
    #[error("format version {0} is unknown")]
    BadVersion(i64),
    /// A line of a text file is not as it must be.
    #[error("line {line}: {why}")]
    BadLine { line: usize, why: &'static str },
}

impl FormatError {
    /// The error of a file whose byte `position` could not be read.
    pub(crate) fn at(self, path: &Path, position: u64) -> Error {
        match self {
            FormatError::UnsupportedCodec(_) | FormatError::NewerVersion { .. } => {
                Error::unsupported(self.to_string()).at_path(path)
            }
            damage => Error::corrupted(path, position, damage),
        }
    }
}
