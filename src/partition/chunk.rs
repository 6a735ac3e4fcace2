//! What a read lends: records that lie side by side in one segment, with what they pin.
//!
//! ```text
//!   chunk: pins the segment, or memory of its own
//!     run                run                run
//!     | r r r r r r |    | r r r r |        | r r r (open batch, as published) |
//!       offsets from `from` on, below `until`
//! ```
//!
//! Invariants
//! - A chunk's runs lie in one segment, in order; it pins the segment (and with it the directory's lock), or
//!   holds its bytes itself.
//! - A record is decoded when it is asked for; what cannot be decoded ends the chunk with an error.

use std::ops::Range;
use std::sync::Arc;

use crate::env::map::{prefetch, prefetch_at};
use crate::error::{Error, Result};
use crate::format::batch::{BatchHeader, HEADER_LEN};
use crate::format::record::{RecordRef, decode_plain, decode_record};
use crate::segment::{BatchAt, OpenBatch, OpenSegment};

/// Records of one batch that lie side by side.
#[derive(Clone, Debug)]
pub(super) struct ChunkRun {
    pub(super) range: Range<u64>,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    leader_epoch: i32,
    /// Its bytes are fetched ahead of their records.
    ahead: bool,
}

impl ChunkRun {
    pub(super) fn of_batch(batch: &BatchAt) -> ChunkRun {
        let header: &BatchHeader = &batch.header;
        ChunkRun {
            range: batch.position + HEADER_LEN as u64..batch.end(),
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: header.attributes.is_log_append_time().then_some(header.max_timestamp),
            leader_epoch: header.leader_epoch,
            ahead: true,
        }
    }

    #[inline]
    pub(super) fn of_open(open: &OpenBatch, range: Range<u64>) -> ChunkRun {
        ChunkRun {
            range,
            base_offset: open.base_offset as i64,
            base_timestamp: open.base_timestamp,
            append_time: open.log_append_time.then_some(open.base_timestamp),
            leader_epoch: open.leader_epoch,
            // What a writer has just written comes from its cache: who hurries there only slows it down.
            ahead: false,
        }
    }

    /// The same records, decompressed or copied to `range`.
    pub(super) fn placed_at(self, range: Range<u64>) -> ChunkRun {
        ChunkRun { range, ..self }
    }

    pub(super) fn shift(&mut self, by: u64) {
        self.range = self.range.start - by..self.range.end - by;
    }
}

/// Records read at once; pins what it lends.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(super) source: Source,
    pub(super) first: ChunkRun,
    pub(super) rest: Vec<ChunkRun>,
    pub(super) bytes: u64,
    pub(super) records: u64,
    /// Offsets from here on ...
    pub(super) from: u64,
    /// ... and below this one are handed out.
    pub(super) until: u64,
}

/// Where the bytes of a chunk are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Keeps the segment's files open, and with them the directory locked.
    Map(Arc<OpenSegment>),
    /// A copy, where the file is not mapped or the batch was compressed.
    Heap(Arc<Vec<u8>>),
}

impl Chunk {
    /// Its records, in order.
    pub(crate) fn iter(&self) -> ChunkRecords<'_> {
        let mut records = ChunkRecords {
            chunk: self,
            bytes: &[],
            base_offset: 0,
            base_timestamp: 0,
            delta_mask: 0,
            leader_epoch: -1,
            unfetched: usize::MAX,
            from: self.from,
            span: 0,
            last_offset: NO_OFFSET,
            taken: 0,
            decoded: (RecordRef::default(), 0),
            damage: None,
        };
        records.enter(&self.first);
        records
    }

    /// Its records from a place on that [`ChunkRecords::mark`] told.
    pub(crate) fn iter_from(&self, mark: ChunkMark) -> ChunkRecords<'_> {
        let mut records = self.iter();
        if let Some(run) = mark.run.checked_sub(1).and_then(|at| self.rest.get(at)) {
            records.taken = mark.run;
            records.enter(run);
        }
        let passed = records.bytes.len().saturating_sub(mark.left);
        records.bytes = records.bytes.get(passed..).unwrap_or_default();
        records
    }

    /// Keeps its first records, as many as these and one at least; answers the others, if there are any. Where there may
    /// be `gaps` between offsets the next record is looked at (which is far away, where records are large), to know
    /// whether it is in the range.
    pub(super) fn cut_short(&mut self, most: u64, gaps: bool) -> Option<Chunk> {
        let (mark, next) = self.find_cut(most.max(1), gaps)?;
        Some(self.split_off(mark, next, most.max(1)))
    }

    /// The same, where nobody wants the others; answers the offset of the first of them.
    pub(super) fn end_early(&mut self, most: u64, gaps: bool) -> Option<u64> {
        const LINE: usize = 64;
        let (most, bytes) = (most.max(1), self.slice(&self.first));
        // They are far away, and will be looked at whole: while the end of the first is found the rest of it comes. (A
        // random read of 1 KiB takes 0.60 us; without, 0.85.)
        (0..AHEAD / 2 / LINE).for_each(|line| prefetch(bytes, line * LINE));
        let (_, next) = self.find_cut(most, gaps)?;
        let whole = std::mem::replace(&mut self.records, most);
        self.bytes = self.bytes.saturating_mul(most) / whole.max(1); // about
        self.until = next;
        Some(next)
    }

    /// Where so many records end that others follow, and the offset of the first of those.
    fn find_cut(&mut self, most: u64, gaps: bool) -> Option<(ChunkMark, u64)> {
        let mut records = self.iter();
        let there = (0..most).take_while(|_| records.next_record().is_some()).count() as u64;
        let mark = records.mark();
        let next = if gaps || mark.left == 0 {
            records.next_record().map(|record| record.offset)
        } else {
            records.last_offset().map(|last| last + 1)
        };
        let next = next.filter(|&next| there == most && next < self.until);
        if next.is_none() {
            self.records = there; // fewer than it seemed, or one is damaged
        }
        next.map(|next| (mark, next))
    }

    /// Parts it in front of the record at the offset `next`, where `mark` stands behind so many `records`; answers the
    /// rest.
    fn split_off(&mut self, mark: ChunkMark, next: u64, records: u64) -> Chunk {
        let len = |chunk: &Chunk| {
            let runs = std::iter::once(&chunk.first).chain(&chunk.rest);
            runs.map(|run| run.range.end - run.range.start).sum::<u64>()
        };
        let whole = len(self).max(1);
        let rest = self.rest.split_off(mark.run.min(self.rest.len()));
        let last = self.rest.last_mut().unwrap_or(&mut self.first);
        let mut first = last.clone();
        first.range.start = first.range.end.saturating_sub(mark.left as u64).max(first.range.start);
        last.range.end = first.range.start;
        let (source, from, until) = (self.source.clone(), next, self.until);
        let mut left = Chunk { source, first, rest, bytes: 0, records: 0, from, until };
        // Of a compressed batch, in proportion.
        left.bytes = (self.bytes.saturating_mul(len(&left)) / whole).min(self.bytes);
        left.records = self.records.saturating_sub(records);
        (self.bytes, self.records, self.until) = (self.bytes - left.bytes, records, next);
        left
    }

    /// About how many records it holds: never fewer than there are.
    pub(crate) fn count_hint(&self) -> usize {
        usize::try_from(self.records).unwrap_or(usize::MAX)
    }

    /// Bytes it lends.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The leader epoch of the last batch.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.rest.last().unwrap_or(&self.first).leader_epoch
    }

    /// Bytes behind a run that are fetched while its last records are decoded: those of the runs that follow.
    fn ahead_of(&self, run: &ChunkRun) -> usize {
        let end = self.rest.iter().rev().find(|run| run.ahead).map_or(0, |last| last.range.end);
        end.saturating_sub(run.range.end) as usize
    }

    fn slice(&self, run: &ChunkRun) -> &[u8] {
        match &self.source {
            Source::Map(segment) => segment.map().slice(run.range.clone()).unwrap_or_default(),
            Source::Heap(bytes) => {
                bytes.get(run.range.start as usize..run.range.end as usize).unwrap_or_default()
            }
        }
    }
}

/// How far ahead of a record bytes are fetched: as far as a reader of small records gets while memory answers, and no
/// matter where its batch ends. (A record of 100 B: 15 ns with 1024 within its batch, 13 beyond it, 12 with 2048.)
const AHEAD: usize = 2048;

/// No record has this offset.
const NO_OFFSET: u64 = u64::MAX;

/// The records of a chunk.
#[derive(Debug)]
pub(crate) struct ChunkRecords<'a> {
    chunk: &'a Chunk,
    /// What is left of the run.
    bytes: &'a [u8],
    base_offset: i64,
    base_timestamp: i64,
    /// All ones; zero where the batch's append time is the time of all its records.
    delta_mask: i64,
    leader_epoch: i32,
    /// Nothing is fetched ahead any more when so many bytes are left of the run.
    unfetched: usize,
    /// Offsets from here on are handed out, as many as `span` says.
    from: u64,
    span: u64,
    last_offset: u64,
    /// Runs of `rest` taken so far.
    taken: usize,
    /// The last record that was not plain, and its length.
    decoded: (RecordRef<'a>, usize),
    damage: Option<Error>,
}

/// A place in a chunk, to come back to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkMark {
    /// Runs of `rest` taken so far.
    run: usize,
    /// Bytes left of the run.
    left: usize,
}

/// One record, with what its batch says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChunkRecord<'a> {
    /// Its offset.
    pub(crate) offset: u64,
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
    /// Epoch of its batch.
    pub(crate) leader_epoch: i32,
    /// The record.
    pub(crate) record: RecordRef<'a>,
}

impl<'a> ChunkRecords<'a> {
    /// The next record; `None` at the end, or where a record is damaged: see [`take_damage`](Self::take_damage).
    #[inline(always)]
    pub(crate) fn next_record(&mut self) -> Option<ChunkRecord<'a>> {
        loop {
            if self.bytes.len() > self.unfetched {
                prefetch_at(self.bytes, AHEAD);
            }
            let (record, len) = match decode_plain(self.bytes) {
                Some(plain) => plain,
                None => match self.look_again() {
                    Look::Decoded => self.decoded,
                    Look::NextRun => continue,
                    Look::Ended => return None,
                },
            };
            self.bytes = self.bytes.get(len..).unwrap_or_default();
            let offset = self.base_offset.wrapping_add(record.offset_delta.into()) as u64;
            if offset.wrapping_sub(self.from) >= self.span {
                if self.passes_over(offset, record.offset_delta) {
                    continue;
                }
                return None;
            }
            self.last_offset = offset;
            let timestamp = self.base_timestamp.wrapping_add(record.timestamp_delta & self.delta_mask);
            return Some(ChunkRecord { offset, timestamp, leader_epoch: self.leader_epoch, record });
        }
    }

    /// Where it stands: in front of the next record.
    pub(crate) fn mark(&self) -> ChunkMark {
        ChunkMark { run: self.taken, left: self.bytes.len() }
    }

    /// What is wrong with the record behind the last one, if there is one.
    pub(crate) fn take_damage(&mut self) -> Option<Error> {
        self.damage.take()
    }

    /// The offset of the last record handed out.
    pub(crate) fn last_offset(&self) -> Option<u64> {
        (self.last_offset != NO_OFFSET).then_some(self.last_offset)
    }

    /// What is there, where it is no plain record.
    // Its result goes through memory, so that the common path keeps to registers.
    #[cold]
    #[inline(never)]
    fn look_again(&mut self) -> Look {
        match decode_record(self.bytes) {
            Ok(decoded) => {
                self.decoded = decoded;
                Look::Decoded
            }
            Err(_) if self.bytes.is_empty() && self.next_run() => Look::NextRun,
            Err(_) if self.bytes.is_empty() => Look::Ended,
            Err(why) => {
                self.damaged(&why);
                Look::Ended
            }
        }
    }

    fn next_run(&mut self) -> bool {
        let Some(run) = self.chunk.rest.get(self.taken) else { return false };
        self.taken += 1;
        self.enter(run);
        true
    }

    fn enter(&mut self, run: &'a ChunkRun) {
        self.bytes = self.chunk.slice(run);
        // Not before its batch, so that the range tells a negative delta, too.
        self.from = self.chunk.from.max(run.base_offset as u64);
        self.span = self.chunk.until.saturating_sub(self.from);
        self.base_offset = run.base_offset;
        self.base_timestamp = run.append_time.unwrap_or(run.base_timestamp);
        self.delta_mask = if run.append_time.is_some() { 0 } else { !0 };
        self.leader_epoch = run.leader_epoch;
        self.unfetched = if run.ahead { AHEAD.saturating_sub(self.chunk.ahead_of(run)) } else { usize::MAX };
    }

    /// Whether the reader goes on behind a record that is not in its range; if not, it is at its end.
    #[cold]
    fn passes_over(&mut self, offset: u64, delta: i32) -> bool {
        if delta < 0 {
            self.damaged(&"its offset lies before its batch");
            return false;
        }
        if offset >= self.from {
            self.end();
        }
        offset < self.from
    }

    #[cold]
    fn end(&mut self) {
        self.bytes = &[];
        self.taken = self.chunk.rest.len();
    }

    fn damaged(&mut self, why: &dyn std::fmt::Display) {
        let message = format!("a record of the batch at offset {} is damaged: {why}", self.base_offset);
        self.damage = Some(Error::new(crate::error::ErrorKind::Corrupted, message));
        self.end();
    }
}

/// What a second look at the bytes has found.
#[derive(Clone, Copy, Debug)]
enum Look {
    /// A record, in `decoded`.
    Decoded,
    /// The end of a run, and another one behind it.
    NextRun,
    /// The end, or damage.
    Ended,
}

impl<'a> Iterator for ChunkRecords<'a> {
    type Item = Result<ChunkRecord<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_record().map(Ok).or_else(|| self.take_damage().map(Err))
    }
}
