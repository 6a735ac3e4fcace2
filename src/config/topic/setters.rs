//! How the settings of a topic are set: each consumes the settings and gives them back.

use std::time::Duration;

use super::TopicConfig;
use crate::config::{CleanupPolicy, Compression, Durability, Retention, TimestampType, Volatile};
use crate::types::ByteSize;

impl TopicConfig {
    /// How many partitions the topic has.
    ///
    /// **Default** 1. **Allowed** 1 to 10,000. **Kafka name** `num.partitions`.
    #[doc(alias = "num.partitions")]
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> TopicConfig {
        self.partitions = partitions;
        self
    }

    /// How durable a record is when it is acknowledged and visible.
    ///
    /// **Default** `sync`. **Allowed** `memory`, `interval:1ms` to `interval:1d`, `sync`.
    /// **Kafka name** near `flush.ms` and `flush.messages`.
    #[doc(alias = "flush.ms")]
    #[doc(alias = "flush.messages")]
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> TopicConfig {
        self.durability = durability;
        self
    }

    /// How batches are compressed.
    ///
    /// **Default** `none`. **Allowed** a codec whose feature this build has. **Kafka name** `compression.type`.
    #[doc(alias = "compression.type")]
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> TopicConfig {
        self.compression = compression;
        self
    }

    /// The size at which a batch is full and sealed, before compression.
    ///
    /// **Default** 64 KiB, or `segment_size` where that is smaller. **Allowed** 1 KiB to 16 MiB, at most
    /// `segment_size`. **Kafka name** `batch.size`.
    #[doc(alias = "batch.size")]
    #[must_use]
    pub fn batch_size(mut self, batch_size: ByteSize) -> TopicConfig {
        self.batch_size = Some(batch_size);
        self
    }

    /// How long a batch waits for more records when nobody waits for it.
    ///
    /// **Default** 5 ms. **Allowed** 0 to 60 s. **Kafka name** `linger.ms`.
    #[doc(alias = "linger.ms")]
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> TopicConfig {
        self.linger = linger;
        self
    }

    /// The greatest batch that one record may need for itself, its header included.
    ///
    /// **Default** 1 MiB, or `segment_size` where that is smaller. **Allowed** 1 byte to 1 GiB, at most
    /// `segment_size`. **Kafka name** `max.message.bytes`.
    #[doc(alias = "max.message.bytes")]
    #[doc(alias = "max.request.size")]
    #[must_use]
    pub fn max_record_size(mut self, max_record_size: ByteSize) -> TopicConfig {
        self.max_record_size = Some(max_record_size);
        self
    }

    /// The size at which a new segment is begun.
    ///
    /// **Default** 1 GiB. **Allowed** 1 KiB to 2 GiB less 4 KiB. **Kafka name** `segment.bytes`.
    #[doc(alias = "segment.bytes")]
    #[must_use]
    pub fn segment_size(mut self, segment_size: ByteSize) -> TopicConfig {
        self.segment_size = segment_size;
        self
    }

    /// The age at which a new segment is begun, so that retention by age can take the old one; where the retention's
    /// age (but a second at least) or `max_compaction_lag` is shorter, that counts.
    ///
    /// **Default** 7 days. **Allowed** 1 ms to 100 years. **Kafka name** `segment.ms`.
    #[doc(alias = "segment.ms")]
    #[must_use]
    pub fn segment_age(mut self, segment_age: Duration) -> TopicConfig {
        self.segment_age = segment_age;
        self
    }

    /// How many bytes of the log lie at least between two entries of its index; 0 indexes every batch.
    ///
    /// **Default** 4 KiB. **Allowed** 0 to 2 GiB less 4 KiB. **Kafka name** `index.interval.bytes`.
    #[doc(alias = "index.interval.bytes")]
    #[must_use]
    pub fn index_interval(mut self, index_interval: ByteSize) -> TopicConfig {
        self.index_interval = index_interval;
        self
    }

    /// The greatest size of a segment's index; a segment whose index is full is ended.
    ///
    /// **Default** 10 MiB. **Allowed** 64 bytes to 2 GiB less 4 KiB. **Kafka name** `segment.index.bytes`.
    #[doc(alias = "segment.index.bytes")]
    #[must_use]
    pub fn index_size(mut self, index_size: ByteSize) -> TopicConfig {
        self.index_size = index_size;
        self
    }

    /// Which time a record's timestamp is.
    ///
    /// **Default** `create`. **Allowed** any. **Kafka name** `message.timestamp.type`.
    #[doc(alias = "message.timestamp.type")]
    #[must_use]
    pub fn timestamp_type(mut self, timestamp_type: TimestampType) -> TopicConfig {
        self.timestamp_type = timestamp_type;
        self
    }

    /// How much of the log is kept.
    ///
    /// **Default** `forever`: nothing is deleted unless asked. **Allowed** 1 ms to 100 years, 1 byte and more.
    /// **Kafka name** `retention.ms`, `retention.bytes`.
    #[doc(alias = "retention.ms")]
    #[doc(alias = "retention.bytes")]
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> TopicConfig {
        self.retention = retention;
        self
    }

    /// Keeps the topic in memory only: it is gone when the broker is closed or the process ends. Its durability is
    /// [`Memory`](Durability::Memory), which this sets where none other was chosen before; its segments are an
    /// eighth of the bound at most, and so is a record.
    ///
    /// **Default** none: the topic is on the disk. **Allowed** a bound of 64 KiB to 1 TiB for each partition.
    #[must_use]
    pub fn volatile(mut self, volatile: Volatile) -> TopicConfig {
        if self.durability == Durability::default() {
            self.durability = Durability::Memory;
        }
        self.volatile = Some(volatile);
        self
    }

    /// How many replicas, the leader among them, must be in sync for `Acks::All` to be answered. It is kept for the
    /// time when there are others: in this release the leader is the only one, and nothing is refused.
    ///
    /// **Default** 1. **Allowed** 1 to 32,767. **Kafka name** `min.insync.replicas`.
    #[doc(alias = "min.insync.replicas")]
    #[must_use]
    pub fn min_in_sync_replicas(mut self, min_in_sync_replicas: u32) -> TopicConfig {
        self.min_in_sync_replicas = min_in_sync_replicas;
        self
    }

    /// How records leave the log: by age and size, by key, or both. Compacted topics take records with keys only;
    /// those without one that a topic has from before go with its first compaction.
    ///
    /// **Default** `delete`. **Allowed** any; `compact` with the retention `forever` only.
    /// **Kafka name** `cleanup.policy`.
    #[doc(alias = "cleanup.policy")]
    #[must_use]
    pub fn cleanup_policy(mut self, cleanup_policy: CleanupPolicy) -> TopicConfig {
        self.cleanup_policy = cleanup_policy;
        self
    }

    /// How long a record stays in the log at least before it is compacted, counted from its append: a reader that
    /// is never further behind sees every record.
    ///
    /// **Default** 0. **Allowed** 0 to 100 years. **Kafka name** `min.compaction.lag.ms`.
    #[doc(alias = "min.compaction.lag.ms")]
    #[must_use]
    pub fn min_compaction_lag(mut self, min_compaction_lag: Duration) -> TopicConfig {
        self.min_compaction_lag = min_compaction_lag;
        self
    }

    /// How long a record stays in the log at most before it is compacted, however little is new. Segments roll at
    /// this age, too.
    ///
    /// **Default** `never`. **Allowed** 1 ms (or `min_compaction_lag`) to 100 years.
    /// **Kafka name** `max.compaction.lag.ms`.
    #[doc(alias = "max.compaction.lag.ms")]
    #[must_use]
    pub fn max_compaction_lag(mut self, max_compaction_lag: Duration) -> TopicConfig {
        self.max_compaction_lag = Some(max_compaction_lag);
        self
    }

    /// How much of a log must be new before it is compacted, in percent of the bytes that could be compacted.
    ///
    /// **Default** 50. **Allowed** 0 to 100. **Kafka name** `min.cleanable.dirty.ratio`.
    #[doc(alias = "min.cleanable.dirty.ratio")]
    #[must_use]
    pub fn min_cleanable_dirty_percent(mut self, min_cleanable_dirty_percent: u32) -> TopicConfig {
        self.min_cleanable_dirty_percent = min_cleanable_dirty_percent;
        self
    }

    /// How long tombstones stay after the first compaction that saw them: a reader that needs no longer than this
    /// for the whole log sees every deletion.
    ///
    /// **Default** 1 day. **Allowed** 0 to 100 years. **Kafka name** `delete.retention.ms`.
    #[doc(alias = "delete.retention.ms")]
    #[must_use]
    pub fn delete_retention(mut self, delete_retention: Duration) -> TopicConfig {
        self.delete_retention = delete_retention;
        self
    }

    /// Retention by age and size spares what some group has not read yet that reads the topic or has committed offsets
    /// in it, while the partition is at most this large: slow consumers lose nothing silently, and one that never comes
    /// back does not fill the disk.
    ///
    /// **Default** `no`: nothing is spared. **Allowed** 1 byte and more. **Kafka name** none.
    #[must_use]
    pub fn keep_unread(mut self, up_to: ByteSize) -> TopicConfig {
        self.keep_unread = Some(up_to);
        self
    }
}
