//! Timestamps of records: those that they are given, in any order, and those of their appends.
//!
//! Invariants: a record is of the time that it was given, or of its send, unless the topic says otherwise; whatever it
//! is stored with stays; the first record that is not before a time is found.

use millpond::Timestamp;

use super::log::Seen;
use super::world::World;

const HOUR: u64 = 3_600_000;

impl World {
    /// The time that a record is given, mostly none.
    pub(super) fn draw_time(&self) -> Option<i64> {
        let now = self.now();
        match self.below(12) {
            0 => Some(now - self.below(3 * HOUR) as i64),
            1 => Some(now + self.below(HOUR) as i64),
            2 => Some(now - self.below(300) as i64),
            _ => None,
        }
    }

    /// A record is seen: what it says is what was sent, and is believed from now on.
    pub(super) fn witness(&mut self, seen: &Seen, number: u64, n: u32) {
        seen.check(&self.records[seen.id], number, n);
        self.place(seen.id, seen.offset);
        let now = self.now();
        let sent = &mut self.records[seen.id];
        let given = seen.timestamp == sent.stamp.unwrap_or(sent.at);
        let [create, log_append] = self.topics[&number].times;
        assert!((create && given) || (log_append && seen.timestamp <= now), "{seen:?}, {sent:?}: its time");
        sent.stored = Some(seen.timestamp);
    }

    /// Searches by time, and compares with a look at every record.
    pub(super) fn check_times(&self, name: &str, number: u64, n: usize, high: u64, all: &[Seen]) {
        let partition = self.topics[&number].partition(n);
        for _ in 0..3 {
            let time = match (all.len() as u64, self.below(3)) {
                (1.., 0..=1) => {
                    all[self.below(all.len() as u64) as usize].timestamp + self.below(3) as i64 - 1
                }
                _ => self.now() - self.below(2 * HOUR) as i64,
            };
            let found = match partition.offset_for_timestamp(Timestamp::from_millis(time)) {
                Ok(found) => found,
                Err(error) => panic!("{name}: the offset of {time}: {error}"),
            };
            let found = found.map(|(offset, at)| (offset.get(), at.millis()));
            let first = all.iter().find(|record| record.timestamp >= time);
            let first = first.map(|record| (record.offset, record.timestamp));
            if partition.high_watermark().get() == high {
                assert_eq!(found, first, "{name}: the first record that is not before {time}");
            }
        }
    }
}
