//! The opening of the transactions, and those of which nobody can tell how they ended.
//!
//! ```text
//!   __transaction_state -- readable records --> coordinator -- what partitions have open --> markers
//!                       -- unreadable ones ---> ... of those that they may have told of --> undecided
//!   undecided: readers of committed records that come to one are told; settle() ends it as somebody says
//! ```
//!
//! Invariants
//! - Damage is told by every call that needs the topic, and hides nothing that can be read.
//! - An undecided transaction is ended by an explicit call only: time does not tell how it ended.
//! - One call at a time ends some, and while the broker is open each in one way only, however often it fails.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::coordinator::{Effect, Ended, Holder};
use super::recovery::LeftOpen;
use super::service::TxnService;
use crate::config::{CrcCheck, Isolation};
use crate::error::{Error, ErrorKind, Result};
use crate::format::control::TxnOutcome;
use crate::partition::{Cursor, Log, ReadLimits};
use crate::types::{ProducerEpoch, ProducerId, TopicPartition};

/// A transaction that an earlier opening has left open, and the record that tells how it ended, if there is one, is
/// damaged: from [`Broker::undecided_transactions`](crate::Broker::undecided_transactions).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UndecidedTransaction {
    holder: Holder,
    partitions: Vec<TopicPartition>,
}

impl UndecidedTransaction {
    /// The producer id by which the log knows whose it is.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId::new(self.holder.producer_id)
    }

    /// Its epoch.
    #[must_use]
    pub fn epoch(&self) -> ProducerEpoch {
        ProducerEpoch::new(self.holder.epoch)
    }

    /// The partitions that have it open, sorted.
    #[must_use]
    pub fn partitions(&self) -> &[TopicPartition] {
        &self.partitions
    }
}

/// What the topic could not tell.
#[derive(Default)]
struct Unread {
    /// Everything that could not be read lies below.
    end: u64,
    first: Option<Error>,
}

impl Unread {
    fn note(&mut self, end: u64, why: Error) {
        self.end = self.end.max(end);
        self.first.get_or_insert(why);
    }
}

impl TxnService {
    /// Ends what an earlier opening has left open in `logs`, as the topic says. Where it cannot be read, what may have
    /// been committed stays open, transactions answer with that error, and everything else of the broker works.
    pub(crate) fn open(&self, log: Option<Arc<Log>>, logs: &[Arc<Log>]) {
        let mut unread = Unread::default();
        if let Some(log) = &log {
            self.replay(log, &mut unread);
        }
        *self.log.write() = log;
        let (mut open, mut epochs) = (Vec::new(), BTreeMap::new());
        let mut by_name = HashMap::new();
        for log in logs {
            for (_, producer_id, epoch) in log.open_transactions() {
                let tp = log.topic_partition().clone();
                by_name.insert(tp.clone(), log.clone());
                open.push(LeftOpen { tp, holder: Holder { producer_id, epoch } });
            }
            for (id, known) in log.known_producers() {
                let epoch = epochs.entry(id).or_insert(known.epoch());
                *epoch = known.epoch().max(*epoch);
            }
        }
        let mut effects = Vec::new();
        let undecided = self.state.lock().coordinator.opened(&open, &epochs, unread.end, &mut effects);
        for effect in effects {
            if let Effect::Mark { id, tp, ended } = effect {
                let log = by_name.get(&tp).cloned();
                self.mark(id, tp, ended, log.ok_or_else(|| Error::closed("the partition")));
            }
        }
        let mut ended = Vec::new();
        self.state.lock().coordinator.end_noted(unread.end, self.now(), &mut ended);
        // Nobody waits for it: without it the next opening says the same.
        let _ = self.carry_out(ended);
        for left in &undecided {
            let why = format!(
                "how transaction {} of producer {} ended cannot be read: see Broker::undecided_transactions",
                left.holder.epoch, left.holder.producer_id
            );
            if let Some(log) = by_name.get(&left.tp) {
                hold(log, left.holder, ErrorKind::Corrupted, &why);
            }
        }
        self.state.lock().undecided = undecided;
        if let Some(damage) = unread.first {
            let _ = self.damaged.set(damage);
        }
    }

    /// Every record that can be read, whatever lies between.
    fn replay(&self, log: &Arc<Log>, unread: &mut Unread) {
        let limits = ReadLimits { max_bytes: 1 << 20, max_records: u32::MAX, crc: CrcCheck::Once };
        let mut from = log.log_start();
        // How far is passed over when what follows the damage cannot be read either: twice as much each time.
        let mut step = 1;
        while from < log.log_end() {
            let mut cursor = Cursor::new(log.clone(), from).isolated(Isolation::ReadUncommitted);
            loop {
                match cursor.read(u64::MAX, &limits) {
                    Ok(None) => return,
                    Ok(Some(chunk)) => {
                        step = 1;
                        if let Err(why) = self.replay_chunk(log, &chunk, unread) {
                            unread.note(cursor.next_offset(), why);
                        }
                    }
                    Err(why) => {
                        from = cursor.next_offset().saturating_add(step);
                        step = step.saturating_mul(2);
                        unread.note(from, why);
                        break;
                    }
                }
            }
        }
    }

    fn replay_chunk(&self, log: &Log, chunk: &crate::partition::Chunk, unread: &mut Unread) -> Result<()> {
        let mut state = self.state.lock();
        for record in chunk.iter() {
            let record = record?;
            let (key, value) = (record.record.key.unwrap_or_default(), record.record.value);
            if !state.coordinator.replay(record.offset, key, value) {
                let why = format!("the record at offset {} cannot be read", record.offset);
                let why = Error::new(ErrorKind::Corrupted, why).in_partition(log.topic_partition());
                unread.note(record.offset + 1, why);
            }
        }
        Ok(())
    }

    /// The undecided transactions, sorted.
    pub(crate) fn undecided(&self) -> Vec<UndecidedTransaction> {
        let mut found: BTreeMap<Holder, Vec<TopicPartition>> = BTreeMap::new();
        for left in &self.state.lock().undecided {
            found.entry(left.holder).or_default().push(left.tp.clone());
        }
        let described = |(holder, mut partitions): (Holder, Vec<TopicPartition>)| {
            partitions.sort();
            UndecidedTransaction { holder, partitions }
        };
        found.into_iter().map(described).collect()
    }

    /// Ends an undecided transaction everywhere, durably. What was ended before an error stays so: the same call again
    /// ends the rest, and the other outcome is refused from the first marker on.
    pub(crate) fn settle(&self, undecided: &UndecidedTransaction, outcome: TxnOutcome) -> Result<()> {
        let mut chosen = self.settling.lock();
        let holder = undecided.holder;
        let (id, epoch) = (holder.producer_id, holder.epoch);
        let refused =
            |why: &str| Error::invalid_argument(format!("transaction {epoch} of producer {id} {why}"));
        if chosen.get(&holder).is_some_and(|before| *before != outcome) {
            return Err(refused("has been ended the other way in a part of its partitions"));
        }
        let of: Vec<_> =
            self.state.lock().undecided.iter().filter(|left| left.holder == holder).cloned().collect();
        if of.is_empty() {
            return Err(refused("is not undecided"));
        }
        // All markers before the first flush: what may be missing after a crash is little.
        let mut marked = Vec::new();
        for left in of {
            let log = match self.find(&left.tp) {
                Ok(log) => log,
                Err(error) if is_gone(&error) => {
                    self.settled(&left);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let end = self.append_marker(&log, Ended { holder, outcome })?;
            if end.is_some() {
                chosen.insert(holder, outcome);
            }
            // Without one it was appended by an earlier call, which could not flush it.
            let end = end.unwrap_or_else(|| log.appended_end());
            marked.push((left, log, end));
        }
        for (left, log, end) in marked {
            log.flush_until(end)?;
            self.settled(&left);
        }
        Ok(())
    }

    /// It has been ended in this partition, durably.
    fn settled(&self, left: &LeftOpen) {
        self.state.lock().undecided.retain(|known| known != left);
    }
}

/// There is no such partition.
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound)
}

/// The open transaction of a holder will not be ended: readers of committed records are told why.
pub(super) fn hold(log: &Log, holder: Holder, kind: ErrorKind, why: &str) {
    let own = |(_, id, epoch): &(u64, i64, i16)| (*id, *epoch) == (holder.producer_id, holder.epoch);
    for (first, ..) in log.open_transactions().into_iter().filter(own) {
        log.hold_stuck(first, Error::new(kind, why.to_owned()).in_partition(log.topic_partition()));
    }
}
