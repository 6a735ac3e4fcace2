//! A partition's log: the parts that the other files of this module work on.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
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
use crate::error::Error;
use crate::format::leader_epochs::LeaderEpochs;
use crate::segment::{Cell, OpenSegment, RestingTail, Segment, SegmentFiles};
use crate::sync::atomic::AtomicBool;
use crate::sync::{Mutex, RwLock, WaitList};
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
    pub(super) flush_wanted: AtomicBool,
    /// Nothing more will be read than there is to read now.
    pub(super) ended: AtomicBool,
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
        let swaps = Swaps::new(parts.point_segment, &parts.manifest);
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
            swaps,
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

    /// The offset behind the last record handed over, published or still staged.
    pub(crate) fn appended_end(&self) -> u64 {
        self.append.lock().next_offset()
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
}
