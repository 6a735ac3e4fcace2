//! Records of a topic beside the program that writes them.
//!
//! Invariants: nothing is written and no lock is taken; records come in order within each partition, and
//! the partitions take turns; a pause is short at first and grows while nothing comes.

use std::thread;
use std::time::Duration;

use millpond::broker::{ObservedRecords, PartitionDescription};
use millpond::config::Start;
use millpond::consumer::OwnedRecord;
use millpond::{Error, ErrorKind, Observer, Offset, Timestamp};

use crate::failure::{Failure, Outcome};

/// The most records of one partition before the next one's turn.
const TURN: u32 = 1000;
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Some partitions of a topic, read as they grow.
#[derive(Debug)]
pub(crate) struct LiveView {
    observer: Observer,
    topic: String,
    partitions: Vec<Place>,
    turn: usize,
    taken: u32,
    pause: Duration,
}

/// A partition and the place in it.
#[derive(Debug)]
struct Place {
    records: ObservedRecords,
    /// There were records below this when it was opened.
    sealed: Offset,
    /// Records are left out until one is not older than this.
    since: Option<Timestamp>,
}

impl LiveView {
    /// Of one partition, or of all.
    pub(crate) fn open(
        observer: &Observer,
        topic: &str,
        partition: Option<u32>,
        from: Start,
    ) -> Outcome<LiveView> {
        let description = observer.describe(topic)?;
        let damaged = |error: &&Error| {
            partition.is_none_or(|p| error.topic_partition().is_none_or(|tp| tp.partition() == p))
        };
        if let Some(error) = description.unreadable().iter().find(damaged) {
            return Err(Failure::unreadable(error));
        }
        let mut partitions = Vec::new();
        let wanted = |found: &&PartitionDescription| partition.is_none_or(|p| p == found.partition());
        for found in description.partitions().iter().filter(wanted) {
            partitions.push(Place::open(observer, topic, found, from)?);
        }
        match partition {
            Some(number) if partitions.is_empty() => {
                Err(Failure::failed(format!("topic {topic} has no partition {number}")))
            }
            _ => {
                let (observer, topic) = (observer.clone(), topic.to_owned());
                Ok(LiveView { observer, topic, partitions, turn: 0, taken: 0, pause: SHORTEST_PAUSE })
            }
        }
    }

    /// The next record; `None` if there is none now.
    pub(crate) fn next(&mut self) -> Outcome<Option<OwnedRecord>> {
        for _ in 0..=self.partitions.len() {
            if self.taken < TURN {
                let found = self.partitions[self.turn].next();
                if let Some(record) = found.map_err(|failure| self.unless_deleted(failure))? {
                    self.taken += 1;
                    self.pause = SHORTEST_PAUSE;
                    return Ok(Some(record));
                }
            }
            self.turn = (self.turn + 1) % self.partitions.len();
            self.taken = 0;
        }
        Ok(None)
    }

    /// Files that are missing are none to worry about where the topic is.
    fn unless_deleted(&self, failure: Failure) -> Failure {
        match self.observer.describe(&self.topic) {
            Err(error) if error.kind() == ErrorKind::TopicNotFound => {
                Failure::failed(format!("topic {} has been deleted", self.topic))
            }
            _ => failure,
        }
    }

    /// Waits a little before it makes sense to ask again.
    pub(crate) fn pause(&mut self) {
        thread::park_timeout(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

impl Place {
    fn open(observer: &Observer, topic: &str, found: &PartitionDescription, from: Start) -> Outcome<Place> {
        let (earliest, sealed) = (found.log_start_offset(), found.log_end_offset());
        let mut newest = observer.read(topic, found.partition(), sealed..)?;
        while newest.next()?.is_some() {}
        let latest = newest.position().max(sealed);
        let first = match from {
            Start::Latest => latest,
            Start::Last(count) => {
                Offset::new(latest.get().saturating_sub(count)).unwrap_or(earliest).max(earliest)
            }
            Start::Offset(offset) if offset < earliest || offset > latest => {
                let number = found.partition();
                let holds = format!(
                    "partition {number}: the log begins at offset {earliest} and ends before {latest}, not at {offset}"
                );
                return Err(Failure::failed(holds));
            }
            Start::Offset(offset) => offset,
            _ => earliest,
        };
        let records = observer.read(topic, found.partition(), first..)?;
        let since = if let Start::Timestamp(since) = from { Some(since) } else { None };
        Ok(Place { records, sealed, since })
    }

    fn next(&mut self) -> Outcome<Option<OwnedRecord>> {
        while let Some(record) = self.records.next()? {
            if self.since.is_none_or(|since| record.timestamp() >= since) {
                self.since = None;
                return Ok(Some(record));
            }
        }
        let position = self.records.position();
        if position < self.sealed {
            let gap = format!("nothing can be read from offset {position} to {}: see verify", self.sealed);
            return Err(Failure::failed(gap));
        }
        Ok(None)
    }
}
