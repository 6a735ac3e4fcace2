//! How the batches of a topic are compressed.
//!
//! Invariant: the variants exist in every build; whether a build can compress with one is told by
//! validation, so that settings written by one build can be read by another.

use std::fmt;
use std::str::FromStr;

use super::text::unknown_word;
use crate::error::{Error, Result};

/// The codec of a topic's batches. As text: `none`, `gzip`, `gzip:6`, `snappy`, `lz4`, `zstd`, `zstd:3`.
///
/// A codec needs the feature of its name (`gzip`, `snappy`, `lz4`, `zstd`).
///
/// ```
/// use millpond::config::Compression;
/// assert_eq!("zstd:3".parse::<Compression>()?, Compression::Zstd { level: Some(3) });
/// assert_eq!("gzip".parse::<Compression>()?, Compression::Gzip { level: None });
/// assert_eq!(Compression::default(), Compression::None);
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "compression.type")]
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Batches are stored as they are.
    #[default]
    None,
    /// Deflate, as in gzip files.
    #[doc(alias = "compression.gzip.level")]
    Gzip {
        /// 1 (fast) to 9 (small); the codec's own default where `None`.
        level: Option<i32>,
    },
    /// Snappy: fast, and has no levels.
    Snappy,
    /// LZ4: fastest, and has one level here.
    Lz4,
    /// Zstandard.
    #[doc(alias = "compression.zstd.level")]
    Zstd {
        /// -131072 (fast) to 22 (small); the codec's own default where `None`.
        level: Option<i32>,
    },
}

impl Compression {
    /// The codec's name, without its level: what Kafka calls `compression.type`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip { .. } => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd { .. } => "zstd",
        }
    }

    /// The level asked for, if one was.
    #[must_use]
    pub const fn level(self) -> Option<i32> {
        match self {
            Compression::Gzip { level } | Compression::Zstd { level } => level,
            Compression::None | Compression::Snappy | Compression::Lz4 => None,
        }
    }

    /// Whether this build has the codec.
    #[must_use]
    pub const fn is_available(self) -> bool {
        match self {
            Compression::None => true,
            Compression::Gzip { .. } => cfg!(feature = "gzip"),
            Compression::Snappy => cfg!(feature = "snappy"),
            Compression::Lz4 => cfg!(feature = "lz4"),
            Compression::Zstd { .. } => cfg!(feature = "zstd"),
        }
    }

    /// Checks the level.
    pub(crate) fn check_level(self) -> Result<()> {
        let (least, greatest) = match self {
            Compression::Gzip { .. } => (1, 9),
            Compression::Zstd { .. } => (-131_072, 22),
            Compression::None | Compression::Snappy | Compression::Lz4 => return Ok(()),
        };
        match self.level() {
            Some(level) if !(least..=greatest).contains(&level) => {
                let bound = format!("{}:{least} to {}:{greatest}", self.name(), self.name());
                Err(Error::invalid_config("compression", self, &bound))
            }
            _ => Ok(()),
        }
    }

    /// Checks that this build can compress so.
    pub(crate) fn check_available(self) -> Result<()> {
        if self.is_available() {
            return Ok(());
        }
        let bound = format!("a codec of this build, which was made without the feature {}", self.name());
        Err(Error::invalid_config("compression", self, &bound))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.level().map_or(Ok(()), |level| write!(f, ":{level}"))
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(text: &str) -> Result<Compression> {
        parse(text).ok_or_else(|| {
            unknown_word("compression", text, "none, gzip, gzip:<level>, snappy, lz4, zstd, zstd:<level>")
        })
    }
}

fn parse(text: &str) -> Option<Compression> {
    let (name, level) = match text.split_once(':') {
        Some((name, level)) => (name, Some(level.parse::<i32>().ok()?)),
        None => (text, None),
    };
    match (name, level) {
        ("none", None) => Some(Compression::None),
        ("gzip", level) => Some(Compression::Gzip { level }),
        ("snappy", None) => Some(Compression::Snappy),
        ("lz4", None) => Some(Compression::Lz4),
        ("zstd", level) => Some(Compression::Zstd { level }),
        _ => None,
    }
}

serde_as_text!(Compression);
