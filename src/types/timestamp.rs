//! Milliseconds since the Unix epoch.

use std::fmt;

/// A point in time, in milliseconds since 1970-01-01 UTC; [`Timestamp::NONE`] (-1) where none was given.
///
/// ```
/// use millpond::Timestamp;
/// assert_eq!(Timestamp::from_millis(1_000).millis(), 1_000);
/// assert!(Timestamp::NONE < Timestamp::from_millis(0));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// No timestamp.
    pub const NONE: Timestamp = Timestamp(-1);

    /// A point `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({})", self.0)
    }
}
