//! What is peculiar to Unix: modes, `flock`, `fallocate`, maps, clocks.
//!
//! Invariant: nothing here is reached but through `os.rs`.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, OFlags};
use rustix::time::{ClockId, clock_gettime};

use crate::env::Region;

#[cfg(target_os = "linux")]
const WALL: ClockId = ClockId::RealtimeCoarse;
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::MonotonicCoarse;
#[cfg(not(target_os = "linux"))]
const WALL: ClockId = ClockId::Realtime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// Makes a directory and its missing parents, for this user only.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Options that every open shares: private to the user, no symbolic links, closed on exec (which the
/// standard library adds).
pub(super) fn open_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.mode(0o600).custom_flags(flag_bits(OFlags::NOFOLLOW));
    options
}

/// The flags as the standard library takes them.
fn flag_bits(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or(0)
}

pub(super) fn read_at(file: &fs::File, buf: &mut [u8], position: u64) -> io::Result<usize> {
    file.read_at(buf, position)
}

pub(super) fn write_at(file: &fs::File, buf: &[u8], position: u64) -> io::Result<usize> {
    file.write_at(buf, position)
}

/// Really allocates; `Unsupported` where the system or the file system cannot.
#[cfg(target_os = "linux")]
pub(super) fn allocate(file: &fs::File, position: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    loop {
        match fallocate(file, FallocateFlags::empty(), position, len) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Elsewhere zeros are written.
#[cfg(not(target_os = "linux"))]
pub(super) fn allocate(_file: &fs::File, _position: u64, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where there is data in `range`. All of it is asked for before anything is read: what a read brings into
/// the page cache counts as data from then on. Every access to a file names its position, so that the file's
/// own, which this moves, means nothing.
#[cfg(target_os = "linux")]
pub(super) fn data_in(file: &fs::File, range: Range<u64>) -> Vec<Range<u64>> {
    use rustix::fs::{SeekFrom, seek};
    /// More pieces than that are taken for one.
    const MAX_PIECES: usize = 256;
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) if start < range.end => start,
            Ok(_) | Err(rustix::io::Errno::NXIO) => break,
            Err(_) => at,
        };
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) if end > start && found.len() < MAX_PIECES => end.min(range.end),
            _ => range.end,
        };
        found.push(start..end);
        at = end;
    }
    found
}

/// Elsewhere nothing is known of it.
#[cfg(not(target_os = "linux"))]
pub(super) fn data_in(_file: &fs::File, range: Range<u64>) -> Vec<Range<u64>> {
    vec![range]
}

/// Has the system write dirty pages back, without waiting for it: what it does first when it is told that they are
/// not needed any more. It lets go of pages that are clean by then and in no map, and those of this range have just been
/// written. An error of the writing is told by the next sync.
#[cfg(target_os = "linux")]
pub(super) fn begin_sync(file: &fs::File, range: Range<u64>) {
    let Some(len) = std::num::NonZeroU64::new(range.end.saturating_sub(range.start)) else { return };
    let _hint = rustix::fs::fadvise(file, range.start, Some(len), rustix::fs::Advice::DontNeed);
}

/// Elsewhere the sync does all of it.
#[cfg(not(target_os = "linux"))]
pub(super) fn begin_sync(_file: &fs::File, _range: Range<u64>) {}

/// Has the system write dirty pages back, and waits for it.
#[cfg(target_os = "linux")]
pub(super) fn write_back(file: &fs::File, range: Range<u64>) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, NotSeekable, Unsupported};
    match crate::env::map::write_back(file, range) {
        // Where there is no such thing the sync does all of it.
        Err(e) if matches!(e.kind(), Unsupported | NotSeekable | InvalidInput) => Ok(()),
        done => done,
    }
}

/// Elsewhere the sync does all of it.
#[cfg(not(target_os = "linux"))]
pub(super) fn write_back(_file: &fs::File, _range: Range<u64>) -> io::Result<()> {
    Ok(())
}

/// Makes the entries of a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let flags = flag_bits(OFlags::DIRECTORY);
    fs::OpenOptions::new().read(true).custom_flags(flags).open(dir)?.sync_all()
}

/// Locks a file of its own descriptor, so that a second lock of this process fails as well.
pub(super) fn lock(path: &Path) -> io::Result<fs::File> {
    let file = open_options().read(true).write(true).create(true).truncate(false).open(path)?;
    loop {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// ext4, xfs and tmpfs: there the tests show that allocated space takes stores without a fault.
#[cfg(target_os = "linux")]
pub(super) fn trusts_mapped_stores(dir: &Path) -> bool {
    const EXT4: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const TMPFS: u64 = 0x0102_1994;
    match rustix::fs::statfs(dir) {
        // The type's width differs between machines; all three numbers fit 31 bits.
        Ok(found) => matches!(found.f_type as u64, EXT4 | XFS | TMPFS),
        Err(_) => false,
    }
}

/// Nowhere else: no tests hold it.
#[cfg(not(target_os = "linux"))]
pub(super) fn trusts_mapped_stores(_dir: &Path) -> bool {
    false
}

/// A shared map for reading and writing; it may reach beyond the end of the file.
pub(super) fn map(file: &fs::File, len: usize) -> io::Result<Region> {
    memmap2::MmapOptions::new().len(len).map_raw(file).map(Region::mapped)
}

/// The process's limit of open files.
pub(super) fn open_file_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Milliseconds since the Unix epoch.
pub(super) fn unix_millis() -> i64 {
    let time = clock_gettime(WALL);
    let millis = u32::try_from(time.tv_nsec / 1_000_000).unwrap_or(0);
    time.tv_sec.saturating_mul(1_000).saturating_add(i64::from(millis))
}

/// Time since some fixed point.
pub(super) fn monotonic() -> Duration {
    let time = clock_gettime(MONOTONIC);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
