//! How keys and values become bytes, and the record that is sent.
//!
//! Invariants: a codec is a value without state of the topic's, made by `Default`; it never
//! runs under a lock; decoding bytes of any origin never panics; what it lends lives as long as the bytes.
//! A missing value (a tombstone's) is `None`, which is not the same as no bytes.
//!
//! ```text
//!   send:  &T --Encode<T>--> bytes --> log          Raw and Utf8 hand the bytes through without a copy
//!   read:  log --> Option<&[u8]> --Codec::decode--> Output<'_>
//! ```
//!
//! | codec | reads | takes | feature |
//! |---|---|---|---|
//! | [`Raw`] | `Option<&[u8]>` | bytes and text | |
//! | [`Utf8`] | `&str` | text | |
//! | [`U32`], [`U64`], [`I32`], [`I64`] | the number | the number | |
//! | [`Unit`] | `()` | `()` | |
//! | `Json<T>` | `T` | `T` | `json` |
//! | `Bincode<T>` | `T` | `T` | `bincode` |

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
mod integer;
#[cfg(feature = "json")]
mod json;
mod raw;
mod record;
mod unit;
mod utf8;

#[cfg(feature = "bincode")]
pub use self::bincode::Bincode;
pub use integer::{I32, I64, U32, U64};
#[cfg(feature = "json")]
pub use json::Json;
pub use raw::Raw;
pub(crate) use record::EncodedRecord;
pub use record::{EncodeKey, EncodeValue, NoKey, Record, Tombstone};
pub use unit::Unit;
pub use utf8::Utf8;

use crate::error::Result;

/// How bytes become keys or values. A typed topic names one for its keys and one for its values.
///
/// A codec of your own also implements [`Encode`] for what it takes, and `Default`, so that a topic can
/// be a constant:
///
/// ```
/// use millpond::{Error, ErrorKind};
/// use millpond::codec::{Codec, Encode};
///
/// /// A price in cents, as decimal text.
/// #[derive(Clone, Copy, Debug, Default)]
/// struct Cents;
///
/// impl Codec for Cents {
///     type Output<'a> = u64;
///
///     fn name(&self) -> &str {
///         "cents"
///     }
///
///     fn decode(&self, bytes: Option<&[u8]>) -> millpond::Result<u64> {
///         let text = millpond::codec::Utf8.decode(bytes)?;
///         text.parse().map_err(|error| Error::from_codec("cents", error))
///     }
/// }
///
/// impl Encode<u64> for Cents {
///     fn encode<'v>(&self, value: &'v u64, buf: &'v mut Vec<u8>) -> millpond::Result<&'v [u8]> {
///         buf.extend_from_slice(value.to_string().as_bytes());
///         Ok(buf)
///     }
/// }
///
/// let mut buf = Vec::new();
/// assert_eq!(Cents.encode(&1250, &mut buf)?, b"1250");
/// assert_eq!(Cents.decode(Some(b"1250"))?, 1250);
/// assert_eq!(Cents.decode(Some(b"12.50")).unwrap_err().kind(), ErrorKind::Codec);
/// # Ok::<(), millpond::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a codec",
    note = "`millpond::codec` has `Raw` for bytes, `Utf8` for text, `U32`, `U64`, `I32`, `I64` for numbers, and with features `Json<T>` and `Bincode<T>`"
)]
pub trait Codec: Send + Sync + 'static {
    /// What a reader gets; it may borrow from the record's bytes.
    type Output<'a>;

    /// The codec's name. A topic remembers the names of its codecs and refuses others, so it never changes.
    fn name(&self) -> &str;

    /// The version of what is encoded, remembered beside the name; 0 where it has none.
    fn schema_version(&self) -> u32 {
        0
    }

    /// Reads a key or a value; `None` where the record has none (a tombstone's value, a missing key).
    ///
    /// # Errors
    /// [`NullValue`](crate::ErrorKind::NullValue) for `None`, if this codec has no word for it;
    /// [`Codec`](crate::ErrorKind::Codec) for bytes that it cannot read.
    fn decode<'a>(&self, bytes: Option<&'a [u8]>) -> Result<Self::Output<'a>>;
}

/// A codec that takes values of the type `T`.
pub trait Encode<T: ?Sized>: Codec {
    /// The bytes of `value`: either the value's own, lent as they are, or written to `buf`, which is empty.
    ///
    /// ```
    /// use millpond::codec::{Encode, Raw, U64};
    /// let mut buf = Vec::new();
    /// assert_eq!(Raw.encode("own bytes", &mut buf)?, b"own bytes");
    /// assert!(buf.is_empty());
    /// assert_eq!(U64.encode(&258, &mut buf)?, [0, 0, 0, 0, 0, 0, 1, 2]);
    /// # Ok::<(), millpond::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Codec`](crate::ErrorKind::Codec) if the value has no form in bytes.
    fn encode<'v>(&self, value: &'v T, buf: &'v mut Vec<u8>) -> Result<&'v [u8]>;
}

#[cfg(test)]
mod tests;
