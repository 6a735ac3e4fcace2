//! Settings of a transactional producer.

use std::time::Duration;

use super::Compression;
use super::text::check_duration;
use crate::error::Result;

/// Settings of a transactional producer.
///
/// ```
/// use std::time::Duration;
/// use millpond::config::TransactionConfig;
/// let config = TransactionConfig::new().timeout(Duration::from_secs(5));
/// assert_eq!(config.timeout_duration(), Duration::from_secs(5));
/// config.validate()?;
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct TransactionConfig {
    #[cfg_attr(feature = "serde", serde(with = "super::text::serde_duration"))]
    timeout: Duration,
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    compression: Option<Compression>,
}

impl Default for TransactionConfig {
    fn default() -> TransactionConfig {
        TransactionConfig { timeout: Duration::from_secs(60), compression: None }
    }
}

impl TransactionConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> TransactionConfig {
        TransactionConfig::default()
    }

    /// How long a transaction may be open before it is aborted, so that it does not hold up readers of committed
    /// records for ever.
    ///
    /// **Default** 60 s. **Allowed** 1 ms to the broker's `max_transaction_timeout`.
    /// **Kafka name** `transaction.timeout.ms`.
    #[doc(alias = "transaction.timeout.ms")]
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> TransactionConfig {
        self.timeout = timeout;
        self
    }

    /// How the transactions' batches are compressed.
    ///
    /// **Default** as each topic says. **Allowed** a codec whose feature this build has.
    /// **Kafka name** `compression.type`.
    #[doc(alias = "compression.type")]
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> TransactionConfig {
        self.compression = Some(compression);
        self
    }

    /// How the transactions' batches are compressed, if not as the topics say.
    #[must_use]
    pub fn compression_type(&self) -> Option<Compression> {
        self.compression
    }

    /// How long a transaction may be open.
    #[must_use]
    pub fn timeout_duration(&self) -> Duration {
        self.timeout
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names field, value and bound.
    pub fn validate(&self) -> Result<()> {
        self.validate_within(Duration::from_secs(86_400))
    }

    /// The same, on a broker that allows this much.
    pub(crate) fn validate_within(&self, greatest: Duration) -> Result<()> {
        if let Some(compression) = self.compression {
            compression.check_level()?;
            compression.check_available()?;
        }
        check_duration("timeout", self.timeout, Duration::from_millis(1), greatest)
    }
}
