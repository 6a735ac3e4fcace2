//! What a member of a group joins for: a topic, several, or all that match a pattern.

use super::broker::Broker;
use super::topic::Topic;
use super::topic_ref::TopicRef;
use crate::codec::{Codec, Raw};
use crate::error::Result;
use crate::group::TopicPattern;
use crate::topic::TopicDef;
use crate::types::TopicName;

/// What names topics in [`Group::join`](crate::broker::Group::join): a name (`&str`, `&TopicName`), several
/// (`["a", "b"]`, `Vec<TopicName>`), a [`TopicPattern`], or, with their codecs, a `&TopicDef`, a `&Topic`, or several
/// definitions of the same codecs (`[&JOBS, &RETRIES]`).
///
/// The trait is sealed: it is not to be implemented elsewhere.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
/// use millpond::group::TopicPattern;
///
/// const NAMES: TopicDef<Utf8, Utf8> = TopicDef::new("names");
/// const NICKNAMES: TopicDef<Utf8, Utf8> = TopicDef::new("nicknames");
/// let broker = Broker::open(dir.path())?;
/// broker.create_topic("orders.eu", TopicConfig::new())?;
/// broker.create_topic("orders.us", TopicConfig::new())?;
///
/// let one: Consumer = broker.group("one")?.join("orders.eu")?;
/// let several: Consumer = broker.group("several")?.join(["orders.eu", "orders.us"])?;
/// let all: Consumer = broker.group("all")?.join(TopicPattern::new("orders.*")?)?;
/// let typed: Consumer<Utf8, Utf8> = broker.group("typed")?.join(&NAMES)?;
/// let both: Consumer<Utf8, Utf8> = broker.group("both")?.join([&NAMES, &NICKNAMES])?;
/// let by_handle: Consumer<Utf8, Utf8> = broker.group("handle")?.join(&broker.topic(&NAMES)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "a group cannot be joined for `{Self}`",
    note = "take a name, several names, a `TopicPattern`, `&TopicDef`, `[&TopicDef, ..]` of the same codecs, or `&Topic`"
)]
pub trait Subscribe: sealed::Sealed {
    /// The codec of keys.
    type Key: Codec + Default;
    /// The codec of values.
    type Value: Codec + Default;

    #[doc(hidden)]
    fn wanted_in(&self, broker: &Broker) -> Result<(Vec<TopicName>, Option<TopicPattern>)>;
}

mod sealed {
    /// Keeps the trait closed.
    pub trait Sealed {}
}

fn named<T: AsRef<str>>(names: &[T]) -> Result<(Vec<TopicName>, Option<TopicPattern>)> {
    let names = names.iter().map(|name| TopicName::new(name.as_ref()));
    Ok((names.collect::<std::result::Result<_, _>>()?, None))
}

macro_rules! one_name {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}

        impl Subscribe for $type {
            type Key = Raw;
            type Value = Raw;

            fn wanted_in(&self, _broker: &Broker) -> Result<(Vec<TopicName>, Option<TopicPattern>)> {
                let name: &str = self.as_ref();
                named(&[name])
            }
        }
    )*};
}

one_name!(&str, &String, String, &TopicName, TopicName);

macro_rules! several_names {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<T: AsRef<str>, $($generics)*> sealed::Sealed for $type {}

        impl<T: AsRef<str>, $($generics)*> Subscribe for $type {
            type Key = Raw;
            type Value = Raw;

            fn wanted_in(&self, _broker: &Broker) -> Result<(Vec<TopicName>, Option<TopicPattern>)> {
                named(&self[..])
            }
        }
    )*};
}

several_names!([const N: usize] [T; N], [] &[T], [] Vec<T>, [] &Vec<T>);

macro_rules! by_pattern {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}

        impl Subscribe for $type {
            type Key = Raw;
            type Value = Raw;

            fn wanted_in(&self, _broker: &Broker) -> Result<(Vec<TopicName>, Option<TopicPattern>)> {
                Ok((Vec::new(), Some((*self).clone())))
            }
        }
    )*};
}

by_pattern!(TopicPattern, &TopicPattern);

macro_rules! by_definition {
    ($($type:ty),*) => {$(
        impl<K, V> sealed::Sealed for $type {}

        impl<K: Codec + Default, V: Codec + Default> Subscribe for $type {
            type Key = K;
            type Value = V;

            fn wanted_in(&self, broker: &Broker) -> Result<(Vec<TopicName>, Option<TopicPattern>)> {
                let topic = TopicRef::open_in(self, broker)?;
                Ok((vec![topic.name().clone()], None))
            }
        }
    )*};
}

by_definition!(TopicDef<K, V>, &TopicDef<K, V>, &Topic<K, V>);

macro_rules! by_definitions {
    ($([$($generics:tt)*] $type:ty),*) => {$(
        impl<K, V, $($generics)*> sealed::Sealed for $type {}

        impl<K: Codec + Default, V: Codec + Default, $($generics)*> Subscribe for $type {
            type Key = K;
            type Value = V;

            fn wanted_in(&self, broker: &Broker) -> Result<(Vec<TopicName>, Option<TopicPattern>)> {
                made(&self[..], broker)
            }
        }
    )*};
}

by_definitions!([const N: usize] [&TopicDef<K, V>; N], [] &[&TopicDef<K, V>], [] Vec<&TopicDef<K, V>>);

/// The names of topics that come with codecs; makes the topics, or checks their codecs.
fn made<T: TopicRef>(topics: &[T], broker: &Broker) -> Result<(Vec<TopicName>, Option<TopicPattern>)> {
    let names = topics.iter().map(|topic| topic.open_in(broker).map(|topic| topic.name().clone()));
    Ok((names.collect::<Result<_>>()?, None))
}
