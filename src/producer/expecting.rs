//! One batch, appended only if nobody else has appended meanwhile.
//!
//! Invariant: the log's next offset is compared under the lock under which the batch gets it.

use std::borrow::Borrow;

use super::batch_delivery::BatchDelivery;
use super::metadata::BatchMetadata;
use super::producer::Producer;
use crate::codec::{EncodeKey, EncodeValue, Record};
use crate::config::TimestampType;
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{Attributes, BatchBuilder, BatchSpec};
use crate::partition::{FinishedBatch, codec_of};
use crate::types::Offset;

impl<K, V> Producer<K, V> {
    /// Appends records to a partition in one batch, if the first of them gets this offset; each of them names the
    /// partition.
    pub(crate) fn send_expecting<'a, RV, RK>(
        &self,
        partition: u32,
        expected: Offset,
        records: impl IntoIterator<Item = impl Borrow<Record<'a, RV, RK>>>,
    ) -> Result<BatchDelivery>
    where
        RV: EncodeValue<V>,
        RK: EncodeKey<K>,
    {
        let log = self.partition_log(partition)?;
        let settings = log.settings();
        let compression = self.terms().compression_for(&settings);
        let attributes = Attributes::NONE.with_codec(codec_of(compression));
        let mut builder = BatchBuilder::new(BatchSpec { attributes, ..BatchSpec::default() });
        for record in records {
            let record = record.borrow();
            debug_assert_eq!(record.given_partition(), Some(partition), "a record of another partition");
            self.lend(record, |_, record| {
                builder.append(record.timestamp, record.key, record.value, record.headers);
                Ok(())
            })?;
            let (size, limit) = (builder.len() as u64, settings.max_record_size);
            if size > limit {
                let message = format!("a batch of {size} bytes exceeds the limit of {limit}");
                return Err(Error::new(ErrorKind::RecordTooLarge { size, limit }, message)
                    .in_partition(log.topic_partition()));
            }
        }
        let mut delivery = BatchDelivery::default();
        if builder.is_empty() {
            return log.check_expected(expected.get()).map(|()| delivery);
        }
        if settings.timestamp_type == TimestampType::LogAppend {
            builder.set_append_time(log.clock().now().millis());
        }
        let count = builder.count() as u32;
        let mut batch = FinishedBatch::of(&mut builder, compression.level())
            .map_err(|error| error.in_partition(log.topic_partition()))?;
        let appended =
            self.patiently(log, |patience| log.append_expecting(&mut batch, expected.get(), patience))?;
        let metadata = BatchMetadata::new(partition, Offset::of(appended.offset), count);
        let outstanding = if appended.settled { None } else { self.outstanding(log, metadata.end()) };
        delivery.push(metadata, outstanding);
        Ok(delivery)
    }
}
