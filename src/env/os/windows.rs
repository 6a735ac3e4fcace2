//! What is peculiar to Windows: positions by overlapped calls, locks by exclusive opens, no maps.
//!
//! Invariant: nothing here is reached but through `os.rs`.

use std::fs;
use std::io;
use std::ops::Range;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::env::Region;

/// `ERROR_SHARING_VIOLATION`: somebody else has the file open.
const SHARING_VIOLATION: i32 = 32;

/// Makes a directory and its missing parents; who may read it is inherited.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Options that every open shares.
pub(super) fn open_options() -> fs::OpenOptions {
    fs::OpenOptions::new()
}

pub(super) fn read_at(file: &fs::File, buf: &mut [u8], position: u64) -> io::Result<usize> {
    file.seek_read(buf, position)
}

pub(super) fn write_at(file: &fs::File, buf: &[u8], position: u64) -> io::Result<usize> {
    file.seek_write(buf, position)
}

/// Zeros are written instead.
pub(super) fn allocate(_file: &fs::File, _position: u64, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The sync does all of it.
pub(super) fn begin_sync(_file: &fs::File, _range: Range<u64>) {}

/// The sync does all of it.
pub(super) fn write_back(_file: &fs::File, _range: Range<u64>) -> io::Result<()> {
    Ok(())
}

/// Nothing is known of it.
pub(super) fn data_in(_file: &fs::File, range: Range<u64>) -> Vec<Range<u64>> {
    vec![range]
}

/// There is no such call: NTFS keeps its directories in order by itself.
pub(super) fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

/// Opens the file so that nobody else can.
pub(super) fn lock(path: &Path) -> io::Result<fs::File> {
    let opened = open_options().read(true).write(true).create(true).truncate(false).share_mode(0).open(path);
    opened.map_err(|e| match e.raw_os_error() {
        Some(SHARING_VIOLATION) => io::ErrorKind::WouldBlock.into(),
        _ => e,
    })
}

pub(super) fn trusts_mapped_stores(_dir: &Path) -> bool {
    false
}

/// A map could not reach beyond the end of the file, nor could the file be cut under it.
pub(super) fn map(_file: &fs::File, _len: usize) -> io::Result<Region> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Milliseconds since the Unix epoch.
#[expect(clippy::disallowed_methods, reason = "the one place where the system's clock is read")]
pub(super) fn unix_millis() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(_) => 0,
    }
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the one place where the system's clock is read")]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// Handles are limited by memory alone here.
pub(super) fn open_file_limit() -> Option<u64> {
    None
}
