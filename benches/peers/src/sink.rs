//! Where records that were read go: counted, put in order, every byte summed.
//!
//! Invariants
//! - Every byte is looked at, so that a reader that lends does not win by not reading.
//! - The first record out of order is remembered, not returned: the reading loop stays small.
//! - A forgiving sink counts what was skipped and what came again, and fails for neither.

use std::time::Instant;

use crate::Result;
use crate::payloads::{Payloads, stamp, sum_of_words};

/// Takes what is read.
pub struct Sink<'a> {
    /// The number that comes next, of each writer.
    next: Vec<u64>,
    /// So many have come.
    pub seen: u64,
    sum: u64,
    /// The first record that should not have come: its place, writer and number.
    wrong: Option<(u64, u64, u64)>,
    forgiving: bool,
    /// Records that never came.
    pub skipped: u64,
    /// Records that came again, or too late.
    pub returned: u64,
    lines: Option<&'a Payloads>,
    watch: Option<Watch>,
}

/// When each record should have been sent: number times pace after the start.
struct Watch {
    start: Instant,
    pace: u64,
    late: Vec<u64>,
}

impl<'a> Sink<'a> {
    /// For what so many writers have sent.
    pub fn new(writers: u64) -> Sink<'a> {
        Sink {
            next: vec![0; writers as usize],
            seen: 0,
            sum: 0,
            wrong: None,
            forgiving: false,
            skipped: 0,
            returned: 0,
            lines: None,
            watch: None,
        }
    }

    /// For records from `first` on.
    pub fn from(first: u64) -> Sink<'a> {
        Sink { next: vec![first], ..Sink::new(1) }
    }

    /// For records without a stamp, which are compared with these.
    pub fn comparing(lines: &'a Payloads) -> Sink<'a> {
        Sink { lines: (!lines.is_stamped()).then_some(lines), ..Sink::new(1) }
    }

    /// Counts what is skipped instead of failing.
    pub fn forgiving(mut self) -> Sink<'a> {
        self.forgiving = true;
        self
    }

    /// Notes for each record how long after its time it came, in nanoseconds.
    pub fn watching(mut self, start: Instant, pace: u64, room: usize) -> Sink<'a> {
        self.watch = Some(Watch { start, pace, late: Vec::with_capacity(room) });
        self
    }

    /// The next record.
    #[inline]
    pub fn see(&mut self, payload: &[u8]) {
        if self.lines.is_some() {
            return self.compare(payload);
        }
        let (writer, number) = stamp(payload);
        match self.next.get_mut(writer as usize) {
            Some(next) if *next == number => *next += 1,
            _ => self.out_of_order(writer, number),
        }
        self.seen += 1;
        self.sum = self.sum.wrapping_add(sum_of_words(&payload[8.min(payload.len())..]));
        if let Some(watch) = &mut self.watch {
            let due = (number + 1) * watch.pace;
            watch.late.push((watch.start.elapsed().as_nanos() as u64).saturating_sub(due));
        }
    }

    fn compare(&mut self, payload: &[u8]) {
        if self.lines.is_some_and(|lines| !lines.is_record(self.seen, payload)) {
            self.wrong.get_or_insert((self.seen, 0, 0));
        }
        self.sum = self.sum.wrapping_add(sum_of_words(payload));
        self.seen += 1;
    }

    #[cold]
    fn out_of_order(&mut self, writer: u64, number: u64) {
        let known = self.next.get_mut(writer as usize);
        if let (true, Some(next)) = (self.forgiving, known) {
            match number.checked_sub(*next) {
                Some(gap) => self.skipped += gap,
                None => self.returned += 1,
            }
            *next = (number + 1).max(*next);
        } else {
            self.wrong.get_or_insert((self.seen, writer, number));
        }
    }

    /// The number expected next of a writer.
    pub fn next_of(&self, writer: u64) -> u64 {
        self.next[writer as usize]
    }

    /// What came was in order.
    pub fn check_order(&self) -> Result<()> {
        match self.wrong {
            Some((place, writer, number)) => {
                Err(format!("record {place} carries the stamp of writer {writer}, number {number}").into())
            }
            None => Ok(()),
        }
    }

    /// They were so many records of each writer, byte for byte.
    pub fn finish(&self, counts: &[u64], payloads: &Payloads) -> Result<()> {
        self.check_order()?;
        let expected: u64 = counts.iter().sum();
        if self.seen != expected || (payloads.is_stamped() && self.next != counts) {
            return Err(format!("{} records read back, {expected} were written", self.seen).into());
        }
        if !payloads.is_stamped() {
            return Ok(());
        }
        let sum = counts.iter().fold(0_u64, |sum, count| sum.wrapping_add(payloads.sum(*count)));
        match self.sum == sum {
            true => Ok(()),
            false => Err("the bytes read back are not those that were written".into()),
        }
    }

    /// How late the records came, in nanoseconds, sorted; without the first fifth.
    pub fn latencies(&mut self) -> Vec<u64> {
        let late = self.watch.take().map(|watch| watch.late).unwrap_or_default();
        let mut late = late[late.len() / 5..].to_vec();
        late.sort_unstable();
        std::hint::black_box(self.sum);
        late
    }
}
