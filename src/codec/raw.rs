//! Bytes as they are.

use super::{Codec, Encode};
use crate::error::Result;

/// Bytes as they are, lent from the log; a tombstone is `None`. Takes bytes and text.
///
/// ```
/// use millpond::codec::{Codec, Raw};
/// assert_eq!(Raw.decode(Some(b"/home"))?, Some(&b"/home"[..]));
/// assert_eq!(Raw.decode(None)?, None);
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "written as a value: Raw")]
pub struct Raw;

impl Codec for Raw {
    type Output<'a> = Option<&'a [u8]>;

    #[inline]
    fn name(&self) -> &str {
        "raw"
    }

    #[inline]
    fn decode<'a>(&self, bytes: Option<&'a [u8]>) -> Result<Option<&'a [u8]>> {
        Ok(bytes)
    }
}

macro_rules! encode_own_bytes {
    ($($type:ty),*) => {$(
        impl Encode<$type> for Raw {
            #[inline]
            fn encode<'v>(&self, value: &'v $type, _buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
                Ok(value.as_ref())
            }
        }
    )*};
}

encode_own_bytes!([u8], &[u8], Vec<u8>, Box<[u8]>, bytes::Bytes, str, &str, String);

impl<const N: usize> Encode<[u8; N]> for Raw {
    #[inline]
    fn encode<'v>(&self, value: &'v [u8; N], _buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
        Ok(value)
    }
}

impl<const N: usize> Encode<&[u8; N]> for Raw {
    #[inline]
    fn encode<'v>(&self, value: &'v &[u8; N], _buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
        Ok(*value)
    }
}
