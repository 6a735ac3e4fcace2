//! The write lock's side: writing staged batches, and moving from one segment to the next.
//!
//! Invariants
//! - Staged batches are written in the order of their offsets; a batch leaves the queue once written.
//! - A roll that fails on a full disk leaves the old segment active: the next append tries again.
//! - The new segment is in the list before anything is published in it, and the old one has its end.

use std::sync::Arc;
use std::time::Duration;

use super::flush::FlushPoint;
use super::log::Log;
use super::settings::LogSettings;
use super::staging::StagedBatch;
use crate::config::Durability;
use crate::env::OpenMode;
use crate::env::map::Mark;
use crate::error::{Error, ErrorKind, Result};
use crate::segment::{ActiveSettings, FileKind, LiveIndex, Reach, RestingTail, Segment, Tail, TailRoom, Way};
use crate::telemetry;

/// What the write lock guards: the tail, while batches are staged.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(super) tail: Option<Tail>,
    /// What is left of the tail, while nobody appends.
    pub(super) resting: Option<RestingTail>,
}

impl Writer {
    pub(super) fn resting(end: RestingTail) -> Writer {
        Writer { tail: None, resting: Some(end) }
    }
}

/// Appends wait for the write lock.
struct HeldBack<'a> {
    log: &'a Log,
    undo: bool,
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        if self.undo {
            self.log.append.lock().let_go();
        }
    }
}

/// Batches up to this many bytes are too small for the cost of a sync to be lost in them.
const SMALL_BATCH: u64 = 128 << 10;

impl Log {
    /// Seals the open batch and writes everything staged.
    pub(crate) fn seal_and_write(&self) -> Result<()> {
        let now = self.environment.clock().now().millis();
        self.append.lock().seal(now);
        let mut writer = self.writer.lock();
        self.write_queue(&mut writer).map_err(|e| self.fail(e))
    }

    /// Writes the batches that are sealed now, oldest first. (Who waits for the end of this is not made to wait for
    /// those that others send meanwhile.)
    pub(super) fn write_queue(&self, writer: &mut Writer) -> Result<()> {
        let mut end = None;
        self.write_staged_while(writer, || {
            let mut appender = self.append.lock();
            let end = *end.get_or_insert(appender.next_offset());
            appender.staging_mut()?.pop_below(end)
        })
    }

    /// Writes sealed batches, oldest first, for as long as there are any.
    pub(super) fn write_whole_queue(&self, writer: &mut Writer) -> Result<()> {
        self.write_staged_while(writer, || self.append.lock().staging_mut()?.pop())
    }

    fn write_staged_while(
        &self,
        writer: &mut Writer,
        mut next: impl FnMut() -> Option<StagedBatch>,
    ) -> Result<()> {
        while let Some(batch) = next() {
            self.poison.check(&self.tp)?;
            self.write_staged(writer, batch)?;
            if self.settings().durability != Durability::Sync {
                self.readers.notify_after_publish();
                self.acks.notify_after_publish();
            }
        }
        Ok(())
    }

    fn write_staged(&self, writer: &mut Writer, mut batch: StagedBatch) -> Result<()> {
        match self.try_write(writer, &mut batch) {
            Ok(len) => {
                self.batch_written(batch.taken, len);
                self.budget.keep_buffer(batch.into_buffer());
                Ok(())
            }
            Err(e) => {
                if let Some(staging) = self.append.lock().staging_mut() {
                    staging.put_back(batch);
                }
                Err(e)
            }
        }
    }

    /// Answers how many bytes the batch takes in the segment.
    fn try_write(&self, writer: &mut Writer, batch: &mut StagedBatch) -> Result<u64> {
        let (sealed_at, end) = (batch.sealed_at, batch.base_offset + batch.count);
        let level = self.settings().compression.level();
        let (bytes, header) = batch.finish(level)?;
        let len = bytes.len() as u64;
        let Some(tail) = &writer.tail else { return Err(Error::closed("the partition")) };
        // A follower's may begin behind the log's end.
        let span = end.saturating_sub(tail.next_offset());
        let full = matches!(tail.room_for_batch(len, span, false), Err(TailRoom::Roll(_)));
        if full || self.is_aged(tail) {
            // Staged it stays: leaving staging would write the batches behind this one first.
            self.roll_into(writer, false)?;
        }
        let Some(tail) = &mut writer.tail else { return Err(Error::closed("the partition")) };
        tail.segment().prepare(tail.end() + len, Way::Written, Reach::Need, self.monotonic())?;
        if len <= SMALL_BATCH && self.settings().durability == Durability::Sync {
            tail.segment().write_zeros_ahead(tail.end(), tail.end() + len)?;
        }
        tail.write_batch(bytes, header, sealed_at).map(|()| len)
    }

    /// Whether the active segment is older than its topic allows.
    fn is_aged(&self, tail: &Tail) -> bool {
        let age = self.settings().segment_age;
        let now = self.environment.clock().now();
        let first = tail.segment().times().first();
        !tail.is_empty() && first.is_some_and(|first| older_than(first.millis(), now.millis(), age))
    }

    /// Rolls because the segment with the base offset `full` is, unless somebody else has just done it.
    pub(super) fn roll(&self, full: u64) -> Result<()> {
        let mut writer = self.writer.lock();
        self.check_open()?;
        if self.active_segment().is_some_and(|active| active.base() != full) {
            return Ok(()); // another sender has met the full segment, too, and was faster
        }
        if writer.tail.is_some() {
            return Ok(()); // staged by now: the batch is rolled for when it is written
        }
        self.roll_locked(&mut writer)
    }

    /// Rolls if the active segment is old, also without traffic; answers when it will be, if it is not yet.
    pub(super) fn roll_if_aged(&self) -> Result<Option<Duration>> {
        let Some(active) = self.active_segment() else { return Ok(None) };
        if active.published().position == 0 {
            return Ok(None);
        }
        active.load_times()?;
        let Some(first) = active.times().first() else { return Ok(None) };
        let now = self.environment.clock().now().millis();
        let age = self.settings().segment_age;
        if !older_than(first.millis(), now, age) {
            let so_far = Duration::from_millis(now.saturating_sub(first.millis()).max(0) as u64);
            return Ok(Some(age.saturating_sub(so_far).saturating_add(Duration::from_millis(1))));
        }
        let mut writer = self.writer.lock();
        self.check_open()?;
        self.write_queue(&mut writer)?;
        self.roll_locked(&mut writer)?;
        Ok(None)
    }

    /// Closes the active segment and opens the next, in the mode that the settings want.
    pub(super) fn roll_locked(&self, writer: &mut Writer) -> Result<()> {
        let in_place = self.settings().builds_in_place();
        self.roll_into(writer, in_place)
    }

    fn roll_into(&self, writer: &mut Writer, in_place: bool) -> Result<()> {
        self.wake_in(writer)?;
        let settings = self.settings();
        let was_in_place = writer.tail.is_none();
        let taken = match writer.tail.take() {
            Some(tail) if in_place => Some(self.drain(writer, tail)?),
            Some(tail) => Some(tail),
            None => self.append.lock().take_tail(),
        };
        let Some(mut old) = taken else { return Err(Error::closed("the partition")) };
        old.seal();
        match self.next_tail(&mut old, &settings) {
            Ok(tail) => {
                let closed = old.segment().clone();
                drop(old);
                // An empty one has been replaced, over the same files: they are the new one's.
                let replaced = closed.base() == tail.segment().base();
                if !replaced {
                    closed.grows_no_more();
                }
                let base = tail.next_offset();
                self.append.lock().install(tail, in_place, writer);
                telemetry::rolled(&self.tp, base);
                self.note_opened();
                if settings.durability == Durability::Memory && !self.is_bounded() {
                    // Nobody waits for it: so that recovery stays short.
                    self.flush_soon(base);
                }
                if replaced {
                    return Ok(());
                }
                match closed.close() {
                    // The flush that passes it tries again.
                    Err(e) if e.kind() == ErrorKind::StorageFull => Ok(()),
                    closed => closed,
                }
            }
            Err(e) => {
                // The old segment goes on as it was; only a full disk leaves it usable, the caller knows.
                old.segment().grows_on();
                self.append.lock().install(old, was_in_place, writer);
                Err(e)
            }
        }
    }

    /// Writes everything staged and holds further appends back, so that the tail can leave staging.
    pub(super) fn drain(&self, writer: &mut Writer, tail: Tail) -> Result<Tail> {
        writer.tail = Some(tail);
        let _held = self.hold_back();
        self.write_queue(writer)?;
        if self.append.lock().hold_if_drained() {
            return writer.tail.take().ok_or_else(|| Error::closed("the partition"));
        }
        Err(Error::closed("the partition"))
    }

    /// Closes the open batch and makes appends wait, until what is answered is dropped, for the write lock, which the
    /// caller holds: those who send on and on would never let it come to the end of what is staged.
    fn hold_back(&self) -> HeldBack<'_> {
        let now = self.environment.clock().now().millis();
        let undo = self.append.lock().hold_back(now);
        HeldBack { log: self, undo }
    }

    fn next_tail(&self, old: &mut Tail, settings: &LogSettings) -> Result<Tail> {
        if old.is_empty() {
            // Nothing in it: the same segment serves the new mode. Its room goes before anybody appends to the new one.
            old.give_up_room()?;
            let next = self.tail_over(old.next_offset(), settings, OpenMode::ReadWrite);
            return next.or_else(|e| old.cut_room().and(Err(e)));
        }
        old.segment().set_end(old.end());
        let next = self.tail_over(old.next_offset(), settings, OpenMode::CreateIfMissing);
        next.or_else(|e| {
            old.segment().grows_on();
            // An empty segment amid the log would cut it in two.
            let removed = self.home.unlink(&[self.home.path(FileKind::Log, old.next_offset())]);
            removed.map_err(|e| self.fail_for_good(e))?;
            Err(e)
        })
    }

    /// A tail over the empty segment with base offset `base`, which joins (or replaces the last of) the list.
    pub(super) fn tail_over(&self, base: u64, settings: &LogSettings, mode: OpenMode) -> Result<Tail> {
        self.new_tail(base, settings, mode).inspect_err(|_| {
            if mode != OpenMode::ReadWrite {
                self.discard_log_file(base);
            }
        })
    }

    /// Removes the file of a segment that could not be made: the one before goes on, and grows beyond it.
    fn discard_log_file(&self, base: u64) {
        self.home.changed();
        if let Err(e) = self.home.unlink(&[self.home.path(FileKind::Log, base)]) {
            self.fail_for_good(e);
        }
    }

    fn new_tail(&self, base: u64, settings: &LogSettings, mode: OpenMode) -> Result<Tail> {
        let file = self.home.open(FileKind::Log, base, mode)?;
        let path = self.home.path(FileKind::Log, base);
        if mode != OpenMode::ReadWrite {
            // What an interrupted roll or a truncation left under this name was never acknowledged.
            file.set_size(0).map_err(|e| Error::io("empty a new segment", &path, e))?;
            self.home.changed();
        }
        let (segment, writer) = Segment::active(
            &self.home,
            base,
            file,
            Mark { position: 0, delta: 0 },
            0,
            LiveIndex::new(settings.index_interval, settings.index_size),
            ActiveSettings { max_len: settings.segment_size, index: settings.index() },
        )?;
        {
            let mut segments = self.segments.write();
            if segments.last().is_some_and(|last| last.base() == base) {
                segments.pop();
            } else if let Some(last) = segments.last() {
                self.counts.carry(last.published().position.into());
            }
            segments.push(segment.clone());
        }
        if self.commit.last().segment.base() == base {
            // It would keep the files of the one just replaced open, which holds nothing.
            self.commit.set_last(FlushPoint { segment: segment.clone(), position: 0, offset: base });
        }
        Ok(self.finish_tail(Tail::new(segment, writer, 0, base, settings.segment_size)))
    }

    pub(super) fn finish_tail(&self, tail: Tail) -> Tail {
        match &self.cell {
            Some(cell) => tail.with_cell(cell.clone(), self.topic_id, self.tp.partition()),
            None => tail,
        }
    }

    /// Prepares the active segment up to `end`, for stores through the map.
    pub(super) fn prepare_to(&self, end: u64) -> Result<()> {
        let Some(active) = self.active_segment() else { return Err(Error::closed("the partition")) };
        match active.prepare(end, Way::Stored, Reach::Need, self.monotonic()) {
            Err(e) if cannot_prefault(&e) => self.leave_the_map(),
            other => other.map_err(|e| self.fail(e)),
        }
    }

    /// Pages cannot be made present here: from now on batches are staged and written.
    fn leave_the_map(&self) -> Result<()> {
        let mut settings = (*self.settings()).clone();
        settings.in_place = false;
        self.change_settings(settings)
    }

    /// Prepares room ahead of the writer, in the background.
    pub(crate) fn prepare_ahead(&self) -> Result<()> {
        let settings = self.settings();
        let Some(active) = self.active_segment() else { return Ok(()) };
        if !settings.builds_in_place() || self.is_poisoned() {
            return Ok(());
        }
        // At rest it needs no room.
        let Some(open) = active.opened() else { return Ok(()) };
        if u64::from(open.map().published().position) <= active.low_water() {
            return Ok(()); // it was asked for while it was being made
        }
        let need = (open.map().prepared() + 1).min(settings.segment_size);
        match active.prepare(need, Way::Stored, Reach::Ahead, self.monotonic()) {
            // The writer meets the full disk itself, with the exact need.
            Err(e) if e.kind() == ErrorKind::StorageFull || cannot_prefault(&e) => Ok(()),
            other => other.map_err(|e| self.fail(e)),
        }
    }

    /// Replaces the settings: the open batch is closed first, and a level is raised only over flushed records.
    pub(crate) fn change_settings(&self, settings: LogSettings) -> Result<()> {
        self.flush()?;
        let mut writer = self.writer.lock();
        self.poison.check(&self.tp)?;
        // Others may have appended during the flush.
        let held = self.hold_back();
        self.write_queue(&mut writer).map_err(|e| self.fail(e))?;
        let before = self.settings();
        self.put_settings(Arc::new(settings.clone()));
        let moves = before.builds_in_place() != settings.builds_in_place();
        if moves || before.segment_size != settings.segment_size || before.index() != settings.index() {
            if let Err(e) = self.roll_locked(&mut writer) {
                // What was built in place must not pass for what the new level promises.
                self.put_settings(before);
                return Err(self.fail(e));
            }
        }
        self.mark_level(&settings);
        drop(held);
        drop(writer);
        // Ages may be shorter than those that the timer was set by.
        self.attendant.due_at(self.monotonic());
        if settings.durability == Durability::Sync {
            return self.flush();
        }
        self.readers.notify_after_publish();
        self.acks.notify_after_publish();
        Ok(())
    }

    fn put_settings(&self, settings: Arc<LogSettings>) {
        *self.settings.write() = settings.clone();
        let epoch = self.leader_epoch();
        self.append.lock().configure(&settings, epoch);
    }

    /// Says up to where records are acknowledged at the new level, before anybody appends at it.
    fn mark_level(&self, settings: &LogSettings) {
        if settings.durability == Durability::Sync {
            self.marks.cap_at_flushed();
        } else if !self.is_poisoned() {
            self.marks.uncap();
        }
    }
}

fn older_than(first: i64, now: i64, age: Duration) -> bool {
    u128::try_from(now.saturating_sub(first)).is_ok_and(|elapsed| elapsed > age.as_millis())
}

fn cannot_prefault(e: &Error) -> bool {
    let source = std::error::Error::source(e).and_then(|s| s.downcast_ref::<std::io::Error>());
    source.is_some_and(|io| io.kind() == std::io::ErrorKind::Unsupported)
}
