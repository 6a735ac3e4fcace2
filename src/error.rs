//! Everything that can go wrong, grouped by what the caller does next.
//!
//! Invariants: one [`Error`] type, one word wide; the kind says what to do, the message names topic,
//! partition, offset and file; the operating system's error stays reachable through `source()`, also where an
//! error is told a second time. A message never repeats its source's: whoever walks the chain is told each once.
//!
//! ```text
//!   {e}     clicks-0: could not write a segment [data/clicks-0/00000000000000000000.log]
//!   {e:#}   the same, and behind it ": " and each source's message     for who does not walk the chain
//!   {e:?}   Io: and the same as {e:#}                                  what unwrap and main print
//! ```
//!
//! Every error is made by a constructor in this file, so the list below is complete.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

use crate::types::{InvalidName, InvalidText, Offset, TopicName, TopicPartition};

/// What the library's calls return.
pub type Result<T> = std::result::Result<T, Error>;

/// An error: what to do about it is its [`kind`](Error::kind).
///
/// Printed with `{error}` it says what could not be done, and where; with `{error:#}`, and with `{error:?}`, also
/// why, which is the chain of its sources, each behind a colon. A report that walks the sources by itself takes
/// the first.
///
/// ```
/// use millpond::{ErrorKind, TopicName};
/// let error = millpond::Error::from(TopicName::new("").unwrap_err());
/// assert_eq!(error.kind(), ErrorKind::InvalidArgument);
/// assert!(!error.is_retriable());
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    topic_partition: Option<TopicPartition>,
    offset: Option<Offset>,
    path: Option<PathBuf>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The kinds of errors, grouped by what the caller does next.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    // -- ask for something else --
    /// A setting is out of its bounds; the message names field, value and bound.
    InvalidConfig,
    /// An argument breaks a rule; the message says which.
    InvalidArgument,
    /// There is no topic of this name.
    TopicNotFound,
    /// There is already a topic of this name.
    TopicExists,
    /// The topic has fewer partitions.
    PartitionNotFound,
    /// The record does not fit the topic's limit, in bytes.
    RecordTooLarge {
        /// Size of the record (or of the batch that would hold it alone), in bytes.
        size: u64,
        /// The greatest size allowed, in bytes.
        limit: u64,
    },
    /// The log does not hold this offset: start again from `earliest` or `latest`.
    OffsetOutOfRange {
        /// What was asked for.
        requested: Offset,
        /// The log start offset.
        earliest: Offset,
        /// The end of what may be read.
        latest: Offset,
    },
    /// The log goes on at another offset than the append expected: somebody else has appended meanwhile.
    UnexpectedOffset {
        /// The next offset of the log.
        actual: Offset,
    },
    /// The log has these records of the producer, or some of them: nothing was appended. Go on with
    /// `next_sequence`.
    Duplicate {
        /// Where the first of them is, if that is still remembered.
        offset: Option<Offset>,
        /// The sequence number that the partition expects next.
        next_sequence: u64,
    },
    /// Records of the producer are missing before these: nothing was appended.
    OutOfOrderSequence {
        /// The sequence number that the partition expects next.
        expected: u64,
    },
    /// What an append depended on has changed: look at it again, and decide anew.
    VersionConflict {
        /// The offset of the key's latest record; none if the key has no value.
        actual: Option<Offset>,
    },
    /// There is no group of this name.
    GroupNotFound,
    /// The group has members that would lose what is asked to be changed: end them first.
    GroupInUse,
    /// The group has committed no offset here, and its reset policy is to say so: `seek`, or reset the group.
    NoOffset,
    // -- try again --
    /// The time given has passed; what was started goes on.
    TimedOut,
    /// There is no room right now: await `ready()`, or slow down.
    Backpressure,
    /// The partition has been given to another member meanwhile: drop what is left of its records, and poll.
    Rebalanced,
    /// The transaction has been aborted (by its timeout, or because a part of it failed): begin another one.
    TransactionAborted,
    // -- stop this handle --
    /// The member has been put out of its group, and its partitions belong to others: join again. Or another
    /// producer has taken over the name: end this one.
    Fenced,
    /// The handle, its topic or its broker has been closed or deleted. Readers are told when they have read what there
    /// is.
    Closed,
    // -- stop, and look at the disk --
    /// The operating system refused a file operation.
    Io,
    /// The disk (or quota) is full; appends go on when there is room.
    StorageFull,
    /// Another broker (or a view of an earlier one) holds this directory.
    Locked,
    /// Stored bytes are damaged; the message names file, position and offsets.
    Corrupted,
    /// Written by a newer version, or with a feature that this build lacks.
    UnsupportedFormat,
    /// A write or sync failed before: nothing more is acknowledged until the broker is opened again. The error's source
    /// is the error that said so first.
    Poisoned,
    // -- yours --
    /// A codec could not encode or decode a key or a value.
    Codec,
    /// A typed value was asked of a record without one (a tombstone).
    NullValue,
    /// What you gave to process records has failed or panicked; the error says on which record, and its source
    /// is what it answered.
    Processing,
}

impl Error {
    /// What the caller does next.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The same call may succeed later without a change by the caller.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        matches!(self.0.kind, ErrorKind::TimedOut | ErrorKind::Backpressure | ErrorKind::StorageFull)
    }

    /// Nothing will succeed on this handle until the broker is opened again.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Closed | ErrorKind::Fenced | ErrorKind::Poisoned | ErrorKind::Corrupted
        )
    }

    /// The partition concerned, where there is one.
    #[must_use]
    pub fn topic_partition(&self) -> Option<&TopicPartition> {
        self.0.topic_partition.as_ref()
    }

    /// The offset concerned, where there is one.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        self.0.offset
    }

    /// The file or directory concerned, where there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The error of a codec of your own: `codec` is its name, `source` what went wrong.
    ///
    /// ```
    /// use millpond::{Error, ErrorKind};
    /// let error = "12.50".parse::<u64>().map_err(|error| Error::from_codec("cents", error)).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Codec);
    /// assert_eq!(error.to_string(), "codec cents failed");
    /// assert_eq!(format!("{error:#}"), "codec cents failed: invalid digit found in string");
    /// ```
    #[must_use]
    pub fn from_codec(codec: &str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        Error::new(ErrorKind::Codec, format!("codec {codec} failed")).caused_by(source)
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner {
            kind,
            message: message.into(),
            topic_partition: None,
            offset: None,
            path: None,
            source: None,
        }))
    }

    /// The same error for one more who asks, with the same source.
    pub(crate) fn again(&self) -> Error {
        let inner = &*self.0;
        Error(Box::new(Inner {
            kind: inner.kind,
            message: inner.message.clone(),
            topic_partition: inner.topic_partition.clone(),
            offset: inner.offset,
            path: inner.path.clone(),
            source: inner.source.clone(),
        }))
    }

    pub(crate) fn in_partition(mut self, tp: &TopicPartition) -> Error {
        self.0.topic_partition.get_or_insert_with(|| tp.clone());
        self
    }

    pub(crate) fn at_offset(mut self, offset: Offset) -> Error {
        self.0.offset = Some(offset);
        self
    }

    pub(crate) fn at_path(mut self, path: &Path) -> Error {
        self.0.path.get_or_insert_with(|| path.to_path_buf());
        self
    }

    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    pub(crate) fn invalid_config(field: &str, value: impl fmt::Display, bound: &str) -> Error {
        Error::new(ErrorKind::InvalidConfig, format!("setting {field} is {value}, but must be {bound}"))
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn corrupted(path: &Path, position: u64, why: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Corrupted, format!("damaged at byte {position}: {why}")).at_path(path)
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::UnsupportedFormat, message)
    }

    pub(crate) fn closed(what: &str) -> Error {
        Error::new(ErrorKind::Closed, format!("{what} is closed"))
    }

    /// The topic that a handle is of has been deleted.
    pub(crate) fn topic_deleted(topic: &TopicName) -> Error {
        Error::new(ErrorKind::Closed, format!("topic {topic} has been deleted"))
    }

    pub(crate) fn codec(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Codec, message)
    }

    /// A typed key or value was asked of a record without one.
    pub(crate) fn null_value(codec: &str) -> Error {
        let why = "has no key, or no value (a tombstone has none: ask is_tombstone)";
        Error::new(ErrorKind::NullValue, format!("the record {why}, where codec {codec} expects one"))
    }

    /// The log does not hold `requested`: what it holds begins at `earliest` and ends before `latest`.
    pub(crate) fn out_of_range(
        tp: &TopicPartition,
        requested: Offset,
        earliest: Offset,
        latest: Offset,
    ) -> Error {
        let kind = ErrorKind::OffsetOutOfRange { requested, earliest, latest };
        let message =
            format!("the log begins at offset {earliest} and ends before {latest}, so it does not hold this");
        Error::new(kind, message).in_partition(tp).at_offset(requested)
    }

    /// An operating system's error while doing `what` to `path`; a full disk or quota is told apart.
    pub(crate) fn io(what: &str, path: &Path, source: io::Error) -> Error {
        let kind = match source.kind() {
            // A write that stores nothing more says the same.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::WriteZero => {
                ErrorKind::StorageFull
            }
            _ => ErrorKind::Io,
        };
        let message = match kind {
            ErrorKind::StorageFull => format!("could not {what}, as the disk or quota is full"),
            _ => format!("could not {what}"),
        };
        Error::new(kind, message).at_path(path).caused_by(source)
    }
}

impl From<InvalidName> for Error {
    fn from(invalid: InvalidName) -> Error {
        Error::invalid_argument(invalid.to_string())
    }
}

impl From<InvalidText> for Error {
    fn from(invalid: InvalidText) -> Error {
        Error::invalid_argument(invalid.to_string())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if let Some(tp) = &inner.topic_partition {
            write!(f, "{tp}: ")?;
        }
        f.write_str(&inner.message)?;
        if let Some(offset) = inner.offset {
            write!(f, " (offset {offset})")?;
        }
        if let Some(path) = &inner.path {
            write!(f, " [{}]", path.display())?;
        }
        if f.alternate() {
            let mut source = std::error::Error::source(self);
            while let Some(cause) = source {
                write!(f, ": {cause}")?;
                source = cause.source();
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self:#}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_a_chain_is_told_once() {
        let denied = io::Error::new(io::ErrorKind::PermissionDenied, "not yours");
        let first = Error::io("open a segment", Path::new("0.log"), denied);
        let error = Error::new(ErrorKind::Poisoned, "poisoned").at_offset(Offset::ZERO).caused_by(first);
        assert_eq!(error.to_string(), "poisoned (offset 0)");
        let whole = "poisoned (offset 0): could not open a segment [0.log]: not yours";
        assert_eq!(format!("{error:#}"), whole);
        assert_eq!(format!("{error:?}"), format!("Poisoned: {whole}"));

        // As a report does that walks the sources.
        let chain = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        assert_eq!(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "), whole);
    }

    #[test]
    fn a_full_disk_says_so_by_itself() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::io("write a segment", Path::new("0.log"), full);
        assert_eq!(error.to_string(), "could not write a segment, as the disk or quota is full [0.log]");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}
