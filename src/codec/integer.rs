//! Numbers of a fixed width.
//!
//! ```text
//!   U64 of 258:   00 00 00 00 00 00 01 02       big-endian; exactly the width, else refused
//! ```

use super::{Codec, Encode};
use crate::error::{Error, Result};

macro_rules! integer {
    ($codec:ident, $type:ident, $name:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// ```
        /// use millpond::ErrorKind;
        #[doc = concat!("use millpond::codec::{Codec, Encode, ", stringify!($codec), "};")]
        /// let mut buf = Vec::new();
        #[doc = concat!("let bytes = ", stringify!($codec), ".encode(&7, &mut buf)?;")]
        #[doc = concat!("assert_eq!(", stringify!($codec), ".decode(Some(bytes))?, 7);")]
        #[doc = concat!("assert_eq!(", stringify!($codec), ".decode(Some(b\"7\")).unwrap_err().kind(), ErrorKind::Codec);")]
        #[doc = concat!("assert_eq!(", stringify!($codec), ".decode(None).unwrap_err().kind(), ErrorKind::NullValue);")]
        /// # Ok::<(), millpond::Error>(())
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[expect(clippy::exhaustive_structs, reason = "written as a value")]
        pub struct $codec;

        impl Codec for $codec {
            type Output<'a> = $type;

            fn name(&self) -> &str {
                $name
            }

            fn decode(&self, bytes: Option<&[u8]>) -> Result<$type> {
                let bytes = bytes.ok_or_else(|| Error::null_value($name))?;
                let number = bytes.try_into().map_err(|_| wrong_width($name, bytes.len(), size_of::<$type>()))?;
                Ok($type::from_be_bytes(number))
            }
        }

        impl Encode<$type> for $codec {
            fn encode<'v>(&self, value: &'v $type, buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
                buf.extend_from_slice(&value.to_be_bytes());
                Ok(buf)
            }
        }
    };
}

integer!(
    U32,
    u32,
    "u32",
    "A `u32` as four bytes, big-endian: as Kafka's `IntegerSerializer` up to 2^31 - 1."
);
integer!(U64, u64, "u64", "A `u64` as eight bytes, big-endian: as Kafka's `LongSerializer` up to 2^63 - 1.");
integer!(I32, i32, "i32", "An `i32` as four bytes, big-endian: Kafka's `IntegerSerializer`.");
integer!(I64, i64, "i64", "An `i64` as eight bytes, big-endian: Kafka's `LongSerializer`.");

fn wrong_width(name: &str, found: usize, expected: usize) -> Error {
    Error::codec(format!("codec {name} expects {expected} bytes, found {found}"))
}
