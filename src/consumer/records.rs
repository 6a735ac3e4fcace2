//! A bounded chunk of records, handed out at once.
//!
//! ```text
//!   Records: | part: partition 3, offsets 40..97 | part: partition 0, offsets 7..9 | ...
//!              pins its segment                     each partition at most once
//! ```
//!
//! Invariants
//! - Iterating decodes as it goes and allocates nothing.
//! - Damage met on the way is one view that carries the error, and the last one.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use super::codecs::Codecs;
use super::owned::OwnedRecord;
use super::record_view::RecordView;
use crate::codec::Raw;
use crate::error::{Error, Result};
use crate::group::{GroupId, MemberId};
use crate::partition::{Chunk, ChunkMark, ChunkRecords};
use crate::types::{Offset, TopicId, TopicPartition};

/// Records read at once, in order within each partition. They pin what they lend: the bytes stay where
/// they are, whatever retention and deletion do, until this is dropped.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("clicks", TopicConfig::new())?;
/// topic.producer()?.send_batch(["/home", "/news"].map(Record::new))?.wait()?;
///
/// let mut reader = topic.partition(0)?.read(..)?;
/// while let Some(records) = reader.next()? {
///     for record in &records {
///         println!("{} {:?}", record.offset(), record.value()?);
///     }
///     assert_eq!(records.next_offset(0).map(Offset::get), Some(2));
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Records<K = Raw, V = Raw> {
    codecs: Arc<Codecs<K, V>>,
    first: Option<Part>,
    rest: Vec<Part>,
    /// What was found to be wrong while iterating.
    damage: OnceLock<Error>,
}

/// The records of one partition.
#[derive(Debug)]
pub(super) struct Part {
    topic_partition: TopicPartition,
    chunk: Chunk,
    /// No record before it.
    from: u64,
    /// No record from here on.
    next_offset: u64,
    /// By what right a member of a group reads it.
    lease: Option<Lease>,
}

/// By what right a member of a group reads a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    /// The member epoch at the time.
    pub(super) epoch: i32,
    /// Which topic of the name.
    pub(super) topic_id: TopicId,
    /// Who has read it.
    pub(super) by: ReadBy,
}

/// Who has read something, in two words: hashes of names that are given once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadBy {
    group: u64,
    member: u64,
}

impl ReadBy {
    pub(super) fn member(group: &GroupId, member: &MemberId) -> ReadBy {
        let hashed = |name: &str| {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            hasher.finish()
        };
        ReadBy { group: hashed(group.as_str()), member: hashed(member.as_str()) }
    }

    pub(super) fn is_same_group(self, other: ReadBy) -> bool {
        self.group == other.group
    }
}

/// Where a record lies in [`Records`], to find it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Located {
    part: usize,
    mark: ChunkMark,
}

impl Part {
    /// A chunk of a partition, read at offset `from`; the reader goes on at `next_offset`.
    #[inline]
    pub(super) fn new(topic_partition: TopicPartition, chunk: Chunk, from: u64, next_offset: u64) -> Part {
        Part { topic_partition, chunk, from, next_offset, lease: None }
    }

    /// The same, read by a member of a group.
    #[inline]
    pub(super) fn leased(mut self, lease: Lease) -> Part {
        self.lease = Some(lease);
        self
    }

    /// By what right it was read.
    pub(super) fn lease(&self) -> Option<Lease> {
        self.lease
    }

    /// No record before it.
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// No record from here on.
    pub(super) fn next_offset(&self) -> Offset {
        Offset::of(self.next_offset)
    }

    /// Bytes that it lends.
    pub(super) fn bytes(&self) -> u64 {
        self.chunk.bytes()
    }

    /// About how many records it holds.
    pub(super) fn count_hint(&self) -> u32 {
        u32::try_from(self.chunk.count_hint()).unwrap_or(u32::MAX)
    }

    /// The leader epoch of its last batch.
    pub(super) fn leader_epoch(&self) -> i32 {
        self.chunk.leader_epoch()
    }

    #[inline]
    pub(super) fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    fn iter(&self) -> Walk<'_> {
        Walk { part: self, records: self.chunk.iter() }
    }
}

impl<K, V> Records<K, V> {
    /// No records.
    pub(super) fn none(codecs: &Arc<Codecs<K, V>>) -> Records<K, V> {
        Records { codecs: Arc::clone(codecs), first: None, rest: Vec::new(), damage: OnceLock::new() }
    }

    /// Those of one partition.
    #[inline]
    pub(super) fn of(codecs: &Arc<Codecs<K, V>>, part: Part) -> Records<K, V> {
        Records { codecs: Arc::clone(codecs), first: Some(part), rest: Vec::new(), damage: OnceLock::new() }
    }

    pub(super) fn push(&mut self, part: Part) {
        match &self.first {
            None => self.first = Some(part),
            Some(_) => self.rest.push(part),
        }
    }

    pub(super) fn has_parts(&self) -> bool {
        self.first.is_some()
    }

    #[inline]
    pub(super) fn codecs(&self) -> &Codecs<K, V> {
        &self.codecs
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.first.iter().chain(&self.rest)
    }

    /// Calls with every record of a part and its place.
    ///
    /// # Errors
    /// `Corrupted` where a record is damaged; those before it have been told.
    pub(super) fn locate<'a>(
        &'a self,
        number: usize,
        part: &'a Part,
        mut tell: impl FnMut(Located, RecordView<'a, K, V>),
    ) -> Result<()> {
        let mut records = part.chunk.iter();
        loop {
            let mark = records.mark();
            let Some(record) = records.next_record() else { break };
            tell(Located { part: number, mark }, RecordView::new(self, part, record));
        }
        match records.take_damage() {
            None => Ok(()),
            Some(damage) => {
                let offset = records.last_offset().map_or(part.from, |last| last + 1);
                Err(damage.in_partition(&part.topic_partition).at_offset(Offset::of(offset)))
            }
        }
    }

    /// The record that was told to lie here.
    pub(super) fn find(&self, at: Located) -> Option<RecordView<'_, K, V>> {
        let part = match at.part.checked_sub(1) {
            None => self.first.as_ref()?,
            Some(at) => self.rest.get(at)?,
        };
        let record = part.chunk.iter_from(at.mark).next_record()?;
        Some(RecordView::new(self, part, record))
    }

    /// Whether there are none: nothing came while a `poll` waited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Bytes of the log that are lent: the records with their batches' overhead, compressed or not as they
    /// are stored.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts().map(|part| part.chunk.bytes()).sum()
    }

    /// The offset at which reading this partition goes on; `None` if there is nothing of it here.
    #[must_use]
    pub fn next_offset(&self, partition: u32) -> Option<Offset> {
        let mine = self.parts().find(|part| part.topic_partition.partition() == partition);
        mine.map(|part| Offset::of(part.next_offset))
    }

    /// The partitions that there are records of, each with the offset at which reading it goes on.
    pub fn partitions(&self) -> impl Iterator<Item = (&TopicPartition, Offset)> {
        self.parts().map(|part| (&part.topic_partition, part.next_offset()))
    }

    /// The records, one after the other, in order within each partition. A record whose bytes are
    /// damaged is the last one, and answers its questions with the error.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> RecordsIter<'_, K, V> {
        RecordsIter { records: self, walk: self.first.as_ref().map(Part::iter), rest: self.rest.iter() }
    }

    /// Copies that pin nothing.
    ///
    /// # Errors
    /// `Corrupted` if one of them is damaged.
    pub fn to_owned_records(&self) -> Result<Vec<OwnedRecord>> {
        self.iter().map(RecordView::to_owned).collect()
    }
}

impl<'a, K, V> IntoIterator for &'a Records<K, V> {
    type Item = RecordView<'a, K, V>;
    type IntoIter = RecordsIter<'a, K, V>;

    #[inline]
    fn into_iter(self) -> RecordsIter<'a, K, V> {
        self.iter()
    }
}

impl<K, V> fmt::Debug for Records<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for part in self.parts() {
            map.entry(&format_args!("{}", part.topic_partition), &(part.from..part.next_offset));
        }
        map.finish()
    }
}

/// The records of [`Records`].
pub struct RecordsIter<'a, K = Raw, V = Raw> {
    records: &'a Records<K, V>,
    /// `None` at the end.
    walk: Option<Walk<'a>>,
    rest: std::slice::Iter<'a, Part>,
}

/// A part and the place in it.
struct Walk<'a> {
    part: &'a Part,
    records: ChunkRecords<'a>,
}

impl<'a, K, V> Iterator for RecordsIter<'a, K, V> {
    type Item = RecordView<'a, K, V>;

    // Always: a view is many words, of which most callers look at two.
    #[inline(always)]
    fn next(&mut self) -> Option<RecordView<'a, K, V>> {
        loop {
            let walk = self.walk.as_mut()?;
            if let Some(record) = walk.records.next_record() {
                return Some(RecordView::new(self.records, walk.part, record));
            }
            // What comes seldom answers with little, so that the common path keeps to registers.
            if let Some((part, offset, damage)) = self.next_part() {
                return Some(RecordView::damaged(self.records, part, offset, damage));
            }
        }
    }
}

impl<'a, K, V> RecordsIter<'a, K, V> {
    /// Goes to the next part, unless this one ended with damage: where it is, at which offset, and what.
    #[cold]
    #[inline(never)]
    fn next_part(&mut self) -> Option<(&'a Part, u64, &'a Error)> {
        let Walk { part, mut records } = self.walk.take()?;
        let Some(damage) = records.take_damage() else {
            self.walk = self.rest.next().map(Part::iter);
            return None;
        };
        let offset = records.last_offset().map_or(part.from, |last| last + 1);
        let damage = damage.in_partition(&part.topic_partition).at_offset(Offset::of(offset));
        Some((part, offset, self.records.damage.get_or_init(|| damage)))
    }
}

impl<K, V> std::iter::FusedIterator for RecordsIter<'_, K, V> {}

impl<K, V> fmt::Debug for RecordsIter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsIter").field("records", &self.records).finish_non_exhaustive()
    }
}
