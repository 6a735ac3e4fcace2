//! Kafka's own bytes, both ways: every batch of the vector files is read and compared field by field,
//! and written again.

mod batches;
mod files;
mod hostile;
mod numbers;
mod round_trips;

use serde_json::Value;

use crate::format::compression::Codec;

/// A file of `tests/vectors`.
fn vectors(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 2, 0);
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// Null, or bytes in hex.
fn nullable(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(hex)
}

/// The codecs that this build has; `None` is always one.
fn built_in() -> Vec<Codec> {
    Codec::ALL.into_iter().filter(|codec| codec.is_built_in()).collect()
}
