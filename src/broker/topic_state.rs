//! A topic of an open broker: its manifest and its partitions.
//!
//! Invariants
//! - The manifest here is the one on disk: it changes only after it has been stored.
//! - A deleted topic stays deleted; handles of it answer `Closed`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use crate::env::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::group::KnownTopic;
use crate::partition::Log;
use crate::producer::PartitionSet;
use crate::topic::TopicManifest;
use crate::types::{TopicId, TopicName, TopicPartition};

/// What all handles of a topic share.
#[derive(Debug)]
pub(crate) struct TopicState {
    name: TopicName,
    id: TopicId,
    manifest: RwLock<Arc<TopicManifest>>,
    partitions: Arc<PartitionSet>,
    deleted: AtomicBool,
    /// Where its files are, if that is not the broker's directory: of a volatile topic.
    memory: Option<Environment>,
}

impl TopicState {
    /// A topic with these partitions.
    pub(crate) fn new(manifest: TopicManifest, logs: Vec<Arc<Log>>) -> TopicState {
        TopicState {
            name: manifest.name.clone(),
            id: manifest.id,
            manifest: RwLock::new(Arc::new(manifest)),
            partitions: Arc::new(PartitionSet::new(logs)),
            deleted: AtomicBool::new(false),
            memory: None,
        }
    }

    /// The same, with its files in this memory.
    pub(crate) fn in_memory(self, memory: Option<Environment>) -> TopicState {
        TopicState { memory, ..self }
    }

    /// The memory its files are in, if it is volatile.
    pub(crate) fn memory(&self) -> Option<&Environment> {
        self.memory.as_ref()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &TopicName {
        &self.name
    }

    /// Its id.
    pub(crate) fn id(&self) -> TopicId {
        self.id
    }

    /// What consumer groups know of it.
    pub(crate) fn known(&self) -> KnownTopic {
        KnownTopic { id: self.id, partitions: self.partitions.count(), volatile: self.memory.is_some() }
    }

    /// Its manifest now.
    pub(crate) fn manifest(&self) -> Arc<TopicManifest> {
        self.manifest.read().clone()
    }

    /// The manifest has been stored.
    pub(crate) fn set_manifest(&self, manifest: TopicManifest) {
        *self.manifest.write() = Arc::new(manifest);
    }

    /// Its partitions.
    pub(crate) fn partitions(&self) -> &Arc<PartitionSet> {
        &self.partitions
    }

    /// One partition.
    pub(crate) fn partition(&self, number: u32) -> Result<Arc<Log>> {
        self.partitions.get(number).cloned().ok_or_else(|| {
            let count = self.partitions.count();
            let message =
                format!("topic {} has {count} partitions, counted from 0; there is no {number}", self.name);
            Error::new(ErrorKind::PartitionNotFound, message)
                .in_partition(&TopicPartition::new(self.name.clone(), number))
        })
    }

    /// The topic has been deleted.
    pub(crate) fn set_deleted(&self) {
        self.deleted.store(true, Ordering::Release);
    }

    /// Refuses work on a deleted topic.
    pub(crate) fn check_alive(&self) -> Result<()> {
        if self.deleted.load(Ordering::Acquire) {
            return Err(Error::topic_deleted(&self.name));
        }
        Ok(())
    }
}
