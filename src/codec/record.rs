//! The record that is sent: borrowed, and typed by what its topic's codecs take.
//!
//! Invariants: making a record copies nothing, and allocates only for headers; a record has a value or
//! is a tombstone, has a key or has none, and its type says which.
//!
//! ```text
//!   Record<'_, &V, NoKey>      --.key(&k)-->      Record<'_, &V, &K>
//!   Record<'_, Tombstone, NoKey> --.key(&k)-->    Record<'_, Tombstone, &K>
//! ```
//!
//! A key is either [`NoKey`] or a reference; so [`EncodeKey`] can be implemented for both without
//! overlap, and a producer asks for no more than `V: EncodeValue<ValueCodec>, K: EncodeKey<KeyCodec>`.

use super::Encode;
use crate::error::{Error, Result};
use crate::types::Timestamp;

/// A record to send. `K` and `V` are references to anything the topic's codecs take.
///
/// ```
/// use millpond::Timestamp;
/// use millpond::codec::Record;
///
/// let home = Record::new(b"/home").key(b"alice").header("ua", b"curl");
/// let text = Record::new("just a value");
/// let old = Record::new("of 1970").timestamp(Timestamp::from_millis(0)).partition(2);
/// let gone = Record::tombstone().key("alice");
/// ```
#[derive(Clone, Debug)]
#[must_use = "a record does nothing until it is sent"]
pub struct Record<'a, V, K = NoKey> {
    value: V,
    key: K,
    headers: Vec<(&'a str, Option<&'a [u8]>)>,
    timestamp: Option<Timestamp>,
    partition: Option<u32>,
}

/// The key of a record without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct NoKey;

/// The value of a record without one: it says that its key has been deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tombstone;

impl<'a, T: ?Sized> Record<'a, &'a T> {
    /// A record with this value, and no key.
    pub fn new(value: &'a T) -> Record<'a, &'a T> {
        Record::of(value)
    }
}

impl Record<'_, Tombstone> {
    /// A record without a value: its key, which it needs, has been deleted. Sending one without a key
    /// fails with [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    #[doc(alias = "delete")]
    pub fn tombstone() -> Self {
        Record::of(Tombstone)
    }
}

impl<V> Record<'_, V> {
    fn of(value: V) -> Self {
        Record { value, key: NoKey, headers: Vec::new(), timestamp: None, partition: None }
    }
}

impl<'a, V, K> Record<'a, V, K> {
    /// The same with this key, in place of any other.
    pub fn key<T: ?Sized>(self, key: &'a T) -> Record<'a, V, &'a T> {
        let Record { value, key: _, headers, timestamp, partition } = self;
        Record { value, key, headers, timestamp, partition }
    }

    /// The same with one more header; names may repeat.
    ///
    /// ```
    /// # use millpond::codec::Record;
    /// let record = Record::new("v").header("trace", "7f3a").header("retries", &[2]).null_header("sampled");
    /// ```
    pub fn header<B: AsRef<[u8]> + ?Sized>(mut self, name: &'a str, value: &'a B) -> Self {
        self.headers.push((name, Some(value.as_ref())));
        self
    }

    /// The same with one more header, whose value is null.
    pub fn null_header(mut self, name: &'a str) -> Self {
        self.headers.push((name, None));
        self
    }

    /// The same with this timestamp; where none is given, it is the time of the `send`.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The same for this partition; where none is given, the partitioner chooses.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The headers in their order.
    pub(crate) fn headers(&self) -> &[(&'a str, Option<&'a [u8]>)] {
        &self.headers
    }

    /// The timestamp that was given, or else this one.
    #[inline]
    pub(crate) fn timestamp_or(&self, now: Timestamp) -> Timestamp {
        self.timestamp.unwrap_or(now)
    }

    /// The partition, if one was given.
    pub(crate) fn given_partition(&self) -> Option<u32> {
        self.partition
    }

    /// Key and value as bytes: their own where the codecs lend them, else written to the buffers, which
    /// are emptied first and may be used again.
    ///
    /// # Errors
    /// `Codec` from the codecs; `InvalidArgument` for a tombstone without a key.
    pub(crate) fn encode<'v, KC, VC>(
        &'v self,
        key_codec: &KC,
        value_codec: &VC,
        key_buf: &'v mut Vec<u8>,
        value_buf: &'v mut Vec<u8>,
    ) -> Result<EncodedRecord<'v>>
    where
        K: EncodeKey<KC>,
        V: EncodeValue<VC>,
    {
        key_buf.clear();
        value_buf.clear();
        let key = self.key.encode_key(key_codec, key_buf)?;
        let value = self.value.encode_value(value_codec, value_buf)?;
        if key.is_none() && value.is_none() {
            return Err(Error::invalid_argument("a tombstone needs a key: it deletes that key's value"));
        }
        Ok(EncodedRecord { key, value })
    }
}

/// Key and value of a record as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EncodedRecord<'v> {
    pub(crate) key: Option<&'v [u8]>,
    pub(crate) value: Option<&'v [u8]>,
}

/// A key that the codec `C` can encode: a reference to what it takes, or [`NoKey`].
///
/// Implemented here for both and nowhere else; a codec of your own implements [`Encode`].
pub trait EncodeKey<C>: sealed::Slot {
    /// The key's bytes, or `None` where there is no key.
    ///
    /// # Errors
    /// [`Codec`](crate::ErrorKind::Codec) if the key has no form in bytes.
    fn encode_key<'v>(&'v self, codec: &C, buf: &'v mut Vec<u8>) -> Result<Option<&'v [u8]>>;
}

/// A value that the codec `C` can encode: a reference to what it takes, or a [`Tombstone`].
///
/// Implemented here for both and nowhere else; a codec of your own implements [`Encode`].
pub trait EncodeValue<C>: sealed::Slot {
    /// The value's bytes, or `None` for a tombstone.
    ///
    /// # Errors
    /// [`Codec`](crate::ErrorKind::Codec) if the value has no form in bytes.
    fn encode_value<'v>(&'v self, codec: &C, buf: &'v mut Vec<u8>) -> Result<Option<&'v [u8]>>;
}

impl<C> EncodeKey<C> for NoKey {
    fn encode_key<'v>(&'v self, _codec: &C, _buf: &'v mut Vec<u8>) -> Result<Option<&'v [u8]>> {
        Ok(None)
    }
}

impl<C: Encode<T>, T: ?Sized> EncodeKey<C> for &T {
    fn encode_key<'v>(&'v self, codec: &C, buf: &'v mut Vec<u8>) -> Result<Option<&'v [u8]>> {
        codec.encode(*self, buf).map(Some)
    }
}

impl<C> EncodeValue<C> for Tombstone {
    fn encode_value<'v>(&'v self, _codec: &C, _buf: &'v mut Vec<u8>) -> Result<Option<&'v [u8]>> {
        Ok(None)
    }
}

impl<C: Encode<T>, T: ?Sized> EncodeValue<C> for &T {
    fn encode_value<'v>(&'v self, codec: &C, buf: &'v mut Vec<u8>) -> Result<Option<&'v [u8]>> {
        codec.encode(*self, buf).map(Some)
    }
}

mod sealed {
    /// What may stand in a record as key or value.
    pub trait Slot {}

    impl Slot for super::NoKey {}
    impl Slot for super::Tombstone {}
    impl<T: ?Sized> Slot for &T {}
}
