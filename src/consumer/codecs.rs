//! The codecs of a topic's keys and values, together.
//!
//! Invariant: shared by a reader and all records that it handed out; never changed.

/// How keys and values are decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Codecs<K, V> {
    /// The codec of the keys.
    pub(crate) key: K,
    /// The codec of the values.
    pub(crate) value: V,
}
