//! Retention: whole segments leave at the start of the log, oldest first.
//!
//! ```text
//!   age:   a segment goes when its *last* batch was appended longer ago than the age
//!   size:  a segment goes while the log keeps at least the size without it
//!   together: of several logs the oldest segment of any goes, while they are too large
//!
//!   due() of a log --+--> Leaving --> all at once, or the oldest first as fast as they may
//!   over() of many --+
//! ```
//!
//! Invariants
//! - Age counts from the append time, not from the records' timestamps: one record from the future pins
//!   nothing.
//! - Where a floor is given (what a group has not read), nothing at or above it goes.
//! - The active segment stays, and so does all that lies above the high watermark: the log start moves by
//!   [`Log::delete_records`], which refuses to go beyond.
//! - What leaves of a log is the first segments of it, whatever rules have chosen them.
//! - A log is looked at once: how large it is, and what may go, are of the same list. What others delete meanwhile is
//!   then in both, and makes nothing else go.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use super::report::RetentionReport;
use crate::config::Retention;
use crate::error::Result;
use crate::partition::{ClosedSegment, ClosedSegments, Log};
use crate::telemetry;

/// What the topic's retention does not keep of a log.
#[derive(Debug, Default)]
pub(crate) struct Due {
    /// These segments, oldest first.
    pub(crate) segments: Vec<ClosedSegment>,
    /// When the next one will be too old, counted from now, if age is limited and there is one.
    pub(crate) next: Option<Duration>,
}

/// What the topic's retention does not keep of a log, up to the floor.
pub(crate) fn due(log: &Log, floor: Option<u64>) -> Result<Due> {
    if keeps_all(log) { Ok(Due::default()) } else { Ok(due_of(log, &log.closed_segments()?, floor)) }
}

fn keeps_all(log: &Log) -> bool {
    log.settings().retention == Retention::forever() || !log.settings().cleanup.policy.deletes()
}

/// The same, of a log that has these segments.
fn due_of(log: &Log, closed: &ClosedSegments, floor: Option<u64>) -> Due {
    let retention = log.settings().retention;
    let segments = below(&closed.segments, floor);
    let visible = log.high_watermark();
    let now = log.clock().now().millis();
    let gone = count_to_delete(segments, retention, now, closed.total_bytes());
    let next = retention.max_age().and_then(|age| segments.get(gone).map(|oldest| left(oldest, age, now)));
    let start = log.log_start();
    let leaves = |segment: &ClosedSegment| segment.end_offset > start && segment.end_offset <= visible;
    let segments = segments.iter().take(gone).copied().filter(leaves).collect();
    Due { segments, next }
}

/// Deletes what the topic's retention lets go of. Answers when the next segment will be too old, as [`Due::next`].
pub(crate) fn retain(log: &Log) -> Result<Option<Duration>> {
    let due = due(log, None)?;
    if let Some(last) = due.segments.last() {
        let log_start = log.delete_records(last.end_offset)?;
        telemetry::retained(log.topic_partition(), due.segments.len(), log_start);
    }
    Ok(due.next)
}

/// Those that end at or below the floor.
fn below(segments: &[ClosedSegment], floor: Option<u64>) -> &[ClosedSegment] {
    let Some(floor) = floor else { return segments };
    let count = segments.iter().take_while(|segment| segment.end_offset <= floor).count();
    segments.get(..count).unwrap_or(segments)
}

/// Segments that are to go, of any logs.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    segments: Vec<LeavingSegment>,
    /// By the log's address: up to where it goes.
    logs: HashMap<usize, Gone>,
    /// By the log's address, which it keeps while it is in here: what it was when it was looked at.
    seen: HashMap<usize, (Arc<Log>, ClosedSegments)>,
}

/// A segment that is to go.
#[derive(Clone, Debug)]
pub(crate) struct LeavingSegment {
    pub(crate) log: Arc<Log>,
    /// Where the next one begins.
    pub(crate) end_offset: u64,
    /// Bytes of its log file.
    pub(crate) bytes: u64,
    /// When its last batch, or one before, was appended: never earlier than that of the segment before it.
    last_append: i64,
}

/// What goes of a log.
#[derive(Clone, Copy, Debug, Default)]
struct Gone {
    end_offset: u64,
    bytes: u64,
    last_append: i64,
}

impl Leaving {
    /// Adds what a log's own retention does not keep.
    pub(crate) fn add_due(&mut self, log: &Arc<Log>, floor: Option<u64>) -> Result<()> {
        if !keeps_all(log) {
            let due = due_of(log, self.look_at(log)?, floor);
            due.segments.iter().for_each(|segment| self.add(log, segment));
        }
        Ok(())
    }

    /// Adds the oldest segments of these logs, as far as their topics let any be deleted, while the logs together
    /// would still be larger than `budget`, in bytes.
    pub(crate) fn add_over(
        &mut self,
        logs: &[Arc<Log>],
        budget: u64,
        floor: impl Fn(&Log) -> Option<u64>,
    ) -> Result<()> {
        let stays = |log: &Arc<Log>, bytes: u64| bytes.saturating_sub(self.gone_of(log).bytes);
        // First without a look at every segment: mostly they are small enough.
        let (may, must_not): (Vec<_>, Vec<_>) = logs.iter().partition(|log| may_lose(log));
        let sizes = |logs: &[&Arc<Log>]| -> u64 { logs.iter().map(|log| stays(log, log.size_bytes())).sum() };
        let mut total = sizes(&must_not);
        if total.saturating_add(sizes(&may)) <= budget {
            return Ok(());
        }
        let mut oldest = Leaving { logs: self.logs.clone(), ..Leaving::default() };
        for log in may {
            let gone = self.gone_of(log).end_offset;
            let closed = self.look_at(log)?;
            // What somebody else has deleted since is not among what stays.
            let (visible, start) = (log.high_watermark(), log.log_start().max(gone));
            let stays = closed.segments.iter().filter(|segment| segment.end_offset > start);
            total =
                stays.fold(total.saturating_add(closed.active_bytes), |sum, s| sum.saturating_add(s.bytes));
            let may_go = below(&closed.segments, floor(log)).iter().take_while(|s| s.end_offset <= visible);
            may_go.filter(|segment| segment.end_offset > start).for_each(|s| oldest.add(log, s));
        }
        for segment in oldest.oldest_first() {
            if total <= budget {
                break;
            }
            total = total.saturating_sub(segment.bytes);
            self.push(segment);
        }
        Ok(())
    }

    /// Deletes all of them.
    pub(crate) fn delete(self) -> Result<RetentionReport> {
        let (mut report, mut first) = (RetentionReport::default(), Ok(()));
        let mut logs: Vec<(Arc<Log>, u64, usize)> = Vec::new();
        for LeavingSegment { log, end_offset, .. } in self.segments {
            match logs.iter_mut().find(|(known, ..)| Arc::ptr_eq(known, &log)) {
                Some((_, end, count)) => (*end, *count) = (end_offset.max(*end), *count + 1),
                None => logs.push((log, end_offset, 1)),
            }
        }
        for (log, end_offset, count) in logs {
            match let_go(&log, end_offset, count) {
                Ok(done) => report.join(done),
                Err(e) => first = first.and(Err(e)),
            }
        }
        first.map(|()| report)
    }

    /// Of all logs the oldest first.
    pub(crate) fn oldest_first(mut self) -> Vec<LeavingSegment> {
        // Stable: segments of one log stay in their order.
        self.segments.sort_by_key(|segment| segment.last_append);
        self.segments
    }

    /// What a log has, as it was at the first look.
    fn look_at(&mut self, log: &Arc<Log>) -> Result<&ClosedSegments> {
        let entry = match self.seen.entry(address(log)) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(new) => {
                let closed = match log.closed_segments() {
                    Err(_) if log.is_closed() => ClosedSegments::default(),
                    closed => closed?,
                };
                new.insert((log.clone(), closed))
            }
        };
        Ok(&entry.1)
    }

    fn gone_of(&self, log: &Arc<Log>) -> Gone {
        self.logs.get(&address(log)).copied().unwrap_or_default()
    }

    fn add(&mut self, log: &Arc<Log>, segment: &ClosedSegment) {
        let last_append = segment.last_append.max(self.gone_of(log).last_append);
        let &ClosedSegment { end_offset, bytes, .. } = segment;
        self.push(LeavingSegment { log: log.clone(), end_offset, bytes, last_append });
    }

    fn push(&mut self, segment: LeavingSegment) {
        let gone = self.logs.entry(address(&segment.log)).or_default();
        gone.bytes = gone.bytes.saturating_add(segment.bytes);
        gone.end_offset = segment.end_offset;
        gone.last_append = segment.last_append;
        self.segments.push(segment);
    }
}

impl LeavingSegment {
    /// Deletes it, and what lies before it: the log start moves first, durably.
    pub(crate) fn delete(&self) -> Result<RetentionReport> {
        let_go(&self.log, self.end_offset, 1)
    }
}

fn let_go(log: &Log, end_offset: u64, segments: usize) -> Result<RetentionReport> {
    let before = RetentionReport::now(log);
    let log_start = match log.delete_records(end_offset) {
        // Its topic has been deleted since: there is nothing to let go of.
        Err(_) if log.is_closed() => return Ok(RetentionReport::default()),
        moved => moved?,
    };
    telemetry::retained(log.topic_partition(), segments, log_start);
    Ok(before.until(log))
}

/// Whether a log may lose segments for the sake of others.
fn may_lose(log: &Log) -> bool {
    let internal = log.topic_partition().topic().is_internal();
    !internal && log.settings().cleanup.policy.deletes() && !log.is_poisoned() && !log.is_closed()
}

fn address(log: &Arc<Log>) -> usize {
    Arc::as_ptr(log).addr()
}

/// How many of `segments`, oldest first, may go; `total` is what they and all behind them have.
fn count_to_delete(segments: &[ClosedSegment], retention: Retention, now: i64, total: u64) -> usize {
    let mut left = total;
    segments
        .iter()
        .take_while(|segment| {
            let old = retention.max_age().is_some_and(|age| is_old(segment, age, now));
            left = left.saturating_sub(segment.bytes);
            let spare = retention.max_size().is_some_and(|size| left >= size.as_u64());
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
    fn less_than_is_listed_is_no_wrap() {
        assert_eq!(count_to_delete(&segments(), Retention::size(ByteSize::bytes(150)), 0, 120), 0);
        assert_eq!(count_to_delete(&segments(), Retention::size(ByteSize::bytes(150)), 0, 250), 1);
        assert_eq!(count_to_delete(&segments(), Retention::age(Duration::from_secs(2)), 4500, 120), 3);
    }

    #[test]
    fn either_limit_suffices() {
        let both = Retention::age(Duration::from_secs(2)).and_size(ByteSize::bytes(250));
        assert_eq!(count_to_delete(&segments(), both, 0, 450), 2);
        assert_eq!(count_to_delete(&segments(), both, 4500, 450), 3);
    }
}
