//! Recovery after an unclean end: what is good is kept and made durable, the torn tail is cut.
//!
//! ```text
//!   recovery point            first bad byte
//!   | batch | batch | batch | torn ...........|     later segments
//!   below: trusted   scanned, written again      cut, synced      deleted
//! ```
//!
//! Invariants
//! - Nothing the page cache shows above the recovery point is believed durable: accepted bytes are written
//!   again and synced before they are served.
//! - Below the recovery point nothing is cut: what is missing there is `Corrupted`.
//! - A crash at any point of a recovery leaves a state from which the same recovery goes through.

use std::sync::Arc;

use super::checkpoint::RecoveryPoint;
use super::open::NO_INDEXES;
use crate::env::{File, OpenMode, read_exact_at, sync_data, write_all_at};
use crate::error::{Error, Result};
use crate::format::batch::{Attributes, BatchHeader, HEADER_LEN, seal_header};
use crate::format::checksum::crc32c;
use crate::format::leader_epochs::LeaderEpochs;
use crate::format::record::decode_record;
use crate::segment::{BatchAt, BatchCheck, FileKind, FoundCell, LiveIndex, Scan, SegmentFiles, Stop};
use crate::types::{Offset, TopicId};

/// What the recovery of a partition did.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// let broker = millpond::Broker::open(dir.path())?;
/// for (partition, recovery) in broker.recovery().partitions() {
///     println!("{partition}: {} bytes cut", recovery.bytes_cut());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionRecovery {
    pub(crate) scanned: bool,
    pub(crate) records_sealed: u64,
    pub(crate) bytes_rewritten: u64,
    pub(crate) bytes_cut: u64,
    pub(crate) segments_deleted: u64,
    pub(crate) leader_epoch: i32,
    pub(crate) log_end: u64,
}

impl PartitionRecovery {
    /// Whether the partition had not been closed and was scanned.
    #[must_use]
    pub fn was_unclean(&self) -> bool {
        self.scanned
    }

    /// Records of the batch that was open and has been sealed.
    #[must_use]
    pub fn records_sealed(&self) -> u64 {
        self.records_sealed
    }

    /// Bytes above the recovery point that were found good, written again and synced.
    #[must_use]
    pub fn bytes_rewritten(&self) -> u64 {
        self.bytes_rewritten
    }

    /// Bytes of a torn tail that were cut off (room that was never used does not count).
    #[must_use]
    pub fn bytes_cut(&self) -> u64 {
        self.bytes_cut
    }

    /// Segments behind the cut that were deleted.
    #[must_use]
    pub fn segments_deleted(&self) -> u64 {
        self.segments_deleted
    }

    /// Epoch of the batches appended from now on, if it was raised.
    #[must_use]
    pub fn leader_epoch(&self) -> crate::types::LeaderEpoch {
        crate::types::LeaderEpoch::new(self.leader_epoch)
    }

    /// Where the log ends.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        Offset::of(self.log_end)
    }
}

/// A partition whose end is known and durable.
pub(super) struct Recovered {
    /// Its end.
    pub(super) point: RecoveryPoint,
    /// Indexes of the last segment, if they were rebuilt on the way.
    pub(super) index: Option<LiveIndex>,
    /// Bytes of the last segment that need no further CRC check, if counted from its start.
    pub(super) checked: u64,
    pub(super) report: PartitionRecovery,
}

impl Recovered {
    /// After a clean close: nothing to do.
    pub(super) fn clean(point: RecoveryPoint) -> Recovered {
        let report = PartitionRecovery { log_end: point.offset, leader_epoch: -1, ..Default::default() };
        Recovered { point, index: None, checked: 0, report }
    }
}

/// One partition's recovery.
pub(super) struct Recovery<'a> {
    pub(super) home: &'a Arc<SegmentFiles>,
    pub(super) topic_id: TopicId,
    pub(super) partition: u32,
    pub(super) log_start: u64,
    pub(super) compacted: bool,
    pub(super) generation: u32,
    pub(super) point: Option<RecoveryPoint>,
    pub(super) found_cells: &'a [FoundCell],
    pub(super) index: (u64, u64),
    /// As the checkpoint has them, which is written before an epoch's first batch.
    pub(super) loaded_epochs: LeaderEpochs,
    pub(super) progress: &'a (dyn Fn(u64) + Sync),
}

/// Bytes written again with which the device may begin.
const BEGUN: u64 = 4 << 20;

/// How one segment came through.
struct SegmentOutcome {
    end: u64,
    next_offset: u64,
    index: LiveIndex,
    torn: bool,
}

/// How far the walk over the segments has come.
struct Course {
    check: BatchCheck,
    /// Those of the batches so far.
    epochs: LeaderEpochs,
    report: PartitionRecovery,
}

/// A segment that is gone through.
struct Subject {
    base: u64,
    file: Arc<dyn File>,
    index: LiveIndex,
}

impl Recovery<'_> {
    /// Recovers the segments `bases` (ascending); those behind a cut leave the list.
    pub(super) fn run(&self, bases: &mut Vec<u64>, epochs: &mut LeaderEpochs) -> Result<Recovered> {
        let start = self.start(bases)?;
        let report = PartitionRecovery { scanned: true, leader_epoch: -1, ..Default::default() };
        // Entries above the point were written ahead of their batches; the headers win.
        let mut known = epochs.clone();
        known.truncate_from_end(start.offset as i64);
        let check = BatchCheck {
            next_offset: start.offset,
            gaps: self.compacted,
            leader_epoch: known.latest().map_or(-1, |(epoch, _)| epoch),
        };
        let mut course = Course { check, epochs: known, report };
        let mut last = None;
        let first = bases.partition_point(|&base| base < start.segment);
        for &base in bases[first..].iter().filter(|&&base| self.point.is_none() || base > start.segment) {
            self.home.enter_anew(base)?;
        }
        let mut at = first;
        while let Some(&base) = bases.get(at) {
            if at > first && !self.follows(base, course.check.next_offset) {
                course.report.segments_deleted += self.delete_from(bases, at)?;
                break;
            }
            // Behind what compaction has taken away the log goes on where the segment begins.
            course.check.next_offset = course.check.next_offset.max(base);
            let from = if base == start.segment { start.position } else { 0 };
            let index = self.index_below(base, &start)?;
            let tail = bases.get(at + 1).is_none();
            let outcome = self.segment(base, from, index, &mut course, tail)?;
            at += 1;
            let torn = outcome.torn;
            last = Some((base, outcome));
            if torn {
                course.report.segments_deleted += self.delete_from(bases, at)?;
                break;
            }
        }
        self.home.sync_dir()?;
        *epochs = course.epochs;
        Ok(self.conclude(last, &start, course.report))
    }

    /// Where the scan begins. A point that the files contradict means damage below it.
    fn start(&self, bases: &[u64]) -> Result<RecoveryPoint> {
        let Some(point) = &self.point else {
            let base = bases.first().copied().unwrap_or(self.log_start);
            return Ok(RecoveryPoint {
                offset: base,
                segment: base,
                position: 0,
                indexes: NO_INDEXES,
                generation: self.generation,
            });
        };
        let path = self.home.path(FileKind::Log, point.segment);
        if bases.is_empty() && point.position == 0 {
            return Ok(*point);
        }
        if let Some(&first) = bases.first().filter(|&&first| self.deleted_below(first, point)) {
            return Ok(RecoveryPoint {
                offset: first,
                segment: first,
                position: 0,
                indexes: NO_INDEXES,
                ..*point
            });
        }
        if !bases.contains(&point.segment) {
            return Err(Error::corrupted(&path, 0, "the segment of the recovery point is missing"));
        }
        let size = self.open(point.segment)?.size().map_err(|e| Error::io("look at", &path, e))?;
        if size < point.position {
            let why = format!("the file ends below the recovery point, byte {}", point.position);
            return Err(Error::corrupted(&path, size, why));
        }
        Ok(*point)
    }

    /// Whether the point's segment has been deleted since with everything below the log start, so that the
    /// log begins in segment `first`.
    fn deleted_below(&self, first: u64, point: &RecoveryPoint) -> bool {
        point.segment < first && point.offset <= first && first <= self.log_start
    }

    fn follows(&self, base: u64, next_offset: u64) -> bool {
        base == next_offset || (self.compacted && base > next_offset)
    }

    fn open(&self, base: u64) -> Result<Arc<dyn File>> {
        self.home.open(FileKind::Log, base, OpenMode::ReadWrite)
    }

    /// The index entries of a segment below the recovery point.
    fn index_below(&self, base: u64, start: &RecoveryPoint) -> Result<LiveIndex> {
        if base == start.segment && start.position > 0 {
            return super::open::load_index(self.home, start, self.index);
        }
        Ok(LiveIndex::new(self.index.0, self.index.1))
    }

    /// Goes through a segment from a position on; `index` has what is below.
    fn segment(
        &self,
        base: u64,
        from: u64,
        index: LiveIndex,
        course: &mut Course,
        is_last: bool,
    ) -> Result<SegmentOutcome> {
        let path = &self.home.path(FileKind::Log, base);
        let failed = |what: &'static str| move |e: std::io::Error| Error::io(what, path, e);
        let mut subject = Subject { base, file: self.open(base)?, index };
        let file = subject.file.clone();
        let size = file.size().map_err(failed("look at a segment"))?;
        let mut scan = Scan::new(file.clone(), from, size, course.check);
        let (mut end, mut begun) = (from, from);
        let stop = loop {
            match scan.pass().map_err(failed("read a segment"))? {
                Ok(batch) if !self.knows_epoch_of(&batch) => {
                    break Stop::Bad("an unknown leader epoch".into());
                }
                Ok(batch) => {
                    self.accept(&mut subject, &batch, scan.passed_bytes(&batch), course)
                        .map_err(failed("write a segment again"))?;
                    end = scan.position();
                    course.check = scan.check();
                }
                Err(stop) => break stop,
            }
            if end - begun >= BEGUN {
                // The device writes while the next batches are read and checked.
                file.begin_sync(begun..end);
                begun = end;
            }
        };
        let sealed =
            self.seal_open_batch(&subject, end, size, &course.check).map_err(failed("seal a batch"))?;
        if let Some((batch, bytes)) = sealed {
            course.report.records_sealed += batch.header.records_count as u64;
            self.accept(&mut subject, &batch, &bytes, course).map_err(failed("seal a batch"))?;
            end = batch.end();
            course.check.next_offset = batch.header.last_offset() as u64 + 1;
            course.check.leader_epoch = course.check.leader_epoch.max(batch.header.leader_epoch);
        } else if matches!(stop, Stop::Bad(_)) {
            course.report.bytes_cut += size - end;
        }
        if size == end {
            // A failed sync may have lost this length, and cutting to it would be no change.
            file.set_size(end + 1).map_err(failed("lengthen a segment"))?;
        }
        file.set_size(end).map_err(failed("cut a torn tail"))?;
        sync_data(&*file).map_err(failed("sync a recovered segment"))?;
        if !is_last {
            subject.index.close();
            self.write_index(base, &subject.index)?;
        }
        let torn = matches!(stop, Stop::Bad(_));
        Ok(SegmentOutcome { end, next_offset: course.check.next_offset, index: subject.index, torn })
    }

    /// The leader epoch, which the CRC does not cover, agrees with the checkpoint: that is written before an
    /// epoch's first batch.
    fn knows_epoch_of(&self, batch: &BatchAt) -> bool {
        let known = self.loaded_epochs.epoch_at(batch.header.base_offset);
        known.is_none_or(|known| known == batch.header.leader_epoch)
    }

    /// Writes a closed segment's indexes anew.
    fn write_index(&self, base: u64, index: &LiveIndex) -> Result<()> {
        for (kind, bytes) in
            [(FileKind::OffsetIndex, index.offset_bytes()), (FileKind::TimeIndex, index.time_bytes())]
        {
            let path = self.home.path(kind, base);
            let file = self.home.open(kind, base, OpenMode::CreateIfMissing)?;
            file.set_size(0)
                .and_then(|()| write_all_at(&*file, &bytes, 0))
                .and_then(|()| sync_data(&*file))
                .map_err(|e| Error::io("write an index", &path, e))?;
        }
        self.home.recount_index(base, index.lengths())
    }

    /// Takes a good batch up: written again, indexed, its epoch noted.
    fn accept(
        &self,
        subject: &mut Subject,
        batch: &BatchAt,
        bytes: &[u8],
        course: &mut Course,
    ) -> std::io::Result<()> {
        let header = &batch.header;
        write_all_at(&*subject.file, bytes, batch.position)?;
        let delta = (header.last_offset() as u64).saturating_sub(subject.base) as u32;
        subject.index.appended(batch.position as u32, bytes.len() as u64, delta, header.max_timestamp);
        if course.epochs.latest().is_none_or(|(epoch, _)| header.leader_epoch > epoch) {
            course.epochs.assign(header.leader_epoch, header.base_offset);
        }
        course.report.bytes_rewritten += bytes.len() as u64;
        (self.progress)(course.report.bytes_rewritten);
        Ok(())
    }

    /// The batch that was open at `end` when the process died, if its tail cell vouches for the bytes.
    fn seal_open_batch(
        &self,
        subject: &Subject,
        end: u64,
        size: u64,
        check: &BatchCheck,
    ) -> std::io::Result<Option<(BatchAt, Vec<u8>)>> {
        let mine = |cell: &&FoundCell| {
            let id = &cell.identity;
            id.topic == self.topic_id && id.partition == self.partition && id.segment == subject.base
        };
        let Some(cell) = self.found_cells.iter().find(mine) else { return Ok(None) };
        let id = &cell.identity;
        let records_at = end + HEADER_LEN as u64;
        let len = u64::from(cell.length);
        let fits = id.base_offset == check.next_offset && id.leader_epoch >= check.leader_epoch;
        if !fits || len == 0 || records_at + len > size {
            return Ok(None);
        }
        let mut bytes = vec![0; HEADER_LEN + cell.length as usize];
        read_exact_at(&*subject.file, &mut bytes[HEADER_LEN..], records_at)?;
        if crc32c(&bytes[HEADER_LEN..]) != cell.crc {
            return Ok(None);
        }
        let Some(header) = header_for(cell, &bytes[HEADER_LEN..]) else { return Ok(None) };
        let Ok(header) = seal_header(&mut bytes, &header) else { return Ok(None) };
        Ok(Some((BatchAt { position: end, header }, bytes)))
    }

    /// Deletes the segments from index `at` on.
    fn delete_from(&self, bases: &mut Vec<u64>, at: usize) -> Result<u64> {
        let gone: Vec<u64> = bases.drain(at..).collect();
        for &base in gone.iter().rev() {
            let marked = self.home.mark_deleted(base)?;
            self.home.sync_dir()?;
            self.home.unlink(&marked)?;
        }
        Ok(gone.len() as u64)
    }

    fn conclude(
        &self,
        last: Option<(u64, SegmentOutcome)>,
        start: &RecoveryPoint,
        mut report: PartitionRecovery,
    ) -> Recovered {
        let Some((base, outcome)) = last else {
            report.log_end = start.offset;
            return Recovered { point: *start, index: None, checked: 0, report };
        };
        report.log_end = outcome.next_offset;
        let indexes = outcome.index.lengths();
        let checked = if base == start.segment && start.position > 0 { 0 } else { outcome.end };
        Recovered {
            point: RecoveryPoint {
                offset: outcome.next_offset,
                segment: base,
                position: outcome.end,
                indexes,
                generation: self.generation,
            },
            index: Some(outcome.index),
            checked,
            report,
        }
    }
}

/// The header of an open batch, from its cell and its records.
fn header_for(cell: &FoundCell, mut records: &[u8]) -> Option<BatchHeader> {
    let id = &cell.identity;
    let (mut count, mut max_timestamp) = (0i32, id.base_timestamp);
    let length = records.len();
    while !records.is_empty() {
        let (record, len) = decode_record(records).ok()?;
        if record.offset_delta != count {
            return None;
        }
        max_timestamp = max_timestamp.max(id.base_timestamp.wrapping_add(record.timestamp_delta));
        count += 1;
        records = records.get(len..)?;
    }
    let attributes =
        if id.log_append_time { Attributes::NONE.with_log_append_time() } else { Attributes::NONE };
    Some(BatchHeader {
        base_offset: i64::try_from(id.base_offset).ok()?,
        batch_length: i32::try_from(length + HEADER_LEN - 12).ok()?,
        leader_epoch: id.leader_epoch,
        magic: 2,
        crc: 0,
        attributes,
        last_offset_delta: count.checked_sub(1)?,
        base_timestamp: id.base_timestamp,
        max_timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        records_count: count,
    })
}
