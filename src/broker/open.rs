//! Opening a data directory.
//!
//! ```text
//!   directory made -> lock -> broker manifest (openings + 1) -> topic manifests -> clean mark taken off
//!     -> points, cells of the last opening -> partitions opened, recovered, synced
//!     -> deleted topics finished -> cells of this opening put in place -> background
//! ```
//!
//! Invariants
//! - Nothing in the directory is changed before the lock is held and the format is known.
//! - The clean mark is gone durably before a partition is opened, hence before the first append.
//! - The cells of the last opening are replaced only when every partition is settled and synced.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::background::{Threads, threads_of, with_each};
use super::broker::{Broker, Shared};
use super::builder::{BrokerBuilder, OnRecovery};
use super::cells::{self, CellFile};
use super::close::Closing;
use super::expiry::Expiry;
use super::groups::OFFSETS_TOPIC;
use super::manifest::BrokerManifest;
use super::open_partition::PartitionOpener;
use super::points::{Points, load_clean_mark, remove_clean_mark};
use super::points_file::PointsFile;
use super::producer_ids::Producers;
use super::progress::Progress;
use super::recovery_report::RecoveryReport;
use super::service::Service;
use super::small_file::{BROKER, LOCK};
use super::topic_state::TopicState;
use super::transactions::TRANSACTIONS_TOPIC;
use super::{delete, folders};
use crate::cleaner::DeletionRate;
use crate::config::{Background, BrokerConfig, ReadMode};
use crate::consumer::GroupService;
use crate::env::{DirLock, Environment, FileSystem, OpenMode};
use crate::error::{Error, ErrorKind, Result};
use crate::partition::{Budget, Found, OpenLog, PartitionManifest, RecoveryPoint};
use crate::segment::{FileKind, FoundCell, OpenSegments, SegmentFileName};
use crate::telemetry;
use crate::topic::{Registry, TopicLife, TopicManifest};
use crate::txn::TxnService;
use crate::types::TopicPartition;

/// Opens the directory that the builder names.
pub(super) fn open(builder: BrokerBuilder) -> Result<Broker> {
    let dir = builder.dir.clone();
    telemetry::opening(&dir, || {
        let broker = open_directory(builder)?;
        tell(&broker.shared.recovery);
        Ok(broker)
    })
}

/// What has been found, for who listens.
fn tell(report: &RecoveryReport) {
    for (tp, found) in report.partitions.iter().filter(|(_, found)| found.was_unclean()) {
        telemetry::recovered(tp, found.records_sealed(), found.bytes_rewritten(), found.bytes_cut());
    }
    telemetry::opened(report.partitions.len(), report.clean);
}

fn open_directory(builder: BrokerBuilder) -> Result<Broker> {
    let BrokerBuilder { dir, config, environment, on_recovery } = builder;
    config.validate()?;
    if dir.as_os_str().is_empty() {
        return Err(Error::invalid_argument("the path of the data directory is empty"));
    }
    let files = &**environment.files();
    let Taken { lock, manifest, topics, left } = take_directory(&environment, &dir)?;
    let map = config.read_mode_kind() == ReadMode::Mapped;
    let count = topics.iter().map(|topic| topic.config.partition_count() as usize).sum();
    let cells = match map && files.trusts_mapped_stores(&dir) {
        true => CellFile::create(&environment, &dir, count)?,
        false => None,
    };
    let service = Service::new(environment.clock().clone(), &config);
    let budget = Arc::new(Budget::new(config.buffer_memory_bytes()));
    let open_segments = OpenSegments::new(most_open(&config, files));
    let map = map && maps_work(files, &dir, cells.is_some())?;
    let opener = PartitionOpener {
        environment: &environment,
        dir: &dir,
        config: &config,
        pin: &lock,
        cells: cells.as_ref(),
        map,
        budget: &budget,
        open_segments: &open_segments,
        service: &service,
    };
    let done = AtomicUsize::new(0);
    let recovery = Recovery { opener, left: &left, on_recovery: Mutex::new(on_recovery), done, total: count };
    let (registry, partitions) = recovery.open_all(topics)?;
    cells.iter().try_for_each(|cells| cells.put_in_place(files))?;
    folders::remove_deleted(files, &dir)?;
    let (groups, txns) = open_coordinators(&environment, &config, &registry)?;
    let threads = start(&service, &config, &dir)?;
    let shared = Arc::new(Shared {
        recovery: RecoveryReport { clean: left.clean, partitions },
        points: Mutex::new(PointsFile::new(left.points)),
        lock: Mutex::new(Some(lock)),
        topics: RwLock::new(registry),
        admin: Mutex::new(()),
        threads: Mutex::new(threads),
        closing: Closing::new(),
        expiry: Expiry::new(&config, environment.clock().monotonic()),
        dir,
        environment,
        retaining: Mutex::new(config.retention_rate_bytes().map(DeletionRate::new)),
        config,
        producers: Producers::new(&manifest),
        manifest,
        cells,
        budget,
        open_segments,
        closing_idle: Mutex::new(()),
        service,
        map,
        groups,
        txns,
    });
    introduce(&shared);
    Ok(Broker { shared })
}

/// A data directory that nobody else opens, and that does not count as closed any more.
struct Taken {
    lock: Arc<dyn DirLock>,
    manifest: BrokerManifest,
    topics: Vec<TopicManifest>,
    left: Left,
}

fn take_directory(environment: &Environment, dir: &Path) -> Result<Taken> {
    let files = &**environment.files();
    refuse_partition(files, dir)?;
    make_dir(files, dir)?;
    let lock = lock(files, dir)?;
    let last = load_broker(environment, dir)?;
    let topics = load_topics(files, dir)?;
    let mark = load_clean_mark(files, dir, &last)?;
    let manifest = BrokerManifest { openings: last.openings + 1, ..last };
    manifest.store(files, dir)?;
    remove_clean_mark(files, dir)?;
    let left = Left::find(files, dir, mark, topics.is_empty())?;
    cells::discard_unfinished(files, dir)?;
    Ok(Taken { lock, manifest, topics, left })
}

/// Those that work for the broker get to know it.
fn introduce(shared: &Arc<Shared>) {
    let broker = Arc::downgrade(shared);
    shared.service.serve(broker.clone());
    shared.groups.attach(broker.clone());
    shared.txns.attach(broker);
}

/// Ends the transactions that were left open; then what the offsets topic tells of the consumer groups.
fn open_coordinators(
    environment: &Environment,
    config: &BrokerConfig,
    registry: &Registry<TopicState>,
) -> Result<(Arc<GroupService>, Arc<TxnService>)> {
    let nonce = environment.random().next_u64();
    let (retention, max_block) = (config.offsets_retention_duration(), config.max_block_duration());
    let groups = GroupService::new(environment.clock().clone(), nonce, retention, max_block);
    let groups = Arc::new(groups);
    let (internal, topics): (Vec<_>, Vec<_>) =
        registry.all().into_iter().partition(|topic| topic.name().is_internal());
    let log_of = |name: &str| {
        internal
            .iter()
            .find(|topic| topic.name().as_str() == name)
            .map(|topic| topic.partition(0))
            .transpose()
    };
    let (offsets, transactions) = (log_of(OFFSETS_TOPIC)?, log_of(TRANSACTIONS_TOPIC)?);
    let txns = TxnService::new(environment.clock().clone(), groups.clone(), max_block);
    let all = topics.iter().chain(&internal);
    let logs: Vec<_> = all.flat_map(|topic| topic.partitions().iter().cloned().collect::<Vec<_>>()).collect();
    txns.open(transactions, &logs);
    let known = |topic: &Arc<TopicState>| (topic.name().clone(), topic.known());
    groups.open(offsets, topics.iter().map(known).collect());
    Ok((groups, Arc::new(txns)))
}

/// What the last opening left.
struct Left {
    clean: bool,
    points: Points,
    cells: Vec<FoundCell>,
}

impl Left {
    fn find(files: &dyn FileSystem, dir: &Path, mark: Option<Points>, is_empty: bool) -> Result<Left> {
        Ok(Left {
            clean: mark.is_some() || is_empty,
            cells: if mark.is_some() { Vec::new() } else { cells::found(files, dir)? },
            points: match mark {
                Some(points) => points,
                None => Points::load(files, dir)?,
            },
        })
    }
}

/// A path that is one folder too deep would make a data directory within another one.
fn refuse_partition(files: &dyn FileSystem, dir: &Path) -> Result<()> {
    let manifest = dir.join(PartitionManifest::FILE_NAME);
    if !files.exists(&manifest).map_err(|e| Error::io("look at the data directory", dir, e))? {
        return Ok(());
    }
    let why = "this is the folder of a partition: open the data directory above it";
    Err(Error::invalid_argument(why).at_path(dir))
}

fn make_dir(files: &dyn FileSystem, dir: &Path) -> Result<()> {
    let error = |e| Error::io("make the data directory", dir, e);
    if files.exists(dir).map_err(error)? {
        return Ok(());
    }
    files.create_dir(dir).map_err(error)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => files.sync_dir(parent).map_err(error),
        _ => Ok(()),
    }
}

/// Takes the directory's lock, or says at once that somebody has it.
pub(super) fn lock(files: &dyn FileSystem, dir: &Path) -> Result<Arc<dyn DirLock>> {
    let path = dir.join(LOCK);
    match files.lock(&path) {
        Ok(lock) => Ok(Arc::from(lock)),
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            let why =
                "a broker has this directory open, or records that an earlier one lent are still in use";
            Err(Error::new(ErrorKind::Locked, why).at_path(dir))
        }
        Err(e) => Err(Error::io("lock the data directory", &path, e)),
    }
}

/// The manifest as the last opening left it, or that of a new directory.
fn load_broker(environment: &Environment, dir: &Path) -> Result<BrokerManifest> {
    let files = &**environment.files();
    if let Some(manifest) = BrokerManifest::load(files, dir)? {
        return Ok(manifest);
    }
    if let Some(topic) = TopicManifest::list(files, dir)?.first() {
        let why = format!("it is missing, but there are topics, such as {}", topic.display());
        return Err(Error::corrupted(&dir.join(BROKER), 0, why));
    }
    Ok(BrokerManifest::new(&**environment.random()))
}

/// The manifests of all topics, those on their way out too, sorted by name.
fn load_topics(files: &dyn FileSystem, dir: &Path) -> Result<Vec<TopicManifest>> {
    let paths = TopicManifest::list(files, dir)?;
    let mut topics = paths.iter().map(|path| TopicManifest::load(files, path)).collect::<Result<Vec<_>>>()?;
    if let Some((_, path)) =
        topics.iter().zip(&paths).find(|(topic, _)| topic.config.volatile_bound().is_some())
    {
        return Err(Error::corrupted(path, 0, "a volatile topic is never on the disk"));
    }
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(topics)
}

/// How many files of segments may be open before some are closed.
fn most_open(config: &BrokerConfig, files: &dyn FileSystem) -> u64 {
    let default = || {
        let half = files.open_file_limit().map_or(u64::MAX, |limit| limit / 2);
        half.clamp(BrokerConfig::LEAST_OPEN_SEGMENTS, BrokerConfig::DEFAULT_OPEN_SEGMENTS)
    };
    config.max_open_segment_count().map_or_else(default, u64::from)
}

/// Whether logs can be read through maps here.
fn maps_work(files: &dyn FileSystem, dir: &Path, have_cells: bool) -> Result<bool> {
    if have_cells {
        return Ok(true);
    }
    let path = dir.join(BROKER);
    let file = files.open(&path, OpenMode::ReadWrite).map_err(|e| Error::io("open", &path, e))?;
    match file.map(1) {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => Ok(false),
        Err(e) => Err(Error::io("map", &path, e)),
    }
}

fn start(service: &Arc<Service>, config: &BrokerConfig, dir: &Path) -> Result<Threads> {
    match config.background_kind() {
        Background::Manual => Ok(Threads::default()),
        Background::Threads => Threads::start(service, config.flush_thread_count(), dir),
    }
}

/// The opening of every partition.
struct Recovery<'a> {
    opener: PartitionOpener<'a>,
    left: &'a Left,
    /// Held while it is told something.
    on_recovery: Mutex<Option<OnRecovery>>,
    done: AtomicUsize,
    total: usize,
}

type Opened = (Registry<TopicState>, Vec<(TopicPartition, crate::partition::PartitionRecovery)>);

impl Recovery<'_> {
    fn open_all(&self, topics: Vec<TopicManifest>) -> Result<Opened> {
        let (gone, topics): (Vec<_>, Vec<_>) =
            topics.into_iter().partition(|manifest| manifest.life == TopicLife::Deleting);
        for manifest in gone {
            delete::finish(self.opener.environment, self.opener.dir, &manifest)?;
        }
        let partitions: Vec<_> =
            topics.iter().flat_map(|topic| (0..topic.ready).map(move |number| (topic, number))).collect();
        let threads = threads_of(self.opener.config);
        let opened = with_each(threads, &partitions, |(topic, number)| self.open(topic, *number));
        let mut opened = opened.into_iter();
        let (mut registry, mut reports) = (Registry::new(), Vec::new());
        for mut manifest in topics {
            let mut logs = Vec::new();
            for opened in opened.by_ref().take(manifest.ready as usize) {
                let opened = opened?;
                reports.push((opened.log.topic_partition().clone(), opened.recovery));
                logs.push(opened.log);
            }
            // A creation was interrupted: it is finished here.
            if manifest.ready < manifest.config.partition_count() {
                logs.extend(self.opener.create_missing(&mut manifest)?);
            }
            registry.insert(manifest.name.clone(), Arc::new(TopicState::new(manifest, logs)))?;
        }
        Ok((registry, reports))
    }

    fn open(&self, topic: &TopicManifest, number: u32) -> Result<OpenLog> {
        let tp = TopicPartition::new(topic.name.clone(), number);
        let point = self.left.points.get((topic.id, number)).cloned();
        let total = self.bytes_above(&tp, point.as_ref())?;
        let found = match (self.left.clean, point) {
            (true, Some(point)) => Found::Clean(point),
            (_, point) => Found::Unclean(point),
        };
        let hear = |done: u64| self.hear(&tp, done, total);
        let opened = self.opener.open(topic, number, found, &self.left.cells, &hear)?;
        self.done.fetch_add(1, Ordering::Relaxed);
        Ok(opened)
    }

    fn hear(&self, tp: &TopicPartition, bytes_done: u64, bytes_total: u64) {
        if let Some(on_recovery) = &*self.on_recovery.lock() {
            on_recovery(&Progress {
                partition: tp.clone(),
                bytes_done,
                bytes_total: bytes_total.max(bytes_done),
                partitions_done: self.done.load(Ordering::Relaxed),
                partitions_total: self.total,
            });
        }
    }

    /// Bytes of a partition's log files above its recovery point. A folder that should be there and is not
    /// is damage: opened as a new one it would lose what it held.
    fn bytes_above(&self, tp: &TopicPartition, point: Option<&RecoveryPoint>) -> Result<u64> {
        let files = &**self.opener.environment.files();
        let folder = folders::folder(self.opener.dir, tp);
        let error = |e| Error::io("look at a partition's folder", &folder, e);
        if !files.exists(&folder).map_err(error)? {
            let missing = Error::corrupted(&folder, 0, "the partition's folder is missing");
            return Err(missing.in_partition(tp));
        }
        if self.left.clean || self.on_recovery.lock().is_none() {
            return Ok(0);
        }
        let entries = files.list(&folder).map_err(error)?;
        let (segment, position) = point.map_or((0, 0), |point| (point.segment, point.position));
        let mut bytes: u64 = 0;
        for entry in entries {
            if let SegmentFileName::Live(base, FileKind::Log) = SegmentFileName::parse(&entry.name) {
                if base >= segment {
                    bytes += size_of(files, &folder.join(&entry.name))?;
                }
            }
        }
        Ok(bytes.saturating_sub(position))
    }
}

fn size_of(files: &dyn FileSystem, path: &Path) -> Result<u64> {
    let size = files.open(path, OpenMode::Read).and_then(|file| file.size());
    size.map_err(|e| Error::io("look at a file's size", path, e))
}
