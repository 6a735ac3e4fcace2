//! A simulated machine with one partition on it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Compression, CrcCheck, Durability, TopicConfig};
use crate::env::map::CellMap;
use crate::env::sim::{SimDisk, SimEnvironment};
use crate::env::{FileSystem, OpenMode};
use crate::error::Result;
use crate::partition::{
    Budget, Cursor, Found, Log, LogSettings, OpenLog, Opening, PartitionRecovery, ReadLimits, Unattended,
};
use crate::segment::{Cell, FoundCell, OpenSegments, TailCells};
use crate::types::{TopicId, TopicName, TopicPartition};

/// The partition's folder.
pub(super) const DIR: &str = "/data/t-0";
/// The topic's id.
pub(super) const TOPIC: [u8; 16] = [9; 16];
const CELLS: &str = "/data/cells";

/// A machine that may be killed, and opened again.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) environment: SimEnvironment,
    pub(super) settings: LogSettings,
    pub(super) map: bool,
    /// Tail cells that no opening has settled yet.
    pub(super) cells: Vec<FoundCell>,
}

/// An open partition.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) log: Arc<Log>,
    pub(super) recovery: PartitionRecovery,
}

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) offset: u64,
    pub(super) timestamp: i64,
    pub(super) value: Vec<u8>,
}

/// Small batches and segments, so that few operations do much.
pub(super) fn plain_settings(durability: Durability) -> LogSettings {
    let mut settings = LogSettings::of(&TopicConfig::new(), true, Duration::from_secs(30), Duration::MAX);
    settings.durability = durability;
    settings.compression = Compression::None;
    settings.batch_size = 300;
    settings.linger = Duration::from_millis(5);
    settings.max_record_size = 1024;
    settings.segment_size = 4096;
    settings.segment_age = Duration::from_secs(3600);
    settings.index_interval = 128;
    settings.index_size = 1024;
    settings
}

/// The value of a call that cannot fail here.
pub(super) fn must<T, E: std::fmt::Display>(result: std::result::Result<T, E>) -> T {
    result.unwrap_or_else(|e| panic!("{e}"))
}

impl Machine {
    /// An empty one.
    pub(super) fn new(settings: LogSettings) -> Machine {
        let machine = Machine::on(SimDisk::new(), settings);
        must(machine.disk().create_dir(Path::new("/data")));
        must(machine.disk().sync_dir(Path::new("/")));
        machine
    }

    /// One with this disk.
    pub(super) fn on(disk: SimDisk, settings: LogSettings) -> Machine {
        Machine { environment: SimEnvironment::on(disk, 1), settings, map: true, cells: Vec::new() }
    }

    /// The disk.
    pub(super) fn disk(&self) -> &SimDisk {
        self.environment.disk()
    }

    /// Time.
    pub(super) fn advance(&self, millis: u64) {
        self.environment.clock().advance(Duration::from_millis(millis));
    }

    /// Wall-clock time in milliseconds.
    pub(super) fn now(&self) -> i64 {
        self.environment.environment().clock().now().millis()
    }

    /// Reads the tail cells that are on the disk. The broker keeps them until all partitions are settled.
    pub(super) fn load_cells(&mut self) {
        let path = Path::new(CELLS);
        if !must(self.disk().exists(path)) {
            return;
        }
        let file = must(self.disk().open(path, OpenMode::ReadWrite));
        let size = must(file.size()) as usize;
        if size >= 64 {
            self.cells = TailCells::new(CellMap::new(must(file.map(size))), 1).found();
        }
    }

    /// Opens the partition; the cell file is replaced only once that has gone well.
    pub(super) fn open(&self, state: Found) -> Result<Opened> {
        let new_cells = Path::new("/data/cells.new");
        let file = self.disk().open(new_cells, OpenMode::CreateIfMissing);
        let file = file.map_err(|e| crate::error::Error::io("make", new_cells, e))?;
        file.set_size(0)
            .and_then(|()| file.allocate(0, 64))
            .map_err(|e| crate::error::Error::io("make", new_cells, e))?;
        let map = file.map(64).map_err(|e| crate::error::Error::io("map", new_cells, e))?;
        let cells = TailCells::new(CellMap::new(map), 7);
        let opening = Opening {
            tp: TopicPartition::new(must(TopicName::new("t")), 0),
            topic_id: TopicId::from_bytes(TOPIC),
            dir: PathBuf::from(DIR),
            environment: &self.environment.environment(),
            settings: self.settings.clone(),
            map: self.map,
            crc_check: CrcCheck::Once,
            pin: Arc::from(
                self.disk()
                    .lock(Path::new("/data/lock"))
                    .map_err(|e| crate::error::Error::io("lock", new_cells, e))?,
            ),
            open_segments: OpenSegments::new(64),
            budget: Arc::new(Budget::new(1 << 16)),
            attendant: Arc::new(Unattended),
            state,
            cell: Cell::new(&cells, 0),
            found_cells: &self.cells,
            progress: &|_| {},
        };
        let OpenLog { log, recovery } = opening.open()?;
        if let Found::New = state {
            must(self.disk().sync_dir(Path::new("/data")));
        }
        let renamed = self.disk().rename(new_cells, Path::new(CELLS));
        renamed.map_err(|e| crate::error::Error::io("rename", new_cells, e))?;
        Ok(Opened { log, recovery })
    }
}

impl Opened {
    /// Every visible record from `from` on.
    pub(super) fn read_from(&self, from: u64) -> Result<Vec<Seen>> {
        let limits = ReadLimits { max_bytes: 1000, max_records: 50, crc: CrcCheck::Once };
        let mut cursor = Cursor::new(self.log.clone(), from);
        let mut all = Vec::new();
        while let Some(chunk) = cursor.read(u64::MAX, &limits)? {
            for record in chunk.iter() {
                let record = record?;
                let value = record.record.value.unwrap_or_default().to_vec();
                all.push(Seen { offset: record.offset, timestamp: record.timestamp, value });
            }
        }
        Ok(all)
    }
}
