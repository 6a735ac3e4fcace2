//! Closing the files of segments that nobody uses, those used longest ago first.
//!
//! Invariants
//! - One thread closes at a time; who waits for it finds room when it is done.
//! - An error stays with its partition, which is poisoned by it; the others' files are closed all the same.

use super::broker::Shared;
use crate::error::Result;
use crate::partition::Idle;

/// Closes files until there is room again, or all that are left are in use. The first error is answered.
pub(super) fn close_idle(shared: &Shared) -> Result<()> {
    let _alone = shared.closing_idle.lock();
    if !shared.open_segments.is_crowded() {
        return Ok(());
    }
    let mut first = Ok(());
    for idle in longest_unused(shared) {
        if shared.open_segments.has_room() {
            break;
        }
        if let Err(error) = idle.close() {
            first = first.and(Err(error));
        }
    }
    first
}

fn longest_unused(shared: &Shared) -> Vec<Idle> {
    let mut open = Vec::new();
    for topic in shared.topics.read().all().into_iter().filter(|topic| topic.memory().is_none()) {
        topic.partitions().iter().for_each(|log| log.open_segments(&mut open));
    }
    open.sort_by_key(|idle| idle.last_used);
    open
}
