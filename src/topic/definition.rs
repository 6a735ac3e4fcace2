//! Typed topics as constants.
//!
//! Invariant: a definition is data only; it is checked where a topic is opened or created from it, so
//! that `new` can be `const` and never fails.

use std::fmt;
use std::marker::PhantomData;

use crate::codec::{Codec, Raw};
use crate::config::TopicConfig;
use crate::error::Result;
use crate::types::TopicName;

/// A topic's name with the codecs of its keys and values: producers and consumers take their types from it.
///
/// ```
/// use millpond::ByteSize;
/// use millpond::codec::{U64, Utf8};
/// use millpond::config::TopicConfig;
/// use millpond::topic::TopicDef;
///
/// const VISITS: TopicDef<Utf8, U64> = TopicDef::new("visits");
/// const CLICKS: TopicDef = TopicDef::new("clicks").partitions(3).settings(small);
///
/// fn small() -> TopicConfig {
///     TopicConfig::new().segment_size(ByteSize::mib(16))
/// }
///
/// assert_eq!(VISITS.name(), "visits");
/// assert_eq!(CLICKS.config(), small().partitions(3));
/// ```
pub struct TopicDef<K = Raw, V = Raw> {
    name: &'static str,
    partitions: Option<u32>,
    settings: Option<fn() -> TopicConfig>,
    codecs: PhantomData<fn() -> (K, V)>,
}

impl<K, V> TopicDef<K, V> {
    /// The topic of this name. Whether the name obeys the rules is asked where the topic is opened.
    #[must_use]
    pub const fn new(name: &'static str) -> TopicDef<K, V> {
        TopicDef { name, partitions: None, settings: None, codecs: PhantomData }
    }

    /// The same with this many partitions, should it be created, whatever its settings say. A topic that exists gets more
    /// by `Broker::add_partitions`.
    #[must_use]
    pub const fn partitions(mut self, partitions: u32) -> TopicDef<K, V> {
        self.partitions = Some(partitions);
        self
    }

    /// The same with these settings, should it be created: a topic that exists keeps its own, until
    /// `Broker::alter_topic` changes them.
    #[must_use]
    pub const fn settings(mut self, settings: fn() -> TopicConfig) -> TopicDef<K, V> {
        self.settings = Some(settings);
        self
    }

    /// The name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The settings with which the topic is created if it does not exist.
    #[must_use]
    pub fn config(&self) -> TopicConfig {
        let config = self.settings.map_or_else(TopicConfig::new, |settings| settings());
        match self.partitions {
            Some(partitions) => config.partitions(partitions),
            None => config,
        }
    }

    /// The name, checked.
    ///
    /// # Errors
    /// `InvalidArgument` says which rule the name breaks.
    pub(crate) fn topic_name(&self) -> Result<TopicName> {
        Ok(TopicName::new(self.name)?)
    }
}

impl<K: Codec + Default, V: Codec + Default> TopicDef<K, V> {
    /// The codec of the keys.
    #[must_use]
    pub fn key_codec(&self) -> K {
        K::default()
    }

    /// The codec of the values.
    #[must_use]
    pub fn value_codec(&self) -> V {
        V::default()
    }
}

impl<K, V> Clone for TopicDef<K, V> {
    fn clone(&self) -> TopicDef<K, V> {
        *self
    }
}

impl<K, V> Copy for TopicDef<K, V> {}

impl<K, V> fmt::Debug for TopicDef<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopicDef").field("name", &self.name).field("partitions", &self.partitions).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::codec::Utf8;

    const RAW: TopicDef = TopicDef::new("clicks");
    const TYPED: TopicDef<Utf8, Utf8> = TopicDef::new("pages").settings(three).partitions(5);
    const BAD: TopicDef = TopicDef::new("no spaces");

    fn three() -> TopicConfig {
        TopicConfig::new().partitions(3).min_in_sync_replicas(2)
    }

    #[test]
    fn definitions_are_constants() {
        assert_eq!(RAW.topic_name().unwrap().as_str(), "clicks");
        assert_eq!(RAW.config(), TopicConfig::new());
        assert_eq!(TYPED.config(), three().partitions(5));
        assert_eq!((TYPED.key_codec(), TYPED.value_codec()), (Utf8, Utf8));
        assert_eq!(BAD.topic_name().unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn definitions_are_shared_whatever_their_types() {
        fn check<T: Send + Sync + Copy + fmt::Debug>(_: T) {}
        check(TopicDef::<*const u8, *const u8>::new("unshared types"));
    }
}
