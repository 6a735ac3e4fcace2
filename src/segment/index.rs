//! The two sparse indexes of a segment: offset to position, timestamp to offset.
//!
//! Invariants (Kafka's, kafka-facts 2.2 and 2.3)
//! - An offset entry names the *last* offset of a batch and the position of its *first* byte; it is added
//!   when more than the interval has been appended since the last one, so never for the first batch.
//! - A time entry says: up to and including this batch the largest timestamp is T, and the batch that
//!   ends at this offset carries it. Both columns rise strictly.
//! - Neither has a checksum: what does not look sane is rebuilt from the log.
//!
//! The active segment's indexes grow in memory ([`LiveIndex`]) and are written behind; those of closed
//! segments are searched in their files (see `stored_index`), so that they cost hardly any memory.

use std::io;

use crate::env::{File, write_all_at};
use crate::format::index::{OffsetEntry, TimeEntry};

/// Bytes of one offset entry.
pub(crate) const OFFSET_ENTRY: u64 = 8;
/// Bytes of one time entry.
pub(crate) const TIME_ENTRY: u64 = 12;

/// How long the two index files are, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexLengths {
    /// Of `.index`.
    pub(crate) offsets: u64,
    /// Of `.timeindex`.
    pub(crate) times: u64,
}

/// Indexes that are left to their files while the segment rests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingIndex {
    /// The files' lengths.
    pub(crate) lengths: IndexLengths,
    /// The largest timestamp, and the last offset of the batch that carries it, if this process knows: else
    /// the batches behind the last entry tell.
    pub(crate) newest: Option<Option<TimeEntry>>,
}

/// The two entries beside an offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around {
    /// Of a batch that ends before it.
    pub(crate) before: Option<OffsetEntry>,
    /// Of a batch that does not.
    pub(crate) after: Option<OffsetEntry>,
}

/// Indexes of a segment that is still growing.
#[derive(Debug)]
pub(crate) struct LiveIndex {
    interval: u64,
    max_entries: usize,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    since_entry: u64,
    /// Largest timestamp so far, and the last offset of the batch that carries it.
    newest: Option<TimeEntry>,
    /// What the files hold already.
    written: IndexLengths,
}

impl LiveIndex {
    /// Empty indexes with one entry each `interval` bytes, of at most `max_bytes` each.
    pub(crate) fn new(interval: u64, max_bytes: u64) -> LiveIndex {
        LiveIndex {
            interval,
            max_entries: usize::try_from(max_bytes / TIME_ENTRY).unwrap_or(usize::MAX),
            offsets: Vec::new(),
            times: Vec::new(),
            since_entry: 0,
            newest: None,
            written: IndexLengths::default(),
        }
    }

    /// Entries read back from the files, cut to the lengths known to be good.
    pub(crate) fn restored(mut self, offsets: Vec<OffsetEntry>, times: Vec<TimeEntry>) -> LiveIndex {
        self.newest = times.last().copied();
        self.written = IndexLengths {
            offsets: offsets.len() as u64 * OFFSET_ENTRY,
            times: times.len() as u64 * TIME_ENTRY,
        };
        self.offsets = offsets;
        self.times = times;
        self
    }

    /// A batch has been appended: its position, length, last offset (relative) and largest timestamp.
    pub(crate) fn appended(&mut self, position: u32, len: u64, last_delta: u32, max_timestamp: i64) {
        self.observe(last_delta, max_timestamp);
        if self.since_entry > self.interval {
            self.offsets.push(OffsetEntry { delta: last_delta, position });
            self.push_time();
            self.since_entry = 0;
        }
        self.since_entry += len;
    }

    /// Takes note of a batch that is behind the last entry already: only its largest timestamp counts.
    pub(crate) fn observe(&mut self, last_delta: u32, max_timestamp: i64) {
        if self.newest.is_none_or(|newest| max_timestamp > newest.timestamp) {
            self.newest = Some(TimeEntry { timestamp: max_timestamp, delta: last_delta });
        }
    }

    /// The position of the last batch that an offset entry names; 0 if there is none.
    pub(crate) fn last_position(&self) -> u64 {
        self.offsets.last().map_or(0, |entry| entry.position.into())
    }

    /// How long the files will be once everything is written.
    pub(crate) fn lengths(&self) -> IndexLengths {
        IndexLengths {
            offsets: self.offsets.len() as u64 * OFFSET_ENTRY,
            times: self.times.len() as u64 * TIME_ENTRY,
        }
    }

    /// Leaves the indexes to their files, if these hold all of them.
    pub(crate) fn put_away(&self) -> Option<RestingIndex> {
        let all = self.written == self.lengths();
        all.then_some(RestingIndex { lengths: self.written, newest: Some(self.newest) })
    }

    /// The newest batch is known.
    pub(crate) fn with_newest(mut self, newest: Option<TimeEntry>) -> LiveIndex {
        self.newest = newest;
        self
    }

    /// How long the files are now.
    pub(crate) fn written(&self) -> IndexLengths {
        self.written
    }

    /// No more entries fit (one slot stays free for the last time entry).
    pub(crate) fn is_full(&self) -> bool {
        self.offsets.len() + 1 >= self.max_entries || self.times.len() + 1 >= self.max_entries
    }

    /// The entry of the last batch that ends at or before `delta`, as far as entries tell.
    pub(crate) fn entry_for(&self, delta: u32) -> Option<OffsetEntry> {
        self.entries_around(delta.saturating_add(1)).before
    }

    /// The last entry of a batch that ends before `delta`, and the first of one that does not.
    pub(crate) fn entries_around(&self, delta: u32) -> Around {
        let after = self.offsets.partition_point(|entry| entry.delta < delta);
        let at = |i: usize| self.offsets.get(i).copied();
        Around { before: after.checked_sub(1).and_then(at), after: at(after) }
    }

    /// The last entry older than `timestamp`: every record up to its offset is older.
    pub(crate) fn time_before(&self, timestamp: i64) -> Option<TimeEntry> {
        let after = self.times.partition_point(|entry| entry.timestamp < timestamp);
        after.checked_sub(1).and_then(|i| self.times.get(i)).copied()
    }

    /// The largest timestamp so far, and the last offset of the batch that carries it.
    pub(crate) fn newest(&self) -> Option<TimeEntry> {
        self.newest
    }

    /// The last offset entry.
    pub(crate) fn last_offset_entry(&self) -> Option<OffsetEntry> {
        self.offsets.last().copied()
    }

    /// The last relative offset that an entry names.
    pub(crate) fn last_delta(&self) -> Option<u32> {
        self.offsets.last().map(|entry| entry.delta)
    }

    /// Adds the final time entry of a segment that grows no more.
    pub(crate) fn close(&mut self) {
        self.push_time();
    }

    fn push_time(&mut self) {
        let Some(newest) = self.newest else { return };
        if self.times.last().is_none_or(|last| last.timestamp < newest.timestamp && last.delta < newest.delta)
        {
            self.times.push(newest);
        }
    }

    /// Every offset entry as bytes.
    pub(crate) fn offset_bytes(&self) -> Vec<u8> {
        self.offsets.iter().flat_map(|e| e.to_bytes()).collect()
    }

    /// Every time entry as bytes.
    pub(crate) fn time_bytes(&self) -> Vec<u8> {
        self.times.iter().flat_map(|e| e.to_bytes()).collect()
    }

    /// The bytes not yet in the files, with where they go: offsets, then times.
    pub(crate) fn unwritten(&self) -> IndexTail {
        let offsets_from = usize::try_from(self.written.offsets / OFFSET_ENTRY).unwrap_or(usize::MAX);
        let times_from = usize::try_from(self.written.times / TIME_ENTRY).unwrap_or(usize::MAX);
        IndexTail {
            at: self.written,
            offsets: self.offsets.iter().skip(offsets_from).flat_map(|e| e.to_bytes()).collect(),
            times: self.times.iter().skip(times_from).flat_map(|e| e.to_bytes()).collect(),
        }
    }

    /// The files hold what [`unwritten`](Self::unwritten) gave.
    pub(crate) fn mark_written(&mut self, lengths: IndexLengths) {
        self.written = lengths;
    }
}

/// Index bytes on their way to the files.
#[derive(Debug)]
pub(crate) struct IndexTail {
    at: IndexLengths,
    offsets: Vec<u8>,
    times: Vec<u8>,
}

impl IndexTail {
    /// Nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty() && self.times.is_empty()
    }

    /// Writes both, and answers how long the files are now.
    pub(crate) fn write(&self, offsets: &dyn File, times: &dyn File) -> io::Result<IndexLengths> {
        write_all_at(offsets, &self.offsets, self.at.offsets)?;
        write_all_at(times, &self.times, self.at.times)?;
        Ok(IndexLengths {
            offsets: self.at.offsets + self.offsets.len() as u64,
            times: self.at.times + self.times.len() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_each_interval_and_never_first() {
        let mut index = LiveIndex::new(100, 1 << 20);
        for i in 0..10u32 {
            index.appended(i * 60, 60, i, i64::from(i) * 10);
        }
        assert_eq!(index.entry_for(0), None);
        // 60, 120 > 100: entry before the third batch, then each second one.
        assert_eq!(index.offsets.iter().map(|e| e.delta).collect::<Vec<_>>(), [2, 4, 6, 8]);
        assert_eq!(index.entry_for(5).map(|e| e.position), Some(240));
        assert_eq!(index.time_before(45).map(|e| e.delta), Some(4));
        assert_eq!(index.time_before(90).map(|e| e.delta), Some(8));
        assert_eq!(index.newest().map(|e| e.timestamp), Some(90));
        index.close();
        assert_eq!(index.times.last().map(|e| (e.timestamp, e.delta)), Some((90, 9)));
    }
}
