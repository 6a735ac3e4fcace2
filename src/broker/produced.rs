//! What a partition knows of its producers, as administrators see it.

use super::partition::Partition;
use crate::types::{Offset, ProducerEpoch, ProducerId, Timestamp};

/// A producer that a partition knows: idempotent, or transactional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerDescription {
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    last_sequence: Option<i32>,
    open_since: Option<Offset>,
    seen_at: Timestamp,
}

impl ProducerDescription {
    /// Its id.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        self.producer_id
    }

    /// Its epoch: what comes in an older one is refused.
    #[must_use]
    pub fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// The sequence number of its last record in this epoch.
    #[must_use]
    pub fn last_sequence(&self) -> Option<i32> {
        self.last_sequence
    }

    /// Where its open transaction begins in this partition, if it has one.
    #[must_use]
    pub fn open_since(&self) -> Option<Offset> {
        self.open_since
    }

    /// When it was last heard of, by the clock of the broker (timestamps of its records do not count).
    #[must_use]
    pub fn seen_at(&self) -> Timestamp {
        self.seen_at
    }
}

/// An aborted transaction: readers of committed records pass over its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    producer_id: ProducerId,
    first_offset: Offset,
    marker_offset: Offset,
}

impl AbortedTransaction {
    /// Whose it was.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        self.producer_id
    }

    /// Its first record.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.first_offset
    }

    /// The marker that ended it.
    #[must_use]
    pub fn marker_offset(&self) -> Offset {
        self.marker_offset
    }
}

impl<K, V> Partition<K, V> {
    /// The producers that it knows, by their ids: idempotent and transactional ones; others leave no trace.
    #[must_use]
    pub fn producers(&self) -> Vec<ProducerDescription> {
        let described = |(id, known): (i64, crate::partition::KnownProducer)| ProducerDescription {
            producer_id: ProducerId::new(id),
            epoch: ProducerEpoch::new(known.epoch()),
            last_sequence: known.last_sequence(),
            open_since: known.open_transaction().map(Offset::of),
            seen_at: Timestamp::from_millis(known.seen_at()),
        };
        self.log().known_producers().into_iter().map(described).collect()
    }

    /// The aborted transactions among its records, in the order of their markers.
    #[must_use]
    pub fn aborted_transactions(&self) -> Vec<AbortedTransaction> {
        let described = |(id, first, marker): (i64, u64, u64)| AbortedTransaction {
            producer_id: ProducerId::new(id),
            first_offset: Offset::of(first),
            marker_offset: Offset::of(marker),
        };
        self.log().aborted_transactions().into_iter().map(described).collect()
    }
}
