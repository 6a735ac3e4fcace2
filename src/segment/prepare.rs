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
//! - `prepared` rises only after the piece is allocated and present.
//! - The allocation grows geometrically from small; a full disk is tried once more with the exact need.

use std::io;
use std::time::Duration;

use crate::env::File;
use crate::env::map::SegmentMap;

const PAGE: u64 = 4096;
const FIRST_ALLOCATION: u64 = 64 << 10;
const GREATEST_GROWTH: u64 = 256 << 20;
/// Prefaulted at once; larger pieces stall whoever waits for the file.
const PIECE: u64 = 1 << 20;
const FIRST_STEP: u64 = 64 << 10;
const GREATEST_STEP: u64 = 16 << 20;
/// Pieces from this size on are filled with zeros by calls before they are prefaulted (1.6 times faster
/// for hot partitions); smaller ones would only dirty large folios.
const ZERO_FILL_FROM: u64 = 512 << 10;
/// Steps that come within this time of each other grow.
const HOT: Duration = Duration::from_millis(200);

/// How bytes will be put into the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// By write calls: allocation is enough.
    Written,
    /// By stores through the map: the pages must be present.
    Stored,
}

/// How far a segment is prepared.
#[derive(Debug)]
pub(crate) struct Preparation {
    allocated: u64,
    max_len: u64,
    step: u64,
    last: Option<Duration>,
}

impl Preparation {
    /// `allocated` bytes are there; the segment may grow to `max_len`.
    pub(crate) fn new(allocated: u64, max_len: u64) -> Preparation {
        Preparation { allocated, max_len, step: FIRST_STEP, last: None }
    }

    /// Prepares at least up to `need`.
    pub(crate) fn prepare(
        &mut self,
        file: &dyn File,
        map: &SegmentMap,
        need: u64,
        way: Way,
        now: Duration,
    ) -> io::Result<()> {
        if need <= map.prepared() {
            return Ok(());
        }
        if need > self.max_len {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the segment's greatest size"));
        }
        self.choose_step(now);
        let wanted = (map.prepared() + self.step).max(need).min(self.max_len);
        self.allocate(file, wanted, need)?;
        match way {
            Way::Written => map.raise_prepared(self.allocated),
            Way::Stored => self.prefault(file, map, wanted.min(self.allocated))?,
        }
        Ok(())
    }

    fn choose_step(&mut self, now: Duration) {
        let hot = self.last.is_some_and(|last| now.saturating_sub(last) < HOT);
        self.step = if hot { (self.step * 2).min(GREATEST_STEP) } else { FIRST_STEP };
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
        let mut start = map.prepared();
        while start < end {
            let piece_end = (start + PIECE).min(end);
            if self.step >= ZERO_FILL_FROM {
                write_zeros(file, start, piece_end)?;
            }
            if !map.region().populate(start..piece_end) {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "pages cannot be made present"));
            }
            map.raise_prepared(piece_end);
            start = piece_end;
        }
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
