//! What a partition must know of its topic's and its broker's settings.

use std::time::Duration;

use crate::config::{CleanupPolicy, Compression, Durability, Retention, TimestampType, TopicConfig};

/// Settings of a log. Cheap to clone; replaced as a whole.
#[derive(Clone, Debug)]
pub(crate) struct LogSettings {
    /// What an acknowledgement means.
    pub(crate) durability: Durability,
    /// Codec of shared batches.
    pub(crate) compression: Compression,
    /// Greatest size of a shared batch, in bytes.
    pub(crate) batch_size: u64,
    /// How long a batch stays open.
    pub(crate) linger: Duration,
    /// Greatest size of a record, in bytes as encoded.
    pub(crate) max_record_size: u64,
    /// A value of so many bytes is written from where it lies, as a batch of its own.
    pub(crate) large_value: usize,
    /// Greatest size of a segment, in bytes.
    pub(crate) segment_size: u64,
    /// A segment older than this rolls.
    pub(crate) segment_age: Duration,
    /// One index entry each so many bytes.
    pub(crate) index_interval: u64,
    /// Greatest size of an index, in bytes.
    pub(crate) index_size: u64,
    /// Whose clock stamps records.
    pub(crate) timestamp_type: TimestampType,
    /// Stores through maps are trusted here, and reads go through maps.
    pub(crate) in_place: bool,
    /// What may be deleted.
    pub(crate) retention: Retention,
    /// What a group has not read stays while the log is at most so large, in bytes.
    pub(crate) keep_unread: Option<u64>,
    /// How the log is compacted, if it is.
    pub(crate) cleanup: Cleanup,
    /// At `Memory`, a flush after this long, so that recovery stays short.
    pub(crate) lazy_flush: Duration,
    /// Producers that have not been heard of for so long are forgotten.
    pub(crate) producer_expiration: Duration,
}

/// What a topic's settings say of compaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cleanup {
    /// Whether records leave by age and size, by key, or both.
    pub(crate) policy: CleanupPolicy,
    /// How long a tombstone stays after the first compaction that saw it.
    pub(crate) delete_retention: Duration,
    /// A record is not compacted before it has been in the log for this long.
    pub(crate) min_lag: Duration,
    /// A record is compacted once it has been in the log for this long.
    pub(crate) max_lag: Option<Duration>,
    /// How much of the log, in percent of its bytes, must be new before it is compacted.
    pub(crate) dirty_percent: u32,
}

/// Below this a copy costs less than the calls.
const LARGE_VALUE: usize = 1 << 20;
/// The same where batches are built in the map: up to here the other processor prepares pages ahead.
const LARGE_IN_PLACE: usize = 16 << 20;

impl LogSettings {
    /// The settings of a topic's partitions. `in_place`: whether stores through maps are trusted.
    pub(crate) fn of(
        topic: &TopicConfig,
        in_place: bool,
        lazy_flush: Duration,
        producer_expiration: Duration,
    ) -> LogSettings {
        let mut settings = LogSettings {
            durability: topic.durability_level(),
            compression: topic.compression_type(),
            batch_size: topic.batch_size_bytes(),
            linger: topic.linger_duration(),
            max_record_size: topic.max_record_size_bytes(),
            large_value: usize::MAX,
            segment_size: topic.segment_size_bytes(),
            segment_age: topic.rolls_after(),
            index_interval: topic.index_interval_bytes(),
            index_size: topic.index_size_bytes(),
            timestamp_type: topic.timestamp_kind(),
            in_place,
            retention: topic.retention_policy(),
            keep_unread: topic.keep_unread_bytes(),
            cleanup: Cleanup {
                policy: topic.cleanup_policy_kind(),
                delete_retention: topic.delete_retention_duration(),
                min_lag: topic.min_compaction_lag_duration(),
                max_lag: topic.max_compaction_lag_duration(),
                dirty_percent: topic.min_cleanable_dirty_percentage(),
            },
            lazy_flush,
            producer_expiration,
        };
        // What stays in memory is counted as it is staged.
        if topic.volatile_bound().is_none() {
            settings.large_value = if settings.builds_in_place() { LARGE_IN_PLACE } else { LARGE_VALUE };
        }
        settings
    }

    /// Whether batches are built in the map: nothing must be synced at once, nothing is compressed.
    pub(crate) fn builds_in_place(&self) -> bool {
        self.in_place && self.durability != Durability::Sync && self.compression == Compression::None
    }

    /// Values of so many bytes are written from where they lie; none where they are compressed.
    pub(crate) fn large_from(&self) -> usize {
        if self.compression == Compression::None { self.large_value } else { usize::MAX }
    }

    /// How long an appended record may stay unflushed before a flush starts; none where each is flushed.
    pub(crate) fn flush_after(&self) -> Option<Duration> {
        match self.durability {
            Durability::Memory => Some(self.lazy_flush),
            Durability::Interval(d) => Some(d / 2),
            Durability::Sync => None,
        }
    }

    /// Offset index interval and greatest index size.
    pub(crate) fn index(&self) -> (u64, u64) {
        (self.index_interval, self.index_size)
    }
}
