//! Identifiers and epochs: numbers that must not be mistaken for one another.

use std::fmt;

/// Counts the leaders of a partition: it rises whenever another process (or another opening of the
/// same directory after an unclean end) may append. -1 where unknown.
///
/// ```
/// use millpond::LeaderEpoch;
/// assert!(LeaderEpoch::new(2) > LeaderEpoch::NONE);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct LeaderEpoch(i32);

impl LeaderEpoch {
    /// No epoch is known.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);

    /// The epoch with this number.
    #[must_use]
    pub const fn new(epoch: i32) -> LeaderEpoch {
        LeaderEpoch(epoch)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i32 {
        self.0
    }
}

/// Names a producer in the log, so that what it repeats is recognised; -1 where there is none.
///
/// ```
/// use millpond::ProducerId;
/// assert_eq!(ProducerId::NONE.get(), -1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct ProducerId(i64);

impl ProducerId {
    /// The batch has no producer id.
    pub const NONE: ProducerId = ProducerId(-1);

    /// The id with this number.
    #[must_use]
    pub const fn new(id: i64) -> ProducerId {
        ProducerId(id)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

/// Counts the holders of a producer id: an older one is fenced; -1 where there is none.
///
/// ```
/// use millpond::ProducerEpoch;
/// assert_eq!(ProducerEpoch::NONE.get(), -1);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct ProducerEpoch(i16);

impl ProducerEpoch {
    /// The batch has no producer epoch.
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);

    /// The epoch with this number.
    #[must_use]
    pub const fn new(epoch: i16) -> ProducerEpoch {
        ProducerEpoch(epoch)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }
}

macro_rules! display_number {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

display_number!(LeaderEpoch, ProducerId, ProducerEpoch);
