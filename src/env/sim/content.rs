//! One simulated file: its bytes in the cache, and for each page what else the platter may hold.
//!
//! Invariants
//! - A page (or the size) without a history is durable as it stands.
//! - A history starts with the durable version; the newest is the cache's and not in it.
//! - A dirty page is made durable by the next sync. One that is not dirty but has a history was dropped
//!   by a failed sync: only a new store makes it dirty again. So with the size, which a store into the
//!   last page makes dirty.
//! - Mapped stores reach the cache by [`Content::stored`], byte for byte, so no lent or unpublished byte
//!   is ever read from the shared memory.
//!
//! ```text
//!   page 0   durable ................ = cache
//!   page 1   durable | v1 | v2 |      cache      dirty: the next sync leaves only the cache's
//!   page 2   durable | v1 |           cache      dropped by a failed sync: lost or not, syncs do not help
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::random::index_below;
use crate::env::Random;
use crate::env::map::HeapPages;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// Versions kept of one page or size: the first, the last and a fair sample between.
const MAX_VERSIONS: usize = 64;

/// The bytes of one page; a page that was never stored to has none and reads as zeros.
pub(super) type Page = Option<Arc<[u8; PAGE]>>;

/// What something was since it was last durable.
#[derive(Clone, Debug)]
pub(super) struct History<T> {
    /// The durable version first.
    pub(super) versions: Vec<T>,
    /// How many there were, kept or not.
    seen: usize,
    /// Whether the next sync writes it.
    dirty: bool,
}

impl<T> History<T> {
    fn from(durable: T) -> History<T> {
        History { versions: vec![durable], seen: 1, dirty: true }
    }

    /// Where a version more would go; `None` if the sample does without it.
    fn place(&mut self, random: &dyn Random) -> Option<usize> {
        self.seen += 1;
        if self.versions.len() < MAX_VERSIONS {
            return Some(self.versions.len());
        }
        let draw = index_below(random, self.seen);
        (1..MAX_VERSIONS).contains(&draw).then_some(draw)
    }

    fn put(&mut self, place: usize, version: T) {
        match self.versions.get_mut(place) {
            Some(old) => *old = version,
            None => self.versions.push(version),
        }
    }
}

/// One file.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub(super) size: u64,
    pub(super) size_history: Option<History<u64>>,
    pub(super) pages: BTreeMap<u64, Page>,
    pub(super) histories: BTreeMap<u64, History<Page>>,
    /// The pages that occupy space.
    pub(super) allocated: BTreeSet<u64>,
    /// What the maps share, once there was one.
    memory: Option<Arc<HeapPages>>,
    /// Stores through the maps are not heard: the memory is the truth, and counts as durable.
    unheard: bool,
    /// Handles and maps that are open.
    pub(super) handles: usize,
    /// Milliseconds since the Unix epoch.
    pub(super) modified: i64,
}

impl Content {
    /// An empty file.
    pub(super) fn new(modified: i64) -> Content {
        Content { modified, ..Content::default() }
    }

    /// The file as another process finds it: the same bytes, as durable as they are, not mapped.
    pub(super) fn copy(&self) -> Content {
        let mut copy = Content {
            size: self.size,
            size_history: self.size_history.clone(),
            pages: self.pages.clone(),
            histories: self.histories.clone(),
            allocated: self.allocated.clone(),
            modified: self.modified,
            ..Content::default()
        };
        self.absorb_into(&mut copy.pages);
        copy
    }

    /// Takes what maps without a tap have stored.
    fn absorb_into(&self, pages: &mut BTreeMap<u64, Page>) {
        let Some(memory) = self.memory.as_ref().filter(|_| self.unheard) else { return };
        let end = usize::try_from(self.size).unwrap_or(usize::MAX).min(memory.len());
        let mut bytes = [0; PAGE];
        for start in (0..end).step_by(PAGE) {
            let part = &mut bytes[..PAGE.min(end - start)];
            memory.copy_out(start, part);
            let index = (start / PAGE) as u64;
            if pages.contains_key(&index) || part.iter().any(|byte| *byte != 0) {
                let mut page = [0; PAGE];
                page[..part.len()].copy_from_slice(part);
                pages.insert(index, Some(Arc::new(page)));
            }
        }
    }

    /// Whether some map of it lives.
    pub(super) fn is_mapped(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| Arc::strong_count(memory) > 1)
    }

    /// The memory for a map of `len` bytes; `None` if it is mapped with less, for memory never moves.
    pub(super) fn memory(&mut self, len: usize, heard: bool) -> Option<Arc<HeapPages>> {
        if self.is_mapped() {
            return self.memory.clone().filter(|memory| memory.len() >= len && self.unheard != heard);
        }
        let mut pages = std::mem::take(&mut self.pages);
        self.absorb_into(&mut pages);
        self.pages = pages;
        let memory = HeapPages::zeroed(len);
        for (index, page) in &self.pages {
            let start = usize::try_from(*index).unwrap_or(usize::MAX).saturating_mul(PAGE);
            if let (Some(bytes), Some(room)) = (page, len.checked_sub(start)) {
                memory.copy_in(start, &bytes[..room.min(PAGE)]);
            }
        }
        self.unheard = !heard;
        self.memory = Some(memory.clone());
        Some(memory)
    }

    /// Copies out what lies at `position`; the number of bytes.
    pub(super) fn read(&self, buf: &mut [u8], position: u64) -> usize {
        let room = usize::try_from(self.size.saturating_sub(position)).unwrap_or(usize::MAX);
        let len = buf.len().min(room);
        let buf = &mut buf[..len];
        if let Some((memory, start)) = self.unheard_at(position, len) {
            memory.copy_out(start, buf);
            return len;
        }
        for (index, within, part) in pages_of(position, len) {
            match self.pages.get(&index) {
                Some(Some(page)) => buf[part].copy_from_slice(&page[within]),
                _ => buf[part].fill(0),
            }
        }
        len
    }

    /// The shared memory and the place in it, where that is the truth.
    fn unheard_at(&self, position: u64, len: usize) -> Option<(&HeapPages, usize)> {
        let memory = self.memory.as_deref().filter(|_| self.unheard)?;
        let start = usize::try_from(position).ok()?;
        (start.checked_add(len)? <= memory.len()).then_some((memory, start))
    }

    /// Stores bytes at `position` into the cache and into the maps; the file grows as needed.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64, random: &dyn Random) {
        if let (Some(memory), Ok(start)) = (&self.memory, usize::try_from(position)) {
            let room = memory.len().saturating_sub(start).min(bytes.len());
            if room > 0 {
                memory.copy_in(start, &bytes[..room]);
            }
        }
        self.put(bytes, position, random);
        let end = position + bytes.len() as u64;
        if bytes.is_empty() {
            return;
        }
        if end > self.size {
            self.change_size(end, random);
        } else if end.div_ceil(PAGE as u64) == self.size.div_ceil(PAGE as u64) {
            // Writing the last page back takes the size along, also one that a failed sync has dropped.
            if let Some(history) = &mut self.size_history {
                history.dirty = true;
            }
        }
    }

    /// A map has stored into `range`: takes those bytes, and only those, into the cache.
    pub(super) fn stored(&mut self, range: &Range<u64>, random: &dyn Random) {
        assert!(
            range.start <= range.end && range.end <= self.size,
            "a store to {range:?} of a file of {} bytes: a real map would have died of SIGBUS",
            self.size
        );
        let Some(memory) = self.memory.clone() else { return };
        let (Ok(start), Ok(len)) = (usize::try_from(range.start), usize::try_from(range.end - range.start))
        else {
            return;
        };
        let mut bytes = vec![0; len];
        memory.copy_out(start, &mut bytes);
        self.put(&bytes, range.start, random);
    }

    fn put(&mut self, bytes: &[u8], position: u64, random: &dyn Random) {
        for (index, within, part) in pages_of(position, bytes.len()) {
            self.allocated.insert(index);
            self.put_page(index, within, &bytes[part], random);
        }
    }

    /// Stores into one page; what it was becomes part of its history.
    fn put_page(&mut self, index: u64, within: Range<usize>, bytes: &[u8], random: &dyn Random) {
        let current = self.pages.entry(index).or_default();
        let same = match current {
            Some(page) => page[within.clone()] == *bytes,
            None => bytes.iter().all(|byte| *byte == 0),
        };
        let history = self.histories.get_mut(&index);
        if same {
            // Written again: a sync will write it, and then it is durable whatever it was before.
            if let Some(history) = history {
                history.dirty = true;
            }
            return;
        }
        match history {
            Some(history) => {
                history.dirty = true;
                if let Some(place) = history.place(random) {
                    history.put(place, current.clone());
                }
            }
            None => {
                self.histories.insert(index, History::from(current.clone()));
            }
        }
        let page = current.get_or_insert_with(|| Arc::new([0; PAGE]));
        Arc::make_mut(page)[within].copy_from_slice(bytes);
    }

    /// Occupies the pages of `[position, end)` and extends the file to `end`; no byte changes.
    pub(super) fn allocate(&mut self, position: u64, end: u64, random: &dyn Random) {
        self.allocated.extend(position / PAGE as u64..end.div_ceil(PAGE as u64));
        if end > self.size {
            self.change_size(end, random);
        }
    }

    /// Cuts or extends the file; what is cut reads as zeros when the file grows again.
    pub(super) fn set_size(&mut self, size: u64, random: &dyn Random) {
        if size == self.size {
            return;
        }
        if size < self.size {
            let first = size / PAGE as u64;
            let beyond: Vec<u64> = self.pages.range(first..).map(|(index, _)| *index).collect();
            let zeros = [0; PAGE];
            for index in beyond {
                let start = if index == first { (size % PAGE as u64) as usize } else { 0 };
                self.put_page(index, start..PAGE, &zeros[start..], random);
            }
            self.zero_memory(size);
            self.allocated.retain(|index| *index < size.div_ceil(PAGE as u64));
        }
        self.change_size(size, random);
    }

    /// Zeros the maps from `size` to the end of the file, so far as something may have been stored there.
    fn zero_memory(&self, size: u64) {
        let Some(memory) = &self.memory else { return };
        for index in self.allocated.range(size / PAGE as u64..) {
            let start = index.saturating_mul(PAGE as u64).max(size);
            let end = (index + 1).saturating_mul(PAGE as u64).min(memory.len() as u64);
            if let (Ok(start), Ok(end)) = (usize::try_from(start), usize::try_from(end)) {
                if start < end {
                    memory.copy_in(start, &[0; PAGE][..end - start]);
                }
            }
        }
    }

    fn change_size(&mut self, size: u64, random: &dyn Random) {
        let old = std::mem::replace(&mut self.size, size);
        match &mut self.size_history {
            Some(history) => {
                history.dirty = true;
                if let Some(place) = history.place(random) {
                    history.put(place, old);
                }
            }
            None => self.size_history = Some(History::from(old)),
        }
    }

    /// A completed sync: what is dirty is durable.
    pub(super) fn sync(&mut self) {
        self.histories.retain(|_, history| !history.dirty);
        self.size_history.take_if(|history| history.dirty);
    }

    /// A failed sync: nothing is dirty any more, and nothing has become durable for sure.
    pub(super) fn drop_dirty(&mut self) {
        for history in self.histories.values_mut() {
            history.dirty = false;
        }
        if let Some(history) = &mut self.size_history {
            history.dirty = false;
        }
    }

    /// Everything is durable as it stands.
    pub(super) fn settle(&mut self) {
        self.histories.clear();
        self.size_history = None;
    }

    /// The number of pages (and sizes) that a power cut may take back.
    pub(super) fn unsynced(&self) -> usize {
        self.histories.len() + usize::from(self.size_history.is_some())
    }
}

/// The pages that `[position, position + len)` touches: index, range within the page, range within the
/// bytes.
pub(super) fn pages_of(position: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = position + done as u64;
        let start = (at % PAGE as u64) as usize;
        let piece = (PAGE - start).min(len - done);
        let part = done..done + piece;
        done += piece;
        (piece > 0).then(|| (at / PAGE as u64, start..start + piece, part))
    })
}
