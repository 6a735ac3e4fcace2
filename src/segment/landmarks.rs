//! Where some records of a batch begin: who jumps to a record need not walk to it from the batch's start.
//!
//! ```text
//!   batch at 8192, 100 records:   | r0 r1 r2 r3 | r4 r5 r6 r7 | r8 ...
//!                                   ^8253         ^12401        ^16549        step 4
//!   table: a batch has one of the few places behind that which its position says; where they are full and the
//!          table may not grow, it takes the first of them
//! ```
//!
//! Invariants
//! - Landmarks are of sealed batches, whose bytes stay as they are for as long as the segment is open; they
//!   go with the map.
//! - Only what has been walked over is remembered, and only where the records are numbered without gaps, so
//!   that the record at a landmark is the one that its number says.
//! - They are a convenience: no jump waits for them, and no memory beyond the broker's bound is taken.

use std::sync::Arc;

use super::open_segments::OpenSegments;
use crate::format::record::decode_record;
use crate::sync::Mutex;

/// Records of one batch whose places are remembered.
const MARKS: usize = 30;
/// A walk over fewer records is not worth a place in the table.
const WALK: u32 = 8;
/// Places of a table, at first and at most; each takes 128 bytes.
const PLACES: std::ops::RangeInclusive<usize> = 64..=16 << 10;

/// Landmarks of the batches of one open segment.
#[derive(Debug)]
pub(crate) struct Landmarks {
    table: Mutex<Table>,
    bound: Arc<OpenSegments>,
}

#[derive(Debug, Default)]
struct Table {
    /// The start of the batch at each place: together, so that looking for one touches little memory.
    batches: Vec<u32>,
    marks: Vec<Marked>,
    used: usize,
}

/// No batch starts here.
const NONE: u32 = u32::MAX;
/// How many places a batch may have.
const WINDOW: usize = 8;

/// The landmarks of one batch.
#[derive(Clone, Copy, Debug)]
struct Marked {
    /// Records from one landmark to the next.
    step: u32,
    positions: [u32; MARKS],
}

/// Where the walk to a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Landmark {
    /// Position of a record.
    pub(crate) position: u64,
    /// The record's number in its batch.
    pub(crate) number: u32,
}

impl Landmarks {
    /// None yet; memory is bounded by what `bound` says.
    pub(super) fn new(bound: Arc<OpenSegments>) -> Landmarks {
        Landmarks { table: Mutex::new(Table::default()), bound }
    }

    /// The last landmark at or before record `number` of the batch at `batch`, whose records are those that
    /// `records` answers with their position. Nothing where the walk is short, or somebody else looks.
    pub(crate) fn before<'a>(
        &self,
        batch: u64,
        count: u32,
        number: u32,
        records: impl FnOnce() -> Option<(u64, &'a [u8])>,
    ) -> Option<Landmark> {
        if number < WALK || number >= count {
            return None;
        }
        let batch = u32::try_from(batch).ok()?;
        if let Some(marked) = self.table.try_lock()?.find(batch) {
            return marked.before(number);
        }
        let (start, bytes) = records()?;
        let marked = Marked::walked(count, start, bytes)?;
        self.remember(batch, marked);
        marked.before(number)
    }

    fn remember(&self, batch: u32, marked: Marked) {
        let Some(mut table) = self.table.try_lock() else { return };
        let places = table.marks.len();
        if table.used * 2 >= places && places < *PLACES.end() {
            let more = (places * 2).max(*PLACES.start());
            if self.bound.take_landmarks(more - places) {
                table.grow(more);
            }
        }
        table.put(batch, marked);
    }
}

impl Drop for Landmarks {
    fn drop(&mut self) {
        let places = self.table.try_lock().map_or(0, |table| table.marks.len());
        self.bound.give_landmarks(places);
    }
}

impl Table {
    fn find(&self, batch: u32) -> Option<&Marked> {
        let at = self.window(batch).find(|&at| self.batches.get(at) == Some(&batch))?;
        self.marks.get(at)
    }

    fn grow(&mut self, more: usize) {
        let batches = std::mem::replace(&mut self.batches, vec![NONE; more]);
        let marks = std::mem::replace(&mut self.marks, vec![Marked { step: 1, positions: [0; MARKS] }; more]);
        self.used = 0;
        let old = batches.into_iter().zip(marks);
        old.filter(|(batch, _)| *batch != NONE).for_each(|(batch, marked)| self.put(batch, marked));
    }

    fn put(&mut self, batch: u32, marked: Marked) {
        let free = self.window(batch).find(|&at| self.batches.get(at) == Some(&NONE));
        self.used += usize::from(free.is_some());
        let Some(at) = free.or_else(|| self.window(batch).next()) else { return };
        if let (Some(place), Some(marks)) = (self.batches.get_mut(at), self.marks.get_mut(at)) {
            (*place, *marks) = (batch, marked);
        }
    }

    /// The places that a batch may have, the first one first. Their number is a power of two.
    fn window(&self, batch: u32) -> impl Iterator<Item = usize> + use<> {
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let hash = (u64::from(batch).wrapping_mul(SPREAD) >> 32) as usize;
        let (places, window) = (self.batches.len(), WINDOW.min(self.batches.len()));
        (0..window).map(move |at| (hash + at) & (places - 1))
    }
}

impl Marked {
    /// The last one at or before record `number`.
    fn before(&self, number: u32) -> Option<Landmark> {
        let at = number / self.step;
        let position = *self.positions.get(at as usize)?;
        Some(Landmark { position: position.into(), number: at * self.step })
    }

    /// Those of a batch of `count` records, which are `bytes`, from `position` on. Nothing if they are not what
    /// the header promises.
    fn walked(count: u32, position: u64, mut bytes: &[u8]) -> Option<Marked> {
        let step = count.div_ceil(MARKS as u32).max(1);
        let mut marked = Marked { step, positions: [0; MARKS] };
        let end = position + bytes.len() as u64;
        for number in 0..count {
            if number % step == 0 {
                let place = marked.positions.get_mut((number / step) as usize)?;
                *place = u32::try_from(end - bytes.len() as u64).ok()?;
            }
            let (record, len) = decode_record(bytes).ok()?;
            if u32::try_from(record.offset_delta) != Ok(number) {
                return None;
            }
            bytes = bytes.get(len..)?;
        }
        bytes.is_empty().then_some(marked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::RecordFields;

    /// So many records, without those whose numbers are gaps.
    fn records(count: u32, gap: Option<u32>) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for number in (0..count).filter(|number| Some(*number) != gap) {
            let value = vec![7; 50 + number as usize % 90];
            let fields = RecordFields {
                timestamp_delta: 0,
                offset_delta: number as i32,
                key: None,
                value: Some(&value),
                headers: &[],
            };
            let at = bytes.len();
            starts.push(at);
            bytes.resize(at + fields.encoded_len(), 0);
            fields.encode(&mut bytes[at..]);
        }
        (bytes, starts)
    }

    #[test]
    fn a_landmark_is_the_record_that_its_number_says() {
        for count in [9, 29, 30, 31, 100, 1000] {
            let landmarks = Landmarks::new(OpenSegments::new(8));
            let (bytes, starts) = records(count, None);
            for number in 0..=count {
                let found = landmarks.before(4000, count, number, || Some((4061, &bytes)));
                if number < WALK || number >= count {
                    assert_eq!(found, None);
                    continue;
                }
                let found = found.unwrap();
                assert!(found.number <= number && number - found.number <= count / MARKS as u32);
                assert_eq!(found.position, 4061 + starts[found.number as usize] as u64);
                // Known by now: the records are not walked over again.
                assert_eq!(landmarks.before(4000, count, number, || None), Some(found));
            }
        }
    }

    #[test]
    fn a_batch_with_gaps_or_damage_has_none() {
        let landmarks = Landmarks::new(OpenSegments::new(8));
        let (bytes, _) = records(100, Some(50));
        assert_eq!(landmarks.before(0, 100, 60, || Some((61, &bytes))), None);
        assert_eq!(landmarks.before(0, 99, 60, || Some((61, &bytes))), None);
        let (mut bytes, starts) = records(100, None);
        bytes[starts[90]] ^= 1;
        assert_eq!(landmarks.before(0, 100, 60, || Some((61, &bytes))), None);
        assert_eq!(landmarks.before(0, 100, 60, || Some((61, &bytes[..starts[80]]))), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a hundred thousand batches are too many for an interpreter")]
    fn memory_is_bounded_and_given_back() {
        let bound = OpenSegments::new(8);
        let (bytes, starts) = records(20, None);
        let all: Vec<Landmarks> = (0..8).map(|_| Landmarks::new(bound.clone())).collect();
        for landmarks in &all {
            for batch in 0..20_000 {
                let start = batch * 4096 + 61;
                let found = landmarks.before(batch * 4096, 20, 15, || Some((start, &bytes))).unwrap();
                assert_eq!(found, Landmark { position: start + starts[15] as u64, number: 15 });
            }
            assert!(landmarks.table.lock().marks.len() <= *PLACES.end());
        }
        assert!(!bound.take_landmarks(super::super::open_segments::LANDMARKS));
        // What another batch has pushed out is found anew, not mistaken for that one.
        let found = all[0].before(0, 20, 10, || Some((61, &bytes)));
        assert_eq!(found, Some(Landmark { position: 61 + starts[10] as u64, number: 10 }));
        drop(all);
        assert!(bound.take_landmarks(super::super::open_segments::LANDMARKS));
    }
}
