//! The counts of a broker, handed to the `metrics` facade: whatever recorder the host has installed gets them.
//!
//! Invariants
//! - Nothing is kept here: each call sets absolute values, so that it may be called as often as anybody likes.
//! - The names are those of `docs/metrics.md`; a test compares them.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::broker::Broker;
use super::metrics::{GroupMetrics, LagMetrics, Metrics, PartitionMetrics, TopicMetrics};

impl Broker {
    /// Hands all counts to the host's recorder of the `metrics` facade, under the names of
    /// `docs/metrics.md`. Call it now and then, such as each time before the host's
    /// exporter is asked; in between nothing is told.
    ///
    /// Counters count from the opening of the broker. Of two brokers in one process that have a topic of the same
    /// name, one hides the other: give each its own recorder (`metrics::with_local_recorder`).
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let broker = millpond::Broker::open(dir.path())?;
    /// // for example once a second, in a thread of the host's
    /// broker.publish_metrics();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish_metrics(&self) {
        describe();
        self.metrics().publish();
    }
}

impl Metrics {
    fn publish(&self) {
        gauge!("millpond_open_segments").set(self.open_segments as f64);
        self.topics.iter().for_each(TopicMetrics::publish);
        self.groups.iter().for_each(GroupMetrics::publish);
    }
}

impl TopicMetrics {
    fn publish(&self) {
        for partition in &self.partitions {
            partition.publish(self.name.as_str());
        }
    }
}

impl PartitionMetrics {
    fn publish(&self, topic: &str) {
        let labels = [("topic", topic.to_owned()), ("partition", self.partition.to_string())];
        counter!("millpond_records_in_total", &labels).absolute(self.traffic.records_in);
        counter!("millpond_bytes_in_total", &labels).absolute(self.traffic.bytes_in);
        counter!("millpond_records_out_total", &labels).absolute(self.traffic.records_out);
        counter!("millpond_bytes_out_total", &labels).absolute(self.traffic.bytes_out);
        counter!("millpond_flushes_total", &labels).absolute(self.flushes.count);
        counter!("millpond_flush_microseconds_total", &labels).absolute(micros(self.flushes.total));
        counter!("millpond_durable_waits_total", &labels).absolute(self.durable_waits.count);
        counter!("millpond_durable_wait_microseconds_total", &labels)
            .absolute(micros(self.durable_waits.total));
        gauge!("millpond_log_start_offset", &labels).set(self.log_start_offset.get() as f64);
        gauge!("millpond_high_watermark", &labels).set(self.high_watermark.get() as f64);
        gauge!("millpond_log_end_offset", &labels).set(self.log_end_offset.get() as f64);
        gauge!("millpond_log_bytes", &labels).set(self.size_bytes as f64);
        gauge!("millpond_segments", &labels).set(self.segments as f64);
        gauge!("millpond_pinned_bytes", &labels).set(self.pinned_bytes as f64);
        gauge!("millpond_readers", &labels).set(self.readers as f64);
        gauge!("millpond_poisoned", &labels).set(f64::from(u8::from(self.poisoned)));
    }
}

impl GroupMetrics {
    fn publish(&self) {
        let labels = [("group", self.group.clone())];
        gauge!("millpond_group_members", &labels).set(self.members as f64);
        counter!("millpond_group_rebalances_total", &labels).absolute(self.rebalances);
        counter!("millpond_group_moved_partitions_total", &labels).absolute(self.moved_partitions);
        counter!("millpond_group_rebalance_microseconds_total", &labels)
            .absolute(micros(self.rebalance_time));
        for lag in &self.partitions {
            lag.publish(&self.group);
        }
    }
}

impl LagMetrics {
    fn publish(&self, group: &str) {
        let labels = [
            ("group", group.to_owned()),
            ("topic", self.partition.topic().to_string()),
            ("partition", self.partition.partition().to_string()),
        ];
        gauge!("millpond_group_lag_records", &labels).set(self.lag_records as f64);
        if let Some(time) = self.lag_time {
            gauge!("millpond_group_lag_seconds", &labels).set(time.as_secs_f64());
        }
        if let Some(committed) = self.committed {
            gauge!("millpond_group_committed_offset", &labels).set(committed.get() as f64);
        }
    }
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn describe() {
    describe_counter!("millpond_records_in_total", Unit::Count, "Records appended");
    describe_counter!("millpond_bytes_in_total", Unit::Bytes, "Bytes appended");
    describe_counter!("millpond_records_out_total", Unit::Count, "Records handed to readers");
    describe_counter!("millpond_bytes_out_total", Unit::Bytes, "Bytes handed to readers");
    describe_counter!("millpond_flushes_total", Unit::Count, "Flushes to the device");
    describe_counter!("millpond_flush_microseconds_total", Unit::Microseconds, "Time of flushes");
    describe_counter!("millpond_durable_waits_total", Unit::Count, "Waits for the device");
    describe_counter!("millpond_durable_wait_microseconds_total", Unit::Microseconds, "Time of those waits");
    describe_gauge!("millpond_log_start_offset", Unit::Count, "First offset that can be read");
    describe_gauge!("millpond_high_watermark", Unit::Count, "Where readers stop");
    describe_gauge!("millpond_log_end_offset", Unit::Count, "Offset behind the last record");
    describe_gauge!("millpond_log_bytes", Unit::Bytes, "Bytes of the segments");
    describe_gauge!("millpond_segments", Unit::Count, "Segments");
    describe_gauge!("millpond_pinned_bytes", Unit::Bytes, "Bytes deleted, but still looked at");
    describe_gauge!("millpond_readers", Unit::Count, "Readers and consumers");
    describe_gauge!("millpond_poisoned", Unit::Count, "1 after a failed write or sync");
    describe_gauge!("millpond_open_segments", Unit::Count, "Open files of segments");
    describe_gauge!("millpond_group_members", Unit::Count, "Members of the group");
    describe_counter!("millpond_group_rebalances_total", Unit::Count, "Rebalances");
    describe_counter!("millpond_group_moved_partitions_total", Unit::Count, "Partitions moved by them");
    describe_counter!(
        "millpond_group_rebalance_microseconds_total",
        Unit::Microseconds,
        "Time of hand-overs"
    );
    describe_gauge!("millpond_group_lag_records", Unit::Count, "Records between committed and end");
    describe_gauge!("millpond_group_lag_seconds", Unit::Seconds, "Age of the first uncommitted record");
    describe_gauge!("millpond_group_committed_offset", Unit::Count, "The offset to go on from");
}
