//! What every [`FileSystem`] must do, the real one, the simulated one, and a host's own.
//!
//! Invariant: a function here panics where a file system breaks a rule, and returns the error where a
//! call fails that must succeed.

pub(crate) mod clock;
pub(crate) mod random;

use std::io::{self, ErrorKind};
use std::path::Path;

use super::map::{Mark, SegmentMap};
use super::{DirEntry, File, FileSystem, OpenMode, read_exact_at, read_whole, replace_file, write_all_at};
use super::{Previous, with_suffix};

/// Checks a file system in a directory that it makes, below one that exists.
///
/// ```
/// use millpond::env::{conformance, sim::SimDisk};
/// use std::path::Path;
/// conformance::file_system(&SimDisk::new(), Path::new("/"))?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Of a call that must succeed.
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn file_system(files: &dyn FileSystem, parent: &Path) -> io::Result<()> {
    let dir = parent.join("conformance").join("inner");
    files.create_dir(&dir)?;
    files.create_dir(&dir)?;
    open_modes(files, &dir)?;
    names(files, &dir)?;
    bytes(files, &dir)?;
    replacing(files, &dir)?;
    locks(files, &dir)?;
    maps(files, &dir)?;
    files.remove_dir(&dir)?;
    assert!(!files.exists(&dir)?, "a removed directory is gone");
    Ok(())
}

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn open_modes(files: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let path = dir.join("modes");
    assert_eq!(kind(files.open(&path, OpenMode::Read)), Some(ErrorKind::NotFound));
    assert_eq!(kind(files.open(&path, OpenMode::ReadWrite)), Some(ErrorKind::NotFound));
    let astray = dir.join("no such directory").join("file");
    assert_eq!(kind(files.open(&astray, OpenMode::CreateNew)), Some(ErrorKind::NotFound));
    let made = files.open(&path, OpenMode::CreateNew)?;
    write_all_at(&*made, b"kept", 0)?;
    assert_eq!(kind(files.open(&path, OpenMode::CreateNew)), Some(ErrorKind::AlreadyExists));
    assert_eq!(read_whole(&*files.open(&path, OpenMode::CreateIfMissing)?, 9)?, b"kept");
    let reader = files.open(&path, OpenMode::Read)?;
    assert_eq!(read_whole(&*reader, 9)?, b"kept");
    assert!(reader.write_at(b"x", 0).is_err(), "a file opened for reading takes no writes");
    assert_eq!(kind(reader.map(4096)), Some(ErrorKind::Unsupported), "nor can it be mapped");
    reader.sync_data()?;
    assert!(reader.modified()?.millis() > 0);
    files.remove_file(&path)?;
    assert_eq!(read_whole(&*reader, 9)?, b"kept", "a handle outlives its file's name");
    assert_eq!(kind(files.remove_file(&path)), Some(ErrorKind::NotFound));
    Ok(())
}

fn names(files: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    for (name, content) in [("b", "was b"), ("a", "was a")] {
        write_all_at(&*files.open(&dir.join(name), OpenMode::CreateNew)?, content.as_bytes(), 0)?;
    }
    files.create_dir(&dir.join("c"))?;
    let entry = |name: &str, is_dir| DirEntry { name: name.to_owned(), is_dir };
    assert_eq!(files.list(dir)?, [entry("a", false), entry("b", false), entry("c", true)]);
    assert_eq!(kind(files.list(&dir.join("none"))), Some(ErrorKind::NotFound));
    assert!(files.exists(&dir.join("c"))? && !files.exists(&dir.join("none"))?);

    let open = files.open(&dir.join("a"), OpenMode::ReadWrite)?;
    files.rename(&dir.join("a"), &dir.join("b"))?;
    assert_eq!(files.list(dir)?, [entry("b", false), entry("c", true)], "a rename replaces a file");
    assert_eq!(read_whole(&*files.open(&dir.join("b"), OpenMode::Read)?, 9)?, b"was a");
    write_all_at(&*open, b"now", 0)?;
    assert_eq!(read_whole(&*files.open(&dir.join("b"), OpenMode::Read)?, 9)?, b"now a");
    assert_eq!(kind(files.rename(&dir.join("a"), &dir.join("d"))), Some(ErrorKind::NotFound));

    files.rename(&dir.join("b"), &dir.join("c").join("b"))?;
    assert!(files.remove_dir(&dir.join("c")).is_err(), "only an empty directory can be removed");
    files.rename(&dir.join("c"), &dir.join("d"))?;
    files.sync_dir(dir)?;
    assert_eq!(files.list(&dir.join("d"))?, [entry("b", false)], "a directory takes along what it holds");
    files.remove_file(&dir.join("d").join("b"))?;
    files.remove_dir(&dir.join("d"))
}

fn bytes(files: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let path = dir.join("bytes");
    let file = files.open(&path, OpenMode::CreateNew)?;
    assert_eq!(file.size()?, 0);
    write_all_at(&*file, b"behind a hole", 5_000)?;
    assert_eq!(file.size()?, 5_013);
    let mut buf = [1; 20];
    assert_eq!(file.read_at(&mut buf, 5_000)?, 13, "a read ends with the file");
    assert_eq!(&buf[..13], b"behind a hole");
    assert_eq!(file.read_at(&mut buf, 5_013)?, 0);
    assert_eq!(kind(read_exact_at(&*file, &mut buf, 5_000)), Some(ErrorKind::UnexpectedEof));
    assert_eq!(file.read_at(&mut buf, 4_090)?, 20);
    assert_eq!(buf, [0; 20], "a hole reads as zeros");

    file.set_size(5_006)?;
    file.set_size(6_000)?;
    assert_eq!(file.read_at(&mut buf, 5_000)?, 20);
    assert_eq!(&buf[..8], b"behind\0\0", "what was cut comes back as zeros");
    file.allocate(4_096, 8_192)?;
    assert_eq!(file.size()?, 12_288, "an allocation extends the file");
    assert_eq!(file.read_at(&mut buf, 5_000)?, 20);
    assert_eq!(&buf[..8], b"behind\0\0", "and leaves alone what was there");
    file.allocate(0, 4_096)?;
    assert_eq!(file.size()?, 12_288, "and never cuts it");
    assert_eq!(file.read_at(&mut buf, 12_268)?, 20);
    assert_eq!(buf, [0; 20]);
    file.write_back(0..8_192)?;
    file.write_back(8_192..1 << 40)?;
    file.write_back(7..7)?;
    assert_eq!(file.size()?, 12_288, "what goes to the device stays as it is");
    assert_eq!(file.read_at(&mut buf, 5_000)?, 20);
    assert_eq!(&buf[..8], b"behind\0\0");
    file.sync_data()?;
    files.remove_file(&path)
}

fn replacing(files: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let path = dir.join("small");
    let read = |path: &Path| files.open(path, OpenMode::Read).and_then(|file| read_whole(&*file, 99));
    replace_file(files, &path, b"one", Previous::Keep)?;
    replace_file(files, &path, b"two", Previous::Keep)?;
    replace_file(files, &path, b"three", Previous::Drop)?;
    assert_eq!(read(&path)?, b"three");
    assert_eq!(read(&with_suffix(&path, "previous"))?, b"one");
    assert_eq!(
        kind(files.open(&path, OpenMode::Read).and_then(|file| read_whole(&*file, 4))),
        Some(ErrorKind::InvalidData)
    );
    files.remove_file(&with_suffix(&path, "previous"))?;
    files.remove_file(&path)
}

fn locks(files: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    let path = dir.join("lock");
    let held = files.lock(&path)?;
    assert_eq!(kind(files.lock(&path)), Some(ErrorKind::WouldBlock), "one holder, of one process too");
    drop(held);
    drop(files.lock(&path)?);
    files.remove_file(&path)
}

/// Maps, where there are any.
fn maps(files: &dyn FileSystem, dir: &Path) -> io::Result<()> {
    const LEN: usize = 1 << 20;
    let path = dir.join("map");
    let file = files.open(&path, OpenMode::CreateNew)?;
    write_all_at(&*file, &[7; 100], 0)?;
    let region = match file.map(LEN) {
        Err(error) if error.kind() == ErrorKind::Unsupported => return files.remove_file(&path),
        region => region?,
    };
    assert_eq!(region.len(), LEN, "a map may reach beyond the end of its file");
    let (map, mut writer) = SegmentMap::new(region, Mark { position: 100, delta: 1 }, 100);
    assert_eq!(map.slice(0..100), Some(&[7; 100][..]));
    assert!(writer.window(100..200).is_none(), "nothing beyond what is allocated can be stored to");

    file.allocate(100, 20_000)?;
    map.raise_prepared(20_100);
    let window = writer.window(100..8_200).ok_or(ErrorKind::Other)?;
    window.fill(8);
    writer.commit(100..8_200);
    assert_eq!(read_at(&*file, 8_190, 20)?, [[8; 10], [0; 10]].concat(), "reads see stores");
    write_all_at(&*file, &[9; 100], 8_200)?;
    writer.seal(8_300);
    writer.publish(Mark { position: 8_300, delta: 2 });
    assert_eq!(map.slice(8_190..8_210), Some(&[[8; 10], [9; 10]].concat()[..]), "and maps see writes");

    file.set_size(8_300)?;
    file.set_size(9_000)?;
    assert_eq!(read_at(&*file, 8_290, 20)?, [[9; 10], [0; 10]].concat(), "a cut is made under a map");
    let second = file.map(4_096)?;
    assert_eq!(second.len(), 4_096, "a file can be mapped twice");
    file.sync_data()?;
    files.remove_file(&path)?;
    drop(file);
    assert_eq!(map.slice(0..100), Some(&[7; 100][..]), "a map outlives its file");
    Ok(())
}

fn read_at(file: &dyn File, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buf = vec![1; len];
    read_exact_at(file, &mut buf, position)?;
    Ok(buf)
}
