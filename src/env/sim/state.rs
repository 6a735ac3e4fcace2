//! Everything a simulated disk is, behind its lock.
//!
//! Invariants: every file that some name or handle stands for has a content; space is counted for files
//! that have a name or a handle.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use super::calls::Calls;
use super::content::{Content, PAGE, pages_of};
use super::random::SeededRandom;
use super::tree::{Entry, NodeId, Tree};

/// The disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tree: Tree,
    pub(super) files: BTreeMap<NodeId, Content>,
    pub(super) locks: BTreeSet<NodeId>,
    pub(super) calls: Calls,
    pub(super) settings: Settings,
    /// Decides which versions are kept of pages with very many.
    pub(super) random: SeededRandom,
    pub(super) snapshots: Vec<State>,
    pub(super) snapshot_limit: usize,
    pub(super) store_snapshot_limit: usize,
}

/// What a crash does not change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    /// Bytes that all files together may occupy.
    pub(super) capacity: Option<u64>,
    pub(super) trusts_mapped_stores: bool,
    pub(super) hears_stores: bool,
}

impl State {
    pub(super) fn new() -> State {
        let settings = Settings { capacity: None, trusts_mapped_stores: true, hears_stores: true };
        State::of(Tree::default(), BTreeMap::new(), settings)
    }

    pub(super) fn of(tree: Tree, files: BTreeMap<NodeId, Content>, settings: Settings) -> State {
        State {
            tree,
            files,
            locks: BTreeSet::new(),
            calls: Calls::default(),
            settings,
            random: SeededRandom::new(0),
            snapshots: Vec::new(),
            snapshot_limit: 0,
            store_snapshot_limit: 0,
        }
    }

    /// The disk as another process finds it when this one is killed now.
    pub(super) fn copy(&self) -> State {
        let files = self.files.iter().map(|(id, content)| (*id, content.copy())).collect();
        State::of(self.tree.clone(), files, self.settings)
    }

    /// Keeps a copy if snapshots are wanted after each store.
    pub(super) fn note_store(&mut self) {
        if self.snapshots.len() < self.store_snapshot_limit {
            let snapshot = self.copy();
            self.snapshots.push(snapshot);
        }
    }

    /// The content of an open file.
    pub(super) fn content(&mut self, id: NodeId) -> io::Result<&mut Content> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The file of this path, and its content.
    pub(super) fn file(&mut self, path: &Path) -> io::Result<(NodeId, &mut Content)> {
        match self.tree.find(path)? {
            Some(Entry::File(id)) => Ok((id, self.content(id)?)),
            Some(Entry::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// A new, empty file of this path.
    pub(super) fn create(&mut self, path: &Path, modified: i64) -> io::Result<NodeId> {
        let key = self.tree.key(path)?;
        let id = self.tree.new_id();
        self.files.insert(id, Content::new(modified));
        self.tree.change(vec![(key, Some(Entry::File(id)))]);
        Ok(id)
    }

    /// How many of `len` bytes at `position` there is room for: all, or those of the first pages.
    pub(super) fn room_for(&self, id: NodeId, position: u64, len: usize) -> usize {
        let (Some(capacity), Some(content)) = (self.settings.capacity, self.files.get(&id)) else {
            return len;
        };
        let mut left = capacity.saturating_sub(self.used()) / PAGE as u64;
        for (index, _, part) in pages_of(position, len) {
            if !content.allocated.contains(&index) {
                if left == 0 {
                    return part.start;
                }
                left -= 1;
            }
        }
        len
    }

    /// Bytes that the files occupy.
    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<NodeId> =
            self.tree.walk().iter().filter_map(|(_, entry)| file_id(*entry)).collect();
        let in_use = self.files.iter().filter(|(id, content)| content.handles > 0 || named.contains(id));
        in_use.map(|(_, content)| content.allocated.len() as u64 * PAGE as u64).sum()
    }

    /// Forgets files that no name, durable or not, and no handle stands for.
    pub(super) fn forget_unused(&mut self) {
        let used = self.tree.collect_used();
        self.files.retain(|id, content| content.handles > 0 || used.contains(id));
    }

    /// The number of pages, sizes and directory changes that a power cut may take back.
    pub(super) fn unsynced(&self) -> usize {
        self.tree.unsynced() + self.files.values().map(Content::unsynced).sum::<usize>()
    }
}

pub(super) fn file_id(entry: Entry) -> Option<NodeId> {
    match entry {
        Entry::File(id) => Some(id),
        Entry::Dir(_) => None,
    }
}
