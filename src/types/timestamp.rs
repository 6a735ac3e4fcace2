//! Milliseconds since the Unix epoch.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::invalid::InvalidText;

/// A point in time, in milliseconds since 1970-01-01 UTC; [`Timestamp::NONE`] (-1) where none was given.
///
/// ```
/// use std::time::Duration;
/// use millpond::Timestamp;
/// let second = Timestamp::from_millis(1_000);
/// assert_eq!(second.millis(), 1_000);
/// assert!(Timestamp::NONE < Timestamp::from_millis(0));
/// assert_eq!(second.saturating_add(Duration::from_secs(1)), Timestamp::from_millis(2_000));
/// assert_eq!(second.since(Timestamp::from_millis(400)), Some(Duration::from_millis(600)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
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

    /// Whether no time was given: [`Timestamp::NONE`], as any negative number is read by Kafka.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 < 0
    }

    /// The point of a system time, cut to whole milliseconds; times before 1970 become 1970.
    #[must_use]
    pub fn from_system_time(time: SystemTime) -> Timestamp {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(millis_of(since_epoch))
    }

    /// The same point as a system time, or `None` if no time was given or the system cannot hold it.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let millis = u64::try_from(self.0).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }

    /// The point `later` by that much, at most the greatest.
    #[must_use]
    pub fn saturating_add(self, later: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis_of(later)))
    }

    /// The point `earlier` by that much, at least the least.
    #[must_use]
    pub fn saturating_sub(self, earlier: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(millis_of(earlier)))
    }

    /// How long before this point `earlier` was, or `None` if it is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Option<Duration> {
        if earlier > self {
            return None;
        }
        Some(Duration::from_millis(self.0.abs_diff(earlier.0)))
    }
}

fn millis_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
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

impl FromStr for Timestamp {
    type Err = InvalidText;

    fn from_str(text: &str) -> Result<Timestamp, InvalidText> {
        let invalid = |_| InvalidText::new(text, "a number of milliseconds since 1970-01-01 UTC");
        text.parse().map(Timestamp).map_err(invalid)
    }
}
