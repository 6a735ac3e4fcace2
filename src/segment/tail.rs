//! The end of the active segment, in one hand: where batches are built in place or written whole.
//!
//! ```text
//!     sealed batches | header's place | record | record |  prepared room
//!                    ^ start of the open batch          ^ published
//! ```
//!
//! Invariants
//! - One [`Tail`] exists per partition; whoever has it holds the append lock (batches built in the map)
//!   or the write lock (batches written whole, and large records).
//! - A record is published with one store, after its bytes and its tail cell.
//! - An open batch's CRC is kept running, so that sealing touches the header only.

use std::sync::Arc;

use super::cells::{Cell, CellIdentity};
use super::large_record::LargeRecord;
use super::open_batch::OpenBatch;
use super::segment::Segment;
use crate::env::map::{MapWriter, Mark, NextStore};
use crate::env::write_all_at;
use crate::error::{Error, Result};
use crate::format::batch::{Attributes, BatchHeader, HEADER_LEN};
use crate::format::checksum::crc32c_append;
use crate::format::record::{HeaderRef, RecordFields};
use crate::types::TopicId;

/// Bytes of a large record that are summed up and written at once; the pieces end where pages do.
const LARGE_PIECE: usize = 1 << 20;
const PAGE: u64 = 4096;

/// A record as it arrives at the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewRecord<'a> {
    /// Milliseconds since the epoch.
    pub(crate) timestamp: i64,
    /// The key, if any.
    pub(crate) key: Option<&'a [u8]>,
    /// The value; none in a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    /// Its headers, in order.
    pub(crate) headers: &'a [HeaderRef<'a>],
}

impl<'a> NewRecord<'a> {
    /// Bytes that it takes as the only one of a batch, without the batch's header.
    pub(crate) fn len_alone(&self) -> usize {
        self.fields(0, 0).encoded_len()
    }

    /// Its fields at these deltas.
    #[inline]
    pub(super) fn fields(&self, timestamp_delta: i64, offset_delta: i32) -> RecordFields<'a> {
        let NewRecord { key, value, headers, .. } = *self;
        RecordFields { timestamp_delta, offset_delta, key, value, headers }
    }
}

/// What stands in the way of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailRoom {
    /// The segment must be prepared up to this position.
    Prepare(u64),
    /// The segment with this base offset is full: the log must roll.
    Roll(u64),
}

/// The limits of the batches built in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenLimits {
    /// A batch is sealed before it grows beyond this many bytes, header included.
    pub(crate) batch_size: u64,
    /// A batch older than this many milliseconds is sealed before the next append.
    pub(crate) linger_ms: i64,
    /// All timestamps are the append time.
    pub(crate) log_append_time: bool,
    /// Epoch of the batches.
    pub(crate) leader_epoch: i32,
}

/// A batch under construction in the map.
#[derive(Debug)]
struct Building {
    start: u64,
    base_offset: u64,
    base_timestamp: i64,
    max_timestamp: i64,
    count: u32,
    crc: u32,
    opened_at: i64,
    limits: OpenLimits,
}

/// The end of the active segment.
#[derive(Debug)]
pub(crate) struct Tail {
    segment: Arc<Segment>,
    /// Of the segment, whose own cache line readers take away: they count their references in it.
    base: u64,
    writer: MapWriter,
    /// End of what is published.
    end: u64,
    /// The offset the next record gets.
    next: u64,
    max_len: u64,
    /// From here on more room is asked for, as last seen.
    low_water: u64,
    /// The segment's indexes take no more entries.
    index_full: bool,
    building: Option<Building>,
    cell: Option<(Cell, TopicId, u32)>,
}

impl Tail {
    /// The end of `segment`, at `end` and the offset `next`. The segment may grow to `max_len` bytes.
    pub(crate) fn new(segment: Arc<Segment>, writer: MapWriter, end: u64, next: u64, max_len: u64) -> Tail {
        Tail {
            base: segment.base(),
            index_full: segment.with_live_index(|index| index.is_full()).unwrap_or(true),
            segment,
            writer,
            end,
            next,
            max_len,
            low_water: 0,
            building: None,
            cell: None,
        }
    }

    /// Batches built in the map leave their mark in `cell`.
    pub(crate) fn with_cell(mut self, cell: Cell, topic: TopicId, partition: u32) -> Tail {
        self.cell = Some((cell, topic, partition));
        self
    }

    /// The segment.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Notes where the next record will be stored.
    #[inline]
    pub(crate) fn note_next(&self, next: &NextStore) {
        self.writer.note_next(next);
    }

    /// End of what is published.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The offset the next record gets.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next
    }

    /// Nothing has been appended to the segment.
    pub(crate) fn is_empty(&self) -> bool {
        self.end == 0
    }

    /// Gives the room beyond the end back, which must be done before it rests. The open batch is sealed.
    pub(crate) fn give_up_room(&mut self) -> Result<()> {
        self.segment.give_up_room(&mut self.writer)
    }

    /// Lets the segment rest: its files can be closed.
    pub(crate) fn rest(self) -> RestingTail {
        let Tail { segment, writer, end, next, max_len, cell, .. } = self;
        segment.rest(writer);
        RestingTail { segment, end, next, max_len, cell }
    }

    /// More room should be prepared.
    #[inline]
    pub(crate) fn runs_low(&mut self) -> bool {
        if self.end <= self.low_water {
            return false;
        }
        self.low_water = self.segment.low_water();
        self.end > self.low_water
    }

    /// A batch is being built in the map.
    pub(crate) fn is_building(&self) -> bool {
        self.building.is_some()
    }

    /// Timestamp of the first record of the batch being built, in milliseconds.
    pub(crate) fn open_batch_time(&self) -> Option<i64> {
        self.building.as_ref().map(|building| building.base_timestamp)
    }

    /// Appends one record to the batch being built in the map, and publishes it; answers its offset.
    #[inline]
    pub(crate) fn push(
        &mut self,
        record: &NewRecord<'_>,
        now: i64,
        limits: OpenLimits,
    ) -> std::result::Result<u64, TailRoom> {
        let Some(building) = &self.building else { return self.push_first(record, now, limits) };
        let timestamp =
            if building.limits.log_append_time { building.base_timestamp } else { record.timestamp };
        let fields = record.fields(timestamp.wrapping_sub(building.base_timestamp), building.count as i32);
        let measured = fields.measure();
        let end = self.end + measured.len() as u64;
        if end - building.start > building.limits.batch_size
            || now.wrapping_sub(building.opened_at) > building.limits.linger_ms
            || end > self.max_len
        {
            self.seal();
            return self.push_first(record, now, limits);
        }
        let Some(window) = self.writer.window(self.end..end) else { return Err(TailRoom::Prepare(end)) };
        measured.encode(window);
        let crc = crc32c_append(building.crc, window);
        let offset = self.next;
        self.grow(end, crc, timestamp);
        Ok(offset)
    }

    /// Opens a batch with its first record.
    #[cold]
    fn push_first(
        &mut self,
        record: &NewRecord<'_>,
        now: i64,
        limits: OpenLimits,
    ) -> std::result::Result<u64, TailRoom> {
        let timestamp = if limits.log_append_time { now } else { record.timestamp };
        let fields = record.fields(0, 0);
        let first = self.end + HEADER_LEN as u64;
        let end = first + fields.encoded_len() as u64;
        self.check_room(end, 1)?;
        let Some(window) = self.writer.window(first..end) else { return Err(TailRoom::Prepare(end)) };
        fields.encode(window);
        let crc = crc32c_append(0, window);
        self.open_building(timestamp, now, limits);
        let offset = self.next;
        self.grow(end, crc, timestamp);
        Ok(offset)
    }

    fn open_building(&mut self, timestamp: i64, now: i64, limits: OpenLimits) {
        let OpenLimits { log_append_time, leader_epoch, .. } = limits;
        if let Some((cell, topic, partition)) = &self.cell {
            cell.open(&CellIdentity {
                topic: *topic,
                partition: *partition,
                leader_epoch,
                log_append_time,
                segment: self.segment.base(),
                base_offset: self.next,
                base_timestamp: timestamp,
            });
        }
        self.segment.open_batch_cell().set(OpenBatch {
            position: self.end,
            base_offset: self.next,
            base_timestamp: timestamp,
            log_append_time,
            leader_epoch,
        });
        self.segment.times().appended(crate::types::Timestamp::from_millis(now));
        self.segment.touch();
        self.building = Some(Building {
            start: self.end,
            base_offset: self.next,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            count: 0,
            crc: 0,
            opened_at: now,
            limits,
        });
    }

    /// The open batch has grown by one record, up to `end`: its cell first, then the world.
    #[inline]
    fn grow(&mut self, end: u64, crc: u32, timestamp: i64) {
        let Some(building) = &mut self.building else { return };
        building.crc = crc;
        building.count += 1;
        building.max_timestamp = building.max_timestamp.max(timestamp);
        self.writer.commit(self.end..end);
        if let Some((cell, ..)) = &self.cell {
            cell.grown((end - building.start - HEADER_LEN as u64) as u32, crc);
        }
        self.end = end;
        self.next += 1;
        self.writer.publish(self.mark());
    }

    fn mark(&self) -> Mark {
        Mark { position: self.end as u32, delta: (self.next - self.base) as u32 }
    }

    /// Whether the segment can take `count` more records that end at `end`.
    fn check_room(&self, end: u64, count: u64) -> std::result::Result<(), TailRoom> {
        let deltas = self.next + count - self.segment.base();
        let fits = end <= self.max_len && deltas <= i32::MAX as u64 && !self.index_full;
        if fits || self.is_empty() { Ok(()) } else { Err(TailRoom::Roll(self.base)) }
    }

    /// Seals the batch being built, if there is one: fills in its header.
    pub(crate) fn seal(&mut self) {
        let Some(building) = self.building.take() else { return };
        let header = building.header(self.end);
        if let Some(place) = self.writer.open_header() {
            header.write(place);
            let crc = crate::format::batch::crc_of_parts(
                place.get(21..HEADER_LEN).unwrap_or_default(),
                building.crc,
                self.end - building.start - HEADER_LEN as u64,
            );
            if let Some(field) = place.get_mut(17..21) {
                field.copy_from_slice(&crc.to_be_bytes());
            }
        }
        self.writer.commit(building.start..building.start + HEADER_LEN as u64);
        self.index(building.start, &header);
        self.writer.seal(self.end);
    }

    fn index(&mut self, position: u64, header: &BatchHeader) {
        let delta = (header.last_offset() as u64).saturating_sub(self.base) as u32;
        let len = header.total_len() as u64;
        let full = self.segment.with_live_index(|index| {
            index.appended(position as u32, len, delta, header.max_timestamp);
            index.is_full()
        });
        self.index_full = full.unwrap_or(true);
    }

    /// Whether a whole batch of `len` bytes and `count` records fits.
    pub(crate) fn room_for_batch(
        &self,
        len: u64,
        count: u64,
        stored: bool,
    ) -> std::result::Result<(), TailRoom> {
        let end = self.end + len;
        self.check_room(end, count)?;
        if !stored || end <= self.writer.prepared() { Ok(()) } else { Err(TailRoom::Prepare(end)) }
    }

    /// Appends a whole batch by a store through the map. The open batch is sealed and there is room.
    pub(crate) fn store_batch(
        &mut self,
        batch: &[u8],
        header: &BatchHeader,
        now: i64,
    ) -> std::result::Result<(), TailRoom> {
        let end = self.end + batch.len() as u64;
        let Some(window) = self.writer.window(self.end..end) else { return Err(TailRoom::Prepare(end)) };
        window.copy_from_slice(batch);
        self.writer.commit(self.end..end);
        self.finish_batch(header, end, now);
        Ok(())
    }

    /// Appends a whole batch by a write call.
    pub(crate) fn write_batch(&mut self, batch: &[u8], header: &BatchHeader, now: i64) -> Result<()> {
        let file = self.segment.file()?;
        write_all_at(&*file, batch, self.end)
            .map_err(|e| Error::io("write a batch", &self.segment.log_path(), e))?;
        let end = self.end + batch.len() as u64;
        self.finish_batch(header, end, now);
        Ok(())
    }

    /// Where a batch of one large record would end, if the segment can take it.
    pub(crate) fn end_of_large(&self, large: &LargeRecord<'_>) -> Option<u64> {
        let end = self.end + large.header().total_len() as u64;
        (end <= self.max_len && self.check_room(end, 1).is_ok()).then_some(end)
    }

    /// Writes the batch of one large record by calls, behind the end. The open batch is sealed, and there is room.
    /// `to_device`: somebody will wait for the device, which begins with each piece at once.
    pub(crate) fn write_large(&self, large: &mut LargeRecord<'_>, to_device: bool) -> Result<()> {
        let file = self.segment.file()?;
        let failed = |e| Error::io("write a large record", &self.segment.log_path(), e);
        let (mut value, behind) = (large.value(), large.take_behind());
        let to_device = to_device && value.len() > 2 * LARGE_PIECE;
        let mut at = self.end + large.start_len();
        while !value.is_empty() {
            // One page that is written in two parts costs more.
            let piece = value.len().min(LARGE_PIECE - (at % PAGE) as usize);
            let (piece, rest) = value.split_at(piece);
            large.sum(piece);
            write_all_at(&*file, piece, at).map_err(failed)?;
            let end = at + piece.len() as u64;
            if to_device {
                file.begin_sync(at..end);
            }
            (value, at) = (rest, end);
        }
        large.sum(&behind);
        write_all_at(&*file, &behind, at).map_err(failed)?;
        // Its header last: what is written half-way is no batch.
        write_all_at(&*file, large.finish(), self.end).map_err(failed)
    }

    /// Appends, and publishes, the large record that has been written.
    pub(crate) fn append_large(&mut self, large: &LargeRecord<'_>, now: i64) {
        let end = self.end + large.header().total_len() as u64;
        self.finish_batch(large.header(), end, now);
    }

    /// Cuts off what has been written behind the end, half of something: room is prepared anew from there. The
    /// open batch is sealed.
    pub(crate) fn cut_room(&mut self) -> Result<()> {
        self.low_water = 0;
        self.segment.cut_room(&mut self.writer)
    }

    fn finish_batch(&mut self, header: &BatchHeader, end: u64, now: i64) {
        self.segment.times().appended(crate::types::Timestamp::from_millis(now));
        self.segment.touch();
        self.index(self.end, header);
        self.end = end;
        self.next = header.last_offset() as u64 + 1;
        self.writer.seal(end);
        self.writer.publish(self.mark());
    }
}

/// The end of the active segment while nobody appends: what is left when its files are closed.
#[derive(Debug)]
pub(crate) struct RestingTail {
    segment: Arc<Segment>,
    end: u64,
    next: u64,
    max_len: u64,
    cell: Option<(Cell, TopicId, u32)>,
}

impl RestingTail {
    /// The end of `segment`, which rests, at `end` and the offset `next`. It may grow to `max_len` bytes.
    pub(crate) fn new(segment: Arc<Segment>, end: u64, next: u64, max_len: u64) -> RestingTail {
        RestingTail { segment, end, next, max_len, cell: None }
    }

    /// Batches built in the map leave their mark in `cell`.
    pub(crate) fn with_cell(mut self, cell: Cell, topic: TopicId, partition: u32) -> RestingTail {
        self.cell = Some((cell, topic, partition));
        self
    }

    /// The segment.
    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// End of what is published.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The offset the next record gets.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next
    }

    /// Opens the segment's files, if they are closed, to append to them. A failure leaves it at rest.
    pub(crate) fn wake(&self) -> Result<Tail> {
        let writer = self.segment.wake()?.ok_or_else(|| Error::closed("the segment"))?;
        let mut tail = Tail::new(self.segment.clone(), writer, self.end, self.next, self.max_len);
        tail.cell = self.cell.clone();
        Ok(tail)
    }
}

impl Building {
    fn header(&self, end: u64) -> BatchHeader {
        let attributes = if self.limits.log_append_time {
            Attributes::NONE.with_log_append_time()
        } else {
            Attributes::NONE
        };
        BatchHeader {
            base_offset: self.base_offset as i64,
            batch_length: (end - self.start - 12) as i32,
            leader_epoch: self.limits.leader_epoch,
            magic: 2,
            crc: 0,
            attributes,
            last_offset_delta: self.count as i32 - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            records_count: self.count as i32,
        }
    }
}

#[cfg(test)]
mod tests;
