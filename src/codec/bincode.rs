//! Values in bincode 2.
//!
//! Invariants: decoding reads all the bytes or refuses, and claims at most [`LIMIT`] bytes of memory for
//! what they announce.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Encode};
use crate::error::{Error, Result};

/// Values of the type `T` in bincode 2's standard configuration. Smaller and quicker than JSON, but it
/// does not name its fields: a changed type reads old bytes wrongly, so change the topic with the type.
///
/// Its maintainers ended development in 2025; millpond pins the version and never uses it for its own files.
///
/// ```
/// use millpond::codec::{Bincode, Codec, Encode};
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct Point {
///     x: u16,
///     y: u16,
/// }
///
/// let codec = Bincode::<Point>::new();
/// let mut buf = Vec::new();
/// let bytes = codec.encode(&Point { x: 1, y: 2 }, &mut buf)?;
/// assert_eq!(bytes, [1, 2]);
/// assert_eq!(codec.decode(Some(bytes))?, Point { x: 1, y: 2 });
/// # Ok::<(), millpond::Error>(())
/// ```
pub struct Bincode<T>(PhantomData<fn() -> T>);

/// The greatest value: no record is larger.
const LIMIT: usize = 1 << 30;

const fn configuration() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<LIMIT>()
}

impl<T> Bincode<T> {
    /// The codec.
    #[must_use]
    pub const fn new() -> Bincode<T> {
        Bincode(PhantomData)
    }
}

impl<T: DeserializeOwned + 'static> Codec for Bincode<T> {
    type Output<'a> = T;

    fn name(&self) -> &str {
        "bincode"
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        let bytes = bytes.ok_or_else(|| Error::null_value("bincode"))?;
        let (value, read) = bincode::serde::decode_from_slice(bytes, configuration())
            .map_err(|error| Error::from_codec("bincode", error))?;
        if read != bytes.len() {
            let rest = bytes.len() - read;
            return Err(Error::codec(format!("codec bincode read a value and found {rest} bytes behind it")));
        }
        Ok(value)
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Encode<T> for Bincode<T> {
    fn encode<'v>(&self, value: &'v T, buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
        bincode::serde::encode_into_std_write(value, buf, configuration())
            .map_err(|error| Error::from_codec("bincode", error))?;
        Ok(buf)
    }
}

impl<T> Default for Bincode<T> {
    fn default() -> Bincode<T> {
        Bincode::new()
    }
}

impl<T> Clone for Bincode<T> {
    fn clone(&self) -> Bincode<T> {
        *self
    }
}

impl<T> Copy for Bincode<T> {}

impl<T> fmt::Debug for Bincode<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bincode<{}>", std::any::type_name::<T>())
    }
}
