//! Nothing at all.

use super::{Codec, Encode};
use crate::error::{Error, Result};

/// Nothing: for typed topics whose records have no key, or whose key says it all.
///
/// ```
/// use millpond::codec::{Codec, Unit};
/// Unit.decode(None)?;
/// Unit.decode(Some(b""))?;
/// assert!(Unit.decode(Some(b"x")).is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "written as a value: Unit")]
pub struct Unit;

impl Codec for Unit {
    type Output<'a> = ();

    fn name(&self) -> &str {
        "unit"
    }

    fn decode(&self, bytes: Option<&[u8]>) -> Result<()> {
        match bytes {
            None | Some([]) => Ok(()),
            Some(bytes) => Err(Error::codec(format!("codec unit expects 0 bytes, found {}", bytes.len()))),
        }
    }
}

impl Encode<()> for Unit {
    fn encode<'v>(&self, _value: &'v (), _buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
        Ok(&[])
    }
}
