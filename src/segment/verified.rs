//! Which batches of a segment have had their CRC checked in this process.
//!
//! What this process wrote it need not check; what was there before is checked once, before its first
//! loan. Readers go forward mostly, so a prefix in one atomic answers nearly always; ranges checked out
//! of order wait in a small map until the prefix reaches them.

use std::collections::BTreeMap;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// The checked parts of a segment.
#[derive(Debug)]
pub(crate) struct Verified {
    /// Everything below is checked (or was never in doubt).
    prefix: AtomicU64,
    /// Everything from here on was written by this process.
    foreign_end: AtomicU64,
    /// Checked ranges above the prefix: start -> end.
    islands: Mutex<BTreeMap<u64, u64>>,
}

impl Verified {
    /// The bytes `[0, checked)` and from `foreign_end` on need no check.
    pub(crate) fn new(checked: u64, foreign_end: u64) -> Verified {
        Verified {
            prefix: AtomicU64::new(checked),
            foreign_end: AtomicU64::new(foreign_end),
            islands: Mutex::new(BTreeMap::new()),
        }
    }

    /// Whether the batch at `[start, end)` still needs its check.
    #[inline]
    pub(crate) fn needs_check(&self, start: u64, end: u64) -> bool {
        if end <= self.prefix.load(Ordering::Acquire) || start >= self.foreign_end.load(Ordering::Acquire) {
            return false;
        }
        let islands = self.islands.lock();
        islands.range(..=start).next_back().is_none_or(|(_, &island_end)| island_end < end)
    }

    /// The batch at `[start, end)` has been checked.
    pub(crate) fn mark(&self, start: u64, end: u64) {
        let mut islands = self.islands.lock();
        let prefix = self.prefix.load(Ordering::Acquire);
        if start > prefix {
            let entry = islands.entry(start).or_insert(end);
            *entry = (*entry).max(end);
            return;
        }
        let mut reached = prefix.max(end);
        while let Some((&island, &island_end)) = islands.first_key_value() {
            if island > reached {
                break;
            }
            reached = reached.max(island_end);
            islands.remove(&island);
        }
        self.prefix.store(reached, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn islands_join_the_prefix() {
        let verified = Verified::new(10, 100);
        assert!(!verified.needs_check(0, 10));
        assert!(verified.needs_check(10, 20));
        verified.mark(20, 30);
        assert!(!verified.needs_check(20, 30));
        assert!(verified.needs_check(10, 20));
        verified.mark(10, 20);
        assert!(!verified.needs_check(10, 30));
        assert!(verified.needs_check(30, 40));
        assert!(!verified.needs_check(100, 120));
    }
}
