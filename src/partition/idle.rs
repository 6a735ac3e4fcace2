//! Partitions that nobody uses: their end rests, and their files are closed.
//!
//! ```text
//!   growing -- nobody has appended for a while, everything flushed --> at rest -- files wanted --> closed
//!      ^        (unused room is given back)                                                           |
//!      +------------------------- wake: the next append, roll or truncation --------------------------+
//! ```
//!
//! Invariants
//! - A segment's files are closed only after a successful flush of all they hold; a partition whose flush
//!   has failed is poisoned, and keeps them.
//! - Nothing is closed under a view, a reader or an append; who finds it closed opens it again.
//! - A failure to open a file again is told to who wanted it and changes nothing: the next one tries again.

use std::sync::Arc;
use std::time::Duration;

use super::log::Log;
use super::roll::Writer;
use crate::error::Result;
use crate::segment::Segment;

/// After this time without an append the end of a partition rests.
const IDLE: Duration = Duration::from_secs(10);

/// A segment whose files are open, and when they were last used.
#[derive(Debug)]
pub(crate) struct Idle {
    log: Arc<Log>,
    segment: Arc<Segment>,
    /// The greater, the later.
    pub(crate) last_used: u64,
}

impl Idle {
    /// Closes the segment's files, after a flush if they hold anything unflushed, unless somebody uses them;
    /// answers whether they are closed.
    pub(crate) fn close(&self) -> Result<bool> {
        self.log.close_segment(&self.segment)
    }
}

impl Log {
    /// The segments whose files are open now.
    pub(crate) fn open_segments(self: &Arc<Self>, found: &mut Vec<Idle>) {
        if self.home.open_here() == 0 {
            return;
        }
        let segments = self.segments.read();
        let open = segments.iter().filter(|segment| segment.opened().is_some());
        found.extend(open.map(|segment| Idle {
            log: self.clone(),
            segment: segment.clone(),
            last_used: segment.last_used(),
        }));
    }

    /// A file is about to be opened: if there are far too many, some are closed first. The caller holds no lock
    /// of a partition.
    #[inline]
    pub(super) fn make_room(&self) {
        if self.home.open_segments().is_overcrowded() {
            self.attendant.close_idle_now();
        }
    }

    /// A file may have been opened: if there are too many now, some are closed in the background.
    #[inline]
    pub(super) fn note_opened(&self) {
        if self.home.open_segments().is_crowded() {
            self.attendant.close_idle_soon();
        }
    }

    /// The end is to grow again.
    pub(super) fn wake(&self) -> Result<()> {
        self.make_room();
        let mut writer = self.writer.lock();
        self.check_open()?;
        self.wake_in(&mut writer)?;
        drop(writer);
        self.note_opened();
        Ok(())
    }

    /// As [`wake`](Self::wake), in the hands of the write lock's holder; nothing if it grows.
    pub(super) fn wake_in(&self, writer: &mut Writer) -> Result<()> {
        let Some(end) = &writer.resting else { return Ok(()) };
        let tail = end.wake().map_err(|e| e.in_partition(&self.tp))?;
        writer.resting = None;
        self.checkpointed.lock().grows();
        let in_place = self.settings().builds_in_place();
        self.append.lock().install(tail, in_place, writer);
        Ok(())
    }

    /// Lets the end rest if nobody has appended for a while; answers when it may, if not yet.
    pub(super) fn rest_if_idle(&self) -> Result<Option<Duration>> {
        let Some(mut writer) = self.writer.try_lock() else { return Ok(Some(IDLE)) };
        if writer.resting.is_some() {
            return Ok(None);
        }
        let Some(active) = self.active_segment() else { return Ok(None) };
        let Some(last) = active.times().last() else { return Ok(None) };
        let now = self.environment.clock().now().millis();
        let since = Duration::from_millis(now.saturating_sub(last.millis()).max(0) as u64);
        if since < IDLE {
            return Ok(Some(IDLE - since));
        }
        self.rest(&mut writer).map(|_| None)
    }

    /// Lets the end rest if everything is flushed; answers whether it does.
    fn rest(&self, writer: &mut Writer) -> Result<bool> {
        if writer.resting.is_some() {
            return Ok(true);
        }
        let taken = {
            let mut appender = self.append.lock();
            let staged = appender.staging_mut().is_some();
            let flushed = self.flushed() >= appender.next_offset();
            let tail = if flushed { appender.lie_down(writer) } else { None };
            tail.map(|tail| (tail, staged))
        };
        let Some((mut tail, staged)) = taken else { return Ok(false) };
        if let Err(e) = tail.give_up_room() {
            self.append.lock().install(tail, !staged, writer);
            return Err(e);
        }
        writer.resting = Some(tail.rest());
        Ok(true)
    }

    fn close_segment(&self, segment: &Arc<Segment>) -> Result<bool> {
        if self.is_poisoned() {
            return Ok(false);
        }
        if self.flushed() < self.appended_end() {
            self.flush()?;
        }
        if !segment.is_closed() {
            // Whoever holds the lock is using it.
            let Some(mut writer) = self.writer.try_lock() else { return Ok(false) };
            if !self.rest(&mut writer).map_err(|e| self.fail(e))? {
                return Ok(false);
            }
        }
        // The cut of its unused room, and the end of a segment that no flush has passed yet.
        segment
            .finish_close()
            .and_then(|()| segment.sync(segment.sealed_end()?, self.way()))
            .map_err(|e| self.fail(e))?;
        segment.try_close().map_err(|e| self.fail(e))
    }
}
