//! A file system in memory, for what needs no disk: the partitions of volatile topics.
//!
//! ```text
//!   MemoryFileSystem: path -> directory | Content
//!                                           ^ Arc: a handle outlives the name
//!   Content: size 150,000 = | 64 KiB | 64 KiB | 18 KiB |...... zeros, without memory ......|
//! ```
//!
//! Invariants
//! - Memory is taken by bytes that were written, not by holes nor by what was only allocated.
//! - Every page but the last is whole; bytes between the pages' end and the size are zeros.
//! - There are no maps: bytes are written and read by calls.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{Clock, DirEntry, DirLock, File, FileSystem, OpenMode, Region};
use crate::types::Timestamp;

const PAGE: usize = 64 << 10;
/// A file grows to at most this many bytes: positions in it fit any machine's addresses.
const MAX_SIZE: u64 = 1 << 31;

/// Files in memory.
#[derive(Clone, Debug)]
pub(crate) struct MemoryFileSystem {
    tree: Arc<RwLock<BTreeMap<PathBuf, Node>>>,
    locked: Arc<Mutex<Vec<PathBuf>>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
enum Node {
    Directory,
    File(Arc<Content>),
}

#[derive(Debug)]
struct Content {
    bytes: RwLock<Bytes>,
}

#[derive(Debug)]
struct Bytes {
    pages: Vec<Vec<u8>>,
    size: u64,
    modified: Timestamp,
}

#[derive(Debug)]
struct MemoryFile {
    content: Arc<Content>,
    clock: Arc<dyn Clock>,
    writable: bool,
}

#[derive(Debug)]
struct MemoryLock {
    path: PathBuf,
    locked: Arc<Mutex<Vec<PathBuf>>>,
}

impl MemoryFileSystem {
    /// An empty one: there is the directory `root`.
    pub(crate) fn new(root: &Path, clock: Arc<dyn Clock>) -> MemoryFileSystem {
        let tree = root.ancestors().map(|path| (path.to_owned(), Node::Directory)).collect();
        MemoryFileSystem { tree: Arc::new(RwLock::new(tree)), locked: Arc::default(), clock }
    }

    fn file(&self, content: Arc<Content>, mode: OpenMode) -> Arc<dyn File> {
        Arc::new(MemoryFile { content, clock: self.clock.clone(), writable: mode != OpenMode::Read })
    }

    /// Bytes of memory that the files' contents take.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        let of = |node: &Node| match node {
            Node::Directory => 0,
            Node::File(content) => content.bytes.read().pages.iter().map(Vec::capacity).sum(),
        };
        self.tree.read().values().map(of).sum()
    }
}

impl FileSystem for MemoryFileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.write();
        if path.ancestors().any(|path| matches!(tree.get(path), Some(Node::File(_)))) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        for path in path.ancestors() {
            tree.entry(path.to_owned()).or_insert(Node::Directory);
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut tree = self.tree.write();
        let content = match (tree.get(path), mode) {
            (Some(Node::Directory), _) => return Err(ErrorKind::IsADirectory.into()),
            (Some(Node::File(_)), OpenMode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (Some(Node::File(content)), _) => content.clone(),
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(ErrorKind::NotFound.into()),
            (None, OpenMode::CreateIfMissing | OpenMode::CreateNew) => {
                check_parent(&tree, path)?;
                let bytes = Bytes { pages: Vec::new(), size: 0, modified: self.clock.now() };
                let content = Arc::new(Content { bytes: RwLock::new(bytes) });
                tree.insert(path.to_owned(), Node::File(content.clone()));
                content
            }
        };
        Ok(self.file(content, mode))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let tree = self.tree.read();
        check_directory(&tree, dir)?;
        let below = tree.iter().filter(|(path, _)| path.parent() == Some(dir));
        let entry = |(path, node): (&PathBuf, &Node)| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some(DirEntry { name, is_dir: matches!(node, Node::Directory) })
        };
        let mut entries: Vec<DirEntry> = below.filter_map(entry).collect();
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.tree.read().contains_key(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut tree = self.tree.write();
        check_parent(&tree, to)?;
        if !tree.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        if from == to {
            return Ok(());
        }
        if matches!(tree.get(to), Some(Node::Directory)) || to.starts_with(from) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let moved: Vec<PathBuf> = tree.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in moved {
            let Some(node) = tree.remove(&path) else { continue };
            let rest = path.strip_prefix(from).map_err(|_| ErrorKind::InvalidInput)?;
            let new = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            tree.insert(new, node);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.write();
        match tree.get(path) {
            Some(Node::File(_)) => drop(tree.remove(path)),
            Some(Node::Directory) => return Err(ErrorKind::IsADirectory.into()),
            None => return Err(ErrorKind::NotFound.into()),
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut tree = self.tree.write();
        check_directory(&tree, path)?;
        if tree.keys().any(|other| other.parent() == Some(path)) {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        tree.remove(path);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        check_directory(&self.tree.read(), dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.open(path, OpenMode::CreateIfMissing)?;
        let mut locked = self.locked.lock();
        if locked.iter().any(|held| held == path) {
            return Err(ErrorKind::WouldBlock.into());
        }
        locked.push(path.to_owned());
        Ok(Box::new(MemoryLock { path: path.to_owned(), locked: self.locked.clone() }))
    }

    fn trusts_mapped_stores(&self, _dir: &Path) -> bool {
        false
    }
}

fn check_parent(tree: &BTreeMap<PathBuf, Node>, path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| check_directory(tree, parent))
}

fn check_directory(tree: &BTreeMap<PathBuf, Node>, dir: &Path) -> io::Result<()> {
    match tree.get(dir) {
        Some(Node::Directory) => Ok(()),
        Some(Node::File(_)) => Err(ErrorKind::NotADirectory.into()),
        None => Err(ErrorKind::NotFound.into()),
    }
}

impl DirLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.locked.lock().retain(|held| *held != self.path);
    }
}

impl MemoryFile {
    fn change(&self, change: impl FnOnce(&mut Bytes) -> io::Result<()>) -> io::Result<()> {
        if !self.writable {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let now = self.clock.now();
        let mut bytes = self.content.bytes.write();
        change(&mut bytes)?;
        bytes.modified = now;
        Ok(())
    }
}

impl File for MemoryFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        Ok(self.content.bytes.read().read(buf, position))
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        self.change(|bytes| bytes.write(buf, position))?;
        Ok(buf.len())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.content.bytes.read().size)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.change(|bytes| bytes.set_size(size))
    }

    fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        let end = end_of(position, len)?;
        self.change(|bytes| bytes.set_size(end.max(bytes.size)))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn map(&self, _len: usize) -> io::Result<Region> {
        Err(ErrorKind::Unsupported.into())
    }

    fn modified(&self) -> io::Result<Timestamp> {
        Ok(self.content.bytes.read().modified)
    }
}

fn end_of(position: u64, len: u64) -> io::Result<u64> {
    let end = position.checked_add(len).filter(|end| *end <= MAX_SIZE);
    end.ok_or_else(|| ErrorKind::FileTooLarge.into())
}

/// Room for `more` bytes in a page; it doubles, but never beyond a whole one.
fn reserve(page: &mut Vec<u8>, more: usize) {
    let needed = page.len() + more;
    if needed > page.capacity() {
        let goal = needed.max(page.capacity() * 2).min(PAGE);
        page.reserve_exact(goal - page.len());
    }
}

impl Bytes {
    /// Up to where there are pages.
    fn held(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len())
    }

    fn read(&self, buf: &mut [u8], position: u64) -> usize {
        let left = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        let Some(buf) = buf.get_mut(..len) else { return 0 };
        // A position beyond any address has no bytes left.
        let mut at = usize::try_from(position).unwrap_or(usize::MAX);
        let mut rest = buf;
        while !rest.is_empty() {
            let here = self.pages.get(at / PAGE).and_then(|page| page.get(at % PAGE..)).unwrap_or_default();
            if here.is_empty() {
                rest.fill(0);
                break;
            }
            let (now, later) = rest.split_at_mut(here.len().min(rest.len()));
            now.copy_from_slice(&here[..now.len()]);
            at += now.len();
            rest = later;
        }
        len
    }

    fn write(&mut self, buf: &[u8], position: u64) -> io::Result<()> {
        let end = end_of(position, buf.len() as u64)?;
        let mut at = usize::try_from(position).map_err(|_| ErrorKind::FileTooLarge)?;
        if buf.is_empty() {
            return Ok(());
        }
        self.hold(at);
        let mut rest = buf;
        while !rest.is_empty() {
            if at / PAGE == self.pages.len() {
                self.pages.push(Vec::new());
            }
            let page = &mut self.pages[at / PAGE];
            let begin = at % PAGE;
            let (now, later) = rest.split_at(rest.len().min(PAGE - begin));
            let over = now.len().min(page.len() - begin);
            page[begin..begin + over].copy_from_slice(&now[..over]);
            reserve(page, now.len() - over);
            page.extend_from_slice(&now[over..]);
            at += now.len();
            rest = later;
        }
        self.size = self.size.max(end);
        Ok(())
    }

    /// Fills with zeros up to `end`, if the pages end before.
    fn hold(&mut self, end: usize) {
        while self.held() < end {
            let left = end - self.held();
            match self.pages.last_mut().filter(|last| last.len() < PAGE) {
                Some(last) => {
                    let more = left.min(PAGE - last.len());
                    reserve(last, more);
                    last.resize(last.len() + more, 0);
                }
                None => self.pages.push(Vec::new()),
            }
        }
    }

    fn set_size(&mut self, size: u64) -> io::Result<()> {
        end_of(size, 0)?;
        let kept = usize::try_from(size).unwrap_or(usize::MAX);
        if kept < self.held() {
            self.pages.truncate(kept.div_ceil(PAGE));
            if let Some(last) = self.pages.last_mut().filter(|_| kept % PAGE != 0) {
                last.truncate(kept % PAGE);
                last.shrink_to_fit();
            }
        }
        self.size = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::ManualClock;
    use crate::env::{conformance, write_all_at};

    fn empty() -> MemoryFileSystem {
        MemoryFileSystem::new(Path::new("/memory"), Arc::new(ManualClock::new()))
    }

    #[test]
    fn conforms() {
        conformance::file_system(&empty(), Path::new("/memory")).unwrap();
    }

    #[test]
    fn only_what_is_written_takes_memory() {
        let files = empty();
        let path = Path::new("/memory/file");
        let file = files.open(path, OpenMode::CreateNew).unwrap();
        file.allocate(0, 1 << 30).unwrap();
        assert_eq!((file.size().unwrap(), files.memory()), (1 << 30, 0));
        for round in 0..40 {
            write_all_at(&*file, &[7; 10_000], round * 10_000).unwrap();
        }
        assert!((400_000..=400_000 + PAGE).contains(&files.memory()), "{}", files.memory());
        file.set_size(100).unwrap();
        assert_eq!(files.memory(), 100);
        files.remove_file(path).unwrap();
        let mut buf = [0; 3];
        assert_eq!(file.read_at(&mut buf, 98).unwrap(), 2);
        assert_eq!((buf, files.memory()), ([7, 7, 0], 0));
    }

    #[test]
    fn nothing_grows_without_bound() {
        let file = empty().open(Path::new("/memory/file"), OpenMode::CreateNew).unwrap();
        for position in [MAX_SIZE, u64::MAX] {
            assert_eq!(file.write_at(b"x", position).unwrap_err().kind(), ErrorKind::FileTooLarge);
            assert_eq!(file.allocate(position, 1).unwrap_err().kind(), ErrorKind::FileTooLarge);
        }
        assert_eq!(file.read_at(&mut [0; 9], u64::MAX).unwrap(), 0);
        assert_eq!(file.size().unwrap(), 0);
    }
}
