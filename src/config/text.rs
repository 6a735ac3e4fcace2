//! Settings as text: times with units, and words that serde reads and writes through
//! `Display` and `FromStr`.
//!
//! Invariant: what is printed is read back as the same value.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::types::ByteSize;

/// The greatest time a setting may name: a hundred years. Sums with clocks stay far from overflow.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(36_500 * 86_400);

/// Units of time in nanoseconds, the greatest first.
const UNITS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A time as text in the greatest unit that holds it exactly: `7d`, `250ms`, `0s`.
pub(crate) struct DurationText(pub(crate) Duration);

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        let exact = UNITS.iter().find(|(_, unit)| nanos % unit == 0);
        exact.map_or(Ok(()), |(name, unit)| write!(f, "{}{name}", nanos / unit))
    }
}

/// Reads a time such as `7d` or `250ms`; `None` if it is none.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, name) = text.split_at(digits);
    let number: u128 = number.parse().ok()?;
    let (_, unit) = UNITS.iter().find(|(known, _)| *known == name.trim_start())?;
    let nanos = number.checked_mul(*unit)?;
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).ok()?;
    let rest = u32::try_from(nanos % NANOS_PER_SECOND).ok()?;
    Some(Duration::new(seconds, rest))
}

/// Refuses a number outside of `least..=greatest`.
pub(crate) fn check_count(field: &str, value: u64, least: u64, greatest: u64) -> Result<()> {
    if (least..=greatest).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid_config(field, value, &format!("{least} to {greatest}")))
}

/// Refuses a size outside of `least..=greatest`.
pub(crate) fn check_size(field: &str, value: ByteSize, least: ByteSize, greatest: ByteSize) -> Result<()> {
    if (least..=greatest).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid_config(field, value, &format!("{least} to {greatest}")))
}

/// Refuses a time outside of `least..=greatest`.
pub(crate) fn check_duration(
    field: &str,
    value: Duration,
    least: Duration,
    greatest: Duration,
) -> Result<()> {
    if (least..=greatest).contains(&value) {
        return Ok(());
    }
    let bound = format!("{} to {}", DurationText(least), DurationText(greatest));
    Err(Error::invalid_config(field, DurationText(value), &bound))
}

/// `Display`, `FromStr` and (with the feature) serde of an enumeration whose variants are plain words.
macro_rules! words {
    ($type:ident, $field:literal, { $($variant:ident = $word:literal),+ $(,)? }) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $($type::$variant => $word),+ })
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<$type> {
                match text {
                    $($word => Ok($type::$variant),)+
                    _ => Err($crate::config::text::unknown_word($field, text, &[$($word),+].join(", "))),
                }
            }
        }

        serde_as_text!($type);
    };
}

/// Serde through `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        #[cfg(feature = "serde")]
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> std::result::Result<$type, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// The error of a text that is none of the words of a setting.
pub(crate) fn unknown_word(field: &str, text: &str, words: &str) -> Error {
    let shown: String = text.chars().take(80).collect();
    Error::invalid_config(field, format_args!("{shown:?}"), &format!("one of {words}"))
}

/// Serde of a field that is a time.
#[cfg(feature = "serde")]
pub(crate) mod serde_duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{DurationText, parse_duration};

    pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&DurationText(*value))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).ok_or_else(|| D::Error::custom("expected a time such as \"7d\" or \"250ms\""))
    }
}

/// Serde of a field that may be a time.
#[cfg(feature = "serde")]
pub(crate) mod serde_duration_option {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::{DurationText, parse_duration};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(&DurationText(*value)),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let read = parse_duration(&text).map(Some);
        read.ok_or_else(|| D::Error::custom("expected a time such as \"7d\" or \"250ms\""))
    }
}
