//! Where some records of a batch begin: who jumps to a record need not walk to it from the batch's start.
//!
//! ```text
//!   batch at 8192, 300 records:   | r0 r1 r2 | r3 r4 r5 | r6 r7 r8 | r9 ..     step 3: 300 records, 120 landmarks
//!                                   ^8253      +310       +620       ^9183     a group of four: position, distances
//!   table: a batch has one of the few places behind that which its position says; where they are full and the
//!          table may not grow, it takes the first of them
//! ```
//!
//! Invariants
//! - Landmarks are of sealed batches, whose bytes stay as they are for as long as the segment is open; they
//!   go with the map.
//! - Only what has been walked over is remembered, and only where the records are numbered without gaps, so
//!   that the record at a landmark is the one that its number says.
//! - By time a landmark is found only where the walk has met no record older than the one before it.
//! - They are a convenience: no jump waits for them, and no memory beyond the broker's bound is taken.

use std::sync::Arc;

use super::open_segments::OpenSegments;
use crate::format::record::decode_record;
use crate::sync::RwLock;

/// Landmarks whose places are kept together: the first one's, and how far behind it the others are.
const GROUP: usize = 4;
const GROUPS: usize = 30;
/// Records of one batch whose places are remembered.
const MARKS: u32 = (GROUP * GROUPS) as u32;
/// A walk over fewer records is not worth a place in the table.
const WALK: u32 = 8;
/// Places of a table, at first and at most; each takes 312 bytes.
const PLACES: std::ops::RangeInclusive<usize> = 64..=16 << 10;

/// Landmarks of the batches of one open segment.
#[derive(Debug)]
pub(crate) struct Landmarks {
    table: RwLock<Table>,
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
    /// No record is older than the one before it.
    rises: bool,
    groups: [Group; GROUPS],
}

/// Landmarks that lie in one cache line, mostly.
#[derive(Clone, Copy, Debug)]
struct Group {
    /// Of the first one: the upper and the lower half.
    position: [u16; 2],
    /// How far behind it the others are; 0 where that is too far to be told.
    behind: [u16; GROUP - 1],
}

const NOWHERE: Marked =
    Marked { step: 1, rises: false, groups: [Group { position: [0; 2], behind: [0; GROUP - 1] }; GROUPS] };

/// Where the walk to a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Landmark {
    /// Position of a record.
    pub(crate) position: u64,
    /// The record's number in its batch.
    pub(crate) number: u32,
}

/// The records of a batch, as a search by time needs them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimedRecords<'a> {
    /// Position of the first one.
    pub(crate) position: u64,
    /// Their bytes.
    pub(crate) bytes: &'a [u8],
    /// How many there are.
    pub(crate) count: u32,
    /// The time of the newest one, in milliseconds behind the batch's base timestamp.
    pub(crate) newest: i64,
}

impl Landmarks {
    /// None yet; memory is bounded by what `bound` says.
    pub(super) fn new(bound: Arc<OpenSegments>) -> Landmarks {
        Landmarks { table: RwLock::new(Table::default()), bound }
    }

    /// The last landmark at or before record `number` of the batch at `batch`, whose records are those that
    /// `records` answers with their position. Nothing where the walk is short, or somebody else learns.
    pub(crate) fn before<'a>(
        &self,
        batch: u64,
        count: u32,
        number: u32,
        records: impl FnOnce() -> Option<(u64, &'a [u8])>,
    ) -> Option<Landmark> {
        if number == 0 || number >= count {
            return None;
        }
        let batch = u32::try_from(batch).ok()?;
        if let Some(marked) = self.table.try_read()?.find(batch) {
            return marked.before(number);
        }
        if number < WALK {
            return None;
        }
        let (start, bytes) = records()?;
        let marked = Marked::walked(count, start, bytes)?;
        self.remember(batch, marked);
        marked.before(number)
    }

    /// The last landmark at or before record `number` of the batch at `batch`, if that has been walked over.
    pub(crate) fn known(&self, batch: u64, number: u32) -> Option<Landmark> {
        let batch = u32::try_from(batch).ok()?;
        self.table.try_read()?.find(batch)?.before(number)
    }

    /// A landmark before the first record at or after `time`, in milliseconds behind the base timestamp of the batch
    /// at `batch`. Nothing where there are few records, or their times do not rise.
    pub(crate) fn before_time(&self, batch: u64, time: i64, records: TimedRecords<'_>) -> Option<Landmark> {
        if records.count < WALK {
            return None;
        }
        let batch = u32::try_from(batch).ok()?;
        let known = self.table.try_read()?.find(batch).copied();
        let marked = match known {
            Some(marked) => marked,
            None => {
                let marked = Marked::walked(records.count, records.position, records.bytes)?;
                self.remember(batch, marked);
                marked
            }
        };
        if marked.rises { marked.before_time(time, records) } else { None }
    }

    fn remember(&self, batch: u32, marked: Marked) {
        let Some(mut table) = self.table.try_write() else { return };
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
        let places = self.table.try_read().map_or(0, |table| table.marks.len());
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
        let marks = std::mem::replace(&mut self.marks, vec![NOWHERE; more]);
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
        let group = self.groups.get(at as usize / GROUP)?;
        let [upper, lower] = group.position;
        let first = u64::from(upper) << 16 | u64::from(lower);
        let near = at as usize % GROUP;
        // Those that are too far apart to be told are as good as the first of their group.
        match near.checked_sub(1).and_then(|near| group.behind.get(near)) {
            Some(&behind) if behind > 0 => {
                Some(Landmark { position: first + u64::from(behind), number: at * self.step })
            }
            _ => Some(Landmark { position: first, number: (at - near as u32) * self.step }),
        }
    }

    /// The last one whose record is older than `time`, or the first. It is looked for where it would be if the
    /// records came at a steady pace, then beside that, then by halves.
    fn before_time(&self, time: i64, records: TimedRecords<'_>) -> Option<Landmark> {
        let mut found = self.before(0)?;
        let count = records.count.div_ceil(self.step);
        let guess = u128::from(count) * u128::from(time.unsigned_abs())
            / u128::from(records.newest.max(1).unsigned_abs());
        let guess = u32::try_from(guess).unwrap_or(count);
        // Those below `low` are older, those from `high` on are not.
        let (mut low, mut high, mut looks) = (1, count, 0);
        while low < high {
            let at = match looks {
                0 => guess.clamp(low, high - 1),
                1 if low > 1 => low,
                1 => high - 1,
                _ => low + (high - low) / 2,
            };
            looks += 1;
            let mark = self.before(at * self.step)?;
            let start = usize::try_from(mark.position.checked_sub(records.position)?).ok()?;
            let (record, _) = decode_record(records.bytes.get(start..)?).ok()?;
            if record.timestamp_delta < time {
                (found, low) = (mark, at + 1);
            } else {
                high = at;
            }
        }
        Some(found)
    }

    /// Those of a batch of `count` records, which are `bytes`, from `position` on. Nothing if they are not what
    /// the header promises.
    fn walked(count: u32, position: u64, mut bytes: &[u8]) -> Option<Marked> {
        let step = count.div_ceil(MARKS).max(1);
        let mut marked = Marked { step, rises: true, ..NOWHERE };
        let end = position + bytes.len() as u64;
        let (mut first, mut newest) = (0, i64::MIN);
        for number in 0..count {
            if number % step == 0 {
                let at = (number / step) as usize;
                let place = u32::try_from(end - bytes.len() as u64).ok()?;
                let group = marked.groups.get_mut(at / GROUP)?;
                match (at % GROUP).checked_sub(1).and_then(|near| group.behind.get_mut(near)) {
                    Some(behind) => *behind = u16::try_from(place - first).unwrap_or(0),
                    None => {
                        first = place;
                        group.position = [(place >> 16) as u16, place as u16];
                    }
                }
            }
            let (record, len) = decode_record(bytes).ok()?;
            if u32::try_from(record.offset_delta) != Ok(number) {
                return None;
            }
            marked.rises &= record.timestamp_delta >= newest;
            newest = record.timestamp_delta;
            bytes = bytes.get(len..)?;
        }
        bytes.is_empty().then_some(marked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::RecordFields;

    const EMPTY: RecordFields<'_> =
        RecordFields { timestamp_delta: 0, offset_delta: 0, key: None, value: None, headers: &[] };

    /// Records of these times.
    fn timed(times: impl Iterator<Item = i64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, timestamp_delta) in times.enumerate() {
            let fields = RecordFields { timestamp_delta, offset_delta: number as i32, ..EMPTY };
            let at = bytes.len();
            bytes.resize(at + fields.encoded_len(), 0);
            fields.encode(&mut bytes[at..]);
        }
        bytes
    }

    /// So many records, without those whose numbers are gaps.
    fn records(count: u32, gap: Option<u32>) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for number in (0..count).filter(|number| Some(*number) != gap) {
            let value = vec![7; 50 + number as usize % 90];
            let fields = RecordFields { offset_delta: number as i32, value: Some(&value), ..EMPTY };
            let at = bytes.len();
            starts.push(at);
            bytes.resize(at + fields.encoded_len(), 0);
            fields.encode(&mut bytes[at..]);
        }
        (bytes, starts)
    }

    #[test]
    fn a_landmark_is_the_record_that_its_number_says() {
        for count in [9, 119, 120, 121, 1000] {
            let landmarks = Landmarks::new(OpenSegments::new(8));
            let (bytes, starts) = records(count, None);
            for number in 0..=count {
                let found = landmarks.before(4000, count, number, || Some((4061, &bytes)));
                if number < WALK || number >= count {
                    assert_eq!(found, None);
                    continue;
                }
                let found = found.unwrap();
                assert!(found.number <= number && number - found.number <= count / MARKS);
                assert_eq!(landmarks.known(4000, number), Some(found));
                assert_eq!(found.position, 4061 + starts[found.number as usize] as u64);
                // Known by now: the records are not walked over again.
                assert_eq!(landmarks.before(4000, count, number, || None), Some(found));
            }
        }
    }

    #[test]
    fn landmarks_too_far_apart_are_as_good_as_the_first_of_their_group() {
        let landmarks = Landmarks::new(OpenSegments::new(8));
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        for number in 0..20 {
            let value = vec![7; 30_000];
            let fields = RecordFields { value: Some(&value), offset_delta: number, ..EMPTY };
            let at = bytes.len();
            starts.push(at);
            bytes.resize(at + fields.encoded_len(), 0);
            fields.encode(&mut bytes[at..]);
        }
        let number =
            |number| landmarks.before(0, 20, number, || Some((61, &bytes))).map(|found| found.number);
        assert_eq!((8..14).map(number).collect::<Option<Vec<_>>>(), Some(vec![8, 9, 10, 8, 12, 13]));
        let found = landmarks.known(0, 14).unwrap();
        assert_eq!(found, Landmark { position: 61 + starts[14] as u64, number: 14 });
    }

    #[test]
    fn a_time_is_met_behind_its_landmark_and_not_far() {
        for count in [8, 20, 120, 500] {
            for pace in [|n: i64| n * 10, |n| n * n, |n| n / 7, |n| if n < 100 { n } else { 1_000_000 + n }] {
                let landmarks = Landmarks::new(OpenSegments::new(8));
                let bytes = timed((0..count).map(pace));
                let newest = pace(count - 1);
                let records = TimedRecords { position: 61, bytes: &bytes, count: count as u32, newest };
                for time in (1..=newest + 1).step_by(1 + newest as usize / 300) {
                    let found = landmarks.before_time(0, time, records).unwrap();
                    // The last landmark with an older record, or the first.
                    let first = (0..count).find(|&n| pace(n) >= time).unwrap_or(count);
                    let step = (count as u32).div_ceil(MARKS);
                    let expected = (first as u32).saturating_sub(1) / step * step;
                    assert_eq!(found.number, expected, "{count} {time}");
                }
            }
        }
    }

    #[test]
    fn by_time_nothing_is_found_where_times_fall() {
        let landmarks = Landmarks::new(OpenSegments::new(8));
        let bytes = timed((0..100).map(|n| if n == 50 { 10 } else { n }));
        let records = TimedRecords { position: 61, bytes: &bytes, count: 100, newest: 99 };
        assert_eq!(landmarks.before_time(0, 60, records), None);
        // By number its records are where they are.
        assert_eq!(landmarks.known(0, 60).map(|found| found.number), Some(60));
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
            assert!(landmarks.table.read().marks.len() <= *PLACES.end());
        }
        assert!(!bound.take_landmarks(super::super::open_segments::LANDMARKS));
        // What another batch has pushed out is found anew, not mistaken for that one.
        let found = all[0].before(0, 20, 10, || Some((61, &bytes)));
        assert_eq!(found, Some(Landmark { position: 61 + starts[10] as u64, number: 10 }));
        drop(all);
        assert!(bound.take_landmarks(super::super::open_segments::LANDMARKS));
    }
}
