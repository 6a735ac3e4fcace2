//! One producer, as a partition knows it.
//!
//! Invariants
//! - At most five batches are remembered, the latest ones, all of the present epoch.
//! - A producer has at most one open transaction in a partition.

use std::collections::VecDeque;

use super::sequence::{sequence_after, sequences_between};
use crate::format::batch::BatchHeader;
use crate::format::snapshot::ProducerEntry;

/// How many batches are remembered: as many as a client of Kafka may have under way.
const REMEMBERED: usize = 5;

/// A batch that is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownBatch {
    pub(super) first_sequence: i32,
    /// Last minus first offset.
    pub(super) delta: i32,
    pub(super) last_offset: u64,
    /// Greatest timestamp, milliseconds.
    pub(super) timestamp: i64,
}

impl KnownBatch {
    fn of(header: &BatchHeader) -> KnownBatch {
        KnownBatch {
            first_sequence: header.base_sequence,
            delta: header.last_offset_delta,
            last_offset: header.last_offset() as u64,
            timestamp: header.max_timestamp,
        }
    }

    pub(super) fn last_sequence(&self) -> i32 {
        sequence_after(self.first_sequence, self.delta as u64)
    }

    pub(super) fn first_offset(&self) -> u64 {
        self.last_offset.saturating_sub(self.delta as u64)
    }
}

/// A producer, as a partition knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownProducer {
    pub(super) epoch: i16,
    /// Of the last marker; -1 none.
    pub(super) coordinator_epoch: i32,
    /// Oldest first.
    pub(super) batches: VecDeque<KnownBatch>,
    /// Where its open transaction begins.
    pub(super) open: Option<u64>,
    /// When it was last heard of, by the clock (timestamps of records may be anything); milliseconds.
    pub(super) seen_at: i64,
}

impl KnownProducer {
    /// Of which nothing is known but the epoch.
    pub(super) fn new(epoch: i16, seen_at: i64) -> KnownProducer {
        KnownProducer { epoch, coordinator_epoch: -1, batches: VecDeque::new(), open: None, seen_at }
    }

    /// Its epoch.
    pub(crate) fn epoch(&self) -> i16 {
        self.epoch
    }

    /// The sequence number of its last record of this epoch.
    pub(crate) fn last_sequence(&self) -> Option<i32> {
        self.batches.back().map(KnownBatch::last_sequence)
    }

    /// Where its open transaction begins.
    pub(crate) fn open_transaction(&self) -> Option<u64> {
        self.open
    }

    /// When it was last heard of, milliseconds.
    pub(crate) fn seen_at(&self) -> i64 {
        self.seen_at
    }

    /// The offset of the record with this sequence number, if its batch is remembered.
    pub(crate) fn offset_of(&self, sequence: i32) -> Option<u64> {
        self.batches.iter().find_map(|batch| {
            let into = sequences_between(batch.first_sequence, sequence);
            (into <= batch.delta as u64).then(|| batch.first_offset() + into)
        })
    }

    /// The remembered batch of exactly these sequence numbers.
    pub(super) fn same_batch(&self, header: &BatchHeader) -> Option<&KnownBatch> {
        let same = |batch: &&KnownBatch| {
            batch.first_sequence == header.base_sequence && batch.delta == header.last_offset_delta
        };
        self.batches.iter().find(same)
    }

    /// A batch of it is in the log.
    pub(super) fn note(&mut self, header: &BatchHeader, now: i64) {
        self.enter(header.producer_epoch);
        if self.batches.len() == REMEMBERED {
            self.batches.pop_front();
        }
        self.batches.push_back(KnownBatch::of(header));
        self.hear(now);
    }

    /// It has been heard of; a clock that has gone back makes it no older.
    pub(super) fn hear(&mut self, now: i64) {
        self.seen_at = self.seen_at.max(now);
    }

    /// It is in this epoch now; what was sent in another one is not compared any more.
    pub(super) fn enter(&mut self, epoch: i16) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    pub(super) fn entry(&self, producer_id: i64) -> ProducerEntry {
        let last = self.batches.back();
        let to_i64 = |offset: u64| i64::try_from(offset).unwrap_or(-1);
        ProducerEntry {
            producer_id,
            epoch: self.epoch,
            last_sequence: last.map_or(-1, KnownBatch::last_sequence),
            last_offset: last.map_or(-1, |batch| to_i64(batch.last_offset)),
            offset_delta: last.map_or(0, |batch| batch.delta),
            timestamp: last.map_or(-1, |batch| batch.timestamp),
            coordinator_epoch: self.coordinator_epoch,
            current_txn_first_offset: self.open.map_or(-1, to_i64),
        }
    }

    /// What a snapshot tells; `None` if it makes no sense.
    pub(super) fn of_entry(entry: &ProducerEntry, now: i64) -> Option<KnownProducer> {
        let mut known = KnownProducer::new(entry.epoch, now);
        known.coordinator_epoch = entry.coordinator_epoch;
        known.open = match entry.current_txn_first_offset {
            -1 => None,
            first => Some(u64::try_from(first).ok()?),
        };
        if entry.last_sequence >= 0 {
            let delta = u32::try_from(entry.offset_delta).ok()?;
            let size = i64::from(i32::MAX) + 1;
            let first = (i64::from(entry.last_sequence) - i64::from(delta)).rem_euclid(size);
            known.batches.push_back(KnownBatch {
                first_sequence: i32::try_from(first).ok()?,
                delta: entry.offset_delta,
                last_offset: u64::try_from(entry.last_offset).ok()?,
                timestamp: entry.timestamp,
            });
        }
        Some(known)
    }
}
