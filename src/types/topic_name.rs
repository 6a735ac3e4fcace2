//! Names of topics, by Kafka's rules.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::invalid::{InvalidName, shorten};

/// A topic's name: 1 to 249 of the characters `a-z A-Z 0-9 . _ -`, and neither `.` nor `..`.
///
/// ```
/// use millpond::TopicName;
/// assert_eq!(TopicName::new("clicks")?.as_str(), "clicks");
/// assert!(TopicName::new("no spaces").is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "String", into = "String"))]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The longest name, in characters.
    pub const MAX_LEN: usize = 249;

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule it breaks; `?` makes it an
    /// [`Error`](crate::Error) of the kind `InvalidArgument`.
    pub fn new(name: &str) -> Result<TopicName, InvalidName> {
        match broken_rule(name) {
            Some(rule) => Err(InvalidName { shown: shorten(name), rule }),
            None => Ok(TopicName(Arc::from(name))),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether such a topic belongs to the broker, which alone writes it: its name begins with `__`.
    ///
    /// ```
    /// use millpond::TopicName;
    /// assert!(TopicName::new("__consumer_offsets")?.is_internal());
    /// assert!(!TopicName::new("orders")?.is_internal());
    /// # Ok::<(), millpond::Error>(())
    /// ```
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("is empty; give it 1 to 249 characters");
    }
    if name.len() > TopicName::MAX_LEN {
        return Some("is longer than 249 characters");
    }
    if name == "." || name == ".." {
        return Some("is a directory's own name");
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Some("has a character other than a-z A-Z 0-9 . _ -");
    }
    None
}

impl FromStr for TopicName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<TopicName, InvalidName> {
        TopicName::new(text)
    }
}

impl TryFrom<String> for TopicName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<TopicName, InvalidName> {
        TopicName::new(&text)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> String {
        name.as_str().to_owned()
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// One partition of one topic; printed as its folder is named: `clicks-0`.
///
/// ```
/// use millpond::{TopicName, TopicPartition};
/// let tp = TopicPartition::new(TopicName::new("clicks")?, 2);
/// assert_eq!(tp.to_string(), "clicks-2");
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TopicPartition {
    topic: TopicName,
    partition: u32,
}

impl TopicPartition {
    /// Partition number `partition` of `topic`.
    #[must_use]
    pub fn new(topic: TopicName, partition: u32) -> TopicPartition {
        TopicPartition { topic, partition }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The partition's number, from 0.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
