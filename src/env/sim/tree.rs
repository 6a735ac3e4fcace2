//! Names: what each directory holds in the cache and on the platter, and the changes between the two.
//!
//! Invariants
//! - `cached` is `durable` with all of `pending` applied in order.
//! - A change is atomic: a rename gives and takes its names at once.
//! - A change is never durable without the earlier changes that touch one of its names.
//!
//! ```text
//!   durable --[ create t ]--[ rename t -> a ]--[ remove b ]--> cached
//!              each lost or kept on its own, but for the order per name
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

/// A file or a directory, whatever it is called.
pub(super) type NodeId = u64;

/// The directory that is always there.
pub(super) const ROOT: NodeId = 0;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Dir(NodeId),
    File(NodeId),
}

impl Entry {
    fn id(self) -> NodeId {
        match self {
            Entry::Dir(id) | Entry::File(id) => id,
        }
    }
}

/// A name in a directory.
pub(super) type Key = (NodeId, String);

type Names = BTreeMap<NodeId, BTreeMap<String, Entry>>;

/// Names given and taken in one step.
#[derive(Clone, Debug)]
struct Change {
    steps: Vec<(Key, Option<Entry>)>,
    /// A failed sync has dropped it: a later sync does not make it durable.
    dropped: bool,
}

/// All names.
#[derive(Clone, Debug, Default)]
pub(super) struct Tree {
    cached: Names,
    durable: Names,
    pending: Vec<Change>,
    last_id: NodeId,
}

impl Tree {
    /// A number never used before.
    pub(super) fn new_id(&mut self) -> NodeId {
        self.last_id += 1;
        self.last_id
    }

    /// What a path stands for.
    pub(super) fn find(&self, path: &Path) -> io::Result<Option<Entry>> {
        let mut at = Entry::Dir(ROOT);
        for name in parts(path)? {
            let Entry::Dir(dir) = at else { return Err(io::ErrorKind::NotADirectory.into()) };
            match self.entries(dir).and_then(|names| names.get(name)) {
                Some(entry) => at = *entry,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The directory of this path.
    pub(super) fn find_dir(&self, path: &Path) -> io::Result<NodeId> {
        match self.find(path)? {
            Some(Entry::Dir(id)) => Ok(id),
            Some(Entry::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The directory that holds (or would hold) this path, and the name in it.
    pub(super) fn key(&self, path: &Path) -> io::Result<Key> {
        let mut names = parts(path)?;
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        let mut dir = ROOT;
        for part in names {
            match self.entries(dir).and_then(|names| names.get(part)) {
                Some(Entry::Dir(id)) => dir = *id,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok((dir, name))
    }

    /// What a directory holds.
    pub(super) fn entries(&self, dir: NodeId) -> Option<&BTreeMap<String, Entry>> {
        self.cached.get(&dir)
    }

    /// Whether `dir` is `above` or lies below it.
    pub(super) fn holds(&self, above: NodeId, dir: NodeId) -> bool {
        let below = self.entries(above).into_iter().flat_map(BTreeMap::values);
        above == dir || below.into_iter().any(|entry| matches!(entry, Entry::Dir(id) if self.holds(*id, dir)))
    }

    /// Gives or takes names, in the cache.
    pub(super) fn change(&mut self, steps: Vec<(Key, Option<Entry>)>) {
        apply(&mut self.cached, &steps);
        self.pending.push(Change { steps, dropped: false });
    }

    /// Gives a name at once, in the cache and on the platter, over whatever was pending for it.
    pub(super) fn put_durably(&mut self, key: Key, entry: Entry) {
        for change in &mut self.pending {
            change.steps.retain(|(other, _)| *other != key);
        }
        self.pending.retain(|change| !change.steps.is_empty());
        let steps = [(key, Some(entry))];
        apply(&mut self.cached, &steps);
        apply(&mut self.durable, &steps);
    }

    /// Makes a directory's changes durable, and those of other directories that they build on.
    pub(super) fn sync_dir(&mut self, dir: NodeId) {
        let wanted = |change: &Change| !change.dropped && change.steps.iter().any(|((d, _), _)| *d == dir);
        self.settle(wanted);
    }

    /// A sync of the directory failed: its changes will not be written any more.
    pub(super) fn drop_changes(&mut self, dir: NodeId) {
        for change in &mut self.pending {
            if change.steps.iter().any(|((d, _), _)| *d == dir) {
                change.dropped = true;
            }
        }
    }

    /// The tree after a power cut: of the pending changes those stay that `keep` picks, and those that
    /// they build on.
    pub(super) fn after_power_cut(&self, keep: impl FnMut() -> bool) -> Tree {
        let mut tree = self.clone();
        let mut keep = keep;
        tree.settle(|_| keep());
        tree.pending.clear();
        tree.cached = tree.durable.clone();
        tree
    }

    /// The number of changes that are not durable.
    pub(super) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// Moves changes from `pending` to `durable`: the wanted ones and those that they build on.
    fn settle(&mut self, mut wanted: impl FnMut(&Change) -> bool) {
        let mut built_on = BTreeSet::new();
        let mut kept = Vec::new();
        for change in self.pending.iter().rev() {
            let needed = change.steps.iter().any(|(key, _)| built_on.contains(key));
            let keep = wanted(change) || needed;
            if keep {
                built_on.extend(change.steps.iter().map(|(key, _)| key.clone()));
            }
            kept.push(keep);
        }
        let mut rest = Vec::new();
        for (change, keep) in std::mem::take(&mut self.pending).into_iter().zip(kept.into_iter().rev()) {
            if keep {
                apply(&mut self.durable, &change.steps);
            } else {
                rest.push(change);
            }
        }
        self.pending = rest;
    }

    /// Every node that some name stands for, in the cache, on the platter or between the two; drops the
    /// directories that none stands for.
    pub(super) fn collect_used(&mut self) -> BTreeSet<NodeId> {
        let mut used = BTreeSet::from([ROOT]);
        for names in [&self.cached, &self.durable] {
            used.extend(names.values().flat_map(BTreeMap::values).map(|entry| entry.id()));
        }
        let pending = self.pending.iter().flat_map(|change| &change.steps);
        used.extend(pending.filter_map(|(_, entry)| *entry).map(Entry::id));
        self.cached.retain(|id, _| used.contains(id));
        self.durable.retain(|id, _| used.contains(id));
        used
    }

    /// All files in the cache, by path, in order.
    pub(super) fn walk(&self) -> Vec<(String, Entry)> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), ROOT)];
        while let Some((prefix, dir)) = open.pop() {
            for (name, entry) in self.entries(dir).into_iter().flatten() {
                let path = format!("{prefix}/{name}");
                if let Entry::Dir(id) = entry {
                    open.push((path.clone(), *id));
                }
                found.push((path, *entry));
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }
}

fn apply(names: &mut Names, steps: &[(Key, Option<Entry>)]) {
    for ((dir, name), entry) in steps {
        let entries = names.entry(*dir).or_default();
        match entry {
            Some(entry) => entries.insert(name.clone(), *entry),
            None => entries.remove(name),
        };
    }
}

/// The names in a path; relative paths start at the root.
fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}
