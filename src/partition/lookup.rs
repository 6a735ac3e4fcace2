//! Where in a log an offset or a time is.
//!
//! Invariants
//! - Segments are in the order of their base offsets; the last one is the active one.
//! - What an index says is only where to start looking: the answer comes from the batches.
//! - A search by time asks each closed segment once, when it first comes by, for its newest timestamp; later ones go
//!   straight to the segment that has what they look for (`newest_times.rs`).

use std::sync::Arc;

use super::cursor::{Cursor, ReadLimits};
use super::log::Log;
use super::newest_times::Step;
use super::place::GROWING;
use crate::error::Result;
use crate::segment::Segment;

impl Log {
    /// The segment that holds `offset`, if it were there.
    pub(super) fn segment_for(&self, offset: u64) -> Option<Arc<Segment>> {
        Some(self.stretch_for(offset)?.0)
    }

    /// The segment that holds `offset`, if it were there, and where the next one begins.
    pub(super) fn stretch_for(&self, offset: u64) -> Option<(Arc<Segment>, u64)> {
        let segments = self.segments.read();
        let after = segments.partition_point(|segment| segment.base() <= offset);
        let end = segments.get(after).map_or(GROWING, |next| next.base());
        Some((segments.get(after.checked_sub(1)?)?.clone(), end))
    }

    /// The segment behind the one with this base offset.
    pub(super) fn segment_after(&self, base: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let after = segments.partition_point(|segment| segment.base() <= base);
        segments.get(after).cloned()
    }

    /// The first record below the high watermark at or after `timestamp`: its offset and timestamp.
    pub(crate) fn offset_for_timestamp(self: &Arc<Self>, timestamp: i64) -> Result<Option<(u64, i64)>> {
        // A batch at a time, whole: the record is looked for in it.
        let limits = ReadLimits { max_bytes: 1, max_records: u32::MAX, crc: self.crc_check };
        let mut from = 0;
        loop {
            let Scan { start, end } = self.while_segments_stand(|| self.scan_for_time(timestamp, from))?;
            let start = start.max(self.log_start());
            if start >= self.high_watermark() {
                // The index may know more than is visible (a poisoned log shows only what was flushed), and every
                // record before this one is older.
                return Ok(None);
            }
            let mut cursor = Cursor::new(self.clone(), start).not_older(timestamp);
            while let Some(chunk) = cursor.read(end, &limits)? {
                for record in chunk.iter() {
                    let record = record?;
                    if record.timestamp >= timestamp {
                        return Ok(Some((record.offset, record.timestamp)));
                    }
                }
            }
            if end == GROWING {
                return Ok(None);
            }
            // What made the segment look new enough lies below the log start, or is no more.
            from = end;
        }
    }

    /// Where the first record as new as `timestamp` is, if it is in a segment that begins at or behind `from`; in the
    /// growing one, whose open batch is not indexed yet, in any case.
    fn scan_for_time(&self, timestamp: i64, mut from: u64) -> Result<Scan> {
        let gaps = self.manifest.lock().compacted;
        loop {
            let (segment, end, changes) = self.segment_for_time(timestamp, from);
            let Some(segment) = segment else { return Ok(Scan { start: self.log_end(), end: GROWING }) };
            if end == GROWING {
                let indexed = segment.offset_for_time(timestamp, None, gaps)?;
                let start = indexed.unwrap_or_else(|| segment.last_indexed_offset());
                return Ok(Scan { start, end });
            }
            let looked = match changes {
                Some(changes) => segment.newest_time(end, gaps).map(|newest| {
                    self.newest_times.lock().learned(changes, segment.base(), newest);
                    None
                }),
                None => segment.offset_for_time(timestamp, Some(end), gaps).inspect(|_| from = end),
            };
            match looked {
                Ok(Some(start)) => return Ok(Scan { start, end }),
                Ok(None) => {}
                // It has been deleted meanwhile.
                Err(_) if self.segments.read().first().is_some_and(|first| segment.base() < first.base()) => {
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// The segment to look at, where the next one begins, and, if what is asked of it is its newest timestamp, how often
    /// the list had changed by then.
    fn segment_for_time(&self, timestamp: i64, from: u64) -> (Option<Arc<Segment>>, u64, Option<u64>) {
        let segments = self.segments.read();
        let oldest = segments.first().map_or(0, |segment| segment.base());
        let (at, changes) = match self.newest_times.lock().step(timestamp, from, oldest) {
            Step::Look(at) => (at, None),
            Step::Learn(at, changes) => (at, Some(changes)),
        };
        let end = segments.get(at + 1).map_or(GROWING, |next| next.base());
        (segments.get(at).cloned(), end, changes)
    }
}

/// A stretch of the log that holds what is looked for.
struct Scan {
    start: u64,
    end: u64,
}
