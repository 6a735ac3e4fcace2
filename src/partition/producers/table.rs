//! The producers of a partition.
//!
//! ```text
//!   admit (is it new, known, refused?) -> appended at an offset -> note
//!   marker of producer and epoch        -> appended at an offset -> end
//!   replay: what is in the log already, in its order
//! ```
//!
//! Invariants
//! - `admit` changes nothing; what is noted was admitted at the same state.
//! - `open` holds exactly the open transactions, by their first offsets; the least of them is where readers of
//!   committed records stop.

use std::collections::{BTreeMap, HashMap};

use super::producer::KnownProducer;
use super::sequence::{sequence_after, sequences_between};
use crate::format::batch::BatchHeader;
use crate::format::control::TxnOutcome;
use crate::format::index::TxnEntry;
use crate::format::snapshot::ProducerEntry;

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is to be appended; if that begins a transaction, it says so.
    New { opens: bool },
    /// It is in the log.
    Known { offset: u64, timestamp: i64 },
}

/// Why a batch or a marker is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A newer epoch of the producer is known here.
    Fenced { known: i16 },
    /// Records are missing before it, or it belongs to an epoch that has not begun.
    OutOfOrder { expected: i32 },
    /// Its records, or some of them, are in the log, but not as this batch.
    Duplicate { offset: Option<u64>, expected: i32 },
    /// It is not part of the transaction that its producer has open here.
    OtherTransaction,
}

/// The producers of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProducerTable {
    producers: HashMap<i64, KnownProducer>,
    /// Producers by the first offsets of their open transactions.
    open: BTreeMap<u64, i64>,
}

impl ProducerTable {
    /// What is known of a producer.
    pub(crate) fn get(&self, producer_id: i64) -> Option<&KnownProducer> {
        self.producers.get(&producer_id)
    }

    /// All producers, by their ids.
    pub(crate) fn all(&self) -> Vec<(i64, KnownProducer)> {
        let mut all: Vec<_> = self.producers.iter().map(|(id, known)| (*id, known.clone())).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    /// Whether a batch of a producer may be appended.
    pub(crate) fn admit(&self, header: &BatchHeader) -> Result<Admission, Refusal> {
        let opens = header.attributes.is_transactional();
        let Some(known) = self.producers.get(&header.producer_id) else {
            return Ok(Admission::New { opens });
        };
        if header.producer_epoch == known.epoch {
            if let Some(same) = known.same_batch(header) {
                let offset = same.first_offset();
                return Ok(Admission::Known { offset, timestamp: same.timestamp });
            }
        }
        if header.producer_epoch < known.epoch {
            return Err(Refusal::Fenced { known: known.epoch });
        }
        let expected = match known.last_sequence() {
            Some(last) if header.producer_epoch == known.epoch => sequence_after(last, 1),
            // Of an epoch that has begun without a record, or begins here.
            _ => 0,
        };
        if header.base_sequence != expected {
            return Err(known.wrong_sequence(header, expected));
        }
        // A newer epoch does not go on with what an older one left open.
        let goes_on = known.open.is_none() || (opens && header.producer_epoch == known.epoch);
        if !goes_on {
            return Err(Refusal::OtherTransaction);
        }
        Ok(Admission::New { opens: opens && known.open.is_none() })
    }

    /// A batch of a producer is in the log; `now` in milliseconds.
    pub(crate) fn note(&mut self, header: &BatchHeader, now: i64) {
        let known = self.producers.entry(header.producer_id);
        let known = known.or_insert_with(|| KnownProducer::new(header.producer_epoch, now));
        let first = header.base_offset as u64;
        if header.attributes.is_transactional() && known.open.is_none() {
            known.open = Some(first);
            self.open.insert(first, header.producer_id);
        }
        known.note(header, now);
    }

    /// Whether a marker may be appended: it ends the open transaction of its epoch, or none.
    pub(crate) fn admit_marker(&self, producer_id: i64, epoch: i16) -> Result<(), Refusal> {
        let Some(known) = self.producers.get(&producer_id) else { return Ok(()) };
        if epoch < known.epoch {
            return Err(Refusal::Fenced { known: known.epoch });
        }
        if known.open.is_some() && epoch != known.epoch {
            return Err(Refusal::OtherTransaction);
        }
        Ok(())
    }

    /// A marker is in the log; answers the entry of the transaction that it aborted, if it did.
    ///
    /// The epoch is over with it: what is sent late in it is fenced.
    pub(crate) fn end(&mut self, marker: &Marker, now: i64) -> Option<TxnEntry> {
        let known = self.producers.entry(marker.producer_id);
        let known = known.or_insert_with(|| KnownProducer::new(marker.epoch, now));
        // What other writers put into the log may have ended a transaction with the next epoch already.
        let over = if known.epoch == marker.epoch { marker.epoch.saturating_add(1) } else { marker.epoch };
        known.enter(over.max(known.epoch));
        known.coordinator_epoch = known.coordinator_epoch.max(marker.coordinator_epoch);
        known.hear(now);
        let first = known.open.take()?;
        self.open.remove(&first);
        if marker.outcome == TxnOutcome::Commit {
            return None;
        }
        let stable = self.first_unstable().unwrap_or(marker.offset + 1).min(marker.offset + 1);
        Some(TxnEntry {
            producer_id: marker.producer_id,
            first_offset: first as i64,
            last_offset: marker.offset as i64,
            last_stable_offset: stable as i64,
        })
    }

    /// Where the oldest open transaction begins.
    pub(crate) fn first_unstable(&self) -> Option<u64> {
        self.open.first_key_value().map(|(first, _)| *first)
    }

    /// The open transactions: where they begin, whose they are, and of which epoch.
    pub(crate) fn open_transactions(&self) -> impl Iterator<Item = (u64, i64, i16)> {
        let epoch = |id: &i64| self.producers.get(id).map_or(-1, KnownProducer::epoch);
        self.open.iter().map(move |(first, id)| (*first, *id, epoch(id)))
    }

    /// Forgets producers that have not been heard of since `before` (milliseconds), but none with a transaction
    /// that is open. Who was heard of by a clock that was ahead is kept until the clock has come there, and as long again:
    /// rather too late than too early.
    pub(crate) fn expire(&mut self, before: i64) -> bool {
        let count = self.producers.len();
        self.producers.retain(|_, known| known.open.is_some() || known.seen_at >= before);
        let expired = self.producers.len() != count;
        if expired {
            self.producers.shrink_to(2 * self.producers.len());
        }
        expired
    }

    /// A producer is heard of without a record; noted if it is known, and the last time was before `stale`. Answers whether.
    pub(crate) fn hear_of(&mut self, producer_id: i64, now: i64, stale: i64) -> bool {
        let known = self.producers.get_mut(&producer_id).filter(|known| known.seen_at < stale);
        let Some(known) = known else { return false };
        known.hear(now);
        true
    }

    /// When each producer was last heard of.
    pub(crate) fn seen(&self) -> Vec<(i64, i64)> {
        let mut seen: Vec<_> = self.producers.iter().map(|(id, known)| (*id, known.seen_at)).collect();
        seen.sort_unstable();
        seen
    }

    /// As [`seen`](Self::seen) told earlier, also where the clock is behind that now: it may be the one that is wrong, as
    /// of a device that is started without its time.
    pub(crate) fn heard_at(&mut self, seen: &[(i64, i64)]) {
        for (id, seen_at) in seen {
            if let Some(known) = self.producers.get_mut(id) {
                known.seen_at = *seen_at;
            }
        }
    }

    /// The ids of all.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.producers.keys().copied()
    }

    /// What a snapshot of it holds.
    pub(crate) fn entries(&self) -> Vec<ProducerEntry> {
        self.all().iter().map(|(id, known)| known.entry(*id)).collect()
    }

    /// The state that a snapshot tells; `None` if it makes no sense.
    pub(crate) fn of_entries(entries: &[ProducerEntry], now: i64) -> Option<ProducerTable> {
        let mut table = ProducerTable::default();
        for entry in entries {
            let known = KnownProducer::of_entry(entry, now)?;
            if let Some(first) = known.open {
                table.open.insert(first, entry.producer_id);
            }
            table.producers.insert(entry.producer_id, known);
        }
        Some(table)
    }
}

/// The end of a transaction, as the log tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
    pub(crate) outcome: TxnOutcome,
    pub(crate) coordinator_epoch: i32,
    /// Where it stands.
    pub(crate) offset: u64,
}

impl KnownProducer {
    /// How a batch with another sequence number than the next one is refused.
    fn wrong_sequence(&self, header: &BatchHeader, expected: i32) -> Refusal {
        let behind = sequences_between(header.base_sequence, expected);
        if header.producer_epoch != self.epoch || self.batches.is_empty() || behind > (1 << 30) {
            return Refusal::OutOfOrder { expected };
        }
        let last = sequence_after(header.base_sequence, header.last_offset_delta as u64);
        let whole = self.offset_of(last).and_then(|_| self.offset_of(header.base_sequence));
        Refusal::Duplicate { offset: whole, expected }
    }
}
