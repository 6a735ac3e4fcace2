//! Opening and creating single partitions of a broker.
//!
//! Invariants
//! - A folder is cleared only while the topic's manifest on disk says that it has not been ready yet:
//!   then nothing can have been acknowledged in it.
//! - `ready` rises, durably, after the folders are there durably.
//! - A partition without a tail cell builds its batches in memory.

use std::path::Path;
use std::sync::Arc;

use super::attended::Attended;
use super::background::{waiting_threads_of, with_each};
use super::cells::CellFile;
use super::folders;
use super::memory;
use super::service::Service;
use crate::config::BrokerConfig;
use crate::env::{DirLock, Environment};
use crate::error::{Error, Result};
use crate::partition::{Attendant, Budget, Found, Log, LogSettings, OpenLog, Opening};
use crate::segment::{FoundCell, OpenSegments};
use crate::topic::TopicManifest;
use crate::types::TopicPartition;

/// What every partition of a broker is opened with.
pub(super) struct PartitionOpener<'a> {
    pub(super) environment: &'a Environment,
    pub(super) dir: &'a Path,
    pub(super) config: &'a BrokerConfig,
    pub(super) pin: &'a Arc<dyn DirLock>,
    pub(super) cells: Option<&'a CellFile>,
    pub(super) map: bool,
    pub(super) budget: &'a Arc<Budget>,
    pub(super) open_segments: &'a Arc<OpenSegments>,
    pub(super) service: &'a Arc<Service>,
}

impl PartitionOpener<'_> {
    /// Opens one partition.
    pub(super) fn open(
        &self,
        topic: &TopicManifest,
        number: u32,
        state: Found,
        found_cells: &[FoundCell],
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<OpenLog> {
        let tp = TopicPartition::new(topic.name.clone(), number);
        let cell = self.cells.and_then(CellFile::give);
        let lazy_flush = self.config.memory_flush_interval_duration();
        let settings = LogSettings::of(
            &topic.config,
            self.map && cell.is_some(),
            lazy_flush,
            self.config.producer_expiration_duration(),
        );
        let lasts = topic.config.volatile_bound().is_none();
        let attended = Attended::new(self.service, (topic.id, number), lasts);
        let opened = Opening {
            dir: folders::folder(self.dir, &tp),
            tp,
            topic_id: topic.id,
            environment: self.environment,
            settings,
            map: self.map,
            crc_check: self.config.crc_check_kind(),
            pin: Arc::clone(self.pin),
            open_segments: Arc::clone(self.open_segments),
            budget: memory::budget(&topic.config).unwrap_or_else(|| Arc::clone(self.budget)),
            attendant: Arc::clone(&attended) as Arc<dyn Attendant>,
            state,
            cell,
            found_cells,
            progress,
        }
        .open()?;
        attended.attach(&opened.log);
        Ok(opened)
    }

    /// Makes the partitions from `ready` on, and raises `ready` durably. The manifest has been stored.
    pub(super) fn create_missing(&self, manifest: &mut TopicManifest) -> Result<Vec<Arc<Log>>> {
        let files = &**self.environment.files();
        let numbers: Vec<u32> = (manifest.ready..manifest.config.partition_count()).collect();
        let made = with_each(waiting_threads_of(self.config), &numbers, |&number| {
            let tp = TopicPartition::new(manifest.name.clone(), number);
            folders::remove(files, &folders::folder(self.dir, &tp))?;
            self.open(manifest, number, Found::New, &[], &|_| ()).map(|opened| opened.log)
        });
        let logs = made.into_iter().collect::<Result<Vec<_>>>()?;
        files.sync_dir(self.dir).map_err(|e| Error::io("sync the data directory", self.dir, e))?;
        let ready = TopicManifest { ready: manifest.config.partition_count(), ..manifest.clone() };
        ready.store(files, self.dir)?;
        *manifest = ready;
        Ok(logs)
    }
}
