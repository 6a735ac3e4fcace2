//! Topics without a disk: how much memory they take, and what happens when it is full.

use std::fmt;
use std::str::FromStr;

use super::text::{check_size, unknown_word};
use crate::error::{Error, Result};
use crate::types::ByteSize;

/// What a volatile topic does when its memory is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The oldest records go. Who has not read them meets `OffsetOutOfRange`.
    DropOldest,
    /// Senders wait for room, as they do for staging memory: for at most `max_block`, which then answers `TimedOut`.
    /// Room comes with what every consumer group of the topic has committed, and with deleted records.
    SendersWait,
}

/// A topic that is kept in memory only, and how much of that each of its partitions may take. As text:
/// `drop_oldest:64MiB`, `senders_wait:64MiB`.
///
/// ```
/// use millpond::ByteSize;
/// use millpond::config::{Durability, Overflow, TopicConfig, Volatile};
/// let latest = Volatile::drop_oldest(ByteSize::mib(64));
/// assert_eq!((latest.bound(), latest.overflow()), (ByteSize::mib(64), Overflow::DropOldest));
/// assert_eq!("senders_wait:1MiB".parse::<Volatile>()?, Volatile::senders_wait(ByteSize::mib(1)));
///
/// let config = TopicConfig::new().volatile(latest);
/// assert_eq!(config.durability_level(), Durability::Memory);
/// assert!(config.durability(Durability::Sync).validate().is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Volatile {
    overflow: Overflow,
    bound: ByteSize,
}

const LEAST: ByteSize = ByteSize::kib(64);
const GREATEST: ByteSize = ByteSize::gib(1024);
/// A bound is so many segments: one is let go at a time.
const SEGMENTS: u64 = 8;

impl Volatile {
    /// Where a partition's memory is full, its oldest records go. **Allowed** 64 KiB to 1 TiB, for each partition.
    #[must_use]
    pub const fn drop_oldest(bound: ByteSize) -> Volatile {
        Volatile { overflow: Overflow::DropOldest, bound }
    }

    /// Where a partition's memory is full, senders wait. **Allowed** 64 KiB to 1 TiB, for each partition.
    #[must_use]
    pub const fn senders_wait(bound: ByteSize) -> Volatile {
        Volatile { overflow: Overflow::SendersWait, bound }
    }

    /// How many bytes each partition may take.
    #[must_use]
    pub const fn bound(self) -> ByteSize {
        self.bound
    }

    /// What happens when that is full.
    #[must_use]
    pub const fn overflow(self) -> Overflow {
        self.overflow
    }

    /// The greatest segment: what is let go at once.
    pub(crate) fn greatest_segment(self) -> ByteSize {
        ByteSize::bytes(self.bound.as_u64() / SEGMENTS)
    }

    /// Bytes of batches that fit: the rest is for their headers while they are built, and for indexes.
    pub(crate) fn room(self) -> u64 {
        let bound = self.bound.as_u64();
        bound - bound / 64
    }

    pub(crate) fn check(self, field: &str) -> Result<()> {
        check_size(field, self.bound, LEAST, GREATEST)
    }
}

impl fmt::Display for Volatile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.overflow {
            Overflow::DropOldest => "drop_oldest",
            Overflow::SendersWait => "senders_wait",
        };
        write!(f, "{word}:{}", self.bound)
    }
}

impl FromStr for Volatile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Volatile> {
        parse(text).ok_or_else(|| unknown_word("volatile", text, "drop_oldest:<size>, senders_wait:<size>"))
    }
}

fn parse(text: &str) -> Option<Volatile> {
    let (word, bound) = text.split_once(':')?;
    let bound = bound.parse().ok()?;
    match word {
        "drop_oldest" => Some(Volatile::drop_oldest(bound)),
        "senders_wait" => Some(Volatile::senders_wait(bound)),
        _ => None,
    }
}

serde_as_text!(Volatile);
