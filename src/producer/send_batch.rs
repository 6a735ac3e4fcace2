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

use std::collections::BTreeMap;
use std::sync::Arc;

use super::batch_delivery::BatchDelivery;
use super::buffers::Buffers;
use super::metadata::BatchMetadata;
use super::producer::Shared;
use crate::codec::{EncodeKey, EncodeValue, Record};
use crate::config::{Compression, TimestampType};
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{Attributes, BatchBuilder, BatchSpec, HEADER_LEN};
use crate::format::compression::Codec;
use crate::format::record::HeaderRef;
use crate::partition::{FinishedBatch, Log, LogSettings};
use crate::types::Offset;

/// A batch grows to this many bytes (uncompressed), or to the topic's batch size if that is more.
const BATCH_BYTES: u64 = 1 << 20;

/// Gathers records and hands them over.
pub(super) struct BatchSender<'p, K, V> {
    shared: &'p Shared<K, V>,
    building: BTreeMap<u32, Building<'p>>,
    buffers: Buffers,
    delivery: BatchDelivery,
}

/// The batch of one partition.
struct Building<'p> {
    log: &'p Arc<Log>,
    settings: Arc<LogSettings>,
    builder: BatchBuilder,
    /// Memory of the last batch handed over.
    spare: Vec<u8>,
}

impl<'p, K, V> BatchSender<'p, K, V> {
    pub(super) fn new(shared: &'p Shared<K, V>) -> BatchSender<'p, K, V> {
        let buffers = shared.buffers.take();
        BatchSender { shared, building: BTreeMap::new(), buffers, delivery: BatchDelivery::default() }
    }

    /// Encodes a record into the batch of its partition; hands that over first if it is full.
    pub(super) fn add<RV, RK>(&mut self, record: &Record<'_, RV, RK>) -> Result<()>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let shared = self.shared;
        shared.check_open()?;
        let buffers = &mut self.buffers;
        let encoded =
            record.encode(&shared.key_codec, &shared.value_codec, &mut buffers.key, &mut buffers.value)?;
        let partition = shared.partition_for(record.given_partition(), &encoded)?;
        let building = match self.building.entry(partition) {
            std::collections::btree_map::Entry::Occupied(there) => there.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let memory = std::mem::take(&mut buffers.batch);
                free.insert(Building::new(shared.target.partition(partition)?, memory))
            }
        };
        let timestamp = record.given_timestamp().unwrap_or_else(|| building.log.clock().now()).millis();
        let (key, value) = (encoded.key, encoded.value);
        let delivery = &mut self.delivery;
        let mut add = |headers: &[HeaderRef<'_>]| {
            let mut measured = building.builder.measure(timestamp, key, value, headers);
            let size = measured.len() as u64;
            building.check_size(size)?;
            building.log.check_key(&building.settings, key)?;
            if building.is_full_for(size) {
                building.hand_over(shared, partition, delivery)?;
                measured = building.builder.measure(timestamp, key, value, headers);
            }
            building.builder.append_measured(timestamp, measured);
            Ok(())
        };
        if record.headers().is_empty() && shared.target.schema.is_none() {
            return add(&[]);
        }
        shared.with_headers(record.headers(), add)
    }

    /// Hands over what is left, unless an error came before.
    pub(super) fn finish(mut self, sent: Result<()>) -> Result<BatchDelivery> {
        let mut building = std::mem::take(&mut self.building);
        let shared = self.shared;
        let delivery = &mut self.delivery;
        let sent = sent.and_then(|()| {
            building
                .iter_mut()
                .try_for_each(|(&partition, batch)| batch.hand_over(shared, partition, delivery))
        });
        if let Some((_, last)) = building.pop_last() {
            self.buffers.batch = last.spare;
        }
        shared.buffers.give(std::mem::take(&mut self.buffers));
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

impl<'p> Building<'p> {
    fn new(log: &'p Arc<Log>, memory: Vec<u8>) -> Building<'p> {
        let settings = log.settings();
        let attributes = Attributes::NONE.with_codec(codec_of(settings.compression));
        let builder = BatchBuilder::reusing(BatchSpec { attributes, ..BatchSpec::default() }, memory);
        Building { log, settings, builder, spare: Vec::new() }
    }

    fn check_size(&self, size: u64) -> Result<()> {
        let (size, limit) = (HEADER_LEN as u64 + size, self.settings.max_record_size);
        if size <= limit {
            return Ok(());
        }
        let message = format!("a record of {size} bytes exceeds the limit of {limit}");
        Err(Error::new(ErrorKind::RecordTooLarge { size, limit }, message)
            .in_partition(self.log.topic_partition()))
    }

    /// Whether a record of `size` bytes must begin another batch.
    fn is_full_for(&self, size: u64) -> bool {
        let limit = self.settings.batch_size.max(BATCH_BYTES).min(self.settings.segment_size);
        !self.builder.is_empty() && self.builder.len() as u64 + size > limit
    }

    /// Finishes the batch and appends it; the builder is empty afterwards.
    fn hand_over<K, V>(
        &mut self,
        shared: &Shared<K, V>,
        partition: u32,
        delivery: &mut BatchDelivery,
    ) -> Result<()> {
        if self.builder.is_empty() {
            return Ok(());
        }
        if self.settings.timestamp_type == TimestampType::LogAppend {
            self.builder.set_append_time(self.log.clock().now().millis());
        }
        let count = self.builder.count() as u32;
        let mut batch = FinishedBatch::of(&mut self.builder, self.settings.compression.level())
            .map_err(|error| error.in_partition(self.log.topic_partition()))?;
        let appended = shared.patiently(self.log, |patience| self.log.append_batch(&mut batch, patience))?;
        self.spare = batch.take().0;
        let batch = BatchMetadata::new(partition, Offset::of(appended.offset), count);
        let outstanding = if appended.settled { None } else { shared.outstanding(self.log, batch.end()) };
        delivery.push(batch, outstanding);
        Ok(())
    }
}

/// The codec of a topic's setting.
pub(super) fn codec_of(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::None,
        Compression::Gzip { .. } => Codec::Gzip,
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd { .. } => Codec::Zstd,
    }
}
