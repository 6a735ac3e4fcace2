//! `partition.metadata`: the topic id of a partition's folder, as text.
//!
//! ```text
//!   version: 0
//!   topic_id: AAAAAAAAAAEAAAAAAAAAAg        16 bytes in URL-safe base64, 22 characters, no padding
//! ```
//!
//! Invariants: exactly these two lines (a last newline is optional); bits of the last character that
//! belong to no byte are zero.

use super::FormatError;
use crate::types::TopicId;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ID_LEN: usize = 22;

/// The content of the file.
pub(crate) fn print(id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}", encode_id(id))
}

/// The topic id in the content of a file.
pub(crate) fn parse(bytes: &[u8]) -> Result<TopicId, FormatError> {
    let bad = |line, why| FormatError::BadLine { line, why };
    let text = std::str::from_utf8(bytes).map_err(|_| bad(1, "not utf-8"))?;
    let (version, rest) = text.split_once('\n').ok_or(bad(1, "not a version"))?;
    if version != "version: 0" {
        return Err(bad(1, "unknown version"));
    }
    let id = rest.strip_suffix('\n').unwrap_or(rest).strip_prefix("topic_id: ");
    id.and_then(decode_id).ok_or(bad(2, "not a topic id"))
}

/// A topic id as Kafka prints it.
pub(crate) fn encode_id(id: TopicId) -> String {
    let number = u128::from_be_bytes(*id.as_bytes());
    // 22 characters hold 132 bits: four zeros follow the number.
    let sextet = |i: usize| match i {
        0 => (number << 4) & 0x3f,
        _ => (number >> (6 * i - 4)) & 0x3f,
    };
    (0..ID_LEN).rev().map(|i| char::from(ALPHABET[sextet(i) as usize])).collect()
}

/// The topic id that Kafka prints so.
pub(crate) fn decode_id(text: &str) -> Option<TopicId> {
    if text.len() != ID_LEN {
        return None;
    }
    let mut number = 0u128;
    for (i, byte) in text.bytes().enumerate() {
        let value = ALPHABET.iter().position(|&b| b == byte)? as u128;
        if i + 1 < ID_LEN {
            number = number << 6 | value;
        } else if value & 0x0f == 0 {
            number = number << 2 | value >> 4;
        } else {
            return None;
        }
    }
    Some(TopicId::from_bytes(number.to_be_bytes()))
}
