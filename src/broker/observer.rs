//! Looking at a data directory from outside: no lock, nothing written.
//!
//! Invariant: every call reads the files as they are at that moment; what a broker changes meanwhile is
//! seen, or not, or looked for again. Nothing is kept between calls.

use std::ops::RangeBounds;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::description::{PartitionDescription, TopicDescription};
use super::folders;
use super::manifest::BrokerManifest;
use super::observed::ObservedRecords;
use super::observed_group::ObservedGroup;
use super::points::{Points, load_clean_mark};
use super::progress::Progress;
use super::small_file::{BROKER, LOCK};
use super::verify::Verification;
use super::verify_report::VerifyReport;
use super::walk::Walk;
use super::watch::Watch;
use crate::env::{Clock, Environment, FileSystem, OpenMode, read_whole};
use crate::error::{Error, ErrorKind, Result};
use crate::format::leader_epochs::LeaderEpochs;
use crate::group::GroupId;
use crate::topic::{TopicLife, TopicManifest};
use crate::types::{Offset, TopicName, TopicPartition};

/// Looks at a data directory without opening it: beside a running broker, or after a crash, before
/// anything is recovered. Takes no lock and writes nothing. Cheap to clone.
///
/// What it reads of a live topic may be a moment ahead of the high watermark: records are seen once they are
/// written, also where they are acknowledged only when they are on the device.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
/// use millpond::Observer;
///
/// let broker = Broker::open(dir.path())?;
/// let clicks = broker.create_topic("clicks", TopicConfig::new().durability(Durability::Memory))?;
/// clicks.producer()?.send(Record::new("/home"))?.wait()?;
///
/// let observer = Observer::open(dir.path())?;                   // the broker goes on beside it
/// assert!(observer.is_live()?);
/// let mut records = observer.read("clicks", 0, ..)?;
/// let record = records.next()?.expect("one was sent");
/// assert_eq!(record.value(), Some(&b"/home"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Observer {
    dir: PathBuf,
    environment: Environment,
}

impl Observer {
    /// An observer of this data directory.
    ///
    /// # Errors
    /// `Io` (not found) without such a directory; `InvalidArgument` if there is no broker's data in it;
    /// `UnsupportedFormat` for one of a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Observer> {
        Observer::open_in(Environment::system(), path)
    }

    /// An observer of a data directory of this environment.
    ///
    /// # Errors
    /// As [`open`](Observer::open).
    pub fn open_in(environment: Environment, path: impl AsRef<Path>) -> Result<Observer> {
        let dir = path.as_ref().to_path_buf();
        let files = &**environment.files();
        files.list(&dir).map_err(|e| Error::io("list the data directory", &dir, e))?;
        let found = match BrokerManifest::load(files, &dir) {
            Ok(manifest) => manifest.is_some(),
            // Damage is for `verify` to tell.
            Err(e) if e.kind() == ErrorKind::Corrupted => true,
            Err(e) => return Err(e),
        };
        if !found && TopicManifest::list(files, &dir)?.is_empty() {
            let message = format!("{} holds no {BROKER}: it is not a data directory", dir.display());
            return Err(Error::invalid_argument(message).at_path(&dir));
        }
        Ok(Observer { dir, environment })
    }

    /// The data directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Whether a broker has the directory open now. Where the directory was not closed in order, the lock
    /// itself is tried for an instant: a broker that opens in that instant is told `Locked`.
    ///
    /// # Errors
    /// `Io`.
    pub fn is_live(&self) -> Result<bool> {
        let files = &**self.files();
        let closed = match BrokerManifest::load(files, &self.dir) {
            Ok(Some(manifest)) => load_clean_mark(files, &self.dir, &manifest)?.is_some(),
            _ => false,
        };
        let path = self.dir.join(LOCK);
        let exists = files.exists(&path).map_err(|e| Error::io("look for the lock", &path, e))?;
        if closed || !exists {
            return Ok(false);
        }
        match files.lock(&path) {
            Ok(_) => Ok(false),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => Ok(true),
            Err(e) => Err(Error::io("try the lock of the data directory", &path, e)),
        }
    }

    /// The names of all topics, sorted.
    ///
    /// # Errors
    /// `Corrupted` for a damaged manifest, `UnsupportedFormat` for one of a newer version; `Io`.
    pub fn topics(&self) -> Result<Vec<TopicName>> {
        Ok(self.manifests()?.into_iter().map(|manifest| manifest.name).collect())
    }

    /// What a topic is, and where its partitions stand: where the last intact batch ends, the open one included. A
    /// partition that cannot be read is no error of this call: [`TopicDescription::unreadable`] tells of it.
    ///
    /// # Errors
    /// `TopicNotFound`, `InvalidArgument`; `Corrupted`, `UnsupportedFormat`, `Io` where the topic's settings cannot be
    /// read.
    pub fn describe(&self, topic: impl AsRef<str>) -> Result<TopicDescription> {
        let manifest = self.manifest(topic.as_ref())?;
        let partitions = (0..manifest.ready).map(|number| {
            let found = self.end_of(&manifest, number).and_then(|mut records| records.end());
            let found = found.and_then(|end| self.description(&manifest, number, end));
            found.map_err(|error| error.in_partition(&TopicPartition::new(manifest.name.clone(), number)))
        });
        let description = TopicDescription::new(&manifest, partitions);
        if !description.unreadable().is_empty() && self.manifest(topic.as_ref())?.id != manifest.id {
            return self.describe(topic); // deleted meanwhile, and made anew
        }
        Ok(description)
    }

    /// Reads records of a partition, as copies: sealed batches, then the open one. An offset below the log
    /// start is taken for the log start.
    ///
    /// # Errors
    /// `TopicNotFound`, `PartitionNotFound`, `InvalidArgument`; `Corrupted`, `Io`.
    pub fn read(
        &self,
        topic: impl AsRef<str>,
        partition: u32,
        range: impl RangeBounds<Offset>,
    ) -> Result<ObservedRecords> {
        let manifest = self.manifest(topic.as_ref())?;
        self.records(&manifest, partition, range)
    }

    /// The names of all consumer groups that something is written down of, sorted.
    ///
    /// # Errors
    /// `Corrupted` for a damaged offsets topic; those of [`topics`](Observer::topics).
    pub fn groups(&self) -> Result<Vec<GroupId>> {
        self.watch().names()
    }

    /// A consumer group: what is written down of it, and how far it is behind in each partition. One that cannot be
    /// read is no error of this call: [`ObservedGroup::unreadable`] tells of it.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    /// use millpond::Observer;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let orders = broker.create_topic("orders", TopicConfig::new())?;
    /// orders.producer()?.send_batch(["tea", "jam", "rye"].map(Record::new))?.wait()?;
    /// broker.group("billing")?.reset("orders", Start::Last(2))?;
    ///
    /// let billing = Observer::open(dir.path())?.group("billing")?;       // beside the running broker
    /// assert_eq!((billing.lag_records(), billing.has_members()), (2, false));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `GroupNotFound`, `InvalidArgument`; `Corrupted`, `UnsupportedFormat`, `Io` where the topic of committed offsets
    /// or the settings of a topic cannot be read.
    pub fn group(&self, name: impl AsRef<str>) -> Result<ObservedGroup> {
        let wanted = GroupId::new(name.as_ref())?;
        let found = self.watch().groups(|id| *id == wanted)?.into_iter().next();
        found.ok_or_else(|| Error::new(ErrorKind::GroupNotFound, format!("there is no group {wanted}")))
    }

    /// Looks again and again, each time only at what is new.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(self.clone())
    }

    /// Reads records of a partition of this topic.
    pub(super) fn records(
        &self,
        manifest: &TopicManifest,
        partition: u32,
        range: impl RangeBounds<Offset>,
    ) -> Result<ObservedRecords> {
        let tp = TopicPartition::new(manifest.name.clone(), partition);
        if partition >= manifest.ready {
            let message =
                format!("topic {} has {} partitions, counted from 0", manifest.name, manifest.ready);
            return Err(Error::new(ErrorKind::PartitionNotFound, message).in_partition(&tp));
        }
        let walk = self.walk(&tp)?;
        Ok(ObservedRecords::new(self.files(), self.dir.clone(), manifest.id, tp, walk, range))
    }

    /// Reads everything and says what is not as it should be; changes nothing. `progress` is called now and
    /// then.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::broker::Verdict;
    /// use millpond::{Broker, Observer};
    ///
    /// Broker::open(dir.path())?.close().wait()?;
    /// let report = Observer::open(dir.path())?.verify(|_| ())?;
    /// assert_eq!(report.verdict(), Verdict::Clean);
    /// for finding in report.findings() {
    ///     println!("{finding}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Io` if the directory cannot be read; `UnsupportedFormat` for one of a newer version. Damage is no
    /// error but a finding.
    pub fn verify(&self, mut progress: impl FnMut(&Progress)) -> Result<VerifyReport> {
        let live = self.is_live()?;
        Verification::new(self.files(), &self.dir, live, &mut progress).run()
    }

    fn files(&self) -> &Arc<dyn FileSystem> {
        self.environment.files()
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        self.environment.clock()
    }

    /// The folder of a partition, and the files it is among.
    pub(super) fn folder(&self, topic: &TopicManifest, number: u32) -> (PathBuf, Arc<dyn FileSystem>) {
        let tp = TopicPartition::new(topic.name.clone(), number);
        (folders::folder(&self.dir, &tp), self.files().clone())
    }

    pub(super) fn manifests(&self) -> Result<Vec<TopicManifest>> {
        let files = &**self.files();
        let mut manifests = Vec::new();
        for path in TopicManifest::list(files, &self.dir)? {
            match TopicManifest::load(files, &path) {
                Ok(manifest) if manifest.life == TopicLife::Active => manifests.push(manifest),
                Ok(_) => {}
                // A broker may be deleting it right now.
                Err(_) if files.exists(&path).is_ok_and(|there| !there) => {}
                Err(e) => return Err(e),
            }
        }
        manifests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(manifests)
    }

    fn manifest(&self, topic: &str) -> Result<TopicManifest> {
        let name = TopicName::new(topic)?;
        let found = self.manifests()?.into_iter().find(|manifest| manifest.name == name);
        found.ok_or_else(|| Error::new(ErrorKind::TopicNotFound, format!("there is no topic {name}")))
    }

    pub(super) fn walk(&self, tp: &TopicPartition) -> Result<Walk> {
        let folder = folders::folder(&self.dir, tp);
        Walk::new(self.files(), &folder)?
            .ok_or_else(|| Error::corrupted(&folder, 0, "the partition has no manifest").in_partition(tp))
    }

    /// A partition's log that ends at `end`.
    pub(super) fn description(
        &self,
        topic: &TopicManifest,
        number: u32,
        end: u64,
    ) -> Result<PartitionDescription> {
        let (folder, files) = self.folder(topic, number);
        let walk = self.walk(&TopicPartition::new(topic.name.clone(), number))?;
        let log_start = walk.manifest().log_start;
        let end = end.max(log_start);
        Ok(PartitionDescription {
            number,
            log_start,
            high_watermark: end,
            log_end: end,
            leader_epoch: latest_epoch(&*files, &folder)?,
            size: walk.size()?,
            segments: walk.bases().len(),
            poisoned: false,
            compacted_to: walk.manifest().cleaned_to,
            dirty: None,
        })
    }

    /// What there is behind all that has been written: for [`ObservedRecords::end`].
    pub(super) fn end_of(&self, topic: &TopicManifest, number: u32) -> Result<ObservedRecords> {
        let far = Offset::new(u64::MAX >> 1).unwrap_or(Offset::ZERO);
        self.records(topic, number, far..)
    }
}

/// The leader epochs of a partition's folder; none without the file.
pub(super) fn load_epochs(files: &dyn FileSystem, folder: &Path) -> Result<Option<LeaderEpochs>> {
    let path = folder.join(EPOCHS);
    let read = files.open(&path, OpenMode::Read).and_then(|file| read_whole(&*file, 1 << 24));
    match read {
        Ok(bytes) => LeaderEpochs::parse(&bytes).map(Some).map_err(|e| e.at(&path, 0)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read the leader epochs", &path, e)),
    }
}

/// File of the leader epochs, as Kafka names it.
pub(super) const EPOCHS: &str = "leader-epoch-checkpoint";

pub(super) fn latest_epoch(files: &dyn FileSystem, folder: &Path) -> Result<i32> {
    Ok(load_epochs(files, folder)?.and_then(|epochs| epochs.latest()).map_or(-1, |(epoch, _)| epoch))
}

/// Recovery points of a directory: those of the clean mark, if it counts.
pub(super) fn points_of(files: &dyn FileSystem, dir: &Path) -> Result<(Points, bool)> {
    let manifest = BrokerManifest::load(files, dir).ok().flatten();
    let mark = manifest.map_or(Ok(None), |manifest| load_clean_mark(files, dir, &manifest))?;
    match mark {
        Some(points) => Ok((points, true)),
        None => Ok((Points::load(files, dir)?, false)),
    }
}
