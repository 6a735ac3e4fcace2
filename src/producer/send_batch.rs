//! Batches of a producer's own: records gathered by partition and handed over whole.
//!
//! ```text
//!   records --encode, choose--> builder of partition 0 --full or last--> FinishedBatch --> its log
//!                               builder of partition 2 ...
//! ```
//!
//! Invariants
//! - Nothing is encoded, compressed or checksummed under a lock of the log.
//! - Memory is bounded by one batch for each partition touched, whatever the number of records.
//! - After the first error nothing more is handed over.

use std::sync::Arc;

use super::batch_delivery::BatchDelivery;
use super::buffers::{Buffers, LentBuffers};
use super::metadata::BatchMetadata;
use super::sequenced::{BatchTerms, check_alone};
use super::shared::Shared;
use crate::codec::{EncodeKey, EncodeValue, EncodedRecord, Record};
use crate::config::{Compression, TimestampType};
use crate::error::Result;
use crate::format::batch::{Attributes, BatchBuilder, BatchSpec, HEADER_LEN};
use crate::format::record::HeaderRef;
use crate::partition::{FinishedBatch, Log, LogSettings, codec_of};
use crate::segment::NewRecord;
use crate::types::{Offset, Timestamp};

/// A batch grows to this many bytes (uncompressed), or to the topic's batch size if that is more.
const BATCH_BYTES: u64 = 1 << 20;

/// Gathers records and hands them over.
pub(super) struct BatchSender<'p, K, V> {
    shared: &'p Shared<K, V>,
    /// By partition, in order.
    building: Vec<Building<'p>>,
    /// Where the last record went: the next one often goes there, too.
    last: usize,
    buffers: LentBuffers<'p>,
    /// For the first batch, of an earlier one.
    memory: Vec<u8>,
    delivery: BatchDelivery,
}

/// The batch of one partition.
struct Building<'p> {
    partition: u32,
    log: &'p Arc<Log>,
    settings: Settings,
    builder: BatchBuilder,
    /// When the batch's first record came: the time of those that have none of their own.
    now: Timestamp,
}

/// The topic's settings that its batches keep to, as they were when the first was begun.
#[derive(Clone, Copy)]
struct Settings {
    compression: Compression,
    append_time: bool,
    max_record_size: u64,
    /// Bytes to which a batch grows.
    batch_size: u64,
    needs_key: bool,
}

impl<'p, K, V> BatchSender<'p, K, V> {
    pub(super) fn new(shared: &'p Shared<K, V>) -> BatchSender<'p, K, V> {
        BatchSender {
            shared,
            building: Vec::new(),
            last: 0,
            buffers: shared.buffers.lend(),
            memory: shared.buffers.take_for_batch(),
            delivery: BatchDelivery::default(),
        }
    }

    /// Encodes a record into the batch of its partition; hands that over first if it is full.
    pub(super) fn add<RV, RK>(&mut self, record: &Record<'_, RV, RK>) -> Result<()>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let shared = self.shared;
        shared.check_open()?;
        let Buffers { key, value } = self.buffers.buffers();
        let encoded = record.encode(&shared.key_codec, &shared.value_codec, key, value)?;
        let partition = shared.partition_for(record.given_partition(), &encoded)?;
        let building = match self.building.get_mut(self.last) {
            Some(last) if last.partition == partition => last,
            _ => {
                self.last = begin_or_find(&mut self.building, shared, partition, &mut self.memory)?;
                &mut self.building[self.last]
            }
        };
        let delivery = &mut self.delivery;
        let list;
        let headers = if record.headers().is_empty() && shared.target.schema.is_none() {
            [].as_slice()
        } else {
            list = shared.headers_of(record.headers());
            list.as_slice()
        };
        building.add(record, encoded, headers, shared, delivery)
    }

    /// Hands over what is left, unless an error came before.
    pub(super) fn finish(mut self, sent: Result<()>) -> Result<BatchDelivery> {
        let mut building = std::mem::take(&mut self.building);
        let shared = self.shared;
        let delivery = &mut self.delivery;
        let sent =
            sent.and_then(|()| building.iter_mut().try_for_each(|batch| batch.hand_over(shared, delivery)));
        if let Some(last) = building.pop() {
            shared.buffers.keep_of_batch(last.builder.into_memory());
        }
        match sent {
            Ok(()) => Ok(self.delivery),
            Err(error) if self.delivery.batches().is_empty() => Err(error),
            Err(error) => {
                self.delivery.fail(error);
                Ok(self.delivery)
            }
        }
    }
}

/// Where the batch of a partition is, which is begun, with `memory`, if it is not there.
#[cold]
fn begin_or_find<'p, K, V>(
    building: &mut Vec<Building<'p>>,
    shared: &'p Shared<K, V>,
    partition: u32,
    memory: &mut Vec<u8>,
) -> Result<usize> {
    match building.binary_search_by_key(&partition, |batch| batch.partition) {
        Ok(there) => Ok(there),
        Err(place) => {
            let log = shared.target.partition(partition)?;
            // Mostly there is one.
            if building.is_empty() {
                building.reserve_exact(1);
            }
            let begun = Building::new(partition, log, shared.terms, std::mem::take(memory));
            building.insert(place, begun);
            Ok(place)
        }
    }
}

impl<'p> Building<'p> {
    fn new(partition: u32, log: &'p Arc<Log>, terms: BatchTerms, memory: Vec<u8>) -> Building<'p> {
        let settings = log.with_settings(|settings| Settings::of(settings, terms));
        let attributes = Attributes::NONE.with_codec(codec_of(settings.compression));
        let builder = BatchBuilder::reusing(BatchSpec { attributes, ..BatchSpec::default() }, memory);
        Building { partition, log, settings, builder, now: log.clock().now() }
    }

    /// Adds a record as it was encoded; hands the batch over first if it is full.
    #[inline(always)]
    fn add<K, V, RV, RK>(
        &mut self,
        record: &Record<'_, RV, RK>,
        encoded: EncodedRecord<'_>,
        headers: &[HeaderRef<'_>],
        shared: &Shared<K, V>,
        delivery: &mut BatchDelivery,
    ) -> Result<()> {
        let EncodedRecord { key, value } = encoded;
        self.log.fetch_ahead(self.builder.len());
        let timestamp = record.timestamp_or(self.now).millis();
        let measured = self.builder.measure(timestamp, key, value, headers);
        let size = measured.len() as u64;
        self.check_size(size, &NewRecord { timestamp, key, value, headers })?;
        if self.settings.needs_key && key.is_none() {
            return Err(self.log.without_key());
        }
        if self.is_full_for(size) {
            self.begin_another(shared, delivery)?;
            self.builder.append(record.timestamp_or(self.now).millis(), key, value, headers);
        } else {
            self.builder.append_measured(timestamp, measured);
        }
        Ok(())
    }

    #[cold]
    fn begin_another<K, V>(&mut self, shared: &Shared<K, V>, delivery: &mut BatchDelivery) -> Result<()> {
        self.hand_over(shared, delivery)?;
        self.now = self.log.clock().now();
        Ok(())
    }

    /// A record must fit as a batch of its own; in this one it takes `size` bytes, which is no less.
    #[inline]
    fn check_size(&self, size: u64, record: &NewRecord<'_>) -> Result<()> {
        let most = HEADER_LEN as u64 + size;
        if most <= self.settings.max_record_size { Ok(()) } else { self.check_alone(record) }
    }

    #[cold]
    fn check_alone(&self, record: &NewRecord<'_>) -> Result<()> {
        check_alone(record, self.settings.max_record_size, self.log)
    }

    /// Whether a record of `size` bytes must begin another batch.
    #[inline]
    fn is_full_for(&self, size: u64) -> bool {
        !self.builder.is_empty() && self.builder.len() as u64 + size > self.settings.batch_size
    }

    /// Finishes the batch and appends it; the builder is empty afterwards.
    fn hand_over<K, V>(&mut self, shared: &Shared<K, V>, delivery: &mut BatchDelivery) -> Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        if self.settings.append_time {
            self.builder.set_append_time(self.log.clock().now().millis());
        }
        let count = self.builder.count() as u32;
        let mut batch = FinishedBatch::of(&mut self.builder, self.settings.compression.level())
            .map_err(|error| error.in_partition(self.log.topic_partition()))?
            .with_keys_seen(self.settings.needs_key);
        let appended = shared.patiently(self.log, |patience| self.log.append_batch(&mut batch, patience))?;
        self.builder.reuse(batch.into_memory());
        let batch = BatchMetadata::new(self.partition, Offset::of(appended.offset), count);
        let outstanding = if appended.settled { None } else { shared.outstanding(self.log, batch.end()) };
        delivery.push(batch, outstanding);
        Ok(())
    }
}

impl Settings {
    fn of(settings: &LogSettings, terms: BatchTerms) -> Settings {
        Settings {
            compression: terms.compression_for(settings),
            append_time: settings.timestamp_type == TimestampType::LogAppend,
            max_record_size: settings.max_record_size,
            batch_size: settings.batch_size.max(BATCH_BYTES).min(settings.segment_size),
            needs_key: settings.cleanup.policy.compacts(),
        }
    }
}
