//! Who hears of partitions that come and go.

use crate::group::OffsetAndMetadata;
use crate::types::{Offset, TopicPartition};

/// Hears of partitions that a consumer gets and loses, in the thread that polls.
///
/// ```
/// use millpond::consumer::{Handover, RebalanceListener};
/// use millpond::TopicPartition;
///
/// struct Told;
///
/// impl RebalanceListener for Told {
///     fn assigned(&mut self, partitions: &[TopicPartition]) {
///         eprintln!("now mine: {partitions:?}");
///     }
///
///     fn revoked(&mut self, handover: &mut Handover) {
///         handover.commit_all(); // whoever goes on begins where this one stops
///     }
/// }
/// ```
#[doc(alias = "ConsumerRebalanceListener")]
pub trait RebalanceListener: Send {
    /// These partitions are the consumer's own from now on, beside those that it has.
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }

    /// These partitions go to others as soon as this returns: the last time to commit what was processed. Also when
    /// the consumer is closed or unsubscribed, but not when it is dropped.
    fn revoked(&mut self, handover: &mut Handover) {
        let _ = handover;
    }

    /// These partitions are gone already: their topic was deleted, or others have had them since the consumer did
    /// not poll in time. Nothing of them can be committed.
    fn lost(&mut self, partitions: &[TopicPartition]) {
        let _ = partitions;
    }

    /// What the group had read up to `committed` was lost by a power cut, up to `resumed`, and others stand there
    /// now: reading goes on at `resumed`.
    fn truncated(&mut self, partition: &TopicPartition, committed: Offset, resumed: Offset) {
        let _ = (partition, committed, resumed);
    }
}

/// Partitions that are about to go to others.
///
/// ```
/// use millpond::consumer::{Handover, RebalanceListener};
/// struct CommitsOnTheWay;
/// impl RebalanceListener for CommitsOnTheWay {
///     fn revoked(&mut self, handover: &mut Handover) {
///         for (partition, position) in handover.partitions() {
///             eprintln!("{partition} goes at {position}");
///         }
///         handover.commit_all();
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Handover {
    pub(super) partitions: Vec<(TopicPartition, Offset)>,
    pub(super) commits: Vec<(TopicPartition, Option<OffsetAndMetadata>)>,
}

impl Handover {
    /// The partitions, each with the position up to which records were handed out.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = (&TopicPartition, Offset)> {
        self.partitions.iter().map(|(tp, position)| (tp, *position))
    }

    /// Commits this offset before the partition goes.
    pub fn commit(&mut self, partition: &TopicPartition, offset: OffsetAndMetadata) {
        self.commits.push((partition.clone(), Some(offset)));
    }

    /// Commits the positions: everything that was handed out has been processed.
    pub fn commit_all(&mut self) {
        self.commits.extend(self.partitions.iter().map(|(tp, _)| (tp.clone(), None)));
    }
}
