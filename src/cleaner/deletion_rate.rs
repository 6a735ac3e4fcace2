//! How fast segments may be deleted in the background.
//!
//! ```text
//!   time ------|=====|=========|==|------------->      = the time that a segment's bytes take at the rate
//!            deleted deleted   deleted                 the next one goes when the one before is paid for
//! ```
//!
//! Invariants
//! - Over any time in which segments wait, no more bytes are charged than the rate allows, and one segment. What the
//!   disk budget cannot wait for goes besides, and is not charged.
//! - Time in which nothing waited is not saved up.

use std::time::Duration;

/// Who looks this much too late at what has waited makes up for it; not for more.
const LATE: Duration = Duration::from_secs(1);
/// Two looks at what waits lie at least so far apart: each goes through all logs.
pub(crate) const BETWEEN: Duration = Duration::from_millis(100);

/// A rate of deletions, and how far it is used up.
#[derive(Debug)]
pub(crate) struct DeletionRate {
    bytes_per_second: u64,
    /// What has been deleted is paid for up to here.
    free_at: Duration,
    /// Segments were left when it was looked at last.
    behind: bool,
    /// Not before is it looked at again.
    next_look: Duration,
}

impl DeletionRate {
    /// Nothing has been deleted yet.
    pub(crate) fn new(bytes_per_second: u64) -> DeletionRate {
        let (free_at, next_look) = (Duration::ZERO, Duration::ZERO);
        DeletionRate { bytes_per_second: bytes_per_second.max(1), free_at, behind: false, next_look }
    }

    /// When to look, if it is too early now: somebody has just done so.
    pub(crate) fn too_early(&self, now: Duration) -> Option<Duration> {
        (now < self.next_look).then_some(self.next_look)
    }

    /// Deletions begin now.
    pub(crate) fn begin(&mut self, now: Duration) {
        let earliest = if self.behind { now.saturating_sub(LATE) } else { now };
        self.free_at = self.free_at.max(earliest);
    }

    /// Whether a segment may be deleted now.
    pub(crate) fn is_free(&self, now: Duration) -> bool {
        self.free_at <= now
    }

    /// So many bytes have been deleted.
    pub(crate) fn spend(&mut self, bytes: u64) {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        self.free_at += Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    }

    /// Deletions end for now; where segments are left, answers when to go on.
    pub(crate) fn end(&mut self, now: Duration, left: bool) -> Option<Duration> {
        self.behind = left;
        self.next_look = now + BETWEEN;
        left.then(|| self.free_at.max(self.next_look))
    }

    /// Bytes that may be deleted in so much time.
    pub(crate) fn within(&self, time: Duration) -> u64 {
        u64::try_from(u128::from(self.bytes_per_second) * time.as_millis() / 1000).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Deletes segments of 100 bytes that wait, looked for at these times; answers how many went each time.
    fn deleted(rate: &mut DeletionRate, millis: &[u64]) -> Vec<u32> {
        let look = |&now: &u64| {
            let now = Duration::from_millis(now);
            rate.begin(now);
            let mut count = 0;
            while rate.is_free(now) {
                rate.spend(100);
                count += 1;
            }
            assert!(rate.end(now, true).is_some_and(|next| next > now));
            count
        };
        millis.iter().map(look).collect()
    }

    #[test]
    fn each_segment_is_paid_for_before_the_next() {
        let mut rate = DeletionRate::new(100);
        assert_eq!(deleted(&mut rate, &[5000, 5999, 6000, 6500, 7000]), [1, 0, 1, 0, 1]);
        assert_eq!(rate.within(Duration::from_millis(2500)), 250);
    }

    #[test]
    fn looks_lie_apart() {
        let (mut rate, at) = (DeletionRate::new(100), Duration::from_millis);
        assert_eq!(rate.too_early(at(0)), None);
        rate.begin(at(1000));
        rate.end(at(1000), false);
        assert_eq!(rate.too_early(at(1099)), Some(at(1100)));
        assert_eq!(rate.too_early(at(1100)), None);
    }

    #[test]
    fn a_late_look_makes_up_for_a_second_and_no_more() {
        let mut rate = DeletionRate::new(1000);
        assert_eq!(deleted(&mut rate, &[1000, 1350, 1400, 60_000]), [1, 3, 1, 11]);
        // Nothing was left: what was not used is gone.
        rate.end(Duration::from_secs(60), false);
        assert_eq!(deleted(&mut rate, &[90_000, 90_050]), [1, 0]);
    }
}
