//! What tells a topic from a later one of the same name.
//!
//! Invariant: the text is Kafka's: 22 characters of the URL-safe base64 alphabet, without padding, and
//! the unused four bits of the last character are zero, so that each id has exactly one text.

use std::fmt;
use std::str::FromStr;

use super::invalid::InvalidText;

/// Tells a topic from a later one of the same name: 16 random bytes, printed as Kafka prints them.
///
/// ```
/// use millpond::TopicId;
/// let id = TopicId::from_bytes([7; 16]);
/// assert_eq!(id.as_bytes(), &[7; 16]);
/// assert_eq!(id.to_string(), "BwcHBwcHBwcHBwcHBwcHBw");
/// assert_eq!("BwcHBwcHBwcHBwcHBwcHBw".parse::<TopicId>()?, id);
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct TopicId([u8; 16]);

impl TopicId {
    /// The id made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> TopicId {
        TopicId(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u128::from_be_bytes(self.0);
        // 128 bits and four zero bits behind them make 22 characters of six bits.
        for place in 0..TEXT_LEN {
            let bits = if place < 21 { id >> (122 - 6 * place) } else { id << 4 };
            let character = ALPHABET[usize::from(bits as u8 & 63)];
            write!(f, "{}", char::from(character))?;
        }
        Ok(())
    }
}

impl FromStr for TopicId {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<TopicId, InvalidText> {
        parse(text).ok_or_else(|| InvalidText::new(text, "a topic id (22 characters of URL-safe base64)"))
    }
}

fn parse(text: &str) -> Option<TopicId> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut id: u128 = 0;
    for (place, character) in text.bytes().enumerate() {
        let value = ALPHABET.iter().position(|&known| known == character)? as u128;
        if place < 21 {
            id = (id << 6) | value;
        } else if value & 15 == 0 {
            id = (id << 2) | (value >> 4);
        } else {
            return None;
        }
    }
    Some(TopicId(id.to_be_bytes()))
}

impl TryFrom<String> for TopicId {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<TopicId, InvalidText> {
        text.parse()
    }
}

impl From<TopicId> for String {
    fn from(id: TopicId) -> String {
        id.to_string()
    }
}

const TEXT_LEN: usize = 22;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
