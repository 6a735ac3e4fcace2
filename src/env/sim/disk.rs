//! The simulated disk: what the program under test is given, and what the test does to it.
//!
//! Invariants
//! - One lock guards all of it, and no code but this module's runs under it.
//! - A call that changes or syncs something goes through [`SimDisk::call`]: counted, perhaps failing,
//!   perhaps followed by a snapshot.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::calls::{Failure, Fault, Op};
use super::clock::ManualClock;
use super::file::{Handle, SimFile, SimLock, refuse};
use super::image::{Cut, after_power_cut, hash};
use super::state::{State, file_id};
use super::tree::{Entry, NodeId};
use crate::env::{Clock, DirEntry, DirLock, File, FileSystem, OpenMode, Random};

/// A disk in memory that knows what is durable. Clones are the same disk.
///
/// Paths are those of one tree; relative ones start at its root. Directories and files are made, written
/// and synced by the program under test through [`FileSystem`]; the methods here are the test's: pull
/// the plug, fill the disk, fail a call, flip a bit.
///
/// ```
/// use millpond::env::sim::{SeededRandom, SimDisk};
/// use millpond::env::{FileSystem, OpenMode};
/// use std::path::Path;
///
/// let disk = SimDisk::new();
/// let file = disk.open(Path::new("/log"), OpenMode::CreateNew)?;
/// file.write_at(b"synced", 0)?;
/// file.sync_data()?;
/// disk.sync_dir(Path::new("/"))?;
/// file.write_at(b"and lost, perhaps", 6)?;
///
/// let left = disk.after_power_cut(&SeededRandom::new(1)).read_file(Path::new("/log"))?;
/// assert!(left.starts_with(b"synced"));
/// assert_eq!(disk.after_kill().read_file(Path::new("/log"))?, b"syncedand lost, perhaps");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    clock: ManualClock,
}

/// The disk and its settings.
impl SimDisk {
    /// An empty disk without limits, that trusts mapped stores.
    #[must_use]
    pub fn new() -> SimDisk {
        SimDisk::of(State::new(), ManualClock::new())
    }

    fn of(state: State, clock: ManualClock) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(state)), clock }
    }

    /// The clock that stamps the files; disks that are left by a crash go on with it.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Limits the bytes that all files together may occupy (whole 4 KiB pages; holes take none). Beyond,
    /// writes and allocations answer `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().settings.capacity = bytes;
    }

    /// Bytes that the files occupy.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// From now on answers that stores through maps are not to be trusted, so that batches are staged.
    pub fn distrust_mapped_stores(&self) {
        self.state().settings.trusts_mapped_stores = false;
    }

    /// Stops hearing of stores through maps made from now on, for tests that store very much: those
    /// bytes then count as durable at once, and crashes are to be taken only while nobody stores.
    pub fn ignore_mapped_stores(&self) {
        self.state().settings.hears_stores = false;
    }
}

/// Crashes.
impl SimDisk {
    /// The disk as it is now, with what is durable and what is not: nothing that happens to either later
    /// shows in the other. Taken between calls it shows what a crash there would leave.
    #[must_use]
    pub fn snapshot(&self) -> SimDisk {
        SimDisk::of(self.state().copy(), self.clock.clone())
    }

    /// The process is killed: every write, store and directory change is there, no lock is held. What
    /// was not durable is not durable after it either.
    #[must_use]
    pub fn after_kill(&self) -> SimDisk {
        self.snapshot()
    }

    /// The power fails: what a completed sync covers is there. Of the rest every page holds some version
    /// since its last sync (one in eight torn at 512 bytes between two), every size and every directory
    /// change is there or not, as `chooser` says.
    #[must_use]
    pub fn after_power_cut(&self, chooser: &dyn Random) -> SimDisk {
        self.cut(Cut::random(chooser))
    }

    /// The power fails, and whatever can be lost is lost.
    #[must_use]
    pub fn after_power_cut_losing_everything(&self) -> SimDisk {
        self.cut(Cut::LoseEverything)
    }

    /// The power fails just after everything happened to have been written.
    #[must_use]
    pub fn after_power_cut_keeping_everything(&self) -> SimDisk {
        self.cut(Cut::KeepEverything)
    }

    fn cut(&self, cut: Cut<'_>) -> SimDisk {
        SimDisk::of(after_power_cut(&self.state(), cut), self.clock.clone())
    }

    /// Takes a snapshot after each counted call from now on, while fewer than `limit` wait to be taken; 0
    /// takes no more.
    pub fn snapshot_every_call(&self, limit: usize) {
        self.state().snapshot_limit = limit;
    }

    /// Takes a snapshot after each store through a map from now on, while fewer than `limit` wait to be
    /// taken; 0 takes no more. What a kill between two stores leaves: all that were told so far.
    pub fn snapshot_every_store(&self, limit: usize) {
        self.state().store_snapshot_limit = limit;
    }

    /// The snapshots taken since the last time this was asked.
    #[must_use]
    pub fn take_snapshots(&self) -> Vec<SimDisk> {
        let taken = std::mem::take(&mut self.state().snapshots);
        taken.into_iter().map(|state| SimDisk::of(state, self.clock.clone())).collect()
    }

    /// Names, sizes and bytes of all files (as they are in the cache) as one number: equal for equal
    /// images.
    #[must_use]
    pub fn image_hash(&self) -> u64 {
        hash(&self.state())
    }

    /// The number of pages, sizes and directory changes that a power cut may take back.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.state().unsynced()
    }
}

/// Failures, and what was called.
impl SimDisk {
    /// Lets the `n`th counted call from now (1 being the next) fail once. Replaces what was injected
    /// before.
    pub fn fail_nth(&self, n: u64, fault: Fault) {
        self.inject(Failure::nth(n, fault));
    }

    /// Lets calls fail. Replaces what was injected before.
    pub fn inject(&self, failure: Failure) {
        self.state().calls.set_failure(Some(failure));
    }

    /// Lets no call fail any more.
    pub fn stop_failing(&self) {
        self.state().calls.set_failure(None);
    }

    /// The number of calls so far that change or sync something.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.state().calls.total()
    }

    /// The number of calls of one kind.
    #[must_use]
    pub fn calls_of(&self, op: Op) -> u64 {
        self.state().calls.of(op)
    }

    /// Writes down the calls from now on.
    pub fn start_log(&self) {
        self.state().calls.start_log();
    }

    /// The calls written down since the last time this was asked, one a line.
    #[must_use]
    pub fn take_log(&self) -> Vec<String> {
        self.state().calls.take_log()
    }
}

/// Damage. These calls are the test's: not counted, never failing by injection, durable at once, and
/// refused (`ResourceBusy`) for a file that is mapped.
impl SimDisk {
    /// All files, in order.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let found = self.state().tree.walk();
        found
            .into_iter()
            .filter(|(_, entry)| file_id(*entry).is_some())
            .map(|(path, _)| path.into())
            .collect()
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// `NotFound`, `OutOfMemory` for a file that does not fit.
    pub fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let (_, content) = state.file(path)?;
        let size = usize::try_from(content.size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(size)?;
        bytes.resize(size, 0);
        content.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// Makes or replaces the bytes of a file.
    ///
    /// # Errors
    /// `NotFound` if its directory is missing, `ResourceBusy` if it is mapped.
    pub fn write_file(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        if state.tree.find(path)?.is_none() {
            let id = state.create(path, self.clock.now().millis())?;
            let key = state.tree.key(path)?;
            state.tree.put_durably(key, Entry::File(id));
        }
        let random = state.random.clone();
        let content = idle(&mut state, path)?;
        content.set_size(0, &random);
        content.write(bytes, 0, &random);
        content.settle();
        Ok(())
    }

    /// Cuts or extends a file.
    ///
    /// # Errors
    /// `NotFound`, `ResourceBusy` if it is mapped.
    pub fn truncate_file(&self, path: &Path, size: u64) -> io::Result<()> {
        let mut state = self.state();
        let random = state.random.clone();
        let content = idle(&mut state, path)?;
        content.set_size(size, &random);
        content.settle();
        Ok(())
    }

    /// Flips one bit (0 the lowest) of one byte of a file: bit rot.
    ///
    /// # Errors
    /// `NotFound`, `ResourceBusy` if it is mapped, `InvalidInput` for a byte or bit that there is not.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let random = state.random.clone();
        let content = idle(&mut state, path)?;
        if byte >= content.size || bit > 7 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut value = [0];
        content.read(&mut value, byte);
        content.write(&[value[0] ^ (1 << bit)], byte, &random);
        content.settle();
        Ok(())
    }
}

/// The content of a file that is not mapped: what a map has lent must not change.
fn idle<'a>(state: &'a mut State, path: &Path) -> io::Result<&'a mut super::content::Content> {
    let (_, content) = state.file(path)?;
    if content.is_mapped() { Err(io::ErrorKind::ResourceBusy.into()) } else { Ok(content) }
}

/// For the files of this disk.
impl SimDisk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Does something that counts. Nothing that `run` drops may take the disk's lock.
    pub(super) fn call<T>(
        &self,
        op: Op,
        describe: impl FnOnce() -> String,
        run: impl FnOnce(&mut State, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.state();
        let fault = state.calls.next(op, describe);
        let result = run(&mut state, fault);
        if state.snapshots.len() < state.snapshot_limit {
            let snapshot = state.copy();
            state.snapshots.push(snapshot);
        }
        result
    }

    /// Makes the file of this path, as a call that counts.
    fn create(&self, path: &Path) -> io::Result<NodeId> {
        let modified = self.clock.now().millis();
        self.call(
            Op::Create,
            || path.display().to_string(),
            |state, fault| {
                refuse(fault)?;
                state.create(path, modified)
            },
        )
    }

    fn find(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.state().tree.find(path)
    }

    /// Counts one more handle of a file, and makes it.
    fn handle(&self, id: NodeId) -> io::Result<Handle> {
        self.state().content(id)?.handles += 1;
        Ok(Handle::new(self.clone(), id))
    }
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state.try_lock() {
            Some(state) => write!(f, "SimDisk({} files, {} unsynced)", state.files.len(), state.unsynced()),
            None => write!(f, "SimDisk(in use)"),
        }
    }
}

impl FileSystem for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        for ancestor in path.ancestors() {
            match self.find(ancestor)? {
                Some(Entry::Dir(_)) => break,
                Some(Entry::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => missing.push(ancestor),
            }
        }
        for dir in missing.into_iter().rev() {
            self.call(
                Op::Create,
                || dir.display().to_string(),
                |state, fault| {
                    refuse(fault)?;
                    let key = state.tree.key(dir)?;
                    let id = state.tree.new_id();
                    state.tree.change(vec![(key, Some(Entry::Dir(id)))]);
                    Ok(())
                },
            )?;
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let id = match (self.find(path)?, mode) {
            (Some(Entry::Dir(_)), _) => return Err(io::ErrorKind::IsADirectory.into()),
            (Some(Entry::File(_)), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Entry::File(id)), _) => id,
            (None, OpenMode::CreateIfMissing | OpenMode::CreateNew) => self.create(path)?,
            (None, _) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(SimFile::new(self.handle(id)?, path, mode != OpenMode::Read)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        let id = state.tree.find_dir(dir)?;
        let entries = state.tree.entries(id).into_iter().flatten();
        let listed = entries
            .map(|(name, entry)| DirEntry { name: name.clone(), is_dir: matches!(entry, Entry::Dir(_)) });
        Ok(listed.collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.find(path)?.is_some())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let describe = || format!("{} to {}", from.display(), to.display());
        self.call(Op::Rename, describe, |state, fault| {
            refuse(fault)?;
            let moved = state.tree.find(from)?.ok_or(io::ErrorKind::NotFound)?;
            let (from, to_key) = (state.tree.key(from)?, state.tree.key(to)?);
            match (moved, state.tree.find(to)?) {
                (_, Some(replaced)) if replaced == moved => return Ok(()),
                (Entry::Dir(_), Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                (Entry::File(_), Some(Entry::Dir(_))) => return Err(io::ErrorKind::IsADirectory.into()),
                (Entry::Dir(id), None) if state.tree.holds(id, to_key.0) => {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                _ => {}
            }
            state.tree.change(vec![(from, None), (to_key, Some(moved))]);
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(
            Op::Remove,
            || path.display().to_string(),
            |state, fault| {
                refuse(fault)?;
                state.file(path)?;
                let key = state.tree.key(path)?;
                state.tree.change(vec![(key, None)]);
                Ok(())
            },
        )
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.call(
            Op::Remove,
            || path.display().to_string(),
            |state, fault| {
                refuse(fault)?;
                let id = state.tree.find_dir(path)?;
                if state.tree.entries(id).is_some_and(|entries| !entries.is_empty()) {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                let key = state.tree.key(path)?;
                state.tree.change(vec![(key, None)]);
                Ok(())
            },
        )
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(
            Op::SyncDir,
            || dir.display().to_string(),
            |state, fault| {
                let id = state.tree.find_dir(dir)?;
                if let Some(error) = fault.and_then(Fault::error) {
                    state.tree.drop_changes(id);
                    return Err(error);
                }
                state.tree.sync_dir(id);
                state.forget_unused();
                Ok(())
            },
        )
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let id = match self.find(path)? {
            Some(Entry::File(id)) => id,
            Some(Entry::Dir(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            None => self.create(path)?,
        };
        if !self.state().locks.insert(id) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock::new(self.clone(), id)))
    }

    fn trusts_mapped_stores(&self, _dir: &Path) -> bool {
        self.state().settings.trusts_mapped_stores
    }
}
