//! What the clones of a producer share, and the way of one record: encoded, given a partition, handed to its log.
//!
//! ```text
//!   record --codecs--> bytes --partitioner--> log.fetch --> append --settled?--> delivery
//!                                                             | no room: wait until max_block has passed
//! ```
//!
//! Invariants
//! - A codec or partitioner that fails has changed nothing in the log.
//! - A record for which there is room costs no look at the monotonic clock, no allocation and no system call.

use std::sync::Arc;

use super::acknowledgement::Acknowledgement;
use super::buffers::{BufferPool, Buffers};
use super::delivery::Delivery;
use super::header_list::HeaderList;
use super::metadata::RecordMetadata;
use super::sequenced::BatchTerms;
use super::target::ProducerTarget;
use crate::codec::{EncodeKey, EncodeValue, EncodedRecord, Record};
use crate::config::{Acks, ProducerConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::partition::{Appended, Log, Patience};
use crate::segment::NewRecord;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::topic::Partitioner;
use crate::types::{Offset, Timestamp};

/// A producer without its handles.
pub(super) struct Shared<K, V> {
    pub(super) target: ProducerTarget,
    pub(super) acks: Acks,
    pub(super) terms: BatchTerms,
    partitioner: Arc<dyn Partitioner>,
    pub(super) key_codec: K,
    pub(super) value_codec: V,
    pub(super) closed: AtomicBool,
    pub(super) buffers: BufferPool,
    /// Bytes of the last record that there was no room for, at least 1, and its partition.
    pub(super) refused: AtomicU64,
    pub(super) refused_by: AtomicU32,
}

/// What a record takes beside its key, value and headers, at most: its deltas and lengths, and the header
/// of the batch that it may open.
const RECORD_OVERHEAD: u64 = 128;

impl<K, V> Shared<K, V> {
    pub(super) fn new(
        target: ProducerTarget,
        config: &ProducerConfig,
        partitioner: Arc<dyn Partitioner>,
        key_codec: K,
        value_codec: V,
    ) -> Shared<K, V> {
        let max_block = config.max_block_duration().unwrap_or(target.max_block);
        let terms = BatchTerms { compression: config.compression_type(), max_block };
        Shared {
            target,
            acks: config.acks_level(),
            terms,
            partitioner,
            key_codec,
            value_codec,
            closed: AtomicBool::new(false),
            buffers: BufferPool::new(),
            refused: AtomicU64::new(1),
            refused_by: AtomicU32::new(0),
        }
    }

    /// Lends a record in the log's form, with its partition and the time in milliseconds.
    #[inline(always)]
    pub(super) fn lend<'s, RV, RK, T>(
        &'s self,
        record: &Record<'_, RV, RK>,
        then: impl FnOnce(&'s Arc<Log>, u32, &NewRecord<'_>, i64) -> Result<T>,
    ) -> Result<T>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        self.check_open()?;
        let mut lent = self.buffers.lend();
        let Buffers { key, value } = lent.buffers();
        let encoded = record.encode(&self.key_codec, &self.value_codec, key, value)?;
        let partition = self.partition_for(record.given_partition(), &encoded)?;
        let log = self.target.partition(partition)?;
        log.fetch();
        let now = log.clock().now();
        let timestamp = record.timestamp_or(now).millis();
        let EncodedRecord { key, value } = encoded;
        let list;
        let headers = if record.headers().is_empty() && self.target.schema.is_none() {
            [].as_slice()
        } else {
            list = self.headers_of(record.headers());
            list.as_slice()
        };
        then(log, partition, &NewRecord { timestamp, key, value, headers }, now.millis())
    }

    /// A record's headers, and the producer's own, in the log's form.
    #[inline(never)]
    pub(super) fn headers_of<'a>(&'a self, given: &[(&'a str, Option<&'a [u8]>)]) -> HeaderList<'a> {
        HeaderList::new(given, self.target.schema.as_deref())
    }

    /// Sends a record. What is answered from here is small, so that the caller of [`send`](super::Producer::send), into
    /// which the rest goes, need not move a delivery that it looks at only to drop it.
    #[inline(never)]
    pub(super) fn send<RV, RK>(&self, record: &Record<'_, RV, RK>, waits: bool) -> Result<Sent>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        self.lend(record, |log, partition, new, now| match log.append_at(new, now, Patience::No) {
            Ok(appended) => Ok(Sent::new(partition, &appended)),
            Err(error) => self.append_late(error, waits, log, partition, new),
        })
    }

    /// The record's partition: its own wish, else the partitioner's.
    #[inline]
    pub(super) fn partition_for(&self, given: Option<u32>, encoded: &EncodedRecord<'_>) -> Result<u32> {
        if let Some(partition) = given {
            return Ok(partition);
        }
        let partitions = self.target.partitions.count();
        if partitions == 1 {
            return Ok(0);
        }
        let value_len = encoded.value.map_or(0, <[u8]>::len);
        let partition = self.partitioner.partition(encoded.key, value_len, partitions);
        if partition < partitions {
            Ok(partition)
        } else {
            Err(self.out_of_partitions(partition, partitions))
        }
    }

    #[cold]
    fn out_of_partitions(&self, partition: u32, partitions: u32) -> Error {
        let partitioner = &self.partitioner;
        Error::new(
            ErrorKind::PartitionNotFound,
            format!(
                "{partitioner:?} chose partition {partition} of {partitions} of topic {}",
                self.target.topic
            ),
        )
    }

    /// There was no room, or another error: waits for room where the caller `waits`.
    #[cold]
    #[inline(never)]
    fn append_late(
        &self,
        error: Error,
        waits: bool,
        log: &Log,
        partition: u32,
        record: &NewRecord<'_>,
    ) -> Result<Sent> {
        if error.kind() != ErrorKind::Backpressure {
            return Err(error);
        }
        if waits {
            let appended = self.patiently(log, |patience| log.append(record, patience))?;
            return Ok(Sent::new(partition, &appended));
        }
        self.refused.store(size_of_record(record), Ordering::Relaxed);
        self.refused_by.store(partition, Ordering::Relaxed);
        Err(error)
    }

    /// Appends, waiting for room until `max_block` has passed or the producer is closed.
    #[cold]
    pub(super) fn patiently<T>(
        &self,
        log: &Log,
        append: impl FnOnce(Patience<'_>) -> Result<T>,
    ) -> Result<T> {
        let deadline = log.clock().monotonic().saturating_add(self.terms.max_block);
        append(Patience::UntilClosed(deadline, &self.closed)).map_err(|error| {
            if error.kind() != ErrorKind::Backpressure {
                return error;
            }
            let message = format!("there was no room within {:?}", self.terms.max_block);
            Error::new(ErrorKind::TimedOut, message).in_partition(log.topic_partition()).caused_by(error)
        })
    }

    #[inline]
    pub(super) fn delivery(&self, sent: &Sent) -> Delivery {
        let partition = sent.partition;
        let (offset, timestamp) = (Offset::of(sent.offset), Timestamp::from_millis(sent.timestamp));
        let outstanding = if sent.settled { None } else { self.outstanding_at(partition, offset) };
        Delivery::new(RecordMetadata::new(partition, offset, timestamp), outstanding)
    }

    #[inline(never)]
    fn outstanding_at(&self, partition: u32, offset: Offset) -> Option<Acknowledgement> {
        let log = self.target.partitions.get(partition)?;
        self.outstanding(log, offset.next().get())
    }

    /// What a delivery of everything below `end` must wait for.
    pub(super) fn outstanding(&self, log: &Arc<Log>, end: u64) -> Option<Acknowledgement> {
        match self.acks {
            Acks::None => None,
            _ => Some(Acknowledgement::new(Arc::clone(log), end)),
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(Error::closed("the producer")) } else { Ok(()) }
    }
}

/// Where a record has come to.
pub(super) struct Sent {
    offset: u64,
    timestamp: i64,
    partition: u32,
    settled: bool,
}

impl Sent {
    #[inline(always)]
    fn new(partition: u32, appended: &Appended) -> Sent {
        let &Appended { offset, timestamp, settled } = appended;
        Sent { offset, timestamp, partition, settled }
    }
}

/// Bytes a record may take, at most.
fn size_of_record(record: &NewRecord<'_>) -> u64 {
    let of = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
    let headers = record.headers.iter().map(|header| header.key.len() as u64 + of(header.value) + 10);
    RECORD_OVERHEAD + of(record.key) + of(record.value) + headers.sum::<u64>()
}
