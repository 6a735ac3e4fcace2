//! A segment's log while it is open: file and map, opened at demand and closed when nobody uses them.
//!
//! Invariants
//! - Whoever reads holds an [`OpenSegment`], and with it the file, the map and the directory's lock: nothing
//!   is closed under a view.
//! - The one writer of the active segment's map is with the tail while the segment grows, and here while it
//!   rests; without it the segment cannot be closed.
//! - At rest a file has no room beyond its end.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::landmarks::{Landmark, Landmarks, TimedRecords};
use super::name::FileKind;
use super::open_segments::OpenTicket;
use super::prepare::Way;
use super::segment::{BatchAt, Index, Segment};
use crate::env::map::{MapWriter, Mark, Region, SegmentMap, prefetch};
use crate::env::{File, OpenMode, read_exact_at, sync_data, write_back};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::batch::{BatchHeader, CheckInPieces, HEADER_LEN};
use crate::sync::atomic::{AtomicU32, Ordering};

/// After so many jumps that met no disk a segment is taken to be in memory.
const JUMPS: u32 = 32;

/// Bytes that a jump may look at: two batches of 100 records of 1 KiB.
const JUMP: u64 = 256 << 10;

/// Bytes of a batch that are read and checked at once: they are still in the processor's cache then.
const PIECE: u64 = 64 << 10;

/// Bytes that go to the device at once where there are many: it takes some milliseconds.
const WRITTEN_AT_ONCE: u64 = 16 << 20;

/// Bytes of a record that are fetched ahead: what tells its length, and a neighbour that the processor adds.
const FETCHED: u64 = 128;

/// A segment's log, open for as long as anybody holds this.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    base: u64,
    file: Arc<dyn File>,
    map: Arc<SegmentMap>,
    /// Reads come from here and there, and from the disk: the system does not read ahead in the map. For so many
    /// more jumps; each that waits for the disk starts the count anew.
    scattered: AtomicU32,
    landmarks: Landmarks,
    ticket: OpenTicket,
}

/// What a segment has open.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) open: Option<Arc<OpenSegment>>,
    /// The writer of the active segment's map, while it rests.
    resting: Option<MapWriter>,
    /// The end of what is in the file, while nothing is open; none where nobody has looked yet.
    pub(super) rested: Option<Mark>,
}

impl Slot {
    pub(super) fn closed() -> Slot {
        Slot { open: None, resting: None, rested: None }
    }
}

impl OpenSegment {
    /// The log file.
    pub(crate) fn file(&self) -> &Arc<dyn File> {
        &self.file
    }

    /// The map it is read through, with the published end.
    #[inline]
    pub(crate) fn map(&self) -> &Arc<SegmentMap> {
        &self.map
    }

    /// Whether it is read through a map.
    pub(crate) fn is_mapped(&self) -> bool {
        !self.map.region().is_empty()
    }

    /// Bytes read by call, whatever the read mode.
    pub(crate) fn read(&self, position: u64, len: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; len];
        read_exact_at(&*self.file, &mut buf, position)
            .map_err(|e| Error::io("read a segment", &self.path(), e))?;
        Ok(buf)
    }

    /// Checks a batch's CRC over bytes that calls read, piece by piece into `scratch`, which keeps its room.
    pub(crate) fn check_crc(&self, batch: &BatchAt, scratch: &mut Vec<u8>) -> Result<()> {
        let (mut at, end) = (batch.position, batch.end());
        let mut check: Option<CheckInPieces> = None;
        while at < end {
            let len = (end - at).min(PIECE) as usize;
            if scratch.len() < len {
                scratch.resize(len, 0);
            }
            let piece = scratch.get_mut(..len).unwrap_or_default();
            read_exact_at(&*self.file, piece, at)
                .map_err(|e| Error::io("read a segment", &self.path(), e))?;
            let checked = match &mut check {
                None => CheckInPieces::begin(piece).map(|begun| check = Some(begun)),
                Some(check) => check.add(piece),
            };
            checked.map_err(|e| self.bad_batch(batch, &e))?;
            at += len as u64;
        }
        check.map_or(Ok(()), CheckInPieces::end).map_err(|e| self.bad_batch(batch, &e))
    }

    /// Syncs the file, of which the bytes of `fresh` are new. Where they are many they go to the device piece by piece
    /// before: else all of them wait there at once, and behind them whoever makes room for the next records (after
    /// 1 GiB for 0.3 s). What was stored through the map leaves it first: else the page of each is write-protected,
    /// and every thread of the process is stopped for that, the one that appends first.
    pub(super) fn sync(&self, fresh: Range<u64>, way: Way) -> io::Result<()> {
        let region = self.map.region();
        let mut left = fresh;
        while !left.is_empty() {
            let many = left.end - left.start > 2 * WRITTEN_AT_ONCE;
            let end = if many { left.start + WRITTEN_AT_ONCE } else { left.end };
            if way == Way::Stored {
                region.forget(left.start..end);
            }
            if many {
                write_back(&*self.file, left.start..end)?;
            }
            left.start = end;
        }
        sync_data(&*self.file)
    }

    /// Damage of a batch, as an error.
    #[cold]
    pub(crate) fn bad_batch(&self, batch: &BatchAt, why: &FormatError) -> Error {
        let (base, last) = (batch.header.base_offset, batch.header.last_offset());
        self.corrupted(batch.position, format!("batch of offsets {base} to {last}: {why}"))
    }

    /// Bytes that a reader has jumped to are wanted, and lie on the disk: they are read together, and nothing
    /// else is. (For each page that is missing the system would read megabytes ahead.)
    pub(crate) fn fetch_scattered(&self, range: Range<u64>) {
        let region = self.map.region();
        if self.scattered.swap(JUMPS, Ordering::Relaxed) == 0 {
            region.expect_reads(true);
        }
        region.will_need(range);
    }

    /// A reader is about to jump to `position`. Where jumps have met the disk before, what it looks at on its
    /// way (the batch that the index names, and the one behind it) is read in one go.
    pub(super) fn jump_to(&self, position: u64) {
        let left = self.scattered.load(Ordering::Relaxed);
        if left == 0 {
            return;
        }
        // Readers that jump at once may count one for two: it ends a little later.
        self.scattered.store(left - 1, Ordering::Relaxed);
        match left {
            1 => self.map.region().expect_reads(false),
            _ => self.map.region().will_need(position..position + JUMP),
        };
    }

    /// A reader goes through the segment in order: the system reads ahead again.
    #[inline]
    pub(crate) fn reads_in_order(&self) {
        if self.scattered.load(Ordering::Relaxed) > 0 && self.scattered.swap(0, Ordering::Relaxed) > 0 {
            self.map.region().expect_reads(false);
        }
    }

    /// The batch that starts at `position` below `end`, checked for plausibility, not yet for its CRC; `None`
    /// at the end.
    pub(super) fn batch_at(&self, position: u64, end: u64) -> Result<Option<BatchAt>> {
        if position >= end {
            return Ok(None);
        }
        if end - position < HEADER_LEN as u64 {
            return Err(self.corrupted(position, "a batch header is cut off"));
        }
        let header = match self.map.slice(position..position + HEADER_LEN as u64) {
            Some(bytes) => BatchHeader::parse(bytes),
            None => BatchHeader::parse(&self.read(position, HEADER_LEN)?),
        };
        let header = header.map_err(|e| self.corrupted(position, e))?;
        let batch = BatchAt { position, header };
        if batch.end() > end || header.base_offset < self.base as i64 {
            return Err(self.corrupted(position, "a batch header is implausible"));
        }
        Ok(Some(batch))
    }

    /// Where to begin the walk to record `number` of a sealed batch: the last place known before it.
    pub(crate) fn landmark(&self, batch: &BatchAt, number: u32) -> Option<Landmark> {
        let count = u32::try_from(batch.header.records_count).ok()?;
        let start = batch.position + HEADER_LEN as u64;
        let records = || self.map.slice(start..batch.end()).map(|bytes| (start, bytes));
        self.landmarks.before(batch.position, count, number, records)
    }

    /// Has record `number` of the batch at `batch` on its way while the batch's header is looked at, if its place is
    /// known.
    pub(super) fn fetch_ahead(&self, batch: u64, number: u32) {
        if let Some(near) = self.landmarks.known(batch, number) {
            if let Some(bytes) = self.map.slice(near.position..near.position + FETCHED) {
                prefetch(bytes, 0);
                prefetch(bytes, FETCHED as usize / 2);
            }
        }
    }

    /// Where to begin the walk to the first record of a sealed batch at or after `timestamp`.
    pub(crate) fn landmark_in_time(&self, batch: &BatchAt, timestamp: i64) -> Option<Landmark> {
        let header = &batch.header;
        if header.attributes.is_log_append_time() {
            return None; // all of its records are as old
        }
        let position = batch.position + HEADER_LEN as u64;
        let records = TimedRecords {
            position,
            bytes: self.map.slice(position..batch.end())?,
            count: u32::try_from(header.records_count).ok()?,
            newest: header.max_timestamp.checked_sub(header.base_timestamp)?,
        };
        let time = timestamp.checked_sub(header.base_timestamp).filter(|&time| time > 0)?;
        self.landmarks.before_time(batch.position, time, records)
    }

    fn path(&self) -> PathBuf {
        self.ticket.home().path(FileKind::Log, self.base)
    }

    fn corrupted(&self, position: u64, why: impl std::fmt::Display) -> Error {
        Error::corrupted(&self.path(), position, why)
    }
}

impl Segment {
    /// Opens the segment, or finds it open; it stays so for as long as the answer is held.
    pub(crate) fn open(&self) -> Result<Arc<OpenSegment>> {
        self.touch();
        if let Some(open) = self.opened() {
            return Ok(open);
        }
        self.open_in(&mut self.slot.write())
    }

    /// What is open of it now.
    pub(crate) fn opened(&self) -> Option<Arc<OpenSegment>> {
        self.slot.read().open.clone()
    }

    fn open_in(&self, slot: &mut Slot) -> Result<Arc<OpenSegment>> {
        if let Some(open) = &slot.open {
            return Ok(open.clone());
        }
        self.check_in_place()?;
        let path = self.log_path();
        let file = self.home.open(FileKind::Log, self.base, OpenMode::ReadWrite)?;
        let len = file.size().map_err(|e| Error::io("look at a segment's size", &path, e))?;
        let position =
            u32::try_from(len).map_err(|_| Error::corrupted(&path, len, "longer than a segment can be"))?;
        // The end offset of a closed segment is nobody's business: readers stop at its last batch.
        let end = slot.rested.unwrap_or(Mark { position, delta: u32::MAX });
        if position < end.position {
            let why = format!("the file has become shorter than its {} bytes", end.position);
            return Err(Error::corrupted(&path, len, why));
        }
        let map_len = if self.is_closed() { end.position.into() } else { self.room.greatest() };
        let (open, writer) = self.mapped(file, end, map_len)?;
        slot.resting = Some(writer).filter(|_| !self.is_closed());
        slot.open = Some(open.clone());
        Ok(open)
    }

    /// The segment over `file`, whose bytes below `end` are batches, mapped up to `len`.
    pub(super) fn mapped(
        &self,
        file: Arc<dyn File>,
        end: Mark,
        len: u64,
    ) -> Result<(Arc<OpenSegment>, MapWriter)> {
        let region = if self.home.map && len > 0 {
            let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput.into());
            let region = len.and_then(|len| file.map(len));
            region.map_err(|e| Error::io("map a segment", &self.log_path(), e))?
        } else {
            Region::absent()
        };
        let (map, writer) = SegmentMap::new(region, end, end.position.into());
        let ticket = self.home.enter(1);
        self.touch();
        let scattered = AtomicU32::new(0);
        let landmarks = Landmarks::new(self.home.open_segments().clone());
        Ok((Arc::new(OpenSegment { base: self.base, file, map, scattered, landmarks, ticket }), writer))
    }

    /// The end of what is published in the active segment.
    pub(crate) fn published(&self) -> Mark {
        let slot = self.slot.read();
        let open = slot.open.as_ref().map(|open| open.map.published());
        open.or(slot.rested).unwrap_or(Mark { position: 0, delta: 0 })
    }

    /// Bytes of its sealed batches.
    pub(super) fn bytes(&self) -> Result<u64> {
        {
            let slot = self.slot.read();
            let open = slot.open.as_ref().map(|open| open.map.sealed());
            if let Some(bytes) = open.or(slot.rested.map(|end| end.position.into())) {
                return Ok(bytes);
            }
        }
        self.check_in_place()?;
        let path = self.log_path();
        let len = self.home.files.size_of(&path).map_err(|e| Error::io("look at a segment", &path, e))?;
        let position =
            u32::try_from(len).map_err(|_| Error::corrupted(&path, len, "longer than a segment can be"))?;
        self.slot.write().rested.get_or_insert(Mark { position, delta: u32::MAX });
        Ok(len)
    }

    /// The active segment is to grow: answers the writer of its map, which has been resting here, or nothing
    /// where it is with somebody else.
    pub(super) fn wake(&self) -> Result<Option<MapWriter>> {
        if self.published().position > 0 {
            self.load_times()?;
        }
        let writer = {
            let mut slot = self.slot.write();
            self.open_in(&mut slot)?;
            slot.resting.take()
        };
        let Some(writer) = writer else { return Ok(None) };
        // From here on nobody closes it.
        if let Err(e) = self.revive_index() {
            self.slot.write().resting = Some(writer);
            return Err(e);
        }
        let end = u64::from(self.published().position);
        self.room.begin(end);
        Ok(Some(writer))
    }

    /// Gives the room of the active segment beyond its end back (not synced). Nobody appends meanwhile, and
    /// everything is sealed.
    pub(super) fn give_up_room(&self, writer: &mut MapWriter) -> Result<()> {
        let Some(open) = self.opened() else { return Ok(()) };
        let cut = self.room.give_back(&*open.file, || writer.give_up_room());
        if cut.map_err(|e| Error::io("cut a segment's unused room", &self.log_path(), e))? {
            self.on_device.note_cut();
        }
        Ok(())
    }

    /// Cuts the file at its published end, and begins to prepare room from there. Nobody appends meanwhile, and
    /// everything is sealed.
    pub(super) fn cut_room(&self, writer: &mut MapWriter) -> Result<()> {
        self.give_up_room(writer)?;
        self.room.begin(writer.prepared());
        Ok(())
    }

    /// The active segment rests: the writer of its map waits here until it is woken.
    pub(super) fn rest(&self, writer: MapWriter) {
        self.slot.write().resting = Some(writer);
    }

    /// Lets go of the file, the map and the index, if nobody uses them and a completed sync covers all they
    /// hold; answers whether it did.
    pub(crate) fn try_close(&self) -> Result<bool> {
        self.write_index()?;
        let mut index = self.index.lock();
        let mut slot = self.slot.write();
        let growing = !self.is_closed();
        let at_rest = !growing || slot.resting.is_some();
        let unused = slot.open.as_mut().is_some_and(|open| Arc::get_mut(open).is_some());
        let Some(end) = slot.open.as_ref().map(|open| open.map.published()) else { return Ok(false) };
        if !at_rest || !unused || !self.on_device.covers(end.position.into()) {
            return Ok(false);
        }
        let closed_index = match &*index {
            Index::Live(live) => match live.put_away() {
                Some(resting) if growing => Index::Resting(resting),
                Some(_) => Index::Unopened,
                None => return Ok(false),
            },
            Index::Resting(resting) => Index::Resting(*resting),
            Index::Unopened | Index::Stored(_) => Index::Unopened,
        };
        let gone = (slot.open.take(), slot.resting.take(), std::mem::replace(&mut *index, closed_index));
        slot.rested = Some(end);
        // What takes time comes after the locks.
        drop((slot, index));
        drop(gone);
        Ok(true)
    }
}
