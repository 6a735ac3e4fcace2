//! Settings of a topic: everything a topic is, but its name.
//!
//! Invariant: a topic's settings are stored as the pairs of [`TopicConfig::to_pairs`], so the names of
//! the settings are part of the directory's format.

mod pairs;
mod setters;

use std::time::Duration;

use super::text::{MAX_DURATION, check_count, check_duration, check_size};
use super::{CleanupPolicy, Compression, Durability, Retention, TimestampType, Volatile};
use crate::error::{Error, Result};
use crate::types::ByteSize;

/// Settings of a topic.
///
/// ```
/// use std::time::Duration;
/// use millpond::config::{Durability, Retention, TopicConfig};
/// let week = Duration::from_secs(7 * 86_400);
/// let config = TopicConfig::new().partitions(3).durability(Durability::Memory).retention(Retention::age(week));
/// assert_eq!(config.partition_count(), 3);
/// config.validate()?;
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct TopicConfig {
    partitions: u32,
    durability: Durability,
    compression: Compression,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    batch_size: Option<ByteSize>,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    linger: Duration,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    max_record_size: Option<ByteSize>,
    segment_size: ByteSize,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    segment_age: Duration,
    index_interval: ByteSize,
    index_size: ByteSize,
    timestamp_type: TimestampType,
    retention: Retention,
    min_in_sync_replicas: u32,
    cleanup_policy: CleanupPolicy,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    min_compaction_lag: Duration,
    #[cfg_attr(
        feature = "serde",
        serde(with = "super::text::serde_duration_option", skip_serializing_if = "Option::is_none")
    )]
    max_compaction_lag: Option<Duration>,
    min_cleanable_dirty_percent: u32,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    delete_retention: Duration,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    keep_unread: Option<ByteSize>,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    volatile: Option<Volatile>,
}

const MAX_PARTITIONS: u32 = 10_000;
const DEFAULT_BATCH_SIZE: ByteSize = ByteSize::kib(64);
const DEFAULT_MAX_RECORD_SIZE: ByteSize = ByteSize::mib(1);
const MIN_SEGMENT_SIZE: ByteSize = ByteSize::kib(1);
/// Positions in a segment are 32-bit and signed in Kafka's indexes; one page stays free below that.
const MAX_SEGMENT_SIZE: ByteSize = ByteSize::bytes((1 << 31) - 4096);

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig {
            partitions: 1,
            durability: Durability::default(),
            compression: Compression::default(),
            batch_size: None,
            linger: Duration::from_millis(5),
            max_record_size: None,
            segment_size: ByteSize::gib(1),
            segment_age: Duration::from_secs(7 * 86_400),
            index_interval: ByteSize::kib(4),
            index_size: ByteSize::mib(10),
            timestamp_type: TimestampType::default(),
            retention: Retention::default(),
            min_in_sync_replicas: 1,
            cleanup_policy: CleanupPolicy::default(),
            min_compaction_lag: Duration::ZERO,
            max_compaction_lag: None,
            min_cleanable_dirty_percent: 50,
            delete_retention: Duration::from_secs(86_400),
            keep_unread: None,
            volatile: None,
        }
    }
}

/// Settings are equal where they mean the same: a default left out equals the same value given.
impl PartialEq for TopicConfig {
    fn eq(&self, other: &TopicConfig) -> bool {
        self.to_pairs() == other.to_pairs()
    }
}

impl Eq for TopicConfig {}

impl TopicConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> TopicConfig {
        TopicConfig::default()
    }

    /// How many partitions the topic has.
    #[must_use]
    pub fn partition_count(&self) -> u32 {
        self.partitions
    }

    /// How durable a record is when it is acknowledged.
    #[must_use]
    pub fn durability_level(&self) -> Durability {
        self.durability
    }

    /// How batches are compressed.
    #[must_use]
    pub fn compression_type(&self) -> Compression {
        self.compression
    }

    /// The size at which a batch is full, in bytes.
    #[must_use]
    pub fn batch_size_bytes(&self) -> u64 {
        self.batch_size.unwrap_or(DEFAULT_BATCH_SIZE.min(self.greatest_segment())).as_u64()
    }

    /// How long a batch waits for more records.
    #[must_use]
    pub fn linger_duration(&self) -> Duration {
        self.linger
    }

    /// The greatest batch that one record may need for itself, in bytes.
    #[must_use]
    pub fn max_record_size_bytes(&self) -> u64 {
        self.max_record_size.unwrap_or(DEFAULT_MAX_RECORD_SIZE.min(self.greatest_segment())).as_u64()
    }

    /// The size at which a new segment is begun, in bytes; an eighth of the bound of a volatile topic, at most.
    #[must_use]
    pub fn segment_size_bytes(&self) -> u64 {
        self.greatest_segment().as_u64()
    }

    fn greatest_segment(&self) -> ByteSize {
        let bound = self.volatile.map(Volatile::greatest_segment);
        bound.map_or(self.segment_size, |bound| bound.min(self.segment_size))
    }

    /// The age at which a new segment is begun.
    #[must_use]
    pub fn segment_age_duration(&self) -> Duration {
        self.segment_age
    }

    /// How many bytes of the log lie between two entries of its index.
    #[must_use]
    pub fn index_interval_bytes(&self) -> u64 {
        self.index_interval.as_u64()
    }

    /// The greatest size of a segment's index, in bytes.
    #[must_use]
    pub fn index_size_bytes(&self) -> u64 {
        self.index_size.as_u64()
    }

    /// Which time a record's timestamp is.
    #[must_use]
    pub fn timestamp_kind(&self) -> TimestampType {
        self.timestamp_type
    }

    /// How much of the log is kept.
    #[must_use]
    pub fn retention_policy(&self) -> Retention {
        self.retention
    }

    /// How many replicas must be in sync for `Acks::All` to be answered.
    #[must_use]
    pub fn min_in_sync_replica_count(&self) -> u32 {
        self.min_in_sync_replicas
    }

    /// How records leave the log.
    #[must_use]
    pub fn cleanup_policy_kind(&self) -> CleanupPolicy {
        self.cleanup_policy
    }

    /// How long a record stays in the log at least before it is compacted.
    #[must_use]
    pub fn min_compaction_lag_duration(&self) -> Duration {
        self.min_compaction_lag
    }

    /// How long a record stays in the log at most before it is compacted, if that is bounded.
    #[must_use]
    pub fn max_compaction_lag_duration(&self) -> Option<Duration> {
        self.max_compaction_lag
    }

    /// How much of a log must be new before it is compacted, in percent of its bytes.
    #[must_use]
    pub fn min_cleanable_dirty_percentage(&self) -> u32 {
        self.min_cleanable_dirty_percent
    }

    /// How long tombstones stay after the first compaction that saw them.
    #[must_use]
    pub fn delete_retention_duration(&self) -> Duration {
        self.delete_retention
    }

    /// Up to which size of a partition, in bytes, retention spares what a group has not read; none if it does not.
    #[must_use]
    pub fn keep_unread_bytes(&self) -> Option<u64> {
        self.keep_unread.map(ByteSize::as_u64)
    }

    /// The age at which a segment is ended: so that what must be compacted, or deleted, by then is not in the active
    /// one.
    pub(crate) fn rolls_after(&self) -> Duration {
        let lag = self.max_compaction_lag.filter(|_| self.cleanup_policy.compacts());
        let kept = self.retention.max_age().filter(|_| self.cleanup_policy.deletes());
        let kept = kept.map(|age| age.max(Duration::from_secs(1)));
        lag.into_iter().chain(kept).fold(self.segment_age, Duration::min)
    }

    /// Whether the topic is kept in memory only, and what bounds it.
    #[must_use]
    pub fn volatile_bound(&self) -> Option<Volatile> {
        self.volatile
    }

    /// Checks every setting, and that this build has the codec of the compression.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names field, value and bound.
    pub fn validate(&self) -> Result<()> {
        self.check_bounds()?;
        self.compression.check_available()
    }

    /// Checks what does not depend on the build's features.
    fn check_bounds(&self) -> Result<()> {
        check_count("partitions", self.partitions.into(), 1, MAX_PARTITIONS.into())?;
        self.durability.check("durability")?;
        self.compression.check_level()?;
        check_duration("linger", self.linger, Duration::ZERO, Duration::from_secs(60))?;
        check_size("segment_size", self.segment_size, MIN_SEGMENT_SIZE, MAX_SEGMENT_SIZE)?;
        check_duration("segment_age", self.segment_age, Duration::from_millis(1), MAX_DURATION)?;
        check_size("index_interval", self.index_interval, ByteSize::bytes(0), MAX_SEGMENT_SIZE)?;
        check_size("index_size", self.index_size, ByteSize::bytes(64), MAX_SEGMENT_SIZE)?;
        self.retention.check("retention")?;
        check_count("min_in_sync_replicas", self.min_in_sync_replicas.into(), 1, i16::MAX as u64)?;
        self.check_cleanup()?;
        self.check_volatile()?;
        let batch_size = ByteSize::bytes(self.batch_size_bytes());
        check_size("batch_size", batch_size, ByteSize::kib(1), ByteSize::mib(16))?;
        self.check_fits_segment("batch_size", batch_size)?;
        let max_record_size = ByteSize::bytes(self.max_record_size_bytes());
        check_size("max_record_size", max_record_size, ByteSize::bytes(1), ByteSize::gib(1))?;
        self.check_fits_segment("max_record_size", max_record_size)
    }

    fn check_cleanup(&self) -> Result<()> {
        check_duration("min_compaction_lag", self.min_compaction_lag, Duration::ZERO, MAX_DURATION)?;
        check_duration("delete_retention", self.delete_retention, Duration::ZERO, MAX_DURATION)?;
        check_count("min_cleanable_dirty_percent", self.min_cleanable_dirty_percent.into(), 0, 100)?;
        if let Some(size) = self.keep_unread {
            check_size("keep_unread", size, ByteSize::bytes(1), ByteSize::bytes(u64::MAX))?;
        }
        if let Some(lag) = self.max_compaction_lag {
            let least = self.min_compaction_lag.max(Duration::from_millis(1));
            check_duration("max_compaction_lag", lag, least, MAX_DURATION)?;
        }
        if !self.cleanup_policy.deletes() && self.retention != Retention::forever() {
            let bound = "forever, as nothing is deleted by age or size with the cleanup_policy compact";
            return Err(Error::invalid_config("retention", self.retention, bound));
        }
        Ok(())
    }

    fn check_volatile(&self) -> Result<()> {
        let Some(volatile) = self.volatile else { return Ok(()) };
        volatile.check("volatile")?;
        if self.cleanup_policy.compacts() {
            let bound = "delete: what bounds a volatile topic is its bytes";
            return Err(Error::invalid_config("cleanup_policy", self.cleanup_policy, bound));
        }
        if self.durability == Durability::Memory {
            return Ok(());
        }
        let bound = "memory: a volatile topic is never on a disk";
        Err(Error::invalid_config("durability", self.durability, bound))
    }

    fn check_fits_segment(&self, field: &str, value: ByteSize) -> Result<()> {
        let greatest = self.greatest_segment();
        if value <= greatest {
            return Ok(());
        }
        let bound = match self.volatile {
            Some(_) => {
                format!("at most an eighth of the bound of a volatile topic, and segment_size: {greatest}")
            }
            None => format!("at most segment_size, which is {greatest}"),
        };
        Err(Error::invalid_config(field, value, &bound))
    }
}
