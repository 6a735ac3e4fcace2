//! What an operator sees of an open broker, as plain data of one moment.
//!
//! ```text
//!   Broker::metrics() --> Metrics --topics--> TopicMetrics --partitions--> PartitionMetrics
//!                           |                                                (in, out, flushes, waits)
//!                           +--groups--> GroupMetrics --partitions--> LagMetrics
//!   two of them, some time apart --> rates and shares: see rates.rs
//! ```
//!
//! Invariants
//! - Counters begin at 0 when the broker is opened and only rise; everything else is as it is now.
//! - A snapshot takes no lock that an append needs, but for the instant in which a group's committed offsets and
//!   what follows them are looked at.

use std::sync::Arc;
use std::time::Duration;

use super::broker::{Broker, Shared};
use super::lag::PartitionLag;
use super::topic_state::TopicState;
use crate::consumer::LagSource;
use crate::error::Result;
use crate::group::{GroupId, GroupState, OffsetAndMetadata};
use crate::partition::{Log, Passed, Took};
use crate::types::{Offset, TopicId, TopicName, TopicPartition};

/// All counts of a broker at one moment; from [`Broker::metrics`].
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Metrics {
    /// When, by the environment's monotonic clock.
    pub at: Duration,
    /// The topics, by name; those that begin with `__` are internal and are left out.
    pub topics: Vec<TopicMetrics>,
    /// The groups, by name; none where the offsets topic cannot be read.
    pub groups: Vec<GroupMetrics>,
    /// Files of segments that are open: see [`Broker::open_segments`].
    pub open_segments: u64,
}

/// A topic at one moment.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct TopicMetrics {
    /// Its name.
    pub name: TopicName,
    /// Tells it from a later topic of the same name.
    pub id: TopicId,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionMetrics>,
}

/// A partition at one moment.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PartitionMetrics {
    /// Its number.
    pub partition: u32,
    /// What went in and out since the broker was opened.
    pub traffic: Traffic,
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// Where readers stop.
    pub high_watermark: Offset,
    /// The offset behind the last record.
    pub log_end_offset: Offset,
    /// Bytes of its segments.
    pub size_bytes: u64,
    /// How many segments it has.
    pub segments: u64,
    /// Bytes of segments that have been deleted, but stay on the disk because records of them are looked at.
    pub pinned_bytes: u64,
    /// How many readers and consumers read it.
    pub readers: u64,
    /// Flushes since the broker was opened.
    pub flushes: Timing,
    /// How often and how long threads have waited until records were on the device (level `Sync`).
    pub durable_waits: Timing,
    /// Whether a write or sync of it has failed.
    pub poisoned: bool,
}

/// What went in and out since the broker was opened.
///
/// Bytes are those of whole batches, as they are stored. What goes out counts for each reader, when it is handed
/// out; of a compacted log, records that were there once count with it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Traffic {
    /// Records appended.
    pub records_in: u64,
    /// Bytes appended.
    pub bytes_in: u64,
    /// Records handed to readers.
    pub records_out: u64,
    /// Bytes handed to readers.
    pub bytes_out: u64,
}

/// How often something was done since the broker was opened, and how long it took, as fine as the coarse clock.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Timing {
    /// How often.
    pub count: u64,
    /// How long, all together.
    pub total: Duration,
    /// How long, at most.
    pub longest: Duration,
}

/// A consumer group at one moment.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct GroupMetrics {
    /// Its name.
    pub group: String,
    /// How it is doing.
    pub state: GroupState,
    /// How many members it has.
    pub members: u64,
    /// How often its partitions were shared anew since the broker was opened.
    pub rebalances: u64,
    /// How many partitions have left a member for another by that.
    pub moved_partitions: u64,
    /// How long all hand-overs took together.
    pub rebalance_time: Duration,
    /// How long the last hand-over took.
    pub last_rebalance: Option<Duration>,
    /// How far it is behind, in records of all partitions.
    pub lag_records: u64,
    /// The partitions that it reads or has committed in, sorted.
    pub partitions: Vec<LagMetrics>,
}

/// How far a group is behind in a partition at one moment.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct LagMetrics {
    /// Which partition.
    pub partition: TopicPartition,
    /// The offset from which the group goes on after a crash; `None` if it has committed nothing.
    pub committed: Option<Offset>,
    /// The offset that the owner reads next.
    pub position: Option<Offset>,
    /// The end of what can be read.
    pub end: Offset,
    /// Records between what is committed and the end.
    pub lag_records: u64,
    /// How long ago the first record that is not committed was sent; `None` if that cannot be read.
    pub lag_time: Option<Duration>,
    /// The member that has the partition.
    pub owner: Option<String>,
}

impl Broker {
    /// All counts as they are now. Costs a look at every partition and at every group's offsets, and nothing
    /// between the calls: appends are not counted one by one.
    ///
    /// Rates come from two of these: [`Metrics::rates_since`], [`Metrics::hot_partitions_since`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
    /// clicks.producer()?.send_batch(["/home", "/about"].map(Record::new))?.wait()?;
    /// let records = clicks.read(Start::Earliest)?.next()?;
    ///
    /// let metrics = broker.metrics();
    /// let traffic = metrics.topics[0].traffic();
    /// assert_eq!((traffic.records_in, traffic.records_out), (2, 2));
    /// assert_eq!(metrics.topics[0].partitions[0].flushes.count, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let shared = &self.shared;
        let topics = shared.topics.read().all();
        let topics = topics.iter().filter(|topic| !topic.name().is_internal());
        Metrics {
            at: shared.environment.clock().monotonic(),
            topics: topics.map(TopicMetrics::of).collect(),
            groups: shared.group_metrics(),
            open_segments: self.open_segments(),
        }
    }
}

impl Shared {
    fn group_metrics(&self) -> Vec<GroupMetrics> {
        let groups = self.groups.list().unwrap_or_default();
        // One that ends meanwhile is left out.
        groups.iter().filter_map(|group| self.metrics_of(group).ok()).collect()
    }

    fn metrics_of(&self, group: &GroupId) -> Result<GroupMetrics> {
        let description = self.groups.describe(group)?;
        let partitions: Vec<LagMetrics> = self.lag_of(group)?.iter().map(LagMetrics::of).collect();
        Ok(GroupMetrics {
            group: group.to_string(),
            state: description.state(),
            members: description.members().len() as u64,
            rebalances: description.rebalances(),
            moved_partitions: description.moved_partitions(),
            rebalance_time: description.rebalance_time(),
            last_rebalance: description.last_rebalance(),
            lag_records: partitions.iter().map(|lag| lag.lag_records).sum(),
            partitions,
        })
    }

    /// How far a group is behind in each partition of the topics of which it has something; topics that are gone
    /// are left out.
    pub(super) fn lag_of(&self, group: &GroupId) -> Result<Vec<PartitionLag>> {
        let mut sources = self.groups.lag_sources(group)?.into_iter().peekable();
        let mut lag = Vec::new();
        while let Some(name) = sources.peek().map(|source| source.tp.topic().clone()) {
            let topic = self.topics.read().find(&name);
            for log in topic.iter().flat_map(|topic| topic.partitions().iter()) {
                let tp = log.topic_partition();
                let known = sources.next_if(|source| source.tp == *tp);
                lag.push(PartitionLag::new(known.unwrap_or_else(|| LagSource::nothing(tp)), log));
            }
            while sources.next_if(|source| *source.tp.topic() == name).is_some() {}
        }
        Ok(lag)
    }
}

impl TopicMetrics {
    fn of(topic: &Arc<TopicState>) -> TopicMetrics {
        let logs = (0..).zip(topic.partitions().iter());
        TopicMetrics {
            name: topic.name().clone(),
            id: topic.id(),
            partitions: logs.map(|(number, log)| PartitionMetrics::of(number, log)).collect(),
        }
    }

    /// What went in and out of all its partitions.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.partitions.iter().fold(Traffic::default(), |sum, partition| sum.plus(&partition.traffic))
    }

    /// Bytes of all its partitions.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.size_bytes).sum()
    }
}

impl PartitionMetrics {
    fn of(partition: u32, log: &Log) -> PartitionMetrics {
        // The end last: it is never below what was seen before.
        let (log_start, high_watermark) = (log.log_start(), log.high_watermark());
        PartitionMetrics {
            partition,
            traffic: Traffic::of(log.passed_in(), log.passed_out()),
            log_start_offset: Offset::of(log_start),
            high_watermark: Offset::of(high_watermark),
            log_end_offset: Offset::of(log.log_end()),
            size_bytes: log.size_bytes(),
            segments: log.segment_count() as u64,
            pinned_bytes: log.pinned_bytes(),
            readers: log.reader_count() as u64,
            flushes: Timing::of(log.flushes()),
            durable_waits: Timing::of(log.durable_waits()),
            poisoned: log.is_poisoned(),
        }
    }
}

impl Traffic {
    fn of(passed_in: Passed, passed_out: Passed) -> Traffic {
        Traffic {
            records_in: passed_in.records,
            bytes_in: passed_in.bytes,
            records_out: passed_out.records,
            bytes_out: passed_out.bytes,
        }
    }

    /// Both together.
    pub(super) fn plus(&self, other: &Traffic) -> Traffic {
        self.each(other, u64::saturating_add)
    }

    /// What this is more than `earlier`; nothing where it is less.
    pub(super) fn less(&self, earlier: &Traffic) -> Traffic {
        self.each(earlier, u64::saturating_sub)
    }

    fn each(&self, other: &Traffic, call: impl Fn(u64, u64) -> u64) -> Traffic {
        Traffic {
            records_in: call(self.records_in, other.records_in),
            bytes_in: call(self.bytes_in, other.bytes_in),
            records_out: call(self.records_out, other.records_out),
            bytes_out: call(self.bytes_out, other.bytes_out),
        }
    }
}

impl Timing {
    fn of(took: Took) -> Timing {
        Timing { count: took.count, total: took.total, longest: took.longest }
    }

    /// How long it took on average; zero if it was never done.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        self.total.checked_div(count).unwrap_or_default()
    }
}

impl LagMetrics {
    fn of(lag: &PartitionLag) -> LagMetrics {
        LagMetrics {
            partition: lag.partition().clone(),
            committed: lag.committed().map(OffsetAndMetadata::offset),
            position: lag.position(),
            end: lag.end(),
            lag_records: lag.records(),
            lag_time: lag.time(),
            owner: lag.owner().map(ToString::to_string),
        }
    }
}
