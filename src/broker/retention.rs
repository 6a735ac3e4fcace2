//! Retention over several partitions: a topic's size, the whole broker's disk budget, and what groups have not read.
//!
//! ```text
//!   each partition: age, size                    also by a timer of its own, at once when it is due
//!   each topic:     the oldest closed segment of any of its partitions, while the topic is too large
//!   the broker:     the oldest closed segment of any topic that deletes, while all are too large
//! ```
//!
//! Invariants
//! - The log start moves first, durably; files go then, and their bytes when the last view does.
//! - Nothing goes of a topic whose policy is not to delete, and nothing internal for the budget's sake.
//! - What a group has not read stays, where the topic asks for it, up to the size that it names.

use std::sync::Arc;

use super::broker::{Broker, Shared};
use super::topic::Topic;
use super::topic_state::TopicState;
use crate::cleaner::{RetentionReport, retain, trim};
use crate::error::Result;
use crate::partition::Log;
use crate::types::TopicPartition;

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
    /// # Errors
    /// The first one met; the other topics' retention is done all the same. `Closed`.
    pub fn retain(&self) -> Result<RetentionReport> {
        self.shared.closing.check_open()?;
        self.shared.retain_all()
    }

    /// Bytes of segments that have been deleted, or compacted away, and are still looked at: the device has them
    /// back when the last record of them is dropped.
    #[must_use]
    pub fn pinned_bytes(&self) -> u64 {
        self.shared.logs().iter().map(|log| log.pinned_bytes()).sum()
    }
}

impl Shared {
    /// Does what retention asks for, in every topic and over all.
    pub(super) fn retain_all(&self) -> Result<RetentionReport> {
        let (mut report, mut first) = (RetentionReport::default(), Ok(()));
        let topics = self.topics.read().all();
        for topic in &topics {
            match self.retain_topic(topic) {
                Ok(done) => report.join(done),
                Err(e) => first = first.and(Err(e)),
            }
        }
        if let Some(budget) = self.config.disk_budget_bytes() {
            let logs: Vec<Arc<Log>> = topics.iter().flat_map(|topic| all_logs(topic)).collect();
            match trim(&logs, budget, |log| self.unread_from(log)) {
                Ok(done) => report.join(done),
                Err(e) => first = first.and(Err(e)),
            }
        }
        first.map(|()| report)
    }

    fn retain_topic(&self, topic: &TopicState) -> Result<RetentionReport> {
        let logs = all_logs(topic);
        let mut report = RetentionReport::default();
        for log in logs.iter().filter(|log| !log.is_poisoned() && !log.is_closed()) {
            let before = RetentionReport::now(log);
            retain(log, self.unread_from(log))?;
            report.join(before.until(log));
        }
        if let Some(size) = topic.manifest().config.retention_policy().max_topic_size() {
            report.join(trim(&logs, size.as_u64(), |log| self.unread_from(log))?);
        }
        Ok(report)
    }

    /// The lowest offset of a partition that some group has yet to read, where the topic keeps that.
    fn unread_from(&self, log: &Log) -> Option<u64> {
        let bound = log.settings().keep_unread?;
        let tp = log.topic_partition();
        let unread = log.size_bytes() <= bound;
        unread.then(|| self.lowest_committed(tp)).flatten()
    }

    fn lowest_committed(&self, tp: &TopicPartition) -> Option<u64> {
        let groups = self.groups.list().unwrap_or_default();
        let committed = |group| self.groups.committed(&group, tp).ok().flatten();
        groups.into_iter().filter_map(committed).map(|committed| committed.offset().get()).min()
    }
}

fn all_logs(topic: &TopicState) -> Vec<Arc<Log>> {
    topic.partitions().iter().cloned().collect()
}
