//! One record, seen in the chunk that lends it.
//!
//! Invariants
//! - A view copies nothing and decodes nothing before it is asked.
//! - A view of a damaged record answers every question about its content with the damage.

use std::fmt;

use super::owned::{OwnedRecord, copy};
use super::records::{Part, Records};
use crate::codec::{Codec, Raw};
use crate::error::{Error, Result};
use crate::format::record::{HeadersRef, RecordRef};
use crate::partition::ChunkRecord;
use crate::producer::schema;
use crate::types::{Headers, LeaderEpoch, Offset, Timestamp, TopicPartition};

/// A record in a chunk of [`Records`]. Cheap to copy; it borrows from the chunk.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// topic.producer()?.send(Record::new("/home").key("alice").header("ua", "curl"))?.wait()?;
///
/// let records = topic.partition(0)?.read(..)?.next()?.expect("a record was sent");
/// for record in &records {
///     assert_eq!((record.partition(), record.offset()), (0, Offset::ZERO));
///     assert_eq!(record.key()?, Some(&b"alice"[..]));
///     assert_eq!(record.value()?, Some(&b"/home"[..]));
///     assert_eq!(record.headers().collect::<Vec<_>>(), [("ua", Some(&b"curl"[..]))]);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RecordView<'a, K = Raw, V = Raw> {
    records: &'a Records<K, V>,
    part: &'a Part,
    record: ChunkRecord<'a>,
    damage: Option<&'a Error>,
}

impl<'a, K, V> RecordView<'a, K, V> {
    #[inline]
    pub(super) fn new(
        records: &'a Records<K, V>,
        part: &'a Part,
        record: ChunkRecord<'a>,
    ) -> RecordView<'a, K, V> {
        RecordView { records, part, record, damage: None }
    }

    #[inline]
    pub(super) fn damaged(
        records: &'a Records<K, V>,
        part: &'a Part,
        offset: u64,
        damage: &'a Error,
    ) -> RecordView<'a, K, V> {
        RecordView { records, part, record: unreadable(offset), damage: Some(damage) }
    }

    /// What it was handed out with.
    pub(super) fn origin(&self) -> (&'a Records<K, V>, &'a Part) {
        (self.records, self.part)
    }

    /// Topic and partition.
    #[must_use]
    #[inline]
    pub fn topic_partition(&self) -> &'a TopicPartition {
        self.part.topic_partition()
    }

    /// The partition's number.
    #[must_use]
    #[inline]
    pub fn partition(&self) -> u32 {
        self.topic_partition().partition()
    }

    /// The offset.
    #[must_use]
    #[inline]
    pub fn offset(&self) -> Offset {
        Offset::of(self.record.offset)
    }

    /// The timestamp: given, of the `send`, or of the append, as the topic says.
    #[must_use]
    #[inline]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.record.timestamp)
    }

    /// The epoch of the leader that appended it: tells records apart that got the same offset, one of
    /// which was lost.
    #[must_use]
    #[inline]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch::new(self.record.leader_epoch)
    }

    /// The key's bytes; `None` where there is none, or where the record is damaged
    /// (see [`check`](RecordView::check)).
    #[must_use]
    #[inline]
    pub fn raw_key(&self) -> Option<&'a [u8]> {
        self.record.record.key
    }

    /// The value's bytes; `None` for a tombstone, or where the record is damaged
    /// (see [`check`](RecordView::check)).
    #[must_use]
    #[inline]
    pub fn raw_value(&self) -> Option<&'a [u8]> {
        self.record.record.value
    }

    /// The headers, in their order.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a, K, V> {
        self.record.record.headers.iter().map(|header| (header.key, header.value))
    }

    /// Whether the record says that its key has been deleted: it has no value.
    #[must_use]
    #[inline]
    pub fn is_tombstone(&self) -> bool {
        self.record.record.value.is_none() && self.damage.is_none()
    }

    /// Whether the record could be read.
    ///
    /// # Errors
    /// `Corrupted` says what is wrong with its bytes.
    #[inline]
    pub fn check(&self) -> Result<()> {
        match self.damage {
            None => Ok(()),
            Some(damage) => Err(damage.again()),
        }
    }

    /// A copy that pins nothing.
    ///
    /// # Errors
    /// `Corrupted` if the record is damaged.
    pub fn to_owned(self) -> Result<OwnedRecord> {
        self.check()?;
        let (key, value) = copy(self.raw_key(), self.raw_value());
        Ok(OwnedRecord {
            topic_partition: self.topic_partition().clone(),
            offset: self.offset(),
            timestamp: self.timestamp(),
            leader_epoch: self.leader_epoch(),
            key,
            value,
            headers: self.headers().collect::<Headers>(),
        })
    }

    // Takes the view by value: a copy is made where something has failed, and nowhere else.
    #[cold]
    #[inline(never)]
    fn failed(self, error: Error) -> Error {
        error.in_partition(self.topic_partition()).at_offset(self.offset())
    }

    /// Nothing stands against decoding: the record is whole, and of this codec as far as it says.
    #[inline]
    fn check_codec(&self, header: &str, codec: &str) -> Result<()> {
        self.check()?;
        if self.record.record.headers.is_empty() {
            return Ok(());
        }
        match schema::check(self.record.record.headers, header, codec) {
            Ok(()) => Ok(()),
            Err(error) => Err((*self).failed(error)),
        }
    }
}

impl<'a, K: Codec, V> RecordView<'a, K, V> {
    /// The key, decoded now. With raw bytes an `Option`; other codecs answer `NullValue` where there is none.
    ///
    /// # Errors
    /// `Codec` and `NullValue` from the codec; `Codec` if another codec wrote it; `Corrupted`.
    #[inline]
    pub fn key(&self) -> Result<K::Output<'a>> {
        let codec = &self.records.codecs().key;
        self.check_codec(schema::KEY_CODEC, codec.name())?;
        match codec.decode(self.raw_key()) {
            Ok(key) => Ok(key),
            Err(error) => Err((*self).failed(error)),
        }
    }
}

impl<'a, K, V: Codec> RecordView<'a, K, V> {
    /// The value, decoded now. With raw bytes an `Option`, `None` for a tombstone; other codecs answer
    /// `NullValue` for one.
    ///
    /// # Errors
    /// `Codec` and `NullValue` from the codec; `Codec` if another codec wrote it; `Corrupted`.
    #[inline]
    pub fn value(&self) -> Result<V::Output<'a>> {
        let codec = &self.records.codecs().value;
        self.check_codec(schema::VALUE_CODEC, codec.name())?;
        match codec.decode(self.raw_value()) {
            Ok(value) => Ok(value),
            Err(error) => Err((*self).failed(error)),
        }
    }
}

impl<K, V> Clone for RecordView<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for RecordView<'_, K, V> {}

impl<K, V> fmt::Debug for RecordView<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordView")
            .field("topic_partition", &format_args!("{}", self.topic_partition()))
            .field("offset", &self.record.offset)
            .field("timestamp", &self.record.timestamp)
            .field("key_len", &self.raw_key().map(<[u8]>::len))
            .field("value_len", &self.raw_value().map(<[u8]>::len))
            .field("damage", &self.damage)
            .finish_non_exhaustive()
    }
}

/// Stands where a record could not be decoded.
#[inline]
fn unreadable(offset: u64) -> ChunkRecord<'static> {
    let headers = HeadersRef::default();
    let record = RecordRef { timestamp_delta: 0, offset_delta: 0, key: None, value: None, headers };
    ChunkRecord { offset, timestamp: -1, leader_epoch: -1, record }
}
