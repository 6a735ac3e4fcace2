//! What an acknowledgement promises, and whose acknowledgement a producer waits for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::{DurationText, check_duration, parse_duration, unknown_word};
use crate::error::{Error, Result};

/// How durable a record of a topic is when it is acknowledged and visible.
///
/// | level | survives |
/// |---|---|
/// | [`Memory`](Durability::Memory) | the death of the process |
/// | [`Interval`](Durability::Interval) | the death of the process; a power cut but for the last interval |
/// | [`Sync`](Durability::Sync) | a power cut |
///
/// As text: `memory`, `sync`, `interval:250ms`.
///
/// ```
/// use std::time::Duration;
/// use millpond::config::Durability;
/// assert_eq!(Durability::default(), Durability::Sync);
/// let level: Durability = "interval:250ms".parse()?;
/// assert_eq!(level, Durability::Interval(Duration::from_millis(250)));
/// assert_eq!(level.to_string(), "interval:250ms");
/// # Ok::<(), millpond::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Held by the operating system; written to the device lazily, and nobody waits for it.
    Memory,
    /// As `Memory`, and no acknowledged record stays off the device for longer than this time.
    /// **Allowed** 1 ms to 1 day.
    Interval(Duration),
    /// On the device.
    #[default]
    Sync,
}

impl Durability {
    /// The age of what a power cut may take, at most.
    pub(crate) fn at_risk(self) -> Duration {
        match self {
            Durability::Memory => Duration::MAX,
            Durability::Interval(interval) => interval,
            Durability::Sync => Duration::ZERO,
        }
    }

    /// Checks the interval.
    pub(crate) fn check(self, field: &str) -> Result<()> {
        match self {
            Durability::Memory | Durability::Sync => Ok(()),
            Durability::Interval(interval) => check_duration(field, interval, MIN_INTERVAL, MAX_INTERVAL),
        }
    }
}

const MIN_INTERVAL: Duration = Duration::from_millis(1);
const MAX_INTERVAL: Duration = Duration::from_secs(86_400);

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Durability::Memory => f.write_str("memory"),
            Durability::Interval(interval) => write!(f, "interval:{}", DurationText(*interval)),
            Durability::Sync => f.write_str("sync"),
        }
    }
}

impl FromStr for Durability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Durability> {
        let interval = |text: &str| text.strip_prefix("interval:").and_then(parse_duration);
        match text {
            "memory" => Ok(Durability::Memory),
            "sync" => Ok(Durability::Sync),
            _ => interval(text)
                .map(Durability::Interval)
                .ok_or_else(|| unknown_word("durability", text, "memory, sync, interval:<time>")),
        }
    }
}

serde_as_text!(Durability);

/// Whose acknowledgement a producer waits for; each acknowledges at the level of the topic's
/// [`Durability`]. As text: `none`, `leader`, `all`.
///
/// ```
/// use millpond::config::Acks;
/// assert_eq!(Acks::default(), Acks::All);
/// assert_eq!("leader".parse::<Acks>()?, Acks::Leader);
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "acks")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Nobody's: a delivery is done once the record has been handed over (Kafka's 0).
    None,
    /// The leader's (Kafka's 1).
    Leader,
    /// That of every in-sync replica (Kafka's -1). On one node this is the leader.
    #[default]
    All,
}

words!(Acks, "acks", { None = "none", Leader = "leader", All = "all" });
