//! Taking records away: from the end (a follower that has diverged), or from the start (delete-records).
//!
//! ```text
//!   truncate(T):  T recorded | segments >= T deleted | segment T.log made | T marked done | appends go on
//!                 the segment before keeps its bytes: it ends where T begins
//!   delete_records(B): log start recorded | segments wholly below B deleted
//! ```
//!
//! Invariants
//! - A truncation is recorded durably before anything changes and repeated at opening until it is cleared.
//! - Views of what is taken away stay valid: files are unlinked, maps stay until their last view goes.
//! - A recovery point from before a truncation is not believed above it: each counts the truncations.

use std::sync::Arc;

use super::flush::FlushPoint;
use super::log::Log;
use crate::env::{OpenMode, sync_data};
use crate::error::{Error, Result};
use crate::format::leader_epochs::LeaderEpochs;
use crate::segment::{BatchCheck, FileKind, Scan, Segment, SegmentFiles};

impl Log {
    /// Raises the log start to `before` and deletes the segments wholly below it; answers the log start.
    pub(crate) fn delete_records(&self, before: u64) -> Result<u64> {
        self.poison.check(&self.tp)?;
        let _upkeep = self.begin_upkeep()?;
        let point = self.written_point().map_err(|e| self.fail(e))?;
        if before > self.high_watermark().max(self.log_start()) {
            return Err(self.out_of_range(before));
        }
        if before <= self.log_start() {
            return Ok(self.log_start());
        }
        if self.flushed() < point.offset {
            self.flush()?;
        }
        // What the records to be deleted tell of producers, nothing will tell once the log begins behind them.
        let active = self.commit.last().segment.base();
        self.checkpoint_producers(self.flushed(), active).map_err(|e| self.fail(e))?;
        {
            let mut manifest = self.manifest.lock();
            let mut changed = manifest.clone();
            changed.log_start = before;
            changed.store(&*self.home.files, &self.dir).map_err(|e| self.fail(e))?;
            *manifest = changed;
        }
        self.marks.raise_log_start(before, self.log_end());
        self.drop_segments_below(before).map_err(|e| self.fail(e))?;
        self.readers.notify_after_publish();
        Ok(before)
    }

    fn drop_segments_below(&self, start: u64) -> Result<()> {
        loop {
            let oldest = {
                let mut segments = self.segments.write();
                if segments.get(1).is_none_or(|next| next.base() > start) {
                    return Ok(());
                }
                segments.remove(0)
            };
            self.delete_segment(&oldest)?;
        }
    }

    fn delete_segment(&self, segment: &Arc<Segment>) -> Result<()> {
        self.note_gone(segment);
        let bytes = if self.is_bounded() { segment.sealed_end()? } else { 0 };
        let marked = self.home.mark_deleted(segment.base())?;
        self.home.sync_dir()?;
        self.home.unlink(&marked)?;
        self.segment_gone(bytes);
        Ok(())
    }

    /// Takes back everything from the batch that holds `to` on; answers the new log end.
    pub(crate) fn truncate(&self, to: u64) -> Result<u64> {
        if self.is_bounded() {
            let why = "a volatile topic follows no leader: its records are not taken back";
            return Err(Error::invalid_argument(why).in_partition(&self.tp));
        }
        self.flush()?;
        let _upkeep = self.begin_upkeep()?;
        if to < self.log_start() {
            return Err(self.out_of_range(to));
        }
        let mut writer = self.writer.lock();
        self.poison.check(&self.tp)?;
        self.write_queue(&mut writer).map_err(|e| self.fail(e))?;
        if to >= self.log_end() {
            return Ok(self.log_end());
        }
        let boundary = self.batch_boundary(to)?;
        self.truncate_locked(boundary, &mut writer).map_err(|e| self.fail(e))?;
        drop(writer);
        self.readers.notify_after_publish();
        Ok(boundary)
    }

    /// The base offset of the batch that holds `to`, and where it lies.
    fn batch_boundary(&self, to: u64) -> Result<u64> {
        let Some(segment) = self.segment_for(to) else { return Err(self.out_of_range(to)) };
        self.append.lock().seal(self.environment.clock().now().millis());
        let mut position = segment.seek(to, self.manifest.lock().compacted)?;
        while let Some(batch) = segment.batch_at(position)? {
            if batch.header.last_offset() as u64 >= to {
                return Ok((batch.header.base_offset as u64).min(to).max(self.log_start()));
            }
            position = batch.end();
        }
        Ok(to)
    }

    fn truncate_locked(&self, to: u64, writer: &mut super::roll::Writer) -> Result<()> {
        self.wake_in(writer)?;
        // Nobody appends from here on: the tail is in our hands.
        let in_place = writer.tail.is_none();
        let tail = match writer.tail.take() {
            Some(tail) => self.drain(writer, tail)?,
            None => self.append.lock().take_tail().ok_or_else(|| Error::closed("the partition"))?,
        };
        if let Err(e) = self.record_truncation(to) {
            self.append.lock().install(tail, in_place, writer);
            return Err(e);
        }
        drop(tail);
        self.append.lock().hold(to);
        // Half done it is no log any more, also if only the disk is full: the next opening repeats it.
        self.truncate_recorded(to, writer).map_err(|e| self.fail_for_good(e))
    }

    fn truncate_recorded(&self, to: u64, writer: &mut super::roll::Writer) -> Result<()> {
        self.marks.truncate(to);
        let (end, bytes_in) = (self.log_end(), self.passed_in().bytes);
        self.no_point_stored(to);
        let (kept_end, gone) = self.cut_list(to)?;
        self.segments_cut();
        for segment in gone.iter().rev() {
            segment.set_end(0);
            self.delete_segment(segment)?;
        }
        if let Some((segment, end)) = kept_end {
            segment.set_end(end);
        }
        {
            let mut epochs = self.epochs.lock();
            if epochs.cut_at(to as i64) {
                super::open::store_epochs(&self.home, &epochs)?;
            }
        }
        let settings = self.settings();
        let tail = self.tail_over(to, &settings, OpenMode::CreateIfMissing)?;
        self.counts.truncated(end.saturating_sub(to), bytes_in);
        self.home.sync_dir()?;
        self.commit.set_last(FlushPoint { segment: tail.segment().clone(), position: 0, offset: to });
        {
            let mut manifest = self.manifest.lock();
            let mut changed = manifest.clone();
            changed.truncated(to);
            changed.store(&*self.home.files, &self.dir)?;
            *manifest = changed;
        }
        self.checkpointed.lock().truncated(to);
        self.reload_producers()?;
        let mut appender = self.append.lock();
        appender.install(tail, settings.builds_in_place(), writer);
        // What is gone waits for no flush.
        appender.flush_ends(self.flushed());
        Ok(())
    }

    /// Takes the segments at and above `to` out of the list; answers where the one before them ends now.
    #[expect(clippy::type_complexity, reason = "a segment with its new end, and those that go")]
    fn cut_list(&self, to: u64) -> Result<(Option<(Arc<Segment>, u64)>, Vec<Arc<Segment>>)> {
        let kept = self.segment_for(to).filter(|segment| segment.base() < to);
        let end = match &kept {
            Some(segment) => {
                let mut position = segment.seek(to, self.manifest.lock().compacted)?;
                while let Some(batch) = segment.batch_at(position)? {
                    if batch.header.base_offset as u64 >= to {
                        break;
                    }
                    position = batch.end();
                }
                Some((segment.clone(), position))
            }
            None => None,
        };
        let mut segments = self.segments.write();
        let first = segments.partition_point(|segment| segment.base() < to);
        let gone = segments.drain(first..).collect();
        self.newest_times.lock().forget_from(to);
        Ok((end, gone))
    }

    fn record_truncation(&self, to: u64) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.clone();
        changed.truncation = Some(to);
        changed.store(&*self.home.files, &self.dir)?;
        *manifest = changed;
        Ok(())
    }

    /// Appends batches whose offsets and epochs are given (a follower's), all of them or, where one is wrong,
    /// none; answers the log end.
    pub(crate) fn append_follower(&self, mut bytes: &[u8]) -> Result<u64> {
        let mut batches: Vec<super::batch_in::FinishedBatch> = Vec::new();
        let mut next = self.append.lock().next_offset();
        while !bytes.is_empty() {
            let header = crate::format::batch::BatchHeader::parse(bytes)
                .map_err(|e| Error::invalid_argument(format!("not a batch: {e}")).in_partition(&self.tp))?;
            let Some(batch) = bytes.get(..header.total_len()) else {
                return Err(Error::invalid_argument("the last batch is cut off").in_partition(&self.tp));
            };
            let batch = super::batch_in::FinishedBatch::given(batch.to_vec())?;
            self.check_goes_on(&batch, next)?;
            if batches.last().is_some_and(|last| last.header().leader_epoch > header.leader_epoch) {
                return Err(Error::invalid_argument("leader epochs that fall").in_partition(&self.tp));
            }
            next = batch.header().last_offset() as u64 + 1;
            batches.push(batch);
            bytes = bytes.get(header.total_len()..).unwrap_or_default();
        }
        for batch in batches {
            self.append_given(batch)?;
        }
        self.seal_and_write()?;
        Ok(self.log_end())
    }

    fn append_given(&self, mut batch: super::batch_in::FinishedBatch) -> Result<()> {
        // Somebody else may have appended meanwhile.
        self.check_goes_on(&batch, self.append.lock().next_offset())?;
        let (base, epoch) = (batch.header().base_offset as u64, batch.header().leader_epoch);
        self.take_epoch(epoch, base)?;
        self.expect_given(batch.header())?;
        let header = *batch.header();
        let marker = if header.attributes.is_control() { batch.records().to_vec() } else { Vec::new() };
        self.append_batch(&mut batch, super::waiting::Patience::Until(std::time::Duration::MAX))?;
        self.note_given(&header, &marker);
        Ok(())
    }

    fn check_goes_on(&self, batch: &super::batch_in::FinishedBatch, next: u64) -> Result<()> {
        let base = batch.header().base_offset as u64;
        // No segment could hold what is further away.
        let near = batch.span(next) <= i32::MAX as u64;
        if base == next || (base > next && near && self.manifest.lock().compacted) {
            return Ok(());
        }
        let why = format!("batch at offset {base} where the log ends at {next}");
        Err(Error::invalid_argument(why).in_partition(&self.tp))
    }

    /// Notes a leader's epoch, durably, before its first batch. One of ours without a record gives way.
    fn take_epoch(&self, epoch: i32, start: u64) -> Result<()> {
        let mut epochs = self.epochs.lock();
        if epochs.latest().is_some_and(|(latest, _)| latest == epoch) {
            return Ok(());
        }
        if self.has_ended() {
            // The folder may be another topic's of this name by now, or another broker's.
            drop(epochs);
            return self.check_going_on();
        }
        let mut changed = epochs.clone();
        changed.truncate_from_end(start as i64);
        if let Some((latest, _)) = changed.latest().filter(|&(latest, _)| epoch < latest) {
            let why = format!("leader epoch {epoch} is older than {latest}");
            return Err(Error::invalid_argument(why).in_partition(&self.tp));
        }
        changed.assign(epoch, start as i64);
        super::open::store_epochs(&self.home, &changed).map_err(|e| self.fail(e))?;
        *epochs = changed;
        drop(epochs);
        // What is appended here next must not fall behind.
        let settings = self.settings();
        self.append.lock().configure(&settings, epoch);
        Ok(())
    }
}

/// Repeats a truncation that was recorded and not marked done: deletes what lies at or above `to`, and makes
/// the segment that starts there.
pub(super) fn repeat(
    home: &Arc<SegmentFiles>,
    bases: &mut Vec<u64>,
    epochs: &mut LeaderEpochs,
    to: u64,
) -> Result<()> {
    let first = bases.partition_point(|&base| base < to);
    for base in bases.drain(first..).rev() {
        let marked = home.mark_deleted(base)?;
        home.sync_dir()?;
        home.unlink(&marked)?;
    }
    if epochs.cut_at(to as i64) {
        super::open::store_epochs(home, epochs)?;
    }
    let path = home.path(FileKind::Log, to);
    home.files.open(&path, OpenMode::CreateIfMissing).map_err(|e| Error::io("make a segment", &path, e))?;
    home.sync_dir()?;
    bases.push(to);
    Ok(())
}

/// Cuts what finished truncations have left in the segments before them.
pub(super) fn cut_overlaps(home: &Arc<SegmentFiles>, bases: &[u64], overlaps: &[u64]) -> Result<()> {
    for &to in overlaps.iter().filter(|to| bases.contains(to)) {
        let before = bases.partition_point(|&base| base < to);
        if let Some(&base) = before.checked_sub(1).and_then(|i| bases.get(i)) {
            cut_overlap(home, base, to)?;
        }
    }
    Ok(())
}

/// Cuts the batches at and above `to` off the file of segment `base`; nothing maps it yet.
fn cut_overlap(home: &Arc<SegmentFiles>, base: u64, to: u64) -> Result<()> {
    let path = home.path(FileKind::Log, base);
    let failed = |what: &'static str, e| Error::io(what, &path, e);
    let file = home.open(FileKind::Log, base, OpenMode::ReadWrite)?;
    let size = file.size().map_err(|e| failed("look at a segment", e))?;
    let check = BatchCheck { next_offset: base, gaps: true, leader_epoch: i32::MIN };
    let mut scan = Scan::new(file.clone(), 0, size, check);
    let mut end = 0;
    while let Ok(batch) = scan.next().map_err(|e| failed("read a segment", e))? {
        if batch.header.base_offset as u64 >= to {
            break;
        }
        end = scan.position();
    }
    if end < size {
        file.set_size(end).map_err(|e| failed("cut a segment", e))?;
        sync_data(&*file).map_err(|e| failed("sync a segment", e))?;
        let stale = [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::AppendTimes];
        home.unlink(&stale.map(|kind| home.path(kind, base)))?;
    }
    Ok(())
}
