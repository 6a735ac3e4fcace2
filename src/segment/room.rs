//! The room of a segment behind its end: made ahead of the writer, or by the writer who has run ahead, and given
//! back when the segment rests or grows no more.
//!
//! ```text
//!   0 ......... end ......... low water ......... prepared ......... greatest length
//!     batches      room           the writer asks for more      not there yet
//! ```
//!
//! Invariants
//! - How room is made is [`Preparation`]'s to know; here is who makes it, and when: one piece at a time under its
//!   lock, never under the append lock.
//! - Once it has been given back nobody makes the file longer again, before [`begin`](Room::begin).

use std::io;
use std::time::Duration;

use super::open_segment::OpenSegment;
use super::prepare::{Preparation, Reach, Way};
use super::segment::Segment;
use crate::env::File;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// How often a writer looks whether the piece being prepared is there.
const LOOKS: u32 = 200;

/// The room of one segment.
#[derive(Debug)]
pub(super) struct Room {
    /// The greatest size that the segment may grow to, in bytes.
    greatest: u64,
    preparation: Mutex<Preparation>,
    /// From here on more should be asked for.
    low_water: AtomicU64,
}

impl Room {
    /// None behind `end`, of a segment that may grow to `greatest` bytes.
    pub(super) fn behind(end: u64, greatest: u64) -> Room {
        let preparation = Mutex::new(Preparation::new(end, greatest));
        Room { greatest, preparation, low_water: AtomicU64::new(0) }
    }

    /// None, and none to be made: the segment grows no more, or rests.
    pub(super) fn given_back(greatest: u64) -> Room {
        let room = Room::behind(0, greatest);
        room.preparation.lock().finish();
        room
    }

    /// The greatest size that the segment may grow to, in bytes.
    pub(super) fn greatest(&self) -> u64 {
        self.greatest
    }

    /// Begins anew behind `end`, where the file ends, too.
    pub(super) fn begin(&self, end: u64) {
        *self.preparation.lock() = Preparation::new(end, self.greatest);
        self.low_water.store(0, Ordering::Release);
    }

    /// Makes room at least up to `need`, and as much further as `reach` says.
    fn prepare(
        &self,
        open: &OpenSegment,
        need: u64,
        way: Way,
        reach: Reach,
        now: Duration,
    ) -> io::Result<()> {
        let (file, map) = (open.file(), open.map());
        let (mut goal, mut looks) = (None, 0);
        while need > map.prepared() || goal.is_some() {
            // Who prepares ahead makes piece after piece, and the next one may be all that is needed: so
            // look a few times before queueing up.
            let mut preparation = match self.preparation.try_lock() {
                Some(preparation) => preparation,
                None if looks < LOOKS => {
                    looks += 1;
                    crate::sync::thread::yield_now();
                    continue;
                }
                None => self.preparation.lock(),
            };
            let goal = *goal.get_or_insert_with(|| {
                let goal = preparation.goal(map.prepared(), need, reach, now);
                self.low_water.store(preparation.low_water(goal), Ordering::Release);
                goal
            });
            if !preparation.advance(&**file, map, need, goal, way)? {
                break;
            }
        }
        Ok(())
    }

    /// Cuts the file where `end` says, which is asked while nobody makes room, if there is any behind it; answers whether
    /// there was. On success nobody makes any more.
    pub(super) fn give_back(&self, file: &dyn File, end: impl FnOnce() -> u64) -> io::Result<bool> {
        let mut preparation = self.preparation.lock();
        let end = end();
        let cut = preparation.allocated() > end;
        if cut {
            file.set_size(end)?;
        }
        preparation.finish();
        Ok(cut)
    }

    /// Cuts the file at its `end`. Nobody makes room any more, even if that fails.
    pub(super) fn end(&self, file: &dyn File, end: u64) -> io::Result<()> {
        let mut preparation = self.preparation.lock();
        preparation.finish();
        file.set_size(end)
    }
}

impl Segment {
    /// Allocates (and, if stores will go through the map, prefaults) at least up to `need`, and as much
    /// further as `reach` says. Never to be called under the append lock.
    pub(crate) fn prepare(&self, need: u64, way: Way, reach: Reach, now: Duration) -> Result<()> {
        // At rest it needs no room: who appends wakes it first.
        let Some(open) = self.opened() else { return Ok(()) };
        self.room.prepare(&open, need, way, reach, now).map_err(|e| self.without_room(e))
    }

    /// Allocates up to `end` for a large record that is written by calls, though batches are built in the map here;
    /// `false` where pages cannot be made present. Never to be called under the append lock.
    pub(crate) fn reserve(&self, end: u64) -> Result<bool> {
        let Some(open) = self.opened() else { return Ok(false) };
        let reserved = self.room.preparation.lock().reserve(&**open.file(), open.map(), end);
        reserved.map_err(|e| self.without_room(e))
    }

    /// Writes zeros ahead of batches that are each synced, from the tail's `end`, at least up to `need`;
    /// to be called by who holds the tail, after [`prepare`](Self::prepare).
    pub(crate) fn write_zeros_ahead(&self, end: u64, need: u64) -> Result<()> {
        let Some(open) = self.opened() else { return Ok(()) };
        let written = self.room.preparation.lock().write_zeros_ahead(&**open.file(), end, need);
        written.map_err(|e| Error::io("write zeros into a segment", &self.log_path(), e))
    }

    /// The position at which more room should be asked for.
    #[inline]
    pub(crate) fn low_water(&self) -> u64 {
        self.room.low_water.load(Ordering::Acquire)
    }

    fn without_room(&self, e: io::Error) -> Error {
        Error::io("allocate room in a segment", &self.log_path(), e)
    }
}
