//! The table itself.
//!
//! ```text
//!   partition:  | read ....................... position .. | tombstones gone, since the opening: up to here
//!               base: none below has gone unseen ^            above the base? look through what is read again
//! ```
//!
//! Invariants
//! - What retention has taken away from the start of a partition is not in the table either.
//! - A row is that of a record below the position; where compaction has taken a tombstone away before the table came to
//!   it, what is read is looked through again, and what is not there any more goes.

use std::fmt;
use std::sync::Arc;

use super::changes::{Change, Changes, PollChanges};
use super::rows::{Row, Rows};
use super::snapshot::{Position, SnapshotPlace};
use crate::codec::{Codec, Encode, Raw};
use crate::config::{Isolation, ReaderConfig, Start};
use crate::consumer::{Codecs, Reader, Records, TopicReader};
use crate::error::{Error, ErrorKind, Result};
use crate::partition::Log;
use crate::producer::{KeptOpen, PartitionSet, Producer};
use crate::types::{Offset, Timestamp};

/// The latest value of each key of a topic, as a map that follows the topic: by
/// [`Topic::table`](crate::Topic::table).
///
/// It is as new as its last [`update`](Table::update) or [`poll`](Table::poll), and takes the memory of all
/// keys and values. It works on any topic; on a compacted one it needs not much more than the map to be read.
/// What transactions have not committed is not in it; behind an open one it waits.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::config::CleanupPolicy;
/// use millpond::prelude::*;
///
/// fn compacted() -> TopicConfig {
///     TopicConfig::new().cleanup_policy(CleanupPolicy::Compact)
/// }
/// const CAPITALS: TopicDef<Utf8, Utf8> = TopicDef::new("capitals").settings(compacted);
///
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.topic(&CAPITALS)?;
/// let producer = topic.producer()?;
/// producer.send(Record::new("Bonn").key("Germany"))?.wait()?;
/// producer.send(Record::new("Paris").key("France"))?.wait()?;
///
/// let mut capitals = topic.table()?;
/// assert_eq!(capitals.get("Germany")?, Some("Bonn"));
/// producer.send(Record::new("Berlin").key("Germany"))?.wait()?;
/// producer.send(Record::tombstone().key("France"))?.wait()?;
/// assert_eq!(capitals.update()?.len(), 2);
/// assert_eq!(capitals.get("Germany")?, Some("Berlin"));
/// assert_eq!(capitals.get("France")?, None);
/// capitals.save_snapshot()?;                              // the next opening reads only what is new
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "KTable")]
pub struct Table<K = Raw, V = Raw> {
    pub(super) rows: Rows,
    pub(super) reader: TopicReader<Raw, Raw>,
    pub(super) partitions: Arc<PartitionSet>,
    pub(super) codecs: Codecs<K, V>,
    /// For appends that expect a version.
    pub(super) producer: Producer<K, V>,
    place: SnapshotPlace,
    from_snapshot: bool,
    followed: Vec<Followed>,
}

/// How far a partition has been followed.
#[derive(Clone, Copy, Debug, Default)]
struct Followed {
    /// No tombstone below can have gone unseen.
    base: u64,
    /// No row is from below.
    start: u64,
}

/// What a table holds of one key.
#[derive(Debug)]
pub struct Entry<'a, K = Raw, V = Raw> {
    key: &'a [u8],
    row: &'a Row,
    codecs: &'a Codecs<K, V>,
}

impl<K: Codec, V: Codec> Table<K, V> {
    /// Reads a topic up to its end, from its snapshot on if there is a good one.
    pub(crate) fn open(
        partitions: Arc<PartitionSet>,
        codecs: Codecs<K, V>,
        producer: Producer<K, V>,
        place: SnapshotPlace,
        broker: KeptOpen,
    ) -> Result<Table<K, V>> {
        let raw = Codecs { key: Raw, value: Raw };
        let config = ReaderConfig::new().isolation(Isolation::ReadCommitted);
        let reader =
            TopicReader::new(producer.topic().clone(), partitions.clone(), Start::Earliest, &config, raw)?;
        let reader = reader.keeping_open(broker);
        let (rows, from_snapshot) = (Rows::default(), false);
        // What tombstones below have deleted is not there to be read any more.
        let begin = |log: &Arc<Log>| Followed { base: log.cleaned_to(), start: 0 };
        let followed = partitions.iter().map(begin).collect();
        let mut table = Table { rows, reader, partitions, codecs, producer, place, from_snapshot, followed };
        table.take_snapshot();
        table.update()?;
        Ok(table)
    }

    fn take_snapshot(&mut self) {
        let logs: Vec<Arc<Log>> = self.partitions.iter().cloned().collect();
        let Some(snapshot) = self.place.load(&logs) else { return };
        let seek = |(number, position): (u32, &Position)| {
            self.reader.seek(number, Start::Offset(Offset::of(position.next)))
        };
        if (0..).zip(&snapshot.positions).map(seek).any(|sought| sought.is_err()) {
            // The log has moved on meanwhile: from the start, then.
            for (number, log) in (0..).zip(&logs) {
                let _ = self.reader.seek(number, Start::Offset(Offset::of(log.log_start())));
            }
            return;
        }
        self.rows = snapshot.rows;
        for (followed, position) in self.followed.iter_mut().zip(&snapshot.positions) {
            followed.base = position.next;
        }
        self.from_snapshot = true;
    }

    /// Whether the opening could use a snapshot.
    #[must_use]
    pub fn is_from_snapshot(&self) -> bool {
        self.from_snapshot
    }

    /// Takes up everything that is there to read, and answers what has changed. Never waits.
    ///
    /// # Errors
    /// Those of reading; what was read before is in the table. `Closed` when the topic has been deleted, and the table
    /// has what could be read of it.
    pub fn update(&mut self) -> Result<Changes> {
        let mut changes = Changes::default();
        self.read_on(&mut changes).map(|()| changes)
    }

    fn read_on(&mut self, changes: &mut Changes) -> Result<()> {
        let mut settled = false;
        loop {
            match self.reader.next() {
                Ok(Some(records)) => self.apply(&records, changes)?,
                // What the log has besides may have come since: once more.
                Ok(None) if !settled && self.settle(changes)? => settled = true,
                Ok(None) => return Ok(()),
                // What has been read is told first.
                Err(error) if error.kind() == ErrorKind::Closed && !changes.is_empty() => return Ok(()),
                Err(error) => self.skip_deleted(error)?,
            }
        }
    }

    /// Whether compaction has taken a tombstone away that the table may not have met.
    fn misses_deletions(&self) -> bool {
        let bases = self.followed.iter().map(|followed| followed.base).chain(std::iter::repeat(0));
        self.partitions.iter().zip(bases).any(|(log, base)| log.tombstones_gone() > base)
    }

    /// Some records were read: where tombstones may have gone unseen, reads on to the end and takes their keys out.
    pub(super) fn keep_up(&mut self, changes: &mut Changes) -> Result<()> {
        if self.misses_deletions() { self.read_on(changes) } else { self.settle(changes).map(|_| ()) }
    }

    /// Everything up to the positions has been read; takes keys out that retention has deleted, or whose tombstones have
    /// gone unseen. Answers whether there may have been any of these: then there may be more to read, too.
    fn settle(&mut self, changes: &mut Changes) -> Result<bool> {
        let mut missed = false;
        let partitions = self.partitions.clone();
        let mut followed = std::mem::take(&mut self.followed);
        followed.resize(partitions.count() as usize, Followed::default());
        let settled =
            (0..).zip(partitions.iter()).zip(&mut followed).try_for_each(|((number, log), followed)| {
                missed |= self.settle_one(number, log, followed, changes)?;
                Ok(())
            });
        self.followed = followed;
        settled.map(|()| missed)
    }

    fn settle_one(
        &mut self,
        number: u32,
        log: &Arc<Log>,
        followed: &mut Followed,
        changes: &mut Changes,
    ) -> Result<bool> {
        let position = self.reader.position(number)?;
        let missed = log.tombstones_gone() > followed.base;
        if missed {
            let there = what_is_there(log, position)?;
            changes.push_gone(self.rows.take_missing(number, &there), number, position);
        }
        let start = log.log_start();
        if start > followed.start {
            changes.push_gone(self.rows.take_below(number, start), number, position);
        }
        *followed = Followed { base: position.get().max(followed.base), start };
        Ok(missed)
    }

    /// The next changes, once there are any: `.wait()`, `.wait_timeout(..)` or `.await`.
    pub fn poll(&mut self) -> PollChanges<'_, K, V> {
        PollChanges::new(self)
    }

    /// Writes a snapshot, durably: the next opening reads only what has come since. It is of what the table holds, up to
    /// its last [`update`](Table::update): where compaction has taken a tombstone away behind that, it is not used.
    ///
    /// # Errors
    /// `StorageFull`, `Io`; `InvalidArgument` for a table above 4 GiB.
    pub fn save_snapshot(&self) -> Result<()> {
        let mut positions = Vec::new();
        for (number, log) in (0..).zip(self.partitions.iter()) {
            let next = self.reader.position(number)?.get();
            positions.push(Position { next, epoch: log.epoch_before(next) });
        }
        self.place.save(&positions, &self.rows)
    }

    pub(super) fn apply(&mut self, records: &Records<Raw, Raw>, changes: &mut Changes) -> Result<()> {
        apply(records, &mut self.rows, changes)
    }

    /// Retention has overtaken the table: it goes on where the log starts now.
    pub(super) fn skip_deleted(&mut self, error: Error) -> Result<()> {
        let ErrorKind::OffsetOutOfRange { requested, earliest, .. } = error.kind() else { return Err(error) };
        let Some(tp) = error.topic_partition().filter(|_| requested < earliest) else { return Err(error) };
        let number = tp.partition();
        self.reader.seek(number, Start::Earliest)
    }

    /// The value of a key; `None` if it has none.
    ///
    /// # Errors
    /// `Codec` if the key has no form in bytes, or the value cannot be read.
    pub fn get<Q: ?Sized>(&self, key: &Q) -> Result<Option<V::Output<'_>>>
    where
        K: Encode<Q>,
    {
        self.entry(key)?.map(|entry| entry.value()).transpose()
    }

    /// What the table holds of a key: its value, and where that came from.
    ///
    /// # Errors
    /// `Codec` if the key has no form in bytes.
    pub fn entry<Q: ?Sized>(&self, key: &Q) -> Result<Option<Entry<'_, K, V>>>
    where
        K: Encode<Q>,
    {
        let mut buf = Vec::new();
        let bytes = self.codecs.key.encode(key, &mut buf)?;
        let found = self.rows.get_entry(bytes);
        Ok(found.map(|(key, row)| Entry { key, row, codecs: &self.codecs }))
    }

    /// Every key with its value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Entry<'_, K, V>> {
        self.rows.iter().map(|(key, row)| Entry { key, row, codecs: &self.codecs })
    }

    /// How many keys have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset that is read next in a partition.
    ///
    /// # Errors
    /// `PartitionNotFound`.
    pub fn position(&self, partition: u32) -> Result<Offset> {
        self.reader.position(partition)
    }
}

/// The rows that a partition tells up to a position.
fn what_is_there(log: &Arc<Log>, position: Offset) -> Result<Rows> {
    let config = ReaderConfig::new().isolation(Isolation::ReadCommitted);
    let raw = Codecs { key: Raw, value: Raw };
    let mut reader = Reader::new(log.clone(), log.log_start(), Some(position), &config, raw);
    let mut there = Rows::default();
    loop {
        match reader.next() {
            Ok(Some(records)) => apply(&records, &mut there, &mut Changes::default())?,
            Ok(None) => return Ok(there),
            // Retention was faster.
            Err(e) if matches!(e.kind(), ErrorKind::OffsetOutOfRange { requested, earliest, .. } if requested < earliest) =>
            {
                reader.seek(Start::Earliest)?;
            }
            Err(e) => return Err(e),
        }
    }
}

/// Takes records up into rows.
fn apply(records: &Records<Raw, Raw>, rows: &mut Rows, changes: &mut Changes) -> Result<()> {
    for record in records {
        // A damaged record says so here.
        let Some(key) = record.key()? else { continue };
        let (partition, offset) = (record.partition(), record.offset().get());
        let changed = match record.raw_value() {
            Some(value) => {
                let timestamp = record.timestamp().millis();
                rows.put(key, Row { partition, offset, timestamp, value: value.into() });
                true
            }
            None => rows.remove(key, partition, offset),
        };
        if changed {
            let deleted = record.is_tombstone();
            changes.push(Change { key: key.into(), partition, offset: record.offset(), deleted });
        }
    }
    Ok(())
}

impl<'a, K: Codec, V: Codec> Entry<'a, K, V> {
    /// The key.
    ///
    /// # Errors
    /// `Codec` if it cannot be read.
    pub fn key(&self) -> Result<K::Output<'a>> {
        self.codecs.key.decode(Some(self.key))
    }

    /// The value.
    ///
    /// # Errors
    /// `Codec` if it cannot be read.
    pub fn value(&self) -> Result<V::Output<'a>> {
        self.codecs.value.decode(Some(&self.row.value))
    }

    /// The key's bytes.
    #[must_use]
    pub fn raw_key(&self) -> &'a [u8] {
        self.key
    }

    /// The value's bytes.
    #[must_use]
    pub fn raw_value(&self) -> &'a [u8] {
        &self.row.value
    }

    /// The offset of the record: the version of the key.
    #[must_use]
    pub fn offset(&self) -> Offset {
        Offset::of(self.row.offset)
    }

    /// The partition of the record.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.row.partition
    }

    /// The timestamp of the record.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        Timestamp::from_millis(self.row.timestamp)
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("topic", self.reader.topic())
            .field("keys", &self.rows.len())
            .finish_non_exhaustive()
    }
}
