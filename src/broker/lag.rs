//! How far a group is behind.
//!
//! ```text
//!   log start ...... committed ........ position ........ end
//!                    |<------------- lag ------------------>|
//! ```
//!
//! The end is the high watermark, as Kafka's tools count: what an open transaction holds back is part of the lag, and
//! told apart by [`PartitionLag::readable`]. Whether a group reads committed records only is its members' affair.
//!
//! Invariant: lag counts from what is committed, because from there the group goes on after a crash; where the
//! log does not hold that any more, from the log start.

use std::sync::Arc;
use std::time::Duration;

use crate::consumer::LagSource;
use crate::group::{MemberId, OffsetAndMetadata};
use crate::partition::{Cursor, Log, ReadLimits};
use crate::types::{Offset, Timestamp, TopicPartition};

/// How far a group is behind in a partition.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
///
/// let broker = Broker::open(dir.path())?;
/// let orders = broker.create_topic("orders", TopicConfig::new())?;
/// orders.producer()?.send_batch(["tea", "jam", "rye"].map(Record::new))?.wait()?;
/// let mut consumer = broker.group("billing")?.join("orders")?;
/// let records = consumer.poll().wait()?;
/// drop(records); // polled, not committed
///
/// let lag = &broker.group("billing")?.lag()?[0];
/// assert_eq!((lag.records(), lag.position().map(Offset::get)), (3, Some(3)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct PartitionLag {
    pub(super) partition: TopicPartition,
    pub(super) committed: Option<OffsetAndMetadata>,
    pub(super) position: Option<Offset>,
    pub(super) log_start: Offset,
    pub(super) end: Offset,
    /// `None` from outside the process.
    pub(super) last_stable: Option<Offset>,
    pub(super) owner: Option<MemberId>,
    pub(super) oldest_unread: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl PartitionLag {
    /// Of a partition with this log.
    pub(super) fn new(source: LagSource, log: &Arc<Log>) -> PartitionLag {
        // First: the end is not below it then.
        let last_stable = Some(Offset::of(log.last_stable()));
        let mut lag = PartitionLag {
            partition: source.tp,
            committed: source.committed,
            position: source.position,
            log_start: Offset::of(log.log_start()),
            end: Offset::of(log.high_watermark()),
            last_stable,
            owner: source.owner,
            oldest_unread: None,
            now: log.clock().now(),
        };
        if lag.records() > 0 {
            lag.oldest_unread = first_timestamp(log, lag.from().get());
        }
        lag
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// What the group has committed, if anything.
    #[must_use]
    pub fn committed(&self) -> Option<&OffsetAndMetadata> {
        self.committed.as_ref()
    }

    /// The offset that the owner reads next; `None` without an owner, before its first `poll`, and from outside
    /// the process.
    #[must_use]
    pub fn position(&self) -> Option<Offset> {
        self.position
    }

    /// The first offset that the log holds.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log_start
    }

    /// The end of what can be read: its high watermark.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Where members stop that read committed records only, as they do unless
    /// [`GroupConfig::isolation`](crate::config::GroupConfig::isolation) says otherwise: where the oldest transaction
    /// begins that is open, or the end. `None` from outside the process.
    #[must_use]
    pub fn last_stable_offset(&self) -> Option<Offset> {
        self.last_stable
    }

    /// How many of the [`records`](Self::records) such members can read now; the others wait for a transaction to end,
    /// and no member is to blame for them. `None` from outside the process.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let orders = broker.create_topic("orders", TopicConfig::new())?;
    /// orders.producer()?.send_batch(["tea", "jam"].map(Record::new))?.wait()?;
    /// let consumer = broker.group("billing")?.join("orders")?;
    /// let lag = &broker.group("billing")?.lag()?[0];
    /// assert_eq!((lag.records(), lag.readable()), (2, Some(2)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn readable(&self) -> Option<u64> {
        self.last_stable.map(|stable| stable.min(self.end).distance_from(self.from()).unwrap_or(0))
    }

    /// How many records lie between what is committed (or kept, if that is less) and the end; those of aborted
    /// transactions and what compaction has taken away included, as offsets are counted.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.end.distance_from(self.from()).unwrap_or(0)
    }

    /// How long ago the first record that is not committed was sent, by its timestamp and the clock; zero where
    /// everything is committed. `None` if its timestamp cannot be read.
    #[must_use]
    pub fn time(&self) -> Option<Duration> {
        if self.records() == 0 {
            return Some(Duration::ZERO);
        }
        self.oldest_unread.map(|oldest| self.now.since(oldest).unwrap_or_default())
    }

    /// The timestamp of the first record that is not committed; `None` if there is none, or it cannot be read.
    #[must_use]
    pub fn oldest_unread(&self) -> Option<Timestamp> {
        self.oldest_unread
    }

    /// Who reads the partition now.
    #[must_use]
    pub fn owner(&self) -> Option<&MemberId> {
        self.owner.as_ref()
    }

    /// The first offset that is not committed and that the log holds.
    pub(super) fn from(&self) -> Offset {
        self.committed.as_ref().map_or(self.log_start, OffsetAndMetadata::offset).max(self.log_start)
    }
}

/// The timestamp of the first record at `offset` or behind it.
fn first_timestamp(log: &Arc<Log>, offset: u64) -> Option<Timestamp> {
    let limits = ReadLimits { max_bytes: 1, max_records: u32::MAX, crc: log.crc_check() };
    let chunk = Cursor::new(log.clone(), offset).read(u64::MAX, &limits).ok()??;
    let first = chunk.iter().next()?.ok()?;
    Some(Timestamp::from_millis(first.timestamp))
}
