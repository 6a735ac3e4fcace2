//! What lies beside a segment's log: its indexes and its append times, written, found again or rebuilt.
//!
//! Invariants
//! - They are caches, and lengths and last entries say whether to believe them; the log is the truth.
//! - The active segment's indexes are in memory while it grows, and in their files while it rests; those
//!   of a closed segment are searched in their files.
//! - Written entries are made durable only before a recovery point names their lengths.

use std::sync::Arc;

use super::append_times::AppendTimes;
use super::files::SegmentFiles;
use super::index::{IndexLengths, LiveIndex, RestingIndex};
use super::name::FileKind;
use super::prepare::Way;
use super::segment::{Index, Segment};
use super::stored_index::StoredIndex;
use crate::env::{File, OpenMode, read_whole, sync_data};
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::{self, OffsetEntry, TimeEntry};

impl Segment {
    /// Changes the indexes while they grow; nothing once they are stored.
    pub(crate) fn with_live_index<T>(&self, change: impl FnOnce(&mut LiveIndex) -> T) -> Option<T> {
        match &mut *self.index.lock() {
            Index::Live(live) => Some(change(live)),
            _ => None,
        }
    }

    /// Throws the stored indexes away, which have been found to lie, and builds them anew.
    pub(super) fn replace_index(&self) -> Result<()> {
        let log_len = u64::from(self.open()?.map().published().position);
        let mut rebuilt = self.rebuild_index(log_len, u64::MAX)?;
        rebuilt.close();
        *self.index.lock() = Index::Live(rebuilt);
        Ok(())
    }

    pub(super) fn with_index<T>(&self, search: impl FnOnce(&mut Index) -> std::io::Result<T>) -> Result<T> {
        let mut index = self.index.lock();
        match *index {
            Index::Unopened => *index = self.open_index()?,
            Index::Resting(resting) => *index = Index::Live(self.load_resting(resting)?),
            Index::Live(_) | Index::Stored(_) => {}
        }
        search(&mut index)
            .map_err(|e| Error::io("search an index", &self.home.path(FileKind::OffsetIndex, self.base), e))
    }

    /// Leaves the indexes of the active segment, which rests, to their files.
    pub(crate) fn put_index_away(&self, live: LiveIndex) -> Result<()> {
        *self.index.lock() = Index::Live(live);
        self.write_index()?;
        let mut index = self.index.lock();
        let away = if let Index::Live(live) = &*index { live.put_away() } else { None };
        if let Some(away) = away {
            *index = Index::Resting(away);
        }
        Ok(())
    }

    /// Brings the indexes of the active segment back into memory, before it grows.
    pub(super) fn revive_index(&self) -> Result<()> {
        let mut index = self.index.lock();
        if let Index::Resting(resting) = *index {
            *index = Index::Live(self.load_resting(resting)?);
        }
        Ok(())
    }

    fn load_resting(&self, resting: RestingIndex) -> Result<LiveIndex> {
        let end = self.published();
        let (lengths, newest) = (resting.lengths, resting.newest);
        self.load_index(lengths, newest, end.position.into(), self.base + u64::from(end.delta))
    }

    /// The indexes of a segment up to the position `end`, where the offset `end_offset` begins, from their
    /// files; what looks wrong is rebuilt from the log. `newest`: the newest batch, if this process knows it.
    pub(crate) fn load_index(
        &self,
        lengths: IndexLengths,
        newest: Option<Option<TimeEntry>>,
        end: u64,
        end_offset: u64,
    ) -> Result<LiveIndex> {
        let empty = LiveIndex::new(self.index_settings.0, self.index_settings.1);
        if end == 0 {
            return Ok(empty);
        }
        if let Some((offsets, times)) = self.read_index(lengths, end, end_offset) {
            let mut index = empty.restored(offsets, times);
            if let Some(newest) = newest.filter(|_| index.written() == lengths) {
                return Ok(index.with_newest(newest));
            }
            if self.observe_tail(&mut index, end).is_ok() && self.confirms(&index) {
                return Ok(index);
            }
        }
        self.rebuild_index(end, end_offset)
    }

    /// Entries of both index files within these lengths and below the end; `None` if in doubt.
    fn read_index(
        &self,
        lengths: IndexLengths,
        end: u64,
        end_offset: u64,
    ) -> Option<(Vec<OffsetEntry>, Vec<TimeEntry>)> {
        let bytes = |kind, len: u64| {
            if len == 0 {
                return Some(Vec::new());
            }
            let file = self.home.open(kind, self.base, OpenMode::Read).ok()?;
            let mut bytes = read_whole(&*file, 1 << 28).ok()?;
            let len = usize::try_from(len).ok()?;
            (bytes.len() >= len).then(|| {
                bytes.truncate(len);
                bytes
            })
        };
        let offsets = bytes(FileKind::OffsetIndex, lengths.offsets)?;
        let times = bytes(FileKind::TimeIndex, lengths.times)?;
        index::check::<OffsetEntry>(&offsets).ok()?;
        index::check::<TimeEntry>(&times).ok()?;
        let end_delta = end_offset.saturating_sub(self.base);
        let offsets: Vec<OffsetEntry> = index::entries::<OffsetEntry>(&offsets)
            .take_while(|e| u64::from(e.position) < end && u64::from(e.delta) < end_delta)
            .collect();
        let times: Vec<TimeEntry> =
            index::entries::<TimeEntry>(&times).take_while(|e| u64::from(e.delta) < end_delta).collect();
        Some((offsets, times))
    }

    fn open_index(&self) -> Result<Index> {
        self.check_in_place()?;
        let log_len = u64::from(self.open()?.map().published().position);
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
        let held = self.home.enter(INDEX_FILES);
        StoredIndex::open(offsets, times, log_len, recorded.index_lengths(), held)
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
        let (tail, written) = match &*self.index.lock() {
            Index::Live(live) => (Some(live.unwritten()).filter(|tail| !tail.is_empty()), live.written()),
            Index::Resting(resting) => (None, resting.lengths),
            Index::Unopened | Index::Stored(_) => (None, IndexLengths::default()),
        };
        let Some(tail) = tail else { return Ok((written, self.on_device.is_index_behind())) };
        let (offsets, times) = self.index_files(OpenMode::CreateIfMissing)?;
        let lengths = tail.write(&*offsets, &*times).map_err(|e| self.index_error(e))?;
        // Before anybody can learn of the lengths.
        self.on_device.set_index_behind(true);
        self.with_live_index(|live| live.mark_written(lengths));
        Ok((lengths, true))
    }

    /// Makes the index files durable.
    pub(crate) fn sync_index(&self) -> Result<()> {
        // What is written from here on is not covered.
        self.on_device.set_index_behind(false);
        let (offsets, times) = self.index_files(OpenMode::CreateIfMissing)?;
        let synced = sync_data(&*offsets).and_then(|()| sync_data(&*times));
        synced.map_err(|e| {
            self.on_device.set_index_behind(true);
            self.index_error(e)
        })
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
        let open = self.open()?;
        let end = u64::from(open.map().published().position);
        let cut = self.room.end(&**open.file(), end);
        cut.map_err(|e| Error::io("cut a segment's unused end", &self.log_path(), e))?;
        self.on_device.note_cut();
        Ok(())
    }

    /// Writes the side files of a segment that grows no more (not synced).
    fn write_side_files(&self) -> Result<()> {
        self.revive_index()?;
        self.with_live_index(LiveIndex::close);
        let (lengths, _) = self.write_index()?;
        let (offsets, times) = self.index_files(OpenMode::CreateIfMissing)?;
        offsets.set_size(lengths.offsets).map_err(|e| self.index_error(e))?;
        times.set_size(lengths.times).map_err(|e| self.index_error(e))?;
        self.on_device.set_index_behind(true);
        self.times.set_index_lengths(lengths);
        self.write_times()?;
        self.on_device.set_unfinished(false);
        Ok(())
    }

    /// Makes the side files of a closed segment durable, and the cut of its unused end: a recovery point
    /// above it says that nobody looks at that end again.
    pub(crate) fn sync_side_files(&self) -> Result<()> {
        if self.on_device.has_cut() {
            self.sync(0, Way::Written)?;
        }
        self.write_index()?;
        self.sync_index()?;
        let path = self.home.path(FileKind::AppendTimes, self.base);
        let file = self.home.open(FileKind::AppendTimes, self.base, OpenMode::CreateIfMissing)?;
        sync_data(&*file).map_err(|e| Error::io("sync", &path, e))
    }

    fn write_times(&self) -> Result<()> {
        self.times.set_log(self.published().position.into());
        let path = self.home.path(FileKind::AppendTimes, self.base);
        let file = self.home.open(FileKind::AppendTimes, self.base, OpenMode::CreateIfMissing)?;
        crate::env::write_all_at(&*file, &self.times.to_bytes(), 0).map_err(|e| Error::io("write", &path, e))
    }

    fn stored_times(&self) -> Option<Vec<u8>> {
        let file = self.home.open(FileKind::AppendTimes, self.base, OpenMode::Read).ok()?;
        read_whole(&*file, 1 << 12).ok()
    }

    /// Takes the append times from their file, and what was appended behind those from the log file's time of change.
    pub(crate) fn load_times(&self) -> Result<()> {
        if self.times.last().is_some() {
            return Ok(());
        }
        self.check_in_place()?;
        let recorded = AppendTimes::none();
        let bytes = self.stored_times().filter(|bytes| recorded.restore(bytes) && recorded.last().is_some());
        let grown = match bytes.is_some() && recorded.are_of(self.sealed_end()?) {
            true => None,
            false => Some(self.file()?.modified()),
        };
        let path = || self.log_path();
        let changed = grown.transpose().map_err(|e| Error::io("look at a segment", &path(), e))?;
        if let Some(bytes) = bytes {
            self.times.restore(&bytes);
        }
        changed.into_iter().for_each(|changed| self.times.appended(changed));
        Ok(())
    }
}

/// Files that a stored index keeps open.
const INDEX_FILES: u64 = 2;

fn exists(home: &SegmentFiles, kind: FileKind, base: u64) -> bool {
    home.files.exists(&home.path(kind, base)).unwrap_or(true)
}
