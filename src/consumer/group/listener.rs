//! Who hears of partitions that come and go.

use crate::error::{Error, Result};
use crate::group::{Backward, CommitEntry, OffsetAndMetadata};
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
    ///
    /// What is committed here is written on the way. Whether the disk took it, [`Consumer::close`](super::Consumer::close)
    /// tells; where the partitions go to others in a `poll`, these begin at the offset that was committed before if it
    /// did not: records are processed again, but none is passed over. Where one is refused (a transaction that is open
    /// may commit more than the position), the others are committed all the same.
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
    partitions: Vec<(TopicPartition, Offset)>,
    /// Of each partition that goes, with an offset to be replaced.
    going: Vec<CommitEntry>,
    wanted: Vec<Wanted>,
}

/// What a listener wants to be committed.
#[derive(Debug)]
pub(super) enum Wanted {
    /// An offset by hand, which may lie below what is committed.
    Offset(TopicPartition, OffsetAndMetadata),
    /// The position.
    Position(TopicPartition),
}

impl Handover {
    /// Of partitions with their positions, and of what may be committed in each that goes.
    pub(super) fn new(partitions: Vec<(TopicPartition, Offset)>, going: Vec<CommitEntry>) -> Handover {
        Handover { partitions, going, wanted: Vec::new() }
    }

    pub(super) fn into_wanted(self) -> Vec<Wanted> {
        self.wanted
    }

    /// The partitions, each with the position up to which records were handed out; without those of which nothing
    /// was polled yet.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = (&TopicPartition, Offset)> {
        self.partitions.iter().map(|(tp, position)| (tp, *position))
    }

    /// Commits this offset (the next one to read) before the partition goes, also if a later one is committed.
    ///
    /// ```
    /// use millpond::consumer::{Handover, RebalanceListener};
    /// use millpond::group::OffsetAndMetadata;
    /// use millpond::{Offset, TopicPartition};
    ///
    /// struct Done(Vec<(TopicPartition, Offset)>); // what has been processed, by the program's own account
    ///
    /// impl RebalanceListener for Done {
    ///     fn revoked(&mut self, handover: &mut Handover) {
    ///         for (partition, next) in self.0.drain(..) {
    ///             if let Err(error) = handover.commit(&partition, OffsetAndMetadata::new(next)) {
    ///                 eprintln!("not committed: {error}");
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for a partition that does not go, beyond the log end, or for too long a metadata: this one is
    /// not committed, what was asked for before is.
    pub fn commit(&mut self, partition: &TopicPartition, offset: OffsetAndMetadata) -> Result<()> {
        let Some(entry) = self.going.iter().find(|entry| entry.tp == *partition) else {
            let message = format!("partition {partition} is not among those that go");
            return Err(Error::invalid_argument(message).in_partition(partition));
        };
        CommitEntry { offset: offset.clone(), backward: Backward::Allow, ..entry.clone() }.check()?;
        self.wanted.push(Wanted::Offset(partition.clone(), offset));
        Ok(())
    }

    /// Commits the positions: everything that was handed out has been processed.
    pub fn commit_all(&mut self) {
        self.wanted.extend(self.partitions.iter().map(|(tp, _)| Wanted::Position(tp.clone())));
    }
}
