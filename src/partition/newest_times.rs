//! The newest timestamps of closed segments: a search by time goes to the right one by halves.
//!
//! ```text
//!   segment        0     1     2     3   | 4 ...         the oldest, in their order, as far as a search has come
//!   its newest    10    90    40    95   | not known yet
//!   so far        10    90    90    95                   never falls: the first not below 50 is segment 1
//! ```
//!
//! Invariants
//! - What is known is a beginning of the segment list, without the active one. Each number is read from the
//!   segment once, when a search first comes by.
//! - A number is never too small. It is too large where a segment was cut: then the search goes on behind it.
//! - Lock order: the segment list first.

use std::collections::VecDeque;

/// What a log knows of the timestamps in its closed segments.
#[derive(Debug, Default)]
pub(super) struct NewestTimes {
    known: VecDeque<Newest>,
    /// How often the list has changed under what was known.
    changes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    /// The segment's base offset.
    base: u64,
    /// Its own.
    own: i64,
    /// The greatest of it and of all segments before.
    so_far: i64,
}

/// Where a search by time goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The segment of this number has a record that is new enough.
    Look(usize),
    /// The segment of this number is the first of which nothing is known; to be told under this count of changes.
    Learn(usize, u64),
}

impl NewestTimes {
    /// The first segment at or behind the offset `from` with a record not older than `timestamp`; the oldest segment
    /// begins at `oldest`.
    pub(super) fn step(&mut self, timestamp: i64, from: u64, oldest: u64) -> Step {
        self.drop_below(oldest);
        let behind = self.known.partition_point(|newest| newest.base < from);
        let rising = self.known.partition_point(|newest| newest.so_far < timestamp);
        // One step but where segments in front had newer records and are passed over.
        let found = self.known.range(behind.max(rising)..).position(|newest| newest.own >= timestamp);
        match found {
            Some(further) => Step::Look(behind.max(rising) + further),
            None => Step::Learn(self.known.len(), self.changes),
        }
    }

    /// The newest timestamp of the segment that begins at `base`, learned since `changes` was told.
    pub(super) fn learned(&mut self, changes: u64, base: u64, own: i64) {
        let last = self.known.back();
        if changes == self.changes && last.is_none_or(|last| last.base < base) {
            let so_far = last.map_or(own, |last| last.so_far.max(own));
            self.known.push_back(Newest { base, own, so_far });
        }
    }

    /// The segments that begin at or behind `base` are others now.
    pub(super) fn forget_from(&mut self, base: u64) {
        self.changes += 1;
        self.known.truncate(self.known.partition_point(|newest| newest.base < base));
    }

    /// Those that begin below `oldest` are gone.
    fn drop_below(&mut self, oldest: u64) {
        let gone = self.known.partition_point(|newest| newest.base < oldest);
        if gone == 0 {
            return;
        }
        self.changes += 1;
        self.known.drain(..gone);
        let mut so_far = i64::MIN;
        for newest in &mut self.known {
            so_far = so_far.max(newest.own);
            newest.so_far = so_far;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(own: &[i64]) -> NewestTimes {
        let mut times = NewestTimes::default();
        for (n, &own) in own.iter().enumerate() {
            assert_eq!(times.step(i64::MAX, 0, 0), Step::Learn(n, 0));
            times.learned(0, n as u64 * 10, own);
        }
        times
    }

    #[test]
    fn the_first_that_is_new_enough_is_found() {
        let mut times = known(&[10, 90, 40, 95]);
        for (timestamp, from, expected) in
            [(i64::MIN, 0, 0), (10, 0, 0), (11, 0, 1), (90, 0, 1), (91, 0, 3), (40, 11, 2), (50, 20, 3)]
        {
            assert_eq!(times.step(timestamp, from, 0), Step::Look(expected), "{timestamp} from {from}");
        }
        assert_eq!(times.step(96, 0, 0), Step::Learn(4, 0));
        assert_eq!(times.step(0, 31, 0), Step::Learn(4, 0));
    }

    #[test]
    fn what_is_gone_counts_no_more() {
        let mut times = known(&[10, 90, 40, 50]);
        assert_eq!(times.step(45, 0, 20), Step::Look(1), "the 90 was in a segment that is gone");
        assert_eq!(times.step(60, 0, 20), Step::Learn(2, 1));
        times.learned(0, 40, 70);
        assert_eq!(times.step(60, 0, 20), Step::Learn(2, 1), "learned of a list that is not any more");
        times.learned(1, 40, 70);
        assert_eq!(times.step(60, 0, 20), Step::Look(2));
        times.forget_from(30);
        assert_eq!(times.step(60, 0, 20), Step::Learn(1, 2));
        assert_eq!(times.step(40, 0, 20), Step::Look(0));
    }
}
