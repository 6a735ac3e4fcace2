//! What a compaction, or retention, has done.

use crate::partition::Log;

/// What a compaction has done, summed up over its rounds and partitions.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::config::CleanupPolicy;
/// use millpond::prelude::*;
///
/// let broker = Broker::open(dir.path())?;
/// let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
/// let prices = broker.create_topic("prices", config)?;
/// for price in ["1", "2", "3"] {
///     prices.producer()?.send(Record::new(price).key("tea"))?.wait()?;
/// }
/// let report = prices.compact()?.wait()?;
/// assert_eq!((report.records_before(), report.records_after()), (3, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionReport {
    pub(crate) rounds: u64,
    pub(crate) keys: u64,
    pub(crate) segments_before: u64,
    pub(crate) segments_after: u64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
    pub(crate) records_before: u64,
    pub(crate) records_after: u64,
}

impl CompactionReport {
    /// Adds another round's: sizes before are those of the first round, sizes after those of the last.
    pub(crate) fn add(&mut self, next: &CompactionReport) {
        if self.rounds == 0 {
            *self = *next;
            return;
        }
        self.rounds += next.rounds;
        self.keys += next.keys;
        // Segments that this round saw for the first time count as they were.
        self.segments_before += next.segments_before.saturating_sub(self.segments_after);
        self.bytes_before += next.bytes_before.saturating_sub(self.bytes_after);
        self.records_before += next.records_before.saturating_sub(self.records_after);
        self.segments_after = next.segments_after;
        self.bytes_after = next.bytes_after;
        self.records_after = next.records_after;
    }

    /// Adds another partition's.
    pub(crate) fn join(&mut self, other: &CompactionReport) {
        self.rounds += other.rounds;
        self.keys += other.keys;
        self.segments_before += other.segments_before;
        self.segments_after += other.segments_after;
        self.bytes_before += other.bytes_before;
        self.bytes_after += other.bytes_after;
        self.records_before += other.records_before;
        self.records_after += other.records_after;
    }

    /// Rounds that were needed: more than one where the offsets of all new keys did not fit the memory.
    #[must_use]
    pub fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Different keys of the records that were new (counted anew in each round).
    #[must_use]
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Segments that were looked through.
    #[must_use]
    pub fn segments_before(&self) -> u64 {
        self.segments_before
    }

    /// Segments that are left of them.
    #[must_use]
    pub fn segments_after(&self) -> u64 {
        self.segments_after
    }

    /// Bytes that were looked through.
    #[must_use]
    pub fn bytes_before(&self) -> u64 {
        self.bytes_before
    }

    /// Bytes that are left of them.
    #[must_use]
    pub fn bytes_after(&self) -> u64 {
        self.bytes_after
    }

    /// Records that were looked through, markers of transactions included.
    #[must_use]
    pub fn records_before(&self) -> u64 {
        self.records_before
    }

    /// Records that are left of them.
    #[must_use]
    pub fn records_after(&self) -> u64 {
        self.records_after
    }
}

/// What retention has deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionReport {
    bytes: u64,
    segments: u64,
}

impl RetentionReport {
    /// What a log holds now, as if all were deleted.
    pub(crate) fn now(log: &Log) -> RetentionReport {
        RetentionReport { bytes: log.size_bytes(), segments: log.segment_count() as u64 }
    }

    /// What is gone of it since.
    pub(crate) fn until(self, log: &Log) -> RetentionReport {
        let now = RetentionReport::now(log);
        RetentionReport {
            bytes: self.bytes.saturating_sub(now.bytes),
            segments: self.segments.saturating_sub(now.segments),
        }
    }

    /// Adds another one.
    pub(crate) fn join(&mut self, other: RetentionReport) {
        self.bytes += other.bytes;
        self.segments += other.segments;
    }

    /// Bytes of log files that were deleted.
    #[must_use]
    pub fn bytes_deleted(&self) -> u64 {
        self.bytes
    }

    /// Segments that were deleted.
    #[must_use]
    pub fn segments_deleted(&self) -> u64 {
        self.segments
    }
}
