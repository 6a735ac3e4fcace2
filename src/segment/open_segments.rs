//! How many segments' files a broker has open, and how many it may.
//!
//! ```text
//!   open ----> OpenSegment, StoredIndex --hold--> OpenTicket --counted in--> partition, broker
//!                                                              more than the limit? somebody is asked to
//!                                                              close those used longest ago
//! ```
//!
//! Invariants
//! - Each open log file counts as one, the two index files of a closed segment that is searched as two; a
//!   file counts for as long as anybody holds it.
//! - The limit is where closing begins, not a wall: what is in use stays open.
//! - What jumps have taught (see `landmarks`) is a wall: beyond it nothing more is remembered.

use std::sync::Arc;

use super::files::SegmentFiles;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The open files of all segments of a broker.
#[derive(Debug)]
pub(crate) struct OpenSegments {
    limit: u64,
    open: AtomicU64,
    /// How many have been opened so far: the clock of what was used longest ago.
    turn: AtomicU64,
    /// Places for landmarks that are left.
    landmarks: AtomicUsize,
}

/// Places for landmarks of a broker's open segments: 16 MiB.
pub(super) const LANDMARKS: usize = 52 << 10;

impl OpenSegments {
    /// None is open; closing begins above `limit`.
    pub(crate) fn new(limit: u64) -> Arc<OpenSegments> {
        let (open, turn) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(OpenSegments { limit, open, turn, landmarks: AtomicUsize::new(LANDMARKS) })
    }

    /// How many files are open.
    pub(crate) fn count(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// More are open than should be: some of those not in use are to be closed.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.count() > self.limit
    }

    /// So many more are open than should be that nothing is to be opened before others are closed.
    #[inline]
    pub(crate) fn is_overcrowded(&self) -> bool {
        self.count() > self.limit + self.limit / 8
    }

    /// Enough have been closed.
    pub(crate) fn has_room(&self) -> bool {
        self.count() <= self.limit - self.limit / 8
    }

    /// Counts openings.
    #[inline]
    pub(super) fn turn(&self) -> u64 {
        self.turn.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, count: u64) {
        self.open.fetch_add(count, Ordering::Relaxed);
        self.turn.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self, count: u64) {
        self.open.fetch_sub(count, Ordering::Relaxed);
    }

    /// Takes so many places for landmarks, if they are left.
    pub(super) fn take_landmarks(&self, places: usize) -> bool {
        let take = |left: usize| left.checked_sub(places);
        self.landmarks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Gives them back.
    pub(super) fn give_landmarks(&self, places: usize) {
        self.landmarks.fetch_add(places, Ordering::Relaxed);
    }
}

/// Some files of a partition are open for as long as this lives.
#[derive(Debug)]
pub(crate) struct OpenTicket {
    home: Arc<SegmentFiles>,
    count: u64,
}

impl OpenTicket {
    pub(super) fn new(home: Arc<SegmentFiles>, count: u64) -> OpenTicket {
        OpenTicket { home, count }
    }

    /// Whose.
    pub(super) fn home(&self) -> &SegmentFiles {
        &self.home
    }
}

impl Drop for OpenTicket {
    fn drop(&mut self) {
        self.home.leave(self.count);
    }
}
