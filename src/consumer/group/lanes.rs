//! Which record may be processed next, and below which all are.
//!
//! ```text
//!   add: a, b, a, c   ready: a b c     lane of a: (a)     track: |a0 done|b1 -|a2 -|c3 done|
//!   take: a           ready: b c       a's next waits                    ^ lowest unfinished
//!   finish: a         ready: b c a     the lane's next is ready
//! ```
//!
//! Invariants
//! - Of a lane (a key of a partition) at most one record is ready or taken: they are processed in order.
//! - The lowest unfinished offset of a track never passes a record that is not finished.
//! - A track that was removed leaves nothing behind but what is taken, whose end is ignored.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Records on their way through the workers.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    tracks: BTreeMap<TrackId, Track>,
    /// Lanes of which a record is ready or taken, and those that wait behind it.
    busy: HashMap<LaneId, VecDeque<Item<T>>>,
    ready: VecDeque<Item<T>>,
    next_track: u64,
    /// Entries of all tracks.
    tracked: usize,
    /// Records taken and not put back.
    taken: usize,
}

/// One assignment of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TrackId(u64);

/// Records of one lane are processed one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LaneId(pub(super) u64);

/// A record to process.
#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) track: TrackId,
    pub(super) offset: u64,
    /// `None`: in any order.
    pub(super) lane: Option<LaneId>,
    pub(super) work: T,
}

/// What is known of one assignment of a partition.
#[derive(Debug)]
struct Track {
    /// From the lowest unfinished record on.
    entries: VecDeque<Entry>,
    /// Below it all is finished; what it is behind the last entry.
    lowest: Lowest,
    /// Where reading goes on.
    end: Lowest,
    /// Records taken and not finished.
    taken: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: u64,
    leader_epoch: i32,
    finished: bool,
}

/// The offset below which all is finished, and the leader epoch of the record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lowest {
    pub(super) offset: u64,
    pub(super) leader_epoch: i32,
}

impl<T> Lanes<T> {
    pub(super) fn new() -> Lanes<T> {
        Lanes {
            tracks: BTreeMap::new(),
            busy: HashMap::new(),
            ready: VecDeque::new(),
            next_track: 0,
            tracked: 0,
            taken: 0,
        }
    }

    /// A partition is read from `lowest` on.
    pub(super) fn begin(&mut self, lowest: Lowest) -> TrackId {
        self.next_track += 1;
        let id = TrackId(self.next_track);
        let track = Track { entries: VecDeque::new(), lowest, end: lowest, taken: 0 };
        self.tracks.insert(id, track);
        id
    }

    /// One more record of a track, behind all others.
    pub(super) fn add(&mut self, item: Item<T>, leader_epoch: i32) {
        let Some(track) = self.tracks.get_mut(&item.track) else { return };
        track.entries.push_back(Entry { offset: item.offset, leader_epoch, finished: false });
        self.tracked += 1;
        track.end = Lowest { offset: item.offset + 1, leader_epoch };
        match item.lane.map(|lane| self.busy.entry(lane)) {
            Some(std::collections::hash_map::Entry::Occupied(mut waiting)) => {
                waiting.get_mut().push_back(item);
            }
            Some(std::collections::hash_map::Entry::Vacant(free)) => {
                free.insert(VecDeque::new());
                self.ready.push_back(item);
            }
            None => self.ready.push_back(item),
        }
    }

    /// All records of a track below this have been added.
    pub(super) fn read_up_to(&mut self, id: TrackId, end: Lowest) {
        let Some(track) = self.tracks.get_mut(&id) else { return };
        track.end = end;
        self.tracked -= track.advance();
    }

    /// A record to process now.
    pub(super) fn take(&mut self) -> Option<Item<T>> {
        let item = self.ready.pop_front()?;
        self.taken += 1;
        if let Some(track) = self.tracks.get_mut(&item.track) {
            track.taken += 1;
        }
        Some(item)
    }

    /// A record that was taken has been processed.
    pub(super) fn finish(&mut self, id: TrackId, offset: u64, lane: Option<LaneId>) {
        self.put_back(id, lane);
        let Some(track) = self.tracks.get_mut(&id) else { return };
        if let Ok(at) = track.entries.binary_search_by_key(&offset, |entry| entry.offset) {
            track.entries[at].finished = true;
            self.tracked -= track.advance();
        }
    }

    /// A record that was taken has not been processed.
    pub(super) fn put_back(&mut self, id: TrackId, lane: Option<LaneId>) {
        self.taken -= 1;
        if let Some(track) = self.tracks.get_mut(&id) {
            track.taken -= 1;
        }
        let Some(lane) = lane else { return };
        match self.busy.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(next) => self.ready.push_back(next),
            None => drop(self.busy.remove(&lane)),
        }
    }

    /// Nothing more of a track is given out; what is taken is waited for.
    pub(super) fn end(&mut self, id: TrackId) {
        self.discard(|item| item.track == id);
    }

    /// Nothing more of any track is given out.
    pub(super) fn end_all(&mut self) {
        self.discard(|_| true);
    }

    /// Forgets a track.
    pub(super) fn remove(&mut self, id: TrackId) {
        self.end(id);
        self.tracked -= self.tracks.remove(&id).map_or(0, |track| track.entries.len());
    }

    /// Takes out what waits or is ready; a lane goes on with what is left.
    fn discard(&mut self, goes: impl Fn(&Item<T>) -> bool) {
        self.busy.values_mut().for_each(|waiting| waiting.retain(|item| !goes(item)));
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = self.ready.drain(..).partition(|item| goes(item));
        self.ready = kept;
        for lane in gone.into_iter().filter_map(|item| item.lane) {
            match self.busy.get_mut(&lane).and_then(VecDeque::pop_front) {
                Some(next) => self.ready.push_back(next),
                None => drop(self.busy.remove(&lane)),
            }
        }
    }

    /// Below which offset all of a track is finished.
    pub(super) fn lowest(&self, id: TrackId) -> Option<Lowest> {
        self.tracks.get(&id).map(|track| track.lowest)
    }

    /// Whether something of a track is being processed.
    pub(super) fn is_taken(&self, id: TrackId) -> bool {
        self.tracks.get(&id).is_some_and(|track| track.taken > 0)
    }

    /// Records from the lowest unfinished ones on: what a crash would repeat.
    pub(super) fn tracked(&self) -> usize {
        self.tracked
    }

    /// Whether nothing is being processed, and nothing could be.
    pub(super) fn is_idle(&self) -> bool {
        self.taken == 0 && self.ready.is_empty()
    }
}

impl Track {
    /// Goes on to the lowest unfinished record; answers past how many.
    fn advance(&mut self) -> usize {
        let before = self.entries.len();
        while let Some(first) = self.entries.front().filter(|entry| entry.finished) {
            self.lowest = Lowest { offset: first.offset + 1, leader_epoch: first.leader_epoch };
            self.entries.pop_front();
        }
        if self.entries.is_empty() {
            self.lowest = self.end;
        }
        before - self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Item, LaneId, Lanes, Lowest, TrackId};

    fn at(offset: u64) -> Lowest {
        Lowest { offset, leader_epoch: 0 }
    }

    fn add(lanes: &mut Lanes<()>, track: TrackId, offset: u64, lane: Option<u64>) {
        lanes.add(Item { track, offset, lane: lane.map(LaneId), work: () }, 0);
    }

    #[test]
    fn a_key_is_processed_in_order_and_nothing_is_passed_over() {
        let mut lanes = Lanes::new();
        let track = lanes.begin(at(10));
        for (offset, lane) in [(10, Some(1)), (12, Some(2)), (13, Some(1)), (14, None)] {
            add(&mut lanes, track, offset, lane);
        }
        lanes.read_up_to(track, at(17));
        let taken: Vec<_> = std::iter::from_fn(|| lanes.take()).map(|item| item.offset).collect();
        assert_eq!(taken, [10, 12, 14], "13 waits for 10, which has its key");
        lanes.finish(track, 14, None);
        lanes.finish(track, 12, Some(LaneId(2)));
        assert_eq!(lanes.lowest(track), Some(at(10)));
        assert!(lanes.take().is_none());
        lanes.finish(track, 10, Some(LaneId(1)));
        assert_eq!(lanes.lowest(track), Some(at(13)), "with the gap behind it");
        assert_eq!(lanes.take().map(|item| item.offset), Some(13));
        lanes.finish(track, 13, Some(LaneId(1)));
        assert_eq!((lanes.lowest(track), lanes.tracked()), (Some(at(17)), 0));
        assert!(lanes.busy.is_empty());
    }

    #[test]
    fn a_track_that_ends_gives_out_nothing_more_and_leaves_lanes_to_others() {
        let mut lanes = Lanes::new();
        let (one, two) = (lanes.begin(at(0)), lanes.begin(at(0)));
        add(&mut lanes, one, 0, Some(1));
        add(&mut lanes, one, 1, Some(1));
        add(&mut lanes, two, 0, Some(1));
        add(&mut lanes, one, 2, Some(2));
        assert_eq!(lanes.take().map(|item| item.track), Some(one));
        lanes.end(one);
        assert!(lanes.is_taken(one) && !lanes.is_idle() && lanes.take().is_none());
        lanes.remove(one);
        lanes.finish(one, 0, Some(LaneId(1)));
        assert_eq!(lanes.take().map(|item| (item.track, item.offset)), Some((two, 0)));
        lanes.put_back(two, Some(LaneId(1)));
        assert_eq!((lanes.lowest(two), lanes.lowest(one)), (Some(at(0)), None));
        assert!(lanes.busy.is_empty() && lanes.is_idle());
    }

    proptest! {
        #[test]
        fn any_order_of_ends_passes_over_nothing(
            keys in proptest::collection::vec(proptest::option::of(0u64..4), 1..60),
            picks in proptest::collection::vec(0usize..8, 1..300),
        ) {
            let mut lanes = Lanes::new();
            let track = lanes.begin(at(0));
            for (offset, key) in (0..).zip(&keys) {
                add(&mut lanes, track, offset, *key);
            }
            let (mut taken, mut finished) = (Vec::new(), vec![false; keys.len()]);
            for pick in picks.iter().chain(std::iter::repeat(&0)) {
                if *pick < 4 || taken.is_empty() {
                    taken.extend(lanes.take());
                }
                if *pick >= 4 || taken.len() == 4 || lanes.ready.is_empty() {
                    let Some(count) = (!taken.is_empty()).then_some(taken.len()) else { break };
                    let item: Item<()> = taken.swap_remove(pick % count);
                    let at = item.offset as usize;
                    let before = keys[..at].iter().zip(&finished);
                    prop_assert!(keys[at].is_none() || before.filter(|(key, _)| **key == keys[at]).all(|(_, f)| *f));
                    finished[at] = true;
                    lanes.finish(track, item.offset, item.lane);
                }
                let lowest = lanes.lowest(track).map_or(0, |lowest| lowest.offset) as usize;
                prop_assert!(finished[..lowest].iter().all(|finished| *finished));
            }
            prop_assert!(finished.iter().all(|finished| *finished));
            prop_assert_eq!((lanes.tracked(), lanes.is_idle()), (0, true));
        }
    }
}
