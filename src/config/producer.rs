//! Settings of a producer.

use std::time::Duration;

use super::text::check_duration;
use super::{Acks, Compression, Partitioning};
use crate::error::Result;

/// Settings of a producer. Batch size and linger belong to the topic, and so does compression, but for batches of
/// the producer's own.
///
/// ```
/// use millpond::config::{Acks, ProducerConfig};
/// let config = ProducerConfig::new().acks(Acks::Leader);
/// assert_eq!(config.acks_level(), Acks::Leader);
/// config.validate()?;
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ProducerConfig {
    acks: Acks,
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration_option"))]
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    max_block: Option<Duration>,
    partitioning: Partitioning,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    compression: Option<Compression>,
}

impl ProducerConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> ProducerConfig {
        ProducerConfig::default()
    }

    /// Whose acknowledgement a delivery waits for.
    ///
    /// **Default** `all`. **Allowed** any. **Kafka name** `acks`.
    #[must_use]
    pub fn acks(mut self, acks: Acks) -> ProducerConfig {
        self.acks = acks;
        self
    }

    /// How long `send` waits for room before it fails with `TimedOut`.
    ///
    /// **Default** the broker's `max_block`. **Allowed** 0 to 1 day. **Kafka name** `max.block.ms`.
    #[doc(alias = "max.block.ms")]
    #[must_use]
    pub fn max_block(mut self, max_block: Duration) -> ProducerConfig {
        self.max_block = Some(max_block);
        self
    }

    /// How a partition is chosen for a record that names none. A partitioner of the host's own is given
    /// to the producer's builder instead.
    ///
    /// **Default** `hash_key`. **Allowed** any. **Kafka name** `partitioner.class`.
    #[doc(alias = "partitioner.class")]
    #[must_use]
    pub fn partitioning(mut self, partitioning: Partitioning) -> ProducerConfig {
        self.partitioning = partitioning;
        self
    }

    /// How batches of the producer's own are compressed: those of
    /// [`send_batch`](crate::producer::Producer::send_batch) and
    /// of a producer with a name. Records that
    /// are sent one by one share the topic's batches, and its compression.
    ///
    /// **Default** the topic's. **Allowed** a codec whose feature this build has. **Kafka name** `compression.type`.
    #[doc(alias = "compression.type")]
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> ProducerConfig {
        self.compression = Some(compression);
        self
    }

    /// Whose acknowledgement a delivery waits for.
    #[must_use]
    pub fn acks_level(&self) -> Acks {
        self.acks
    }

    /// How long `send` waits for room, if not as long as the broker says.
    #[must_use]
    pub fn max_block_duration(&self) -> Option<Duration> {
        self.max_block
    }

    /// How batches of the producer's own are compressed, if not as the topic says.
    #[must_use]
    pub fn compression_type(&self) -> Option<Compression> {
        self.compression
    }

    /// How a partition is chosen.
    #[must_use]
    pub fn partitioning_kind(&self) -> Partitioning {
        self.partitioning
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names field, value and bound.
    pub fn validate(&self) -> Result<()> {
        if let Some(compression) = self.compression {
            compression.check_level()?;
            compression.check_available()?;
        }
        let max_block = self.max_block.unwrap_or_default();
        check_duration("max_block", max_block, Duration::ZERO, super::broker::MAX_BLOCK)
    }
}
