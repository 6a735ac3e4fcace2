//! Text.

use super::{Codec, Encode};
use crate::error::{Error, Result};

/// Text in UTF-8, lent from the log.
///
/// ```
/// use millpond::ErrorKind;
/// use millpond::codec::{Codec, Utf8};
/// assert_eq!(Utf8.decode(Some(b"/home"))?, "/home");
/// assert_eq!(Utf8.decode(Some(b"\xff")).unwrap_err().kind(), ErrorKind::Codec);
/// assert_eq!(Utf8.decode(None).unwrap_err().kind(), ErrorKind::NullValue);
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "written as a value: Utf8")]
pub struct Utf8;

impl Codec for Utf8 {
    type Output<'a> = &'a str;

    fn name(&self) -> &str {
        "utf8"
    }

    fn decode<'a>(&self, bytes: Option<&'a [u8]>) -> Result<&'a str> {
        let bytes = bytes.ok_or_else(|| Error::null_value("utf8"))?;
        std::str::from_utf8(bytes).map_err(|error| Error::from_codec("utf8", error))
    }
}

macro_rules! encode_own_text {
    ($($type:ty),*) => {$(
        impl Encode<$type> for Utf8 {
            fn encode<'v>(&self, value: &'v $type, _buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
                Ok(value.as_bytes())
            }
        }
    )*};
}

encode_own_text!(str, &str, String, Box<str>);
