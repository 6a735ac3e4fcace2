//! What the append lock guards: the state that gives offsets.
//!
//! ```text
//!   InPlace: the tail, batches are built in the map   <--install/take_tail-->   Moving, Resting: appends wait
//!   Staged:  batches are staged, the writer has the tail  <-----------------------/
//! ```
//!
//! Invariants
//! - Nothing here blocks: no system call in place, a memory copy when staged.
//! - Each offset is given once, in the order of the calls.

use std::time::Duration;

use super::batch_in::{FinishedBatch, codec_of};
use super::budget::Budget;
use super::roll::Writer;
use super::settings::LogSettings;
use super::staging::Staging;
use crate::config::{Durability, TimestampType};
use crate::env::map::NextStore;
use crate::error::Error;
use crate::format::batch::{Attributes, BatchSpec};
use crate::segment::{NewRecord, OpenLimits, RestingTail, Tail, TailRoom};
use crate::types::TopicPartition;

/// What an append answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Appended {
    /// Offset of the (first) record.
    pub(crate) offset: u64,
    /// Its timestamp, in milliseconds since the epoch.
    pub(crate) timestamp: i64,
    /// Acknowledged already, at the topic's level.
    pub(crate) settled: bool,
}

/// What the append lock guards.
#[derive(Debug)]
pub(crate) struct Appender {
    mode: Mode,
    limits: OpenLimits,
    spec: BatchSpec,
    /// Greatest size of a record as encoded, in bytes.
    pub(super) max_record_size: u64,
    /// Greatest size of a batch, in bytes.
    max_batch_size: u64,
    /// Values of so many bytes are written by calls, as batches of their own.
    large_from: usize,
    /// The log is compacted: a record without a key could never be found again.
    pub(super) needs_key: bool,
    flush_after_ms: Option<i64>,
    /// Interval: appends wait once the oldest record that is not on the device is older than this.
    overdue_after_ms: i64,
    /// When the oldest record that no flush covers was appended, in milliseconds since the epoch.
    oldest_unflushed: Option<i64>,
    /// The same of those that are not on the device, whether or not a flush runs for them.
    oldest_at_risk: Option<i64>,
    /// Since the last publication somebody has asked to be woken at the next one.
    awaited: bool,
    stopped: Option<Stopped>,
}

#[derive(Debug)]
enum Mode {
    /// Batches are built in the map; this is the tail.
    InPlace(Tail),
    /// Batches are staged in memory; the writer has the tail.
    Staged(Staging),
    /// The tail is on its way from one segment to the next, in the hands of the write lock's holder.
    Moving(u64),
    /// Nobody has appended for a while: the writer has what is left of the tail.
    Resting(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stopped {
    /// For as long as the write lock's holder changes what appends depend on.
    Held,
    Poisoned,
    Closed,
    /// With its topic.
    Deleted,
}

/// What must happen before an append can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Prepare(u64),
    /// The segment with this base offset is full.
    Roll(u64),
    Moving,
    /// The segment's files may be closed.
    Resting,
    /// The record is large: it goes a way of its own.
    Large,
    /// No segment can hold the batch.
    TooLarge {
        size: u64,
        limit: u64,
    },
    /// Each record needs a key, and nobody has looked whether those of the batch have one.
    KeysUnseen,
    /// Staging memory is used up.
    Budget(u64),
    /// The interval has passed and the flush is not done.
    Overdue,
    Poisoned,
    Closed,
}

/// What the caller does after an append, without the lock.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aftermath {
    /// Due at this many milliseconds from now: the first record of a batch or of a flush interval.
    pub(super) due_in: Option<i64>,
    /// A sealed batch waits to be written.
    pub(super) write_out: bool,
    /// The prepared room runs low.
    pub(super) prepare: bool,
    /// Readers wait for what has been published.
    pub(super) awaited: bool,
}

impl Appender {
    /// An appender over the end of a log, which rests, and the writer that goes with it.
    pub(super) fn over(end: RestingTail, settings: &LogSettings, epoch: i32) -> (Appender, Writer) {
        let mut appender = Appender {
            mode: Mode::Resting(end.next_offset()),
            limits: limits(settings, epoch),
            spec: spec(settings, epoch),
            max_record_size: settings.max_record_size,
            max_batch_size: settings.segment_size,
            large_from: usize::MAX,
            needs_key: false,
            flush_after_ms: None,
            overdue_after_ms: i64::MAX,
            oldest_unflushed: None,
            oldest_at_risk: None,
            awaited: false,
            stopped: None,
        };
        appender.configure(settings, epoch);
        (appender, Writer::resting(end))
    }

    /// New settings, for the batches from now on.
    pub(super) fn configure(&mut self, settings: &LogSettings, epoch: i32) {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        self.limits = limits(settings, epoch);
        self.spec = spec(settings, epoch);
        self.max_record_size = settings.max_record_size;
        self.max_batch_size = settings.segment_size;
        self.large_from = settings.large_from();
        self.needs_key = settings.cleanup.policy.compacts();
        self.flush_after_ms = settings.flush_after().map(millis);
        self.overdue_after_ms = match settings.durability {
            Durability::Interval(d) => millis(d),
            _ => i64::MAX,
        };
    }

    /// Takes the tail out, to rest, if everything is sealed, written and flushed; appends wait until a tail is
    /// installed.
    pub(super) fn lie_down(&mut self, writer: &mut Writer) -> Option<Tail> {
        let quiet = match &self.mode {
            Mode::InPlace(tail) => !tail.is_building(),
            Mode::Staged(staging) => staging.is_empty() && writer.tail.is_some(),
            Mode::Moving(_) | Mode::Resting(_) => false,
        };
        if !quiet || self.oldest_unflushed.is_some() || self.stopped.is_some() {
            return None;
        }
        let next = self.next_offset();
        match std::mem::replace(&mut self.mode, Mode::Resting(next)) {
            Mode::InPlace(tail) => Some(tail),
            _ => writer.tail.take(),
        }
    }

    /// Puts the tail where the mode wants it.
    pub(super) fn install(&mut self, tail: Tail, in_place: bool, writer: &mut Writer) {
        if in_place {
            self.mode = Mode::InPlace(tail);
            return;
        }
        if !matches!(self.mode, Mode::Staged(_)) {
            self.mode = Mode::Staged(Staging::new(tail.next_offset()));
        }
        writer.tail = Some(tail);
    }

    /// Takes the tail out of an appender that builds in place, its open batch sealed.
    pub(super) fn take_tail(&mut self) -> Option<Tail> {
        let next = self.next_offset();
        if !matches!(self.mode, Mode::InPlace(_)) {
            return None;
        }
        match std::mem::replace(&mut self.mode, Mode::Moving(next)) {
            Mode::InPlace(mut tail) => {
                tail.seal();
                Some(tail)
            }
            other => {
                self.mode = other;
                None
            }
        }
    }

    /// Leaves staging if nothing is staged: appends wait until a tail is installed.
    pub(super) fn hold_if_drained(&mut self) -> bool {
        let drained = matches!(&self.mode, Mode::Staged(staging) if staging.is_empty());
        if drained {
            self.mode = Mode::Moving(self.next_offset());
        }
        drained
    }

    /// Appends wait until a tail is installed; the next offset will be `next`.
    pub(super) fn hold(&mut self, next: u64) {
        self.mode = Mode::Moving(next);
    }

    /// The tail, if batches are built in place.
    pub(super) fn tail_mut(&mut self) -> Option<&mut Tail> {
        match &mut self.mode {
            Mode::InPlace(tail) => Some(tail),
            _ => None,
        }
    }

    /// Notes where the next record will be stored, if it is built in place.
    #[inline]
    pub(super) fn note_next(&self, next: &NextStore) {
        if let Mode::InPlace(tail) = &self.mode {
            tail.note_next(next);
        }
    }

    /// The staging area, if batches are staged.
    pub(super) fn staging_mut(&mut self) -> Option<&mut Staging> {
        match &mut self.mode {
            Mode::Staged(staging) => Some(staging),
            _ => None,
        }
    }

    /// The offset the next record gets.
    pub(super) fn next_offset(&self) -> u64 {
        match &self.mode {
            Mode::InPlace(tail) => tail.next_offset(),
            Mode::Staged(staging) => staging.next_offset(),
            Mode::Moving(next) | Mode::Resting(next) => *next,
        }
    }

    /// Records wait in memory.
    pub(super) fn has_staged(&self) -> bool {
        matches!(&self.mode, Mode::Staged(staging) if !staging.is_empty())
    }

    /// Closes the open batch.
    pub(super) fn seal(&mut self, now: i64) {
        match &mut self.mode {
            Mode::InPlace(tail) => tail.seal(),
            Mode::Staged(staging) => staging.seal(now),
            Mode::Moving(_) | Mode::Resting(_) => {}
        }
    }

    /// When the oldest unflushed record was appended.
    pub(super) fn oldest_unflushed(&self) -> Option<i64> {
        self.oldest_unflushed
    }

    /// A flush begins: it covers what has been appended so far.
    pub(super) fn flush_begins(&mut self) {
        self.oldest_unflushed = None;
    }

    /// What lies below `flushed` is on the device: also what came between the flush's begin and its end.
    pub(super) fn flush_ends(&mut self, flushed: u64) {
        if self.next_offset() <= flushed {
            self.oldest_unflushed = None;
        }
        self.oldest_at_risk = self.oldest_unflushed;
    }

    /// A flush has failed without poison (the disk is full): what it was for is as old as before.
    pub(super) fn flush_postponed(&mut self, oldest: Option<i64>) {
        self.oldest_unflushed = match (self.oldest_unflushed, oldest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.oldest_at_risk = self.oldest_unflushed;
    }

    /// A reader waits for the next publication: whoever makes it wakes the reader.
    pub(super) fn await_publication(&mut self) {
        self.awaited = true;
    }

    /// What has been appended is published: takes over who waits for that.
    #[inline]
    fn published(&mut self, after: &mut Aftermath) {
        after.awaited = std::mem::take(&mut self.awaited);
    }

    /// Closes the open batch and makes appends wait for the write lock, whose holder calls this; answers whether
    /// that is to be [undone](Self::let_go) (else they are kept out already).
    pub(super) fn hold_back(&mut self, now: i64) -> bool {
        self.seal(now);
        let open = self.stopped.is_none();
        self.stopped.get_or_insert(Stopped::Held);
        open
    }

    /// Appends go on.
    pub(super) fn let_go(&mut self) {
        self.stopped.take_if(|stopped| *stopped == Stopped::Held);
    }

    /// No more appends: the partition is poisoned.
    pub(super) fn stop(&mut self) {
        if !matches!(self.stopped, Some(Stopped::Closed | Stopped::Deleted)) {
            self.stopped = Some(Stopped::Poisoned);
        }
    }

    /// No more appends: the partition is closed.
    pub(super) fn close(&mut self) {
        if self.stopped != Some(Stopped::Deleted) {
            self.stopped = Some(Stopped::Closed);
        }
    }

    /// No more appends: the topic is deleted.
    pub(super) fn delete(&mut self) {
        self.stopped = Some(Stopped::Deleted);
    }

    /// The error of a closed partition.
    pub(super) fn closed_error(&self, tp: &TopicPartition) -> Option<Error> {
        match self.stopped {
            Some(Stopped::Closed) => Some(Error::closed("the partition").in_partition(tp)),
            Some(Stopped::Deleted) => Some(Error::topic_deleted(tp.topic()).in_partition(tp)),
            Some(Stopped::Held | Stopped::Poisoned) | None => None,
        }
    }

    /// A large record has been written, and the tail is back.
    pub(super) fn written_large(&mut self, in_place: bool, now: i64) -> Aftermath {
        let due_in = (!in_place).then_some(self.limits.linger_ms);
        let mut after = Aftermath { due_in, ..Aftermath::default() };
        self.published(&mut after);
        self.note_unflushed(now, &mut after);
        after
    }

    /// No more appends: poisoned, or closed.
    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// The limits of the batches from now on.
    pub(super) fn limits(&self) -> OpenLimits {
        self.limits
    }

    /// Whether this record is better written by calls.
    #[inline]
    pub(super) fn goes_alone(&self, record: &NewRecord<'_>) -> bool {
        record.value.is_some_and(|value| value.len() >= self.large_from)
            && matches!(self.mode, Mode::InPlace(_) | Mode::Staged(_))
    }

    /// Whether something stands in the way of every append.
    pub(super) fn check(&self, now: i64) -> Result<(), Obstacle> {
        match self.stopped {
            None => {}
            Some(Stopped::Held) => return Err(Obstacle::Moving),
            Some(Stopped::Poisoned) => return Err(Obstacle::Poisoned),
            Some(Stopped::Closed | Stopped::Deleted) => return Err(Obstacle::Closed),
        }
        match self.oldest_at_risk {
            Some(oldest) if now.saturating_sub(oldest) > self.overdue_after_ms => Err(Obstacle::Overdue),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    pub(super) fn append(
        &mut self,
        record: &NewRecord<'_>,
        now: i64,
        budget: &Budget,
    ) -> Result<(Appended, Aftermath), Obstacle> {
        if self.stopped.is_some() || self.oldest_at_risk.is_some() {
            self.check(now)?;
        }
        let mut after = Aftermath::default();
        let (offset, settled) = match &mut self.mode {
            Mode::InPlace(tail) => {
                let offset = tail.push(record, now, self.limits).map_err(Obstacle::from)?;
                after.prepare = tail.runs_low();
                self.published(&mut after);
                (offset, true)
            }
            Mode::Staged(staging) => {
                let taken = staged_size(record);
                if !budget.try_take(taken) {
                    return Err(Obstacle::Budget(taken));
                }
                if staging.is_full_for(taken, self.limits.batch_size) {
                    staging.seal(now);
                }
                let (offset, opened) = staging.push(record, self.spec, now, taken, budget);
                if opened {
                    after.due_in = Some(self.limits.linger_ms);
                }
                after.write_out = staging.has_sealed();
                (offset, false)
            }
            Mode::Moving(_) => return Err(Obstacle::Moving),
            Mode::Resting(_) => return Err(Obstacle::Resting),
        };
        self.note_unflushed(now, &mut after);
        let timestamp = if self.limits.log_append_time { self.stamp(now) } else { record.timestamp };
        Ok((Appended { offset, timestamp, settled }, after))
    }

    /// The time of all records of the open batch: it was stamped when it was opened.
    fn stamp(&self, now: i64) -> i64 {
        let opened = match &self.mode {
            Mode::InPlace(tail) => tail.open_batch_time(),
            Mode::Staged(staging) => staging.opened_at(),
            Mode::Moving(_) | Mode::Resting(_) => None,
        };
        opened.unwrap_or(now)
    }

    #[inline]
    fn note_unflushed(&mut self, now: i64, after: &mut Aftermath) {
        if self.oldest_unflushed.is_none() {
            self.oldest_unflushed = Some(now);
            self.oldest_at_risk.get_or_insert(now);
            let due = [after.due_in, self.flush_after_ms].into_iter().flatten().min();
            after.due_in = due;
        }
    }

    pub(super) fn append_batch(
        &mut self,
        batch: &mut FinishedBatch,
        now: i64,
        budget: &Budget,
    ) -> Result<(Appended, Aftermath), Obstacle> {
        self.check(now)?;
        if batch.len() > self.max_batch_size {
            return Err(Obstacle::TooLarge { size: batch.len(), limit: self.max_batch_size });
        }
        if self.needs_key && !batch.is_keyed() {
            return Err(Obstacle::KeysUnseen);
        }
        let mut after = Aftermath::default();
        let epoch = self.limits.leader_epoch;
        let settled = match &mut self.mode {
            Mode::InPlace(tail) => {
                tail.seal();
                let span = batch.span(tail.next_offset());
                tail.room_for_batch(batch.len(), span, true).map_err(Obstacle::from)?;
                batch.place(tail.next_offset(), epoch);
                tail.store_batch(batch.bytes(), batch.header(), now).map_err(Obstacle::from)?;
                after.prepare = tail.runs_low();
                self.published(&mut after);
                true
            }
            Mode::Staged(staging) => {
                let taken = batch.len();
                if !budget.try_take(taken) {
                    return Err(Obstacle::Budget(taken));
                }
                batch.place(staging.next_offset(), epoch);
                let (bytes, header) = batch.exchange(budget.take_buffer());
                staging.push_batch(bytes, header, now, taken);
                after.write_out = true;
                // Nobody may wait for it: then the linger decides when it is written, or flushed.
                after.due_in = Some(self.limits.linger_ms);
                false
            }
            Mode::Moving(_) => return Err(Obstacle::Moving),
            Mode::Resting(_) => return Err(Obstacle::Resting),
        };
        self.note_unflushed(now, &mut after);
        let header = batch.header();
        let timestamp = header.max_timestamp;
        Ok((Appended { offset: header.base_offset as u64, timestamp, settled }, after))
    }
}

impl From<TailRoom> for Obstacle {
    fn from(room: TailRoom) -> Obstacle {
        match room {
            TailRoom::Prepare(end) => Obstacle::Prepare(end),
            TailRoom::Roll(base) => Obstacle::Roll(base),
        }
    }
}

fn limits(settings: &LogSettings, epoch: i32) -> OpenLimits {
    OpenLimits {
        batch_size: settings.batch_size,
        linger_ms: i64::try_from(settings.linger.as_millis()).unwrap_or(i64::MAX),
        log_append_time: settings.timestamp_type == TimestampType::LogAppend,
        leader_epoch: epoch,
    }
}

fn spec(settings: &LogSettings, epoch: i32) -> BatchSpec {
    let codec = codec_of(settings.compression);
    let attributes = Attributes::NONE.with_codec(codec);
    let attributes = match settings.timestamp_type {
        TimestampType::LogAppend => attributes.with_log_append_time(),
        TimestampType::Create => attributes,
    };
    BatchSpec { attributes, leader_epoch: epoch, ..BatchSpec::default() }
}

/// Bytes a record takes, at most: its encoding with the longest lengths and deltas.
#[inline]
fn staged_size(record: &NewRecord<'_>) -> u64 {
    const LONGEST_FIELDS: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
    let of = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record.headers.iter().map(|header| 10 + header.key.len() + of(header.value));
    (LONGEST_FIELDS + of(record.key) + of(record.value) + headers.sum::<usize>()) as u64
}
