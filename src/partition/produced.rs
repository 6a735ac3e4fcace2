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
use std::sync::Arc;

use super::append::Patience;
use super::appender::Appended;
use super::batch_in::FinishedBatch;
use super::log::Log;
use super::producers::{
    AbortedIndex, Admission, Candidate, KnownProducer, Marker, ProducerFiles, ProducerTable, Refusal,
};
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{BatchHeader, HEADER_LEN};
use crate::format::control::{ControlType, EndTxnMarker, TxnOutcome, parse_marker_value};
use crate::format::record::decode_record;
use crate::format::snapshot;
use crate::segment::{BatchAt, Segment};
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
    exist: AtomicBool,
    /// Held while files are written; never taken under the append lock.
    files: Mutex<ProducerFiles>,
    state: Mutex<State>,
    aborted: RwLock<AbortedIndex>,
    /// Transactions that stay open, by where they begin: why nobody ends them.
    stuck: Mutex<BTreeMap<u64, Error>>,
}

#[derive(Debug, Default)]
struct State {
    table: ProducerTable,
    /// Something has changed since the last candidate for a snapshot.
    changed: bool,
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
    pub(crate) fn append_produced(&self, batch: &mut FinishedBatch, patience: Patience) -> Result<Produced> {
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
        patience: Patience,
    ) -> Result<Appended> {
        let gate = |_: &BatchHeader, next: u64| {
            if next == expected { Ok(true) } else { Err(self.unexpected(expected, next)) }
        };
        let appended = self.append_gated(batch, patience, gate, |_, _| ())?;
        appended.ok_or_else(|| self.unexpected(expected, self.appended_end()))
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
    pub(crate) fn end_transaction(&self, end: &EndTxnMarker, patience: Patience) -> Result<Option<u64>> {
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

    fn note_end(&self, state: &mut State, marker: &Marker, now: i64) {
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
                Error::new(kind, format!("the log has records of producer {id} up to sequence {expected}"))
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

    /// Brings the producer state to disk as far as the log is durable: up to `flushed`, in the segment `active`.
    pub(super) fn checkpoint_producers(&self, flushed: u64, active: u64) -> Result<()> {
        if !self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = self.environment.clock().now().millis();
        self.trim_aborted();
        let mut files = self.producers.files.lock();
        self.snapshot_roll(&mut files, active, now)?;
        let mut ready = files.candidate.take_if(|candidate| candidate.offset <= flushed);
        let taken = {
            // The append lock, so that offset and state belong together.
            let appender = self.append.lock();
            let next = appender.next_offset();
            let mut state = self.producers.state.lock();
            let changed = std::mem::take(&mut state.changed);
            changed.then(|| self.candidate(&state, next))
        };
        match taken {
            Some(candidate) if candidate.offset <= flushed => ready = Some(candidate),
            Some(candidate) => files.candidate = Some(candidate),
            None => {}
        }
        match ready {
            Some(ready) => files.store(&self.home, &self.bases(), &ready),
            None => Ok(()),
        }
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

    /// The producer state at the end of a log that is closed, durably.
    pub(super) fn close_producers(&self, end: u64) -> Result<()> {
        if !self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        self.trim_aborted();
        let mut files = self.producers.files.lock();
        if let Some(active) = self.active_segment() {
            self.snapshot_roll(&mut files, active.base(), self.environment.clock().now().millis())?;
        }
        let candidate = self.candidate(&self.producers.state.lock(), end);
        files.store(&self.home, &self.bases(), &candidate)
    }

    /// The segment `base` has been begun since the last time: the state as of there, durably. It is made from the
    /// snapshot before and the batches since, which takes no lock that an append needs; while batches are staged the
    /// state in memory is ahead of the roll anyway. It is a cache: where it cannot be made, there is none.
    fn snapshot_roll(&self, files: &mut ProducerFiles, base: u64, now: i64) -> Result<()> {
        if files.rolled >= base {
            return Ok(());
        }
        files.rolled = base;
        let Some((from, mut table)) = files.before_roll(&self.home, base, now) else { return Ok(()) };
        // No files are closed from here: that flushes, and who holds the write lock may wait for this checkpoint.
        let replayed = self.walk_batches(
            from.max(self.log_start()),
            base,
            || (),
            |segment, batch| {
                if let Some(marker) = self.note_replayed(&mut table, segment, batch, now)? {
                    table.end(&marker, now);
                }
                Ok(())
            },
        );
        if replayed.is_err() {
            return Ok(());
        }
        let mut aborted = self.producers.aborted.read().entries().to_vec();
        aborted.retain(|entry| (entry.last_offset as u64) < base);
        let snapshot = snapshot::encode(&table.entries());
        // Of some it tells what came later: then they have been heard of, too.
        let seen = self.producers.state.lock().table.seen();
        files.store(&self.home, &self.bases(), &Candidate { offset: base, snapshot, aborted, seen })
    }

    fn candidate(&self, state: &State, offset: u64) -> Candidate {
        let snapshot = snapshot::encode(&state.table.entries());
        let aborted = self.producers.aborted.read().entries().to_vec();
        Candidate { offset, snapshot, aborted, seen: state.table.seen() }
    }

    /// Forgets the aborted transactions of which nothing is left. Not under the append lock: it may wait for a manifest.
    fn trim_aborted(&self) {
        let bound = self.marks.log_start().max(self.void_below());
        self.producers.aborted.write().drop_below(bound);
    }

    fn bases(&self) -> Vec<u64> {
        self.segments.read().iter().map(|segment| segment.base()).collect()
    }

    /// Finds the producer state again, from the snapshots at these offsets and the log behind them. Before a file is
    /// opened `make_room` may close others.
    pub(super) fn load_producers(&self, snapshots: Vec<u64>, make_room: impl Fn()) -> Result<()> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let now = self.environment.clock().now().millis();
        let end = self.log_end();
        let mut files = self.producers.files.lock();
        files.found(&self.home, snapshots, end)?;
        self.producers.exist.store(true, Ordering::Release);
        let loaded = files.load(&self.home, now);
        files.rolled = self.active_segment().map_or(0, |active| active.base());
        let mut state = self.producers.state.lock();
        let (from, table, aborted) = loaded.unwrap_or((0, ProducerTable::default(), AbortedIndex::default()));
        state.table = table;
        *self.producers.aborted.write() = aborted;
        state.changed = from < end;
        self.walk_batches(from.max(self.log_start()), end, make_room, |segment, batch| {
            self.replay_batch(&mut state, segment, batch, now)
        })?;
        self.marks.set_first_unstable(state.table.first_unstable());
        drop(state);
        self.trim_aborted();
        Ok(())
    }

    /// A truncation has taken records away: the state is that of what is left.
    pub(super) fn reload_producers(&self) -> Result<()> {
        if !self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        // To close files is to wait for flushes of theirs, which wait for what the truncation holds.
        self.load_producers(super::open::snapshots_in(&self.home)?, || ())
    }

    fn replay_batch(&self, state: &mut State, segment: &Segment, batch: &BatchAt, now: i64) -> Result<()> {
        if let Some(marker) = self.note_replayed(&mut state.table, segment, batch, now)? {
            self.note_end(state, &marker, now);
        }
        Ok(())
    }

    /// Notes a batch of the log in a table; answers the marker that it is.
    fn note_replayed(
        &self,
        table: &mut ProducerTable,
        segment: &Segment,
        batch: &BatchAt,
        now: i64,
    ) -> Result<Option<Marker>> {
        let header = &batch.header;
        if header.producer_id < 0 {
            return Ok(None);
        }
        if !header.attributes.is_control() {
            if header.base_sequence >= 0 {
                table.note(header, now);
            }
            return Ok(None);
        }
        let records = segment.open()?;
        let start = batch.position + HEADER_LEN as u64;
        let bytes = records.read(start, (batch.end() - start) as usize)?;
        Ok(marker_of(header, &bytes))
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

    /// Every batch from the one that holds `from` up to `to`; `make_room` is called before each segment.
    fn walk_batches(
        &self,
        from: u64,
        to: u64,
        make_room: impl Fn(),
        mut visit: impl FnMut(&Arc<Segment>, &BatchAt) -> Result<()>,
    ) -> Result<()> {
        let gaps = self.manifest.lock().compacted;
        let mut next = from;
        let mut segment = self.segment_for(from);
        while let Some(here) = segment.filter(|_| next < to) {
            make_room();
            let mut position = here.seek(next, gaps)?;
            while let Some(batch) = here.batch_at(position)? {
                if batch.header.base_offset as u64 >= to {
                    return Ok(());
                }
                if batch.header.last_offset() as u64 >= from {
                    visit(&here, &batch)?;
                }
                position = batch.end();
                next = batch.header.last_offset() as u64 + 1;
            }
            self.note_opened();
            segment = self.segment_after(here.base());
            next = segment.as_ref().map_or(next, |segment| next.max(segment.base()));
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
fn marker_of(header: &BatchHeader, records: &[u8]) -> Option<Marker> {
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
