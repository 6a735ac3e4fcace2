//! What is compacted, and when.
//!
//! Invariants
//! - Nothing is compacted that is younger than the topic's `min_compaction_lag`, above the last stable offset, not
//!   yet below a durable recovery point, or in the active segment.
//! - Ages count from the append, not from the records' timestamps.
//! - Where age deletes, no record is kept for more than twice that age because of what it is put together with.

use std::time::Duration;

use crate::error::Result;
use crate::partition::{CleanableSegment, Log, LogSettings};

/// The greatest span of offsets in a segment: its indexes hold them relative to its base.
const MAX_SPAN: u64 = i32::MAX as u64;

/// How much a log is in need of compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Dirtiness {
    /// Something has waited for longer than `max_compaction_lag`.
    pub(crate) overdue: bool,
    /// Bytes that are not compacted yet, in percent of those that could be.
    pub(crate) percent: u32,
    /// Bytes that are not compacted yet.
    pub(crate) bytes: u64,
}

/// The segments that may be compacted now, oldest first.
pub(crate) fn sources(log: &Log) -> Result<Vec<CleanableSegment>> {
    let now = log.clock().now().millis();
    let lag = log.settings().cleanup.min_lag;
    let mut sources = log.cleanable()?;
    let old = sources.iter().take_while(|source| age(source.last_append, now) >= lag).count();
    sources.truncate(if lag.is_zero() { sources.len() } else { old });
    Ok(sources)
}

/// How dirty a log is; `None` if nothing new could be compacted.
pub(crate) fn dirtiness(log: &Log) -> Result<Option<Dirtiness>> {
    let sources = sources(log)?;
    let from = log.cleaned_to().max(log.log_start());
    let total: u64 = sources.iter().map(|source| source.bytes).sum();
    let dirty = || sources.iter().filter(|source| source.end_offset > from);
    let bytes: u64 = dirty().map(|source| source.bytes).sum();
    let Some(oldest) = dirty().next() else { return Ok(None) };
    let now = log.clock().now().millis();
    let max_lag = log.settings().cleanup.max_lag;
    Ok(Some(Dirtiness {
        overdue: max_lag.is_some_and(|lag| age(oldest.first_append, now) > lag),
        percent: u32::try_from(u128::from(bytes) * 100 / u128::from(total.max(1))).unwrap_or(100),
        bytes,
    }))
}

/// Whether a log of a compacted topic is to be compacted by itself.
pub(crate) fn is_due(log: &Log) -> Result<Option<Dirtiness>> {
    let cleanup = log.settings().cleanup;
    if !cleanup.policy.compacts() || log.is_poisoned() || log.is_closed() {
        return Ok(None);
    }
    let dirtiness = dirtiness(log)?;
    Ok(dirtiness.filter(|dirty| dirty.overdue || dirty.percent >= cleanup.dirty_percent))
}

/// Within what time segments must have been appended that are put together: they go together, when the newest is old.
pub(crate) fn span_of_groups(settings: &LogSettings) -> Duration {
    let age = settings.retention.max_age().filter(|_| settings.cleanup.policy.deletes());
    age.unwrap_or(Duration::MAX)
}

/// Neighbours that fit one segment together, and were appended within `span`.
pub(crate) fn groups(
    sources: &[CleanableSegment],
    segment_size: u64,
    span: Duration,
) -> Vec<&[CleanableSegment]> {
    let mut groups = Vec::new();
    let mut rest = sources;
    while let Some(first) = rest.first() {
        let mut bytes = 0;
        let fitting = rest.iter().take_while(|source| {
            bytes += source.bytes;
            let fits = bytes <= segment_size && source.end_offset - first.segment.base() <= MAX_SPAN;
            fits && age(first.first_append, source.last_append) <= span
        });
        let (group, more) = rest.split_at(fitting.count().max(1));
        groups.push(group);
        rest = more;
    }
    groups
}

fn age(since: i64, now: i64) -> Duration {
    Duration::from_millis(now.saturating_sub(since).max(0) as u64)
}
