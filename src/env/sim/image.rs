//! What a power cut leaves.
//!
//! Invariants: what a completed sync covers is in every image; nothing is in an image that was not
//! stored, or zero, at that place; an image is durable as a whole.
//!
//! ```text
//!   names   durable + some of the pending changes
//!   size    any since the last sync            -+ chosen apart: a grown file may end in zeros, a page
//!   pages   any version since the last sync    -+ stored beyond a lost size is gone
//! ```

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::content::{Content, History, PAGE, Page};
use super::random::{below, index_below};
use super::state::{State, file_id};
use crate::env::Random;

/// What the device writes by itself and loses at once.
const SECTOR: usize = 512;
/// One page in so many is torn.
const TORN_ONE_IN: u64 = 8;

/// How a power cut chooses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut<'a> {
    /// Of everything the durable version.
    LoseEverything,
    /// Of everything the newest version.
    KeepEverything,
    /// As the generator says.
    Random(&'a dyn Random, Mood),
}

/// Whether an image leans to old versions, to new ones or to neither. Without it nearly every image of
/// a busy disk would be lost in the middle, and none nearly whole.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
    Even,
    MostlyOld,
    MostlyNew,
    OldOrNew,
}

impl<'a> Cut<'a> {
    pub(super) fn random(random: &'a dyn Random) -> Cut<'a> {
        let mood = match below(random, 4) {
            0 => Mood::Even,
            1 => Mood::MostlyOld,
            2 => Mood::MostlyNew,
            _ => Mood::OldOrNew,
        };
        Cut::Random(random, mood)
    }

    /// Which of `count` versions, the oldest being 0.
    fn version(self, count: usize) -> usize {
        let newest = count - 1;
        match self {
            Cut::LoseEverything => 0,
            Cut::KeepEverything => newest,
            Cut::Random(random, mood) => match (mood, below(random, 4)) {
                (Mood::MostlyOld, 1..) | (Mood::OldOrNew, 0 | 1) => 0,
                (Mood::MostlyNew, 1..) | (Mood::OldOrNew, _) => newest,
                _ => index_below(random, count),
            },
        }
    }

    /// The version of a page, or a mixture of two.
    fn page(self, history: &History<Page>, now: &Page) -> Page {
        let one = self.pick(history, now);
        let Cut::Random(random, _) = self else { return one };
        if below(random, TORN_ONE_IN) != 0 {
            return one;
        }
        let count = history.versions.len() + 1;
        let other = history.versions.get(index_below(random, count)).unwrap_or(now).clone();
        torn(&one, &other, SECTOR * (1 + index_below(random, PAGE / SECTOR - 1)))
    }

    fn pick<T: Clone>(self, history: &History<T>, now: &T) -> T {
        history.versions.get(self.version(history.versions.len() + 1)).unwrap_or(now).clone()
    }

    fn content(self, content: &Content) -> Content {
        let now = content.copy();
        let mut left = Content::new(now.modified);
        left.size = now.size_history.as_ref().map_or(now.size, |history| self.pick(history, &now.size));
        for (index, page) in &now.pages {
            let chosen = match now.histories.get(index) {
                Some(history) => self.page(history, page),
                None => page.clone(),
            };
            left.pages.insert(*index, cut_page(chosen, *index, left.size));
        }
        left.pages.retain(|_, page| page.is_some());
        left.allocated = now.allocated;
        left.allocated.extend(left.pages.keys());
        left.allocated.retain(|index| *index < left.size.div_ceil(PAGE as u64));
        left
    }
}

/// The disk after a power cut.
pub(super) fn after_power_cut(state: &State, cut: Cut<'_>) -> State {
    let keep = || cut.version(2) == 1;
    let tree = state.tree.after_power_cut(keep);
    let files: BTreeMap<_, _> = state.files.iter().map(|(id, content)| (*id, cut.content(content))).collect();
    let mut left = State::of(tree, files, state.settings);
    left.forget_unused();
    left
}

/// Names, sizes and bytes as one number.
pub(super) fn hash(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (path, entry) in state.tree.walk() {
        path.hash(&mut hasher);
        let Some(content) = file_id(entry).and_then(|id| state.files.get(&id)) else { continue };
        let content = content.copy();
        content.size.hash(&mut hasher);
        let pages = content.pages.iter().filter_map(|(index, page)| Some((index, page.as_ref()?)));
        for (index, page) in pages.filter(|(_, page)| page.iter().any(|byte| *byte != 0)) {
            (index, &page[..]).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The first `at` bytes of one page and the rest of another.
fn torn(head: &Page, tail: &Page, at: usize) -> Page {
    let mut page = [0; PAGE];
    if let Some(head) = head {
        page[..at].copy_from_slice(&head[..at]);
    }
    if let Some(tail) = tail {
        page[at..].copy_from_slice(&tail[at..]);
    }
    Some(Arc::new(page))
}

/// Takes away what lies beyond the end of the file.
fn cut_page(page: Page, index: u64, size: u64) -> Page {
    let room = size.saturating_sub(index.saturating_mul(PAGE as u64));
    let mut bytes = page?;
    match usize::try_from(room) {
        Ok(0) => None,
        Ok(room) if room < PAGE => {
            Arc::make_mut(&mut bytes)[room..].fill(0);
            Some(bytes)
        }
        _ => Some(bytes),
    }
}
