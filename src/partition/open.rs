//! Opening a partition: new, after a clean close, or after a crash.
//!
//! ```text
//!   manifest -> leftovers removed -> recorded truncation repeated -> segments listed
//!     clean:   the recovery point is the end of the log; nothing is read
//!     unclean: scan from the recovery point, see `recover.rs`
//! ```
//!
//! Invariants
//! - After an unclean end the leader epoch rises, durably, before the first append.
//! - A clean mark that does not fit the files is not believed.

use std::path::PathBuf;
use std::sync::Arc;

use super::attendant::Attendant;
use super::budget::Budget;
use super::checkpoint::{Checkpointed, RecoveryPoint};
use super::log::{Log, LogParts};
use super::manifest::PartitionManifest;
use super::recover::{PartitionRecovery, Recovered, Recovery};
use super::settings::LogSettings;
use crate::config::CrcCheck;
use crate::env::map::Mark;
use crate::env::{DirLock, Environment, OpenMode, Previous, make_files, read_whole, replace_file, sync_dir};
use crate::error::{Error, Result};
use crate::format::leader_epochs::LeaderEpochs;
use crate::format::partition_metadata;
use crate::segment::{
    ActiveSettings, Cell, FileKind, FoundCell, IndexLengths, LiveIndex, OpenSegments, RestingTail, Segment,
    SegmentFileName, SegmentFiles,
};
use crate::types::{TopicId, TopicPartition};

/// File of the leader epochs, as Kafka names it.
const EPOCHS_FILE: &str = "leader-epoch-checkpoint";
/// File of the topic id, as Kafka names it.
const METADATA_FILE: &str = "partition.metadata";

/// How a partition was left.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Found {
    /// It is to be made, in a folder that is missing or empty; the folder's own name is for the caller to make
    /// durable.
    New,
    /// It was closed; the point is its end.
    Clean(RecoveryPoint),
    /// It was not closed; the point is the last one written, if any.
    Unclean(Option<RecoveryPoint>),
}

/// Everything needed to open a partition.
pub(crate) struct Opening<'a> {
    /// Which.
    pub(crate) tp: TopicPartition,
    /// Of which topic.
    pub(crate) topic_id: TopicId,
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// Files, clock.
    pub(crate) environment: &'a Environment,
    /// Settings.
    pub(crate) settings: LogSettings,
    /// Read through maps.
    pub(crate) map: bool,
    /// How CRCs are checked unless a reader says otherwise.
    pub(crate) crc_check: CrcCheck,
    /// The lock on the broker's directory.
    pub(crate) pin: Arc<dyn DirLock>,
    /// How many segments of the broker are open.
    pub(crate) open_segments: Arc<OpenSegments>,
    /// Staging memory.
    pub(crate) budget: Arc<Budget>,
    /// Who serves it.
    pub(crate) attendant: Arc<dyn Attendant>,
    /// How it was left.
    pub(crate) state: Found,
    /// Its tail cell of this opening.
    pub(crate) cell: Option<Cell>,
    /// The tail cells of the opening before.
    pub(crate) found_cells: &'a [FoundCell],
    /// Hears how many bytes have been recovered.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
}

/// An open partition.
pub(crate) struct OpenLog {
    /// The log.
    pub(crate) log: Arc<Log>,
    /// What its recovery did.
    pub(crate) recovery: PartitionRecovery,
}

/// What is in the partition's folder.
struct Contents {
    home: Arc<SegmentFiles>,
    manifest: PartitionManifest,
    /// Base offsets of the segments, ascending.
    bases: Vec<u64>,
    /// The offsets of the producers' snapshots.
    snapshots: Vec<u64>,
    epochs: LeaderEpochs,
}

impl Opening<'_> {
    /// Opens the partition.
    pub(crate) fn open(self) -> Result<OpenLog> {
        let tp = self.tp.clone();
        self.open_inner().map_err(|e| e.in_partition(&tp))
    }

    fn open_inner(self) -> Result<OpenLog> {
        let home = Arc::new(SegmentFiles::new(
            self.environment.files().clone(),
            self.dir.clone(),
            self.map,
            Some(self.pin.clone()),
            self.open_segments.clone(),
        ));
        if let Found::New = self.state {
            return self.create(home);
        }
        let (mut contents, state) = self.settle(home)?;
        // Epochs taken from batches say nothing of the batches above them.
        let loaded_epochs = contents.epochs.clone();
        if contents.epochs.latest().is_none() {
            let Contents { home, bases, .. } = &contents;
            contents.epochs = epochs_of_batches(home, bases, &state, self.settings.index())?;
            if contents.epochs.latest().is_some() {
                store_epochs(&contents.home, &contents.epochs)?;
            }
        }
        let (clean, point) = match state {
            Found::Clean(point) => (fits(&contents.home, &contents.bases, &point)?, Some(point)),
            Found::Unclean(point) => (false, point),
            Found::New => (false, None),
        };
        let (recovered, checkpointed) = match point.filter(|_| clean) {
            // An empty one may have been closed before it had a file.
            Some(point) if !contents.bases.is_empty() => {
                (Recovered::clean(point), Checkpointed::closed(&point))
            }
            Some(point) => (Recovered::clean(point), Checkpointed::nowhere(&point)),
            None => {
                let recovered = self.recover(&mut contents, loaded_epochs, point)?;
                let checkpointed = Checkpointed::nowhere(&recovered.point);
                (recovered, checkpointed)
            }
        };
        if contents.epochs.latest().is_none() {
            contents.epochs.assign(0, recovered.point.offset as i64);
            store_epochs(&contents.home, &contents.epochs)?;
        }
        self.assemble(contents, recovered, checkpointed)
    }

    /// What is in the folder once everything that was begun there is done, and how it was left as far as that holds.
    fn settle(&self, home: Arc<SegmentFiles>) -> Result<(Contents, Found)> {
        let mut manifest = self.manifest(&home)?;
        let (mut bases, snapshots, swaps) = self.segment_bases(&home)?;
        if let Some(range) = manifest.swap {
            super::swap::repeat(&home, &mut bases, range)?;
            manifest.swap = None;
            manifest.store(&*home.files, &home.dir)?;
        }
        // Those that were not decided on; of the others none has this name any more.
        home.unlink(&swaps)?;
        let mut epochs = load_epochs(&home)?;
        if let Some(to) = manifest.truncation {
            super::truncate::repeat(&home, &mut bases, &mut epochs, to)?;
            manifest.truncated(to);
        }
        let state = lowered(self.state, &manifest, &bases);
        if !manifest.overlaps.is_empty() {
            super::truncate::cut_overlaps(&home, &bases, &manifest.overlaps)?;
            manifest.overlaps.clear();
            manifest.store(&*home.files, &home.dir)?;
        }
        drop_below_start(&home, &mut bases, manifest.log_start)?;
        check_start(&home, &bases, &manifest)?;
        Ok((Contents { home, manifest, bases, snapshots, epochs }, state))
    }

    /// Makes the partition: everything in its folder is durable with one sync of the folder. Its small files are
    /// written before the first of them is synced, so that the syncs share what they wait for.
    fn create(self, home: Arc<SegmentFiles>) -> Result<OpenLog> {
        let files = &*home.files;
        files.create_dir(&home.dir).map_err(|e| Error::io("make a partition's folder", &home.dir, e))?;
        let manifest = PartitionManifest::new(self.topic_id, 0);
        let mut epochs = LeaderEpochs::new();
        epochs.assign(0, 0);
        let contents = [
            (METADATA_FILE, partition_metadata::print(self.topic_id).into_bytes()),
            (EPOCHS_FILE, epochs.print().into_bytes()),
            (PartitionManifest::FILE_NAME, manifest.encode()),
        ];
        let contents = contents.map(|(name, bytes)| (home.dir.join(name), bytes));
        make_files(files, &contents).map_err(|(path, e)| Error::io("write", path, e))?;
        home.open(FileKind::Log, 0, OpenMode::CreateNew)?;
        home.sync_dir()?;
        let point = RecoveryPoint { offset: 0, segment: 0, position: 0, indexes: NO_INDEXES, generation: 0 };
        let recovered = Recovered::clean(point);
        let checkpointed = Checkpointed::nowhere(&point);
        let contents = Contents { home, manifest, bases: vec![0], snapshots: Vec::new(), epochs };
        self.assemble(contents, recovered, checkpointed)
    }

    fn recover(
        &self,
        contents: &mut Contents,
        loaded_epochs: LeaderEpochs,
        point: Option<RecoveryPoint>,
    ) -> Result<Recovered> {
        let Contents { home, manifest, bases, epochs, .. } = contents;
        let recovery = Recovery {
            home,
            topic_id: self.topic_id,
            partition: self.tp.partition(),
            log_start: manifest.log_start,
            compacted: manifest.compacted,
            generation: manifest.generation,
            point,
            found_cells: self.found_cells,
            index: self.settings.index(),
            loaded_epochs,
            progress: self.progress,
        };
        // Also above those whose records are gone: they may have been read.
        let known = epochs.latest();
        let mut recovered = recovery.run(bases, epochs)?;
        let epoch = known.max(epochs.latest()).map_or(0, |(epoch, _)| epoch.saturating_add(1));
        epochs.assign(epoch, recovered.point.offset as i64);
        recovered.report.leader_epoch = epoch;
        store_epochs(home, epochs)?;
        Ok(recovered)
    }

    fn manifest(&self, home: &SegmentFiles) -> Result<PartitionManifest> {
        let files = &*home.files;
        if let Some(manifest) = PartitionManifest::load(files, &home.dir)? {
            if manifest.topic_id != self.topic_id {
                return Err(Error::corrupted(
                    &home.dir,
                    0,
                    "the folder belongs to another topic of this name",
                ));
            }
            if !matches!(self.state, Found::Clean(_)) {
                // It may be in the page cache only; what is done on its word must not outlive it.
                manifest.store_again(files, &home.dir)?;
            }
            return Ok(manifest);
        }
        files.create_dir(&home.dir).map_err(|e| Error::io("make a partition's folder", &home.dir, e))?;
        let path = home.dir.join(METADATA_FILE);
        replace_file(files, &path, partition_metadata::print(self.topic_id).as_bytes(), Previous::Drop)
            .map_err(|e| Error::io("write", &path, e))?;
        let manifest = PartitionManifest::new(self.topic_id, 0);
        manifest.store(files, &home.dir)?;
        if let Some(parent) = home.dir.parent() {
            sync_dir(files, parent).map_err(|e| Error::io("sync", parent, e))?;
        }
        Ok(manifest)
    }

    /// Base offsets of the segments, ascending, the offsets of snapshots, and the files of compacted segments that
    /// wait for their place; what interrupted operations left is removed.
    fn segment_bases(&self, home: &SegmentFiles) -> Result<(Vec<u64>, Vec<u64>, Vec<PathBuf>)> {
        let entries =
            home.files.list(&home.dir).map_err(|e| Error::io("list a partition's folder", &home.dir, e))?;
        let (mut bases, mut snapshots, mut swaps) = (Vec::new(), Vec::new(), Vec::new());
        for entry in entries.iter().filter(|entry| !entry.is_dir) {
            match SegmentFileName::parse(&entry.name) {
                SegmentFileName::Live(base, FileKind::Log) => bases.push(base),
                SegmentFileName::Entering(base) => {
                    home.entered(base)?;
                    bases.push(base);
                }
                SegmentFileName::Live(offset, FileKind::Snapshot) => snapshots.push(offset),
                SegmentFileName::Swap(..) => swaps.push(home.dir.join(&entry.name)),
                SegmentFileName::Leftover => home.unlink(&[home.dir.join(&entry.name)])?,
                _ => {}
            }
        }
        bases.sort_unstable();
        bases.dedup();
        Ok((bases, snapshots, swaps))
    }

    fn assemble(
        self,
        contents: Contents,
        recovered: Recovered,
        checkpointed: Checkpointed,
    ) -> Result<OpenLog> {
        let Contents { home, manifest, bases, snapshots, epochs } = contents;
        let settings = &self.settings;
        let point_segment = point_segment(&self.state, &manifest);
        let point = &recovered.point;
        let mut segments: Vec<_> = bases
            .iter()
            .filter(|&&base| base < point.segment)
            .map(|&base| Segment::closed(&home, base, settings.index()))
            .collect();
        if bases.last() != Some(&point.segment) {
            make_file(&home, point.segment)?;
        }
        let implausible = || Error::corrupted(&home.dir, 0, "a segment spans too many offsets or bytes");
        let delta = point.offset.checked_sub(point.segment).and_then(|delta| u32::try_from(delta).ok());
        let position = u32::try_from(point.position).ok();
        let (Some(delta), Some(position)) = (delta, position) else { return Err(implausible()) };
        let max_len = settings.segment_size.max(point.position);
        let active = ActiveSettings { max_len, index: settings.index() };
        let end = Mark { position, delta };
        let segment = Segment::resting(&home, point.segment, end, recovered.checked, point.indexes, active);
        if let Some(index) = recovered.index {
            segment.put_index_away(index)?;
        }
        segments.push(segment.clone());
        let mut end = RestingTail::new(segment, point.position, point.offset, max_len);
        if let Some(cell) = &self.cell {
            end = end.with_cell(cell.clone(), self.topic_id, self.tp.partition());
        }
        let log = Log::new(LogParts {
            tp: self.tp,
            topic_id: self.topic_id,
            dir: self.dir,
            environment: self.environment.clone(),
            home,
            settings: self.settings,
            crc_check: self.crc_check,
            cell: self.cell,
            manifest,
            epochs,
            segments,
            end,
            checkpointed,
            point_segment,
            budget: self.budget,
            attendant: self.attendant,
        });
        log.load_producers(snapshots, || log.make_room())?;
        Ok(OpenLog { log: Arc::new(log), recovery: recovered.report })
    }
}

/// The segment of the point that is on the device. Of an unclean end nothing is known: the next point tells.
fn point_segment(state: &Found, manifest: &PartitionManifest) -> u64 {
    match state {
        Found::Clean(point) if point.generation == manifest.generation => point.segment,
        Found::Clean(_) | Found::Unclean(_) | Found::New => 0,
    }
}

/// A state whose point may be from before a truncation: such a point does not hold above the lowest offset
/// truncated to. What lies below that was on the device before the truncation began.
fn lowered(state: Found, manifest: &PartitionManifest, bases: &[u64]) -> Found {
    let point = match state {
        Found::Clean(point) | Found::Unclean(Some(point)) if point.generation != manifest.generation => point,
        other => return other,
    };
    match manifest.lowest_truncation {
        Some(to) if point.offset <= to => Found::Unclean(Some(point)),
        Some(to) if bases.contains(&to) => Found::Unclean(Some(RecoveryPoint {
            offset: to,
            segment: to,
            position: 0,
            indexes: NO_INDEXES,
            generation: manifest.generation,
        })),
        _ => Found::Unclean(None),
    }
}

/// Makes the log file of the active segment, where there is none, and enters it in the folder durably: the
/// flushes that follow sync only the file.
fn make_file(home: &SegmentFiles, base: u64) -> Result<()> {
    home.open(FileKind::Log, base, OpenMode::CreateIfMissing)?;
    home.sync_changes()
}

/// Removes segments that lie wholly below the log start: delete-records was interrupted.
fn drop_below_start(home: &SegmentFiles, bases: &mut Vec<u64>, log_start: u64) -> Result<()> {
    while bases.get(1).is_some_and(|&next| next <= log_start) {
        let gone = home.mark_deleted(bases.remove(0))?;
        home.unlink(&gone)?;
    }
    Ok(())
}

/// The segment where the log starts must be there.
fn check_start(home: &SegmentFiles, bases: &[u64], manifest: &PartitionManifest) -> Result<()> {
    match bases.first() {
        Some(&first) if first > manifest.log_start && !manifest.compacted => {
            let path = home.path(FileKind::Log, manifest.log_start);
            let why = format!("the log starts at {}, but its first segment at {first}", manifest.log_start);
            Err(Error::corrupted(&path, 0, why))
        }
        _ => Ok(()),
    }
}

/// The leader epochs of batches below the recovery point, from their headers: the checkpoint has been lost, and
/// without it an epoch would be given twice.
fn epochs_of_batches(
    home: &Arc<SegmentFiles>,
    bases: &[u64],
    state: &Found,
    settings: (u64, u64),
) -> Result<LeaderEpochs> {
    let mut epochs = LeaderEpochs::new();
    let (Found::Clean(point) | Found::Unclean(Some(point))) = state else { return Ok(epochs) };
    for &base in bases.iter().filter(|&&base| base < point.offset) {
        let segment = Segment::closed(home, base, settings);
        let mut position = 0;
        while base < point.segment || position < point.position {
            let Some(batch) = segment.batch_at(position)? else { break };
            let header = &batch.header;
            if epochs.latest().is_none_or(|(epoch, _)| header.leader_epoch > epoch) {
                epochs.assign(header.leader_epoch, header.base_offset);
            }
            position = batch.end();
        }
    }
    Ok(epochs)
}

/// Whether the files are as the clean mark says: the last segment ends exactly at its point.
fn fits(home: &SegmentFiles, bases: &[u64], point: &RecoveryPoint) -> Result<bool> {
    if bases.last().is_none_or(|&last| last != point.segment) {
        return Ok(bases.is_empty() && point.position == 0);
    }
    let path = home.path(FileKind::Log, point.segment);
    let size = home.files.size_of(&path).map_err(|e| Error::io("look at a segment's size", &path, e))?;
    Ok(size == point.position && point.offset >= point.segment)
}

/// The active segment's indexes up to the recovery point; what looks wrong is rebuilt from the log.
pub(super) fn load_index(
    home: &Arc<SegmentFiles>,
    point: &RecoveryPoint,
    settings: (u64, u64),
) -> Result<LiveIndex> {
    if point.position == 0 {
        return Ok(LiveIndex::new(settings.0, settings.1));
    }
    let segment = Segment::closed(home, point.segment, settings);
    segment.load_index(point.indexes, None, point.position, point.offset)
}

/// Offsets of the snapshots of producers in a partition's folder.
pub(super) fn snapshots_in(home: &SegmentFiles) -> Result<Vec<u64>> {
    let entries =
        home.files.list(&home.dir).map_err(|e| Error::io("list a partition's folder", &home.dir, e))?;
    let offset = |name: &str| match SegmentFileName::parse(name) {
        SegmentFileName::Live(offset, FileKind::Snapshot) => Some(offset),
        _ => None,
    };
    Ok(entries.iter().filter(|entry| !entry.is_dir).filter_map(|entry| offset(&entry.name)).collect())
}

fn load_epochs(home: &SegmentFiles) -> Result<LeaderEpochs> {
    let path = home.dir.join(EPOCHS_FILE);
    let read = home.files.open(&path, OpenMode::Read).and_then(|file| read_whole(&*file, 1 << 24));
    let bytes = match read {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(LeaderEpochs::new()),
        read => read.map_err(|e| Error::io("read", &path, e))?,
    };
    LeaderEpochs::parse(&bytes).map_err(|e| e.at(&path, 0))
}

/// Writes the leader epochs durably.
pub(super) fn store_epochs(home: &SegmentFiles, epochs: &LeaderEpochs) -> Result<()> {
    let path = home.dir.join(EPOCHS_FILE);
    replace_file(&*home.files, &path, epochs.print().as_bytes(), Previous::Drop)
        .map_err(|e| Error::io("write", &path, e))
}

/// Lengths of no index at all.
pub(super) const NO_INDEXES: IndexLengths = IndexLengths { offsets: 0, times: 0 };
