//! What an opening found and did.

use crate::partition::PartitionRecovery;
use crate::types::TopicPartition;

/// What [`Broker::open`](crate::Broker::open) found: whether the last broker had been closed, and if not,
/// what each partition needed.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
///
/// let broker = Broker::open(dir.path())?;
/// assert!(broker.recovery().was_clean());          // a new directory has nothing to recover
/// for (partition, recovery) in broker.recovery().partitions() {
///     println!("{partition}: {} bytes of a torn tail cut", recovery.bytes_cut());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RecoveryReport {
    pub(super) clean: bool,
    pub(super) partitions: Vec<(TopicPartition, PartitionRecovery)>,
}

impl RecoveryReport {
    /// Whether the directory was new, or closed in order: then nothing was scanned.
    #[must_use]
    pub fn was_clean(&self) -> bool {
        self.clean
    }

    /// Each partition with what its recovery did, in the order of topic and number.
    pub fn partitions(&self) -> impl Iterator<Item = (&TopicPartition, &PartitionRecovery)> {
        self.partitions.iter().map(|(partition, recovery)| (partition, recovery))
    }

    /// What the recovery of one partition did.
    #[must_use]
    pub fn partition(&self, partition: &TopicPartition) -> Option<&PartitionRecovery> {
        self.partitions().find(|(found, _)| *found == partition).map(|(_, recovery)| recovery)
    }

    /// Bytes of torn tails that were cut, over all partitions.
    #[must_use]
    pub fn bytes_cut(&self) -> u64 {
        self.partitions().map(|(_, recovery)| recovery.bytes_cut()).sum()
    }
}
