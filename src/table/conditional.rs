//! Appends that depend on what a key holds: optimistic concurrency.
//!
//! ```text
//!   wait until all that was appended is acknowledged -> update -> version as expected?  no: VersionConflict
//!     -> append only if the log still ends where the table has read to      somebody was faster: again
//! ```
//!
//! Invariants
//! - Between the look at the version and the append nothing comes into the partition, whoever sends it.
//! - The record is as any other of the topic: compressed, stamped and with the headers that its settings ask for.

use super::table::Table;
use crate::codec::{Codec, EncodeKey, EncodeValue, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::format::partition_for_key;
use crate::partition::Log;
use crate::types::Offset;

/// What a key is expected to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Expected {
    /// No value: the key is new, or was deleted.
    Absent,
    /// The value of the record at this offset (see [`Entry::offset`](super::Entry::offset)).
    Version(Offset),
}

/// How often somebody else may be faster before the caller hears of it.
const ATTEMPTS: usize = 1000;

impl<K: Codec, V: Codec> Table<K, V> {
    /// Appends a record if its key holds what is expected, whoever else sends to the topic meanwhile; answers its
    /// offset, which is the key's new version, when it is acknowledged and in the table.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// # use millpond::prelude::*;
    /// # let broker = Broker::open(dir.path())?;
    /// use millpond::ErrorKind;
    /// use millpond::table::Expected;
    ///
    /// let mut accounts = broker.create_topic("accounts", TopicConfig::new())?.table()?;
    /// let first = accounts.append_if(Expected::Absent, Record::new("100").key("alice"))?;
    /// let second = accounts.append_if(Expected::Version(first), Record::new("80").key("alice"))?;
    /// let late = accounts.append_if(Expected::Version(first), Record::new("90").key("alice"));
    /// assert_eq!(late.unwrap_err().kind(), ErrorKind::VersionConflict { actual: Some(second) });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `VersionConflict` with the actual version: nothing was appended, and the table is up to date;
    /// `InvalidArgument` for a record without a key; `Backpressure` if others were faster again and again, or a
    /// transaction is open in the partition; `Codec`; those of [`Producer::send`](crate::producer::Producer::send) and of
    /// reading.
    pub fn append_if<RV, RK>(&mut self, expected: Expected, record: Record<'_, RV, RK>) -> Result<Offset>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let (mut key_buf, mut value_buf) = (Vec::new(), Vec::new());
        let codecs = &self.codecs;
        let encoded = record.encode(&codecs.key, &codecs.value, &mut key_buf, &mut value_buf)?;
        let Some(key) = encoded.key.map(<[u8]>::to_vec) else {
            return Err(Error::invalid_argument("a record without a key has no version"));
        };
        let partition = self.partition_of(&key, record.given_partition());
        let record = record.partition(partition);
        let Some(log) = self.partitions.get(partition).cloned() else {
            let why = format!("there is no partition {partition}");
            return Err(Error::new(ErrorKind::PartitionNotFound, why));
        };
        for _ in 0..ATTEMPTS {
            let next = self.catch_up(&log, partition)?;
            self.check_version(&key, expected)?;
            match self.producer.send_expecting(partition, Offset::of(next), [&record]) {
                Ok(_) => {
                    log.wait_acked(next + 1)?;
                    self.update()?;
                    return Ok(Offset::of(next));
                }
                Err(e) if matches!(e.kind(), ErrorKind::UnexpectedOffset { .. }) => {}
                Err(e) => return Err(e),
            }
        }
        Err(Error::new(ErrorKind::Backpressure, "others append to the partition all the time".to_owned()))
    }

    /// Where a record with this key goes: where the key is, or where producers send it.
    fn partition_of(&self, key: &[u8], given: Option<u32>) -> u32 {
        let known = self.rows.get(key).map(|row| row.partition);
        given.or(known).unwrap_or_else(|| partition_for_key(key, self.partitions.count()))
    }

    /// Reads all that has been appended to a partition; answers where the table is then.
    fn catch_up(&mut self, log: &Log, partition: u32) -> Result<u64> {
        log.wait_acked(log.appended_end())?;
        self.update()?;
        self.position(partition).map(Offset::get)
    }

    fn check_version(&self, key: &[u8], expected: Expected) -> Result<()> {
        let actual = self.rows.get(key).map(|row| Offset::of(row.offset));
        let holds = match expected {
            Expected::Absent => actual.is_none(),
            Expected::Version(offset) => actual == Some(offset),
        };
        if holds {
            return Ok(());
        }
        let expected = match expected {
            Expected::Absent => "no value".to_owned(),
            Expected::Version(offset) => format!("version {offset}"),
        };
        let message = match actual {
            Some(offset) => format!("{expected} was expected, but the key is at version {offset}"),
            None => format!("{expected} was expected, but the key has no value"),
        };
        Err(Error::new(ErrorKind::VersionConflict { actual }, message))
    }
}
