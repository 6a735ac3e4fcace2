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
//! - The next offset comes from the batch, not from its last record: compaction leaves gaps.

use std::ops::Range;
use std::sync::Arc;

use super::log::Log;
use crate::config::CrcCheck;
use crate::env::map::SegmentMap;
use crate::error::{Error, Result};
use crate::format::batch::{BatchHeader, BatchView, HEADER_LEN};
use crate::format::compression::{Codec, decompress};
use crate::format::record::{RecordRef, decode_record};
use crate::segment::{BatchAt, OpenBatch, Segment};

/// Bounds of a chunk; soft: it holds at least one batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    /// Bytes of batches.
    pub(crate) max_bytes: u64,
    /// Records.
    pub(crate) max_records: u32,
    /// When CRCs are checked.
    pub(crate) crc: CrcCheck,
}

/// The greatest size a batch may have when its compression is undone, in bytes.
const MAX_DECOMPRESSED: usize = 1 << 30;

/// A place in a log, between two records.
#[derive(Debug)]
pub(crate) struct Cursor {
    log: Arc<Log>,
    next: u64,
    place: Option<Place>,
}

/// Where `next` is in the files.
#[derive(Debug)]
struct Place {
    segment: Arc<Segment>,
    map: Arc<SegmentMap>,
    position: u64,
    /// Inside this batch, which was open when its first records were lent.
    inside: Option<OpenBatch>,
    /// Offsets may be missing between batches: the log was compacted.
    gaps: bool,
    /// Found through the indexes: the batch here may begin below the next offset.
    found: bool,
}

impl Cursor {
    /// At offset `next`.
    pub(crate) fn new(log: Arc<Log>, next: u64) -> Cursor {
        Cursor { log, next, place: None }
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
            self.next = offset;
            self.place = None;
        }
    }

    /// What can be read now, below `until`; `None` if there is nothing. Never waits.
    pub(crate) fn read(&mut self, until: u64, limits: &ReadLimits) -> Result<Option<Chunk>> {
        let visible = self.visible_end();
        if self.next >= visible.min(until) {
            return self.at_end();
        }
        if self.next < self.log.log_start() {
            return Err(self.log.out_of_range(self.next));
        }
        let bound = Bound { visible, until };
        let chunk = self.gather(bound, limits).map_err(|e| self.explain(e));
        if chunk.is_err() {
            self.place = None;
        }
        chunk
    }

    /// The high watermark, cheaply where the place is in the active segment.
    fn visible_end(&self) -> u64 {
        match &self.place {
            Some(place) if !place.segment.is_closed() => {
                let end = place.segment.base() + u64::from(place.map.published().delta);
                self.log.marks.high_watermark(end)
            }
            _ => self.log.high_watermark(),
        }
    }

    fn at_end(&self) -> Result<Option<Chunk>> {
        // What a truncation or a recreation has taken back is not there to wait for.
        if self.next > self.log.log_end() || self.next < self.log.log_start() {
            return Err(self.log.out_of_range(self.next));
        }
        Ok(None)
    }

    /// An error of a segment that delete-records has taken away meanwhile is an offset out of range.
    fn explain(&self, error: Error) -> Error {
        if self.next < self.log.log_start() {
            return self.log.out_of_range(self.next);
        }
        error.in_partition(&self.log.tp).at_offset(crate::Offset::of(self.next))
    }

    fn gather(&mut self, bound: Bound, limits: &ReadLimits) -> Result<Option<Chunk>> {
        let mut gathered = Gathered::new(self.next, bound.until);
        loop {
            let Some(place) = self.locate()? else { break };
            let segment = place.segment.clone();
            if gathered.leaves(&segment) {
                break;
            }
            match self.step(&mut gathered, bound, limits)? {
                Step::More if gathered.bytes < limits.max_bytes && gathered.records < u64::from(limits.max_records) => {}
                Step::NextSegment if gathered.is_empty() => {}
                Step::Alone(chunk) => return Ok(Some(chunk)),
                _ => break,
            }
        }
        gathered.finish(self.next, self.place.as_ref())
    }

    /// The place of `next`, found through the indexes if it is not known.
    fn locate(&mut self) -> Result<Option<&mut Place>> {
        if self.place.is_none() {
            let Some(segment) = self.log.segment_for(self.next) else { return Ok(None) };
            let map = segment.map()?.clone();
            let gaps = self.log.manifest.lock().compacted;
            let position = segment.seek(self.next, gaps)?;
            self.place = Some(Place { segment, map, position, inside: None, gaps, found: true });
        }
        Ok(self.place.as_mut())
    }

    /// One batch further, or one segment.
    fn step(&mut self, gathered: &mut Gathered, bound: Bound, limits: &ReadLimits) -> Result<Step> {
        let Some(place) = &mut self.place else { return Ok(Step::Stop) };
        if place.inside.is_some() {
            return Ok(place.rest_of_batch(gathered, &mut self.next)?);
        }
        if let Some(batch) = place.segment.batch_at(place.position)? {
            return self.sealed_batch(batch, gathered, bound, limits);
        }
        if self.next >= bound.visible {
            return Ok(Step::Stop); // what is published above was never acknowledged: a failed flush caps
        }
        if place.begin_open_batch()? {
            return Ok(place.rest_of_batch(gathered, &mut self.next)?);
        }
        self.next_segment()
    }

    fn next_segment(&mut self) -> Result<Step> {
        let Some(place) = &self.place else { return Ok(Step::Stop) };
        if !place.segment.is_closed() {
            return Ok(Step::Stop);
        }
        let Some(segment) = self.log.segment_after(place.segment.base()) else { return Ok(Step::Stop) };
        let map = segment.map()?.clone();
        let gaps = place.gaps;
        if !gaps && self.next < segment.base() {
            let why = format!("offset {} is expected, but the log goes on at {}", self.next, segment.base());
            return Err(place.segment.corrupted(place.position, why));
        }
        self.next = self.next.max(segment.base());
        self.place = Some(Place { segment, map, position: 0, inside: None, gaps, found: false });
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
            place.check(&batch, limits.crc, &self.log)?;
            return Ok(Step::Stop);
        }
        let uncompressed = header.attributes.is_uncompressed();
        let skipped = header.attributes.is_control() || header.records_count == 0 || last < self.next;
        if !uncompressed && !skipped && !gathered.is_empty() {
            return Ok(Step::Stop); // the next chunk is this batch alone
        }
        place.check(&batch, limits.crc, &self.log)?;
        let from = self.next;
        place.position = batch.end();
        place.found = false;
        self.next = self.next.max(last + 1);
        if skipped {
            return Ok(Step::More);
        }
        let run = ChunkRun::of_batch(&batch);
        if uncompressed {
            gathered.push(&place.segment, run, header.records_count as u64);
            return Ok(Step::More);
        }
        let records = place.decompressed(&batch)?;
        let run = ChunkRun { range: 0..records.len() as u64, ..run };
        let chunk = Chunk {
            source: Source::Heap(Arc::new(records)),
            bytes: header.total_len() as u64,
            records: header.records_count as u64,
            first: run,
            rest: Vec::new(),
            from,
            until: bound.until,
            next: self.next,
        };
        Ok(Step::Alone(chunk))
    }
}

#[derive(Clone, Copy)]
struct Bound {
    visible: u64,
    until: u64,
}

enum Step {
    More,
    NextSegment,
    Alone(Chunk),
    Stop,
}

impl Place {
    /// Looks whether records of an open batch are published here.
    fn begin_open_batch(&mut self) -> Result<bool> {
        let published = u64::from(self.map.published().position);
        if self.segment.is_closed() || published < self.position + HEADER_LEN as u64 {
            return Ok(false);
        }
        // Sealed since: the next look finds its header.
        let Some(open) = self.segment.open_batch(self.position) else { return Ok(self.map.sealed() > self.position) };
        self.position += HEADER_LEN as u64;
        self.inside = Some(open);
        Ok(true)
    }

    /// What has been published of the batch the place is inside of.
    fn rest_of_batch(&mut self, gathered: &mut Gathered, next: &mut u64) -> Result<Step> {
        let Some(open) = self.inside else { return Ok(Step::More) };
        // Published first, then sealed: see `SegmentMap::slice`.
        let published = self.map.published();
        let sealed = self.map.sealed();
        let (end, end_offset, done) = if sealed > open.position {
            let Some(batch) = self.segment.batch_at(open.position)? else { return Ok(Step::Stop) };
            (batch.end(), batch.header.last_offset() as u64 + 1, true)
        } else {
            (published.position.into(), self.segment.base() + u64::from(published.delta), false)
        };
        if done {
            self.inside = None;
        }
        if end > self.position {
            let run = ChunkRun {
                range: self.position..end,
                base_offset: open.base_offset as i64,
                base_timestamp: open.base_timestamp,
                append_time: open.log_append_time.then_some(open.base_timestamp),
                leader_epoch: open.leader_epoch,
            };
            gathered.push(&self.segment, run, end_offset.saturating_sub(*next));
            *next = (*next).max(end_offset);
            self.position = end;
        }
        Ok(if done { Step::More } else { Step::Stop })
    }

    /// The base offset, which the CRC does not cover, is the one expected.
    #[inline]
    fn check_continuity(&self, batch: &BatchAt, next: u64) -> Result<()> {
        let base = batch.header.base_offset as u64;
        if self.gaps || base == next || (self.found && base < next) {
            return Ok(());
        }
        let why = format!("a batch of offset {base} where {next} is expected");
        Err(self.segment.corrupted(batch.position, why))
    }

    /// Checks the CRC where it is wanted, and with it the leader epoch, which it does not cover.
    fn check(&self, batch: &BatchAt, check: CrcCheck, log: &Log) -> Result<()> {
        let (start, end) = (batch.position, batch.end());
        match check {
            CrcCheck::Never => Ok(()),
            CrcCheck::Once if !self.segment.verified()?.needs_check(start, end) => Ok(()),
            CrcCheck::Once => {
                self.verify(batch, &self.segment.read(start, (end - start) as usize)?)?;
                log.check_epoch(&self.segment, batch)?;
                self.segment.verified()?.mark(start, end);
                Ok(())
            }
            CrcCheck::Always => {
                match self.map.slice(start..end) {
                    Some(bytes) => self.verify(batch, bytes)?,
                    None => self.verify(batch, &self.segment.read(start, (end - start) as usize)?)?,
                }
                log.check_epoch(&self.segment, batch)
            }
        }
    }

    fn verify(&self, batch: &BatchAt, bytes: &[u8]) -> Result<()> {
        BatchView::parse(bytes).and_then(|view| view.check_crc()).map_err(|e| {
            let (base, last) = (batch.header.base_offset, batch.header.last_offset());
            self.segment.corrupted(batch.position, format!("batch of offsets {base} to {last}: {e}"))
        })
    }

    fn decompressed(&self, batch: &BatchAt) -> Result<Vec<u8>> {
        let unreadable = |e: crate::format::FormatError| e.at(&self.segment.log_path(), batch.position);
        let codec: Codec = batch.header.attributes.codec().map_err(unreadable)?;
        let range = batch.position + HEADER_LEN as u64..batch.end();
        match self.map.slice(range.clone()) {
            Some(bytes) => decompress(codec, bytes, MAX_DECOMPRESSED).map_err(unreadable),
            None => {
                let bytes = self.segment.read(range.start, (range.end - range.start) as usize)?;
                decompress(codec, &bytes, MAX_DECOMPRESSED).map_err(unreadable)
            }
        }
    }
}

/// Runs of one segment on their way into a chunk.
struct Gathered {
    segment: Option<Arc<Segment>>,
    first: Option<ChunkRun>,
    rest: Vec<ChunkRun>,
    bytes: u64,
    records: u64,
    from: u64,
    until: u64,
}

impl Gathered {
    fn new(from: u64, until: u64) -> Gathered {
        Gathered { segment: None, first: None, rest: Vec::new(), bytes: 0, records: 0, from, until }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// What follows lies in another segment: it goes into the next chunk.
    fn leaves(&self, segment: &Arc<Segment>) -> bool {
        self.segment.as_ref().is_some_and(|mine| !Arc::ptr_eq(mine, segment))
    }

    fn push(&mut self, segment: &Arc<Segment>, run: ChunkRun, records: u64) {
        self.bytes += run.range.end - run.range.start;
        self.records += records;
        if self.first.is_none() {
            self.segment = Some(segment.clone());
            self.first = Some(run);
        } else {
            self.rest.push(run);
        }
    }

    fn finish(self, next: u64, place: Option<&Place>) -> Result<Option<Chunk>> {
        let (Some(mut first), Some(segment)) = (self.first, self.segment) else { return Ok(None) };
        let mut rest = self.rest;
        let map = match place {
            Some(place) if Arc::ptr_eq(&place.segment, &segment) => place.map.clone(),
            _ => segment.map()?.clone(),
        };
        let source = if segment.is_mapped()? {
            Source::Map { segment, map }
        } else {
            let start = first.range.start;
            let end = rest.last().unwrap_or(&first).range.end;
            let bytes = segment.read(start, (end - start) as usize)?;
            first.shift(start);
            rest.iter_mut().for_each(|run| run.shift(start));
            Source::Heap(Arc::new(bytes))
        };
        Ok(Some(Chunk {
            source,
            first,
            rest,
            bytes: self.bytes,
            records: self.records,
            from: self.from,
            until: self.until,
            next,
        }))
    }
}

/// Records of one batch that lie side by side.
#[derive(Clone, Debug)]
pub(crate) struct ChunkRun {
    range: Range<u64>,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    leader_epoch: i32,
}

impl ChunkRun {
    fn of_batch(batch: &BatchAt) -> ChunkRun {
        let header: &BatchHeader = &batch.header;
        ChunkRun {
            range: batch.position + HEADER_LEN as u64..batch.end(),
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: header.attributes.is_log_append_time().then_some(header.max_timestamp),
            leader_epoch: header.leader_epoch,
        }
    }

    fn shift(&mut self, by: u64) {
        self.range = self.range.start - by..self.range.end - by;
    }
}

/// Records read at once; pins what it lends.
#[derive(Debug)]
pub(crate) struct Chunk {
    source: Source,
    first: ChunkRun,
    rest: Vec<ChunkRun>,
    bytes: u64,
    records: u64,
    from: u64,
    until: u64,
    next: u64,
}

#[derive(Debug)]
enum Source {
    Map {
        #[expect(dead_code, reason = "pins the segment's files and the directory's lock")]
        segment: Arc<Segment>,
        map: Arc<SegmentMap>,
    },
    Heap(Arc<Vec<u8>>),
}

impl Chunk {
    /// Its records, in order.
    pub(crate) fn iter(&self) -> ChunkRecords<'_> {
        ChunkRecords { chunk: self, run: &self.first, bytes: self.slice(&self.first), taken: 0, failed: false }
    }

    /// Where to read on.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next
    }

    /// About how many records it holds: never fewer than there are.
    pub(crate) fn count_hint(&self) -> usize {
        usize::try_from(self.records).unwrap_or(usize::MAX)
    }

    /// Bytes it lends.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn slice(&self, run: &ChunkRun) -> &[u8] {
        match &self.source {
            Source::Map { map, .. } => map.slice(run.range.clone()).unwrap_or_default(),
            Source::Heap(bytes) => {
                bytes.get(run.range.start as usize..run.range.end as usize).unwrap_or_default()
            }
        }
    }
}

/// The records of a chunk.
#[derive(Debug)]
pub(crate) struct ChunkRecords<'a> {
    chunk: &'a Chunk,
    run: &'a ChunkRun,
    bytes: &'a [u8],
    /// Runs of `rest` taken so far.
    taken: usize,
    failed: bool,
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

impl<'a> Iterator for ChunkRecords<'a> {
    type Item = Result<ChunkRecord<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.bytes.is_empty() {
                if self.failed || !self.next_run() {
                    return None;
                }
                continue;
            }
            let (record, len) = match decode_record(self.bytes) {
                Ok(decoded) => decoded,
                Err(e) => return Some(Err(self.damaged(&e))),
            };
            self.bytes = self.bytes.get(len..).unwrap_or_default();
            let run = self.run;
            let offset = run.base_offset.wrapping_add(record.offset_delta.into()) as u64;
            if offset < self.chunk.from {
                continue;
            }
            if offset >= self.chunk.until {
                self.bytes = &[];
                self.failed = true;
                return None;
            }
            let timestamp = match run.append_time {
                Some(time) => time,
                None => run.base_timestamp.wrapping_add(record.timestamp_delta),
            };
            return Some(Ok(ChunkRecord { offset, timestamp, leader_epoch: run.leader_epoch, record }));
        }
    }
}

impl ChunkRecords<'_> {
    #[cold]
    fn next_run(&mut self) -> bool {
        let Some(run) = self.chunk.rest.get(self.taken) else { return false };
        self.taken += 1;
        self.run = run;
        self.bytes = self.chunk.slice(run);
        true
    }

    #[cold]
    fn damaged(&mut self, why: &crate::format::FormatError) -> Error {
        self.bytes = &[];
        self.failed = true;
        let message = format!("a record of the batch at offset {} is damaged: {why}", self.run.base_offset);
        Error::new(crate::ErrorKind::Corrupted, message)
    }
}

impl Log {
    /// The leader epoch, which the CRC does not cover, agrees with the checkpoint.
    fn check_epoch(&self, segment: &Segment, batch: &BatchAt) -> Result<()> {
        let header = &batch.header;
        let known = self.epochs.lock().epoch_at(header.base_offset);
        let Some(known) = known.filter(|&known| known != header.leader_epoch) else { return Ok(()) };
        let why = format!("a batch of the leader epoch {}, where the checkpoint says {known}", header.leader_epoch);
        Err(segment.corrupted(batch.position, why))
    }

    /// The segment that holds `offset`, if it were there.
    pub(super) fn segment_for(&self, offset: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let after = segments.partition_point(|segment| segment.base() <= offset);
        segments.get(after.checked_sub(1)?).cloned()
    }

    /// The segment behind the one with this base offset.
    pub(super) fn segment_after(&self, base: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let after = segments.partition_point(|segment| segment.base() <= base);
        segments.get(after).cloned()
    }

    /// The first record below the high watermark at or after `timestamp`: its offset and timestamp.
    pub(crate) fn offset_for_timestamp(self: &Arc<Self>, timestamp: i64) -> Result<Option<(u64, i64)>> {
        let limits = ReadLimits { max_bytes: 1 << 20, max_records: 1, crc: self.crc_check };
        let Some(start) = self.scan_start_for_time(timestamp)? else { return Ok(None) };
        let mut cursor = Cursor::new(self.clone(), start.max(self.log_start()));
        while let Some(chunk) = cursor.read(u64::MAX, &limits)? {
            for record in chunk.iter() {
                let record = record?;
                if record.timestamp >= timestamp {
                    return Ok(Some((record.offset, record.timestamp)));
                }
            }
        }
        Ok(None)
    }

    /// An offset from which the first record as new as `timestamp` is found within one index interval.
    fn scan_start_for_time(&self, timestamp: i64) -> Result<Option<u64>> {
        let segments: Vec<_> = self.segments.read().clone();
        let Some((active, closed)) = segments.split_last() else { return Ok(None) };
        let gaps = self.manifest.lock().compacted;
        for (segment, next) in closed.iter().zip(segments.iter().skip(1)) {
            if let Some(offset) = segment.offset_for_time(timestamp, Some(next.base()), gaps)? {
                return Ok(Some(offset));
            }
        }
        // The active segment's open batch is not indexed yet: scan from its last entry below.
        let indexed = active.offset_for_time(timestamp, None, gaps)?;
        Ok(Some(indexed.unwrap_or_else(|| active.last_indexed_offset())))
    }
}
