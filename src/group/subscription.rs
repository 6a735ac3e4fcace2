//! What a member wants to read: topics by name, or every topic whose name matches a pattern.
//!
//! ```text
//!   pattern   orders.*     every topic whose name begins with "orders."
//!             log-??       ? is one character, * any number of them
//! ```
//!
//! Invariants: a subscription wants something; internal topics (`__...`) match only a pattern that begins
//! with `__`, too; matching takes no more than the product of both lengths.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::types::TopicName;

/// Names many topics: `*` stands for any characters, `?` for one.
///
/// ```
/// use millpond::group::TopicPattern;
/// let pattern = TopicPattern::new("orders.*")?;
/// assert!(pattern.matches("orders.eu"));
/// assert!(!pattern.matches("invoices.eu"));
/// assert!(TopicPattern::new("").is_err());
/// # Ok::<(), millpond::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// Checks a pattern.
    ///
    /// # Errors
    /// `InvalidArgument` for an empty one, one longer than a topic's name may be, and one with characters that
    /// no name has: it would never match.
    pub fn new(pattern: &str) -> Result<TopicPattern> {
        let shown: String = pattern.chars().take(80).collect();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-*?".contains(&byte);
        let rule = if pattern.is_empty() {
            "is empty, so no topic can match it"
        } else if pattern.len() > TopicName::MAX_LEN {
            "is longer than 249 characters"
        } else if !pattern.bytes().all(allowed) {
            "has a character other than a-z A-Z 0-9 . _ - and the wildcards * and ?"
        } else {
            return Ok(TopicPattern(Arc::from(pattern)));
        };
        Err(Error::invalid_argument(format!("topic pattern {shown:?} {rule}")))
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic of this name is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let internal = name.starts_with("__") && !self.0.starts_with("__");
        !internal && glob(self.0.as_bytes(), name.as_bytes())
    }
}

fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on if what follows the last star did not match.
    let mut back: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                back = Some((p + 1, n));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match back {
                Some((after_star, taken)) => {
                    back = Some((after_star, taken + 1));
                    (p, n) = (after_star, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|left| *left == b'*')
}

impl FromStr for TopicPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<TopicPattern> {
        TopicPattern::new(text)
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What a member wants to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) topics: BTreeSet<TopicName>,
    pub(crate) pattern: Option<TopicPattern>,
}

impl Subscription {
    /// These topics.
    pub(crate) fn to(topics: impl IntoIterator<Item = TopicName>) -> Subscription {
        Subscription { topics: topics.into_iter().collect(), pattern: None }
    }

    /// Every topic that matches.
    pub(crate) fn matching(pattern: TopicPattern) -> Subscription {
        Subscription { topics: BTreeSet::new(), pattern: Some(pattern) }
    }

    /// Whether a topic is wanted for its pattern alone.
    pub(crate) fn is_by_pattern(&self, topic: &TopicName) -> bool {
        !self.topics.contains(topic) && self.wants(topic)
    }

    /// Whether a topic is wanted.
    pub(crate) fn wants(&self, topic: &TopicName) -> bool {
        let matches = |pattern: &TopicPattern| pattern.matches(topic.as_str());
        self.topics.contains(topic) || self.pattern.as_ref().is_some_and(matches)
    }

    /// Whether nothing is wanted.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.pattern.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match() {
        let check = |pattern: &str, name: &str, expected: bool| {
            assert_eq!(TopicPattern::new(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        };
        check("*", "anything", true);
        check("*", "__consumer_offsets", false);
        check("__*", "__consumer_offsets", true);
        check("a*b*c", "a--b--b-c", true);
        check("a*b*c", "a--b--b-d", false);
        check("log-??", "log-12", true);
        check("log-??", "log-1", false);
        check("log", "logs", false);
        check("***", "x", true);
        check("a?", "a", false);
        check(&"*a".repeat(100), &"a".repeat(249), true);
        check(&"*b".repeat(100), &"a".repeat(249), false);
    }

    #[test]
    fn patterns_that_cannot_match_are_refused() {
        for wrong in ["", "a b", "a/*", &"*".repeat(250)] {
            assert!(TopicPattern::new(wrong).is_err(), "{wrong}");
        }
    }
}
