//! What passes in a second, and which partitions carry more than their share.
//!
//! ```text
//!   rate = (later - earlier) / time between       share = of a partition / of its topic
//! ```
//!
//! Invariants
//! - A topic that was made again in between (another id), and a broker that was opened again (fewer than
//!   before), begin at nothing: no rate is below 0.
//! - Shares of a topic add up to 1, or are all 0 where nothing passed.

use std::cmp::Ordering;
use std::time::Duration;

use super::metrics::{Metrics, TopicMetrics, Traffic};
use crate::types::TopicPartition;

/// What passed through a partition between two moments, per second, and which part of its topic that is.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct PartitionRates {
    /// Which partition.
    pub partition: TopicPartition,
    /// The time between the two moments.
    pub over: Duration,
    /// Records appended in a second.
    pub records_in: f64,
    /// Bytes appended in a second.
    pub bytes_in: f64,
    /// Records handed to readers in a second.
    pub records_out: f64,
    /// Bytes handed to readers in a second.
    pub bytes_out: f64,
    /// Its part of the bytes appended to the topic, 0 to 1.
    pub share_in: f64,
    /// Its part of the bytes handed to readers of the topic, 0 to 1.
    pub share_out: f64,
    /// How many partitions the topic has: an even share is one of so many.
    pub partitions_of_topic: u32,
}

impl PartitionRates {
    /// How many times its even share was appended to it: 1 where all partitions get the same.
    #[must_use]
    pub fn heat(&self) -> f64 {
        self.share_in * f64::from(self.partitions_of_topic)
    }
}

impl Metrics {
    /// What has passed through each partition since an earlier snapshot, per second, by topic and number. Empty
    /// if no time has passed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::prelude::*;
    /// use millpond::testing::SimEnvironment;
    ///
    /// let sim = SimEnvironment::new(1);
    /// let broker = Broker::builder("/data").environment(sim.environment()).open()?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new().durability(Durability::Memory))?;
    /// let before = broker.metrics();
    /// clicks.producer()?.send_batch(["/home", "/about"].map(Record::new))?.wait()?;
    /// sim.clock().advance(Duration::from_secs(4));
    /// let rates = broker.metrics().rates_since(&before);
    /// assert_eq!((rates[0].records_in, rates[0].share_in), (0.5, 1.0));
    /// # Ok::<(), millpond::Error>(())
    /// ```
    #[must_use]
    pub fn rates_since(&self, earlier: &Metrics) -> Vec<PartitionRates> {
        let over = self.at.saturating_sub(earlier.at);
        if over.is_zero() {
            return Vec::new();
        }
        self.topics.iter().flat_map(|topic| topic.rates(earlier.topic_like(topic), over)).collect()
    }

    /// The partitions to which more than `times` their even share has been appended since an earlier snapshot,
    /// hottest first; topics of one partition have no hot one. For a report of all of them, `times` is 0.
    #[must_use]
    pub fn hot_partitions_since(&self, earlier: &Metrics, times: f64) -> Vec<PartitionRates> {
        let mut hot = self.rates_since(earlier);
        hot.retain(|rates| rates.partitions_of_topic > 1 && rates.heat() > times);
        hot.sort_by(|a, b| b.heat().partial_cmp(&a.heat()).unwrap_or(Ordering::Equal));
        hot
    }

    fn topic_like(&self, topic: &TopicMetrics) -> Option<&TopicMetrics> {
        self.topics.iter().find(|known| known.id == topic.id)
    }
}

impl TopicMetrics {
    fn rates(&self, earlier: Option<&TopicMetrics>, over: Duration) -> Vec<PartitionRates> {
        let before = |number: u32| {
            let known = earlier?.partitions.iter().find(|known| known.partition == number)?;
            Some(known.traffic)
        };
        let passed: Vec<(u32, Traffic)> = self
            .partitions
            .iter()
            .map(|now| (now.partition, now.traffic.less(&before(now.partition).unwrap_or_default())))
            .collect();
        let total = passed.iter().fold(Traffic::default(), |sum, (_, traffic)| sum.plus(traffic));
        let per_second = |count: u64| count as f64 / over.as_secs_f64();
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let count = u32::try_from(self.partitions.len()).unwrap_or(u32::MAX);
        let rates = passed.iter().map(|(number, traffic)| PartitionRates {
            partition: TopicPartition::new(self.name.clone(), *number),
            over,
            records_in: per_second(traffic.records_in),
            bytes_in: per_second(traffic.bytes_in),
            records_out: per_second(traffic.records_out),
            bytes_out: per_second(traffic.bytes_out),
            share_in: share(traffic.bytes_in, total.bytes_in),
            share_out: share(traffic.bytes_out, total.bytes_out),
            partitions_of_topic: count,
        });
        rates.collect()
    }
}
