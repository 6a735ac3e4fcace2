//! Amounts of bytes.
//!
//! Invariant: what [`ByteSize`] prints it also reads, as the same amount.

use std::fmt;
use std::str::FromStr;

use super::invalid::InvalidText;

/// An amount of bytes. Reads `"64MiB"`, `"16kB"` or a plain number, and prints the largest exact binary unit.
///
/// ```
/// use millpond::ByteSize;
/// assert_eq!(ByteSize::mib(1), ByteSize::bytes(1_048_576));
/// assert_eq!("64MiB".parse::<ByteSize>()?, ByteSize::mib(64));
/// assert_eq!(ByteSize::kib(1536).to_string(), "1536KiB");
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

/// Units by the names people write; the binary ones first and smallest last, for printing.
const UNITS: [(&str, u64); 12] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("kiB", 1 << 10),
    ("", 1),
];

/// How many of [`UNITS`] are used for printing.
const PRINTED_UNITS: usize = 5;

impl ByteSize {
    /// That many bytes.
    #[must_use]
    pub const fn bytes(n: u64) -> ByteSize {
        ByteSize(n)
    }

    /// That many kibibytes (1,024 bytes each); saturates at the largest size.
    #[must_use]
    pub const fn kib(n: u64) -> ByteSize {
        ByteSize(n.saturating_mul(1 << 10))
    }

    /// That many mebibytes (1,048,576 bytes each); saturates at the largest size.
    #[must_use]
    pub const fn mib(n: u64) -> ByteSize {
        ByteSize(n.saturating_mul(1 << 20))
    }

    /// That many gibibytes (1,073,741,824 bytes each); saturates at the largest size.
    #[must_use]
    pub const fn gib(n: u64) -> ByteSize {
        ByteSize(n.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; saturates where memory has fewer addresses.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: &&(&str, u64)| self.0 >= unit.1 && self.0 % unit.1 == 0;
        match UNITS[..PRINTED_UNITS].iter().find(fits) {
            Some((name, size)) => write!(f, "{}{name}", self.0 / size),
            None => f.write_str("0B"),
        }
    }
}

impl FromStr for ByteSize {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<ByteSize, InvalidText> {
        parse(text).ok_or_else(|| InvalidText::new(text, "a size such as 64MiB, 16kB or 4096"))
    }
}

fn parse(text: &str) -> Option<ByteSize> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let (_, size) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.checked_mul(*size).map(ByteSize)
}

#[cfg(feature = "serde")]
mod serde_text {
    use std::fmt;

    use super::ByteSize;

    impl serde::Serialize for ByteSize {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if serializer.is_human_readable() {
                serializer.collect_str(self)
            } else {
                serializer.serialize_u64(self.0)
            }
        }
    }

    impl<'de> serde::Deserialize<'de> for ByteSize {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
            if deserializer.is_human_readable() {
                deserializer.deserialize_any(TextOrNumber)
            } else {
                deserializer.deserialize_u64(TextOrNumber)
            }
        }
    }

    struct TextOrNumber;

    impl serde::de::Visitor<'_> for TextOrNumber {
        type Value = ByteSize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a number of bytes or a text such as \"64MiB\"")
        }

        fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
            Ok(ByteSize(bytes))
        }

        fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
            u64::try_from(bytes).map(ByteSize).map_err(|_| E::custom("a size is not negative"))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
            text.parse().map_err(E::custom)
        }
    }
}
