//! Retention: whole segments leave at the start of the log, oldest first.
//!
//! ```text
//!   age:   a segment goes when its *last* batch was appended longer ago than the age
//!   size:  a segment goes while the log keeps at least the size without it
//! ```
//!
//! Invariants
//! - Age counts from the append time, not from the records' timestamps: one record from the future pins
//!   nothing.
//! - Where a floor is given (what a group has not read), nothing at or above it goes.
//! - The active segment stays, and so does all that lies above the high watermark: the log start moves by
//!   [`Log::delete_records`], which refuses to go beyond.

use std::sync::Arc;
use std::time::Duration;

use super::report::RetentionReport;
use crate::config::Retention;
use crate::error::Result;
use crate::partition::{ClosedSegment, Log};
use crate::telemetry;

/// Deletes what the topic's retention lets go of. Answers when the next segment will be too old, counted
/// from now, if age is limited and there is one.
pub(crate) fn retain(log: &Log, floor: Option<u64>) -> Result<Option<Duration>> {
    let retention = log.settings().retention;
    if retention == Retention::forever() || !log.settings().cleanup.policy.deletes() {
        return Ok(None);
    }
    let segments = log.closed_segments()?;
    let segments = below(&segments, floor);
    let now = log.clock().now().millis();
    let total: u64 = log.size_bytes();
    let gone = count_to_delete(segments, retention, now, total);
    if let Some(last) = gone.checked_sub(1).and_then(|i| segments.get(i)) {
        if last.end_offset > log.log_start() && last.end_offset <= log.high_watermark() {
            let log_start = log.delete_records(last.end_offset)?;
            telemetry::retained(log.topic_partition(), gone, log_start);
        }
    }
    let next = retention.max_age().and_then(|age| segments.get(gone).map(|oldest| left(oldest, age, now)));
    Ok(next)
}

/// Those that end at or below the floor.
fn below(segments: &[ClosedSegment], floor: Option<u64>) -> &[ClosedSegment] {
    let Some(floor) = floor else { return segments };
    let count = segments.iter().take_while(|segment| segment.end_offset <= floor).count();
    segments.get(..count).unwrap_or(segments)
}

/// Deletes the oldest segments of these logs, as far as their topics let any be deleted, while the logs together
/// are larger than `budget`, in bytes.
pub(crate) fn trim(
    logs: &[Arc<Log>],
    budget: u64,
    floor: impl Fn(&Log) -> Option<u64>,
) -> Result<RetentionReport> {
    let mut report = RetentionReport::default();
    let deletes = |log: &&Arc<Log>| {
        let internal = log.topic_partition().topic().as_str().starts_with("__");
        !internal && log.settings().cleanup.policy.deletes() && !log.is_poisoned() && !log.is_closed()
    };
    loop {
        let total: u64 = logs.iter().map(|log| log.size_bytes()).sum();
        if total <= budget {
            return Ok(report);
        }
        let mut oldest: Option<(ClosedSegment, &Arc<Log>)> = None;
        for log in logs.iter().filter(deletes) {
            let segments = log.closed_segments()?;
            let visible = log.high_watermark();
            let first = below(&segments, floor(log)).first().filter(|first| first.end_offset <= visible);
            let Some(first) = first.filter(|first| first.end_offset > log.log_start()) else { continue };
            if oldest.is_none_or(|(oldest, _)| first.last_append < oldest.last_append) {
                oldest = Some((*first, log));
            }
        }
        let Some((segment, log)) = oldest else { return Ok(report) };
        let before = RetentionReport::now(log);
        log.delete_records(segment.end_offset)?;
        report.join(before.until(log));
    }
}

/// How many of `segments`, oldest first, may go.
fn count_to_delete(segments: &[ClosedSegment], retention: Retention, now: i64, total: u64) -> usize {
    let mut left = total;
    segments
        .iter()
        .take_while(|segment| {
            let old = retention.max_age().is_some_and(|age| is_old(segment, age, now));
            let spare = retention.max_size().is_some_and(|size| left - segment.bytes >= size.as_u64());
            left -= segment.bytes;
            old || spare
        })
        .count()
}

fn is_old(segment: &ClosedSegment, age: Duration, now: i64) -> bool {
    u128::try_from(now.saturating_sub(segment.last_append)).is_ok_and(|since| since > age.as_millis())
}

fn left(segment: &ClosedSegment, age: Duration, now: i64) -> Duration {
    let since = Duration::from_millis(now.saturating_sub(segment.last_append).max(0) as u64);
    age.saturating_sub(since).saturating_add(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ByteSize;

    fn segments() -> Vec<ClosedSegment> {
        (0..4)
            .map(|i| ClosedSegment { end_offset: (i + 1) * 10, bytes: 100, last_append: i as i64 * 1000 })
            .collect()
    }

    #[test]
    fn age_counts_from_the_last_append() {
        let age = Retention::age(Duration::from_secs(2));
        assert_eq!(count_to_delete(&segments(), age, 2000, 450), 0);
        assert_eq!(count_to_delete(&segments(), age, 2001, 450), 1);
        assert_eq!(count_to_delete(&segments(), age, 4500, 450), 3);
        assert_eq!(left(&segments()[1], Duration::from_secs(2), 2001), Duration::from_millis(1000));
    }

    #[test]
    fn size_keeps_at_least_the_limit() {
        let check = |size, expected| {
            let retention = Retention::size(ByteSize::bytes(size));
            assert_eq!(count_to_delete(&segments(), retention, 0, 450), expected, "{size}");
        };
        check(450, 0);
        check(351, 0);
        check(350, 1);
        check(250, 2);
        check(1, 4);
    }

    #[test]
    fn either_limit_suffices() {
        let both = Retention::age(Duration::from_secs(2)).and_size(ByteSize::bytes(250));
        assert_eq!(count_to_delete(&segments(), both, 0, 450), 2);
        assert_eq!(count_to_delete(&segments(), both, 4500, 450), 3);
    }
}
