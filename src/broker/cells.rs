//! The file of tail cells: what the last opening left, and the one of this opening.
//!
//! ```text
//!   read millpond.cells --> recover every partition --> rename millpond.cells.tmp over it
//!                           (new cells in the .tmp)
//! ```
//!
//! Invariants
//! - The file is mapped and never synced: it serves the time after a kill, not after a power cut.
//! - The old one is replaced only after every partition of the last opening is settled and synced.
//! - A cell is given to one partition of one opening, and to no other one after it; a partition that
//!   finds none left is staged.
//! - Its bytes are allocated, so that a store never meets a full disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::small_file::{self, CELLS};
use crate::env::map::{CELL_LEN, CellMap, HeapPages, Region};
use crate::env::{Environment, FileSystem, OpenMode, with_suffix};
use crate::error::{Error, Result};
use crate::segment::{Cell, FoundCell, TailCells};

/// No fewer, so that topics may be created: 64 KiB.
const MIN_CELLS: usize = 1024;

/// What the cells of the last opening say; nothing if there is no such file.
pub(crate) fn found(files: &dyn FileSystem, dir: &Path) -> Result<Vec<FoundCell>> {
    let Some(bytes) = small_file::read(files, &dir.join(CELLS))? else { return Ok(Vec::new()) };
    let len = bytes.len() - bytes.len() % CELL_LEN;
    if len == 0 {
        return Ok(Vec::new());
    }
    // The words are atomics of this machine, so they are read as such, from a copy in memory.
    let pages = HeapPages::zeroed(len);
    pages.copy_in(0, &bytes[..len]);
    Ok(TailCells::new(CellMap::new(Region::heap(pages, len, None)), 0).found())
}

/// The cells of this opening.
#[derive(Debug)]
pub(crate) struct CellFile {
    cells: Arc<TailCells>,
    path: PathBuf,
    given: AtomicUsize,
}

impl CellFile {
    /// Makes a file with room for `partitions` and as many again; `None` where there are no maps or
    /// where the disk is full.
    pub(crate) fn create(
        environment: &Environment,
        dir: &Path,
        partitions: usize,
    ) -> Result<Option<CellFile>> {
        let files = &**environment.files();
        let path = dir.join(CELLS);
        let temporary = with_suffix(&path, "tmp");
        let count = partitions.saturating_mul(2).max(MIN_CELLS);
        match map_new(files, &temporary, count.saturating_mul(CELL_LEN)) {
            Ok(region) => {
                let nonce = environment.random().next_u64() | 1;
                let cells = TailCells::new(CellMap::new(region), nonce);
                Ok(Some(CellFile { cells, path, given: AtomicUsize::new(0) }))
            }
            Err(e) if no_cells(&e) => Ok(None),
            Err(e) => Err(Error::io("make the file of tail cells", &temporary, e)),
        }
    }

    /// Every partition of the last opening is settled and synced: its cells go.
    pub(crate) fn put_in_place(&self, files: &dyn FileSystem) -> Result<()> {
        let temporary = with_suffix(&self.path, "tmp");
        files
            .rename(&temporary, &self.path)
            .map_err(|e| Error::io("put the file of tail cells in place", &self.path, e))
    }

    /// A cell for one more partition, if one is left.
    pub(crate) fn give(&self) -> Option<Cell> {
        Cell::new(&self.cells, self.given.fetch_add(1, Ordering::Relaxed))
    }
}

/// Removes what an interrupted opening left behind.
pub(crate) fn discard_unfinished(files: &dyn FileSystem, dir: &Path) -> Result<()> {
    let path = with_suffix(&dir.join(CELLS), "tmp");
    match files.remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove an unfinished file of tail cells", &path, e))
        }
        _ => Ok(()),
    }
}

fn map_new(files: &dyn FileSystem, path: &Path, len: usize) -> std::io::Result<Region> {
    let file = files.open(path, OpenMode::CreateNew)?;
    file.allocate(0, len as u64)?;
    file.map(len)
}

fn no_cells(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull, Unsupported};
    matches!(error.kind(), StorageFull | QuotaExceeded | Unsupported)
}
