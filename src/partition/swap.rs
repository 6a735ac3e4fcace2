//! Compacted segments take the place of those that they were made from.
//!
//! ```text
//!   .cleaned written, synced -> .swap | manifest: swap [from, to) | list changed | old -> .deleted, .swap -> names
//!   an opening finds: neither -> thrown away                      | swap recorded -> repeated until it is done
//! ```
//!
//! Invariants
//! - Only closed segments below a durable recovery point are replaced: no recovery looks at them again.
//! - The record in the manifest decides: before it the old segments are the log, from it on the new one is.
//! - Truncations, deletions and swaps of one log do not overlap, and the first two begin with a swap finished.
//! - Readers keep what they have open; who looks for a segment anew finds the new one.

use std::path::Path;
use std::sync::{Arc, Weak};

use super::log::Log;
use super::manifest::PartitionManifest;
use crate::env::FileSystem;
use crate::error::{Error, Result};
use crate::segment::{
    CleanedSegment, FileKind, OpenSegment, OpenSegments, Segment, SegmentFileName, SegmentFiles, WholeSegment,
};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// What the log knows of its compaction.
#[derive(Debug)]
pub(crate) struct Swaps {
    /// Held while segments are replaced, deleted from the start or truncated: what is left of a swap.
    upkeep: Mutex<Option<Pending>>,
    /// Held for as long as a compaction of this log runs.
    cleaning: Mutex<()>,
    /// A recovery point in this segment is on the device: what lies below may be replaced.
    below: AtomicU64,
    /// Odd while segments are exchanged; rises after truncations, too.
    count: AtomicU64,
    /// What the manifest says of it, for those who look often.
    tombstones_gone: AtomicU64,
    /// Segments that were replaced, and where they begin: readers may be at them still.
    replaced: Mutex<Vec<(u64, Weak<Segment>)>>,
}

/// A swap that is recorded, and whose files do not have their names yet.
#[derive(Debug)]
struct Pending {
    range: SwapRange,
    whole: WholeSegment,
    gone: Vec<Arc<Segment>>,
}

/// Base offset of the first segment replaced, and where the segment behind the last one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SwapRange {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// A segment that compaction may replace.
#[derive(Clone, Debug)]
pub(crate) struct CleanableSegment {
    /// The segment.
    pub(crate) segment: Arc<Segment>,
    /// Where the next one begins.
    pub(crate) end_offset: u64,
    /// Bytes of its log file.
    pub(crate) bytes: u64,
    /// When its first batch was appended, in milliseconds since the epoch.
    pub(crate) first_append: i64,
    /// When its last batch was appended.
    pub(crate) last_append: i64,
}

/// Holds a log for one compaction.
#[derive(Debug)]
pub(crate) struct CleaningGuard<'a> {
    #[expect(dead_code, reason = "held for as long as the compaction runs")]
    alone: MutexGuard<'a, ()>,
    /// Truncations before it began: after another one what it has seen is not the log any more.
    generation: u32,
}

impl Swaps {
    /// Of a log whose recovery point on the device lies in the segment `below`.
    pub(super) fn new(below: u64, manifest: &PartitionManifest) -> Swaps {
        Swaps {
            upkeep: Mutex::new(None),
            cleaning: Mutex::new(()),
            below: AtomicU64::new(below),
            count: AtomicU64::new(0),
            tombstones_gone: AtomicU64::new(manifest.tombstones_gone),
            replaced: Mutex::new(Vec::new()),
        }
    }
}

/// Segments may be deleted or truncated, and no swap is half done.
pub(super) struct Upkeep<'a> {
    _alone: MutexGuard<'a, Option<Pending>>,
}

impl Log {
    /// Holds the log for a compaction; `None` if one is running.
    pub(crate) fn try_clean(&self) -> Option<CleaningGuard<'_>> {
        self.swaps.cleaning.try_lock().map(|alone| self.guard(alone))
    }

    /// Holds the log for a compaction, after the one that is running.
    pub(crate) fn wait_to_clean(&self) -> CleaningGuard<'_> {
        self.guard(self.swaps.cleaning.lock())
    }

    fn guard<'a>(&self, alone: MutexGuard<'a, ()>) -> CleaningGuard<'a> {
        CleaningGuard { alone, generation: self.manifest.lock().generation }
    }

    /// Segments have been cut off by a truncation: who kept one for jumps looks for it anew.
    pub(super) fn segments_cut(&self) {
        self.swaps.count.fetch_add(2, Ordering::AcqRel);
    }

    /// A truncation to this offset: points from before it are not on the device any more.
    pub(super) fn no_point_stored(&self, to: u64) {
        self.swaps.below.store(0, Ordering::Release);
        self.swaps.tombstones_gone.fetch_min(to, Ordering::AcqRel);
    }

    /// Behind the last tombstone that compaction has ever taken away: who has come so far has met all of them. What they
    /// delete was gone before.
    pub(crate) fn tombstones_gone(&self) -> u64 {
        self.swaps.tombstones_gone.load(Ordering::Acquire)
    }

    /// A recovery point in the segment with this base offset has been written down durably.
    pub(crate) fn point_stored(&self, segment: u64) {
        self.swaps.below.fetch_max(segment, Ordering::AcqRel);
    }

    /// Where the next compaction begins: everything below has been compacted.
    pub(crate) fn cleaned_to(&self) -> u64 {
        self.manifest.lock().cleaned_to
    }

    /// Below it no reader finds anything of an aborted transaction any more: compaction has taken it away, and nobody is
    /// at a segment from before.
    pub(super) fn void_below(&self) -> u64 {
        // First: what has been compacted so far was replaced before it was said.
        let cleaned_to = self.cleaned_to();
        let mut replaced = self.swaps.replaced.lock();
        replaced.retain(|(_, segment)| segment.strong_count() > 0);
        replaced.iter().map(|(base, _)| *base).chain([cleaned_to]).min().unwrap_or(0)
    }

    /// Whether the log was ever compacted: offsets may be missing.
    pub(crate) fn is_compacted(&self) -> bool {
        self.manifest.lock().compacted
    }

    /// The closed segments that may be replaced, oldest first: below the durable recovery point, and ending at or
    /// below the last stable offset.
    pub(crate) fn cleanable(&self) -> Result<Vec<CleanableSegment>> {
        self.while_segments_stand(|| {
            let below = self.swaps.below.load(Ordering::Acquire);
            let bound = self.last_stable().min(self.flushed());
            let segments: Vec<_> = self.segments.read().clone();
            let pairs = segments.iter().zip(segments.iter().skip(1));
            pairs
                .take_while(|(_, next)| next.base() <= bound && next.base() <= below)
                .map(|(segment, next)| {
                    segment.load_times()?;
                    let times = segment.times();
                    let last_append = times.last().map_or(i64::MAX, |last| last.millis());
                    Ok(CleanableSegment {
                        segment: segment.clone(),
                        end_offset: next.base(),
                        bytes: segment.sealed_end()?,
                        first_append: times.first().map_or(last_append, |first| first.millis()),
                        last_append,
                    })
                })
                .collect()
        })
    }

    /// Rises whenever segments are exchanged, and is odd while they are; rises after a truncation, too.
    pub(super) fn swap_count(&self) -> u64 {
        self.swaps.count.load(Ordering::Acquire)
    }

    /// Opens a segment, after some others have been closed if far too many are open. The caller holds no lock.
    pub(crate) fn open_to_clean(&self, segment: &Segment) -> Result<Arc<OpenSegment>> {
        self.make_room();
        let open = segment.open()?;
        self.note_opened();
        Ok(open)
    }

    /// Every segment, the active one too, oldest first.
    pub(crate) fn all_segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().clone()
    }

    /// Rolls the active segment if there is anything in it, so that it can be compacted.
    pub(crate) fn roll_for_compaction(&self) -> Result<()> {
        self.flush()?;
        let Some(active) = self.active_segment() else { return Ok(()) };
        if active.published().position > 0 {
            let mut writer = self.writer.lock();
            self.check_open()?;
            let written = self.write_queue(&mut writer).and_then(|()| self.roll_locked(&mut writer));
            written.map_err(|e| self.fail(e))?;
        }
        self.flush_past_roll()
    }

    /// Begins a segment that is to replace others, the first of which has this base offset.
    pub(crate) fn begin_cleaned(&self, base: u64) -> Result<CleanedSegment> {
        CleanedSegment::create(&self.home, base, self.settings().index())
            .map_err(|e| e.in_partition(&self.tp))
    }

    /// Removes what a compaction has left that failed, or found nothing to do.
    pub(crate) fn discard_cleaned(&self, base: u64) -> Result<()> {
        self.home.discard_cleaned(base)
    }

    /// The same, after a failure: not where the swap is recorded and only its names are missing.
    pub(crate) fn discard_undecided(&self, base: u64) -> Result<()> {
        let upkeep = self.swaps.upkeep.lock();
        if upkeep.is_some() || self.is_poisoned() { Ok(()) } else { self.home.discard_cleaned(base) }
    }

    /// Puts a whole segment into the place of `sources`. Answers `false`, and changes nothing, if they are not all
    /// there any more. Tombstones below `tombstones_gone` are missing in it.
    ///
    /// After an error the old segments are still the log, or the new one is and the next upkeep finishes its names.
    pub(crate) fn replace(
        &self,
        guard: &CleaningGuard<'_>,
        sources: &[CleanableSegment],
        whole: WholeSegment,
        tombstones_gone: u64,
    ) -> Result<bool> {
        let (Some(first), Some(last)) = (sources.first(), sources.last()) else { return Ok(false) };
        let range = SwapRange { from: first.segment.base(), to: last.end_offset };
        let mut upkeep = self.swaps.upkeep.lock();
        self.finish_swap(&mut upkeep)?;
        self.check_open()?;
        let truncated = self.manifest.lock().generation != guard.generation;
        if truncated || !self.are_listed(sources, range.to) {
            drop(whole);
            return self.discard_cleaned(range.from).map(|()| false);
        }
        // A failed sync leaves open what is on the device: only a full disk lets the log go on.
        self.home.sync_dir().map_err(|e| self.fail(e))?;
        self.change_manifest(|manifest| {
            manifest.compacted = true;
            manifest.swap = Some(range);
            manifest.tombstones_gone = manifest.tombstones_gone.max(tombstones_gone);
        })
        .map_err(|e| self.fail(e))?;
        // Before anybody can read without them.
        self.swaps.tombstones_gone.fetch_max(tombstones_gone, Ordering::AcqRel);
        self.exchange(sources, &whole);
        let gone = sources.iter().map(|source| source.segment.clone()).collect();
        *upkeep = Some(Pending { range, whole, gone });
        self.finish_swap(&mut upkeep).map(|()| true)
    }

    /// Everything below `offset` is compacted.
    pub(crate) fn set_cleaned_to(&self, offset: u64) -> Result<()> {
        let _upkeep = self.begin_upkeep()?;
        if self.cleaned_to() >= offset {
            return Ok(());
        }
        self.change_manifest(|manifest| manifest.cleaned_to = offset).map_err(|e| self.fail(e))
    }

    /// Waits for a swap to be over, and holds further ones back.
    pub(super) fn begin_upkeep(&self) -> Result<Upkeep<'_>> {
        let mut upkeep = self.swaps.upkeep.lock();
        // Of a deleted topic the folder is gone, or another topic's of the same name by now.
        self.append.lock().closed_error(&self.tp).map_or(Ok(()), Err)?;
        self.finish_swap(&mut upkeep)?;
        Ok(Upkeep { _alone: upkeep })
    }

    /// The topic is deleted, and the partition abandoned: the name of its folder will be another one's. Whoever writes
    /// there has ended when this returns; who comes later finds the partition closed once the lock is held.
    pub(crate) fn leave_folder(&self) {
        self.home.set_gone();
        drop(self.wait_to_clean());
        drop(self.swaps.upkeep.lock());
        drop(self.checkpointed.lock());
        drop(self.writer.lock());
        drop(self.producers.files.lock());
        drop(self.epochs.lock());
    }

    fn are_listed(&self, sources: &[CleanableSegment], to: u64) -> bool {
        let segments = self.segments.read();
        let Some(first) = sources.first() else { return false };
        let at = segments.partition_point(|segment| segment.base() < first.segment.base());
        let listed = segments.get(at..).unwrap_or_default();
        let same = listed.iter().zip(sources).all(|(a, b)| Arc::ptr_eq(a, &b.segment));
        same && listed.get(sources.len()).is_some_and(|next| next.base() == to)
    }

    /// Puts the new segment into the list; readers find it from here on.
    fn exchange(&self, sources: &[CleanableSegment], whole: &WholeSegment) {
        self.swaps.count.fetch_add(1, Ordering::AcqRel);
        let replaced = sources.iter().map(|source| (source.segment.base(), Arc::downgrade(&source.segment)));
        {
            let mut gone = self.swaps.replaced.lock();
            gone.retain(|(_, segment)| segment.strong_count() > 0);
            gone.extend(replaced);
        }
        for source in sources {
            self.note_gone(&source.segment);
            source.segment.retire();
        }
        {
            let mut segments = self.segments.write();
            let base = whole.segment.base();
            let at = segments.partition_point(|segment| segment.base() < base);
            let end = (at + sources.len()).min(segments.len());
            segments.splice(at..end, [whole.segment.clone()]);
            self.newest_times.lock().forget_from(base);
        }
        self.swaps.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives the files of a recorded swap their names and clears the record.
    fn finish_swap(&self, upkeep: &mut Option<Pending>) -> Result<()> {
        let Some(pending) = upkeep.as_ref() else { return Ok(()) };
        self.poison.check(&self.tp)?;
        let old: Vec<u64> = pending.gone.iter().map(|segment| segment.base()).collect();
        let marked = move_files(&self.home, pending.range, &old).map_err(|e| e.in_partition(&self.tp))?;
        self.home.sync_dir().map_err(|e| self.fail(e))?;
        self.change_manifest(|manifest| manifest.swap = None).map_err(|e| self.fail(e))?;
        pending.whole.segment.leave_index_to_files();
        pending.gone.iter().for_each(|segment| segment.let_go());
        *upkeep = None;
        self.home.unlink(&marked)
    }

    fn change_manifest(&self, change: impl FnOnce(&mut PartitionManifest)) -> Result<()> {
        let mut manifest = self.manifest.lock();
        let mut changed = manifest.clone();
        change(&mut changed);
        changed.store(&*self.home.files, &self.dir)?;
        *manifest = changed;
        Ok(())
    }

    /// Calls until segments have not been exchanged under an attempt that failed.
    pub(super) fn while_segments_stand<T>(&self, attempt: impl Fn() -> Result<T>) -> Result<T> {
        loop {
            let before = self.swap_count();
            let done = attempt();
            if done.is_ok() || (before % 2 == 0 && self.swap_count() == before) {
                return done;
            }
            crate::sync::thread::yield_now();
        }
    }
}

/// Renames the old segments' files away and the new one's into their place; answers what is to be unlinked. May be repeated: the log's file is the last to get its name.
fn move_files(home: &SegmentFiles, range: SwapRange, old: &[u64]) -> Result<Vec<std::path::PathBuf>> {
    let mut marked = Vec::new();
    let waits = home.has_swap(range.from)?;
    for &base in old.iter().rev() {
        if base != range.from || waits {
            marked.extend(home.mark_deleted(base)?);
        }
    }
    home.put_in_place(range.from).map(|()| marked)
}

/// Repeats, at an opening, a swap that was recorded and not marked done; `bases` are the segments found.
pub(super) fn repeat(home: &Arc<SegmentFiles>, bases: &mut Vec<u64>, range: SwapRange) -> Result<()> {
    if !home.has_swap(range.from)? && !bases.contains(&range.from) {
        let path = home.path(FileKind::Log, range.from);
        return Err(Error::corrupted(&path, 0, "the segment that compaction has made is missing"));
    }
    let old: Vec<u64> = bases.iter().copied().filter(|base| (range.from..range.to).contains(base)).collect();
    let marked = move_files(home, range, &old)?;
    home.sync_dir()?;
    home.unlink(&marked)?;
    bases.retain(|base| !old.contains(base));
    let at = bases.partition_point(|&base| base < range.from);
    bases.insert(at, range.from);
    Ok(())
}

/// Gives the segments of a partition that is not open the names that they were about to get, and clears the record of
/// a swap; answers whether there was anything to do.
pub(crate) fn settle_names(
    files: &Arc<dyn FileSystem>,
    dir: &Path,
    manifest: &mut PartitionManifest,
) -> Result<bool> {
    let home = SegmentFiles::new(files.clone(), dir.to_path_buf(), false, None, OpenSegments::new(u64::MAX));
    let home = Arc::new(home);
    let entries = files.list(dir).map_err(|e| Error::io("list a partition's folder", dir, e))?;
    let (mut bases, mut done) = (Vec::new(), false);
    for entry in entries.iter().filter(|entry| !entry.is_dir) {
        match SegmentFileName::parse(&entry.name) {
            SegmentFileName::Live(base, FileKind::Log) => bases.push(base),
            SegmentFileName::Entering(base) => {
                home.entered(base)?;
                bases.push(base);
                done = true;
            }
            _ => {}
        }
    }
    bases.sort_unstable();
    bases.dedup();
    if let Some(range) = manifest.swap {
        repeat(&home, &mut bases, range)?;
        manifest.swap = None;
        manifest.store(&**files, dir)?;
        done = true;
    }
    if done {
        home.sync_dir()?;
    }
    Ok(done)
}
