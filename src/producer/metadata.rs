//! Where records were stored.
//!
//! Invariant: plain numbers, known at hand-over and never changed.

use crate::types::{Offset, Timestamp};

/// Where a record is: what its [`Delivery`](super::Delivery) answers.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// let stored = topic.producer()?.send(Record::new("/home").timestamp(Timestamp::from_millis(7)))?.wait()?;
/// assert_eq!((stored.partition(), stored.offset()), (0, Offset::ZERO));
/// assert_eq!(stored.timestamp(), Timestamp::from_millis(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    partition: u32,
    offset: Offset,
    timestamp: Timestamp,
}

impl RecordMetadata {
    pub(super) fn new(partition: u32, offset: Offset, timestamp: Timestamp) -> RecordMetadata {
        RecordMetadata { partition, offset, timestamp }
    }

    /// The partition's number.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The record's offset.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The record's timestamp: given, of the `send`, or of the append, as the topic says.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
}

/// Where a batch is: its records have the offsets from [`base_offset`](BatchMetadata::base_offset) to
/// [`last_offset`](BatchMetadata::last_offset), without gaps and in the order they were given.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// let batches = topic.producer()?.send_batch(["a", "b", "c"].map(Record::new))?.wait()?;
/// assert_eq!((batches[0].partition(), batches[0].count()), (0, 3));
/// assert_eq!((batches[0].base_offset().get(), batches[0].last_offset().get()), (0, 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMetadata {
    partition: u32,
    base_offset: Offset,
    count: u32,
}

impl BatchMetadata {
    pub(super) fn new(partition: u32, base_offset: Offset, count: u32) -> BatchMetadata {
        BatchMetadata { partition, base_offset, count }
    }

    /// The partition's number.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Offset of the first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Offset of the last record.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        Offset::of(self.end() - 1)
    }

    /// How many records there are, at least 1.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The offset behind the last record.
    pub(super) fn end(&self) -> u64 {
        self.base_offset.get() + u64::from(self.count)
    }
}
