//! What the library tells the host's `tracing` subscriber; nothing, and at no cost, without that feature.
//!
//! ```text
//!   span   open{dir}                                        INFO
//!   event  opened, recovered (WARN where records were cut)  INFO
//!          joined, left, assigned, revoked, lost, fenced    INFO
//!          retained                                         INFO
//!          rolled                                           DEBUG
//!          flush failed, background work failed             ERROR
//! ```
//!
//! Invariants
//! - Nothing is told for a record or a batch; the target of all is `millpond`.
//! - No event is told while a lock is held that an append, a read or a coordinator needs: a subscriber is code of
//!   the host's. A roll is told under the lock of its own partition's writer.
#![cfg_attr(
    not(feature = "tracing"),
    expect(unused_variables, reason = "without the feature there is nobody to tell")
)]

use std::path::Path;

use crate::error::Error;
use crate::types::TopicPartition;

#[cfg(feature = "tracing")]
const TARGET: &str = "millpond";

/// What an opening does, it does within a span.
pub(crate) fn opening<T>(dir: &Path, open: impl FnOnce() -> T) -> T {
    #[cfg(feature = "tracing")]
    return tracing::info_span!(target: TARGET, "open", dir = %dir.display()).in_scope(open);
    #[cfg(not(feature = "tracing"))]
    open()
}

/// A broker is open.
pub(crate) fn opened(partitions: usize, clean: bool) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, partitions, clean, "opened");
}

/// A partition needed more than a look.
pub(crate) fn recovered(tp: &TopicPartition, sealed: u64, rewritten: u64, cut: u64) {
    #[cfg(feature = "tracing")]
    if cut > 0 {
        tracing::warn!(target: TARGET, partition = %tp, records_sealed = sealed, bytes_rewritten = rewritten, bytes_cut = cut, "recovered");
    } else {
        tracing::info!(target: TARGET, partition = %tp, records_sealed = sealed, bytes_rewritten = rewritten, bytes_cut = cut, "recovered");
    }
}

/// A partition has begun a new segment.
pub(crate) fn rolled(tp: &TopicPartition, base_offset: u64) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: TARGET, partition = %tp, base_offset, "rolled");
}

/// Retention has let go of the oldest segments.
pub(crate) fn retained(tp: &TopicPartition, segments: usize, log_start: u64) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, partition = %tp, segments, log_start_offset = log_start, "retained");
}

/// A flush has failed; unless the disk was full, the partition acknowledges nothing more.
pub(crate) fn flush_failed(tp: &TopicPartition, error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(target: TARGET, partition = %tp, error = %format_args!("{error:#}"), "flush failed");
}

/// Something in the background has failed, of which no caller hears.
pub(crate) fn background_failed(error: &Error) {
    #[cfg(feature = "tracing")]
    tracing::error!(target: TARGET, error = %format_args!("{error:#}"), "background work failed");
}

/// A member has joined or left a group, or its partitions have changed: `what` says how.
pub(crate) fn rebalance(
    what: &'static str,
    group: &dyn std::fmt::Display,
    member: &dyn std::fmt::Display,
    partitions: &[TopicPartition],
) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: TARGET, group = %group, member = %member, partitions = ?partitions, "{what}");
}
