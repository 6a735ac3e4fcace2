//! A reader of one partition.
//!
//! ```text
//!   log start            position             high watermark      until (if it is a range)
//!      |  handed out        |  next(), poll()      |  poll() waits      |  nothing more
//! ```
//!
//! Invariants
//! - The position moves only when records are handed out, or by `seek`.
//! - Nothing is read at or behind the end of the range.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::codecs::Codecs;
use super::poll::{PollRecords, PollSource};
use super::records::{Part, Records};
use super::start::resolve;
use crate::codec::Raw;
use crate::config::{ReaderConfig, Start};
use crate::env::Clock;
use crate::error::Result;
use crate::partition::{Cursor, Log, ReadLimits};
use crate::producer::KeptOpen;
use crate::sync::WaitKey;
use crate::types::{Offset, TopicPartition};

/// Reads one partition, from wherever you like, as often as you like.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// topic.producer()?.send_batch(["/home", "/news", "/home"].map(Record::new))?.wait()?;
///
/// let mut reader = topic.partition(0)?.read(Offset::ZERO..)?;
/// while let Some(records) = reader.next()? {
///     for record in &records {
///         println!("{} {:?}", record.offset(), record.value()?);
///     }
/// }
/// assert_eq!(reader.position().get(), 3);
///
/// reader.seek(Start::Last(1))?; // again, the last one
/// assert_eq!(reader.next()?.map(|records| records.iter().count()), Some(1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reader<K = Raw, V = Raw> {
    cursor: Cursor,
    /// Exclusive; `u64::MAX` without a bound.
    until: u64,
    limits: ReadLimits,
    codecs: Arc<Codecs<K, V>>,
    waiting: Option<WaitKey>,
    /// What stays open for as long as the reader lives.
    kept_open: Option<KeptOpen>,
}

impl<K, V> Reader<K, V> {
    /// A reader of `log` from offset `start`, up to `until` (exclusive) where that is given. The settings
    /// have been validated.
    pub(crate) fn new(
        log: Arc<Log>,
        start: u64,
        until: Option<Offset>,
        config: &ReaderConfig,
        codecs: Codecs<K, V>,
    ) -> Reader<K, V> {
        let limits = limits(config, &log);
        let until = until.map_or(u64::MAX, Offset::get);
        let cursor = Cursor::counted(log, start).isolated(config.isolation_level());
        let codecs = Arc::new(codecs);
        Reader { cursor, until, limits, codecs, waiting: None, kept_open: None }
    }

    /// The reader, which keeps this open.
    pub(crate) fn keeping_open(mut self, broker: KeptOpen) -> Reader<K, V> {
        self.kept_open = Some(broker);
        self
    }

    /// Topic and partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        self.cursor.log().topic_partition()
    }

    /// The offset that is read next.
    #[must_use]
    pub fn position(&self) -> Offset {
        Offset::of(self.cursor.next_offset().min(self.until))
    }

    /// The next records there are, or `None` where there are none now: at the end of the range, or where
    /// nothing more is as durable as the topic promises. Never waits.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
    /// clicks.producer()?.send(Record::new("/home"))?.wait()?;
    /// let mut reader = clicks.partition(0)?.read(..)?;
    /// broker.delete_topic("clicks")?;
    /// assert_eq!(reader.next()?.map(|records| records.iter().count()), Some(1));  // what there is still
    /// assert_eq!(reader.next().unwrap_err().kind(), ErrorKind::Closed);           // there will be no more
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Closed` when the topic has been deleted, or the broker closed, and all that can be read of it has been read;
    /// `OffsetOutOfRange` where retention or a truncation has taken the position away ([`seek`](Reader::seek)
    /// to go on); `Corrupted` for a batch that is not what was written; `Io`; `UnsupportedFormat` for a
    /// compression that this build lacks. The position stays.
    #[expect(clippy::should_implement_trait, reason = "reading may fail, and goes on after a None")]
    pub fn next(&mut self) -> Result<Option<Records<K, V>>> {
        let from = self.cursor.next_offset();
        let Some(chunk) = self.cursor.read_or_end(self.until, &self.limits)? else { return Ok(None) };
        let part = Part::new(self.topic_partition().clone(), chunk, from, self.position().get());
        Ok(Some(Records::of(&self.codecs, part)))
    }

    /// The next records, once there are any: `.wait()`, `.wait_timeout(..)` or `.await`.
    ///
    /// # Errors
    /// Told by the operation: see [`PollRecords::wait`].
    pub fn poll(&mut self) -> PollRecords<'_, K, V>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        PollRecords::new(self)
    }

    /// Goes on from somewhere else: an [`Offset`], or any [`Start`]. The end of a range stays.
    ///
    /// # Errors
    /// `OffsetOutOfRange` for an offset that the log does not hold; those of reading, for a timestamp. The
    /// position stays.
    pub fn seek(&mut self, to: impl Into<Start>) -> Result<()> {
        let offset = resolve(self.cursor.log(), to.into(), self.cursor.isolation())?;
        self.cursor.seek(offset);
        Ok(())
    }

    /// Everything of the range has been handed out.
    pub(super) fn is_finished(&self) -> bool {
        self.cursor.next_offset() >= self.until
    }
}

/// The limits of chunks of this log.
pub(super) fn limits(config: &ReaderConfig, log: &Log) -> ReadLimits {
    ReadLimits {
        max_bytes: config.max_byte_count(),
        max_records: config.max_record_count(),
        crc: config.crc_check_kind().unwrap_or(log.crc_check()),
    }
}

impl<K: Send + Sync, V: Send + Sync> PollSource<K, V> for Reader<K, V> {
    fn poll_records(&mut self, context: &mut Context<'_>) -> Poll<Result<Records<K, V>>> {
        if let Some(records) = self.next()? {
            return Poll::Ready(Ok(records));
        }
        if self.is_finished() {
            return Poll::Ready(Ok(self.no_records()));
        }
        self.cursor.log().await_records(&mut self.waiting, context.waker());
        if let Some(records) = self.next()? {
            return Poll::Ready(Ok(records));
        }
        self.cursor.let_go();
        let log = self.cursor.log();
        log.check_going_on()?;
        log.want_records();
        Poll::Pending
    }

    fn stop_waiting(&mut self) {
        if let Some(key) = self.waiting.take() {
            self.cursor.log().readers().cancel(key);
        }
    }

    fn no_records(&self) -> Records<K, V> {
        Records::none(&self.codecs)
    }

    fn clock(&self) -> Option<Arc<dyn Clock>> {
        Some(Arc::clone(self.cursor.log().clock()))
    }
}

impl<K, V> Drop for Reader<K, V> {
    fn drop(&mut self) {
        if let Some(key) = self.waiting.take() {
            self.cursor.log().readers().cancel(key);
        }
    }
}

impl<K, V> fmt::Debug for Reader<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("topic_partition", &format_args!("{}", self.topic_partition()))
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}
