//! Positions of records in a partition.

use std::fmt;
use std::str::FromStr;

use super::invalid::InvalidText;

/// The position of a record in its partition: 0 for the first, then one more for each.
///
/// ```
/// use millpond::Offset;
/// assert_eq!(Offset::ZERO.next(), Offset::new(1).unwrap());
/// assert_eq!(Offset::new(7).unwrap().distance_from(Offset::new(4).unwrap()), Some(3));
/// assert_eq!("42".parse::<Offset>()?.get(), 42);
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "u64", into = "u64"))]
pub struct Offset(u64);

impl Offset {
    /// The first offset of every partition.
    pub const ZERO: Offset = Offset(0);
    /// The greatest offset: on disk an offset is a signed 64-bit number.
    pub const MAX: Offset = Offset(i64::MAX as u64);

    /// An offset from a number, or `None` above [`Offset::MAX`].
    #[must_use]
    pub const fn new(value: u64) -> Option<Offset> {
        if value <= i64::MAX as u64 { Some(Offset(value)) } else { None }
    }

    /// An offset our own arithmetic has produced: clipped at [`Offset::MAX`].
    pub(crate) const fn of(value: u64) -> Offset {
        if value <= i64::MAX as u64 { Offset(value) } else { Offset::MAX }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset after this one; [`Offset::MAX`] stays.
    #[must_use]
    pub const fn next(self) -> Offset {
        Offset::of(self.0.saturating_add(1))
    }

    /// This offset plus `n`, or `None` above [`Offset::MAX`].
    #[must_use]
    pub const fn checked_add(self, n: u64) -> Option<Offset> {
        match self.0.checked_add(n) {
            Some(value) => Offset::new(value),
            None => None,
        }
    }

    /// How many offsets lie between `earlier` and this one, or `None` if `earlier` is later.
    #[must_use]
    pub const fn distance_from(self, earlier: Offset) -> Option<u64> {
        self.0.checked_sub(earlier.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offset({})", self.0)
    }
}

impl FromStr for Offset {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Offset, InvalidText> {
        let number = text.parse().ok().and_then(Offset::new);
        number.ok_or_else(|| InvalidText::new(text, EXPECTED))
    }
}

impl TryFrom<u64> for Offset {
    type Error = InvalidText;

    fn try_from(number: u64) -> Result<Offset, InvalidText> {
        Offset::new(number).ok_or_else(|| InvalidText::new(&number.to_string(), EXPECTED))
    }
}

impl From<Offset> for u64 {
    fn from(offset: Offset) -> u64 {
        offset.0
    }
}

const EXPECTED: &str = "an offset (0 to 9223372036854775807)";
