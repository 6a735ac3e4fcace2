//! A segment: what readers and the writer share, whether its files are open or not.
//!
//! ```text
//!                     open(): file and map                     wake(): the writer leaves
//!   closed ------------------------------> open, at rest -----------------------------> open, growing
//!          <------------------------------               <-----------------------------
//!            try_close(): nobody holds it,                  rest(): the writer comes back
//!            all it holds is synced
//! ```
//!
//! Invariants
//! - The log is opened and mapped when it is used: a segment that grows no more at its exact length, the
//!   active one at the greatest size it may grow to. Who holds an [`OpenSegment`] keeps it open.
//! - Files are let go of only after a completed sync of everything they hold: what was written through a
//!   descriptor that has been closed might fail without anybody being told.
//! - `end` never falls, except at a truncation, which moves the end below what stays in the file: readers
//!   stop there, and the file is not cut while it is mapped.
//! - Lock order: index, then slot.

use std::path::PathBuf;
use std::sync::Arc;

use super::append_times::AppendTimes;
use super::files::SegmentFiles;
use super::index::{IndexLengths, LiveIndex, RestingIndex};
use super::name::FileKind;
use super::on_device::OnDevice;
use super::open_batch::{OpenBatch, OpenBatchCell};
use super::open_segment::{OpenSegment, Slot};
use super::room::Room;
use super::stored_index::StoredIndex;
use super::verified::Verified;
use crate::env::File;
use crate::env::map::{MapWriter, Mark};
use crate::error::{Error, Result};
use crate::format::batch::BatchHeader;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};

/// The end of a segment that is not known yet (the active one's is its map's published end).
const UNBOUNDED: u64 = u64::MAX;

/// One segment of a partition.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) base: u64,
    pub(super) home: Arc<SegmentFiles>,
    pub(super) slot: RwLock<Slot>,
    pub(super) index: Mutex<Index>,
    /// Readers stop at this position, where the next segment's first offset would be.
    end: AtomicU64,
    open_batch: OpenBatchCell,
    verified: Verified,
    pub(super) times: AppendTimes,
    pub(super) room: Room,
    pub(super) on_device: OnDevice,
    /// The newest timestamp of the time index and the end of the log have been found true.
    pub(super) vouched: AtomicBool,
    /// The newest timestamp, once somebody has asked the closed segment for it.
    pub(super) newest_time: Mutex<Option<i64>>,
    pub(super) index_settings: (u64, u64),
    /// When it was last used, in openings of segments (see [`OpenSegments`](super::OpenSegments)).
    used: AtomicU64,
    /// Compaction has replaced it: its files may be those of another one by now.
    retired: AtomicBool,
}

/// The indexes of a segment, wherever they are.
#[derive(Debug)]
pub(super) enum Index {
    Unopened,
    /// Of the active segment, while it is at rest: in its files.
    Resting(RestingIndex),
    Live(LiveIndex),
    Stored(StoredIndex),
}

/// A batch that is whole in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchAt {
    /// Where it starts.
    pub(crate) position: u64,
    /// Its header.
    pub(crate) header: BatchHeader,
}

impl BatchAt {
    /// Where it ends.
    pub(crate) fn end(&self) -> u64 {
        self.position + self.header.total_len() as u64
    }
}

impl Segment {
    /// A segment that grows no more; its files are opened at first use. `index_settings` are the interval
    /// and the greatest size of its indexes, in bytes, should they have to be rebuilt.
    pub(crate) fn closed(home: &Arc<SegmentFiles>, base: u64, index_settings: (u64, u64)) -> Arc<Segment> {
        let segment = Segment::new(home, base, Index::Unopened, Verified::new(0, UNBOUNDED), index_settings);
        // Anything but unbounded: how long the file is shows when it is opened.
        segment.end.store(UNBOUNDED - 1, Ordering::Relaxed);
        Arc::new(segment)
    }

    /// The active segment, at rest: it ends at `end`, everything below is on the device, and this process has
    /// checked the bytes below `checked`. Its index files are as long as `lengths` says.
    pub(crate) fn resting(
        home: &Arc<SegmentFiles>,
        base: u64,
        end: Mark,
        checked: u64,
        lengths: IndexLengths,
        settings: ActiveSettings,
    ) -> Arc<Segment> {
        let written = u64::from(end.position);
        let verified = Verified::new(checked, written);
        let index = Index::Resting(RestingIndex { lengths, newest: None });
        let mut segment = Segment::new(home, base, index, verified, settings.index);
        segment.room = Room::given_back(settings.max_len);
        segment.on_device = OnDevice::below(written);
        segment.slot.write().rested = Some(end);
        Arc::new(segment)
    }

    /// The active segment over `file`, whose bytes below `end` are complete batches. It may grow to
    /// `max_len` bytes. Bytes below `checked` have been checked by this process, those above `end` are ours.
    pub(crate) fn active(
        home: &Arc<SegmentFiles>,
        base: u64,
        file: Arc<dyn File>,
        end: Mark,
        checked: u64,
        index: LiveIndex,
        settings: ActiveSettings,
    ) -> Result<(Arc<Segment>, MapWriter)> {
        let written = u64::from(end.position);
        let verified = Verified::new(checked, written);
        let mut segment = Segment::new(home, base, Index::Live(index), verified, settings.index);
        segment.room = Room::behind(written, settings.max_len);
        segment.on_device = OnDevice::below(0);
        let (open, writer) = segment.mapped(file, end, settings.max_len)?;
        segment.slot.write().open = Some(open);
        Ok((Arc::new(segment), writer))
    }

    /// A segment that compaction has written over `file`, of `len` bytes, with its files open; they may have other
    /// names yet.
    pub(super) fn rewritten(
        home: &Arc<SegmentFiles>,
        base: u64,
        file: Arc<dyn File>,
        len: u32,
        index: LiveIndex,
        times: AppendTimes,
        index_settings: (u64, u64),
    ) -> Result<(Arc<Segment>, Arc<OpenSegment>)> {
        let verified = Verified::new(len.into(), UNBOUNDED);
        let mut segment = Segment::new(home, base, Index::Live(index), verified, index_settings);
        segment.end.store(UNBOUNDED - 1, Ordering::Relaxed);
        segment.times = times;
        let (open, _) = segment.mapped(file, Mark { position: len, delta: u32::MAX }, len.into())?;
        segment.slot.write().open = Some(open.clone());
        Ok((Arc::new(segment), open))
    }

    /// Compaction is about to replace it: from now on nothing of it is opened by its name. Who has it open goes on.
    pub(crate) fn retire(&self) {
        let index = self.index.lock();
        let slot = self.slot.write();
        self.retired.store(true, Ordering::Release);
        drop((slot, index));
    }

    /// It is retired: its files are closed when the last reader that has them open is done.
    pub(crate) fn let_go(&self) {
        debug_assert!(self.is_retired());
        let open = self.slot.write().open.take();
        drop(open);
    }

    /// Whether compaction has replaced it.
    #[inline]
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// What is opened by name would be another segment's.
    pub(super) fn check_in_place(&self) -> Result<()> {
        if !self.is_retired() {
            return self.home.check_here();
        }
        Err(self.corrupted(0, "the segment has been compacted into another one"))
    }

    /// Its indexes are in their files, under their names: the memory they took is free.
    pub(crate) fn leave_index_to_files(&self) {
        *self.index.lock() = Index::Unopened;
    }

    fn new(
        home: &Arc<SegmentFiles>,
        base: u64,
        index: Index,
        verified: Verified,
        index_settings: (u64, u64),
    ) -> Segment {
        Segment {
            base,
            home: home.clone(),
            slot: RwLock::new(Slot::closed()),
            index: Mutex::new(index),
            end: AtomicU64::new(UNBOUNDED),
            open_batch: OpenBatchCell::new(),
            verified,
            times: AppendTimes::none(),
            room: Room::behind(0, 0),
            // Nobody writes to it any more.
            on_device: OnDevice::below(UNBOUNDED),
            vouched: AtomicBool::new(false),
            newest_time: Mutex::new(None),
            index_settings,
            used: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        }
    }

    /// The first offset it may hold.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// The path of its log file.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.home.path(FileKind::Log, self.base)
    }

    /// Append times of its batches.
    pub(crate) fn times(&self) -> &AppendTimes {
        &self.times
    }

    /// The batch being built in it.
    pub(crate) fn open_batch(&self, position: u64) -> Option<OpenBatch> {
        self.open_batch.get(position)
    }

    pub(super) fn open_batch_cell(&self) -> &OpenBatchCell {
        &self.open_batch
    }

    /// The log file.
    pub(crate) fn file(&self) -> Result<Arc<dyn File>> {
        Ok(self.open()?.file().clone())
    }

    /// It is used now.
    #[inline]
    pub(crate) fn touch(&self) {
        let turn = self.home.open_segments().turn();
        if self.used.load(Ordering::Relaxed) != turn {
            self.used.store(turn, Ordering::Relaxed);
        }
    }

    /// When it was last used: the greater, the later.
    pub(crate) fn last_used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Readers stop at `position`: the segment is closed, or truncated there.
    pub(crate) fn set_end(&self, position: u64) {
        self.end.store(position, Ordering::Release);
    }

    /// The roll has failed: it goes on growing.
    pub(crate) fn grows_on(&self) {
        self.end.store(UNBOUNDED, Ordering::Release);
    }

    /// Another segment grows now: what [`close`](Self::close) does is due.
    pub(crate) fn grows_no_more(&self) {
        self.on_device.set_unfinished(true);
    }

    /// Does what a [`close`](Self::close) has left undone on a full disk.
    pub(crate) fn finish_close(&self) -> Result<()> {
        if self.on_device.is_unfinished() { self.close() } else { Ok(()) }
    }

    /// It grows no more: readers that have reached its end go on in the next one.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.end.load(Ordering::Acquire) != UNBOUNDED
    }

    /// Whether a truncation has moved the end below `position`.
    #[inline]
    pub(crate) fn ends_before(&self, position: u64) -> bool {
        self.end.load(Ordering::Acquire) < position
    }

    /// The last offset that the indexes of the growing segment know; its base if they know none.
    pub(crate) fn last_indexed_offset(&self) -> u64 {
        let delta = self.with_live_index(|live| live.last_delta()).flatten();
        self.base + u64::from(delta.unwrap_or(0))
    }

    /// Where readers must stop: the end of the segment, or of what is sealed in it so far.
    pub(crate) fn sealed_end(&self) -> Result<u64> {
        Ok(self.bytes()?.min(self.read_end()))
    }

    /// Where readers stop, if it is known.
    pub(super) fn read_end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The batch that starts at `position`, checked for plausibility, not yet for its CRC; `None` at the
    /// end of what is sealed.
    pub(crate) fn batch_at(&self, position: u64) -> Result<Option<BatchAt>> {
        self.batch_in(&*self.open()?, position)
    }

    /// As [`batch_at`](Self::batch_at), where the segment has been opened already.
    #[inline]
    pub(crate) fn batch_in(&self, open: &OpenSegment, position: u64) -> Result<Option<BatchAt>> {
        open.batch_at(position, self.end_in(open))
    }

    /// The end of its sealed batches, as far as they may be read.
    #[inline]
    pub(crate) fn end_in(&self, open: &OpenSegment) -> u64 {
        open.map().sealed().min(self.read_end())
    }

    /// Which bytes have been checked by this process.
    pub(crate) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Damage at `position`, as an error.
    pub(crate) fn corrupted(&self, position: u64, why: impl std::fmt::Display) -> Error {
        Error::corrupted(&self.log_path(), position, why)
    }
}

/// What the active segment needs to know beside its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActiveSettings {
    /// The greatest size it may grow to, in bytes.
    pub(crate) max_len: u64,
    /// Interval and greatest size of its indexes, in bytes.
    pub(crate) index: (u64, u64),
}
