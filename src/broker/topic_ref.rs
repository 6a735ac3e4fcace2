//! How a topic is named: by text, as raw bytes, or by a definition, with its codecs.

use std::sync::Arc;

use super::broker::Broker;
use super::topic::Topic;
use crate::codec::{Codec, Raw};
use crate::error::{Error, Result};
use crate::topic::{CodecMark, TopicDef};
use crate::types::TopicName;

/// What names a topic in [`Broker::topic`]: `&str`, `&String`, `&TopicName`, `&TopicDef`, or a `&Topic`.
///
/// The trait is sealed: it is not to be implemented elsewhere.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
/// const NAMES: TopicDef<Utf8, Utf8> = TopicDef::new("names");
///
/// let broker = Broker::open(dir.path())?;
/// let typed: Topic<Utf8, Utf8> = broker.topic(&NAMES)?;
/// let raw: Topic = broker.topic("names")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TopicRef: sealed::Sealed {
    /// The codec of keys.
    type Key: Codec + Default;
    /// The codec of values.
    type Value: Codec + Default;

    #[doc(hidden)]
    fn text(&self) -> &str;

    /// Refuses a handle of another broker.
    #[doc(hidden)]
    fn check_of(&self, _broker: &Broker) -> Result<()> {
        Ok(())
    }

    #[doc(hidden)]
    fn open_in(&self, broker: &Broker) -> Result<Topic<Self::Key, Self::Value>>;
}

mod sealed {
    /// Keeps the trait closed.
    pub trait Sealed {}
}

macro_rules! named_by_text {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}

        impl TopicRef for $type {
            type Key = Raw;
            type Value = Raw;

            fn text(&self) -> &str {
                self.as_ref()
            }

            fn open_in(&self, broker: &Broker) -> Result<Topic> {
                let name: &str = self.as_ref();
                Ok(Topic::new(broker.shared.clone(), broker.find(name)?))
            }
        }
    )*};
}

named_by_text!(&str, &String, String, &TopicName, TopicName);

impl<K, V> sealed::Sealed for TopicDef<K, V> {}

impl<K: Codec + Default, V: Codec + Default> TopicRef for TopicDef<K, V> {
    type Key = K;
    type Value = V;

    fn text(&self) -> &str {
        self.name()
    }

    fn open_in(&self, broker: &Broker) -> Result<Topic<K, V>> {
        let codecs = [CodecMark::of(&self.key_codec()), CodecMark::of(&self.value_codec())];
        let topic = broker.open_or_create(self.topic_name()?, || self.config(), codecs)?;
        Ok(Topic::new(broker.shared.clone(), topic))
    }
}

impl<K, V> sealed::Sealed for &TopicDef<K, V> {}

impl<K: Codec + Default, V: Codec + Default> TopicRef for &TopicDef<K, V> {
    type Key = K;
    type Value = V;

    fn text(&self) -> &str {
        self.name()
    }

    fn open_in(&self, broker: &Broker) -> Result<Topic<K, V>> {
        (**self).open_in(broker)
    }
}

impl<K, V> sealed::Sealed for &Topic<K, V> {}

impl<K: Codec + Default, V: Codec + Default> TopicRef for &Topic<K, V> {
    type Key = K;
    type Value = V;

    fn text(&self) -> &str {
        self.name().as_str()
    }

    #[inline]
    fn check_of(&self, broker: &Broker) -> Result<()> {
        if Arc::ptr_eq(&self.shared, &broker.shared) { Ok(()) } else { Err(of_another_broker(self.name())) }
    }

    fn open_in(&self, broker: &Broker) -> Result<Topic<K, V>> {
        self.check_of(broker)?;
        self.check()?;
        Ok((*self).clone())
    }
}

#[cold]
fn of_another_broker(name: &TopicName) -> Error {
    Error::invalid_argument(format!(
        "this handle of topic {name} is of another broker: take one of this broker"
    ))
}
