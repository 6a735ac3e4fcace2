//! The broker: one data directory, its topics, and the work in the background.
//!
//! ```text
//!   Broker, Topic, Partition --Arc--> Shared --> topics --> partitions (logs)
//!                                       |           ^
//!                                       +-- service +-- Weak -- threads
//! ```
//!
//! Invariants
//! - The directory is locked from the opening until the broker is closed or its last handle is dropped,
//!   and for as long as anything that points into its files lives.
//! - `admin` is held while topics are created, changed and deleted, and while the broker closes.
//! - Dropping the last handle never waits for the disk; what was not closed is recovered at the next
//!   opening.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard, RwLock};

use super::attended::Attended;
use super::background::Threads;
use super::builder::BrokerBuilder;
use super::cells::CellFile;
use super::close::Closing;
use super::expiry::Expiry;
use super::manifest::BrokerManifest;
use super::points::PartitionKey;
use super::points_file::PointsFile;
use super::producer_ids::Producers;
use super::recovery_report::RecoveryReport;
use super::service::{Service, Upkeep};
use super::topic_state::TopicState;
use crate::cleaner::DeletionRate;
use crate::config::BrokerConfig;
use crate::consumer::GroupService;
use crate::env::{DirLock, Environment, FileSystem};
use crate::error::Result;
use crate::partition::{Budget, Log, RecoveryPoint};
use crate::segment::OpenSegments;
use crate::sync::Operation;
use crate::topic::Registry;
use crate::txn::TxnService;

/// One data directory, open in this process: the way to everything in it.
///
/// Cheap to clone; the broker lives as long as any handle of it, of a topic or of a partition, any producer
/// and any reader.
/// [`close`](Broker::close) ends it in order. Dropping the last handle ends it, too, without waiting for
/// the disk: then the next opening looks through what was written last.
///
/// A broker must not be used in a child process after a fork, and no other program may edit or cut the
/// files of an open directory: readers look at them through maps.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
///
/// let broker = Broker::open(dir.path())?;
/// let clicks = broker.create_topic("clicks", TopicConfig::new().partitions(3))?;
/// let stored = clicks.producer()?.send(Record::new(b"/home").key(b"alice"))?.wait()?;
/// assert_eq!(stored.offset(), Offset::ZERO);
/// broker.close().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Broker {
    pub(super) shared: Arc<Shared>,
}

/// What all handles share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) environment: Environment,
    pub(super) config: BrokerConfig,
    pub(super) lock: Mutex<Option<Arc<dyn DirLock>>>,
    pub(super) manifest: BrokerManifest,
    pub(super) topics: RwLock<Registry<TopicState>>,
    pub(super) admin: Mutex<()>,
    /// Held while points are collected and written, and while a partition is truncated.
    pub(super) points: Mutex<PointsFile>,
    pub(super) cells: Option<CellFile>,
    pub(super) budget: Arc<Budget>,
    pub(super) open_segments: Arc<OpenSegments>,
    /// Held while files are closed.
    pub(super) closing_idle: Mutex<()>,
    pub(super) service: Arc<Service>,
    /// Held while retention deletes, on request or in the background; there no faster than at the rate, if there is one.
    pub(super) retaining: Mutex<Option<DeletionRate>>,
    pub(super) threads: Mutex<Threads>,
    /// Logs are read through maps.
    pub(super) map: bool,
    pub(super) recovery: RecoveryReport,
    pub(super) closing: Closing,
    pub(super) expiry: Expiry,
    pub(super) groups: Arc<GroupService>,
    pub(super) txns: Arc<TxnService>,
    pub(super) producers: Producers,
}

impl Broker {
    /// Opens a data directory with the default settings; it is made if it does not exist.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let broker = millpond::Broker::open(dir.path())?;
    /// assert!(broker.topics().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Locked` at once if a broker of this or another process has it open, or a record of an earlier
    /// broker of this process is still being looked at; `Corrupted` naming the file for damage that is no torn tail;
    /// `UnsupportedFormat` for a directory of a newer version; `InvalidArgument` for the folder of a partition; `Io`.
    pub fn open(path: impl AsRef<Path>) -> Result<Broker> {
        Broker::builder(path).open()
    }

    /// Opens a data directory with settings of your own.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::config::{BrokerConfig, ReadMode};
    /// let config = BrokerConfig::new().read_mode(ReadMode::Buffered);
    /// let broker = millpond::Broker::builder(dir.path()).config(config).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder(path: impl AsRef<Path>) -> BrokerBuilder {
        BrokerBuilder::new(path.as_ref())
    }

    /// The data directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.dir
    }

    /// The settings of this opening.
    #[must_use]
    pub fn config(&self) -> &BrokerConfig {
        &self.shared.config
    }

    /// What this opening found and did.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let broker = millpond::Broker::open(dir.path())?;
    /// assert!(broker.recovery().was_clean());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.shared.recovery
    }

    /// Does, in this thread, all upkeep that is due at the clock's time: flushes that somebody waits for,
    /// lingers and intervals that have passed, room ahead of the writers, recovery points. For
    /// [`Background::Manual`](crate::config::Background::Manual); with threads it helps them.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::config::{Background, BrokerConfig};
    /// let manual = BrokerConfig::new().background(Background::Manual);
    /// let broker = millpond::Broker::builder(dir.path()).config(manual).open()?;
    /// broker.tick()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first one met; the others' work is done all the same. `Closed` after [`close`](Broker::close).
    pub fn tick(&self) -> Result<()> {
        self.shared.closing.check_open()?;
        self.shared.service.run_due()
    }

    /// When [`tick`](Broker::tick) has something to do again, as a time of the environment's monotonic clock.
    #[must_use]
    pub fn next_tick(&self) -> Duration {
        self.shared.service.next_due()
    }

    /// How many files of segments are open now: one for each segment in use, two more for the indexes of one
    /// that grows no more and is searched. See
    /// [`max_open_segments`](crate::config::BrokerConfig::max_open_segments).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let topic = broker.create_topic("clicks", TopicConfig::new().partitions(3))?;
    /// assert_eq!(broker.open_segments(), 0);
    /// topic.producer()?.send(Record::new("/home"))?.wait()?;
    /// assert_eq!(broker.open_segments(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn open_segments(&self) -> u64 {
        self.shared.open_segments.count()
    }

    /// Closes the broker: everything appended is brought to the device and the directory is marked as
    /// closed in order, so that the next opening scans nothing. Appends answer `Closed` from now on, and
    /// whoever waits is woken. The directory is free for the next broker when this has finished and the
    /// last handle of a topic, partition, producer and reader is gone, and no record is looked at any more.
    ///
    /// The work is done in a thread of its own, or here, with `Background::Manual`. Closing again waits for the
    /// same end.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let broker = millpond::Broker::open(dir.path())?;
    /// broker.close().wait()?;
    /// assert!(millpond::Broker::open(dir.path())?.recovery().was_clean());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first error of a partition: the others are closed all the same, and the directory is not
    /// marked, so that the next opening recovers it.
    pub fn close(&self) -> Operation<()> {
        super::close::close(&self.shared)
    }
}

impl Shared {
    /// The environment's files.
    pub(super) fn files(&self) -> &dyn FileSystem {
        &**self.environment.files()
    }

    /// Every partition of every topic.
    pub(super) fn logs(&self) -> Vec<Arc<Log>> {
        let topics = self.topics.read().all();
        topics.iter().flat_map(|topic| topic.partitions().iter().cloned().collect::<Vec<_>>()).collect()
    }

    /// Lowers the recovery point of a partition durably, then changes it: nothing that a point covers is
    /// taken away from under it, and none collected before is written after.
    pub(super) fn below_the_point<T>(
        &self,
        topic: &TopicState,
        log: &Log,
        change: impl FnOnce(&Log) -> Result<T>,
    ) -> Result<T> {
        let mut points = self.points.lock();
        if points.points_mut().forget((topic.id(), log.topic_partition().partition())) {
            points.store(self.files(), &self.dir)?;
        }
        change(log)
    }

    /// Takes the recovery points of some partitions and writes down those that have moved. The others' points rise
    /// if one does not.
    fn store_points<I>(
        &self,
        whose: impl FnOnce(&Service) -> I,
        take: fn(&Attended) -> Result<Option<RecoveryPoint>>,
    ) -> Result<()>
    where
        I: IntoIterator<Item = Arc<Attended>>,
    {
        let points = self.points.lock();
        self.store_points_in(points, whose, take)
    }

    fn store_points_in<I>(
        &self,
        mut points: MutexGuard<'_, PointsFile>,
        whose: impl FnOnce(&Service) -> I,
        take: fn(&Attended) -> Result<Option<RecoveryPoint>>,
    ) -> Result<()>
    where
        I: IntoIterator<Item = Arc<Attended>>,
    {
        if self.closing.check_open().is_err() {
            return Ok(());
        }
        let (mut moved, mut first) = (Vec::new(), Ok(()));
        for one in whose(&self.service) {
            match take(&one) {
                Ok(Some(point)) => moved.push((one, point)),
                Ok(None) => {}
                Err(error) => first = first.and(Err(error)),
            }
        }
        let keyed: Vec<(PartitionKey, _)> = moved.iter().map(|(one, point)| (one.key(), *point)).collect();
        points.store_moved(&keyed, self.files(), &self.dir)?;
        // What lies below them may be compacted from now on.
        moved.iter().for_each(|(one, point)| one.point_stored(point));
        if moved.is_empty() { first } else { Ok(()) }
    }
}

impl Upkeep for Shared {
    fn checkpoint(&self) -> Result<()> {
        self.store_points(Service::take_flushed, Attended::checkpoint)
    }

    fn checkpoint_one(&self, whose: Arc<Attended>) -> Result<()> {
        // Nobody who flushes waits here for the checkpoint of all: the next flush asks again.
        match self.points.try_lock() {
            Some(points) => self.store_points_in(points, |_| [whose], Attended::checkpoint_ahead),
            None => {
                whose.no_point();
                Ok(())
            }
        }
    }

    fn close_idle(&self) -> Result<()> {
        super::idle::close_idle(self)
    }

    fn compact_due(&self) -> Result<()> {
        Shared::compact_due(self)
    }

    fn retain_due(&self) -> Result<()> {
        self.retain_in_background()
    }

    fn tick_groups(&self) {
        if self.closing.check_open().is_ok() {
            self.txns.tick();
            self.groups.tick();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.service.stop();
        if self.closing.check_open().is_err() {
            return;
        }
        for log in self.logs() {
            // Into the page cache only: it costs no wait, and a process that just ends keeps it.
            let _ = log.seal_and_write();
            log.abandon();
        }
    }
}
