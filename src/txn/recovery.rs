//! What a crash has left open, ended at the next opening.
//!
//! ```text
//!   records of __transaction_state, in their order -> replay
//!   transactions that partitions have open         -> opened: committed where a durable record says so, for that
//!                                                      producer, epoch and partition; aborted everywhere else
//! ```
//!
//! Where some records cannot be read, what the others say still holds: a commit that one of them names, and that there
//! was none where the last record of the id lies behind all that is unread (it would name it). Of the rest nobody
//! can tell: it is *undecided*, and stays open until somebody says how it ends.
//!
//! Invariants
//! - Every open transaction is ended, also those of producers that no record knows; or, after damage, undecided.
//! - What may have been committed is never aborted.
//! - An epoch that any partition has seen is not given again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::coordinator::{Coordinator, Effect, Ended, Holder, Now, Phase, Transactional, partitions_of};
use crate::format::control::TxnOutcome;
use crate::format::transaction_state::{StateKey, TxnState, TxnStatus};
use crate::types::TopicPartition;

/// A transaction that a partition has open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOpen {
    pub(crate) tp: TopicPartition,
    pub(crate) holder: Holder,
}

impl Coordinator {
    /// A record of the topic, before [`opened`](Coordinator::opened). Answers false if it cannot be read.
    pub(crate) fn replay(&mut self, offset: u64, key: &[u8], value: Option<&[u8]>) -> bool {
        let id = match StateKey::decode(key) {
            Ok(StateKey::Id(id)) => id,
            Ok(StateKey::Other(_)) => return true,
            Err(_) => return false,
        };
        let Some(value) = value else {
            self.ids.remove(&id);
            return true;
        };
        let Ok(state) = TxnState::decode(value) else { return false };
        self.ids.insert(id, restored(&state, offset));
        true
    }

    /// All records have been replayed, but for some below `unread`; `open` is what partitions have open, `epochs` the
    /// greatest epoch that any has seen of each producer. Answers what is undecided.
    pub(crate) fn opened(
        &mut self,
        open: &[LeftOpen],
        epochs: &BTreeMap<i64, i16>,
        unread: u64,
        out: &mut Vec<Effect>,
    ) -> Vec<LeftOpen> {
        for known in self.ids.values_mut() {
            let seen = epochs.get(&known.holder.producer_id).copied().unwrap_or(-1);
            known.holder.epoch = known.holder.epoch.max(seen);
        }
        let still: BTreeSet<_> = open.iter().map(|left| (left.tp.clone(), left.holder)).collect();
        let mut unmarked = BTreeMap::new();
        for (id, known) in &mut self.ids {
            known.unmarked.retain(|key, _| still.contains(key));
            for (key, outcome) in &known.unmarked {
                let ended = Ended { holder: key.1, outcome: *outcome };
                unmarked.insert(key.clone(), (id.clone(), ended));
            }
        }
        let mut undecided = Vec::new();
        for left in open {
            let key = (left.tp.clone(), left.holder);
            let of =
                |(_, known): &(&String, &Transactional)| known.holder.producer_id == left.holder.producer_id;
            let (id, ended) = match (unmarked.remove(&key), self.ids.iter().find(of)) {
                (Some(decided), _) => decided,
                (None, Some((_, known))) if known.read_at < unread => {
                    undecided.push(left.clone());
                    continue;
                }
                (None, None) if unread > 0 => {
                    undecided.push(left.clone());
                    continue;
                }
                (None, known) => {
                    let id = known.map_or_else(String::new, |(id, _)| id.clone());
                    (id, Ended { holder: left.holder, outcome: TxnOutcome::Abort })
                }
            };
            out.push(Effect::Mark { id, tp: left.tp.clone(), ended });
        }
        undecided
    }

    /// Transactions that the topic says to be open are not any more, after [`opened`](Coordinator::opened): that is
    /// written down, but where what follows in the topic is damaged.
    pub(crate) fn end_noted(&mut self, unread: u64, now: Now, out: &mut Vec<Effect>) {
        for (id, known) in &mut self.ids {
            if std::mem::take(&mut known.noted) > 0 && known.read_at >= unread {
                known.phase = Phase::Idle(Some(TxnOutcome::Abort));
                known.holder.epoch = known.holder.epoch.saturating_add(1);
                out.push(known.write(id, TxnStatus::CompleteAbort, now));
            }
        }
    }
}

/// What a record tells.
fn restored(state: &TxnState, read_at: u64) -> Transactional {
    let holder = Holder { producer_id: state.producer_id, epoch: state.epoch };
    let mut unmarked = BTreeMap::new();
    for earlier in &state.earlier {
        let holder = Holder { producer_id: earlier.producer_id, epoch: earlier.epoch };
        unmarked.extend(partitions_of(&earlier.partitions).map(|tp| ((tp, holder), TxnOutcome::Commit)));
    }
    let outcome = match state.status {
        TxnStatus::PrepareCommit | TxnStatus::CompleteCommit => Some(TxnOutcome::Commit),
        TxnStatus::PrepareAbort | TxnStatus::CompleteAbort => Some(TxnOutcome::Abort),
        TxnStatus::Empty | TxnStatus::Ongoing | TxnStatus::Dead | TxnStatus::PrepareEpochFence => None,
    };
    if state.status == TxnStatus::PrepareCommit {
        unmarked.extend(partitions_of(&state.partitions).map(|tp| ((tp, holder), TxnOutcome::Commit)));
    }
    Transactional {
        holder,
        timeout: Duration::from_millis(u64::try_from(state.timeout_ms).unwrap_or(0)),
        phase: Phase::Idle(outcome),
        started: state.started,
        partitions: BTreeSet::new(),
        noted: usize::from(state.status == TxnStatus::Ongoing),
        unmarked,
        used_at: state.updated,
        read_at,
    }
}
