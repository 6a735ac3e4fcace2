//! Where in a log an offset or a time is.
//!
//! Invariants
//! - Segments are in the order of their base offsets; the last one is the active one.
//! - What an index says is only where to start looking: the answer comes from the batches.

use std::sync::Arc;

use super::cursor::{Cursor, ReadLimits};
use super::log::Log;
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
        let start = self.while_segments_stand(|| self.scan_start_for_time(timestamp))?;
        let Some(start) = start else { return Ok(None) };
        if start >= self.high_watermark() {
            // The index may know more than is visible (a poisoned log shows only what was flushed), and every
            // record before this one is older.
            return Ok(None);
        }
        let mut cursor = Cursor::new(self.clone(), start.max(self.log_start())).not_older(timestamp);
        while let Some(chunk) = cursor.read(u64::MAX, &limits)? {
            for record in chunk.iter() {
                let record = record?;
                if record.timestamp >= timestamp {
                    return Ok(Some((record.offset, record.timestamp)));
                }
            }
        }
        Ok(None)
    }

    /// An offset from which the first record as new as `timestamp` is found within one index interval.
    fn scan_start_for_time(&self, timestamp: i64) -> Result<Option<u64>> {
        let segments: Vec<_> = self.segments.read().clone();
        let Some((active, closed)) = segments.split_last() else { return Ok(None) };
        let gaps = self.manifest.lock().compacted;
        for (segment, next) in closed.iter().zip(segments.iter().skip(1)) {
            if let Some(offset) = segment.offset_for_time(timestamp, Some(next.base()), gaps)? {
                return Ok(Some(offset));
            }
        }
        // The active segment's open batch is not indexed yet: scan from its last entry below.
        let indexed = active.offset_for_time(timestamp, None, gaps)?;
        Ok(Some(indexed.unwrap_or_else(|| active.last_indexed_offset())))
    }
}
