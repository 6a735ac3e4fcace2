//! Finding a batch: the indexes are hints, the log is the truth.
//!
//! ```text
//!   index:  ... | (last offset 41, position 8192) | (last offset 97, position 12288) | ...
//!   offset 60:   the batch at 12288 ends at 97 and begins at or before 60? -- yes: it is the one
//!     -- no: the batch at 8192 ends at 41? -- yes: walk on from there, batch by batch
//!                                          -- no: the entry lies; walk from the start of the segment
//! ```
//!
//! Invariants
//! - An entry is believed only if the batch that it names is as it says. Neither index has a checksum; the
//!   entries of a closed segment are counted (in its file of append times), so that a lost end shows.
//! - Unless there may be gaps, each batch met on the way begins where the one before ended.

use super::index::{Around, LiveIndex};
use super::open_segment::OpenSegment;
use super::segment::{BatchAt, Index, Segment};
use crate::error::Result;
use crate::format::index::{OffsetEntry, TimeEntry};
use crate::sync::atomic::Ordering;

/// What a time index says of a timestamp.
#[derive(Clone, Copy, Debug)]
enum TimeHint {
    /// Every record is older; the newest is this one's.
    AllOlder(Option<TimeEntry>),
    /// The first record as new lies behind this entry's batch, or anywhere if there is no entry.
    Behind(Option<TimeEntry>),
}

impl Segment {
    /// The position of the batch that holds `offset`, or of the first one behind it. `gaps`: the log was
    /// compacted.
    pub(crate) fn seek(&self, offset: u64, gaps: bool) -> Result<u64> {
        self.seek_in(&*self.open()?, offset, gaps)
    }

    /// As [`seek`](Self::seek), where the segment has been opened already.
    pub(crate) fn seek_in(&self, open: &OpenSegment, offset: u64, gaps: bool) -> Result<u64> {
        let Some(delta) = offset.checked_sub(self.base) else {
            return self.walk(open, 0, self.base, offset, gaps);
        };
        let around = self.entries_around(u32::try_from(delta).unwrap_or(u32::MAX))?;
        if let Some(nearest) = around.before.or(around.after) {
            open.jump_to(nearest.position.into());
        }
        if let Some((after, first)) = self.neighbours(around) {
            if let Some(number) = u32::try_from(delta).ok().and_then(|delta| delta.checked_sub(first)) {
                open.fetch_ahead(after.position.into(), number);
            }
            // The batch says twice, and the entry once more, that the offset is in it.
            let holds =
                self.entry_batch(open, after).filter(|batch| batch.header.base_offset as u64 <= offset);
            if let Some(batch) = holds {
                return Ok(batch.position);
            }
        }
        // The batch behind one that ends before is met, and must begin where that ends.
        if let Some(batch) = around.before.and_then(|entry| self.entry_batch(open, entry)) {
            return self.walk(open, batch.position, batch.header.base_offset as u64, offset, gaps);
        }
        self.walk(open, 0, self.base, offset, gaps)
    }

    /// The second of two entries, if they may be those of batches side by side (which have one each where batches are
    /// larger than the interval between entries), and the offset where its batch begins then.
    fn neighbours(&self, around: Around) -> Option<(OffsetEntry, u32)> {
        let Around { before: Some(before), after: Some(after) } = around else { return None };
        let far = u64::from(after.position.saturating_sub(before.position)) >= 2 * self.index_settings.0;
        far.then_some((after, before.delta.saturating_add(1)))
    }

    /// The offset to scan from for the first record at or after `timestamp`; `None` if all are older. A closed
    /// segment ends at the offset `end`.
    pub(crate) fn offset_for_time(
        &self,
        timestamp: i64,
        end: Option<u64>,
        gaps: bool,
    ) -> Result<Option<u64>> {
        let hint = self.time_hint(timestamp)?;
        if self.is_believed(hint, end, gaps)? {
            return Ok(self.start_of(hint));
        }
        if end.is_none() {
            return Ok(Some(self.base()));
        }
        self.rebuild_vouched(end, gaps)?;
        Ok(self.start_of(self.time_hint(timestamp)?))
    }

    /// The newest timestamp in a closed segment, which ends at the offset `end`; the least there is if it holds no
    /// batch.
    pub(crate) fn newest_time(&self, end: u64, gaps: bool) -> Result<i64> {
        if let Some(known) = *self.newest_time.lock() {
            return Ok(known);
        }
        let mut newest = self.newest_indexed()?;
        if !self.is_believed(TimeHint::AllOlder(newest), Some(end), gaps)? {
            self.rebuild_vouched(Some(end), gaps)?;
            newest = self.newest_indexed()?;
        }
        let newest = newest.map_or(i64::MIN, |entry| entry.timestamp);
        *self.newest_time.lock() = Some(newest);
        Ok(newest)
    }

    fn rebuild_vouched(&self, end: Option<u64>, gaps: bool) -> Result<()> {
        self.replace_index()?;
        self.check_complete(end, gaps)?;
        self.vouched.store(true, Ordering::Release);
        Ok(())
    }

    /// Whether the last entries of `index`, read back from its files, are true.
    pub(crate) fn confirms(&self, index: &LiveIndex) -> bool {
        let Ok(open) = self.open() else { return false };
        let offsets = index.last_offset_entry().is_none_or(|entry| self.entry_batch(&open, entry).is_some());
        let Some(newest) = index.newest() else { return offsets };
        let from = index.entry_for(newest.delta).and_then(|entry| self.entry_batch(&open, entry));
        let (position, expected) =
            from.map_or((0, self.base()), |b| (b.position, b.header.base_offset as u64));
        let offset = self.base() + u64::from(newest.delta);
        let found = self
            .walk(&open, position, expected, offset, true)
            .and_then(|position| self.batch_in(&open, position));
        offsets && found.is_ok_and(|batch| batch.is_some_and(|batch| self.carries(&batch, newest)))
    }

    /// From `position`, where a batch of offset `expected` begins, to the batch that holds `offset`.
    fn walk(
        &self,
        open: &OpenSegment,
        mut position: u64,
        mut expected: u64,
        offset: u64,
        gaps: bool,
    ) -> Result<u64> {
        while let Some(batch) = self.batch_in(open, position)? {
            let (base, last) = (batch.header.base_offset as u64, batch.header.last_offset() as u64);
            if base < expected || (!gaps && base != expected) {
                let why = format!("a batch of offset {base} where {expected} is expected");
                return Err(self.corrupted(position, why));
            }
            if last >= offset {
                break;
            }
            expected = last + 1;
            position = batch.end();
        }
        Ok(position)
    }

    /// The batch that an offset entry names, if it is as the entry says.
    fn entry_batch(&self, open: &OpenSegment, entry: OffsetEntry) -> Option<BatchAt> {
        let batch = self.batch_in(open, entry.position.into()).ok().flatten()?;
        (batch.header.last_offset() as u64 == self.base() + u64::from(entry.delta)).then_some(batch)
    }

    fn entries_around(&self, delta: u32) -> Result<Around> {
        self.with_index(|index| match index {
            Index::Live(live) => Ok(live.entries_around(delta)),
            Index::Stored(stored) => stored.entries_around(delta),
            Index::Unopened | Index::Resting(_) => Ok(Around { before: None, after: None }),
        })
    }

    fn time_hint(&self, timestamp: i64) -> Result<TimeHint> {
        self.with_index(|index| {
            let (newest, before) = match index {
                Index::Live(live) => (live.newest(), live.time_before(timestamp)),
                Index::Stored(stored) => (stored.newest()?, stored.time_before(timestamp)?),
                Index::Unopened | Index::Resting(_) => (None, None),
            };
            let older = newest.is_none_or(|newest| newest.timestamp < timestamp);
            Ok(if older { TimeHint::AllOlder(newest) } else { TimeHint::Behind(before) })
        })
    }

    fn newest_indexed(&self) -> Result<Option<TimeEntry>> {
        self.with_index(|index| match index {
            Index::Live(live) => Ok(live.newest()),
            Index::Stored(stored) => stored.newest(),
            Index::Unopened | Index::Resting(_) => Ok(None),
        })
    }

    fn start_of(&self, hint: TimeHint) -> Option<u64> {
        match hint {
            TimeHint::AllOlder(_) => None,
            TimeHint::Behind(entry) => Some(self.base() + entry.map_or(0, |entry| u64::from(entry.delta))),
        }
    }

    fn is_believed(&self, hint: TimeHint, end: Option<u64>, gaps: bool) -> Result<bool> {
        match hint {
            TimeHint::Behind(entry) => self.is_true(entry, gaps),
            // The growing segment's newest timestamp is kept in memory.
            TimeHint::AllOlder(_) if end.is_none() || self.vouched.load(Ordering::Acquire) => Ok(true),
            TimeHint::AllOlder(newest) => {
                let true_so_far = newest.is_some() && self.is_true(newest, gaps)?;
                if true_so_far {
                    self.check_complete(end, gaps)?;
                    self.vouched.store(true, Ordering::Release);
                }
                Ok(true_so_far)
            }
        }
    }

    /// Whether the batch that a time entry names carries its timestamp.
    fn is_true(&self, entry: Option<TimeEntry>, gaps: bool) -> Result<bool> {
        let Some(entry) = entry else { return Ok(true) };
        let open = self.open()?;
        let position = self.seek_in(&open, self.base() + u64::from(entry.delta), gaps)?;
        Ok(self.batch_in(&open, position)?.is_some_and(|batch| self.carries(&batch, entry)))
    }

    fn carries(&self, batch: &BatchAt, entry: TimeEntry) -> bool {
        let header = &batch.header;
        header.last_offset() as u64 == self.base() + u64::from(entry.delta)
            && header.max_timestamp == entry.timestamp
    }

    /// A closed segment reaches to `end`, where the next one begins.
    fn check_complete(&self, end: Option<u64>, gaps: bool) -> Result<()> {
        let Some(end) = end.filter(|&end| !gaps && end > self.base()) else { return Ok(()) };
        let position = self.seek(end - 1, gaps)?;
        // The last batch may reach beyond: a truncation below the log start cuts inside a batch.
        if self.batch_at(position)?.is_some_and(|batch| batch.header.last_offset() as u64 >= end - 1) {
            return Ok(());
        }
        Err(self
            .corrupted(position, format!("the segment ends before offset {end}, where the next one begins")))
    }
}
