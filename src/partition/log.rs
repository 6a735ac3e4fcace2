//! A partition's log: the parts that the other files of this module work on.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::append_lock::AppendLock;
use super::appender::Appender;
use super::attendant::Attendant;
use super::budget::Budget;
use super::checkpoint::Checkpointed;
use super::counts::Counts;
use super::flush::{FlushPoint, GroupCommit};
use super::manifest::PartitionManifest;
use super::newest_times::NewestTimes;
use super::poison::Poison;
use super::produced::Producers;
use super::roll::Writer;
use super::settings::LogSettings;
use super::swap::Swaps;
use super::watermarks::Watermarks;
use crate::config::{CrcCheck, Durability};
use crate::env::{Clock, Environment, Random};
use crate::error::{Error, Result};
use crate::format::leader_epochs::LeaderEpochs;
use crate::segment::{Cell, OpenSegment, RestingTail, Segment, SegmentFiles};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, RwLock, WaitKey, WaitList};
use crate::types::{Offset, TopicId, TopicPartition};

/// One partition.
#[derive(Debug)]
pub(crate) struct Log {
    pub(super) tp: TopicPartition,
    pub(super) topic_id: TopicId,
    pub(super) dir: PathBuf,
    pub(super) environment: Environment,
    pub(super) home: Arc<SegmentFiles>,
    pub(super) settings: RwLock<Arc<LogSettings>>,
    pub(super) crc_check: CrcCheck,
    pub(super) cell: Option<Cell>,
    pub(super) marks: Watermarks,
    pub(super) poison: Poison,
    /// Oldest first; the last one is active.
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    /// Of what a search by time has come by.
    pub(super) newest_times: Mutex<NewestTimes>,
    pub(super) append: AppendLock,
    pub(super) writer: Mutex<Writer>,
    pub(super) commit: GroupCommit,
    pub(super) checkpointed: Mutex<Checkpointed>,
    pub(super) epochs: Mutex<LeaderEpochs>,
    pub(super) manifest: Mutex<PartitionManifest>,
    /// Those that number their records, and their transactions.
    pub(super) producers: Producers,
    /// Somebody waits for the device, also where the level asks for less.
    flush_wanted: AtomicBool,
    /// Nothing more will be read than there is to read now.
    ended: AtomicBool,
    pub(super) swaps: Swaps,
    /// Segments that are deleted, or compacted away, while somebody looks at them, with their bytes.
    pub(super) pinned: Mutex<Vec<(Weak<OpenSegment>, u64)>>,
    /// Who waits at the high watermark.
    pub(super) readers: WaitList,
    /// Who waits for an acknowledgement.
    pub(super) acks: WaitList,
    pub(super) budget: Arc<Budget>,
    pub(super) attendant: Arc<dyn Attendant>,
    pub(super) counts: Counts,
}

/// What retention must know of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClosedSegment {
    /// Where the next segment begins.
    pub(crate) end_offset: u64,
    /// Bytes of its log file.
    pub(crate) bytes: u64,
    /// When its last batch was appended, in milliseconds since the epoch.
    pub(crate) last_append: i64,
}

/// The segments of a log that grow no more, as they were at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClosedSegments {
    /// Oldest first.
    pub(crate) segments: Vec<ClosedSegment>,
    /// Bytes of the log file of the one that still grows.
    pub(crate) active_bytes: u64,
}

impl ClosedSegments {
    /// Bytes of all log files, that of the active segment too.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.segments.iter().fold(self.active_bytes, |sum, segment| sum.saturating_add(segment.bytes))
    }
}

/// What a log is made of.
pub(crate) struct LogParts {
    pub(crate) tp: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) dir: PathBuf,
    pub(crate) environment: Environment,
    pub(crate) home: Arc<SegmentFiles>,
    pub(crate) settings: LogSettings,
    pub(crate) crc_check: CrcCheck,
    pub(crate) cell: Option<Cell>,
    pub(crate) manifest: PartitionManifest,
    pub(crate) epochs: LeaderEpochs,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The end of the active one.
    pub(crate) end: RestingTail,
    /// Where it ended when it was opened; everything below is on the device.
    pub(crate) checkpointed: Checkpointed,
    /// The segment of the recovery point that is on the device; 0 where that is not known.
    pub(crate) point_segment: u64,
    pub(crate) budget: Arc<Budget>,
    pub(crate) attendant: Arc<dyn Attendant>,
}

impl Log {
    /// A log of these parts; everything in it is on the device.
    pub(super) fn new(parts: LogParts) -> Log {
        let end = parts.end.next_offset();
        let epoch = parts.epochs.latest().map_or(0, |(epoch, _)| epoch);
        let marks = Watermarks::new(parts.manifest.log_start.min(end), end);
        if parts.settings.durability != Durability::Sync {
            marks.uncap();
        }
        let segment = parts.end.segment().clone();
        let counts = Counts::new(end, parts.end.end());
        let flushed = FlushPoint { segment, position: parts.end.end(), offset: end };
        let (appender, writer) = Appender::over(parts.end, &parts.settings, epoch);
        Log {
            tp: parts.tp,
            topic_id: parts.topic_id,
            dir: parts.dir,
            environment: parts.environment,
            home: parts.home,
            settings: RwLock::new(Arc::new(parts.settings)),
            crc_check: parts.crc_check,
            cell: parts.cell,
            marks,
            poison: Poison::default(),
            segments: RwLock::new(parts.segments),
            newest_times: Mutex::new(NewestTimes::default()),
            append: AppendLock::new(appender),
            writer: Mutex::new(writer),
            commit: GroupCommit::new(flushed),
            checkpointed: Mutex::new(parts.checkpointed),
            epochs: Mutex::new(parts.epochs),
            manifest: Mutex::new(parts.manifest),
            producers: Producers::new(),
            flush_wanted: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            swaps: Swaps::new(parts.point_segment),
            pinned: Mutex::new(Vec::new()),
            readers: WaitList::new(),
            acks: WaitList::new(),
            budget: parts.budget,
            attendant: parts.attendant,
            counts,
        }
    }

    /// Which partition.
    pub(crate) fn topic_partition(&self) -> &TopicPartition {
        &self.tp
    }

    /// The settings now.
    pub(crate) fn settings(&self) -> Arc<LogSettings> {
        self.settings.read().clone()
    }

    /// Some of its settings.
    pub(crate) fn with_settings<T>(&self, look: impl FnOnce(&LogSettings) -> T) -> T {
        look(&self.settings.read())
    }

    /// The clock.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        self.environment.clock()
    }

    /// The randomness.
    pub(crate) fn random(&self) -> &Arc<dyn Random> {
        self.environment.random()
    }

    /// Staging memory.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// How CRCs are checked unless a reader says otherwise.
    pub(crate) fn crc_check(&self) -> CrcCheck {
        self.crc_check
    }

    pub(super) fn monotonic(&self) -> Duration {
        self.environment.clock().monotonic()
    }

    pub(super) fn active_segment(&self) -> Option<Arc<Segment>> {
        self.segments.read().last().cloned()
    }

    /// The first offset that may be read.
    pub(crate) fn log_start(&self) -> u64 {
        self.marks.log_start()
    }

    /// The offset behind the last published record.
    pub(crate) fn log_end(&self) -> u64 {
        let segments = self.segments.read();
        let Some(active) = segments.last() else { return self.marks.log_start() };
        active.base() + u64::from(active.published().delta)
    }

    /// Where readers stop.
    pub(crate) fn high_watermark(&self) -> u64 {
        self.marks.high_watermark(self.log_end())
    }

    /// Everything below is on the device.
    pub(crate) fn flushed(&self) -> u64 {
        self.marks.flushed()
    }

    /// Every offset below is acknowledged at the topic's level.
    #[inline]
    pub(crate) fn acked_end(&self) -> u64 {
        self.high_watermark()
    }

    /// Who waits for records.
    pub(crate) fn readers(&self) -> &WaitList {
        &self.readers
    }

    /// Asks to be woken when there is more to read; the caller looks again before it answers `Pending`.
    ///
    /// A send into the map needs no fence to find out who waits: it looks under the append lock, right after the
    /// publication. Either it comes later than the line below and sees that somebody waits, or it comes earlier,
    /// and the caller's look finds the record. (Others who let readers go on keep to the [`WaitList`]'s protocol.)
    pub(crate) fn await_records(&self, key: &mut Option<WaitKey>, waker: &Waker) {
        self.readers.register(key, waker);
        self.append.lock().await_publication();
    }

    /// A reader is about to wait at the high watermark: what is staged is flushed soon.
    pub(crate) fn want_records(&self) {
        if self.append.lock().has_staged() || self.high_watermark() < self.log_end() {
            self.attendant.flush_soon();
        }
    }

    /// Looks whether everything below `end` is acknowledged, and registers to be woken otherwise.
    pub(crate) fn poll_acked(
        &self,
        end: u64,
        cx: &mut Context<'_>,
        key: &mut Option<WaitKey>,
    ) -> Poll<Result<()>> {
        if let Some(done) = self.acked(end) {
            return Poll::Ready(done);
        }
        self.acks.register(key, cx.waker());
        if let Some(done) = self.acked(end) {
            return Poll::Ready(done);
        }
        self.attendant.flush_soon();
        Poll::Pending
    }

    /// Asks for a flush in the background, if what lies below `end` is not on the device, whatever the level.
    pub(crate) fn flush_soon(&self, end: u64) {
        if self.marks.flushed() < end {
            self.want_flush();
            self.attendant.flush_soon();
        }
    }

    /// Somebody waits for a flush, whatever the level; whoever has taken the wish and could not fulfil it puts it back.
    pub(crate) fn want_flush(&self) {
        self.flush_wanted.store(true, Ordering::Release);
    }

    /// Whether somebody has asked for a flush since this was asked last.
    pub(crate) fn take_flush_wanted(&self) -> bool {
        self.flush_wanted.swap(false, Ordering::AcqRel)
    }

    /// Looks whether everything below `end` is on the device, whatever the level, and registers to be woken
    /// otherwise; `key` is taken back by [`cancel_acked`](Self::cancel_acked).
    pub(crate) fn poll_flushed(
        &self,
        end: u64,
        cx: &mut Context<'_>,
        key: &mut Option<WaitKey>,
    ) -> Poll<Result<()>> {
        if let Some(done) = self.is_flushed(end) {
            return Poll::Ready(done);
        }
        self.acks.register(key, cx.waker());
        if let Some(done) = self.is_flushed(end) {
            return Poll::Ready(done);
        }
        self.flush_soon(end);
        Poll::Pending
    }

    fn is_flushed(&self, end: u64) -> Option<Result<()>> {
        if self.marks.flushed() >= end {
            return Some(Ok(()));
        }
        self.check_open().err().map(Err)
    }

    /// Stops waiting.
    pub(crate) fn cancel_acked(&self, key: WaitKey) {
        self.acks.cancel(key);
    }

    pub(super) fn acked(&self, end: u64) -> Option<Result<()>> {
        if self.acked_end() >= end {
            return Some(Ok(()));
        }
        if let Err(e) = self.poison.check(&self.tp) {
            return Some(Err(e));
        }
        self.append.lock().closed_error(&self.tp).map(Err)
    }

    /// The offset behind the last record handed over, published or still staged.
    pub(crate) fn appended_end(&self) -> u64 {
        self.append.lock().next_offset()
    }

    /// Why nothing new will come: the log is poisoned or closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.poison.check(&self.tp)?;
        self.append.lock().closed_error(&self.tp).map_or(Ok(()), Err)
    }

    /// Nothing will come that a reader cannot see by now; tells everybody who waits.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake_everybody();
    }

    /// Whether the log has ended. Who has found nothing before asking must look once more.
    #[inline]
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Why readers have nothing to wait for: the log is poisoned, or has ended.
    pub(crate) fn check_going_on(&self) -> Result<()> {
        self.poison.check(&self.tp)?;
        if self.has_ended() { self.check_open() } else { Ok(()) }
    }

    /// Whether it has been closed or given up.
    pub(crate) fn is_closed(&self) -> bool {
        self.append.lock().closed_error(&self.tp).is_some()
    }

    /// Whether a write or sync has failed.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poison.is_set()
    }

    /// Takes note of a failure. A full disk is no poison; anything else is.
    pub(super) fn fail(&self, error: Error) -> Error {
        let error = error.in_partition(&self.tp);
        let harmless = matches!(
            error.kind(),
            crate::error::ErrorKind::StorageFull
                | crate::error::ErrorKind::Poisoned
                | crate::error::ErrorKind::Closed
        );
        if !harmless {
            self.poison_by(&error);
        }
        error
    }

    /// As [`fail`](Self::fail), where even a full disk leaves something half done that only an opening ends.
    pub(super) fn fail_for_good(&self, error: Error) -> Error {
        let error = error.in_partition(&self.tp);
        self.poison_by(&error);
        error
    }

    fn poison_by(&self, error: &Error) {
        self.poison.set(error);
        self.marks.cap_at_flushed();
        self.append.lock().stop();
        self.wake_everybody();
    }

    /// Who waits to append looks again whether it still may.
    pub(crate) fn wake_senders(&self) {
        self.commit.leadership.stir();
        self.acks.wake_all();
        self.budget.waiters().wake_all();
    }

    pub(super) fn wake_everybody(&self) {
        self.readers.wake_all();
        self.acks.wake_all();
        self.budget.waiters().wake_all();
    }

    /// The error of a reader that asks for what is not there.
    pub(super) fn out_of_range(&self, requested: u64) -> Error {
        let (earliest, latest) = (self.log_start(), self.high_watermark());
        Error::out_of_range(&self.tp, Offset::of(requested), Offset::of(earliest), Offset::of(latest))
    }

    /// The epoch of the batches appended now.
    pub(crate) fn leader_epoch(&self) -> i32 {
        self.epochs.lock().latest().map_or(-1, |(epoch, _)| epoch)
    }

    /// The epoch of the record before `offset`; -1 where that is not known.
    pub(crate) fn epoch_before(&self, offset: u64) -> i32 {
        let before = offset.checked_sub(1).and_then(|before| i64::try_from(before).ok());
        before.and_then(|before| self.epochs.lock().epoch_at(before)).unwrap_or(-1)
    }

    /// Where the log of `epoch` (or of the greatest one not above it) ended; see KIP-101.
    pub(crate) fn end_offset_for_epoch(&self, epoch: i32) -> Option<(i32, u64)> {
        let end = self.log_end();
        let (epoch, offset) = self.epochs.lock().end_offset_for(epoch, end as i64)?;
        Some((epoch, offset.max(0) as u64))
    }

    /// The segments that grow no more, and how large the one is that does: all of the same list, so that what is
    /// subtracted is in the sum.
    pub(crate) fn closed_segments(&self) -> Result<ClosedSegments> {
        self.while_segments_stand(|| {
            let segments: Vec<_> = self.segments.read().clone();
            let active_bytes = segments.last().map_or(Ok(0), |active| active.sealed_end())?;
            let pairs = segments.iter().zip(segments.iter().skip(1));
            let closed: Result<Vec<_>> = pairs
                .map(|(segment, next)| {
                    segment.load_times()?;
                    let last_append = segment.times().last().map_or(i64::MAX, |last| last.millis());
                    Ok(ClosedSegment { end_offset: next.base(), bytes: segment.sealed_end()?, last_append })
                })
                .collect();
            Ok(ClosedSegments { segments: closed?, active_bytes })
        })
    }

    /// Bytes of all segments' log files.
    pub(crate) fn size_bytes(&self) -> u64 {
        let size = |segment: &Arc<Segment>| segment.sealed_end().unwrap_or(0);
        self.segments.read().iter().map(size).sum()
    }

    /// A segment leaves the log: as long as anybody has it open, its bytes stay on the device.
    pub(super) fn note_gone(&self, segment: &Segment) {
        let Some(open) = segment.opened() else { return };
        let mut pinned = self.pinned.lock();
        pinned.retain(|(open, _)| open.strong_count() > 0);
        pinned.push((Arc::downgrade(&open), segment.sealed_end().unwrap_or(0)));
    }

    /// Bytes of segments that have left the log and are still looked at.
    pub(crate) fn pinned_bytes(&self) -> u64 {
        let mut pinned = self.pinned.lock();
        pinned.retain(|(open, _)| open.strong_count() > 0);
        pinned.iter().map(|(_, bytes)| bytes).sum()
    }

    /// How many segments there are.
    pub(crate) fn segment_count(&self) -> usize {
        self.segments.read().len()
    }
}
