//! Large records: each is a batch of its own, written by calls from the caller's bytes.
//!
//! ```text
//!   tail taken from its mode -> header, record without its value (built here) | value (the caller's) | headers
//!     -> published -> tail given back
//! ```
//!
//! Such a record is not copied into a batch first, and its pages are neither filled with zeros nor made present
//! before they are written. It is summed up and written piece by piece; where it must be durable the device has begun
//! with a piece while the next one is summed up.
//!
//! Invariants
//! - The tail is taken as for a roll: while it is away appends wait for the write lock, none is overtaken.
//! - Nothing is written under the append lock; published it is under that lock, unless appends have been stopped.
//! - Where something stands in the way (the segment is full, somebody else writes), nothing of the record has
//!   happened, and it goes the way of all others.

use super::appender::{Aftermath, Appended};
use super::log::Log;
use super::roll::Writer;
use crate::config::Durability;
use crate::error::Result;
use crate::segment::{LargeRecord, NewRecord, Reach, Tail, Way};

impl Log {
    /// Appends a record as a batch of its own, if nothing stands in the way.
    #[cold]
    pub(super) fn append_large(&self, record: &NewRecord<'_>, now: i64) -> Result<Option<Appended>> {
        let Some(mut writer) = self.writer.try_lock() else { return Ok(None) };
        let Some((mut tail, in_place)) = self.take_tail(&mut writer, now) else { return Ok(None) };
        let offset = tail.next_offset();
        let written = self.write_large(&mut tail, in_place, record, now);
        let (after, stopped) = {
            let mut appender = self.append.lock();
            let stopped = appender.is_stopped();
            let after = match &written {
                Ok(Some(large)) if !stopped => {
                    tail.append_large(large, now);
                    appender.written_large(in_place, now)
                }
                _ => Aftermath::default(),
            };
            appender.install(tail, in_place, &mut writer);
            (after, stopped)
        };
        drop(writer);
        let Some(large) = written? else { return Ok(None) };
        if stopped {
            return Ok(None); // the way of all others tells why
        }
        let settled = self.settings().durability != Durability::Sync;
        let appended = Appended { offset, timestamp: large.timestamp(), settled };
        self.follow_up(&appended, after);
        Ok(Some(appended))
    }

    /// Takes the tail out of its mode, everything before it written; appends wait until it is installed again.
    fn take_tail(&self, writer: &mut Writer, now: i64) -> Option<(Tail, bool)> {
        {
            let mut appender = self.append.lock();
            appender.check(now).ok()?;
            if let Some(tail) = appender.take_tail() {
                return Some((tail, true));
            }
            appender.seal(now);
        }
        // A failure concerns those who have staged these batches; it shows at their next step, and here.
        self.write_queue(writer).map_err(|e| self.fail(e)).ok()?;
        let mut appender = self.append.lock();
        let held = writer.tail.is_some() && appender.check(now).is_ok() && appender.hold_if_drained();
        if held { writer.tail.take().map(|tail| (tail, false)) } else { None }
    }

    /// Writes the record behind the tail's end; nothing where it does not fit.
    fn write_large<'a>(
        &self,
        tail: &mut Tail,
        in_place: bool,
        record: &NewRecord<'a>,
        now: i64,
    ) -> Result<Option<LargeRecord<'a>>> {
        let limits = self.append.lock().limits();
        let mut large = LargeRecord::new(record, tail.next_offset(), now, limits);
        let Some(end) = tail.end_of_large(&large) else { return Ok(None) };
        let segment = tail.segment();
        if in_place {
            if !segment.reserve(end).map_err(|e| self.fail(e))? {
                return Ok(None);
            }
        } else {
            let prepared = segment.prepare(end, Way::Written, Reach::Need, self.monotonic());
            prepared.map_err(|e| self.fail(e))?;
        }
        let to_device = self.settings().durability == Durability::Sync;
        match tail.write_large(&mut large, to_device) {
            Ok(()) => Ok(Some(large)),
            // Stores through the map must find zeros that are present, as everywhere, and recovery no records that
            // nobody has sent.
            Err(error) if tail.cut_room().is_err() => Err(self.fail_for_good(error)),
            Err(error) => Err(self.fail(error)),
        }
    }
}
