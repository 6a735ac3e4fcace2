//! A segment: what readers and the writer share.
//!
//! Invariants
//! - A closed segment's log is opened and mapped at its first use, at its exact length; the active one
//!   when it is made, at the greatest size it may grow to.
//! - `end` never falls, except at a truncation, which moves the end below what stays in the file: readers
//!   stop there, and the file is not cut while it is mapped.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::append_times::AppendTimes;
use super::files::SegmentFiles;
use super::index::{IndexLengths, LiveIndex, StoredIndex};
use super::name::FileKind;
use super::open_batch::{OpenBatch, OpenBatchCell};
use super::prepare::{Preparation, Reach, Way};
use super::verified::Verified;
use crate::env::map::{MapWriter, Mark, Region, SegmentMap};
use crate::env::{File, OpenMode, read_exact_at, read_whole, sync_data};
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{BatchHeader, HEADER_LEN};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The end of a segment that is not known yet (the active one's is its map's published end).
const UNBOUNDED: u64 = u64::MAX;

/// One segment of a partition.
#[derive(Debug)]
pub(crate) struct Segment {
    base: u64,
    home: Arc<SegmentFiles>,
    opened: OnceLock<Opened>,
    index: Mutex<Index>,
    /// Readers stop at this position, where the next segment's first offset would be.
    end: AtomicU64,
    open_batch: OpenBatchCell,
    verified: OnceLock<Verified>,
    times: AppendTimes,
    pub(super) preparation: Mutex<Preparation>,
    /// A completed sync covers everything below.
    synced: AtomicU64,
    /// The file has been cut since the last sync.
    cut: AtomicBool,
    /// Where more room should be asked for.
    low_water: AtomicU64,
    /// It grows no more, and its end has not been cut or its side files not been written yet.
    unfinished: AtomicBool,
    /// The index files have been written to since their last sync.
    index_unsynced: AtomicBool,
    /// A sync has failed; held while one runs.
    sync_failed: Mutex<bool>,
    /// The newest timestamp of the time index and the end of the log have been found true.
    pub(super) vouched: AtomicBool,
    index_settings: (u64, u64),
}

/// How often a writer looks whether the piece being prepared is there.
const LOOKS: u32 = 200;

#[derive(Debug)]
struct Opened {
    file: Arc<dyn File>,
    map: Arc<SegmentMap>,
}

/// The indexes of a segment, wherever they are.
#[derive(Debug)]
pub(super) enum Index {
    Unopened,
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
        let segment = Segment::new(home, base, Index::Unopened, index_settings);
        // Anything but unbounded: how long the file is shows when it is opened.
        segment.end.store(UNBOUNDED - 1, Ordering::Relaxed);
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
        let segment = Segment::new(home, base, Index::Live(index), settings.index);
        let path = segment.log_path();
        let region =
            map_region(home, &*file, settings.max_len).map_err(|e| Error::io("map a segment", &path, e))?;
        let (map, writer) = SegmentMap::new(region, end, end.position.into());
        let written = u64::from(end.position);
        segment.verified.get_or_init(|| Verified::new(checked, written));
        *segment.preparation.lock() = Preparation::new(written, settings.max_len);
        segment.opened.get_or_init(|| Opened { file, map });
        Ok((Arc::new(segment), writer))
    }

    fn new(home: &Arc<SegmentFiles>, base: u64, index: Index, index_settings: (u64, u64)) -> Segment {
        Segment {
            base,
            home: home.clone(),
            opened: OnceLock::new(),
            index: Mutex::new(index),
            end: AtomicU64::new(UNBOUNDED),
            open_batch: OpenBatchCell::new(),
            verified: OnceLock::new(),
            times: AppendTimes::none(),
            preparation: Mutex::new(Preparation::new(0, 0)),
            low_water: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            cut: AtomicBool::new(false),
            unfinished: AtomicBool::new(false),
            index_unsynced: AtomicBool::new(false),
            sync_failed: Mutex::new(false),
            vouched: AtomicBool::new(false),
            index_settings,
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
    pub(crate) fn file(&self) -> Result<&Arc<dyn File>> {
        Ok(&self.opened()?.file)
    }

    /// The map it is read through, with the published end.
    pub(crate) fn map(&self) -> Result<&Arc<SegmentMap>> {
        Ok(&self.opened()?.map)
    }

    fn opened(&self) -> Result<&Opened> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let path = self.log_path();
        let error = |what: &str, e| Error::io(what, &path, e);
        let file = self.home.open(FileKind::Log, self.base, OpenMode::ReadWrite)?;
        let len = file.size().map_err(|e| error("look at a segment's size", e))?;
        let position =
            u32::try_from(len).map_err(|_| Error::corrupted(&path, len, "longer than a segment can be"))?;
        let region = map_region(&self.home, &*file, len).map_err(|e| error("map a segment", e))?;
        // The end offset of a closed segment is nobody's business: readers stop at its last batch.
        let (map, _) = SegmentMap::new(region, Mark { position, delta: u32::MAX }, len);
        self.verified.get_or_init(|| Verified::new(0, len));
        Ok(self.opened.get_or_init(|| Opened { file, map }))
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
        self.unfinished.store(true, Ordering::Release);
    }

    /// Does what a [`close`](Self::close) has left undone on a full disk.
    pub(crate) fn finish_close(&self) -> Result<()> {
        if self.unfinished.load(Ordering::Acquire) { self.close() } else { Ok(()) }
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

    /// Whether it is read through a map.
    pub(crate) fn is_mapped(&self) -> Result<bool> {
        Ok(!self.map()?.region().is_empty())
    }

    /// The last offset that the indexes of the growing segment know; its base if they know none.
    pub(crate) fn last_indexed_offset(&self) -> u64 {
        let delta = self.with_live_index(|live| live.last_delta()).flatten();
        self.base + u64::from(delta.unwrap_or(0))
    }

    /// Where readers must stop: the end of the segment, or of what is sealed in it so far.
    pub(crate) fn sealed_end(&self) -> Result<u64> {
        Ok(self.map()?.sealed().min(self.end.load(Ordering::Acquire)))
    }

    /// The batch that starts at `position`, checked for plausibility, not yet for its CRC; `None` at the
    /// end of what is sealed.
    pub(crate) fn batch_at(&self, position: u64) -> Result<Option<BatchAt>> {
        let end = self.sealed_end()?;
        if position >= end {
            return Ok(None);
        }
        if end - position < HEADER_LEN as u64 {
            return Err(self.corrupted(position, "a batch header is cut off"));
        }
        let opened = self.opened()?;
        let header = match opened.map.slice(position..position + HEADER_LEN as u64) {
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

    /// Bytes read by call, whatever the read mode.
    pub(crate) fn read(&self, position: u64, len: usize) -> Result<Vec<u8>> {
        let mut buf = vec![0; len];
        read_exact_at(&**self.file()?, &mut buf, position)
            .map_err(|e| Error::io("read a segment", &self.log_path(), e))?;
        Ok(buf)
    }

    /// Which bytes have been checked by this process.
    pub(crate) fn verified(&self) -> Result<&Verified> {
        self.opened()?;
        Ok(self.verified.get_or_init(|| Verified::new(0, UNBOUNDED)))
    }

    /// Damage at `position`, as an error.
    pub(crate) fn corrupted(&self, position: u64, why: impl std::fmt::Display) -> Error {
        Error::corrupted(&self.log_path(), position, why)
    }

    /// Makes the log durable up to `position` at least; no call if it is already. One thread at a time, and
    /// never again after a failure, which the system may have told to one caller only.
    pub(crate) fn sync(&self, position: u64) -> Result<()> {
        let mut failed = self.sync_failed.lock();
        if *failed {
            let earlier = std::io::Error::other("an earlier sync of it has failed");
            return Err(Error::io("sync a segment", &self.log_path(), earlier));
        }
        let cut = self.cut.swap(false, Ordering::AcqRel);
        if !cut && self.synced.load(Ordering::Acquire) >= position {
            return Ok(());
        }
        let synced = sync_data(&**self.file()?);
        *failed = synced.is_err();
        synced.map_err(|e| Error::io("sync a segment", &self.log_path(), e))?;
        self.synced.fetch_max(position, Ordering::AcqRel);
        Ok(())
    }

    /// A completed sync covers everything below `position`.
    pub(crate) fn mark_synced(&self, position: u64) {
        self.synced.fetch_max(position, Ordering::AcqRel);
    }

    /// Up to where a completed sync covers the log.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Lets readers and the flush go of page table entries for `range` (see [`Region::forget`]).
    pub(crate) fn forget(&self, range: std::ops::Range<u64>) {
        if let Some(opened) = self.opened.get() {
            opened.map.region().forget(range);
        }
    }

    /// Changes the indexes while they grow; nothing once they are stored.
    pub(crate) fn with_live_index<T>(&self, change: impl FnOnce(&mut LiveIndex) -> T) -> Option<T> {
        match &mut *self.index.lock() {
            Index::Live(live) => Some(change(live)),
            _ => None,
        }
    }

    /// Throws the stored indexes away, which have been found to lie, and builds them anew.
    pub(super) fn replace_index(&self) -> Result<()> {
        let log_len = u64::from(self.map()?.published().position);
        let mut rebuilt = self.rebuild_index(log_len, u64::MAX)?;
        rebuilt.close();
        *self.index.lock() = Index::Live(rebuilt);
        Ok(())
    }

    pub(super) fn with_index<T>(&self, search: impl FnOnce(&Index) -> std::io::Result<T>) -> Result<T> {
        let mut index = self.index.lock();
        if matches!(*index, Index::Unopened) {
            *index = self.open_index()?;
        }
        search(&index)
            .map_err(|e| Error::io("search an index", &self.home.path(FileKind::OffsetIndex, self.base), e))
    }

    fn open_index(&self) -> Result<Index> {
        let log_len = u64::from(self.map()?.published().position);
        if let Some(stored) = self.stored_index(log_len)? {
            return Ok(Index::Stored(stored));
        }
        let mut rebuilt = self.rebuild_index(log_len, u64::MAX)?;
        rebuilt.close();
        Ok(Index::Live(rebuilt))
    }

    fn stored_index(&self, log_len: u64) -> Result<Option<StoredIndex>> {
        let open = |kind| match self.home.open(kind, self.base, OpenMode::Read) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == ErrorKind::Io && !exists(&self.home, kind, self.base) => Ok(None),
            Err(e) => Err(e),
        };
        let (Some(offsets), Some(times)) = (open(FileKind::OffsetIndex)?, open(FileKind::TimeIndex)?) else {
            return Ok(None);
        };
        let recorded = AppendTimes::none();
        if !self.stored_times().is_some_and(|bytes| recorded.restore(&bytes)) {
            return Ok(None);
        }
        StoredIndex::open(offsets, times, log_len, recorded.index_lengths())
            .map_err(|e| Error::io("open an index", &self.home.path(FileKind::OffsetIndex, self.base), e))
    }

    /// Builds the indexes anew from the batches' headers; all of them lie below the offset `end`.
    pub(crate) fn rebuild_index(&self, log_len: u64, end: u64) -> Result<LiveIndex> {
        let mut index = LiveIndex::new(self.index_settings.0, self.index_settings.1);
        let (mut position, mut next) = (0, self.base);
        while position < log_len {
            let Some(batch) = self.batch_at(position)? else { break };
            let (base, last) = (batch.header.base_offset as u64, batch.header.last_offset() as u64);
            if base < next || last >= end {
                let why = format!("a batch of offsets {base} to {last} where {next} to {end} is left");
                return Err(self.corrupted(position, why));
            }
            let delta = u32::try_from(last - self.base).unwrap_or(u32::MAX);
            let len = batch.header.total_len() as u64;
            index.appended(position as u32, len, delta, batch.header.max_timestamp);
            (position, next) = (batch.end(), last + 1);
        }
        Ok(index)
    }

    /// Shows `index`, read back from its files, the batches behind its last entry.
    pub(crate) fn observe_tail(&self, index: &mut LiveIndex, log_len: u64) -> Result<()> {
        let mut position = index.last_position();
        while position < log_len {
            let Some(batch) = self.batch_at(position)? else { break };
            let delta = (batch.header.last_offset() as u64).saturating_sub(self.base);
            index.observe(u32::try_from(delta).unwrap_or(u32::MAX), batch.header.max_timestamp);
            position = batch.end();
        }
        Ok(())
    }

    /// Writes the index entries that are only in memory; answers the files' lengths, and whether they want a
    /// sync.
    pub(crate) fn write_index(&self) -> Result<(IndexLengths, bool)> {
        let Some(tail) = self.with_live_index(|live| live.unwritten()) else {
            return Ok((IndexLengths::default(), false));
        };
        let (offsets, times) = self.index_files(OpenMode::CreateIfMissing)?;
        if !tail.is_empty() {
            self.index_unsynced.store(true, Ordering::Release);
        }
        let lengths = tail.write(&*offsets, &*times).map_err(|e| self.index_error(e))?;
        self.with_live_index(|live| live.mark_written(lengths));
        Ok((lengths, self.index_unsynced.load(Ordering::Acquire)))
    }

    /// Makes the index files durable.
    pub(crate) fn sync_index(&self) -> Result<()> {
        let (offsets, times) = self.index_files(OpenMode::CreateIfMissing)?;
        sync_data(&*offsets).map_err(|e| self.index_error(e))?;
        sync_data(&*times).map_err(|e| self.index_error(e))?;
        self.index_unsynced.store(false, Ordering::Release);
        Ok(())
    }

    fn index_files(&self, mode: OpenMode) -> Result<(Arc<dyn File>, Arc<dyn File>)> {
        let offsets = self.home.open(FileKind::OffsetIndex, self.base, mode)?;
        Ok((offsets, self.home.open(FileKind::TimeIndex, self.base, mode)?))
    }

    fn index_error(&self, e: std::io::Error) -> Error {
        Error::io("write an index", &self.home.path(FileKind::OffsetIndex, self.base), e)
    }

    /// The segment grows no more: cuts its unused allocation and writes its side files (not synced).
    pub(crate) fn close(&self) -> Result<()> {
        self.cut_unused()?;
        self.write_side_files()
    }

    /// Cuts the unused allocation of a segment that grows no more (not synced).
    fn cut_unused(&self) -> Result<()> {
        let end = u64::from(self.map()?.published().position);
        let path = self.log_path();
        {
            // Who prepares room right now must not make the file longer again.
            let mut preparation = self.preparation.lock();
            preparation.finish();
            self.file()?.set_size(end).map_err(|e| Error::io("cut a segment's unused end", &path, e))?;
        }
        self.cut.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes the side files of a segment that grows no more (not synced).
    fn write_side_files(&self) -> Result<()> {
        self.with_live_index(LiveIndex::close);
        let (lengths, _) = self.write_index()?;
        let (offsets, times) = self.index_files(OpenMode::CreateIfMissing)?;
        offsets.set_size(lengths.offsets).map_err(|e| self.index_error(e))?;
        times.set_size(lengths.times).map_err(|e| self.index_error(e))?;
        self.index_unsynced.store(true, Ordering::Release);
        self.times.set_index_lengths(lengths);
        self.write_times()?;
        self.unfinished.store(false, Ordering::Release);
        Ok(())
    }

    /// Makes the side files of a closed segment durable, and the cut of its unused end: a recovery point
    /// above it says that nobody looks at that end again.
    pub(crate) fn sync_side_files(&self) -> Result<()> {
        if self.cut.load(Ordering::Acquire) {
            self.sync(0)?;
        }
        self.write_index()?;
        self.sync_index()?;
        let path = self.home.path(FileKind::AppendTimes, self.base);
        let file = self.home.open(FileKind::AppendTimes, self.base, OpenMode::CreateIfMissing)?;
        sync_data(&*file).map_err(|e| Error::io("sync", &path, e))
    }

    fn write_times(&self) -> Result<()> {
        let path = self.home.path(FileKind::AppendTimes, self.base);
        let file = self.home.open(FileKind::AppendTimes, self.base, OpenMode::CreateIfMissing)?;
        crate::env::write_all_at(&*file, &self.times.to_bytes(), 0).map_err(|e| Error::io("write", &path, e))
    }

    fn stored_times(&self) -> Option<Vec<u8>> {
        let file = self.home.open(FileKind::AppendTimes, self.base, OpenMode::Read).ok()?;
        read_whole(&*file, 1 << 12).ok()
    }

    /// Takes the append times from their file, or from the log file's time of change.
    pub(crate) fn load_times(&self) -> Result<()> {
        if self.times.last().is_some() {
            return Ok(());
        }
        if self.stored_times().is_some_and(|bytes| self.times.restore(&bytes)) && self.times.last().is_some()
        {
            return Ok(());
        }
        let changed =
            self.file()?.modified().map_err(|e| Error::io("look at a segment", &self.log_path(), e))?;
        self.times.appended(changed);
        Ok(())
    }

    /// Allocates (and, if stores will go through the map, prefaults) at least up to `need`, and as much
    /// further as `reach` says. Never to be called under the append lock.
    pub(crate) fn prepare(&self, need: u64, way: Way, reach: Reach, now: Duration) -> Result<()> {
        let opened = self.opened()?;
        let failed = |e| Error::io("allocate room in a segment", &self.log_path(), e);
        let (mut goal, mut looks) = (None, 0);
        while need > opened.map.prepared() || goal.is_some() {
            // Who prepares ahead makes piece after piece, and the next one may be all that is needed: so
            // look a few times before queueing up.
            let mut preparation = match self.preparation.try_lock() {
                Some(preparation) => preparation,
                None if looks < LOOKS => {
                    looks += 1;
                    crate::sync::thread::yield_now();
                    continue;
                }
                None => self.preparation.lock(),
            };
            let goal = *goal.get_or_insert_with(|| {
                let goal = preparation.goal(opened.map.prepared(), need, reach, now);
                self.low_water.store(preparation.low_water(goal), Ordering::Release);
                goal
            });
            if !preparation.advance(&*opened.file, &opened.map, need, goal, way).map_err(failed)? {
                break;
            }
        }
        Ok(())
    }

    /// Writes zeros ahead of small batches that are each synced, from the tail's `end`, at least up to `need`;
    /// to be called by who holds the tail, after [`prepare`](Self::prepare).
    pub(crate) fn write_zeros_ahead(&self, end: u64, need: u64) -> Result<()> {
        let file = &self.opened()?.file;
        let mut preparation = self.preparation.lock();
        preparation
            .write_zeros_ahead(&**file, end, need)
            .map_err(|e| Error::io("write zeros into a segment", &self.log_path(), e))
    }

    /// The position at which more room should be asked for.
    #[inline]
    pub(crate) fn low_water(&self) -> u64 {
        self.low_water.load(Ordering::Acquire)
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

fn exists(home: &SegmentFiles, kind: FileKind, base: u64) -> bool {
    home.files.exists(&home.path(kind, base)).unwrap_or(true)
}

fn map_region(home: &SegmentFiles, file: &dyn File, len: u64) -> std::io::Result<Region> {
    if !home.map || len == 0 {
        return Ok(Region::absent());
    }
    file.map(usize::try_from(len).map_err(|_| std::io::ErrorKind::InvalidInput)?)
}
