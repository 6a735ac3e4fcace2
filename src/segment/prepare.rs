//! Making room ahead of the writer: really allocated, and present in memory where stores go through
//! the map, so that an append neither meets a full disk nor waits for a page.
//!
//! ```text
//!   0 ......... published ......... prepared ......... allocated ......... max_len
//!     batches              present, zero     on the disk, zero     not there yet
//! ```
//!
//! Invariants
//! - Zeros are written strictly above `prepared`, under this lock: a late zero would destroy records.
//! - `prepared` rises only after the piece is allocated and present. (For a large record, which is written by calls,
//!   the page in which the next batch begins is; where its write fails the file is cut there.)
//! - The allocation grows geometrically from small; a full disk is tried once more with the exact need.
//! - Ahead of batches that are each synced, zeros are written too: a sync into space that was only
//!   allocated changes the file's extents and waits for the journal. Whoever holds the tail writes them, above
//!   its end.
//! - The lock is held for one piece at a time: a writer that has run ahead waits for a piece, never for a
//!   whole step. A segment that grows no more is never prepared again, one at rest not before it wakes.

use std::io;
use std::time::Duration;

use crate::env::File;
use crate::env::map::SegmentMap;

const PAGE: u64 = 4096;
const FIRST_ALLOCATION: u64 = 64 << 10;
const GREATEST_GROWTH: u64 = 256 << 20;
/// Prefaulted at once; larger pieces stall whoever waits for the file.
const PIECE: u64 = 512 << 10;
const FIRST_STEP: u64 = 64 << 10;
const GREATEST_STEP: u64 = 16 << 20;
/// Steps from this size on are filled with zeros by calls before they are prefaulted (1.6 times faster
/// for hot partitions); smaller ones would only dirty large folios.
const ZERO_FILL_FROM: u64 = 512 << 10;
/// Steps that come within this time of each other grow.
const HOT: Duration = Duration::from_millis(200);
/// After this time a partition begins small again.
const COLD: Duration = Duration::from_secs(10);

/// How bytes will be put into the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By write calls: allocation is enough.
    Written,
    /// By stores through the map: the pages must be present.
    Stored,
}

/// Zeros written at once ahead of synced batches: at least so many bytes, or room for so many more batches.
const ZEROED_AHEAD: u64 = 128 << 10;
const ZEROED_BATCHES: u64 = 4;

/// How far to go beyond what is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The writer waits: one piece at most.
    Need,
    /// In the background: as far as the recent rate asks for.
    Ahead,
}

/// How far a segment is prepared.
#[derive(Debug)]
pub(crate) struct Preparation {
    allocated: u64,
    max_len: u64,
    step: u64,
    last: Option<Duration>,
    finished: bool,
    /// Up to here the file has been written, with zeros at least.
    zeroed: u64,
}

impl Preparation {
    /// `allocated` bytes are there; the segment may grow to `max_len`.
    pub(crate) fn new(allocated: u64, max_len: u64) -> Preparation {
        Preparation { allocated, max_len, step: FIRST_STEP, last: None, finished: false, zeroed: allocated }
    }

    /// How far to prepare now, where `need` is needed: chosen once, then reached piece by piece.
    pub(crate) fn goal(&mut self, prepared: u64, need: u64, reach: Reach, now: Duration) -> u64 {
        self.choose_step(now);
        let step = match reach {
            Reach::Need => self.step.min(PIECE),
            Reach::Ahead => self.step,
        };
        (prepared + step).max(need).min(self.max_len)
    }

    /// Where the writer asks for more, if the room ends at `goal`: half a step before; never at the end.
    pub(crate) fn low_water(&self, goal: u64) -> u64 {
        if goal < self.max_len { goal.saturating_sub(self.step / 2) } else { u64::MAX }
    }

    /// One piece of the way to `goal`. Answers whether there is more to do.
    pub(crate) fn advance(
        &mut self,
        file: &dyn File,
        map: &SegmentMap,
        need: u64,
        goal: u64,
        way: Way,
    ) -> io::Result<bool> {
        if self.finished || goal <= map.prepared() {
            return Ok(false);
        }
        if need > self.max_len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the segment's greatest size"));
        }
        self.allocate(file, goal, need)?;
        let end = goal.min(self.allocated);
        match way {
            Way::Written => map.raise_prepared(self.allocated),
            Way::Stored => self.prefault(file, map, (map.prepared() + PIECE).min(end))?,
        }
        Ok(map.prepared() < end)
    }

    /// Room up to `end` that is about to be written by calls, in a file whose batches are built in the map: no
    /// zeros are written there any more, and only the page that the next batch begins in is made present. Answers
    /// whether that could be.
    pub(crate) fn reserve(&mut self, file: &dyn File, map: &SegmentMap, end: u64) -> io::Result<bool> {
        if self.finished || end > self.max_len {
            return Ok(false);
        }
        if end > map.prepared() {
            self.allocate(file, end, end)?;
            if !map.region().populate((end - 1) / PAGE * PAGE..end) {
                return Ok(false);
            }
            map.raise_prepared(end);
        }
        Ok(true)
    }

    /// Writes zeros over allocated space from `end`, the end of the tail, so that a batch up to `need` replaces
    /// others, and some more like it.
    pub(crate) fn write_zeros_ahead(&mut self, file: &dyn File, end: u64, need: u64) -> io::Result<()> {
        if need <= self.zeroed {
            return Ok(());
        }
        let start = self.zeroed.max(end);
        let more = ZEROED_AHEAD.max(ZEROED_BATCHES * (need - end));
        let goal = (need + more).next_multiple_of(PAGE).min(start + PIECE).min(self.allocated);
        if goal > start {
            write_zeros(file, start, goal)?;
        }
        self.zeroed = goal;
        Ok(())
    }

    /// Up to where the file has been allocated.
    pub(crate) fn allocated(&self) -> u64 {
        self.allocated
    }

    /// The segment grows no more, or rests.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    fn choose_step(&mut self, now: Duration) {
        let idle = self.last.map_or(COLD, |last| now.saturating_sub(last));
        self.step = match idle {
            idle if idle < HOT => (self.step * 2).min(GREATEST_STEP),
            idle if idle < COLD => (self.step / 2).max(FIRST_STEP),
            _ => FIRST_STEP,
        };
        self.last = Some(now);
    }

    fn allocate(&mut self, file: &dyn File, wanted: u64, need: u64) -> io::Result<()> {
        if wanted <= self.allocated {
            return Ok(());
        }
        let growth = self.allocated.clamp(FIRST_ALLOCATION, GREATEST_GROWTH);
        let generous = wanted.max(self.allocated + growth).next_multiple_of(PAGE).min(self.max_len);
        let exact = need.next_multiple_of(PAGE).min(self.max_len);
        let end = match file.allocate(self.allocated, generous - self.allocated) {
            Ok(()) => generous,
            Err(e) if is_full(&e) && exact > self.allocated => {
                file.allocate(self.allocated, exact - self.allocated)?;
                exact
            }
            Err(e) if is_full(&e) && need <= self.allocated => return Ok(()),
            Err(e) => return Err(e),
        };
        self.allocated = end;
        Ok(())
    }

    fn prefault(&self, file: &dyn File, map: &SegmentMap, end: u64) -> io::Result<()> {
        let start = map.prepared();
        if self.step >= ZERO_FILL_FROM {
            write_zeros(file, start, end)?;
        }
        if !map.region().populate(start..end) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "pages cannot be made present"));
        }
        map.raise_prepared(end);
        Ok(())
    }
}

fn write_zeros(file: &dyn File, start: u64, end: u64) -> io::Result<()> {
    static ZEROS: [u8; PIECE as usize] = [0; PIECE as usize];
    let zeros = ZEROS.get(..(end - start) as usize).unwrap_or(&ZEROS);
    crate::env::write_all_at(file, zeros, start)
}

fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
