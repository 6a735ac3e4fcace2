//! A partition on a simulated machine, opened and closed as a broker does it.
//!
//! Invariant: the tail cells of an opening replace those of the one before only when it is settled.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::harness::{DIR, Opened};
use crate::config::CrcCheck;
use crate::env::map::CellMap;
use crate::env::sim::{SimDisk, SimEnvironment};
use crate::env::{DirLock, FileSystem, OpenMode};
use crate::error::{Error, Result};
use crate::partition::{Budget, Found, LogSettings, OpenLog, Opening, Unattended};
use crate::segment::{Cell, FoundCell, OpenSegments, TailCells};
use crate::types::{TopicId, TopicName, TopicPartition};

const CELLS: &str = "/data/cells";
const NEW_CELLS: &str = "/data/cells.tmp";

/// A simulated machine with one partition on it.
pub(in super::super) struct Pond {
    pub(in super::super) environment: SimEnvironment,
    pub(in super::super) settings: LogSettings,
}

impl Pond {
    /// A machine with an empty folder.
    pub(in super::super) fn new(settings: LogSettings) -> Pond {
        let pond = Pond::on(SimDisk::new(), settings);
        pond.disk().create_dir(Path::new("/data")).unwrap();
        pond.disk().sync_dir(Path::new("/")).unwrap();
        pond
    }

    /// A machine with what is on this disk.
    pub(in super::super) fn on(disk: SimDisk, settings: LogSettings) -> Pond {
        Pond { environment: SimEnvironment::on(disk, 1), settings }
    }

    pub(in super::super) fn disk(&self) -> &SimDisk {
        self.environment.disk()
    }

    /// Opens the partition.
    pub(in super::super) fn open(&self, state: Found) -> Result<Opened> {
        let found = self.found_cells();
        let cells = self.new_cells().map_err(|e| Error::io("make the cells", Path::new(NEW_CELLS), e))?;
        let lock = self.disk().lock(Path::new("/data/lock"));
        let pin: Arc<dyn DirLock> =
            Arc::from(lock.map_err(|e| Error::io("lock", Path::new("/data/lock"), e))?);
        let opening = Opening {
            tp: TopicPartition::new(TopicName::new("t").unwrap(), 0),
            topic_id: TopicId::from_bytes([9; 16]),
            dir: PathBuf::from(DIR),
            environment: &self.environment.environment(),
            settings: self.settings.clone(),
            map: true,
            crc_check: CrcCheck::Once,
            pin,
            open_segments: OpenSegments::new(64),
            budget: Arc::new(Budget::new(1 << 20)),
            attendant: Arc::new(Unattended),
            state,
            cell: Cell::new(&cells, 0),
            found_cells: if matches!(state, Found::Clean(_)) { &[] } else { &found },
            progress: &|_| {},
        };
        let OpenLog { log, recovery } = opening.open()?;
        if let Found::New = state {
            let synced = self.disk().sync_dir(Path::new("/data"));
            synced.map_err(|e| Error::io("sync", Path::new("/data"), e))?;
        }
        let renamed = self.disk().rename(Path::new(NEW_CELLS), Path::new(CELLS));
        renamed.map_err(|e| Error::io("put the cells in place", Path::new(CELLS), e))?;
        Ok(Opened { log, recovery })
    }

    /// What the last opening's cells say; the bytes count, whoever still maps them.
    fn found_cells(&self) -> Vec<FoundCell> {
        let Ok(bytes) = self.disk().read_file(Path::new(CELLS)) else { return Vec::new() };
        let len = bytes.len() / 64 * 64;
        let pages = crate::env::map::HeapPages::zeroed(len);
        pages.copy_in(0, &bytes[..len]);
        TailCells::new(CellMap::new(crate::env::Region::heap(pages, len, None)), 0).found()
    }

    fn new_cells(&self) -> std::io::Result<Arc<TailCells>> {
        let path = Path::new(NEW_CELLS);
        if self.disk().exists(path)? {
            self.disk().remove_file(path)?;
        }
        let file = self.disk().open(path, OpenMode::CreateNew)?;
        file.allocate(0, 64)?;
        Ok(TailCells::new(CellMap::new(file.map(64)?), 7))
    }
}
