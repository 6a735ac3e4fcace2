//! Readers that stay open, a few at a time, while their log grows, is compacted, shortened at its beginning or deleted.
//!
//! Invariant: of what was readable where a reader has come by, it has handed out everything that still is, in order.

use std::collections::BTreeSet;

use millpond::ErrorKind;
use millpond::config::ReaderConfig;
use millpond::consumer::Reader;
use millpond::prelude::*;

use super::log::{Seen, read};
use super::world::{World, offset};

/// A reader of one partition.
pub(super) struct OpenReader {
    number: u64,
    n: usize,
    isolation: Isolation,
    reader: Reader,
}

impl World {
    /// Opens a reader, or goes on with one.
    pub(super) fn read_on(&mut self) {
        if self.readers.is_empty() || (self.readers.len() < 4 && self.one_in(4)) {
            return self.open_reader();
        }
        let at = self.below(self.readers.len() as u64) as usize;
        let mut reader = self.readers.swap_remove(at);
        let goes_on = (0..1 + self.below(4)).all(|_| self.read_once(&mut reader));
        if goes_on && !self.one_in(12) {
            self.readers.push(reader);
        }
    }

    fn open_reader(&mut self) {
        let Some(number) = self.any_topic() else { return };
        let topic = &self.topics[&number];
        let n = self.below(topic.logs.len() as u64) as usize;
        if topic.logs[n].poisoned {
            return;
        }
        let partition = topic.partition(n);
        let (low, high) = (partition.log_start_offset().get(), partition.high_watermark().get());
        let isolation = match self.one_in(2) {
            true => Isolation::ReadCommitted,
            false => Isolation::ReadUncommitted,
        };
        let config = ReaderConfig::new().isolation(isolation).max_records(1 + self.below(9) as u32);
        let start = match self.one_in(2) {
            true => Start::Earliest,
            false => Start::Offset(offset(low + self.below(high - low + 1))),
        };
        match partition.reader_builder().config(config).start(start).build() {
            Ok(reader) => {
                self.say(format!("a reader of {number}-{n} from {start}, {isolation:?}"));
                self.readers.push(OpenReader { number, n, isolation, reader });
            }
            Err(error) => self.bear("open a reader", &error, &[]),
        }
    }

    /// Reads once; answers whether the reader may go on.
    fn read_once(&mut self, open: &mut OpenReader) -> bool {
        let (number, n) = (open.number, open.n);
        let from = open.reader.position().get();
        let answer = open.reader.next().map(|records| records.map(|records| seen_in(&records)));
        let to = open.reader.position().get();
        let deleted = !self.topics.contains_key(&number);
        let seen = match answer {
            Ok(seen) => seen,
            Err(error) => {
                self.say(format!("    a reader of {number}-{n} at {from}: {error}"));
                let out_of_range = matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. });
                if deleted {
                    assert!(error.kind() == ErrorKind::Closed || out_of_range, "{error}");
                } else if matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }) {
                    let start = self.topics[&number].partition(n).log_start_offset().get();
                    assert!(start > from, "{error}: the log begins at {start}");
                } else {
                    self.bear("read", &error, &[]);
                }
                return false;
            }
        };
        let count = seen.as_ref().map_or(0, Vec::len);
        self.say(format!("    a reader of {number}-{n} goes from {from} to {to} with {count}"));
        let seen = seen.unwrap_or_default();
        let offsets: Vec<u64> = seen.iter().map(|record| record.offset).collect();
        let within = offsets.iter().all(|at| (from..to).contains(at));
        assert!(
            within && offsets.windows(2).all(|two| two[0] < two[1]),
            "{number}-{n}: {from}..{to}: {seen:?}"
        );
        for record in &seen {
            match deleted {
                true => record.check(&self.records[record.id], number, n as u32),
                false => self.witness(record, number, n as u32),
            }
        }
        if !deleted {
            self.check_nothing_left_out(open, from..to, &offsets);
        }
        true
    }

    /// What a reader came by and did not hand out, another one that begins there does not, either.
    fn check_nothing_left_out(&self, open: &OpenReader, range: std::ops::Range<u64>, seen: &[u64]) {
        let topic = &self.topics[&open.number];
        let log = &topic.logs[open.n];
        if log.poisoned || range.is_empty() || self.in_trouble() {
            return;
        }
        let partition = topic.partition(open.n);
        let from = range.start.max(partition.log_start_offset().get());
        let missing: Vec<u64> = log.known.range(from..range.end.max(from)).map(|(&at, _)| at).collect();
        let missing: Vec<u64> = missing.into_iter().filter(|at| !seen.contains(at)).collect();
        let Some(&first) = missing.first() else { return };
        let there: BTreeSet<u64> =
            read(&partition, first, open.isolation).unwrap().iter().map(|record| record.offset).collect();
        let left_out: Vec<&u64> = missing.iter().filter(|at| there.contains(at)).collect();
        let (name, isolation) = (&topic.name, open.isolation);
        assert!(left_out.is_empty(), "{name}-{}: {isolation:?} {range:?}: {left_out:?} left out", open.n);
    }
}

/// The records of one answer.
fn seen_in(records: &Records) -> Vec<Seen> {
    records.iter().map(|record| Seen::of(&record)).collect()
}
