//! How much there is of a log: its segments and their bytes.
//!
//! Invariants
//! - What is told together is of one list of segments, whatever compaction and retention do meanwhile.
//! - A segment that has left the log counts for as long as somebody has it open: its bytes stay on the device.

use std::sync::Arc;

use super::log::Log;
use crate::error::Result;
use crate::segment::Segment;

/// What retention must know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClosedSegment {
    /// Where the next segment begins.
    pub(crate) end_offset: u64,
    /// Bytes of its log file.
    pub(crate) bytes: u64,
    /// When its last batch was appended, in milliseconds since the epoch.
    pub(crate) last_append: i64,
}

/// The segments of a log that grow no more, as they were at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClosedSegments {
    /// Oldest first.
    pub(crate) segments: Vec<ClosedSegment>,
    /// Bytes of the log file of the one that still grows.
    pub(crate) active_bytes: u64,
}

impl ClosedSegments {
    /// Bytes of all log files, that of the active segment too.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.segments.iter().fold(self.active_bytes, |sum, segment| sum.saturating_add(segment.bytes))
    }
}

impl Log {
    /// The segments that grow no more, and how large the one is that does: all of the same list, so that what is
    /// subtracted is in the sum.
    pub(crate) fn closed_segments(&self) -> Result<ClosedSegments> {
        self.while_segments_stand(|| {
            let segments: Vec<_> = self.segments.read().clone();
            let active_bytes = segments.last().map_or(Ok(0), |active| active.sealed_end())?;
            let pairs = segments.iter().zip(segments.iter().skip(1));
            let closed: Result<Vec<_>> = pairs
                .map(|(segment, next)| {
                    segment.load_times()?;
                    let last_append = segment.times().last().map_or(i64::MAX, |last| last.millis());
                    Ok(ClosedSegment { end_offset: next.base(), bytes: segment.sealed_end()?, last_append })
                })
                .collect();
            Ok(ClosedSegments { segments: closed?, active_bytes })
        })
    }

    /// Bytes of all segments' log files.
    pub(crate) fn size_bytes(&self) -> u64 {
        let size = |segment: &Arc<Segment>| segment.sealed_end().unwrap_or(0);
        self.segments.read().iter().map(size).sum()
    }

    /// How many segments there are.
    pub(crate) fn segment_count(&self) -> usize {
        self.segments.read().len()
    }

    /// A segment leaves the log: as long as anybody has it open, its bytes stay on the device.
    pub(super) fn note_gone(&self, segment: &Segment) {
        let Some(open) = segment.opened() else { return };
        let mut pinned = self.pinned.lock();
        pinned.retain(|(open, _)| open.strong_count() > 0);
        pinned.push((Arc::downgrade(&open), segment.sealed_end().unwrap_or(0)));
    }

    /// Bytes of segments that have left the log and are still looked at.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        let mut pinned = self.pinned.lock();
        pinned.retain(|(open, _)| open.strong_count() > 0);
        pinned.iter().map(|(_, bytes)| bytes).sum()
    }
}
