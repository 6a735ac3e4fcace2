//! Values as JSON text.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Codec, Encode};
use crate::error::{Error, Result};

/// Values of the type `T` as JSON text.
///
/// ```
/// use millpond::codec::{Codec, Encode, Json};
///
/// #[derive(serde::Serialize, serde::Deserialize, Debug, PartialEq)]
/// struct Order {
///     id: String,
///     cents: u64,
/// }
///
/// let codec = Json::<Order>::new();
/// let order = Order { id: "a1".to_owned(), cents: 1250 };
/// let mut buf = Vec::new();
/// let bytes = codec.encode(&order, &mut buf)?;
/// assert_eq!(bytes, br#"{"id":"a1","cents":1250}"#);
/// assert_eq!(codec.decode(Some(bytes))?, order);
/// # Ok::<(), millpond::Error>(())
/// ```
pub struct Json<T>(PhantomData<fn() -> T>);

impl<T> Json<T> {
    /// The codec.
    #[must_use]
    pub const fn new() -> Json<T> {
        Json(PhantomData)
    }
}

impl<T: DeserializeOwned + 'static> Codec for Json<T> {
    type Output<'a> = T;

    fn name(&self) -> &str {
        "json"
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<T> {
        let bytes = bytes.ok_or_else(|| Error::null_value("json"))?;
        serde_json::from_slice(bytes).map_err(|error| Error::from_codec("json", error))
    }
}

impl<T: Serialize + DeserializeOwned + 'static> Encode<T> for Json<T> {
    fn encode<'v>(&self, value: &'v T, buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
        serde_json::to_writer(&mut *buf, value).map_err(|error| Error::from_codec("json", error))?;
        Ok(buf)
    }
}

impl<T> Default for Json<T> {
    fn default() -> Json<T> {
        Json::new()
    }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Json<T> {
        *self
    }
}

impl<T> Copy for Json<T> {}

impl<T> fmt::Debug for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json<{}>", std::any::type_name::<T>())
    }
}
