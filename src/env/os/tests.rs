//! The real files, in a temporary directory.

use std::collections::HashSet;

use super::*;
use crate::env::conformance;

#[test]
fn the_real_file_system_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::file_system(&OsFileSystem::new(), dir.path()).unwrap();
}

#[test]
fn zeros_stand_in_for_a_missing_fallocate() {
    let dir = tempfile::tempdir().unwrap();
    let file = fs::File::create_new(dir.path().join("file")).unwrap();
    let file = OsFile { file, writable: true, zeroing: RwLock::new(()) };
    assert_eq!(file.write_at(b"kept", 0).unwrap(), 4);
    file.allocate_by_writing(700_000).unwrap();
    file.allocate_by_writing(10).unwrap();
    assert_eq!(file.size().unwrap(), 700_000);
    let content = fs::read(dir.path().join("file")).unwrap();
    assert!(content.starts_with(b"kept\0") && content[4..].iter().all(|byte| *byte == 0));
}

#[cfg(unix)]
#[test]
fn files_and_directories_are_private_and_links_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let files = OsFileSystem::new();
    let inner = dir.path().join("outer").join("inner");
    files.create_dir(&inner).unwrap();
    let path = inner.join("file");
    files.open(&path, OpenMode::CreateNew).unwrap();
    for (path, mode) in [(&inner, 0o700), (&dir.path().join("outer"), 0o700), (&path, 0o600)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }
    let link = inner.join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(files.open(&link, OpenMode::Read).is_err());
    assert!(files.lock(&link).is_err());
}

#[cfg(target_os = "linux")]
#[test]
fn an_allocation_takes_blocks() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let file = OsFileSystem::new().open(&path, OpenMode::CreateNew).unwrap();
    file.allocate(0, 1 << 20).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20);
    assert_eq!(file.allocate(u64::MAX, 2).unwrap_err().kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn data_is_found_in_allocated_space() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holes");
    let file = OsFileSystem::new().open(&path, OpenMode::CreateNew).unwrap();
    let end = 8 << 20;
    file.allocate(0, end).unwrap();
    let record = 3 << 20;
    crate::env::write_all_at(&*file, b"record", record).unwrap();
    let covered = |position| file.data_in(0..end).unwrap().iter().any(|data| data.contains(&position));
    assert!(covered(record) && covered(record + 5));
    assert!(file.data_in(0..record).unwrap().iter().all(|data| data.end <= record));
    assert!(file.data_in(record..record + 3).unwrap().iter().any(|data| *data == (record..record + 3)));
    assert_eq!(file.data_in(end..end).unwrap().iter().map(|data| data.end - data.start).sum::<u64>(), 0);
}

#[test]
fn the_clock_goes_forward_and_random_numbers_differ() {
    let clock = SystemClock::new();
    let (wall, start) = (clock.now(), clock.monotonic());
    assert!(wall.millis() > 1_600_000_000_000);
    assert!(clock.monotonic() >= start);
    let drawn: HashSet<u64> = (0..1_000).map(|_| OsRandom.next_u64()).collect();
    assert_eq!(drawn.len(), 1_000);
}
