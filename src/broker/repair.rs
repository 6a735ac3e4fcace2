//! Repairing a damaged directory: explicit, and saying what it drops.
//!
//! ```text
//!   manifests restored from their previous generation, or made anew from what the folders say
//!   partitions: recovery point forgotten -> cut at the first bad batch -> later segments removed
//!   the clean mark removed: the next opening recovers, raises the epochs, and rebuilds the rest
//! ```
//!
//! Invariants
//! - Only what `verify` calls corrupt is touched; a torn tail is the next opening's business.
//! - The recovery point is forgotten, durably, before anything below it is cut.
//! - Producer ids that an older generation of the manifest would give out again are skipped.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::manifest::{BrokerManifest, random_id};
use super::observer::{EPOCHS, load_epochs, points_of};
use super::points::{Points, remove_clean_mark};
use super::repair_report::{RepairAction, RepairReport};
use super::small_file::{self, BROKER, POINTS};
use super::verify::Verification;
use super::verify_report::{Verdict, VerifyReport};
use super::walk::{Walk, WalkStop, denied_by};
use super::{exchange, folders, open};
use crate::config::TopicConfig;
use crate::env::{DirLock, Environment, FileSystem, OpenMode, Previous, replace_file, with_suffix};
use crate::error::{Error, ErrorKind, Result};
use crate::format::leader_epochs::LeaderEpochs;
use crate::partition::{PartitionManifest, RecoveryPoint, settle_names};
use crate::segment::{FileKind, ScannedBatch, SegmentFileName};
use crate::topic::{TopicLife, TopicManifest};
use crate::types::{TopicId, TopicName, TopicPartition};

/// Producer ids that may have been given out since the previous generation of the manifest.
const SKIPPED_IDS: u64 = 1 << 20;

/// Repairs a data directory that [`Observer::verify`](crate::Observer::verify) calls corrupt, so that it
/// opens again, and says what it dropped. Nobody may have it open.
///
/// A partition is cut at its first damaged batch; damaged manifests are restored from their previous
/// generation, or made anew (a topic then has default settings). What is only unsettled is left to the next
/// opening. Take a copy of the directory first: what is dropped is gone.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # millpond::Broker::open(dir.path())?.close().wait()?;
/// let report = millpond::broker::repair(dir.path())?;
/// for action in report.actions() {
///     println!("{action}");
/// }
/// assert!(report.actions().is_empty());                 // nothing was wrong
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// `Locked` while a broker has it open; `UnsupportedFormat` for a newer version's files, which are left
/// alone; `Io`.
pub fn repair(path: impl AsRef<Path>) -> Result<RepairReport> {
    repair_in(Environment::system(), path)
}

/// [`repair`] of a data directory of this environment.
///
/// # Errors
/// As [`repair`].
pub fn repair_in(environment: Environment, path: impl AsRef<Path>) -> Result<RepairReport> {
    let dir = path.as_ref();
    let files = environment.files();
    files.list(dir).map_err(|e| Error::io("list the data directory", dir, e))?;
    let lock = open::lock(&**files, dir)?;
    let repair =
        Repair { environment: &environment, files, dir, _lock: lock, report: RepairReport::default() };
    repair.run()
}

struct Repair<'a> {
    environment: &'a Environment,
    files: &'a Arc<dyn FileSystem>,
    dir: &'a Path,
    _lock: Arc<dyn DirLock>,
    report: RepairReport,
}

impl Repair<'_> {
    fn run(mut self) -> Result<RepairReport> {
        if self.verify()?.verdict() < Verdict::Corrupt {
            return Ok(self.report);
        }
        // Read before the mark goes: they tell a torn tail from damage.
        let (mut points, closed) = points_of(&**self.files, self.dir)?;
        if Points::check(&**self.files, self.dir).is_err() || closed {
            points.store(&**self.files, self.dir)?;
        }
        remove_clean_mark(&**self.files, self.dir)?;
        self.restore_broker()?;
        self.restore_topics()?;
        for topic in self.topics()? {
            for number in 0..topic.ready {
                self.partition(&topic, number, &mut points)?;
            }
        }
        Ok(self.report)
    }

    fn verify(&self) -> Result<VerifyReport> {
        Verification::new(self.files, self.dir, false, &mut |_| ()).run()
    }

    fn restore_broker(&mut self) -> Result<()> {
        let path = self.dir.join(BROKER);
        match BrokerManifest::load(&**self.files, self.dir) {
            Ok(Some(_)) => return Ok(()),
            Err(e) if e.kind() != ErrorKind::Corrupted => return Err(e),
            Ok(None) | Err(_) => {}
        }
        let previous = small_file::read(&**self.files, &with_suffix(&path, "previous"))?
            .and_then(|bytes| BrokerManifest::of_file(&path, &bytes).ok());
        let (manifest, what) = match previous {
            Some(mut manifest) => {
                // Two ahead: no clean mark of the lost generation counts.
                manifest.openings += 2;
                manifest.next_producer_id = manifest.next_producer_id.saturating_add(SKIPPED_IDS);
                (manifest, "restored from its previous generation")
            }
            None => {
                let mut manifest = BrokerManifest::new(&**self.environment.random());
                manifest.openings = 1;
                manifest.next_producer_id = SKIPPED_IDS;
                (manifest, "made anew: no previous generation was readable")
            }
        };
        manifest.store(&**self.files, self.dir)?;
        self.did(&path, 0, what);
        Ok(())
    }

    fn topics(&self) -> Result<Vec<TopicManifest>> {
        let paths = TopicManifest::list(&**self.files, self.dir)?;
        let topics: Result<Vec<_>> =
            paths.iter().map(|path| TopicManifest::load(&**self.files, path)).collect();
        Ok(topics?.into_iter().filter(|topic| topic.life == TopicLife::Active).collect())
    }

    fn restore_topics(&mut self) -> Result<()> {
        for path in TopicManifest::list(&**self.files, self.dir)? {
            match TopicManifest::load(&**self.files, &path) {
                Err(e) if e.kind() == ErrorKind::Corrupted => self.restore_topic(&path)?,
                Err(e) => return Err(e),
                Ok(_) => {}
            }
        }
        self.adopt_folders()
    }

    /// Restores a manifest from its previous generation; without one it goes, and its folders are adopted.
    fn restore_topic(&mut self, path: &Path) -> Result<()> {
        let previous = small_file::read(&**self.files, &with_suffix(path, "previous"))?
            .and_then(|bytes| TopicManifest::of_file(path, &bytes).ok());
        if let Some(mut manifest) = previous {
            // Partitions that were added since are in their folders.
            let folders = self.folders_of(&manifest.name)?;
            let count = folders.last().map_or(manifest.ready, |last| manifest.ready.max(last + 1));
            if count > manifest.config.partition_count() {
                manifest.config = manifest.config.partitions(count);
            }
            manifest.ready = count;
            manifest.store(&**self.files, self.dir)?;
            self.did(path, 0, "restored from its previous generation");
            return Ok(());
        }
        self.files.remove_file(path).map_err(|e| Error::io("remove a damaged manifest", path, e))?;
        self.did(path, 0, "removed: damaged, and no previous generation was readable");
        Ok(())
    }

    /// Makes a manifest for every topic that only its folders know.
    fn adopt_folders(&mut self) -> Result<()> {
        let known = self.topics()?;
        let list =
            self.files.list(self.dir).map_err(|e| Error::io("list the data directory", self.dir, e))?;
        let mut orphans: Vec<TopicName> = list
            .iter()
            .filter(|entry| entry.is_dir)
            .filter_map(|entry| folders::partition_of(&entry.name))
            .map(|tp| tp.topic().clone())
            .filter(|name| known.iter().all(|topic| topic.name != *name))
            .collect();
        orphans.dedup();
        for name in orphans {
            let numbers = self.folders_of(&name)?;
            let count = numbers.last().map_or(1, |last| last + 1);
            let config = TopicConfig::new().partitions(count);
            let mut manifest = TopicManifest::new(name.clone(), self.id_in_folders(&name, &numbers), config);
            manifest.ready = count;
            manifest.store(&**self.files, self.dir)?;
            let path = manifest.path(self.dir);
            self.did(&path, 0, "made anew, with default settings, from the folders of its partitions");
        }
        Ok(())
    }

    /// The numbers of a topic's folders, ascending.
    fn folders_of(&self, name: &TopicName) -> Result<Vec<u32>> {
        let list =
            self.files.list(self.dir).map_err(|e| Error::io("list the data directory", self.dir, e))?;
        let found =
            list.iter().filter(|entry| entry.is_dir).filter_map(|entry| folders::partition_of(&entry.name));
        let mut numbers: Vec<u32> = found.filter(|tp| tp.topic() == name).map(|tp| tp.partition()).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The topic id that the first readable folder names; else a new one.
    fn id_in_folders(&self, name: &TopicName, numbers: &[u32]) -> TopicId {
        let id = |number: &u32| {
            let folder = folders::folder(self.dir, &TopicPartition::new(name.clone(), *number));
            PartitionManifest::load(&**self.files, &folder).ok().flatten().map(|manifest| manifest.topic_id)
        };
        let found = numbers.iter().find_map(id);
        found.unwrap_or_else(|| TopicId::from_bytes(random_id(&**self.environment.random())))
    }

    fn partition(&mut self, topic: &TopicManifest, number: u32, points: &mut Points) -> Result<()> {
        let tp = TopicPartition::new(topic.name.clone(), number);
        let folder = folders::folder(self.dir, &tp);
        if !self.files.exists(&folder).map_err(|e| Error::io("look for a folder", &folder, e))? {
            self.forget_point(points, topic, number)?;
            self.files.create_dir(&folder).map_err(|e| Error::io("make a folder", &folder, e))?;
            self.did(&folder, 0, "made anew, empty: it was missing, with all its records");
        }
        let mut manifest = self.restore_partition(topic, &folder)?;
        self.finish_exchange(&folder, &mut manifest)?;
        self.restore_epochs(&folder, &manifest)?;
        let point =
            points.get((topic.id, number)).filter(|point| point.generation == manifest.generation).copied();
        let mut walk = Walk::over(self.files, &folder, manifest)?;
        let mut index = super::verify_index::IndexCheck::new(self.files, point, false);
        let epochs = load_epochs(&**self.files, &folder)?.unwrap_or_default();
        let mut denied = false;
        let stop = loop {
            match walk.next()? {
                Ok(batch) => match denied_by_either(point.as_ref(), walk.segment(), &epochs, &batch) {
                    Some(why) => {
                        denied = true;
                        break walk.stop_before(&batch, why)?;
                    }
                    None => index.batch(&walk, walk.segment(), &batch),
                },
                Err(stop) => break stop,
            }
        };
        let mut bad: Vec<PathBuf> = index.finish(&walk).into_iter().map(|(path, _, _)| path).collect();
        bad.dedup();
        for path in bad {
            self.remove_if_there(&path)?;
            self.did(&path, 0, "removed: a damaged index, which is built anew");
        }
        let below =
            point.is_some_and(|point| (stop.segment, stop.position) < (point.segment, point.position));
        if below || denied {
            self.forget_point(points, topic, number)?;
            self.cut(&folder, &walk, &stop)?;
        }
        Ok(())
    }

    fn restore_partition(&mut self, topic: &TopicManifest, folder: &Path) -> Result<PartitionManifest> {
        let files = &**self.files;
        match PartitionManifest::load(files, folder) {
            Ok(Some(manifest)) if manifest.topic_id == topic.id => return Ok(manifest),
            Err(e) if e.kind() != ErrorKind::Corrupted => return Err(e),
            _ => {}
        }
        let mut manifest = PartitionManifest::new(topic.id, 0);
        // Whether it was ever compacted is not known: gaps must be allowed.
        manifest.compacted = true;
        let found = exchange::state_of(self.files, folder, &manifest)?;
        manifest.log_start = found.first.unwrap_or(0);
        manifest.swap = found.recorded;
        manifest.store(files, folder)?;
        self.did(folder, 0, "the partition's manifest was made anew: its log starts at its first segment");
        if let Some(range) = found.recorded {
            let path = FileKind::Log.path(folder, range.from);
            let (from, to) = (range.from, range.to);
            let what = format!(
                "a compacted segment takes the place of those from offset {from} up to {to}: they had begun to leave for it"
            );
            self.did(&path, 0, &what);
        }
        for path in found.undecided {
            self.did(
                &path,
                0,
                "left: those that it was compacted from are there; the next opening deletes it",
            );
        }
        Ok(manifest)
    }

    /// Gives files their names that were to have others: what follows looks at segments in their places.
    fn finish_exchange(&mut self, folder: &Path, manifest: &mut PartitionManifest) -> Result<()> {
        match settle_names(self.files, folder, manifest) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.did(folder, 0, "finished what was begun: segments have their names");
                Ok(())
            }
            Err(e) if e.kind() == ErrorKind::Corrupted => {
                manifest.swap = None;
                manifest.store(&**self.files, folder)?;
                self.did(folder, 0, "a segment that compaction had made is missing, with all its records");
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// A damaged checkpoint of leader epochs is written again from what the batches say.
    fn restore_epochs(&mut self, folder: &Path, manifest: &PartitionManifest) -> Result<()> {
        let path = folder.join(EPOCHS);
        match load_epochs(&**self.files, folder) {
            Err(e) if e.kind() == ErrorKind::Corrupted => {}
            other => return other.map(|_| ()),
        }
        let mut epochs = LeaderEpochs::new();
        let mut walk = Walk::over(self.files, folder, manifest.clone())?;
        while let Ok(batch) = walk.next()? {
            if epochs.latest().is_none_or(|(epoch, _)| batch.header.leader_epoch > epoch) {
                epochs.assign(batch.header.leader_epoch, batch.header.base_offset);
            }
        }
        replace_file(&**self.files, &path, epochs.print().as_bytes(), Previous::Drop)
            .map_err(|e| Error::io("write the leader epochs", &path, e))?;
        self.did(&path, 0, "made anew from the batches");
        Ok(())
    }

    /// Cuts the log where the walk stopped.
    fn cut(&mut self, folder: &Path, walk: &Walk, stop: &WalkStop) -> Result<()> {
        let later: Vec<u64> = walk.bases().iter().copied().filter(|&base| base > stop.segment).collect();
        for base in later.into_iter().rev() {
            let path = walk.path(FileKind::Log, base);
            let file = walk.open_log(base)?;
            let dropped = file.size().map_err(|e| Error::io("look at a segment", &path, e))?;
            self.remove_segment(folder, base)?;
            self.did(&path, dropped, "removed: it lies behind damage");
        }
        let path = walk.path(FileKind::Log, stop.segment);
        let failed = |e| Error::io("cut a damaged segment", &path, e);
        if stop.file_len > stop.position {
            let file = self.files.open(&path, OpenMode::ReadWrite).map_err(failed)?;
            file.set_size(stop.position).and_then(|()| file.sync_data()).map_err(failed)?;
        }
        for kind in [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TxnIndex, FileKind::AppendTimes] {
            self.remove_if_there(&walk.path(kind, stop.segment))?;
        }
        self.files.sync_dir(folder).map_err(|e| Error::io("sync a partition's folder", folder, e))?;
        let why = stop.why.as_deref().unwrap_or("its end is missing");
        let what = format!("cut at byte {}, offset {}: {why}", stop.position, stop.offset);
        self.did(&path, stop.file_len - stop.position.min(stop.file_len), &what);
        Ok(())
    }

    /// Removes the files of a segment, the log first: nothing is left then that would be opened.
    fn remove_segment(&self, folder: &Path, base: u64) -> Result<()> {
        self.remove_if_there(&FileKind::Log.path(folder, base))?;
        let list = self.files.list(folder).map_err(|e| Error::io("list a partition's folder", folder, e))?;
        for entry in list {
            let SegmentFileName::Live(of, kind) = SegmentFileName::parse(&entry.name) else { continue };
            // A snapshot is the partition's; opening removes those above the end.
            if of == base && kind != FileKind::Snapshot {
                self.remove_if_there(&folder.join(entry.name))?;
            }
        }
        Ok(())
    }

    fn remove_if_there(&self, path: &Path) -> Result<()> {
        match self.files.remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove a file", path, e)),
            _ => Ok(()),
        }
    }

    fn forget_point(&mut self, points: &mut Points, topic: &TopicManifest, number: u32) -> Result<()> {
        if points.forget((topic.id, number)) {
            points.store(&**self.files, self.dir)?;
            self.did(&self.dir.join(POINTS), 0, "the partition is read from its start at the next opening");
        }
        Ok(())
    }

    fn did(&mut self, path: &Path, bytes_dropped: u64, what: &str) {
        let action = RepairAction { path: path.to_path_buf(), bytes_dropped, what: what.to_owned() };
        self.report.actions.push(action);
    }
}

/// Why a batch cannot stand where the checkpoint of leader epochs knows another epoch.
fn denied_epoch(epochs: &LeaderEpochs, batch: &ScannedBatch) -> Option<String> {
    let header = &batch.header;
    let known = epochs.epoch_at(header.base_offset).filter(|&known| known != header.leader_epoch)?;
    Some(format!("a batch of the leader epoch {}, where the checkpoint says {known}", header.leader_epoch))
}

/// Why a batch cannot stand where it is: its offsets are beyond the recovery point, or its epoch is not known there.
fn denied_by_either(
    point: Option<&RecoveryPoint>,
    segment: u64,
    epochs: &LeaderEpochs,
    batch: &ScannedBatch,
) -> Option<String> {
    let by_point = point.and_then(|point| denied_by(point, segment, batch));
    by_point.or_else(|| denied_epoch(epochs, batch))
}
