//! Where reading begins.

use std::fmt;
use std::str::FromStr;

use super::text::unknown_word;
use crate::error::{Error, Result};
use crate::types::{Offset, Timestamp};

/// Where reading begins when no committed offset says so.
/// As text: `earliest`, `latest`, `offset:42`, `timestamp:1700000000000`, `last:100`.
///
/// ```
/// use millpond::config::Start;
/// assert_eq!(Start::default(), Start::Earliest);
/// assert_eq!("last:100".parse::<Start>()?, Start::Last(100));
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "auto.offset.reset")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// At the first record that is kept.
    #[default]
    Earliest,
    /// Behind the last record there is.
    Latest,
    /// At this offset.
    Offset(Offset),
    /// At the first record whose timestamp is not before this one.
    Timestamp(Timestamp),
    /// This many offsets before the end, or at the first record that is kept.
    Last(u64),
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Start::Earliest => f.write_str("earliest"),
            Start::Latest => f.write_str("latest"),
            Start::Offset(offset) => write!(f, "offset:{offset}"),
            Start::Timestamp(timestamp) => write!(f, "timestamp:{timestamp}"),
            Start::Last(count) => write!(f, "last:{count}"),
        }
    }
}

impl FromStr for Start {
    type Err = Error;

    fn from_str(text: &str) -> Result<Start> {
        let words = "earliest, latest, offset:<number>, timestamp:<milliseconds>, last:<count>";
        parse(text).ok_or_else(|| unknown_word("start", text, words))
    }
}

fn parse(text: &str) -> Option<Start> {
    match text.split_once(':') {
        None if text == "earliest" => Some(Start::Earliest),
        None if text == "latest" => Some(Start::Latest),
        Some(("offset", offset)) => offset.parse().ok().map(Start::Offset),
        Some(("timestamp", timestamp)) => timestamp.parse().ok().map(Start::Timestamp),
        Some(("last", count)) => count.parse().ok().map(Start::Last),
        _ => None,
    }
}

serde_as_text!(Start);
