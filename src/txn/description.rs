//! Transactional ids as administrators see them.

use std::time::Duration;

use super::coordinator::{Now, Phase, Transactional, partitions_of};
use crate::format::control::TxnOutcome;
use crate::format::transaction_state::{TxnState, TxnStatus};
use crate::types::{ProducerEpoch, ProducerId, TopicPartition};

/// Where a transactional id stands.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionState {
    /// It has had no transaction since it was taken.
    Empty,
    /// A transaction is open.
    Open,
    /// A commit is on its way to the device.
    Committing,
    /// The last transaction was committed.
    Committed,
    /// The last transaction was aborted.
    Aborted,
    /// Whether the last transaction was committed shows when the broker is opened again: the disk has failed.
    Unknown,
}

/// A transactional id, who holds it, and what it has under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionDescription {
    id: String,
    producer_id: ProducerId,
    epoch: ProducerEpoch,
    state: TransactionState,
    age: Option<Duration>,
    timeout: Duration,
    partitions: Vec<TopicPartition>,
}

impl TransactionDescription {
    pub(super) fn of(id: &str, known: &Transactional, now: Now) -> TransactionDescription {
        let (state, age) = match known.phase {
            Phase::Idle(None) => (TransactionState::Empty, None),
            Phase::Idle(Some(TxnOutcome::Commit)) => (TransactionState::Committed, None),
            Phase::Idle(Some(TxnOutcome::Abort)) => (TransactionState::Aborted, None),
            Phase::Open { since } => (TransactionState::Open, Some(now.monotonic.saturating_sub(since))),
            Phase::Deciding { .. } => (TransactionState::Committing, None),
            Phase::Unknown => (TransactionState::Unknown, None),
        };
        TransactionDescription {
            id: id.to_owned(),
            producer_id: ProducerId::new(known.holder.producer_id),
            epoch: ProducerEpoch::new(known.holder.epoch),
            state,
            age,
            timeout: known.timeout,
            partitions: known.partitions.iter().cloned().collect(),
        }
    }

    /// What the last record of an id says, at this time (by the wall clock, milliseconds).
    pub(crate) fn recorded(id: String, record: &TxnState, now: i64) -> TransactionDescription {
        let state = match record.status {
            TxnStatus::Ongoing => TransactionState::Open,
            TxnStatus::PrepareCommit | TxnStatus::CompleteCommit => TransactionState::Committed,
            TxnStatus::PrepareAbort | TxnStatus::CompleteAbort => TransactionState::Aborted,
            TxnStatus::Empty | TxnStatus::Dead | TxnStatus::PrepareEpochFence => TransactionState::Empty,
        };
        let open = state == TransactionState::Open;
        let millis = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or(0));
        TransactionDescription {
            id,
            producer_id: ProducerId::new(record.producer_id),
            epoch: ProducerEpoch::new(record.epoch),
            state,
            age: open.then(|| millis(now.saturating_sub(record.started))),
            timeout: millis(record.timeout_ms.into()),
            partitions: if open { partitions_of(&record.partitions).collect() } else { Vec::new() },
        }
    }

    /// The transactional id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The producer id by which the log knows its holder.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        self.producer_id
    }

    /// The epoch of the open transaction, or of the next one.
    #[must_use]
    pub fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> TransactionState {
        self.state
    }

    /// How long its transaction has been open, if one is.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.age
    }

    /// How long a transaction may be open before it is aborted.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The partitions that the open transaction has records in, sorted.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }
}
