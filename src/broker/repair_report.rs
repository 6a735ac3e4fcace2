//! What a repair did.

use std::fmt;
use std::path::{Path, PathBuf};

/// What [`repair`](fn@crate::broker::repair) did, in its order; nothing where nothing was corrupt.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    pub(super) actions: Vec<RepairAction>,
}

impl RepairReport {
    /// What was done.
    #[must_use]
    pub fn actions(&self) -> &[RepairAction] {
        &self.actions
    }

    /// Bytes of log that were dropped.
    #[must_use]
    pub fn bytes_dropped(&self) -> u64 {
        self.actions.iter().map(|action| action.bytes_dropped).sum()
    }
}

/// One thing that a repair did.
#[derive(Clone, Debug)]
pub struct RepairAction {
    pub(super) path: PathBuf,
    pub(super) bytes_dropped: u64,
    pub(super) what: String,
}

impl RepairAction {
    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of log that went with it.
    #[must_use]
    pub fn bytes_dropped(&self) -> u64 {
        self.bytes_dropped
    }

    /// What was done, in words.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for RepairAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)?;
        if self.bytes_dropped > 0 {
            write!(f, " ({} bytes dropped)", self.bytes_dropped)?;
        }
        Ok(())
    }
}
