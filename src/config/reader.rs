//! Settings of a reader.

use super::text::{check_count, check_size};
use super::{CrcCheck, Isolation};
use crate::error::Result;
use crate::types::ByteSize;

/// Settings of a reader of a partition: how much it hands out at a time.
///
/// ```
/// use millpond::config::{CrcCheck, ReaderConfig};
/// let config = ReaderConfig::new().max_records(500).crc_check(CrcCheck::Always);
/// assert_eq!(config.max_record_count(), 500);
/// config.validate()?;
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct ReaderConfig {
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    crc_check: Option<CrcCheck>,
    max_records: u32,
    max_bytes: ByteSize,
    isolation: Isolation,
}

impl Default for ReaderConfig {
    fn default() -> ReaderConfig {
        ReaderConfig {
            crc_check: None,
            max_records: 10_000,
            max_bytes: ByteSize::mib(1),
            isolation: Isolation::ReadUncommitted,
        }
    }
}

impl ReaderConfig {
    /// The defaults.
    #[must_use]
    pub fn new() -> ReaderConfig {
        ReaderConfig::default()
    }

    /// Which records of transactions are handed out.
    ///
    /// **Default** `read_uncommitted`. **Allowed** any. **Kafka name** `isolation.level`.
    #[doc(alias = "isolation.level")]
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> ReaderConfig {
        self.isolation = isolation;
        self
    }

    /// When checksums are computed again.
    ///
    /// **Default** the broker's `crc_check`. **Allowed** any. **Kafka name** `check.crcs`.
    #[doc(alias = "check.crcs")]
    #[must_use]
    pub fn crc_check(mut self, crc_check: CrcCheck) -> ReaderConfig {
        self.crc_check = Some(crc_check);
        self
    }

    /// The most records of one chunk. What is left of a batch is kept for the next one, where it was compressed: in
    /// memory, one batch for each partition at most.
    ///
    /// **Default** 10,000. **Allowed** 1 to 4,294,967,295. **Kafka name** `max.poll.records`.
    #[doc(alias = "max.poll.records")]
    #[must_use]
    pub fn max_records(mut self, max_records: u32) -> ReaderConfig {
        self.max_records = max_records;
        self
    }

    /// The most bytes of one chunk; a single larger batch is still handed out.
    ///
    /// **Default** 1 MiB. **Allowed** 1 byte to 1 GiB. **Kafka name** `max.partition.fetch.bytes`.
    #[doc(alias = "max.partition.fetch.bytes")]
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: ByteSize) -> ReaderConfig {
        self.max_bytes = max_bytes;
        self
    }

    /// When checksums are computed again, if not as the broker says.
    #[must_use]
    pub fn crc_check_kind(&self) -> Option<CrcCheck> {
        self.crc_check
    }

    /// The most records of one chunk.
    #[must_use]
    pub fn max_record_count(&self) -> u32 {
        self.max_records
    }

    /// The most bytes of one chunk.
    #[must_use]
    pub fn max_byte_count(&self) -> u64 {
        self.max_bytes.as_u64()
    }

    /// Which records of transactions are handed out.
    #[must_use]
    pub fn isolation_level(&self) -> Isolation {
        self.isolation
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`InvalidConfig`](crate::ErrorKind::InvalidConfig) names field, value and bound.
    pub fn validate(&self) -> Result<()> {
        check_count("max_records", self.max_records.into(), 1, u32::MAX.into())?;
        check_size("max_bytes", self.max_bytes, ByteSize::bytes(1), ByteSize::gib(1))
    }
}
