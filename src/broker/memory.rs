//! Where the files of a topic are: in the broker's directory, or, of a volatile topic, in memory.
//!
//! ```text
//!   TopicState::memory  None        -> the broker's environment and directory
//!                       Some(files) -> a file system of the topic's own, in memory
//! ```
//!
//! Invariants
//! - Of a volatile topic nothing is in the broker's directory: no manifest, folder, recovery point or tail cell.
//! - Its views do not hold the directory's lock.

use std::path::Path;
use std::sync::Arc;

use super::broker::Shared;
use crate::config::TopicConfig;
use crate::env::{DirLock, Environment, FileSystem, MemoryFileSystem};
use crate::partition::Budget;

/// The directory of a topic in its own memory; errors show it.
const ROOT: &str = "volatile";

/// Where a topic's files are.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    pub(super) environment: &'a Environment,
    pub(super) dir: &'a Path,
}

impl Home<'_> {
    /// The files.
    pub(super) fn files(&self) -> &dyn FileSystem {
        &**self.environment.files()
    }
}

impl Shared {
    /// The home of a topic with this memory, or of one on the disk.
    pub(super) fn home<'a>(&'a self, memory: Option<&'a Environment>) -> Home<'a> {
        match memory {
            Some(environment) => Home { environment, dir: Path::new(ROOT) },
            None => Home { environment: &self.environment, dir: &self.dir },
        }
    }
}

/// Memory for a topic with these settings, if it is volatile.
pub(super) fn for_topic(config: &TopicConfig, system: &Environment) -> Option<Environment> {
    config.volatile_bound().map(|_| {
        let files = MemoryFileSystem::new(Path::new(ROOT), system.clock().clone());
        Environment::new(Arc::new(files), system.clock().clone(), system.random().clone())
    })
}

/// The budget of one partition, if it is volatile.
pub(super) fn budget(config: &TopicConfig) -> Option<Arc<Budget>> {
    config.volatile_bound().map(|bound| Arc::new(Budget::keeping(bound.room(), bound.overflow())))
}

/// What views of records in memory hold instead of a directory's lock.
#[derive(Debug)]
pub(super) struct NoLock;

impl DirLock for NoLock {}
