//! What a producer sends to: the partitions of a topic, of which there may be more tomorrow.
//!
//! Invariants
//! - Partitions are only added, never moved: a reference to one is good as long as the set.
//! - `count` rises after its partitions are in place, so that whoever has read it finds all below it.
//!
//! ```text
//!   partition   0 | 1 2 | 3 4 5 6 | 7 ...      row r holds 2^r partitions, made when it is needed:
//!   row         0 |  1  |    2    | 3 ...      reading takes no lock and clones nothing
//! ```

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::SchemaHeaders;
use crate::error::{Error, ErrorKind, Result};
use crate::partition::Log;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Mutex, WaitList};
use crate::types::TopicName;

/// Rows enough for 2^20 - 1 partitions, far above what settings allow.
const ROWS: usize = 20;

type Row = OnceLock<Box<[OnceLock<Arc<Log>>]>>;

/// The partitions of a topic, by number; shared by the topic's handles, producers and readers.
pub(crate) struct PartitionSet {
    count: AtomicU32,
    rows: [Row; ROWS],
    adding: Mutex<()>,
    grown: WaitList,
}

impl PartitionSet {
    /// These partitions, from number 0.
    pub(crate) fn new(logs: impl IntoIterator<Item = Arc<Log>>) -> PartitionSet {
        let set = PartitionSet {
            count: AtomicU32::new(0),
            rows: [const { OnceLock::new() }; ROWS],
            adding: Mutex::new(()),
            grown: WaitList::new(),
        };
        set.add(logs);
        set
    }

    /// Adds partitions behind those there are; producers and topic readers find them at their next call.
    pub(crate) fn add(&self, logs: impl IntoIterator<Item = Arc<Log>>) {
        let _adding = self.adding.lock();
        let mut count = self.count.load(Ordering::Relaxed);
        for log in logs {
            let (row, place) = place_of(count);
            let Some(row) = self.rows.get(row) else { break };
            let row = row.get_or_init(|| empty_row(place_of(count).0));
            // Nobody else adds, and `count` rises with every place: this one is free.
            let _ = row[place].set(log);
            count += 1;
        }
        self.count.store(count, Ordering::Release);
        self.grown.notify_after_publish();
    }

    /// How many there are.
    #[inline]
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    /// The partition of this number.
    #[inline]
    pub(crate) fn get(&self, partition: u32) -> Option<&Arc<Log>> {
        if partition >= self.count() {
            return None;
        }
        let (row, place) = place_of(partition);
        self.rows.get(row)?.get()?.get(place)?.get()
    }

    /// All there are now, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Log>> {
        (0..self.count()).filter_map(|partition| self.get(partition))
    }

    /// Who waits for more partitions.
    pub(crate) fn grown(&self) -> &WaitList {
        &self.grown
    }
}

impl fmt::Debug for PartitionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionSet").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// Row and place in it.
#[inline]
fn place_of(partition: u32) -> (usize, usize) {
    let row = (u64::from(partition) + 1).ilog2();
    (row as usize, (u64::from(partition) + 1 - (1 << row)) as usize)
}

fn empty_row(row: usize) -> Box<[OnceLock<Arc<Log>>]> {
    (0..1usize << row).map(|_| OnceLock::new()).collect()
}

/// A producer or reader keeps its broker open, of which it knows nothing else.
pub(crate) type KeptOpen = Arc<dyn Any + Send + Sync>;

/// A topic as a producer sees it.
#[derive(Clone, Debug)]
pub(crate) struct ProducerTarget {
    /// The topic's name.
    pub(crate) topic: TopicName,
    /// Its partitions.
    pub(crate) partitions: Arc<PartitionSet>,
    /// How long `send` waits for room where the producer's settings do not say.
    pub(crate) max_block: Duration,
    /// What stays open for as long as the producer lives.
    #[expect(dead_code, reason = "held, not used")]
    pub(crate) kept_open: Option<KeptOpen>,
    /// Headers that every record gets, where the producer's codecs are not those that the topic remembers.
    pub(crate) schema: Option<Arc<SchemaHeaders>>,
}

impl ProducerTarget {
    /// The partition of this number.
    #[inline]
    pub(crate) fn partition(&self, partition: u32) -> Result<&Arc<Log>> {
        self.partitions.get(partition).ok_or_else(|| self.no_partition(partition))
    }

    #[cold]
    fn no_partition(&self, partition: u32) -> Error {
        let count = self.partitions.count();
        let message =
            format!("topic {} has {count} partitions, so there is no partition {partition}", self.topic);
        Error::new(ErrorKind::PartitionNotFound, message)
    }
}

#[cfg(test)]
mod tests {
    use super::place_of;

    #[test]
    fn rows_double_and_leave_no_place_out() {
        let mut expected = Vec::new();
        for row in 0..12 {
            expected.extend((0..1 << row).map(|place| (row, place)));
        }
        for (partition, place) in expected.into_iter().enumerate() {
            assert_eq!(place_of(partition as u32), place);
        }
        assert_eq!(place_of(u32::MAX), (32, 0));
    }
}
