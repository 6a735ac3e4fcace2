//! The log's side of its producers: batches that are looked at before they are appended, markers, and the state
//! that follows from both.
//!
//! ```text
//!   append lock:  admit -> (opens a transaction: readers stop here) -> append -> note
//!   marker:       admit -> append -> aborted? one more entry       -> readers go on
//! ```
//!
//! Invariants
//! - A batch is admitted and appended under one hold of the append lock: offsets and state agree.
//! - Readers of committed records are stopped before the first record of a transaction is published, and go on
//!   only after what they must pass over is entered.
//! - Lock order: the files, the append lock, the state, the aborted transactions.

use std::collections::{BTreeMap, HashSet};

use super::appender::Appended;
use super::batch_in::FinishedBatch;
use super::log::Log;
use super::producers::{
    AbortedIndex, Admission, Candidate, KnownProducer, Marker, ProducerFiles, ProducerTable, Refusal,
};
use super::waiting::Patience;
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::BatchHeader;
use crate::format::control::{ControlType, EndTxnMarker, TxnOutcome, parse_marker_value};
use crate::format::record::decode_record;
use crate::format::snapshot;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::types::Offset;

/// What became of a batch of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Produced {
    /// It was appended.
    Appended(Appended),
    /// It was in the log already, at this offset.
    Known { offset: u64, timestamp: i64 },
}

/// The producers of a log.
#[derive(Debug)]
pub(super) struct Producers {
    /// There are, or were, producers: a snapshot is on disk.
    pub(super) exist: AtomicBool,
    /// Held while files are written; never taken under the append lock.
    pub(super) files: Mutex<ProducerFiles>,
    pub(super) state: Mutex<State>,
    pub(super) aborted: RwLock<AbortedIndex>,
    /// Transactions that stay open, by where they begin: why nobody ends them.
    stuck: Mutex<BTreeMap<u64, Error>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) table: ProducerTable,
    /// Something has changed since the last candidate for a snapshot.
    pub(super) changed: bool,
}

impl Producers {
    /// None.
    pub(super) fn new() -> Producers {
        Producers {
            exist: AtomicBool::new(false),
            files: Mutex::new(ProducerFiles::default()),
            state: Mutex::new(State::default()),
            aborted: RwLock::new(AbortedIndex::default()),
            stuck: Mutex::new(BTreeMap::new()),
        }
    }
}

impl State {
    /// A producer has been heard of without a record; answers whether that changes anything. It does where half the time
    /// until it expires has passed: the files need not be written at each look.
    fn hear_of(&mut self, producer_id: i64, now: i64, expiry: i64) -> bool {
        let changed = self.table.hear_of(producer_id, now, now.saturating_sub(expiry / 2));
        self.changed |= changed;
        changed
    }
}

impl Log {
    /// Appends a batch that names its producer, unless it is in the log already.
    ///
    /// Errors: `Fenced`, `OutOfOrderSequence`, `Duplicate`; those of appending.
    pub(crate) fn append_produced(
        &self,
        batch: &mut FinishedBatch,
        patience: Patience<'_>,
    ) -> Result<Produced> {
        self.begin_producers()?;
        let known = std::cell::Cell::new(None);
        let appended = self.append_gated(
            batch,
            patience,
            |header, next| {
                let state = self.producers.state.lock();
                let admitted = state.table.admit(header).map_err(|why| self.refused(header, why))?;
                match admitted {
                    Admission::New { opens: true } => self.marks.stop_committed_at(next),
                    Admission::New { opens: false } => {}
                    Admission::Known { offset, timestamp } => {
                        known.set(Some(Produced::Known { offset, timestamp }));
                        return Ok(false);
                    }
                }
                Ok(true)
            },
            |header, now| {
                let mut state = self.producers.state.lock();
                if let Some(header) = header {
                    state.table.note(header, now);
                    state.changed = true;
                }
                self.marks.set_first_unstable(state.table.first_unstable());
            },
        )?;
        let nothing = || Error::invalid_argument("a batch that is neither new nor known");
        appended.map(Produced::Appended).or(known.take()).ok_or_else(nothing)
    }

    /// Appends a batch if it gets the offset `expected`; else answers `UnexpectedOffset` with the one it would.
    pub(crate) fn append_expecting(
        &self,
        batch: &mut FinishedBatch,
        expected: u64,
        patience: Patience<'_>,
    ) -> Result<Appended> {
        let gate = |_: &BatchHeader, next: u64| {
            if next == expected { Ok(true) } else { Err(self.unexpected(expected, next)) }
        };
        let appended = self.append_gated(batch, patience, gate, |_, _| ())?;
        appended.ok_or_else(|| self.unexpected(expected, self.appended_end()))
    }

    /// Whether a batch would get the offset `expected` now; as [`append_expecting`](Self::append_expecting) without one.
    pub(crate) fn check_expected(&self, expected: u64) -> Result<()> {
        self.check_open()?;
        let next = self.appended_end();
        if next == expected { Ok(()) } else { Err(self.unexpected(expected, next)) }
    }

    #[cold]
    fn unexpected(&self, expected: u64, actual: u64) -> Error {
        let kind = ErrorKind::UnexpectedOffset { actual: Offset::of(actual) };
        let message = format!("the next offset is {actual}, not {expected}");
        Error::new(kind, message).in_partition(&self.tp)
    }

    /// Ends the open transaction of a producer and epoch here: committed, or aborted. Answers the end of the
    /// marker; `None` if no transaction of them is open, which needs none.
    ///
    /// Whoever waits for committed records goes on at once: that the transaction has been decided, durably, is
    /// the caller's to know. The marker itself is flushed when something else is, or soon.
    pub(crate) fn end_transaction(&self, end: &EndTxnMarker, patience: Patience<'_>) -> Result<Option<u64>> {
        let (id, epoch) = (end.producer_id, end.producer_epoch);
        if self.open_epoch(id) != Some(epoch) {
            return Ok(None);
        }
        let bytes = end.to_batch(0, -1).map_err(|e| Error::codec(e.to_string()))?;
        let mut batch = FinishedBatch::built(bytes)?;
        let appended = self.append_gated(
            &mut batch,
            patience,
            |header, _| {
                let state = self.producers.state.lock();
                state.table.admit_marker(id, epoch).map_err(|why| self.refused(header, why))?;
                // Somebody else may have ended it meanwhile.
                Ok(state.table.get(id).is_some_and(|known| known.open_transaction().is_some()))
            },
            |header, now| {
                let mut state = self.producers.state.lock();
                if let Some(header) = header {
                    let (outcome, coordinator_epoch) = (end.outcome, end.coordinator_epoch);
                    let offset = header.base_offset as u64;
                    let marker = Marker { producer_id: id, epoch, outcome, coordinator_epoch, offset };
                    self.note_end(&mut state, &marker, now);
                }
                self.marks.set_first_unstable(state.table.first_unstable());
            },
        )?;
        self.readers.notify_after_publish();
        Ok(appended.map(|appended| appended.offset + 1))
    }

    pub(super) fn note_end(&self, state: &mut State, marker: &Marker, now: i64) {
        state.changed = true;
        if let Some(first) = state.table.get(marker.producer_id).and_then(KnownProducer::open_transaction) {
            self.producers.stuck.lock().remove(&first);
        }
        if let Some(entry) = state.table.end(marker, now) {
            self.producers.aborted.write().push(entry);
        }
    }

    #[cold]
    fn refused(&self, header: &BatchHeader, why: Refusal) -> Error {
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        let error = match why {
            Refusal::Fenced { known } => {
                let message = format!("epoch {epoch} of producer {id} is over: it is in epoch {known} now");
                Error::new(ErrorKind::Fenced, message)
            }
            Refusal::OutOfOrder { expected } => {
                let next = Refusal::number(header.producer_epoch, expected);
                let found = header.base_sequence;
                let message = format!("producer {id} sends sequence {found} where {expected} is next");
                Error::new(ErrorKind::OutOfOrderSequence { expected: next }, message)
            }
            Refusal::Duplicate { offset, expected } => {
                let next = Refusal::number(header.producer_epoch, expected);
                let kind = ErrorKind::Duplicate { offset: offset.map(Offset::of), next_sequence: next };
                Error::new(
                    kind,
                    format!("the log has these records of producer {id}: sequence {expected} is next"),
                )
            }
            Refusal::OtherTransaction => {
                let message = format!("producer {id} has another transaction open here than epoch {epoch}'s");
                Error::new(ErrorKind::Fenced, message)
            }
        };
        error.in_partition(&self.tp)
    }

    /// Before the first batch of a producer: that there are any is on the device.
    fn begin_producers(&self) -> Result<()> {
        if self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut files = self.producers.files.lock();
        if files.exist() {
            return Ok(());
        }
        self.check_open()?;
        let snapshot = snapshot::encode(&[]);
        let empty = Candidate { offset: self.flushed(), snapshot, aborted: Vec::new(), seen: Vec::new() };
        let stored = files.store(&self.home, &[], &empty);
        stored.map_err(|e| self.fail(e))?;
        self.producers.exist.store(true, Ordering::Release);
        Ok(())
    }

    /// Where readers of committed records stop, if the log ends at `log_end`.
    #[inline]
    pub(crate) fn last_stable(&self) -> u64 {
        self.marks.last_stable(self.log_end())
    }

    /// The open transaction that begins at this offset is not going to be ended: whoever would wait for it is told.
    pub(crate) fn hold_stuck(&self, first_offset: u64, why: Error) {
        self.producers.stuck.lock().insert(first_offset, why);
        self.readers.notify_after_publish();
    }

    /// Why what readers of committed records wait for does not come.
    #[cold]
    pub(crate) fn check_stuck(&self) -> Result<()> {
        let Some(first) = self.marks.first_unstable() else { return Ok(()) };
        self.producers.stuck.lock().get(&first).map_or(Ok(()), |why| Err(why.again()))
    }

    /// The epoch of a producer's open transaction.
    pub(crate) fn open_epoch(&self, producer_id: i64) -> Option<i16> {
        let state = self.producers.state.lock();
        let known = state.table.get(producer_id)?;
        known.open_transaction().map(|_| known.epoch())
    }

    /// The open transactions: where they begin, whose they are, and of which epoch.
    pub(crate) fn open_transactions(&self) -> Vec<(u64, i64, i16)> {
        self.producers.state.lock().table.open_transactions().collect()
    }

    /// What is known of a producer.
    pub(crate) fn producer(&self, producer_id: i64) -> Option<KnownProducer> {
        self.producers.state.lock().table.get(producer_id).cloned()
    }

    /// All producers that are known.
    pub(crate) fn known_producers(&self) -> Vec<(i64, KnownProducer)> {
        self.producers.state.lock().table.all()
    }

    /// Whether a producer's batch at an offset belongs to an aborted transaction.
    pub(super) fn is_aborted(&self, producer_id: i64, offset: u64) -> bool {
        self.producers.aborted.read().holds(producer_id, offset)
    }

    /// From `offset` on no batch below this one was aborted; `bound` at most.
    pub(super) fn clear_until(&self, offset: u64, bound: u64) -> u64 {
        self.producers.aborted.read().clear_until(offset, bound)
    }

    /// The aborted transactions: producer, first offset, offset of the marker.
    pub(crate) fn aborted_transactions(&self) -> Vec<(i64, u64, u64)> {
        let aborted = self.producers.aborted.read();
        let entry =
            |e: &crate::format::index::TxnEntry| (e.producer_id, e.first_offset as u64, e.last_offset as u64);
        aborted.entries().iter().map(entry).collect()
    }

    /// Forgets the producers that nobody has heard of for as long as the settings say, in the files too if what the log
    /// holds is durable; else with the next checkpoint. Those that are `held` are heard of.
    pub(crate) fn expire_producers(&self, held: &HashSet<i64>) -> Result<()> {
        if !self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        self.trim_aborted();
        let (now, expiry) = self.producer_times();
        let changed = {
            let mut state = self.producers.state.lock();
            let mut changed = false;
            for id in held {
                changed |= state.hear_of(*id, now, expiry);
            }
            let expired = state.table.expire(now.saturating_sub(expiry));
            state.changed |= expired;
            changed || expired
        };
        if changed { self.store_producers() } else { Ok(()) }
    }

    /// Somebody means to send as this producer, who may ask first what it has sent: it is not forgotten meanwhile, nor
    /// soon after a crash.
    pub(crate) fn hear_of_producer(&self, producer_id: i64) -> Result<()> {
        if !self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        let (now, expiry) = self.producer_times();
        let changed = self.producers.state.lock().hear_of(producer_id, now, expiry);
        if changed { self.store_producers() } else { Ok(()) }
    }

    /// Now, and after what time without a word a producer is forgotten; milliseconds.
    fn producer_times(&self) -> (i64, i64) {
        let expiry = i64::try_from(self.settings().producer_expiration.as_millis()).unwrap_or(i64::MAX);
        (self.environment.clock().now().millis(), expiry)
    }

    /// The ids of the producers that are known.
    pub(crate) fn producer_ids(&self, found: &mut HashSet<i64>) {
        if self.producers.exist.load(Ordering::Acquire) {
            found.extend(self.producers.state.lock().table.ids());
        }
    }

    /// Notes a batch that a leader has sent, which was looked at there.
    pub(super) fn note_given(&self, header: &BatchHeader, records: &[u8]) {
        if header.producer_id < 0 {
            return;
        }
        let now = self.environment.clock().now().millis();
        let mut state = self.producers.state.lock();
        if !header.attributes.is_control() {
            state.table.note(header, now);
            state.changed = true;
        } else if let Some(marker) = marker_of(header, records) {
            self.note_end(&mut state, &marker, now);
        }
        self.marks.set_first_unstable(state.table.first_unstable());
        drop(state);
        // Whoever looked between the publication and this found the transaction still open.
        self.readers.notify_after_publish();
    }

    /// Before batches of a leader that name producers.
    pub(super) fn expect_given(&self, header: &BatchHeader) -> Result<()> {
        if header.producer_id < 0 {
            return Ok(());
        }
        self.begin_producers()?;
        if header.attributes.is_transactional() && !header.attributes.is_control() {
            self.marks.stop_committed_at(header.base_offset as u64);
        }
        Ok(())
    }
}

impl Refusal {
    /// A sequence number as its sender counts: epochs of named producers go on where the numbers end.
    fn number(epoch: i16, sequence: i32) -> u64 {
        ((epoch.max(0) as u64) << 31) | sequence.max(0) as u64
    }
}

/// What a control batch says of a transaction; `None` if it is about something else.
pub(super) fn marker_of(header: &BatchHeader, records: &[u8]) -> Option<Marker> {
    let (record, _) = decode_record(records).ok()?;
    let outcome = match ControlType::parse_key(record.key?).ok()? {
        ControlType::Abort => TxnOutcome::Abort,
        ControlType::Commit => TxnOutcome::Commit,
        _ => return None,
    };
    let coordinator_epoch = parse_marker_value(record.value?).ok()?;
    Some(Marker {
        producer_id: header.producer_id,
        epoch: header.producer_epoch,
        outcome,
        coordinator_epoch,
        offset: header.base_offset as u64,
    })
}
