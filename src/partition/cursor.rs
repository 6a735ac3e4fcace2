//! Reading: a position in a partition that moves forward, and the chunks it lends.
//!
//! ```text
//!   sealed batch | sealed batch | open batch: header's place | r r r |
//!   run            run            run over what is published  ^ next time from here
//! ```
//!
//! Invariants
//! - A chunk pins what it lends: the segment (and with it the directory's lock), or memory of its own.
//! - A batch is lent only below the high watermark and, if this process did not write it, after its CRC has
//!   been checked through a call, not through the map.
//! - A cursor that has found nothing for a while, or waits, keeps no files open.
//! - The next offset comes from the batch, not from its last record: compaction leaves gaps.
//! - A batch that is handed out in parts is found, checked and decompressed once: what is left of it is kept.

use std::sync::Arc;
use std::time::Duration;

use super::chunk::{Chunk, ChunkRun, Source};
use super::counts::ReadCount;
use super::gathered::Gathered;
use super::log::Log;
use super::place::{Left, Place, Step};
use crate::config::{CrcCheck, Isolation};
use crate::env::map::prefetch;
use crate::error::{Error, Result};
use crate::format::batch::BatchHeader;
use crate::segment::BatchAt;

/// Bounds of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    /// Bytes of batches; soft: it holds at least one.
    pub(crate) max_bytes: u64,
    /// Records; hard, but 1 at least.
    pub(crate) max_records: u32,
    /// When CRCs are checked.
    pub(crate) crc: CrcCheck,
}

/// A place in a log, between two records.
#[derive(Debug)]
pub(crate) struct Cursor {
    log: Arc<Log>,
    next: u64,
    place: Option<Place>,
    /// Nothing has been read since it went to another offset.
    jumped: bool,
    /// How long to let the writer get ahead, in turns of a spin loop.
    pause: u32,
    /// How often in a row nothing has been found.
    idle: u32,
    /// Since when, about.
    idle_since: Duration,
    /// What it has handed out, where that is counted.
    count: Option<Arc<ReadCount>>,
    /// Nothing of open and aborted transactions is handed out.
    committed: bool,
    /// No aborted transaction has records from the next offset up to here.
    clear: u64,
    /// Batches whose greatest timestamp is smaller are passed over.
    oldest: i64,
    /// Where what is checked is read to.
    scratch: Vec<u8>,
}

/// After finding nothing so often in a row, and so often again ...
const IDLE: u32 = 256;
/// ... and for so long, a cursor lets its segment's files go.
const IDLE_TIME: Duration = Duration::from_millis(20);

/// A reader that keeps up with a hot writer takes the cache line of the published mark away from it for
/// every few records. It lets the writer get ahead for a moment if it found as few as this, but several ...
const FEW_RECORDS: std::ops::Range<u64> = 2..64;
/// ... for at least and at most so many turns (128 are about a microsecond) ...
const PAUSES: std::ops::RangeInclusive<u32> = 16..=128;
/// ... as long as each pause brings a record for so many of its turns: else the writer is not hot, and to wait for it
/// only makes its records late.
const TURNS_A_RECORD: u64 = 16;

impl Cursor {
    /// At offset `next`.
    pub(crate) fn new(log: Arc<Log>, next: u64) -> Cursor {
        let (place, count, committed, clear) = (None, None, false, 0);
        let (idle_since, oldest, scratch) = (Duration::ZERO, i64::MIN, Vec::new());
        Cursor {
            log,
            next,
            place,
            jumped: false,
            pause: 0,
            idle: 0,
            idle_since,
            count,
            committed,
            clear,
            oldest,
            scratch,
        }
    }

    /// At offset `next`; what it hands out counts as read.
    pub(crate) fn counted(log: Arc<Log>, next: u64) -> Cursor {
        let count = log.begin_count();
        let mut cursor = Cursor::new(log, next);
        cursor.count = Some(count);
        cursor
    }

    /// What it has handed out, where that is counted.
    pub(crate) fn count(&self) -> Option<&Arc<ReadCount>> {
        self.count.as_ref()
    }

    /// The same, without batches all of whose records are older than `timestamp`.
    pub(super) fn not_older(mut self, timestamp: i64) -> Cursor {
        self.oldest = timestamp;
        self
    }

    /// The same, of the records that this isolation lets be seen.
    pub(crate) fn isolated(mut self, isolation: Isolation) -> Cursor {
        self.committed = isolation == Isolation::ReadCommitted;
        self
    }

    /// Which records of transactions it hands out.
    pub(crate) fn isolation(&self) -> Isolation {
        if self.committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
    }

    /// Where this cursor must stop now.
    pub(crate) fn end(&self) -> u64 {
        if self.committed { self.log.last_stable() } else { self.log.high_watermark() }
    }

    /// The log.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The offset read next.
    #[inline]
    pub(crate) fn next_offset(&self) -> u64 {
        self.next
    }

    /// Goes to another offset.
    pub(crate) fn seek(&mut self, offset: u64) {
        if offset != self.next {
            (self.next, self.jumped) = (offset, true);
            self.place = self.place.take().and_then(|place| place.left_for(offset, &self.log));
            self.clear = 0;
            self.pause = 0;
        }
        if let Some(count) = &self.count {
            count.moved(offset);
        }
    }

    /// The reader is about to wait: the segment's files may be closed meanwhile, and memory is given back.
    pub(crate) fn let_go(&mut self) {
        self.place = self.place.take().filter(|place| place.left.is_none());
        if let Some(place) = &mut self.place {
            place.open = None;
        }
        self.scratch = Vec::new();
    }

    /// Nothing has been found for a while: in turns, which a reader that spins has been through in microseconds, and
    /// in time.
    #[cold]
    fn rest(&mut self) {
        let now = self.log.monotonic();
        if self.idle == IDLE {
            self.idle_since = now;
        } else if now.saturating_sub(self.idle_since) >= IDLE_TIME {
            self.let_go();
        }
    }

    /// As [`read`](Self::read), and where the log has ended, the error that says so once there is nothing more.
    #[inline]
    pub(crate) fn read_or_end(&mut self, until: u64, limits: &ReadLimits) -> Result<Option<Chunk>> {
        match self.read(until, limits)? {
            None if self.log.has_ended() && self.next < until => self.read_last(until, limits),
            found => Ok(found),
        }
    }

    /// The log has ended: what came before that was seen is read, then nothing comes any more.
    #[cold]
    fn read_last(&mut self, until: u64, limits: &ReadLimits) -> Result<Option<Chunk>> {
        let last = self.read(until, limits)?;
        if last.is_none() {
            self.log.check_going_on()?;
        }
        Ok(last)
    }

    /// What can be read now, below `until`; `None` if there is nothing. Never waits.
    pub(crate) fn read(&mut self, until: u64, limits: &ReadLimits) -> Result<Option<Chunk>> {
        if self.place.as_ref().is_some_and(|place| place.segment.ends_before(place.position.max(1))) {
            // A truncation has taken back what was here, or the whole segment: another one may begin there.
            self.place = None;
        }
        let mut visible = self.visible_end();
        if self.next >= visible.min(until) {
            self.pause = 0;
            self.idle = self.idle.wrapping_add(1);
            if self.idle % IDLE == 0 {
                self.rest();
            }
            if self.committed && self.next < until {
                self.log.check_stuck()?;
            }
            return self.at_end();
        }
        self.idle = 0;
        if self.pause > 0 {
            (0..self.pause).for_each(|_| std::hint::spin_loop());
            visible = self.visible_end();
        }
        if self.next < self.log.log_start() {
            return Err(self.log.out_of_range(self.next));
        }
        let most = u64::from(limits.max_records);
        if let Some(mut chunk) = self.read_on(until) {
            let at_end = chunk.records <= most || !self.cut_short(&mut chunk, most, false);
            self.note_chunk(&chunk, at_end);
            return Ok(Some(chunk));
        }
        let (from, jumped) = (self.next, std::mem::take(&mut self.jumped));
        let mut chunk = match self.take_left(visible, until) {
            Some(left) => Ok(Some(left)),
            None => self.gather_visible(&mut visible, until, limits).map_err(|e| self.explain(e)),
        };
        if self.committed && from < self.log.log_start() {
            // Which transactions were aborted there may have been forgotten meanwhile.
            (self.next, chunk) = (from, Err(self.log.out_of_range(from)));
        }
        match &mut chunk {
            Ok(Some(chunk)) => {
                let shortened = chunk.records > most && self.cut_short(chunk, most, jumped);
                self.note_chunk(chunk, !shortened && self.next >= visible);
            }
            Ok(None) => self.pause = 0,
            Err(_) => self.place = None,
        }
        chunk
    }

    /// Hands out the first records of a chunk that has more than may be handed out, and keeps the others; answers whether
    /// there are any. Who has `jumped` here is about to jump again, it may be: then nothing is kept until the next read has
    /// shown that it goes on in order.
    #[cold]
    fn cut_short(&mut self, chunk: &mut Chunk, most: u64, jumped: bool) -> bool {
        let gaps = self.place.as_ref().is_none_or(|place| place.gaps);
        if jumped {
            let Some(next) = chunk.end_early(most, gaps) else { return false };
            self.seek(next);
            self.jumped = false;
            return true;
        }
        let Some(left) = chunk.cut_short(most, gaps) else { return false };
        let behind = std::mem::replace(&mut self.next, left.from);
        if let Some(place) = &mut self.place {
            place.left = Some(Box::new(Left { chunk: left, next: behind, inside: place.inside.take() }));
        }
        true
    }

    /// What was kept by the last read.
    fn take_left(&mut self, visible: u64, until: u64) -> Option<Chunk> {
        let place = self.place.as_mut()?;
        let Left { mut chunk, next, inside } = *place.left.take()?;
        if next > visible {
            self.place = None; // it was taken back
            return None;
        }
        (place.inside, self.next, chunk.until) = (inside, next, until);
        Some(chunk)
    }

    /// What there is below what is `visible`. Where that is nothing, and more is visible by now, looks again: a
    /// compaction may just have taken all of it away, in favour of what came since.
    fn gather_visible(
        &mut self,
        visible: &mut u64,
        until: u64,
        limits: &ReadLimits,
    ) -> Result<Option<Chunk>> {
        loop {
            if let Some(chunk) = self.gather_again(Bound { visible: *visible, until }, limits)? {
                return Ok(Some(chunk));
            }
            let now = self.visible_end();
            if now <= *visible || self.next >= now.min(until) {
                return Ok(None);
            }
            *visible = now;
        }
    }

    /// What has been published of the open batch since the last look, which is all there is at the tail of a
    /// log: the same as [`gather`](Self::gather) finds, in fewer steps.
    #[inline]
    fn read_on(&mut self, until: u64) -> Option<Chunk> {
        let place = self.place.as_mut()?;
        let open = place.inside?;
        let segment = place.open.as_ref()?;
        let map = segment.map();
        // Published first, then sealed: see `SegmentMap::slice`.
        let published = map.published();
        let end_offset = place.segment.base() + u64::from(published.delta);
        let range = place.position..u64::from(published.position);
        let ordinary = map.sealed() <= open.position
            && range.start < range.end
            && end_below(&self.log, self.committed, end_offset) == end_offset
            && !map.region().is_empty();
        if !ordinary {
            return None;
        }
        fetch(map.slice(range.clone()).unwrap_or_default());
        let (from, bytes) = (self.next, range.end - range.start);
        place.position = range.end;
        self.next = end_offset;
        Some(Chunk {
            source: Source::Map(segment.clone()),
            first: ChunkRun::of_open(&open, range),
            rest: Vec::new(),
            bytes,
            records: end_offset.saturating_sub(from),
            from,
            until,
        })
    }

    /// `at_end`: the chunk is all that there was.
    #[inline]
    fn note_chunk(&mut self, chunk: &Chunk, at_end: bool) {
        let few = at_end && FEW_RECORDS.contains(&chunk.records);
        let hot = few && chunk.records * TURNS_A_RECORD >= u64::from(self.pause);
        self.pause = if hot { (self.pause * 2).clamp(*PAUSES.start(), *PAUSES.end()) } else { 0 };
        if let Some(count) = &self.count {
            count.add(chunk.records, chunk.bytes, self.next);
        }
    }

    /// The high watermark, or the last stable offset.
    #[inline]
    fn visible_end(&self) -> u64 {
        match self.growing_end() {
            Some(end) => end_below(&self.log, self.committed, end),
            None => self.end(),
        }
    }

    /// The log's end, cheaply, where the place is in the active segment.
    #[inline]
    fn growing_end(&self) -> Option<u64> {
        let place = self.place.as_ref().filter(|place| !place.segment.is_closed())?;
        let published = match &place.open {
            Some(open) => open.map().published(),
            None => place.segment.published(),
        };
        Some(place.segment.base() + u64::from(published.delta))
    }

    fn at_end(&self) -> Result<Option<Chunk>> {
        // What a truncation or a recreation has taken back is not there to wait for.
        let end = self.growing_end().unwrap_or_else(|| self.log.log_end());
        let beyond = self.next > end && self.next > self.log.appended_end();
        if beyond || self.next < self.log.log_start() {
            return Err(self.log.out_of_range(self.next));
        }
        Ok(None)
    }

    /// An error of a segment that delete-records has taken away meanwhile is an offset out of range.
    fn explain(&self, error: Error) -> Error {
        if self.next < self.log.log_start() {
            return self.log.out_of_range(self.next);
        }
        error.in_partition(&self.log.tp).at_offset(crate::types::Offset::of(self.next))
    }

    /// As [`gather`](Self::gather), anew where compaction has exchanged segments under an attempt that failed.
    fn gather_again(&mut self, bound: Bound, limits: &ReadLimits) -> Result<Option<Chunk>> {
        loop {
            let (next, before) = (self.next, self.log.swap_count());
            let gathered = self.gather(bound, limits);
            if gathered.is_ok() || (before % 2 == 0 && self.log.swap_count() == before) {
                return gathered;
            }
            (self.next, self.place) = (next, None);
            crate::sync::thread::yield_now();
        }
    }

    fn gather(&mut self, bound: Bound, limits: &ReadLimits) -> Result<Option<Chunk>> {
        let mut gathered = Gathered::new(self.next, bound.until);
        loop {
            match self.locate()? {
                Some(place) if !gathered.leaves(place.open.as_ref()) => {}
                _ => break,
            }
            match self.step(&mut gathered, bound, limits)? {
                Step::More if gathered.has_room(limits) => {}
                Step::NextSegment if gathered.is_empty() => {}
                Step::Alone(chunk) => return Ok(Some(chunk)),
                _ => break,
            }
        }
        gathered.finish()
    }

    /// The place of `next`, found through the indexes if it is not known.
    fn locate(&mut self) -> Result<Option<&mut Place>> {
        if let Some(place) = &mut self.place {
            if place.open.is_none() {
                self.log.make_room();
                place.open = place.segment.open().ok();
                self.log.note_opened();
            }
        }
        if self.place.as_ref().is_some_and(|place| place.sought && !place.stands(&self.log)) {
            self.place = None;
        }
        if let Some(place) = self.place.as_mut().filter(|place| place.sought) {
            place.find(self.next, &self.log)?;
            // What lies behind its end may be in another segment by now.
            place.open = place.open.take().filter(|open| place.position < place.segment.end_in(open));
        }
        // Its segment may have been deleted since.
        if self.place.as_ref().is_none_or(|place| place.open.is_none()) {
            self.place = None;
            let swaps = self.log.swap_count();
            let Some((segment, ends_at)) = self.log.stretch_for(self.next) else { return Ok(None) };
            self.log.make_room();
            let open = Some(segment.open()?);
            let gaps = self.log.is_compacted();
            let mut place = Place { swaps, ..Place::begin(segment, open, gaps, ends_at) };
            place.find(self.next, &self.log)?;
            self.place = Some(place);
        }
        Ok(self.place.as_mut())
    }

    /// One batch further, or one segment.
    fn step(&mut self, gathered: &mut Gathered, bound: Bound, limits: &ReadLimits) -> Result<Step> {
        let Some(place) = &mut self.place else { return Ok(Step::Stop) };
        if place.inside.is_some() {
            return place.rest_of_batch(gathered, &mut self.next);
        }
        let Some(open) = &place.open else { return Ok(Step::Stop) };
        if let Some(batch) = place.segment.batch_in(open, place.position)? {
            return self.sealed_batch(batch, gathered, bound, limits);
        }
        if self.next >= bound.visible {
            return Ok(Step::Stop); // what is published above was never acknowledged: a failed flush caps
        }
        if place.begin_open_batch()? {
            return place.rest_of_batch(gathered, &mut self.next);
        }
        self.next_segment()
    }

    fn next_segment(&mut self) -> Result<Step> {
        let Some(place) = &self.place else { return Ok(Step::Stop) };
        if !place.segment.is_closed() {
            return Ok(Step::Stop);
        }
        if place.segment.is_retired() {
            // What follows may be in the segment that has taken its place.
            self.place = None;
            return Ok(Step::NextSegment);
        }
        let Some(segment) = self.log.segment_after(place.segment.base()) else { return Ok(Step::Stop) };
        let gaps = place.gaps || self.log.is_compacted();
        if !gaps && self.next < segment.base() {
            let why = format!("offset {} is expected, but the log goes on at {}", self.next, segment.base());
            return Err(place.segment.corrupted(place.position, why));
        }
        if self.next > segment.base() {
            let why =
                format!("offsets up to {} before a segment that begins at {}", self.next, segment.base());
            return Err(place.segment.corrupted(place.position, why));
        }
        self.log.make_room();
        let open = Some(segment.open()?);
        self.log.note_opened();
        self.next = segment.base();
        let ends_at = segment.base(); // who jumps from here asks anew
        self.place = Some(Place::begin(segment, open, gaps, ends_at));
        Ok(Step::NextSegment)
    }

    fn sealed_batch(
        &mut self,
        batch: BatchAt,
        gathered: &mut Gathered,
        bound: Bound,
        limits: &ReadLimits,
    ) -> Result<Step> {
        let Some(place) = &mut self.place else { return Ok(Step::Stop) };
        let header = &batch.header;
        let (base, last) = (header.base_offset as u64, header.last_offset() as u64);
        place.check_continuity(&batch, self.next)?;
        if base >= bound.until {
            return Ok(Step::Stop);
        }
        if last >= bound.visible {
            // Not acknowledged yet, if that is what was written: damage must not end the log in silence.
            place.check(&batch, limits.crc, &self.log, &mut self.scratch)?;
            if last >= self.log.log_end() {
                place.check_end(&batch, &self.log)?;
            }
            return Ok(Step::Stop);
        }
        let uncompressed = header.attributes.is_uncompressed();
        let aborted = self.committed
            && header.attributes.is_transactional()
            && base >= self.clear
            && is_aborted(&self.log, header, &mut self.clear, bound.visible);
        let skipped =
            header.attributes.is_control() || header.records_count == 0 || last < self.next || aborted;
        let skipped = skipped || header.max_timestamp < self.oldest;
        let alone = !uncompressed || !gathered.has_room_for(header.records_count as u64, limits);
        if alone && !skipped && !gathered.is_empty() {
            return Ok(Step::Stop); // the next chunk is, or begins with, this batch
        }
        place.expect_reads(&batch);
        gathered.checked |= place.check(&batch, limits.crc, &self.log, &mut self.scratch)?;
        let jumped = place.found;
        let from = self.next;
        place.position = batch.end();
        place.found = false;
        self.next = self.next.max(last + 1);
        if skipped {
            return Ok(Step::More);
        }
        gathered.jumped |= jumped;
        let mut run = ChunkRun::of_batch(&batch);
        if uncompressed {
            let passed = match self.oldest {
                i64::MIN if jumped => place.shorten(&mut run, &batch, from),
                i64::MIN => 0,
                oldest => place.shorten_to_time(&mut run, &batch, oldest),
            };
            gathered.push(&place.open, run, header.records_count as u64 - passed);
            return Ok(Step::More);
        }
        let records = place.decompressed(&batch)?;
        let run = run.placed_at(0..records.len() as u64);
        let chunk = Chunk {
            source: Source::Heap(Arc::new(records)),
            bytes: header.total_len() as u64,
            records: header.records_count as u64,
            first: run,
            rest: Vec::new(),
            from,
            until: bound.until,
        };
        Ok(Step::Alone(chunk))
    }
}

/// Where a reader must stop, if the log ends at `log_end`.
#[inline]
fn end_below(log: &Log, committed: bool, log_end: u64) -> u64 {
    if committed { log.marks.last_stable(log_end) } else { log.marks.high_watermark(log_end) }
}

/// Whether a batch belongs to an aborted transaction; notes up to where none is, for the batches to come.
#[cold]
fn is_aborted(log: &Log, header: &BatchHeader, clear: &mut u64, visible: u64) -> bool {
    let base = header.base_offset as u64;
    *clear = log.clear_until(base, visible);
    base >= *clear && log.is_aborted(header.producer_id, base)
}

/// Has the cache lines of fresh records on their way from the writer's processor at once, instead of each
/// when the one before has told where to go on.
#[inline]
fn fetch(records: &[u8]) {
    const LINE: usize = 64;
    const LINES: usize = 4;
    (0..LINES).for_each(|line| prefetch(records, line * LINE));
    prefetch(records, records.len().saturating_sub(1));
}

#[derive(Clone, Copy)]
struct Bound {
    visible: u64,
    until: u64,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        if let Some(count) = &self.count {
            self.log.end_count(count);
        }
    }
}
