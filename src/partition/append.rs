//! The append path: one record, or one finished batch, gets its offset.
//!
//! ```text
//!             in place                                staged
//!   record -> tail.push -> published, acknowledged    record -> staging.push -> (sealed -> written -> flushed)
//!     obstacle? prepare | roll | write out | wait for room: without the append lock, then again
//! ```
//!
//! Invariants
//! - Under the append lock nothing blocks: no system call in place, a memory copy when staged.
//! - An offset is given exactly once, in the order of the lock (a large record has the tail, and with it the next
//!   offset, to itself while it is written: `large.rs`).

use std::task::{Context, Poll};
use std::time::Duration;

use super::batch_in::FinishedBatch;
use super::log::Log;
use super::roll::Writer;
use super::settings::LogSettings;
use super::staging::Staging;
use crate::config::{Durability, TimestampType};
use crate::env::map::NextStore;
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{Attributes, BatchHeader, BatchSpec, HEADER_LEN};
use crate::segment::{NewRecord, OpenLimits, RestingTail, Tail, TailRoom};
use crate::sync::WaitKey;
use crate::types::TopicPartition;

/// How long an append may wait for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all: `Backpressure` at once.
    No,
    /// Until this point of the monotonic clock.
    Until(Duration),
}

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
    max_record_size: u64,
    /// Values of so many bytes are written by calls, as batches of their own.
    large_from: usize,
    /// The log is compacted: a record without a key could never be found again.
    needs_key: bool,
    flush_after_ms: Option<i64>,
    /// Interval: appends wait once the oldest unflushed record is older than this.
    overdue_after_ms: i64,
    /// When the oldest record that no flush covers was appended, in milliseconds since the epoch.
    oldest_unflushed: Option<i64>,
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
    Poisoned,
    Closed,
}

/// What must happen before an append can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    Prepare(u64),
    Roll,
    Moving,
    /// The segment's files may be closed.
    Resting,
    /// The record is large: it goes a way of its own.
    Large,
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
    due_in: Option<i64>,
    /// A sealed batch waits to be written.
    write_out: bool,
    /// The prepared room runs low.
    prepare: bool,
}

impl Appender {
    /// An appender over the end of a log, which rests, and the writer that goes with it.
    pub(super) fn over(end: RestingTail, settings: &LogSettings, epoch: i32) -> (Appender, Writer) {
        let mut appender = Appender {
            mode: Mode::Resting(end.next_offset()),
            limits: limits(settings, epoch),
            spec: spec(settings, epoch),
            max_record_size: settings.max_record_size,
            large_from: usize::MAX,
            needs_key: false,
            flush_after_ms: None,
            overdue_after_ms: i64::MAX,
            oldest_unflushed: None,
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

    /// A flush has failed without poison (the disk is full): what it was for is as old as before.
    pub(super) fn flush_postponed(&mut self, oldest: Option<i64>) {
        self.oldest_unflushed = match (self.oldest_unflushed, oldest) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// No more appends: the partition is poisoned.
    pub(super) fn stop(&mut self) {
        self.stopped.get_or_insert(Stopped::Poisoned);
    }

    /// No more appends: the partition is closed.
    pub(super) fn close(&mut self) {
        self.stopped = Some(Stopped::Closed);
    }

    /// The error of a closed partition.
    pub(super) fn closed_error(&self, tp: &TopicPartition) -> Option<Error> {
        (self.stopped == Some(Stopped::Closed)).then(|| Error::closed("the partition").in_partition(tp))
    }

    /// A large record has been written, and the tail is back.
    pub(super) fn written_large(&mut self, in_place: bool, now: i64) -> Aftermath {
        let due_in = (!in_place).then_some(self.limits.linger_ms);
        let mut after = Aftermath { due_in, ..Aftermath::default() };
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
    fn goes_alone(&self, record: &NewRecord<'_>) -> bool {
        record.value.is_some_and(|value| value.len() >= self.large_from)
            && matches!(self.mode, Mode::InPlace(_) | Mode::Staged(_))
    }

    /// Whether something stands in the way of every append.
    pub(super) fn check(&self, now: i64) -> std::result::Result<(), Obstacle> {
        match self.stopped {
            None => {}
            Some(Stopped::Poisoned) => return Err(Obstacle::Poisoned),
            Some(Stopped::Closed) => return Err(Obstacle::Closed),
        }
        match self.oldest_unflushed {
            Some(oldest) if now.saturating_sub(oldest) > self.overdue_after_ms => Err(Obstacle::Overdue),
            _ => Ok(()),
        }
    }

    #[inline]
    fn append(
        &mut self,
        record: &NewRecord<'_>,
        now: i64,
        budget: &super::Budget,
    ) -> std::result::Result<(Appended, Aftermath), Obstacle> {
        if self.stopped.is_some() || self.oldest_unflushed.is_some() {
            self.check(now)?;
        }
        let mut after = Aftermath::default();
        let (offset, settled) = match &mut self.mode {
            Mode::InPlace(tail) => {
                let offset = tail.push(record, now, self.limits).map_err(Obstacle::from)?;
                after.prepare = tail.runs_low();
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
            let due = [after.due_in, self.flush_after_ms].into_iter().flatten().min();
            after.due_in = due;
        }
    }

    fn append_batch(
        &mut self,
        batch: &mut FinishedBatch,
        now: i64,
        budget: &super::Budget,
    ) -> std::result::Result<(Appended, Aftermath), Obstacle> {
        self.check(now)?;
        let mut after = Aftermath::default();
        let epoch = self.limits.leader_epoch;
        let settled = match &mut self.mode {
            Mode::InPlace(tail) => {
                tail.seal();
                tail.room_for_batch(batch.len(), batch.count(), true).map_err(Obstacle::from)?;
                batch.place(tail.next_offset(), epoch);
                tail.store_batch(batch.bytes(), batch.header(), now).map_err(Obstacle::from)?;
                after.prepare = tail.runs_low();
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

/// Nobody waits for a marker to be flushed: it goes with the next flush, or after so many milliseconds.
const MARKER_LINGER_MS: i64 = 1000;

impl From<TailRoom> for Obstacle {
    fn from(room: TailRoom) -> Obstacle {
        match room {
            TailRoom::Prepare(end) => Obstacle::Prepare(end),
            TailRoom::Roll => Obstacle::Roll,
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
    let codec = super::batch_in::codec_of(settings.compression);
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

impl Log {
    /// Soon a record will be appended.
    #[inline]
    pub(crate) fn fetch(&self) {
        self.append.fetch();
    }

    /// Appends one record.
    #[inline]
    pub(crate) fn append(&self, record: &NewRecord<'_>, patience: Patience) -> Result<Appended> {
        let now = self.environment.clock().now().millis();
        self.append_at(record, now, patience)
    }

    /// Appends one record, at a time (in milliseconds since the epoch) that the caller has just looked up.
    #[inline]
    pub(crate) fn append_at(
        &self,
        record: &NewRecord<'_>,
        mut now: i64,
        patience: Patience,
    ) -> Result<Appended> {
        let mut may_go_alone = true;
        loop {
            let outcome = {
                let mut appender = self.append.in_turn();
                self.check_size(record, appender.max_record_size)?;
                if appender.needs_key && record.key.is_none() {
                    return Err(self.without_key());
                }
                if may_go_alone && appender.goes_alone(record) {
                    Err(Obstacle::Large)
                } else {
                    let outcome = appender.append(record, now, &self.budget);
                    self.append.moved(&appender);
                    outcome
                }
            };
            match outcome {
                Ok((appended, after)) => {
                    self.follow_up(&appended, after);
                    return Ok(appended);
                }
                Err(Obstacle::Large) => {
                    if let Some(appended) = self.append_large(record, now)? {
                        return Ok(appended);
                    }
                    may_go_alone = false;
                }
                Err(obstacle) => {
                    self.clear(obstacle, patience)?;
                    now = self.environment.clock().now().millis();
                }
            }
        }
    }

    /// Appends a batch that was encoded outside the lock; offset and epoch are patched in.
    /// Its memory is left to the caller; if the batch is staged, that of an earlier one.
    pub(crate) fn append_batch(&self, batch: &mut FinishedBatch, patience: Patience) -> Result<Appended> {
        self.check_batch(batch)?;
        loop {
            let now = self.environment.clock().now().millis();
            let outcome = self.append.lock().append_batch(batch, now, &self.budget);
            match outcome {
                Ok((appended, after)) => {
                    self.follow_up(&appended, after);
                    return Ok(appended);
                }
                Err(obstacle) => self.clear(obstacle, patience)?,
            }
        }
    }

    /// Appends a batch if `gate` lets it, which is asked under the append lock, with the offset that the batch
    /// would get; then, still under the lock, `after` hears the header as appended (or nothing, if it was not)
    /// and the time. Answers nothing where the gate did not let it.
    pub(super) fn append_gated(
        &self,
        batch: &mut FinishedBatch,
        patience: Patience,
        gate: impl Fn(&BatchHeader, u64) -> Result<bool>,
        after: impl Fn(Option<&BatchHeader>, i64),
    ) -> Result<Option<Appended>> {
        self.check_batch(batch)?;
        loop {
            let now = self.environment.clock().now().millis();
            let outcome = {
                let mut appender = self.append.lock();
                if !gate(batch.header(), appender.next_offset())? {
                    return Ok(None);
                }
                let outcome = appender.append_batch(batch, now, &self.budget);
                after(outcome.is_ok().then(|| batch.header()), now);
                outcome
            };
            match outcome {
                Ok((appended, mut aftermath)) => {
                    if batch.header().attributes.is_control() {
                        aftermath.due_in = aftermath.due_in.map(|due| due.max(MARKER_LINGER_MS));
                    }
                    self.follow_up(&appended, aftermath);
                    return Ok(Some(appended));
                }
                Err(obstacle) => self.clear(obstacle, patience)?,
            }
        }
    }

    /// Whether a batch may go into this log as it is.
    fn check_batch(&self, batch: &FinishedBatch) -> Result<()> {
        let settings = self.settings();
        let limit = settings.segment_size;
        if batch.len() > limit {
            return Err(self.too_large(batch.len(), limit));
        }
        if settings.cleanup.policy.compacts() && batch.lacks_a_key()? {
            return Err(self.without_key());
        }
        Ok(())
    }

    /// A record of a compacted log must have a key.
    pub(crate) fn check_key(&self, settings: &LogSettings, key: Option<&[u8]>) -> Result<()> {
        if key.is_none() && settings.cleanup.policy.compacts() { Err(self.without_key()) } else { Ok(()) }
    }

    /// A record must fit as a batch of its own.
    #[inline]
    fn check_size(&self, record: &NewRecord<'_>, limit: u64) -> Result<()> {
        const OVERHEAD: u64 = 128;
        let payload = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        if record.headers.is_empty() && (payload as u64) + OVERHEAD <= limit {
            return Ok(());
        }
        let size = HEADER_LEN as u64 + staged_size(record);
        if size <= limit { Ok(()) } else { Err(self.too_large(size, limit)) }
    }

    #[cold]
    fn without_key(&self) -> Error {
        let why = "the topic is compacted: each record needs a key";
        Error::invalid_argument(why).in_partition(&self.tp)
    }

    #[cold]
    fn too_large(&self, size: u64, limit: u64) -> Error {
        let kind = ErrorKind::RecordTooLarge { size, limit };
        Error::new(kind, format!("{size} bytes exceed the limit of {limit}")).in_partition(&self.tp)
    }

    /// What an append leaves to be done without the lock.
    #[inline]
    pub(super) fn follow_up(&self, appended: &Appended, after: Aftermath) {
        if appended.settled {
            self.readers.notify_after_publish();
        } else if after.write_out {
            self.write_if_free();
        } else if self.readers.has_waiters() {
            self.attendant.flush_soon();
        }
        if let Some(due_in) = after.due_in {
            self.attendant.due_at(self.monotonic() + Duration::from_millis(due_in.max(0) as u64));
        }
        if after.prepare {
            self.attendant.prepare_soon();
        }
    }

    /// Writes what is sealed, unless somebody is at it already. A full disk shows at the next append or at
    /// whoever waits for the acknowledgement; the batch stays queued.
    fn write_if_free(&self) {
        if let Some(mut writer) = self.writer.try_lock() {
            let _ = self.write_queue(&mut writer).map_err(|e| self.fail(e));
        }
    }

    /// Waits, as a task does, until no flush that appends must wait for is overdue; `key` is taken back by
    /// [`cancel_acked`](Log::cancel_acked).
    pub(crate) fn poll_on_time(&self, cx: &mut Context<'_>, key: &mut Option<WaitKey>) -> Poll<()> {
        if !self.is_overdue() {
            return Poll::Ready(());
        }
        self.acks.register(key, cx.waker());
        if !self.is_overdue() {
            return Poll::Ready(());
        }
        self.attendant.flush_soon();
        Poll::Pending
    }

    fn is_overdue(&self) -> bool {
        let now = self.environment.clock().now().millis();
        matches!(self.append.lock().check(now), Err(Obstacle::Overdue))
    }

    /// Removes what stood in the way of an append.
    #[cold]
    fn clear(&self, obstacle: Obstacle, patience: Patience) -> Result<()> {
        match obstacle {
            Obstacle::Prepare(end) => self.prepare_to(end),
            Obstacle::Roll => self.roll().map_err(|e| self.fail(e)),
            Obstacle::Moving | Obstacle::Large => {
                drop(self.writer.lock());
                Ok(())
            }
            Obstacle::Resting => self.wake(),
            Obstacle::Budget(bytes) => self.wait_for_room(bytes, patience),
            Obstacle::Overdue if patience == Patience::No => {
                self.attendant.flush_soon();
                Err(self.backpressure("the flush of the last interval is not done"))
            }
            Obstacle::Overdue => self.flush(),
            Obstacle::Poisoned => Err(self.poison.check(&self.tp).err().unwrap_or_else(|| self.closed())),
            Obstacle::Closed => Err(self.closed()),
        }
    }

    fn closed(&self) -> Error {
        Error::closed("the partition").in_partition(&self.tp)
    }

    fn backpressure(&self, why: &str) -> Error {
        Error::new(ErrorKind::Backpressure, why.to_string()).in_partition(&self.tp)
    }

    /// Staging memory is used up: write out our own batches, then wait for those of others. Where written batches
    /// stay in it, let go of what may go, then wait for more to be released.
    fn wait_for_room(&self, bytes: u64, patience: Patience) -> Result<()> {
        if self.is_bounded() && self.let_go_for(bytes)? {
            return Ok(());
        }
        if patience == Patience::No {
            self.attendant.flush_soon();
            let what = if self.is_bounded() { "the topic's memory" } else { "staging memory" };
            return Err(self.backpressure(&format!("{what} is used up")));
        }
        self.seal_and_write()?;
        let Patience::Until(deadline) = patience else { return Ok(()) };
        let mut room = RoomWait { log: self, bytes, key: None };
        let now = || self.monotonic();
        let left = deadline.saturating_sub(now());
        match crate::sync::block_on_for(&mut room, left, &now) {
            Some(()) => Ok(()),
            None => Err(self.backpressure("no memory came free within max_block")),
        }
    }
}

/// Waits until there may be room for `bytes` more.
struct RoomWait<'a> {
    log: &'a Log,
    bytes: u64,
    key: Option<WaitKey>,
}

impl RoomWait<'_> {
    fn done(&self) -> bool {
        self.log.may_have_room(self.bytes) || self.log.check_open().is_err()
    }
}

impl Future for RoomWait<'_> {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.done() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        this.log.budget.waiters().register(&mut this.key, cx.waker());
        if this.done() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for RoomWait<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.log.budget.waiters().cancel(key);
        }
    }
}
