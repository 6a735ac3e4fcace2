//! Deleting a topic, so that no interruption leaves half of it alive.
//!
//! ```text
//!   manifest: Deleting (durable: from here on the topic is gone)
//!     -> partitions abandoned -> folders renamed -> manifest removed -> files removed
//! ```
//!
//! Invariant: each step may be repeated; an opening that finds the manifest, or a renamed folder, goes on.

use std::path::Path;

use super::folders::{self, partition_of};
use crate::env::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::partition::PartitionManifest;
use crate::topic::TopicManifest;
use crate::types::TopicPartition;

/// Takes the folders and the manifest of a topic away whose manifest on disk says `Deleting`. The files
/// themselves are removed by [`folders::remove_deleted`].
pub(super) fn finish(environment: &Environment, dir: &Path, topic: &TopicManifest) -> Result<()> {
    let files = &**environment.files();
    let entries = files.list(dir).map_err(|e| Error::io("list the data directory", dir, e))?;
    let folders_of_name =
        entries.iter().filter(|entry| entry.is_dir).filter_map(|entry| partition_of(&entry.name));
    for tp in folders_of_name.filter(|tp| *tp.topic() == topic.name) {
        if belongs_to(environment, dir, topic, &tp)? {
            folders::mark_deleted(files, &**environment.random(), dir, &tp)?;
        }
    }
    let sync = || files.sync_dir(dir).map_err(|e| Error::io("sync the data directory", dir, e));
    sync()?;
    topic.remove(files, dir)?;
    sync()
}

/// Whether a folder is this topic's and not that of another one of the same name.
fn belongs_to(
    environment: &Environment,
    dir: &Path,
    topic: &TopicManifest,
    tp: &TopicPartition,
) -> Result<bool> {
    let files = &**environment.files();
    match PartitionManifest::load(files, &folders::folder(dir, tp)) {
        Ok(manifest) => Ok(manifest.is_none_or(|manifest| manifest.topic_id == topic.id)),
        // It goes whatever it says.
        Err(e) if e.kind() == ErrorKind::Corrupted => Ok(true),
        Err(e) => Err(e),
    }
}
