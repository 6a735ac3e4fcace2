//! Settings of a broker.

use std::time::Duration;

use super::text::{check_count, check_duration, check_size};
use super::{Background, CrcCheck, ReadMode};
use crate::error::Result;
use crate::types::ByteSize;

/// Settings of a broker: what its topics share.
///
/// ```
/// use millpond::ByteSize;
/// use millpond::config::{BrokerConfig, ReadMode};
/// let config = BrokerConfig::new().read_mode(ReadMode::Buffered).buffer_memory(ByteSize::mib(8));
/// assert_eq!(config.buffer_memory_bytes(), 8 << 20);
/// config.validate()?;
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct BrokerConfig {
    read_mode: ReadMode,
    crc_check: CrcCheck,
    buffer_memory: ByteSize,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    max_block: Duration,
    flush_threads: u32,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    checkpoint_interval: Duration,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    memory_flush_interval: Duration,
    background: Background,
    max_open_segments: Option<u32>,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    offsets_retention: Duration,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    producer_expiration: Duration,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    transactional_id_expiration: Duration,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    max_transaction_timeout: Duration,
    compaction_memory: ByteSize,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    compaction_rate: Option<ByteSize>,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    compaction_interval: Duration,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    retention_rate: Option<ByteSize>,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    disk_budget: Option<ByteSize>,
}

/// The longest wait for room.
pub(super) const MAX_BLOCK: Duration = Duration::from_secs(86_400);

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig {
            read_mode: ReadMode::default(),
            crc_check: CrcCheck::default(),
            buffer_memory: ByteSize::mib(32),
            max_block: Duration::from_secs(60),
            flush_threads: 16,
            checkpoint_interval: Duration::from_secs(1),
            memory_flush_interval: Duration::from_secs(30),
            background: Background::default(),
            max_open_segments: None,
            offsets_retention: Duration::from_secs(7 * 86_400),
            producer_expiration: Duration::from_secs(7 * 86_400),
            transactional_id_expiration: Duration::from_secs(7 * 86_400),
            max_transaction_timeout: Duration::from_secs(900),
            compaction_memory: ByteSize::mib(128),
            compaction_rate: None,
            compaction_interval: Duration::from_secs(15),
            retention_rate: None,
            disk_budget: None,
        }
    }
}

impl BrokerConfig {
    /// Segments that may be open at once, unless a setting or the process's limit says otherwise.
    pub(crate) const DEFAULT_OPEN_SEGMENTS: u64 = 4096;
    /// The fewest segments that may be open at once.
    pub(crate) const LEAST_OPEN_SEGMENTS: u64 = 16;

    /// The defaults.
    #[must_use]
    pub fn new() -> BrokerConfig {
        BrokerConfig::default()
    }

    /// How long a partition remembers a producer that sends nothing: what it repeats later is not recognised any
    /// more. A name that no partition remembers, and that nobody holds, is forgotten, too. Never while a transaction
    /// of it is open, or while somebody holds its name, nor for half of this time after that (or after a name was taken).
    ///
    /// It counts by the clock, also while the broker is closed. It is looked at every ten minutes (or as often as this
    /// says, if that is less; but never more often than [`compaction_interval`](Self::compaction_interval) says) and at a
    /// close, so that after an opening there is time to be heard of. What was heard of by a clock that was ahead is kept
    /// until the clock has come there, and this long again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::config::BrokerConfig;
    ///
    /// let config = BrokerConfig::new().producer_expiration(Duration::from_secs(86_400));
    /// assert!(config.validate().is_ok());
    /// ```
    ///
    /// **Default** 7 days: names outlive the process, unlike Kafka's producer ids (1 day). **Allowed** 1 s to 100
    /// years. **Kafka name** `producer.id.expiration.ms`.
    #[doc(alias = "producer.id.expiration.ms")]
    #[must_use]
    pub fn producer_expiration(mut self, producer_expiration: Duration) -> BrokerConfig {
        self.producer_expiration = producer_expiration;
        self
    }

    /// How long a transactional id is remembered that has no producer any more and has begun nothing; then its record
    /// in the topic of transactions gets a tombstone. Whoever takes it afterwards begins with another producer id.
    /// Never while a transaction of it is open, a marker of it may be missing, or its producer lives. It counts as
    /// [`producer_expiration`](Self::producer_expiration) does.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::config::BrokerConfig;
    ///
    /// let config = BrokerConfig::new().transactional_id_expiration(Duration::from_secs(3_600));
    /// assert_eq!(config.transactional_id_expiration_duration(), Duration::from_secs(3_600));
    /// ```
    ///
    /// **Default** 7 days. **Allowed** 1 s to 100 years. **Kafka name** `transactional.id.expiration.ms`.
    #[doc(alias = "transactional.id.expiration.ms")]
    #[must_use]
    pub fn transactional_id_expiration(mut self, transactional_id_expiration: Duration) -> BrokerConfig {
        self.transactional_id_expiration = transactional_id_expiration;
        self
    }

    /// The longest time that a transaction may ask for before it is aborted: it bounds how long readers of
    /// committed records may be held up.
    ///
    /// **Default** 15 min. **Allowed** 1 ms to 1 day. **Kafka name** `transaction.max.timeout.ms`.
    #[doc(alias = "transaction.max.timeout.ms")]
    #[must_use]
    pub fn max_transaction_timeout(mut self, max_transaction_timeout: Duration) -> BrokerConfig {
        self.max_transaction_timeout = max_transaction_timeout;
        self
    }

    /// How bytes of the logs are reached.
    ///
    /// **Default** `mapped`. **Allowed** any. **Kafka name** none.
    #[must_use]
    pub fn read_mode(mut self, read_mode: ReadMode) -> BrokerConfig {
        self.read_mode = read_mode;
        self
    }

    /// When checksums are computed again on reading.
    ///
    /// **Default** `once`. **Allowed** any. **Kafka name** `check.crcs`.
    #[doc(alias = "check.crcs")]
    #[must_use]
    pub fn crc_check(mut self, crc_check: CrcCheck) -> BrokerConfig {
        self.crc_check = crc_check;
        self
    }

    /// The most memory for records that wait to be written; above it `send` waits for room.
    ///
    /// **Default** 32 MiB. **Allowed** 64 KiB to 1 TiB. **Kafka name** `buffer.memory`.
    #[doc(alias = "buffer.memory")]
    #[must_use]
    pub fn buffer_memory(mut self, buffer_memory: ByteSize) -> BrokerConfig {
        self.buffer_memory = buffer_memory;
        self
    }

    /// How long `send` waits for room before it fails with `TimedOut`.
    ///
    /// **Default** 60 s. **Allowed** 0 to 1 day. **Kafka name** `max.block.ms`.
    #[doc(alias = "max.block.ms")]
    #[must_use]
    pub fn max_block(mut self, max_block: Duration) -> BrokerConfig {
        self.max_block = max_block;
        self
    }

    /// How many threads bring files to the device, at most; flushes of different files overlap in it. They come
    /// when there is something to do, and go when there has been nothing for ten seconds: one or two are there in
    /// any case. As many open and close partitions, four at most.
    ///
    /// **Default** 16. **Allowed** 1 to 64. **Kafka name** none (near `background.threads`).
    #[must_use]
    pub fn flush_threads(mut self, flush_threads: u32) -> BrokerConfig {
        self.flush_threads = flush_threads;
        self
    }

    /// How often the recovery points are written down: bounds what is read again after an unclean end.
    ///
    /// **Default** 1 s. **Allowed** 1 ms to 1 day.
    /// **Kafka name** `log.flush.offset.checkpoint.interval.ms`.
    #[doc(alias = "log.flush.offset.checkpoint.interval.ms")]
    #[must_use]
    pub fn checkpoint_interval(mut self, checkpoint_interval: Duration) -> BrokerConfig {
        self.checkpoint_interval = checkpoint_interval;
        self
    }

    /// How often topics of the level `Memory` are brought to the device, for nobody who waits.
    ///
    /// **Default** 30 s. **Allowed** 1 ms to 1 day. **Kafka name** `log.flush.interval.ms`.
    #[doc(alias = "log.flush.interval.ms")]
    #[must_use]
    pub fn memory_flush_interval(mut self, memory_flush_interval: Duration) -> BrokerConfig {
        self.memory_flush_interval = memory_flush_interval;
        self
    }

    /// Who does the upkeep.
    ///
    /// **Default** `threads`. **Allowed** any. **Kafka name** none.
    #[must_use]
    pub fn background(mut self, background: Background) -> BrokerConfig {
        self.background = background;
        self
    }

    /// How many segments may have their files open at once. Above it those used longest ago are closed, active
    /// ones included, each after a flush of what it holds; the next append or read opens them again. What is
    /// in use stays open, so there may be more for a while. A segment that grows no more counts as three while
    /// its indexes are searched.
    ///
    /// More partitions in use at once than this are slow: each change between them may cost a flush. Each open
    /// segment takes a file handle and, where logs are mapped, addresses (no memory) for its greatest size.
    ///
    /// **Default** 4096, or half of what the process may open where that is less (`ulimit -n`).
    /// **Allowed** 16 to 1,048,576. **Kafka name** none: Kafka keeps all segments open.
    #[must_use]
    pub fn max_open_segments(mut self, max_open_segments: u32) -> BrokerConfig {
        self.max_open_segments = Some(max_open_segments);
        self
    }

    /// How long offsets of a group are kept that has no members any more, or no longer reads the topic.
    ///
    /// **Default** 7 days. **Allowed** 1 s to 100 years. **Kafka name** `offsets.retention.minutes`.
    #[doc(alias = "offsets.retention.minutes")]
    #[must_use]
    pub fn offsets_retention(mut self, offsets_retention: Duration) -> BrokerConfig {
        self.offsets_retention = offsets_retention;
        self
    }

    /// The most memory for the offsets of keys while a log is compacted, 24 bytes a key; a log with more new keys
    /// is compacted in several rounds.
    ///
    /// **Default** 128 MiB. **Allowed** 1 KiB to 1 TiB. **Kafka name** `log.cleaner.dedupe.buffer.size`.
    #[doc(alias = "log.cleaner.dedupe.buffer.size")]
    #[must_use]
    pub fn compaction_memory(mut self, compaction_memory: ByteSize) -> BrokerConfig {
        self.compaction_memory = compaction_memory;
        self
    }

    /// The most bytes that compaction in the background works through in a second (new ones count twice). What is compacted on request
    /// is not held back.
    ///
    /// **Default** unlimited. **Allowed** 1 KiB to 1 TiB. **Kafka name** `log.cleaner.io.max.bytes.per.second`.
    #[doc(alias = "log.cleaner.io.max.bytes.per.second")]
    #[must_use]
    pub fn compaction_rate(mut self, compaction_rate: ByteSize) -> BrokerConfig {
        self.compaction_rate = Some(compaction_rate);
        self
    }

    /// The most bytes of log files that retention in the background deletes in a second, of all topics together, the
    /// oldest first: freeing many large files at once can hold up other work of the device. What has to wait is still
    /// there to be read; for each segment the log start moves first, then its files go. A segment goes as a whole, and
    /// what it took too much is waited for afterwards. What is deleted on request goes at once.
    ///
    /// Logs that grow faster than this grow without a bound, unless there is a [disk budget](Self::disk_budget), which
    /// comes first. With `Background::Manual` the rate is reached by a host that calls `tick` at least once a second.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::config::BrokerConfig;
    /// use millpond::prelude::*;
    ///
    /// let config = BrokerConfig::new().retention_rate(ByteSize::mib(200));
    /// assert_eq!(config.retention_rate_bytes(), Some(200 << 20));
    /// let broker = Broker::builder(dir.path()).config(config).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// **Default** unlimited: a limit below what comes in fills the disk. **Allowed** 1 KiB to 1 TiB.
    /// **Kafka name** none (near `file.delete.delay.ms`).
    #[must_use]
    pub fn retention_rate(mut self, retention_rate: ByteSize) -> BrokerConfig {
        self.retention_rate = Some(retention_rate);
        self
    }

    /// How many bytes the logs of all topics may take together. Above it the oldest segments go, of whichever topic
    /// deletes by age or size (its `cleanup_policy`), also before their time; what is active, compacted only, or
    /// internal stays. It is looked at once in a [`compaction_interval`](Self::compaction_interval); what a
    /// [`retention_rate`](Self::retention_rate) would not have deleted before the next look goes at once.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::config::BrokerConfig;
    /// use millpond::prelude::*;
    ///
    /// let config = BrokerConfig::new().disk_budget(ByteSize::gib(20));
    /// assert_eq!(config.disk_budget_bytes(), Some(20 << 30));
    /// let broker = Broker::builder(dir.path()).config(config).open()?;
    /// let day = Retention::age(std::time::Duration::from_secs(86_400));
    /// broker.create_topic("frames", TopicConfig::new().retention(day))?;   // a day, if the budget allows
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// **Default** unlimited. **Allowed** 1 MiB and more. **Kafka name** none.
    #[must_use]
    pub fn disk_budget(mut self, disk_budget: ByteSize) -> BrokerConfig {
        self.disk_budget = Some(disk_budget);
        self
    }

    /// How often the logs are looked through for one to compact, and for what retention over several partitions
    /// lets go of; and the least time between two looks at producers and transactional ids that are to be forgotten.
    ///
    /// **Default** 15 s. **Allowed** 1 ms to 1 day. **Kafka name** `log.cleaner.backoff.ms`.
    #[doc(alias = "log.cleaner.backoff.ms")]
    #[must_use]
    pub fn compaction_interval(mut self, compaction_interval: Duration) -> BrokerConfig {
        self.compaction_interval = compaction_interval;
        self
    }

    /// How bytes of the logs are reached.
    #[must_use]
    pub fn read_mode_kind(&self) -> ReadMode {
        self.read_mode
    }

    /// When checksums are computed again on reading.
    #[must_use]
    pub fn crc_check_kind(&self) -> CrcCheck {
        self.crc_check
    }

    /// The most memory for records that wait to be written, in bytes.
    #[must_use]
    pub fn buffer_memory_bytes(&self) -> u64 {
        self.buffer_memory.as_u64()
    }

    /// How long `send` waits for room.
    #[must_use]
    pub fn max_block_duration(&self) -> Duration {
        self.max_block
    }

    /// How many threads bring files to the device.
    #[must_use]
    pub fn flush_thread_count(&self) -> u32 {
        self.flush_threads
    }

    /// How often the recovery points are written down.
    #[must_use]
    pub fn checkpoint_interval_duration(&self) -> Duration {
        self.checkpoint_interval
    }

    /// How often topics of the level `Memory` are brought to the device.
    #[must_use]
    pub fn memory_flush_interval_duration(&self) -> Duration {
        self.memory_flush_interval
    }

    /// Who does the upkeep.
    #[must_use]
    pub fn background_kind(&self) -> Background {
        self.background
    }

    /// How many segments may have their files open at once; none where the default is to be found out at the
    /// opening.
    #[must_use]
    pub fn max_open_segment_count(&self) -> Option<u32> {
        self.max_open_segments
    }

    /// How long offsets of a group without members are kept.
    #[must_use]
    pub fn offsets_retention_duration(&self) -> Duration {
        self.offsets_retention
    }

    /// How long a partition remembers a producer that sends nothing.
    #[must_use]
    pub fn producer_expiration_duration(&self) -> Duration {
        self.producer_expiration
    }

    /// How long a transactional id is remembered that nobody uses.
    #[must_use]
    pub fn transactional_id_expiration_duration(&self) -> Duration {
        self.transactional_id_expiration
    }

    /// The longest time that a transaction may ask for.
    #[must_use]
    pub fn max_transaction_timeout_duration(&self) -> Duration {
        self.max_transaction_timeout
    }

    /// The most memory for the offsets of keys, in bytes.
    #[must_use]
    pub fn compaction_memory_bytes(&self) -> u64 {
        self.compaction_memory.as_u64()
    }

    /// The most bytes that compaction in the background works through in a second, if that is limited.
    #[must_use]
    pub fn compaction_rate_bytes(&self) -> Option<u64> {
        self.compaction_rate.map(ByteSize::as_u64)
    }

    /// How often the logs are looked through for one to compact.
    #[must_use]
    pub fn compaction_interval_duration(&self) -> Duration {
        self.compaction_interval
    }

    /// The most bytes of log files that retention in the background deletes in a second, if that is limited.
    #[must_use]
    pub fn retention_rate_bytes(&self) -> Option<u64> {
        self.retention_rate.map(ByteSize::as_u64)
    }

    /// How many bytes the logs of all topics may take together, if that is limited.
    #[must_use]
    pub fn disk_budget_bytes(&self) -> Option<u64> {
        self.disk_budget.map(ByteSize::as_u64)
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names field, value and bound.
    pub fn validate(&self) -> Result<()> {
        let instant = Duration::from_millis(1);
        let day = Duration::from_secs(86_400);
        check_size("buffer_memory", self.buffer_memory, ByteSize::kib(64), ByteSize::gib(1024))?;
        check_duration("max_block", self.max_block, Duration::ZERO, MAX_BLOCK)?;
        check_count("flush_threads", self.flush_threads.into(), 1, 64)?;
        check_duration("checkpoint_interval", self.checkpoint_interval, instant, day)?;
        check_size("compaction_memory", self.compaction_memory, ByteSize::kib(1), ByteSize::gib(1024))?;
        if let Some(rate) = self.compaction_rate {
            check_size("compaction_rate", rate, ByteSize::kib(1), ByteSize::gib(1024))?;
        }
        if let Some(rate) = self.retention_rate {
            check_size("retention_rate", rate, ByteSize::kib(1), ByteSize::gib(1024))?;
        }
        if let Some(budget) = self.disk_budget {
            check_size("disk_budget", budget, ByteSize::mib(1), ByteSize::bytes(u64::MAX))?;
        }
        check_duration("compaction_interval", self.compaction_interval, instant, day)?;
        check_duration("memory_flush_interval", self.memory_flush_interval, instant, day)?;
        self.max_open_segments.map_or(Ok(()), |most| {
            check_count("max_open_segments", most.into(), BrokerConfig::LEAST_OPEN_SEGMENTS, 1 << 20)
        })?;
        let second = Duration::from_secs(1);
        let longest = super::text::MAX_DURATION;
        check_duration("producer_expiration", self.producer_expiration, second, longest)?;
        let of_ids = self.transactional_id_expiration;
        check_duration("transactional_id_expiration", of_ids, second, longest)?;
        let (instant, day) = (Duration::from_millis(1), Duration::from_secs(86_400));
        check_duration("max_transaction_timeout", self.max_transaction_timeout, instant, day)?;
        check_duration("offsets_retention", self.offsets_retention, second, longest)
    }
}
