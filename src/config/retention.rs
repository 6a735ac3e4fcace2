//! How much of a log is kept.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::text::{DurationText, MAX_DURATION, check_duration, check_size, parse_duration, unknown_word};
use crate::error::{Error, Result};
use crate::types::ByteSize;

/// How long, and how much of, a partition is kept: for ever unless told otherwise. Where both are set,
/// a segment goes as soon as either asks for it. As text: `forever`, `age:7d`, `size:10GiB`, `age:7d,size:10GiB`.
///
/// ```
/// use std::time::Duration;
/// use millpond::ByteSize;
/// use millpond::config::Retention;
/// let week = Duration::from_secs(7 * 86_400);
/// let both = Retention::age(week).and_size(ByteSize::gib(10));
/// assert_eq!(both.to_string(), "age:7d,size:10GiB");
/// assert_eq!("age:7d,size:10GiB".parse::<Retention>()?, both);
/// assert_eq!(both.max_age(), Some(week));
/// assert_eq!(Retention::default(), Retention::forever());
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Retention {
    age: Option<Duration>,
    size: Option<ByteSize>,
    topic_size: Option<ByteSize>,
}

impl Retention {
    /// Nothing is deleted.
    #[must_use]
    pub const fn forever() -> Retention {
        Retention { age: None, size: None, topic_size: None }
    }

    /// Records may be deleted once they have been in the log for this long. Segments are deleted whole, and begun anew
    /// at this age, too: a record goes after twice the age at most.
    /// **Allowed** 1 ms to 100 years.
    #[doc(alias = "retention.ms")]
    #[must_use]
    pub const fn age(age: Duration) -> Retention {
        Retention { age: Some(age), size: None, topic_size: None }
    }

    /// The oldest records may be deleted once a partition is larger than this. **Allowed** at least 1 byte.
    #[doc(alias = "retention.bytes")]
    #[must_use]
    pub const fn size(size: ByteSize) -> Retention {
        Retention { age: None, size: Some(size), topic_size: None }
    }

    /// The same, and by age too.
    #[must_use]
    pub const fn and_age(self, age: Duration) -> Retention {
        Retention { age: Some(age), ..self }
    }

    /// The same, and by size too.
    #[must_use]
    pub const fn and_size(self, size: ByteSize) -> Retention {
        Retention { size: Some(size), ..self }
    }

    /// The oldest records of any partition may be deleted once the topic's partitions together are larger than this.
    /// **Allowed** at least 1 byte.
    #[must_use]
    pub const fn topic_size(size: ByteSize) -> Retention {
        Retention { topic_size: Some(size), ..Retention::forever() }
    }

    /// The same, and by the topic's size too.
    #[must_use]
    pub const fn and_topic_size(self, size: ByteSize) -> Retention {
        Retention { topic_size: Some(size), ..self }
    }

    /// How large the topic's partitions together grow before their oldest records go, if that matters.
    #[must_use]
    pub const fn max_topic_size(self) -> Option<ByteSize> {
        self.topic_size
    }

    /// How long a record is kept at least, if age matters.
    #[must_use]
    pub const fn max_age(self) -> Option<Duration> {
        self.age
    }

    /// How large a partition grows before its oldest records go, if size matters.
    #[must_use]
    pub const fn max_size(self) -> Option<ByteSize> {
        self.size
    }

    pub(crate) fn check(self, field: &str) -> Result<()> {
        if let Some(age) = self.age {
            check_duration(field, age, Duration::from_millis(1), MAX_DURATION)?;
        }
        for size in [self.size, self.topic_size].into_iter().flatten() {
            check_size(field, size, ByteSize::bytes(1), ByteSize::bytes(u64::MAX))?;
        }
        Ok(())
    }
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = self.age.map(|age| format!("age:{}", DurationText(age)));
        let size = self.size.map(|size| format!("size:{size}"));
        let topic_size = self.topic_size.map(|size| format!("topic_size:{size}"));
        let all: Vec<String> = [age, size, topic_size].into_iter().flatten().collect();
        f.write_str(if all.is_empty() { "forever" } else { "" })?;
        f.write_str(&all.join(","))
    }
}

impl FromStr for Retention {
    type Err = Error;

    fn from_str(text: &str) -> Result<Retention> {
        parse(text).ok_or_else(|| {
            unknown_word(
                "retention",
                text,
                "forever, age:<time>, size:<size>, topic_size:<size>, or several with commas",
            )
        })
    }
}

fn parse(text: &str) -> Option<Retention> {
    let mut retention = Retention::forever();
    if text == "forever" {
        return Some(retention);
    }
    for part in text.split(',') {
        match part.trim().split_once(':')? {
            ("age", age) if retention.age.is_none() => retention.age = Some(parse_duration(age)?),
            ("size", size) if retention.size.is_none() => retention.size = Some(size.parse().ok()?),
            ("topic_size", size) if retention.topic_size.is_none() => {
                retention.topic_size = Some(size.parse().ok()?);
            }
            _ => return None,
        }
    }
    Some(retention)
}

serde_as_text!(Retention);
