//! A reader of all partitions of a topic.
//!
//! ```text
//!   turn
//!    v
//!   | 0 | 1 | 2 | ... |      one round fills a chunk, partition by partition; the next one begins behind
//!                            the partition that filled it: none starves another
//! ```
//!
//! Invariants
//! - Positions move only with records that are handed out: an error met after others were gathered waits
//!   for the next call.
//! - Partitions added later join at their log start, so that nothing of them is missed.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::codecs::Codecs;
use super::poll::{PollRecords, PollSource};
use super::reader::limits;
use super::records::{Part, Records};
use super::start::resolve;
use crate::codec::Raw;
use crate::config::{ReaderConfig, Start};
use crate::env::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::partition::{Cursor, Log, ReadLimits};
use crate::producer::{KeptOpen, PartitionSet};
use crate::sync::WaitKey;
use crate::types::{Offset, TopicName};

/// Reads all partitions of a topic. Records are in order within each partition; partitions take turns.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new().partitions(3))?;
/// let producer = topic.producer()?;
/// for user in ["alice", "bob", "carol", "dave"] {
///     let _ = producer.send(Record::new("/home").key(user))?;
/// }
/// producer.flush().wait()?;
///
/// let mut reader = topic.read(Start::Earliest)?;
/// let mut seen = 0;
/// while let Some(records) = reader.next()? {
///     for record in &records {
///         println!("{} {} {:?}", record.partition(), record.offset(), record.key()?);
///         seen += 1;
///     }
/// }
/// assert_eq!(seen, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TopicReader<K = Raw, V = Raw> {
    topic: TopicName,
    partitions: Arc<PartitionSet>,
    places: Vec<Place>,
    /// The partition that is asked first.
    turn: usize,
    config: ReaderConfig,
    codecs: Arc<Codecs<K, V>>,
    /// Waits for more partitions.
    waiting: Option<WaitKey>,
    /// What stays open for as long as the reader lives.
    kept_open: Option<KeptOpen>,
}

/// A partition and the place in it.
struct Place {
    cursor: Cursor,
    waiting: Option<WaitKey>,
}

impl Place {
    fn new(log: &Arc<Log>, offset: u64, config: &ReaderConfig) -> Place {
        let cursor = Cursor::counted(Arc::clone(log), offset).isolated(config.isolation_level());
        Place { cursor, waiting: None }
    }

    fn log(&self) -> &Arc<Log> {
        self.cursor.log()
    }

    fn stop_waiting(&mut self) {
        if let Some(key) = self.waiting.take() {
            self.cursor.log().readers().cancel(key);
        }
    }
}

impl<K, V> TopicReader<K, V> {
    /// A reader of `partitions` that begins at `start` in each. The settings have been validated.
    pub(crate) fn new(
        topic: TopicName,
        partitions: Arc<PartitionSet>,
        start: Start,
        config: &ReaderConfig,
        codecs: Codecs<K, V>,
    ) -> Result<TopicReader<K, V>> {
        let place =
            |log: &Arc<Log>| Ok(Place::new(log, resolve(log, start, config.isolation_level())?, config));
        let places = partitions.iter().map(place).collect::<Result<Vec<Place>>>()?;
        Ok(TopicReader {
            topic,
            partitions,
            places,
            turn: 0,
            config: config.clone(),
            codecs: Arc::new(codecs),
            waiting: None,
            kept_open: None,
        })
    }

    /// The reader, which keeps this open.
    pub(crate) fn keeping_open(mut self, broker: KeptOpen) -> TopicReader<K, V> {
        self.kept_open = Some(broker);
        self
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The offset that is read next in this partition.
    ///
    /// # Errors
    /// `PartitionNotFound` if the topic has no such partition.
    pub fn position(&self, partition: u32) -> Result<Offset> {
        match (self.places.get(partition as usize), self.partitions.get(partition)) {
            (Some(place), _) => Ok(Offset::of(place.cursor.next_offset())),
            (None, Some(log)) => Ok(Offset::of(log.log_start())),
            (None, None) => Err(self.no_partition(partition)),
        }
    }

    /// The next records there are, or `None` where there are none now. Never waits.
    ///
    /// # Errors
    /// As for a reader of one partition; the error names the partition, whose position stays, and comes
    /// again until it is gone or [`seek`](TopicReader::seek) goes elsewhere. `Closed` when all that can be read of a
    /// deleted topic has been read.
    #[expect(clippy::should_implement_trait, reason = "reading may fail, and goes on after a None")]
    pub fn next(&mut self) -> Result<Option<Records<K, V>>> {
        self.join_new_partitions();
        let count = self.places.len();
        let mut gathered = Records::none(&self.codecs);
        let mut room = Room { bytes: self.config.max_byte_count(), records: self.config.max_record_count() };
        let mut ended = None;
        for step in 0..count {
            let at = (self.turn + step) % count;
            match read_from(&mut self.places[at], &mut room, &self.config) {
                Ok(Some(part)) => gathered.push(part),
                Ok(None) => {}
                // Others may have something left.
                Err(error) if error.kind() == ErrorKind::Closed => ended = ended.or(Some(error)),
                Err(error) => {
                    self.turn = at;
                    return if gathered.has_parts() { Ok(Some(gathered)) } else { Err(error) };
                }
            }
            if room.is_used_up() {
                self.turn = (at + 1) % count;
                return Ok(Some(gathered));
            }
        }
        self.turn = (self.turn + 1).checked_rem(count).unwrap_or(0);
        match ended {
            Some(error) if !gathered.has_parts() => Err(error),
            _ => Ok(gathered.has_parts().then_some(gathered)),
        }
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

    /// Goes on from somewhere else in one partition: an [`Offset`], or any [`Start`].
    ///
    /// # Errors
    /// `PartitionNotFound`; `OffsetOutOfRange` for an offset that the log does not hold; those of reading,
    /// for a timestamp. The position stays.
    pub fn seek(&mut self, partition: u32, to: impl Into<Start>) -> Result<()> {
        self.join_new_partitions();
        let Some(place) = self.places.get_mut(partition as usize) else {
            return Err(self.no_partition(partition));
        };
        let offset = resolve(place.log(), to.into(), self.config.isolation_level())?;
        place.cursor.seek(offset);
        Ok(())
    }

    fn join_new_partitions(&mut self) {
        let known = self.places.len();
        if known < self.partitions.count() as usize {
            let join = |log: &Arc<Log>| Place::new(log, log.log_start(), &self.config);
            self.places.extend(self.partitions.iter().skip(known).map(join));
        }
    }

    fn no_partition(&self, partition: u32) -> Error {
        let count = self.partitions.count();
        let message =
            format!("topic {} has {count} partitions, so there is no partition {partition}", self.topic);
        Error::new(ErrorKind::PartitionNotFound, message)
    }

    fn stop(&mut self) {
        self.places.iter_mut().for_each(Place::stop_waiting);
        if let Some(key) = self.waiting.take() {
            self.partitions.grown().cancel(key);
        }
    }
}

/// What a chunk may still take.
struct Room {
    bytes: u64,
    records: u32,
}

impl Room {
    fn is_used_up(&self) -> bool {
        self.bytes == 0 || self.records == 0
    }
}

fn read_from(place: &mut Place, room: &mut Room, config: &ReaderConfig) -> Result<Option<Part>> {
    let limits =
        ReadLimits { max_bytes: room.bytes, max_records: room.records, ..limits(config, place.log()) };
    let from = place.cursor.next_offset();
    let Some(chunk) = place.cursor.read_or_end(u64::MAX, &limits)? else { return Ok(None) };
    room.bytes = room.bytes.saturating_sub(chunk.bytes());
    room.records = room.records.saturating_sub(u32::try_from(chunk.count_hint()).unwrap_or(u32::MAX));
    let topic_partition = place.log().topic_partition().clone();
    Ok(Some(Part::new(topic_partition, chunk, from, place.cursor.next_offset())))
}

impl<K: Send + Sync, V: Send + Sync> PollSource<K, V> for TopicReader<K, V> {
    fn poll_records(&mut self, context: &mut Context<'_>) -> Poll<Result<Records<K, V>>> {
        if let Some(records) = self.next()? {
            return Poll::Ready(Ok(records));
        }
        self.partitions.grown().register(&mut self.waiting, context.waker());
        self.join_new_partitions();
        for place in &mut self.places {
            place.cursor.log().await_records(&mut place.waiting, context.waker());
        }
        if let Some(records) = self.next()? {
            return Poll::Ready(Ok(records));
        }
        for place in &mut self.places {
            place.cursor.let_go();
            place.log().check_going_on()?;
            place.log().want_records();
        }
        Poll::Pending
    }

    fn stop_waiting(&mut self) {
        self.stop();
    }

    fn no_records(&self) -> Records<K, V> {
        Records::none(&self.codecs)
    }

    fn clock(&self) -> Option<Arc<dyn Clock>> {
        self.places.first().map(|place| Arc::clone(place.log().clock()))
    }
}

impl<K, V> Drop for TopicReader<K, V> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<K, V> fmt::Debug for TopicReader<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let positions: Vec<u64> = self.places.iter().map(|place| place.cursor.next_offset()).collect();
        f.debug_struct("TopicReader")
            .field("topic", &self.topic)
            .field("positions", &positions)
            .finish_non_exhaustive()
    }
}
