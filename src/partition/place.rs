//! Where a cursor is in the files: a segment, a position, and what is known of both.
//!
//! ```text
//!   found through the indexes:   | batch | batch | batch ...        the batch here may begin below the offset
//!                                        ^ position
//!   inside the open batch:       | header's place | r r r |
//!                                                         ^ position: the rest comes when it is published
//!   left over:                   | r r r r r r r | batch
//!                                        ^ left  ^ position: handed out so far only up to `left`
//! ```
//!
//! Invariants
//! - A place stands for as long as no segments are exchanged or taken back; who jumps within one asks that first.
//! - What is left over lies before the position, and is pinned.

use std::sync::Arc;
use std::time::Duration;

use super::chunk::{Chunk, ChunkRun};
use super::gathered::Gathered;
use super::log::Log;
use crate::config::CrcCheck;
use crate::env::map::SegmentMap;
use crate::error::Result;
use crate::format::batch::{BatchView, HEADER_LEN};
use crate::format::compression::{Codec, decompress};
use crate::segment::{BatchAt, OpenBatch, OpenSegment, Segment};

/// The greatest size a batch may have when its compression is undone, in bytes.
const MAX_DECOMPRESSED: usize = 1 << 30;

/// A count of exchanges that never is (it is odd).
const UNKNOWN: u64 = u64::MAX;

/// Whoever waited so long for a page waited for a disk.
const OF_A_DISK: Duration = Duration::from_micros(30);

/// Who has read so many bytes on end goes on reading.
const IN_ORDER: u64 = 1 << 20;

/// Where a segment ends that has not been closed.
pub(super) const GROWING: u64 = u64::MAX;

/// Where `next` is in the files.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) segment: Arc<Segment>,
    /// Nothing while the cursor is idle: then the files may be closed.
    pub(super) open: Option<Arc<OpenSegment>>,
    pub(super) position: u64,
    /// The reader has jumped: where in the segment it goes on is to be found.
    pub(super) sought: bool,
    /// Where the next segment begins, if this one was closed when it was found.
    pub(super) ends_at: u64,
    /// How often segments had been exchanged or cut when it was found.
    pub(super) swaps: u64,
    /// Inside this batch, which was open when its first records were lent.
    pub(super) inside: Option<OpenBatch>,
    /// Offsets may be missing between batches: the log was compacted.
    pub(super) gaps: bool,
    /// Found through the indexes: the batch here may begin below the next offset.
    pub(super) found: bool,
    /// To find it took so long that the disk was asked: what lies here is not in memory either.
    pub(super) cold: bool,
    /// Read in order from this position on.
    pub(super) since: u64,
    /// Not handed out yet, though it lies before the position.
    pub(super) left: Option<Box<Left>>,
}

/// What is left of a chunk that held more records than could be handed out at once.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) chunk: Chunk,
    /// The offset behind it.
    pub(super) next: u64,
    /// The open batch that the place is inside of.
    pub(super) inside: Option<OpenBatch>,
}

/// What one step of a reader has come to.
pub(super) enum Step {
    More,
    NextSegment,
    Alone(Chunk),
    Stop,
}

impl Place {
    /// At the start of a segment, which no jump keeps.
    pub(super) fn begin(
        segment: Arc<Segment>,
        open: Option<Arc<OpenSegment>>,
        gaps: bool,
        ends_at: u64,
    ) -> Place {
        let (sought, inside, found, cold) = (false, None, false, false);
        let swaps = UNKNOWN;
        let (position, since, left) = (0, 0, None);
        Place { segment, open, position, sought, ends_at, swaps, inside, gaps, found, cold, since, left }
    }

    /// Whether no segments have been exchanged or taken back since it was found.
    pub(super) fn stands(&self, log: &Log) -> bool {
        self.swaps % 2 == 0 && self.swaps == log.swap_count()
    }

    /// What a reader keeps that jumps to `offset`: the segment, if it has that.
    pub(super) fn left_for(self, offset: u64, log: &Log) -> Option<Place> {
        let stands = self.stands(log);
        let Place { segment, open, gaps, ends_at, swaps, .. } = self;
        let grows = ends_at == GROWING;
        let same = stands
            && offset >= segment.base()
            && offset < ends_at
            && open.is_some()
            && grows != segment.is_closed();
        if !same {
            return None;
        }
        segment.touch();
        Some(Place { sought: true, swaps, ..Place::begin(segment, open, gaps, ends_at) })
    }

    /// Finds `offset` in the segment.
    pub(super) fn find(&mut self, offset: u64, log: &Log) -> Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let asked = log.monotonic();
        self.position = self.segment.seek_in(open, offset, self.gaps)?;
        self.cold = log.monotonic().saturating_sub(asked) > OF_A_DISK;
        log.note_opened();
        (self.since, self.found, self.sought) = (self.position, true, false);
        Ok(())
    }

    fn map(&self) -> Option<&SegmentMap> {
        self.open.as_ref().map(|open| &**open.map())
    }

    /// The segment's files, which stay the same for as long as the place does: also where it has been compacted away.
    fn files(&self) -> Result<Arc<OpenSegment>> {
        self.open.clone().map_or_else(|| self.segment.open(), Ok)
    }

    /// Looks whether records of an open batch are published here.
    pub(super) fn begin_open_batch(&mut self) -> Result<bool> {
        let Some(map) = self.map() else { return Ok(false) };
        let published = u64::from(map.published().position);
        if self.segment.is_closed() || published < self.position + HEADER_LEN as u64 {
            return Ok(false);
        }
        // Sealed since: the next look finds its header.
        let Some(open) = self.segment.open_batch(self.position) else {
            return Ok(map.sealed() > self.position);
        };
        self.position += HEADER_LEN as u64;
        self.inside = Some(open);
        Ok(true)
    }

    /// What has been published of the batch the place is inside of.
    pub(super) fn rest_of_batch(&mut self, gathered: &mut Gathered, next: &mut u64) -> Result<Step> {
        let Some(open) = self.inside else { return Ok(Step::More) };
        let Some(segment) = &self.open else { return Ok(Step::Stop) };
        // Published first, then sealed: see `SegmentMap::slice`.
        let published = segment.map().published();
        let sealed = segment.map().sealed();
        let (end, end_offset, done) = if sealed > open.position {
            let Some(batch) = self.segment.batch_in(segment, open.position)? else { return Ok(Step::Stop) };
            (batch.end(), batch.header.last_offset() as u64 + 1, true)
        } else {
            (published.position.into(), self.segment.base() + u64::from(published.delta), false)
        };
        if done {
            self.inside = None;
        }
        if end > self.position {
            let run = ChunkRun::of_open(&open, self.position..end);
            gathered.push(&self.open, run, end_offset.saturating_sub(*next));
            *next = (*next).max(end_offset);
            self.position = end;
        }
        Ok(if done { Step::More } else { Step::Stop })
    }

    /// Tells the system whether this reader jumps or goes on.
    #[inline]
    pub(super) fn expect_reads(&mut self, batch: &BatchAt) {
        let Some(open) = &self.open else { return };
        if self.cold {
            self.cold = false;
            open.fetch_scattered(batch.position..batch.end());
        } else if batch.position - self.since >= IN_ORDER {
            open.reads_in_order();
        }
    }

    /// Leaves out what lies before the record at offset `from`, as far as that is known; answers how many records.
    pub(super) fn shorten(&self, run: &mut ChunkRun, batch: &BatchAt, from: u64) -> u64 {
        let number = from.checked_sub(batch.header.base_offset as u64).and_then(|n| u32::try_from(n).ok());
        let open = self.open.as_ref();
        let Some(near) = open.and_then(|open| open.landmark(batch, number?)) else { return 0 };
        run.range.start = near.position;
        near.number.into()
    }

    /// Leaves out records older than `oldest`, as far as that is known; answers how many.
    pub(super) fn shorten_to_time(&self, run: &mut ChunkRun, batch: &BatchAt, oldest: i64) -> u64 {
        let open = self.open.as_ref();
        let Some(near) = open.and_then(|open| open.landmark_in_time(batch, oldest)) else { return 0 };
        run.range.start = near.position;
        near.number.into()
    }

    /// The base offset, which the CRC does not cover, is the one expected.
    #[inline]
    pub(super) fn check_continuity(&self, batch: &BatchAt, next: u64) -> Result<()> {
        let base = batch.header.base_offset as u64;
        if self.gaps || base == next || (self.found && base < next) {
            return Ok(());
        }
        let why = format!("a batch of offset {base} where {next} is expected");
        Err(self.segment.corrupted(batch.position, why))
    }

    /// A batch whose offsets lie beyond the end of the log is damaged: of its base offset no CRC tells. Unless it was
    /// taken back since it was looked at.
    #[cold]
    pub(super) fn check_end(&self, batch: &BatchAt, log: &Log) -> Result<()> {
        let (last, end) = (batch.header.last_offset() as u64, log.appended_end());
        let Some(open) = self.open.as_ref().filter(|_| last >= end) else { return Ok(()) };
        let there = self.segment.batch_in(open, batch.position)?;
        if there.is_none_or(|there| there.header != batch.header) {
            return Ok(());
        }
        let why = format!("a batch up to offset {last}, and the log ends at {end}");
        Err(self.segment.corrupted(batch.position, why))
    }

    /// Checks a batch's CRC, if it is to be checked, and with it the leader epoch, which it does not cover;
    /// answers whether that was so.
    pub(super) fn check(
        &self,
        batch: &BatchAt,
        check: CrcCheck,
        log: &Log,
        scratch: &mut Vec<u8>,
    ) -> Result<bool> {
        let (start, end) = (batch.position, batch.end());
        let wanted = match check {
            CrcCheck::Never => false,
            CrcCheck::Always => true,
            CrcCheck::Once => self.segment.verified().needs_check(start, end),
        };
        if !wanted {
            return Ok(false);
        }
        let open = self.files()?;
        match open.map().slice(start..end) {
            Some(bytes) if check == CrcCheck::Always => {
                let checked = BatchView::parse(bytes).and_then(|view| view.check_crc());
                checked.map_err(|e| open.bad_batch(batch, &e))?;
            }
            _ => open.check_crc(batch, scratch)?,
        }
        log.check_epoch(&self.segment, batch)?;
        if check == CrcCheck::Once {
            self.segment.verified().mark(start, end);
        }
        Ok(true)
    }

    pub(super) fn decompressed(&self, batch: &BatchAt) -> Result<Vec<u8>> {
        let unreadable = |e: crate::format::FormatError| e.at(&self.segment.log_path(), batch.position);
        let codec: Codec = batch.header.attributes.codec().map_err(unreadable)?;
        let range = batch.position + HEADER_LEN as u64..batch.end();
        let open = self.files()?;
        match open.map().slice(range.clone()) {
            Some(bytes) => decompress(codec, bytes, MAX_DECOMPRESSED).map_err(unreadable),
            None => {
                let bytes = open.read(range.start, (range.end - range.start) as usize)?;
                decompress(codec, &bytes, MAX_DECOMPRESSED).map_err(unreadable)
            }
        }
    }
}

impl Log {
    /// The leader epoch, which the CRC does not cover, agrees with the checkpoint.
    fn check_epoch(&self, segment: &Segment, batch: &BatchAt) -> Result<()> {
        let header = &batch.header;
        let known = self.epochs.lock().epoch_at(header.base_offset);
        let Some(known) = known.filter(|&known| known != header.leader_epoch) else { return Ok(()) };
        let why =
            format!("a batch of the leader epoch {}, where the checkpoint says {known}", header.leader_epoch);
        Err(segment.corrupted(batch.position, why))
    }
}
