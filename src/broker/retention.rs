//! Retention over several partitions: a topic's size, the whole broker's disk budget, and what groups have not read.
//!
//! ```text
//!   each partition: age, size                    also by a timer of its own, at once when it is due
//!   each topic:     the oldest closed segment of any of its partitions, while the topic is too large
//!   the broker:     the oldest closed segment of any topic that deletes, while all are too large
//!
//!   on request      all of it, at once
//!   by itself       the same, or the oldest first, as fast as `retention_rate` lets them go
//! ```
//!
//! Invariants
//! - The log start moves first, durably; files go then, and their bytes when the last view does.
//! - Nothing goes of a topic whose policy is not to delete, and nothing internal for the budget's sake.
//! - What a group has not read stays, where the topic asks for it, up to the size that it names.
//! - What is to go is looked for anew each time: settings and groups may have changed since something was left.
//! - One at a time looks and deletes. The background never waits for its turn: it comes back, so that no flusher stands
//!   still.

use std::sync::Arc;
use std::time::Duration;

use super::broker::{Broker, Shared};
use super::topic::Topic;
use super::topic_state::TopicState;
use crate::cleaner::{BETWEEN, DeletionRate, Leaving, RetentionReport};
use crate::error::Result;
use crate::partition::Log;
use crate::types::Offset;

impl<K, V> Topic<K, V> {
    /// Deletes now what the topic's retention does not keep; by itself that is done in the background.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let config = TopicConfig::new().retention(Retention::size(ByteSize::mib(64)));
    /// let clicks = broker.create_topic("clicks", config)?;
    /// assert_eq!(clicks.retain()?.bytes_deleted(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Io`, `StorageFull`, `Poisoned`; `Closed`.
    pub fn retain(&self) -> Result<RetentionReport> {
        self.check()?;
        self.shared.retain_topic(&self.state)
    }
}

impl Broker {
    /// Deletes now what retention does not keep: in every topic, and for the sake of the
    /// [disk budget](crate::config::BrokerConfig::disk_budget).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::config::{BrokerConfig, Durability};
    /// use millpond::prelude::*;
    ///
    /// let config = BrokerConfig::new().disk_budget(ByteSize::mib(1));
    /// let broker = Broker::builder(dir.path()).config(config).open()?;
    /// let small = TopicConfig::new().segment_size(ByteSize::kib(256)).durability(Durability::Memory);
    /// let frames = broker.create_topic("frames", small)?;
    /// let producer = frames.producer()?;
    /// for _ in 0..200 {
    ///     drop(producer.send(Record::new(&[0; 10_000]))?);
    /// }
    /// producer.flush().wait()?;
    /// broker.retain()?;
    /// assert!(frames.describe().size_bytes() <= 1 << 20);     // of two million bytes
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The first one met; the other topics' retention is done all the same. `Closed`.
    pub fn retain(&self) -> Result<RetentionReport> {
        self.shared.closing.check_open()?;
        self.shared.retain_all()
    }

    /// Bytes of segments that have been deleted, or compacted away, and are still looked at: the device has them
    /// back when the last record of them is dropped.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::config::Durability;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let small = TopicConfig::new().segment_size(ByteSize::kib(16)).durability(Durability::Memory);
    /// let frames = broker.create_topic("frames", small.retention(Retention::size(ByteSize::kib(16))))?;
    /// let producer = frames.producer()?;
    /// for _ in 0..100 {
    ///     drop(producer.send(Record::new(&[0; 1000]))?);
    /// }
    /// producer.flush().wait()?;
    /// let mut reader = frames.partition(0)?.read(..)?;
    /// let records = reader.next()?;                           // holds the first segment
    /// frames.retain()?;
    /// assert!(broker.pinned_bytes() > 0);
    /// drop((records, reader));
    /// assert_eq!(broker.pinned_bytes(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        self.shared.logs().iter().map(|log| log.pinned_bytes()).sum()
    }
}

impl Shared {
    /// Does at once what retention asks for, in every topic and over all.
    fn retain_all(&self) -> Result<RetentionReport> {
        let _alone = self.retaining.lock();
        at_once(|| self.leaving())
    }

    /// In the background: the same, or, where a rate is set, as much of it as may be done now; the rest follows. What
    /// the disk budget could not wait for goes at once.
    pub(super) fn retain_in_background(&self) -> Result<()> {
        if self.closing.check_open().is_err() {
            return Ok(());
        }
        let now = self.service.now();
        let Some(mut retaining) = self.retaining.try_lock() else {
            // Who holds it may have passed by what has become due since.
            self.service.retain_at(now + BETWEEN);
            return Ok(());
        };
        let Some(rate) = &mut *retaining else { return at_once(|| self.leaving()).map(|_| ()) };
        if let Some(later) = rate.too_early(now) {
            self.service.retain_at(later);
            return Ok(());
        }
        self.retain_at_rate(rate, now)
    }

    /// Deletes as much as may be done now.
    fn retain_at_rate(&self, rate: &mut DeletionRate, now: Duration) -> Result<()> {
        let (leaving, mut first) = self.leaving();
        let mut urgent = self.urgent(rate);
        rate.begin(now);
        let mut left = false;
        for segment in leaving.oldest_first() {
            // What is in memory costs the device nothing.
            let paced = !segment.log.is_bounded();
            let free = !paced || rate.is_free(now);
            if !free && urgent == 0 {
                left = true;
                continue;
            }
            match segment.delete() {
                Ok(_) if !paced => {}
                Ok(_) => {
                    urgent = urgent.saturating_sub(segment.bytes);
                    if free {
                        rate.spend(segment.bytes);
                    }
                }
                Err(e) => first = first.and(Err(e)),
            }
        }
        if let Some(next) = rate.end(now, left) {
            self.service.retain_at(next);
        }
        first
    }

    /// Bytes above the disk budget that would still be there at the next look, were they deleted at the rate.
    fn urgent(&self, rate: &DeletionRate) -> u64 {
        let Some(budget) = self.config.disk_budget_bytes() else { return 0 };
        let on_disk = |log: &&Arc<Log>| !log.is_bounded();
        let total: u64 = self.logs().iter().filter(on_disk).map(|log| log.size_bytes()).sum();
        let in_time = rate.within(self.config.compaction_interval_duration());
        total.saturating_sub(budget).saturating_sub(in_time)
    }

    /// What retention does not keep, in every topic and over all; and the first error met on the way.
    fn leaving(&self) -> (Leaving, Result<()>) {
        let (mut leaving, mut first) = (Leaving::default(), Ok(()));
        let topics = self.topics.read().all();
        for topic in &topics {
            first = first.and(self.leaving_of(topic, &mut leaving));
        }
        if let Some(budget) = self.config.disk_budget_bytes() {
            let logs = topics.iter().flat_map(|topic| all_logs(topic)).filter(|log| !log.is_bounded());
            let logs: Vec<Arc<Log>> = logs.collect();
            first = first.and(leaving.add_over(&logs, budget, |log| self.unread_from(log)));
        }
        (leaving, first)
    }

    fn retain_topic(&self, topic: &TopicState) -> Result<RetentionReport> {
        let _alone = self.retaining.lock();
        at_once(|| {
            let mut leaving = Leaving::default();
            let planned = self.leaving_of(topic, &mut leaving);
            (leaving, planned)
        })
    }

    fn leaving_of(&self, topic: &TopicState, leaving: &mut Leaving) -> Result<()> {
        let logs = all_logs(topic);
        let mut first = Ok(());
        for log in logs.iter().filter(|log| !log.is_poisoned() && !log.is_closed()) {
            first = first.and(leaving.add_due(log, self.unread_from(log)));
        }
        if let Some(size) = topic.manifest().config.retention_policy().max_topic_size() {
            first = first.and(leaving.add_over(&logs, size.as_u64(), |log| self.unread_from(log)));
        }
        first
    }

    /// The lowest offset of a partition that some group has yet to read, where the topic keeps that.
    fn unread_from(&self, log: &Log) -> Option<u64> {
        let bound = log.settings().keep_unread?;
        if log.size_bytes() > bound {
            return None;
        }
        // Where nobody can tell what the groups have committed, they may need everything.
        self.groups.unread_from(log.topic_partition()).map_or(Some(0), |unread| unread.map(Offset::get))
    }
}

/// Deletes all of what `look` finds, until it finds nothing more: to delete is to seal, which makes a log larger.
fn at_once(look: impl Fn() -> (Leaving, Result<()>)) -> Result<RetentionReport> {
    let mut report = RetentionReport::default();
    loop {
        let (leaving, planned) = look();
        let done = planned.and(leaving.delete())?;
        report.join(done);
        if done.segments_deleted() == 0 {
            return Ok(report);
        }
    }
}

fn all_logs(topic: &TopicState) -> Vec<Arc<Log>> {
    topic.partitions().iter().cloned().collect()
}
