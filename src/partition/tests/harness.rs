//! A partition on a simulated disk, driven by hand.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Compression, CrcCheck, Durability, Retention, TimestampType};
use crate::env::map::CellMap;
use crate::env::sim::{SimDisk, SimEnvironment};
use crate::env::{Environment, FileSystem, OpenMode};
use crate::error::Result;
use crate::partition::{
    Attendant, Budget, Chunk, Cursor, Found, Log, LogSettings, OpenLog, Opening, PartitionRecovery, Patience,
    ReadLimits, RecoveryPoint, Unattended,
};
use crate::segment::{Cell, FoundCell, NewRecord, OpenSegments, TailCells};
use crate::types::{TopicId, TopicName, TopicPartition};

pub(super) const DIR: &str = "/data/t-0";

/// A simulated machine with one partition on it.
pub(super) struct Machine {
    pub(super) environment: SimEnvironment,
    pub(super) settings: LogSettings,
    pub(super) map: bool,
    pub(super) open_segments: Arc<OpenSegments>,
    pub(super) attendant: Arc<dyn Attendant>,
}

/// An open partition of a machine.
pub(super) struct Opened {
    pub(super) log: Arc<Log>,
    pub(super) recovery: PartitionRecovery,
}

pub(super) fn settings(durability: Durability) -> LogSettings {
    LogSettings {
        durability,
        compression: Compression::None,
        batch_size: 300,
        linger: Duration::from_millis(5),
        max_record_size: 4096,
        large_value: usize::MAX,
        segment_size: 8192,
        segment_age: Duration::from_secs(3600),
        index_interval: 256,
        index_size: 4096,
        timestamp_type: TimestampType::Create,
        in_place: true,
        retention: Retention::forever(),
        keep_unread: None,
        cleanup: crate::partition::Cleanup::default(),
        lazy_flush: Duration::from_secs(30),
        producer_expiration: Duration::from_secs(86_400),
    }
}

impl Machine {
    pub(super) fn new(settings: LogSettings) -> Machine {
        Machine::on(SimDisk::new(), settings)
    }

    pub(super) fn on(disk: SimDisk, settings: LogSettings) -> Machine {
        let environment = SimEnvironment::on(disk, 1);
        environment.disk().create_dir(Path::new("/data")).unwrap();
        environment.disk().sync_dir(Path::new("/")).unwrap();
        let (open_segments, attendant) = (OpenSegments::new(64), Arc::new(Unattended));
        Machine { environment, settings, map: true, open_segments, attendant }
    }

    pub(super) fn disk(&self) -> &SimDisk {
        self.environment.disk()
    }

    /// The cells that an earlier opening has left.
    pub(super) fn cells(&self) -> Vec<FoundCell> {
        let path = Path::new("/data/cells");
        if !self.disk().exists(path).unwrap() {
            return Vec::new();
        }
        let file = self.disk().open(path, OpenMode::ReadWrite).unwrap();
        let size = file.size().unwrap() as usize;
        TailCells::new(CellMap::new(file.map(size).unwrap()), 1).found()
    }

    pub(super) fn open(&self, state: Found) -> Result<Opened> {
        self.open_in(&self.environment.environment(), state)
    }

    /// As [`open`](Self::open), in an environment over the machine's disk.
    pub(super) fn open_in(&self, environment: &Environment, state: Found) -> Result<Opened> {
        let found = self.cells();
        let path = PathBuf::from("/data/cells");
        if self.disk().exists(&path).unwrap() {
            self.disk().remove_file(&path).unwrap();
        }
        let file = self.disk().open(&path, OpenMode::CreateNew).unwrap();
        file.allocate(0, 64).unwrap();
        let cells = TailCells::new(CellMap::new(file.map(64).unwrap()), 7);
        let pin = self.disk().lock(Path::new("/data/lock")).unwrap();
        let opening = Opening {
            tp: TopicPartition::new(TopicName::new("t").unwrap(), 0),
            topic_id: TopicId::from_bytes([9; 16]),
            dir: PathBuf::from(DIR),
            environment,
            settings: self.settings.clone(),
            map: self.map,
            crc_check: CrcCheck::Once,
            pin: Arc::from(pin),
            open_segments: self.open_segments.clone(),
            budget: Arc::new(Budget::new(1 << 20)),
            attendant: self.attendant.clone(),
            state,
            cell: Cell::new(&cells, 0),
            found_cells: &found,
            progress: &|_| {},
        };
        let OpenLog { log, recovery } = opening.open()?;
        if let Found::New = state {
            self.disk().sync_dir(Path::new("/data")).unwrap();
        }
        Ok(Opened { log, recovery })
    }

    /// The same machine after the process was killed.
    pub(super) fn killed(&self) -> Machine {
        Machine { map: self.map, ..Machine::on(self.disk().after_kill(), self.settings.clone()) }
    }
}

impl Opened {
    pub(super) fn send(&self, value: &str) -> Result<u64> {
        let now = self.log.clock().now().millis();
        let record = NewRecord { timestamp: now, key: None, value: Some(value.as_bytes()), headers: &[] };
        self.log.append(&record, Patience::No).map(|appended| appended.offset)
    }

    pub(super) fn send_at(&self, value: &str, timestamp: i64) -> u64 {
        let record = NewRecord { timestamp, key: Some(b"k"), value: Some(value.as_bytes()), headers: &[] };
        self.log.append(&record, Patience::No).unwrap().offset
    }

    /// Sends `n` records `r<offset>`.
    pub(super) fn send_many(&self, n: u64) {
        for _ in 0..n {
            let next = self.log.append.lock().next_offset();
            assert_eq!(self.send(&value_of(next)).unwrap(), next);
        }
    }

    /// Closes the files of every segment, as a broker does with those that nobody uses.
    pub(super) fn close_files(&self) -> Result<()> {
        // What is staged may roll when it is written.
        self.log.seal_and_write()?;
        let mut open = Vec::new();
        self.log.open_segments(&mut open);
        open.iter().try_for_each(|idle| idle.close().map(|_| ()))
    }

    /// How many files of segments are open.
    pub(super) fn open_files(&self) -> u64 {
        self.log.home.open_here()
    }

    /// Every visible record, checked for continuity from `from`.
    pub(super) fn read_from(&self, from: u64) -> Result<Vec<(u64, String)>> {
        let mut cursor = Cursor::new(self.log.clone(), from);
        let mut all = Vec::new();
        while let Some(chunk) = cursor.read(u64::MAX, &limits())? {
            collect(&chunk, &mut all)?;
        }
        Ok(all)
    }

    /// Asserts that the visible records are exactly `from..to`, each with its own value.
    pub(super) fn assert_holds(&self, from: u64, to: u64) {
        let expected: Vec<_> = (from..to).map(|offset| (offset, value_of(offset))).collect();
        assert_eq!(self.read_from(from).unwrap(), expected);
    }
}

pub(super) fn collect(chunk: &Chunk, all: &mut Vec<(u64, String)>) -> Result<()> {
    for record in chunk.iter() {
        let record = record?;
        let value = record.record.value.unwrap_or_default();
        all.push((record.offset, String::from_utf8_lossy(value).into_owned()));
    }
    Ok(())
}

pub(super) fn limits() -> ReadLimits {
    ReadLimits { max_bytes: 1000, max_records: 100, crc: CrcCheck::Once }
}

pub(super) fn value_of(offset: u64) -> String {
    format!("record number {offset} {}", "x".repeat((offset * 7 % 23) as usize))
}

pub(super) fn unclean(point: Option<RecoveryPoint>) -> Found {
    Found::Unclean(point)
}
