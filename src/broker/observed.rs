//! Records as an observer sees them: copies, read with calls.
//!
//! Invariants
//! - Sealed batches come from the log, the open batch by its tail cell: its bytes are believed only if the
//!   cell's checksum holds for them.
//! - What cannot be read now, because the broker is just writing it, is read at the next call.

use std::collections::VecDeque;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cells;
use super::folders;
use super::observer::points_of;
use super::walk::{Walk, WalkStop};
use crate::consumer::OwnedRecord;
use crate::env::{FileSystem, read_exact_at};
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{BatchView, HEADER_LEN, Records};
use crate::format::checksum::crc32c;
use crate::format::record::RecordRef;
use crate::segment::{FileKind, FoundCell, ScannedBatch};
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

/// The greatest size of a batch once it is decompressed.
const MAX_DECOMPRESSED: usize = 1 << 30;

/// So often a partition is looked at in which segments come and go.
const LOOKS: u32 = 5;

/// Records of one partition, one after another, as [`Observer::read`](crate::Observer::read) found them.
///
/// [`next`](ObservedRecords::next) answers `None` at the end of what has been written; beside a live broker there may be
/// more at a later call. A batch that is not intact ends the newest segment: it is being written, or the broker's next
/// opening cuts it off. One that has been on the device is `Corrupted`.
pub struct ObservedRecords {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    topic_id: TopicId,
    tp: TopicPartition,
    walk: Walk,
    /// It has stood where nothing is missing: the log only grows from there.
    reached_the_end: bool,
    /// The offset of the next record.
    next: u64,
    until: u64,
    gathered: VecDeque<OwnedRecord>,
}

impl ObservedRecords {
    pub(super) fn new(
        files: &Arc<dyn FileSystem>,
        dir: PathBuf,
        topic_id: TopicId,
        tp: TopicPartition,
        mut walk: Walk,
        range: impl RangeBounds<Offset>,
    ) -> ObservedRecords {
        let next = match range.start_bound() {
            Bound::Included(first) => first.get(),
            Bound::Excluded(before) => before.next().get(),
            Bound::Unbounded => 0,
        };
        let until = match range.end_bound() {
            Bound::Included(last) => last.next().get(),
            Bound::Excluded(end) => end.get(),
            Bound::Unbounded => u64::MAX,
        };
        let next = next.max(walk.manifest().log_start);
        walk.seek_segment(next);
        ObservedRecords {
            files: files.clone(),
            dir,
            topic_id,
            tp,
            walk,
            reached_the_end: false,
            next,
            until,
            gathered: VecDeque::new(),
        }
    }

    /// The offset of the next record.
    #[must_use]
    pub fn position(&self) -> Offset {
        Offset::of(self.next)
    }

    /// The next record, or `None` where there are none now. Never waits.
    ///
    /// # Errors
    /// `Io`; `UnsupportedFormat` for a compression that this build lacks; `Corrupted` for damage in an older
    /// segment or below the recovery point, and for a batch whose checksum is right and whose records are not.
    #[expect(clippy::should_implement_trait, reason = "reading may fail, and goes on after a None")]
    pub fn next(&mut self) -> Result<Option<OwnedRecord>> {
        loop {
            if let Some(record) = self.gathered.pop_front() {
                self.next = record.offset().next().get();
                return Ok(Some(record));
            }
            if self.next >= self.until || !self.gather()? {
                return Ok(None);
            }
        }
    }

    /// Where what has been written ends now, the open batch included; nothing of it is handed out.
    pub(super) fn end(&mut self) -> Result<u64> {
        self.gathered.clear();
        loop {
            match self.step()? {
                Ok(batch) => self.next = batch.header.last_offset() as u64 + 1,
                Err(stop) => {
                    self.next = stop.offset;
                    self.take_open_batch(stop.position, stop.offset)?;
                    let end = self.gathered.back().map_or(stop.offset, |last| last.offset().get() + 1);
                    self.gathered.clear();
                    return Ok(end);
                }
            }
        }
    }

    /// The timestamp of the first record at `offset` or behind it. Asked again, it reads on from
    /// there: never for an earlier offset.
    pub(super) fn first_from(&mut self, offset: Offset) -> Result<Option<Timestamp>> {
        self.gathered.retain(|record| record.offset() >= offset);
        if self.gathered.is_empty() {
            self.next = offset.get();
            self.gather()?;
        }
        Ok(self.gathered.front().map(OwnedRecord::timestamp))
    }

    /// Takes up the next batch with records of the range; answers whether there was one.
    fn gather(&mut self) -> Result<bool> {
        loop {
            match self.step()? {
                Ok(batch) => {
                    let last = batch.header.last_offset() as u64;
                    if last >= self.next && !batch.header.attributes.is_control() {
                        self.take_batch(&batch)?;
                        return Ok(true);
                    }
                    self.next = self.next.max(last + 1);
                }
                Err(stop) => return self.take_open_batch(stop.position, stop.offset),
            }
        }
    }

    /// The next batch, or where what has been written ends now.
    fn step(&mut self) -> Result<std::result::Result<ScannedBatch, WalkStop>> {
        let stop = match self.walk_on()? {
            Err(stop) if !stop.last => return Err(self.damaged(&stop)),
            Err(stop) if !self.reached_the_end || stop.why.is_some() => stop,
            found => return Ok(found),
        };
        if !self.is_below_the_point(&stop)? {
            self.reached_the_end = true;
            return Ok(Err(stop));
        }
        match self.walk_on()? {
            // A broker may have written it meanwhile, and the point have risen.
            Err(again) if !again.last || again.place() == stop.place() => Err(self.damaged(&again)),
            found => Ok(found),
        }
    }

    /// One batch further. Where a segment has gone, with its records or into another one, it looks anew from there.
    fn walk_on(&mut self) -> Result<std::result::Result<ScannedBatch, WalkStop>> {
        let mut step = self.walk.next();
        for _ in 1..LOOKS {
            let Err(error) = &step else { break };
            let gone = |path: &Path| self.files.exists(path).is_ok_and(|there| !there);
            if error.kind() != ErrorKind::Io || !error.path().is_some_and(gone) {
                break;
            }
            let folder = folders::folder(&self.dir, &self.tp);
            let Ok(Some(walk)) = Walk::new(&self.files, &folder) else { break };
            if walk.manifest().topic_id != self.topic_id {
                break;
            }
            self.walk = walk;
            self.next = self.next.max(self.walk.manifest().log_start);
            self.walk.seek_segment(self.next);
            step = self.walk.next();
        }
        step
    }

    /// What was on the device once is no torn tail.
    fn is_below_the_point(&self, stop: &WalkStop) -> Result<bool> {
        let (points, _) = points_of(&*self.files, &self.dir)?;
        let point = points.get((self.topic_id, self.tp.partition()));
        let generation = self.walk.manifest().generation;
        Ok(point.is_some_and(|point| point.generation == generation && stop.is_below(point)))
    }

    fn damaged(&self, stop: &WalkStop) -> Error {
        let path = self.walk.path(FileKind::Log, stop.segment);
        let why = stop.why.as_deref().unwrap_or("the log ends here, below its recovery point");
        Error::corrupted(&path, stop.position, why).in_partition(&self.tp)
    }

    fn take_batch(&mut self, batch: &ScannedBatch) -> Result<()> {
        let header = &batch.header;
        let path = self.walk.path(FileKind::Log, self.walk.segment());
        let failed = |e: crate::format::FormatError| e.at(&path, batch.position);
        let view = BatchView::parse(&batch.bytes).map_err(failed)?;
        let payload = view.decompressed(MAX_DECOMPRESSED).map_err(failed)?;
        let fixed = header.attributes.is_log_append_time().then_some(header.max_timestamp);
        for record in Records::new(header, &payload) {
            let record = record.map_err(failed)?;
            let timestamp = fixed.unwrap_or(header.base_timestamp.wrapping_add(record.timestamp_delta));
            self.take(header.base_offset as u64, timestamp, header.leader_epoch, &record);
        }
        self.next = self.next.max(header.base_offset as u64);
        if self.gathered.is_empty() {
            self.next = self.next.max(header.last_offset() as u64 + 1);
        }
        Ok(())
    }

    fn take(&mut self, base_offset: u64, timestamp: i64, epoch: i32, record: &RecordRef<'_>) {
        let offset = base_offset + u64::from(record.offset_delta.unsigned_abs());
        if offset >= self.next && offset < self.until {
            let (offset, timestamp) = (Offset::of(offset), Timestamp::from_millis(timestamp));
            self.gathered.push_back(OwnedRecord::new(
                self.tp.clone(),
                offset,
                timestamp,
                LeaderEpoch::new(epoch),
                record,
            ));
        }
    }

    /// The records of the open batch that begins at `position`, as its tail cell tells them.
    fn take_open_batch(&mut self, position: u64, offset: u64) -> Result<bool> {
        let segment = self.walk.segment();
        let found = cells::found(&*self.files, &self.dir)?;
        let Some(cell) = found.iter().find(|cell| describes(cell, self.topic_id, &self.tp, segment, offset))
        else {
            return Ok(false);
        };
        let Some(bytes) = open_batch_bytes(&self.walk, cell, position)? else { return Ok(false) };
        let mut rest = &bytes[..];
        let id = cell.identity;
        while !rest.is_empty() {
            let Ok((record, len)) = crate::format::record::decode_record(rest) else { break };
            let delta = if id.log_append_time { 0 } else { record.timestamp_delta };
            self.take(id.base_offset, id.base_timestamp.wrapping_add(delta), id.leader_epoch, &record);
            rest = rest.get(len..).unwrap_or_default();
        }
        Ok(!self.gathered.is_empty())
    }
}

/// Whether a cell speaks of the batch that is open at this place.
pub(super) fn describes(
    cell: &FoundCell,
    topic: TopicId,
    tp: &TopicPartition,
    segment: u64,
    offset: u64,
) -> bool {
    let id = &cell.identity;
    id.topic == topic && id.partition == tp.partition() && id.segment == segment && id.base_offset == offset
}

/// The records of the open batch that begins at `position`, if the cell's checksum holds for them.
pub(super) fn open_batch_bytes(walk: &Walk, cell: &FoundCell, position: u64) -> Result<Option<Vec<u8>>> {
    let file = walk.open_log(cell.identity.segment)?;
    let at = position + HEADER_LEN as u64;
    let path = walk.path(FileKind::Log, cell.identity.segment);
    let failed = |e| Error::io("read a segment", &path, e);
    if at + u64::from(cell.length) > file.size().map_err(failed)? {
        return Ok(None);
    }
    let mut bytes = vec![0; cell.length as usize];
    match read_exact_at(&*file, &mut bytes, at) {
        // Cut meanwhile by whoever has it open.
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read.map_err(failed)?,
    }
    Ok((crc32c(&bytes) == cell.crc).then_some(bytes))
}

impl fmt::Debug for ObservedRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObservedRecords")
            .field("topic_partition", &self.tp)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
