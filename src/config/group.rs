//! Settings of a consumer group's members.

use std::time::Duration;

use super::Isolation;
use super::text::{check_count, check_duration, check_size};
use crate::error::Result;
use crate::types::ByteSize;

/// Where a group begins in a partition in which it has committed nothing, or whose committed offset is gone.
///
/// ```
/// use millpond::config::OffsetReset;
/// assert_eq!(OffsetReset::default(), OffsetReset::Earliest);
/// assert_eq!("none".parse::<OffsetReset>()?, OffsetReset::Fail);
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "auto.offset.reset")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OffsetReset {
    /// At the first record that is kept.
    #[default]
    Earliest,
    /// Behind the last record there is when the group first joins a topic; that is committed at once. Partitions
    /// that the topic gets later, and topics that come to match a pattern, are read from their start: nothing
    /// that was written before they were noticed is missed.
    Latest,
    /// Nowhere: `poll` answers `NoOffset`, or `OffsetOutOfRange`.
    Fail,
}

words!(OffsetReset, "offset_reset", { Earliest = "earliest", Latest = "latest", Fail = "none" });

/// Settings of a member of a consumer group.
///
/// ```
/// use std::time::Duration;
/// use millpond::config::{GroupConfig, OffsetReset};
/// let config = GroupConfig::new().max_poll_interval(Duration::from_secs(30)).offset_reset(OffsetReset::Latest);
/// assert_eq!(config.max_poll_interval_duration(), Duration::from_secs(30));
/// config.validate()?;
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct GroupConfig {
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    max_poll_interval: Duration,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    session_timeout: Duration,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration_option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    auto_commit_interval: Option<Duration>,
    offset_reset: OffsetReset,
    max_records: u32,
    max_bytes: ByteSize,
    isolation: Isolation,
}

impl Default for GroupConfig {
    fn default() -> GroupConfig {
        GroupConfig {
            max_poll_interval: Duration::from_secs(300),
            session_timeout: Duration::from_secs(45),
            auto_commit_interval: None,
            offset_reset: OffsetReset::default(),
            max_records: 10_000,
            max_bytes: ByteSize::mib(1),
            isolation: Isolation::ReadCommitted,
        }
    }
}

impl GroupConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> GroupConfig {
        GroupConfig::default()
    }

    /// Which records of transactions are handed out.
    ///
    /// **Default** `read_committed`. **Allowed** any. **Kafka name** `isolation.level`.
    #[doc(alias = "isolation.level")]
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> GroupConfig {
        self.isolation = isolation;
        self
    }

    /// How long a member may go without polling before its partitions are given to others. It also bounds
    /// how long others wait for a partition that it is to let go.
    ///
    /// **Default** 5 min. **Allowed** 1 ms to 1 day. **Kafka name** `max.poll.interval.ms`.
    #[doc(alias = "max.poll.interval.ms")]
    #[must_use]
    pub fn max_poll_interval(mut self, max_poll_interval: Duration) -> GroupConfig {
        self.max_poll_interval = max_poll_interval;
        self
    }

    /// How long a static member may be away, by the wall clock and across restarts, before its partitions are
    /// given to others.
    ///
    /// **Default** 45 s. **Allowed** 1 ms to 30 days. **Kafka name** `session.timeout.ms`.
    #[doc(alias = "session.timeout.ms")]
    #[must_use]
    pub fn session_timeout(mut self, session_timeout: Duration) -> GroupConfig {
        self.session_timeout = session_timeout;
        self
    }

    /// Positions are committed by `poll` itself, so much after the last time. What was polled before may not
    /// have been processed when the program dies: at most once, if you do not know better.
    ///
    /// **Default** off. **Allowed** 1 ms to 1 day. **Kafka name** `auto.commit.interval.ms`.
    #[doc(alias = "auto.commit.interval.ms")]
    #[doc(alias = "enable.auto.commit")]
    #[must_use]
    pub fn auto_commit_interval(mut self, auto_commit_interval: Duration) -> GroupConfig {
        self.auto_commit_interval = Some(auto_commit_interval);
        self
    }

    /// Where the group begins in a partition in which it has committed nothing.
    ///
    /// **Default** `earliest`. **Allowed** any. **Kafka name** `auto.offset.reset`.
    #[doc(alias = "auto.offset.reset")]
    #[must_use]
    pub fn offset_reset(mut self, offset_reset: OffsetReset) -> GroupConfig {
        self.offset_reset = offset_reset;
        self
    }

    /// The most records that a `poll` hands out. What is left of a batch is kept for the next one, where it was
    /// compressed: in memory, one batch for each partition at most.
    ///
    /// **Default** 10,000. **Allowed** 1 to 4,294,967,295. **Kafka name** `max.poll.records`.
    #[doc(alias = "max.poll.records")]
    #[must_use]
    pub fn max_records(mut self, max_records: u32) -> GroupConfig {
        self.max_records = max_records;
        self
    }

    /// The most bytes that a `poll` hands out; a single larger batch is still handed out.
    ///
    /// **Default** 1 MiB. **Allowed** 1 byte to 1 GiB. **Kafka name** `fetch.max.bytes`.
    #[doc(alias = "fetch.max.bytes")]
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: ByteSize) -> GroupConfig {
        self.max_bytes = max_bytes;
        self
    }

    /// How long a member may go without polling.
    #[must_use]
    pub fn max_poll_interval_duration(&self) -> Duration {
        self.max_poll_interval
    }

    /// How long a static member may be away.
    #[must_use]
    pub fn session_timeout_duration(&self) -> Duration {
        self.session_timeout
    }

    /// How often `poll` commits, if it does.
    #[must_use]
    pub fn auto_commit_interval_duration(&self) -> Option<Duration> {
        self.auto_commit_interval
    }

    /// Where the group begins in a partition in which it has committed nothing.
    #[must_use]
    pub fn offset_reset_kind(&self) -> OffsetReset {
        self.offset_reset
    }

    /// The most records that a `poll` hands out.
    #[must_use]
    pub fn max_record_count(&self) -> u32 {
        self.max_records
    }

    /// The most bytes that a `poll` hands out.
    #[must_use]
    pub fn max_byte_count(&self) -> u64 {
        self.max_bytes.as_u64()
    }

    /// Which records of transactions are handed out.
    #[must_use]
    pub fn isolation_level(&self) -> Isolation {
        self.isolation
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names field, value and bound.
    pub fn validate(&self) -> Result<()> {
        let instant = Duration::from_millis(1);
        let day = Duration::from_secs(86_400);
        check_duration("max_poll_interval", self.max_poll_interval, instant, day)?;
        check_duration("session_timeout", self.session_timeout, instant, day * 30)?;
        if let Some(interval) = self.auto_commit_interval {
            check_duration("auto_commit_interval", interval, instant, day)?;
        }
        check_count("max_records", self.max_records.into(), 1, u32::MAX.into())?;
        check_size("max_bytes", self.max_bytes, ByteSize::bytes(1), ByteSize::gib(1))
    }
}
