//! Finding a batch: the indexes are hints, the log is the truth.
//!
//! ```text
//!   index:  ... | (last offset 41, position 8192) | (last offset 97, position 12288) | ...
//!   offset 60:   the batch at 8192 ends at 41? -- yes: walk on from there, batch by batch
//!                                              -- no: the entry lies; walk from the start of the segment
//! ```
//!
//! Invariants
//! - An entry is believed only if the batch that it names is as it says. Neither index has a checksum; the
//!   entries of a closed segment are counted (in its file of append times), so that a lost end shows.
//! - Unless there may be gaps, each batch met on the way begins where the one before ended.

use super::index::LiveIndex;
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
        let hint = self.offset_hint(offset)?;
        if let (Some(entry), Some(open)) = (hint, self.opened()) {
            open.jump_to(entry.position.into());
        }
        if let Some(batch) = hint.and_then(|entry| self.entry_batch(entry)) {
            return self.walk(batch.position, batch.header.base_offset as u64, offset, gaps);
        }
        self.walk(0, self.base(), offset, gaps)
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
        self.replace_index()?;
        self.check_complete(end, gaps)?;
        self.vouched.store(true, Ordering::Release);
        Ok(self.start_of(self.time_hint(timestamp)?))
    }

    /// Whether the last entries of `index`, read back from its files, are true.
    pub(crate) fn confirms(&self, index: &LiveIndex) -> bool {
        let offsets = index.last_offset_entry().is_none_or(|entry| self.entry_batch(entry).is_some());
        let Some(newest) = index.newest() else { return offsets };
        let from = index.entry_for(newest.delta).and_then(|entry| self.entry_batch(entry));
        let (position, expected) =
            from.map_or((0, self.base()), |b| (b.position, b.header.base_offset as u64));
        let offset = self.base() + u64::from(newest.delta);
        let found = self.walk(position, expected, offset, true).and_then(|position| self.batch_at(position));
        offsets && found.is_ok_and(|batch| batch.is_some_and(|batch| self.carries(&batch, newest)))
    }

    /// From `position`, where a batch of offset `expected` begins, to the batch that holds `offset`.
    fn walk(&self, mut position: u64, mut expected: u64, offset: u64, gaps: bool) -> Result<u64> {
        while let Some(batch) = self.batch_at(position)? {
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
    fn entry_batch(&self, entry: OffsetEntry) -> Option<BatchAt> {
        let batch = self.batch_at(entry.position.into()).ok().flatten()?;
        (batch.header.last_offset() as u64 == self.base() + u64::from(entry.delta)).then_some(batch)
    }

    fn offset_hint(&self, offset: u64) -> Result<Option<OffsetEntry>> {
        // Only one that ends before: so the batch behind it is met, and must begin where it ends.
        let Some(delta) = offset.checked_sub(self.base() + 1) else { return Ok(None) };
        let delta = u32::try_from(delta).unwrap_or(u32::MAX);
        self.with_index(|index| match index {
            Index::Live(live) => Ok(live.entry_for(delta)),
            Index::Stored(stored) => stored.entry_for(delta),
            Index::Unopened | Index::Resting(_) => Ok(None),
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
        let position = self.seek(self.base() + u64::from(entry.delta), gaps)?;
        Ok(self.batch_at(position)?.is_some_and(|batch| self.carries(&batch, entry)))
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
