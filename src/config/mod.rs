//! Settings: plain data that a person can write down, print and compare.
//!
//! Invariants: fields are private and every setting has a default; setters consume, so that settings
//! read as one sentence; nothing is checked before [`TopicConfig::validate`] and its like, which
//! run where the settings are used and name field, value and bound. Nothing is clipped silently.
//! Components (clock, partitioner, codec) are objects given to a builder, never settings.
//!
//! Setters are named by the setting, getters by the setting and the word of its type:
//!
//! ```
//! use std::time::Duration;
//! use millpond::ByteSize;
//! use millpond::config::TopicConfig;
//!
//! let config = TopicConfig::new().partitions(3).linger(Duration::from_millis(1)).segment_size(ByteSize::mib(64));
//! config.validate()?;
//! assert_eq!(config.partition_count(), 3);
//! assert_eq!(config.linger_duration(), Duration::from_millis(1));
//! assert_eq!(config.segment_size_bytes(), 64 << 20);
//! # Ok::<(), millpond::Error>(())
//! ```
//!
//! With the feature `serde` they are read from text: names in snake case, unknown ones refused, what is
//! left out has its default, times as `"7d"` or `"250ms"`, sizes as `"64MiB"` or a number.

#[macro_use]
mod text;

mod broker;
mod cleanup;
mod compression;
mod durability;
mod group;
mod modes;
mod producer;
mod reader;
mod retention;
mod start;
mod topic;
mod transaction;
mod volatile;

pub use broker::BrokerConfig;
pub use cleanup::CleanupPolicy;
pub use compression::Compression;
pub use durability::{Acks, Durability};
pub use group::{GroupConfig, OffsetReset};
pub use modes::{Background, CrcCheck, Isolation, Partitioning, ReadMode, TimestampType};
pub use producer::ProducerConfig;
pub use reader::ReaderConfig;
pub use retention::Retention;
pub use start::Start;
pub use topic::TopicConfig;
pub use transaction::TransactionConfig;
pub use volatile::{Overflow, Volatile};

#[cfg(test)]
mod tests;
