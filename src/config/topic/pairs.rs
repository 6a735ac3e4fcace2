//! The settings of a topic as pairs of text, as they are stored and printed.
//!
//! ```text
//!   partitions = 3      durability = sync      segment_size = 1GiB      retention = age:7d   ...
//! ```
//!
//! Invariant: every setting is written out, defaults too, so that a later version with other defaults
//! does not change a topic that exists.

use std::time::Duration;

use super::super::text::{DurationText, parse_duration};
use super::TopicConfig;
use crate::error::{Error, Result};
use crate::types::ByteSize;

impl TopicConfig {
    /// Every setting by its name, as text, in a fixed order.
    ///
    /// ```
    /// use millpond::config::TopicConfig;
    /// let config = TopicConfig::new().partitions(3);
    /// assert!(config.to_pairs().contains(&("partitions", "3".to_owned())));
    /// ```
    #[must_use]
    pub fn to_pairs(&self) -> Vec<(&'static str, String)> {
        let mut pairs = vec![
            ("partitions", self.partitions.to_string()),
            ("durability", self.durability.to_string()),
            ("compression", self.compression.to_string()),
            ("batch_size", ByteSize::bytes(self.batch_size_bytes()).to_string()),
            ("linger", DurationText(self.linger).to_string()),
            ("max_record_size", ByteSize::bytes(self.max_record_size_bytes()).to_string()),
            ("segment_size", self.segment_size.to_string()),
            ("segment_age", DurationText(self.segment_age).to_string()),
            ("index_interval", self.index_interval.to_string()),
            ("index_size", self.index_size.to_string()),
            ("timestamp_type", self.timestamp_type.to_string()),
            ("retention", self.retention.to_string()),
            ("min_in_sync_replicas", self.min_in_sync_replicas.to_string()),
            ("cleanup_policy", self.cleanup_policy.to_string()),
            ("min_compaction_lag", DurationText(self.min_compaction_lag).to_string()),
            ("max_compaction_lag", self.max_compaction_lag.map_or(NEVER.to_owned(), text_of)),
            ("min_cleanable_dirty_percent", self.min_cleanable_dirty_percent.to_string()),
            ("delete_retention", DurationText(self.delete_retention).to_string()),
            ("keep_unread", self.keep_unread.map_or(NO.to_owned(), |size| size.to_string())),
        ];
        // Said only where it is so: what is on a disk never is.
        pairs.extend(self.volatile.map(|volatile| ("volatile", volatile.to_string())));
        pairs
    }

    /// Settings from their names and texts; what is left out has its default. Whether this build has the
    /// codec of the compression is not asked here, so that topics of another build can be described.
    ///
    /// ```
    /// use millpond::config::TopicConfig;
    /// let config = TopicConfig::from_pairs([("partitions", "3"), ("retention", "age:7d")])?;
    /// assert_eq!(config.partition_count(), 3);
    /// assert!(TopicConfig::from_pairs([("partition", "3")]).is_err());
    /// # Ok::<(), millpond::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names what is unknown, given twice or out of bounds.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<TopicConfig>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut config = TopicConfig::new();
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in pairs {
            let name = name.as_ref();
            config.set(name, value.as_ref())?;
            // Only known names come here, so the list stays short.
            if seen.iter().any(|known| known == name) {
                return Err(Error::invalid_config(name, "given twice", "given once"));
            }
            seen.push(name.to_owned());
        }
        if let Some(volatile) = config.volatile.filter(|_| !seen.iter().any(|name| name == "durability")) {
            config = config.volatile(volatile); // as the setter does, where nothing else was said
        }
        config.check_bounds()?;
        Ok(config)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "partitions" => self.partitions = count(name, value)?,
            "durability" => self.durability = value.parse()?,
            "compression" => self.compression = value.parse()?,
            "batch_size" => self.batch_size = Some(size(name, value)?),
            "linger" => self.linger = duration(name, value)?,
            "max_record_size" => self.max_record_size = Some(size(name, value)?),
            "segment_size" => self.segment_size = size(name, value)?,
            "segment_age" => self.segment_age = duration(name, value)?,
            "index_interval" => self.index_interval = size(name, value)?,
            "index_size" => self.index_size = size(name, value)?,
            "timestamp_type" => self.timestamp_type = value.parse()?,
            "retention" => self.retention = value.parse()?,
            "min_in_sync_replicas" => self.min_in_sync_replicas = count(name, value)?,
            "cleanup_policy" => self.cleanup_policy = value.parse()?,
            "min_compaction_lag" => self.min_compaction_lag = duration(name, value)?,
            "max_compaction_lag" => self.max_compaction_lag = bounded(name, value)?,
            "min_cleanable_dirty_percent" => self.min_cleanable_dirty_percent = count(name, value)?,
            "keep_unread" => self.keep_unread = if value == NO { None } else { Some(size(name, value)?) },
            "delete_retention" => self.delete_retention = duration(name, value)?,
            "volatile" => self.volatile = Some(value.parse()?),
            _ => return Err(unknown_name(name)),
        }
        Ok(())
    }
}

/// Nothing unread is spared.
const NO: &str = "no";

/// A time that is not bounded.
const NEVER: &str = "never";

fn text_of(time: Duration) -> String {
    DurationText(time).to_string()
}

fn bounded(name: &str, value: &str) -> Result<Option<Duration>> {
    if value == NEVER { Ok(None) } else { duration(name, value).map(Some) }
}

fn count(name: &str, value: &str) -> Result<u32> {
    value.parse().map_err(|_| unreadable(name, value, "a number"))
}

fn size(name: &str, value: &str) -> Result<ByteSize> {
    value.parse().map_err(|_| unreadable(name, value, "a size such as 64MiB"))
}

fn duration(name: &str, value: &str) -> Result<Duration> {
    parse_duration(value).ok_or_else(|| unreadable(name, value, "a time such as 250ms"))
}

fn unreadable(name: &str, value: &str, expected: &str) -> Error {
    Error::invalid_config(name, format_args!("{:?}", shorten(value)), expected)
}

fn unknown_name(name: &str) -> Error {
    let mut known: Vec<&str> = TopicConfig::new().to_pairs().into_iter().map(|(name, _)| name).collect();
    known.push("volatile");
    Error::invalid_config(&shorten(name), "unknown", &format!("one of {}", known.join(", ")))
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}
