//! Batches of one producer for one partition, built in private and handed over whole.
//!
//! ```text
//!   add --> builder --full, or asked--> FinishedBatch with producer id, epoch, sequence --> the log
//! ```
//!
//! Invariants
//! - Sequence numbers go on without a gap; a batch does not reach over the end of an epoch.
//! - Nothing is encoded, compressed or checksummed under a lock of the log.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Compression, TimestampType};
use crate::error::{Error, ErrorKind, Result};
use crate::format::batch::{Attributes, BatchBuilder, BatchSpec, HEADER_LEN};
use crate::partition::{FinishedBatch, Log, LogSettings, Patience, Produced, codec_of, sequence_after};
use crate::segment::NewRecord;

/// A batch grows to this many bytes (uncompressed), or to the topic's batch size if that is more.
const BATCH_BYTES: u64 = 1 << 20;

/// Who sends, as batches say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProducerStamp {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// Whether records are part of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Membership {
    /// They hold as soon as they are in the log.
    Alone,
    /// They hold when the transaction is committed.
    OfTransaction,
}

/// What a producer says of batches of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchTerms {
    /// In place of the topic's.
    pub(crate) compression: Option<Compression>,
    /// How long handing over waits for room.
    pub(crate) max_block: Duration,
}

impl BatchTerms {
    /// How batches for this topic are compressed.
    pub(crate) fn compression_for(&self, settings: &LogSettings) -> Compression {
        self.compression.unwrap_or(settings.compression)
    }
}

/// What was handed over last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandedOver {
    pub(crate) offset: u64,
    pub(crate) count: u32,
    pub(crate) settled: bool,
}

/// Why a record was not added.
#[derive(Debug)]
pub(crate) enum NotAdded {
    /// It is too large by itself: nothing has changed.
    DoesNotFit(Error),
    /// The records before it could not be handed over, for whatever reason: some of them may be lost.
    NotHandedOver(Error),
}

/// The batches of one producer for one partition.
#[derive(Debug)]
pub(crate) struct SequencedBatch {
    log: Arc<Log>,
    settings: Arc<LogSettings>,
    builder: BatchBuilder,
    membership: Membership,
    next_sequence: i32,
    terms: BatchTerms,
    /// Behind the last record handed over.
    end: u64,
}

impl SequencedBatch {
    /// Of records from this sequence number on.
    pub(crate) fn new(
        log: &Arc<Log>,
        stamp: ProducerStamp,
        membership: Membership,
        next_sequence: i32,
        terms: BatchTerms,
    ) -> SequencedBatch {
        let settings = log.settings();
        let attributes = attributes(&settings, terms, membership);
        let spec = BatchSpec {
            attributes,
            producer_id: stamp.producer_id,
            producer_epoch: stamp.epoch,
            base_sequence: next_sequence,
            ..BatchSpec::default()
        };
        let builder = BatchBuilder::reusing(spec, Vec::new());
        SequencedBatch { log: log.clone(), settings, builder, membership, next_sequence, terms, end: 0 }
    }

    /// The log.
    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Behind the last record handed over; 0 if there was none.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Records of another epoch, or from another sequence number on, follow; nothing is being built. From here on the
    /// topic's settings are as they are now.
    pub(crate) fn go_on_at(&mut self, epoch: i16, next_sequence: i32) {
        debug_assert!(self.builder.is_empty(), "records of another epoch");
        self.next_sequence = next_sequence;
        self.settings = self.log.settings();
        let spec = self.builder.spec_mut();
        spec.producer_epoch = epoch;
        spec.attributes = attributes(&self.settings, self.terms, self.membership);
    }

    /// Adds a record; hands over those before it if they fill a batch.
    pub(crate) fn add(
        &mut self,
        record: &NewRecord<'_>,
    ) -> std::result::Result<Option<HandedOver>, NotAdded> {
        if self.builder.is_bare() {
            // That of a batch handed over before, by whomever.
            self.builder.reuse(self.log.budget().take_buffer());
        }
        let &NewRecord { timestamp, key, value, headers } = record;
        let mut measured = self.builder.measure(timestamp, key, value, headers);
        let size = measured.len() as u64;
        self.check_size(size, record).map_err(NotAdded::DoesNotFit)?;
        let limit = self.settings.batch_size.max(BATCH_BYTES).min(self.settings.segment_size);
        let left = i64::from(i32::MAX) - i64::from(self.next_sequence);
        let full = !self.builder.is_empty()
            && (self.builder.len() as u64 + size > limit || i64::from(self.builder.count()) > left);
        let mut handed_over = None;
        if full {
            handed_over = self.hand_over().map_err(NotAdded::NotHandedOver)?;
            self.builder.reuse(self.log.budget().take_buffer());
            measured = self.builder.measure(timestamp, key, value, headers);
        }
        self.builder.append_measured(timestamp, measured);
        Ok(handed_over)
    }

    /// Whether a record fits at all.
    ///
    /// # Errors
    /// `RecordTooLarge`.
    pub(crate) fn check(&self, record: &NewRecord<'_>) -> Result<()> {
        check_alone(record, self.settings.max_record_size, &self.log)
    }

    /// Throws away what was not handed over.
    pub(crate) fn discard(&mut self) {
        self.builder.clear();
    }

    /// Hands over what there is; waits for room, for at most `max_block`.
    pub(crate) fn hand_over(&mut self) -> Result<Option<HandedOver>> {
        if self.builder.is_empty() {
            return Ok(None);
        }
        self.builder.spec_mut().base_sequence = self.next_sequence;
        if self.settings.timestamp_type == TimestampType::LogAppend {
            self.builder.set_append_time(self.log.clock().now().millis());
        }
        let count = self.builder.count() as u32;
        let mut batch =
            FinishedBatch::of(&mut self.builder, self.terms.compression_for(&self.settings).level())
                .map_err(|error| error.in_partition(self.log.topic_partition()))?;
        let deadline = self.log.clock().monotonic().saturating_add(self.terms.max_block);
        let produced = self.log.append_produced(&mut batch, Patience::Until(deadline)).map_err(timed_out)?;
        self.log.budget().keep_buffer(batch.into_memory());
        let next = sequence_after(self.next_sequence, count.into());
        if next < self.next_sequence && self.membership == Membership::Alone {
            let spec = self.builder.spec_mut();
            spec.producer_epoch = spec.producer_epoch.saturating_add(1);
        }
        self.next_sequence = next;
        let (offset, settled) = match produced {
            Produced::Appended(appended) => (appended.offset, appended.settled),
            Produced::Known { offset, .. } => (offset, false),
        };
        self.end = self.end.max(offset + u64::from(count));
        Ok(Some(HandedOver { offset, count, settled }))
    }

    /// A record must fit as a batch of its own; in this one it takes `size` bytes, which is no less.
    fn check_size(&self, size: u64, record: &NewRecord<'_>) -> Result<()> {
        if HEADER_LEN as u64 + size <= self.settings.max_record_size { Ok(()) } else { self.check(record) }
    }
}

/// Whether a record fits as a batch of its own.
pub(super) fn check_alone(record: &NewRecord<'_>, limit: u64, log: &Log) -> Result<()> {
    let size = (HEADER_LEN + record.len_alone()) as u64;
    if size <= limit {
        return Ok(());
    }
    let message = format!("a record of {size} bytes exceeds the limit of {limit}");
    Err(Error::new(ErrorKind::RecordTooLarge { size, limit }, message).in_partition(log.topic_partition()))
}

fn attributes(settings: &LogSettings, terms: BatchTerms, membership: Membership) -> Attributes {
    let attributes = Attributes::NONE.with_codec(codec_of(terms.compression_for(settings)));
    match membership {
        Membership::Alone => attributes,
        Membership::OfTransaction => attributes.with_transactional(),
    }
}

impl From<NotAdded> for Error {
    fn from(why: NotAdded) -> Error {
        match why {
            NotAdded::DoesNotFit(error) | NotAdded::NotHandedOver(error) => error,
        }
    }
}

fn timed_out(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Backpressure => {
            Error::new(ErrorKind::TimedOut, "there was no room within max_block").caused_by(error)
        }
        _ => error,
    }
}
