//! How far a long look at the files has come.

use crate::types::TopicPartition;

/// How far a recovery or a verification has come, as told to
/// [`BrokerBuilder::on_recovery`](crate::BrokerBuilder::on_recovery) and [`Observer::verify`](crate::Observer::verify).
#[derive(Clone, Debug)]
pub struct Progress {
    pub(super) partition: TopicPartition,
    pub(super) bytes_done: u64,
    pub(super) bytes_total: u64,
    pub(super) partitions_done: usize,
    pub(super) partitions_total: usize,
}

impl Progress {
    /// The partition that is being looked at.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Bytes of it that have been looked at.
    #[must_use]
    pub fn bytes_done(&self) -> u64 {
        self.bytes_done
    }

    /// Bytes of it that are to be looked at, as far as the sizes of its files tell.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }

    /// Partitions that are done.
    #[must_use]
    pub fn partitions_done(&self) -> usize {
        self.partitions_done
    }

    /// Partitions in all.
    #[must_use]
    pub fn partitions_total(&self) -> usize {
        self.partitions_total
    }
}
