//! Which codec wrote a record, where its topic does not say so already.
//!
//! ```text
//!   header millpond.key.codec   = name/version      header millpond.value.codec = name/version
//! ```
//!
//! Invariants: the headers are written only where name or version differ from what the topic remembers;
//! bytes of one codec are never given to another of a different name, but for the raw one, which reads
//! anything.

use crate::codec::{Codec, Raw};
use crate::error::{Error, Result};
use crate::format::record::{HeaderRef, HeadersRef};

/// The header that names the codec of the key.
pub(crate) const KEY_CODEC: &str = "millpond.key.codec";
/// The header that names the codec of the value.
pub(crate) const VALUE_CODEC: &str = "millpond.value.codec";

/// The headers that a producer adds to every record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SchemaHeaders {
    key: Option<String>,
    value: Option<String>,
}

impl SchemaHeaders {
    /// Those of codecs that differ from what the topic remembers, as name and version; `None` where the
    /// codec does not differ.
    pub(crate) fn new(key: Option<(&str, u32)>, value: Option<(&str, u32)>) -> SchemaHeaders {
        let text = |(name, version): (&str, u32)| format!("{name}/{version}");
        SchemaHeaders { key: key.map(text), value: value.map(text) }
    }

    /// The headers.
    pub(super) fn iter(&self) -> impl Iterator<Item = HeaderRef<'_>> {
        header(KEY_CODEC, self.key.as_deref()).into_iter().chain(header(VALUE_CODEC, self.value.as_deref()))
    }
}

fn header<'a>(name: &'static str, text: Option<&'a str>) -> Option<HeaderRef<'a>> {
    text.map(|text| HeaderRef { key: name, value: Some(text.as_bytes()) })
}

/// Refuses a record whose headers say that the bytes under the header `name` ([`KEY_CODEC`] or
/// [`VALUE_CODEC`]) were written by another codec than `codec`.
#[cold]
pub(crate) fn check(headers: HeadersRef<'_>, name: &str, codec: &str) -> Result<()> {
    let Some(found) = headers.iter().filter(|header| header.key == name).last() else { return Ok(()) };
    let text = String::from_utf8_lossy(found.value.unwrap_or_default());
    let writer = text.rsplit_once('/').map_or(&*text, |(writer, _)| writer);
    if writer == codec || codec == Raw.name() {
        return Ok(());
    }
    Err(Error::codec(format!("written by codec {text}, but read by codec {codec}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::record::{RecordFields, decode_record};

    #[test]
    fn a_record_of_another_codec_is_refused() {
        let schema = SchemaHeaders::new(None, Some(("json", 3)));
        let headers: Vec<HeaderRef<'_>> = schema.iter().collect();
        assert_eq!(headers, [HeaderRef { key: VALUE_CODEC, value: Some(b"json/3") }]);
        let fields =
            RecordFields { timestamp_delta: 0, offset_delta: 0, key: None, value: None, headers: &headers };
        let mut bytes = vec![0; fields.encoded_len()];
        fields.encode(&mut bytes);
        let (record, _) = decode_record(&bytes).unwrap();

        check(record.headers, VALUE_CODEC, "json").unwrap();
        check(record.headers, VALUE_CODEC, "raw").unwrap();
        check(record.headers, KEY_CODEC, "utf8").unwrap();
        let error = check(record.headers, VALUE_CODEC, "utf8").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        assert_eq!(error.to_string(), "written by codec json/3, but read by codec utf8");
    }
}
