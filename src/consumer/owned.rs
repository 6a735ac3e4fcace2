//! A record that stands for itself.
//!
//! Invariant: key and value are one piece of memory of their own; nothing of the log is pinned.

use bytes::Bytes;

use crate::format::record::RecordRef;
use crate::types::{Headers, LeaderEpoch, Offset, Timestamp, TopicPartition};

/// A copy of a record, to keep or to send elsewhere. Cheap to clone but for its headers.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// topic.producer()?.send(Record::new("/home").key("alice").header("ua", "curl"))?.wait()?;
///
/// let mut reader = topic.partition(0)?.read(..)?;
/// let kept = reader.next()?.expect("a record was sent").to_owned_records()?;
/// drop((reader, topic, broker)); // the copies stay
/// assert_eq!(kept[0].key(), Some(&b"alice"[..]));
/// assert_eq!(kept[0].value_bytes().as_deref(), Some(&b"/home"[..]));
/// assert_eq!(kept[0].headers().last("ua"), Some(Some(&b"curl"[..])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub(super) topic_partition: TopicPartition,
    pub(super) offset: Offset,
    pub(super) timestamp: Timestamp,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) key: Option<Bytes>,
    pub(super) value: Option<Bytes>,
    pub(super) headers: Headers,
}

impl OwnedRecord {
    /// A copy of this record.
    pub(crate) fn new(
        topic_partition: TopicPartition,
        offset: Offset,
        timestamp: Timestamp,
        leader_epoch: LeaderEpoch,
        record: &RecordRef<'_>,
    ) -> OwnedRecord {
        let (key, value) = copy(record.key, record.value);
        let headers = record.headers.iter().map(|header| (header.key, header.value)).collect();
        OwnedRecord { topic_partition, offset, timestamp, leader_epoch, key, value, headers }
    }

    /// Topic and partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The offset.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The timestamp.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The epoch of the leader that appended it.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The key's bytes, if there is a key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The value's bytes; `None` for a tombstone.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The key's bytes, shared.
    #[must_use]
    pub fn key_bytes(&self) -> Option<Bytes> {
        self.key.clone()
    }

    /// The value's bytes, shared.
    #[must_use]
    pub fn value_bytes(&self) -> Option<Bytes> {
        self.value.clone()
    }

    /// The headers, in their order.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }
}

/// Copies of key and value in one piece of memory.
pub(super) fn copy(key: Option<&[u8]>, value: Option<&[u8]>) -> (Option<Bytes>, Option<Bytes>) {
    let both = Bytes::from([key.unwrap_or_default(), value.unwrap_or_default()].concat());
    let split = key.map_or(0, <[u8]>::len);
    (key.map(|_| both.slice(..split)), value.map(|_| both.slice(split..)))
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn null_is_not_empty() {
        for (key, value) in
            [(None, None), (None, Some(&b""[..])), (Some(&b"k"[..]), None), (Some(b""), Some(b"v"))]
        {
            let (key_copy, value_copy) = copy(key, value);
            assert_eq!((key_copy.as_deref(), value_copy.as_deref()), (key, value));
        }
    }
}
