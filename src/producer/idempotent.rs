//! A producer with a name, whose records are in the log once, however often they are sent.
//!
//! ```text
//!   name --the broker's file--> producer id         survives restarts
//!   the caller's sequence number s of a partition = epoch s >> 31, sequence s & 2^31-1 in the log
//!     s is the next one      appended
//!     s is below             Duplicate: the log has it, and says where if it remembers
//!     s is above             OutOfOrderSequence: something is missing
//! ```
//!
//! Invariants
//! - A name has one holder for each topic: a newer one fences the older.
//! - What the log holds decides, not what this producer remembers: it asks the partition before each batch.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::batch_delivery::BatchDelivery;
use super::metadata::BatchMetadata;
use super::producer::Producer;
use super::sequenced::{HandedOver, Membership, ProducerStamp, SequencedBatch};
use crate::codec::{EncodeKey, EncodeValue, Raw, Record};
use crate::error::{Error, ErrorKind, Result};
use crate::partition::Log;
use crate::sync::Mutex;
use crate::types::{Offset, ProducerId};

/// Sends records to a topic under a name that survives restarts, so that what is sent again after a crash is not
/// in the log twice. Made by [`Topic::idempotent_producer`](crate::Topic::idempotent_producer).
///
/// A partition numbers the producer's records from 0. With numbers of your own, such as the line of the file that
/// is imported, an import goes on after a crash where the log ends:
///
/// ```
/// use millpond::ErrorKind;
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let lines = broker.create_topic("lines", TopicConfig::new())?;
/// let importer = lines.idempotent_producer("importer")?;
/// let text = ["one", "two", "three"];
///
/// let next = importer.last_acknowledged(0)?.map_or(0, |last| last + 1);       // after a restart, too
/// for (number, line) in (0..).zip(text).skip(next as usize) {
///     importer.send_at(0, number, [Record::new(line)])?.wait()?;
/// }
/// assert_eq!(importer.last_acknowledged(0)?, Some(2));
///
/// // What was sent already is refused, with the offset where it is.
/// let again = importer.send_at(0, 1, [Record::new("two")]).unwrap_err();
/// assert_eq!(again.kind(), ErrorKind::Duplicate { offset: Offset::new(1), next_sequence: 3 });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "enable.idempotence")]
pub struct IdempotentProducer<K = Raw, V = Raw> {
    producer: Producer<K, V>,
    holder: Arc<HolderOfName>,
}

/// Who holds a name.
pub(crate) struct HolderOfName {
    name: String,
    producer_id: i64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    over: bool,
    batches: HashMap<u32, SequencedBatch>,
}

/// What a producer with a name is made of.
pub(crate) struct NamedTarget<K, V> {
    pub(crate) producer: Producer<K, V>,
    pub(crate) holder: Arc<HolderOfName>,
}

impl HolderOfName {
    pub(crate) fn new(name: &str, producer_id: i64) -> HolderOfName {
        HolderOfName { name: name.to_owned(), producer_id, state: Mutex::new(State::default()) }
    }

    /// The id by which the log knows it.
    pub(crate) fn producer_id(&self) -> i64 {
        self.producer_id
    }

    /// Another one holds the name from now on; whoever sends has finished when this returns.
    pub(crate) fn fence(&self) {
        self.state.lock().over = true;
    }

    fn fenced(&self) -> Error {
        let message = format!("another producer has taken over the name {}", self.name);
        Error::new(ErrorKind::Fenced, message)
    }
}

/// The greatest number of an epoch, as bits.
const EPOCH_BITS: u32 = 31;
/// Numbers end with the epochs.
const GREATEST: u64 = (1 << (EPOCH_BITS + 15)) - (1 << EPOCH_BITS) - 1;

fn epoch_of(sequence: u64) -> i16 {
    // At most 2^15 - 2 by `GREATEST`.
    (sequence >> EPOCH_BITS) as i16
}

fn within_epoch(sequence: u64) -> i32 {
    (sequence & ((1 << EPOCH_BITS) - 1)) as i32
}

fn number(epoch: i16, sequence: i32) -> u64 {
    ((epoch.max(0) as u64) << EPOCH_BITS) | sequence.max(0) as u64
}

impl<K, V> IdempotentProducer<K, V> {
    pub(crate) fn new(target: NamedTarget<K, V>) -> IdempotentProducer<K, V> {
        IdempotentProducer { producer: target.producer, holder: target.holder }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.holder.name
    }

    /// The id by which the log knows it.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId::new(self.holder.producer_id)
    }

    /// The sequence number of its last record in a partition, once that is as durable as the topic promises; `None`
    /// if the partition knows of none. Waits for the flush that this may take.
    ///
    /// # Errors
    /// `PartitionNotFound`; `Poisoned`, `Closed`, `StorageFull` from the flush.
    pub fn last_acknowledged(&self, partition: u32) -> Result<Option<u64>> {
        let log = self.producer.partition_log(partition)?;
        let last = self.last_number(log);
        if last.is_some() {
            log.wait_acked(log.appended_end())?;
        }
        Ok(last)
    }

    fn last_number(&self, log: &Log) -> Option<u64> {
        let known = log.producer(self.holder.producer_id)?;
        known.last_sequence().map(|sequence| number(known.epoch(), sequence))
    }

    /// Sends records, numbered on from what each partition holds of this producer, in batches of their own. Without
    /// records the delivery is empty.
    ///
    /// # Errors
    /// `Fenced` if another producer has taken over the name; else as
    /// [`Producer::send_batch`](super::Producer::send_batch).
    pub fn send<'a, RV, RK>(
        &self,
        records: impl IntoIterator<Item = Record<'a, RV, RK>>,
    ) -> Result<BatchDelivery>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let mut state = self.lock()?;
        let mut delivery = BatchDelivery::default();
        let sent = self.send_all(&mut state, records, &mut delivery);
        state.batches.values_mut().for_each(SequencedBatch::discard);
        concluded(sent, delivery)
    }

    fn send_all<'a, RV, RK>(
        &self,
        state: &mut State,
        records: impl IntoIterator<Item = Record<'a, RV, RK>>,
        delivery: &mut BatchDelivery,
    ) -> Result<()>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let mut begun: Vec<u32> = Vec::new();
        for record in records {
            self.producer.lend(&record, |log, record| {
                let partition = log.topic_partition().partition();
                if !begun.contains(&partition) {
                    begun.push(partition);
                    self.begin_at(state, log, self.last_number(log).map_or(0, |last| last + 1));
                }
                let Some(batch) = state.batches.get_mut(&partition) else { return Ok(()) };
                let handed_over = batch.add(record)?;
                self.note(batch, handed_over, delivery);
                Ok(())
            })?;
        }
        for partition in begun {
            let Some(batch) = state.batches.get_mut(&partition) else { continue };
            let handed_over = batch.hand_over()?;
            self.note(batch, handed_over, delivery);
        }
        Ok(())
    }

    /// Sends records to one partition, the first with this sequence number, those after it with the next ones. They
    /// are in the log once: what it has already is refused. Without records nothing is sent, but that none are missing
    /// before this number is looked at all the same.
    ///
    /// # Errors
    /// `Duplicate` if the partition has records of these numbers, or some of them, as durable as the topic promises (it
    /// waits for the flush that this may take): nothing is appended, go on with `next_sequence`. `OutOfOrderSequence` if records are missing before them. `InvalidArgument` for a record that
    /// names another partition. Else as [`send`](IdempotentProducer::send).
    pub fn send_at<'a, RV, RK>(
        &self,
        partition: u32,
        sequence: u64,
        records: impl IntoIterator<Item = Record<'a, RV, RK>>,
    ) -> Result<BatchDelivery>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let mut state = self.lock()?;
        let records: Vec<_> = records.into_iter().map(|record| record.partition(partition)).collect();
        let log = self.producer.partition_log(partition)?;
        let count = records.len() as u64;
        if sequence.checked_add(count).is_none_or(|end| end > GREATEST) {
            return Err(Error::invalid_argument(format!("sequence {sequence} is greater than {GREATEST}")));
        }
        if let Some(last) = self.last_number(log) {
            self.check_range(log, sequence, count, last)?;
        }
        let mut delivery = BatchDelivery::default();
        let sent = self.send_numbered(&mut state, log, sequence, &records, &mut delivery);
        state.batches.values_mut().for_each(SequencedBatch::discard);
        concluded(sent, delivery)
    }

    fn send_numbered<RV, RK>(
        &self,
        state: &mut State,
        log: &Arc<Log>,
        sequence: u64,
        records: &[Record<'_, RV, RK>],
        delivery: &mut BatchDelivery,
    ) -> Result<()>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let batch = self.begin_at(state, log, sequence);
        for record in records {
            let handed_over = self.producer.lend(record, |_, record| Ok(batch.add(record)?))?;
            self.note(batch, handed_over, delivery);
        }
        let handed_over = batch.hand_over()?;
        self.note(batch, handed_over, delivery);
        Ok(())
    }

    /// Whether records of these numbers may come behind number `last`.
    fn check_range(&self, log: &Log, sequence: u64, count: u64, last: u64) -> Result<()> {
        let next_sequence = last + 1;
        let tp = log.topic_partition();
        if sequence > next_sequence {
            let kind = ErrorKind::OutOfOrderSequence { expected: next_sequence };
            let message = format!("sequence {sequence} of {} where {next_sequence} is next", self.name());
            return Err(Error::new(kind, message).in_partition(tp));
        }
        if sequence == next_sequence || count == 0 {
            return Ok(());
        }
        let whole = sequence + count <= next_sequence && epoch_of(sequence) == epoch_of(last);
        let known = log.producer(self.holder.producer_id).filter(|_| whole);
        let offset = known.and_then(|known| known.offset_of(within_epoch(sequence))).map(Offset::of);
        // Who is told that the log has them need not send them again: not even after a crash.
        log.wait_acked(log.appended_end())?;
        let message = format!(
            "the log has records of {} up to sequence {last}: go on with {next_sequence}",
            self.name()
        );
        Err(Error::new(ErrorKind::Duplicate { offset, next_sequence }, message).in_partition(tp))
    }

    /// The batch of a partition, which is empty, for records from this number on.
    fn begin_at<'s>(&self, state: &'s mut State, log: &Arc<Log>, next: u64) -> &'s mut SequencedBatch {
        let stamp = ProducerStamp { producer_id: self.holder.producer_id, epoch: epoch_of(next) };
        let partition = log.topic_partition().partition();
        let terms = self.producer.terms();
        let batch = state
            .batches
            .entry(partition)
            .or_insert_with(|| SequencedBatch::new(log, stamp, Membership::Alone, within_epoch(next), terms));
        batch.go_on_at(epoch_of(next), within_epoch(next));
        batch
    }

    fn note(&self, batch: &SequencedBatch, handed_over: Option<HandedOver>, delivery: &mut BatchDelivery) {
        let Some(HandedOver { offset, count, settled }) = handed_over else { return };
        let log = batch.log();
        let metadata = BatchMetadata::new(log.topic_partition().partition(), Offset::of(offset), count);
        let outstanding = if settled { None } else { self.producer.outstanding(log, metadata.end()) };
        delivery.push(metadata, outstanding);
    }

    fn lock(&self) -> Result<impl std::ops::DerefMut<Target = State> + '_> {
        let state = self.holder.state.lock();
        if state.over { Err(self.holder.fenced()) } else { Ok(state) }
    }
}

/// What was handed over, and the error that ended it, if one did.
fn concluded(sent: Result<()>, mut delivery: BatchDelivery) -> Result<BatchDelivery> {
    match sent {
        Ok(()) => Ok(delivery),
        Err(error) if delivery.batches().is_empty() => Err(error),
        Err(error) => {
            delivery.fail(error);
            Ok(delivery)
        }
    }
}

impl<K, V> fmt::Debug for IdempotentProducer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdempotentProducer")
            .field("name", &self.holder.name)
            .field("producer_id", &self.holder.producer_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HolderOfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HolderOfName").field("name", &self.name).finish_non_exhaustive()
    }
}
