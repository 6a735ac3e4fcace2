//! The environment: files, maps, clock and randomness, reached only through here, so that a test
//! can replace the disk, move time by hand and pull the plug.
//!
//! Invariants
//! - Nothing outside this module names `std::fs`, a clock or a source of randomness.
//! - Only file and directory calls are dynamic; loads from and stores into a map are plain memory
//!   accesses. A [`StoreTap`] hears of stores where the environment is simulated.
//! - `unsafe` stands in `map.rs` and nowhere else in the crate.
//!
//! ```text
//!   Environment -- FileSystem -- File -- Region (a map of the file's bytes)
//!        |------------- Clock
//!        `------------- Random
//! ```

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub(crate) mod map;
mod memory;
mod os;
#[cfg(any(test, feature = "testing"))]
pub mod sim;

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::types::Timestamp;

pub use map::{Region, StoreTap};
pub(crate) use memory::MemoryFileSystem;

/// The files, the clock and the randomness that a broker uses.
///
/// ```
/// let environment = millpond::env::Environment::system();
/// assert!(environment.clock().now().millis() > 0);
/// ```
#[derive(Clone, Debug)]
pub struct Environment {
    files: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Environment {
    /// The real one: the operating system's files, clock and randomness.
    #[must_use]
    pub fn system() -> Environment {
        Environment::new(
            Arc::new(os::OsFileSystem::new()),
            Arc::new(os::SystemClock::new()),
            Arc::new(os::OsRandom),
        )
    }

    /// An environment of these parts.
    #[must_use]
    pub fn new(files: Arc<dyn FileSystem>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Environment {
        Environment { files, clock, random }
    }

    /// The files.
    #[must_use]
    pub fn files(&self) -> &Arc<dyn FileSystem> {
        &self.files
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The randomness.
    #[must_use]
    pub fn random(&self) -> &Arc<dyn Random> {
        &self.random
    }
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "implementers must handle every way")]
pub enum OpenMode {
    /// For reading; it must exist.
    Read,
    /// For reading and writing; it must exist.
    ReadWrite,
    /// For reading and writing; made if it does not exist, kept as it is if it does.
    CreateIfMissing,
    /// For reading and writing; it must not exist.
    CreateNew,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "implementers build it")]
pub struct DirEntry {
    /// The name within its directory; entries whose name is not UTF-8 are left out of a listing.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Directories and files.
pub trait FileSystem: Debug + Send + Sync + 'static {
    /// Makes a directory, private to the user, and its missing parents; one that exists is left alone.
    ///
    /// # Errors
    /// The operating system's.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` as the mode says, and the operating system's.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// What a directory holds, sorted by name.
    ///
    /// # Errors
    /// `NotFound`, and the operating system's.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether there is a file or directory of this name.
    ///
    /// # Errors
    /// The operating system's.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// The length of a file in bytes.
    ///
    /// # Errors
    /// `NotFound`, and the operating system's.
    fn size_of(&self, path: &Path) -> io::Result<u64> {
        self.open(path, OpenMode::Read)?.size()
    }

    /// How many files this process may have open at once, if there is a limit that is known.
    fn open_file_limit(&self) -> Option<u64> {
        None
    }

    /// Renames a file or directory; a file of the new name is replaced. Atomic; durable after
    /// [`sync_dir`](FileSystem::sync_dir) of the parent.
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Maps and handles of it stay usable.
    ///
    /// # Errors
    /// `NotFound`, and the operating system's.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    /// The operating system's.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable (creations, renames, removals).
    ///
    /// # Errors
    /// The operating system's; after one nothing may be believed durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock that this file stands for (made if missing); held until the guard is dropped
    /// and freed by the kernel when the process dies.
    ///
    /// # Errors
    /// `WouldBlock` if somebody else (of this process, too) holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;

    /// Whether stores through a map are trusted in this directory (on Linux: ext4, xfs and tmpfs, where
    /// `fallocate` really allocates); elsewhere batches are staged in memory and written.
    fn trusts_mapped_stores(&self, dir: &Path) -> bool;
}

/// A lock on a directory, held until it is dropped.
pub trait DirLock: Debug + Send + Sync {}

/// An open file. All calls go to absolute positions; a file may be used by many threads at once.
pub trait File: Debug + Send + Sync + 'static {
    /// Reads at a position; fewer bytes than asked at the end of the file.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes at a position; may write fewer bytes than given.
    ///
    /// # Errors
    /// The operating system's; `StorageFull` on a full disk.
    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn size(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) the file. A mapped file is never cut below its published end.
    ///
    /// # Errors
    /// The operating system's.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Really allocates `[position, position + len)` and extends the file to its end if that lies
    /// beyond; bytes that were there stay, new ones are zeros.
    ///
    /// # Errors
    /// `StorageFull` when there is no room; then no byte that was there has changed (the size may have).
    fn allocate(&self, position: u64, len: u64) -> io::Result<()>;

    /// Where in `range` there may be anything but zeros, in order. A file system that knows of allocated space
    /// that was never written leaves it out, without reading it; one that does not know answers all of it.
    ///
    /// # Errors
    /// The operating system's.
    fn data_in(&self, range: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        Ok(vec![range])
    }

    /// Makes the bytes (and the size) durable. A failed one is never repeated: the second would lie.
    ///
    /// # Errors
    /// The operating system's.
    fn sync_data(&self) -> io::Result<()>;

    /// The bytes of `range` have been written and will be [synced](File::sync_data) soon: the device may begin with
    /// them. A hint: nothing is durable because of it, and what goes wrong the sync tells.
    fn begin_sync(&self, range: Range<u64>) {
        let _ = range;
    }

    /// As [`begin_sync`](File::begin_sync), and waits until the device has the bytes: who syncs much at once keeps its
    /// queue short for others. Nothing is durable because of it, but an error of the writing may be told here and
    /// not again: it is as final as a sync's.
    ///
    /// # Errors
    /// The operating system's.
    fn write_back(&self, range: Range<u64>) -> io::Result<()> {
        let _ = range;
        Ok(())
    }

    /// Maps `[0, len)`, shared, for reading and writing. `len` may lie beyond the end of the file; those
    /// bytes may be touched only once the file reaches them. `Unsupported` where there are no such maps, and
    /// of a file opened with [`OpenMode::Read`].
    ///
    /// # Errors
    /// The operating system's.
    fn map(&self, len: usize) -> io::Result<Region>;

    /// When the file was last changed.
    ///
    /// # Errors
    /// The operating system's.
    fn modified(&self) -> io::Result<Timestamp>;
}

/// Wall-clock time and monotonic time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Wall-clock time, precise to a few milliseconds; cheap enough to be asked for each record.
    fn now(&self) -> Timestamp;

    /// Time since some fixed point, never going back; precise to a few milliseconds.
    fn monotonic(&self) -> Duration;
}

/// Random numbers, for ids and tie-breaking (not for secrets).
pub trait Random: Debug + Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;
}

/// Reads exactly `buf.len()` bytes at `position`.
///
/// # Errors
/// `UnexpectedEof` if the file ends before.
pub(crate) fn read_exact_at(file: &dyn File, mut buf: &mut [u8], mut position: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, position) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                buf = &mut buf[n..];
                position += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Writes all of `buf` at `position`, in pieces of at most 1 MiB (larger ones are slower).
///
/// # Errors
/// The first error; `WriteZero` if the file takes nothing. How much was written before is unknown.
pub(crate) fn write_all_at(file: &dyn File, mut buf: &[u8], mut position: u64) -> io::Result<()> {
    while !buf.is_empty() {
        // Of much the pieces end where pages do: one that is written in two parts costs more.
        let much = (1 << 20) - (position % 4096) as usize;
        let piece = if buf.len() > 1 << 20 { much } else { buf.len() };
        match file.write_at(&buf[..piece], position) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                buf = &buf[n..];
                position += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The whole content of a file of at most `limit` bytes.
///
/// # Errors
/// `InvalidData` if the file is larger.
pub(crate) fn read_whole(file: &dyn File, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.size()?;
    if size > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{size} bytes, more than {limit}")));
    }
    let mut buf = vec![0; usize::try_from(size).map_err(|_| io::ErrorKind::InvalidData)?];
    read_exact_at(file, &mut buf, 0)?;
    Ok(buf)
}

/// Makes a file durable. Unlike a write, a sync that fails on a full disk is as final as any other: it is
/// not answered as `StorageFull`, which says that the same call may go well later.
///
/// # Errors
/// The operating system's, never `StorageFull` nor `QuotaExceeded`.
pub(crate) fn sync_data(file: &dyn File) -> io::Result<()> {
    file.sync_data().map_err(final_error)
}

/// Hands some bytes of a file to the device before its sync; see [`sync_data`].
///
/// # Errors
/// The operating system's, never `StorageFull` nor `QuotaExceeded`.
pub(crate) fn write_back(file: &dyn File, range: Range<u64>) -> io::Result<()> {
    file.write_back(range).map_err(final_error)
}

/// Makes the entries of a directory durable; see [`sync_data`].
///
/// # Errors
/// The operating system's, never `StorageFull` nor `QuotaExceeded`.
pub(crate) fn sync_dir(files: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    files.sync_dir(dir).map_err(final_error)
}

fn final_error(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => io::Error::other(error),
        _ => error,
    }
}

/// Makes a small file that is whole wherever its name is; the name is durable after a sync of the folder.
///
/// # Errors
/// The operating system's.
pub(crate) fn make_file(files: &dyn FileSystem, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (temporary, file) = write_beside(files, path, bytes)?;
    sync_data(&*file)?;
    files.rename(&temporary, path)
}

/// As [`make_file`] for several files: all are written before the first is synced, so that the file system finds room for
/// all of them at once, and renamed when all are synced.
///
/// # Errors
/// The operating system's, with the file that it is about.
pub(crate) fn make_files<'a>(
    files: &dyn FileSystem,
    contents: &'a [(std::path::PathBuf, Vec<u8>)],
) -> Result<(), (&'a Path, io::Error)> {
    let mut made = Vec::with_capacity(contents.len());
    for (path, bytes) in contents {
        let (temporary, file) = write_beside(files, path, bytes).map_err(|e| (&**path, e))?;
        file.begin_sync(0..bytes.len() as u64);
        made.push((path, temporary, file));
    }
    for (path, _, file) in &made {
        sync_data(&**file).map_err(|e| (&***path, e))?;
    }
    for (path, temporary, _) in &made {
        files.rename(temporary, path).map_err(|e| (&***path, e))?;
    }
    Ok(())
}

/// Writes a file under the name that it has until it is whole.
fn write_beside(
    files: &dyn FileSystem,
    path: &Path,
    bytes: &[u8],
) -> io::Result<(std::path::PathBuf, Arc<dyn File>)> {
    let temporary = with_suffix(path, "tmp");
    let file = files.open(&temporary, OpenMode::CreateIfMissing)?;
    file.set_size(0)?;
    write_all_at(&*file, bytes, 0)?;
    Ok((temporary, file))
}

/// Replaces a small file atomically and durably: temporary file, sync, rename, directory sync. The
/// generation before is kept as `NAME.previous` if `keep_previous`.
///
/// # Errors
/// The operating system's; then the old content stands (or, after a failed directory sync, either).
pub(crate) fn replace_file(
    files: &dyn FileSystem,
    path: &Path,
    content: &[u8],
    previous: Previous,
) -> io::Result<()> {
    let temporary = with_suffix(path, "tmp");
    if files.exists(&temporary)? {
        files.remove_file(&temporary)?;
    }
    let file = files.open(&temporary, OpenMode::CreateNew)?;
    write_all_at(&*file, content, 0)?;
    sync_data(&*file)?;
    if previous == Previous::Keep && files.exists(path)? {
        keep_previous(files, path)?;
    }
    files.rename(&temporary, path)?;
    match path.parent() {
        Some(dir) => sync_dir(files, dir),
        None => Ok(()),
    }
}

/// Whether [`replace_file`] keeps the generation it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Previous {
    /// As `NAME.previous`, for an explicit repair.
    Keep,
    /// Not at all.
    Drop,
}

/// Copies `path` to `path.previous`, so that no instant is without a file under the real name.
fn keep_previous(files: &dyn FileSystem, path: &Path) -> io::Result<()> {
    let old = read_whole(&*files.open(path, OpenMode::Read)?, 1 << 30)?;
    let copy_path = with_suffix(path, "previous.tmp");
    if files.exists(&copy_path)? {
        files.remove_file(&copy_path)?;
    }
    let copy = files.open(&copy_path, OpenMode::CreateNew)?;
    write_all_at(&*copy, &old, 0)?;
    sync_data(&*copy)?;
    files.rename(&copy_path, &with_suffix(path, "previous"))
}

/// `path` with `.suffix` behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    std::path::PathBuf::from(name)
}
