//! A look at every batch's header before a log is compacted.
//!
//! ```text
//!   headers, oldest to newest --> aborted transactions, the last batch of each producer, records to be mapped
//! ```
//!
//! Invariants
//! - It goes up to the end of what is durable and acknowledged: a transaction whose data is compacted may have its
//!   marker above.
//! - A transaction that is still open is found here, whatever the last stable offset says: nothing from its first
//!   batch on may be compacted.
//! - Memory is used for producers seen lately, or known, and for aborted transactions whose data is still there, not for
//!   records.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::transactions::AbortedTxn;
use crate::error::Result;
use crate::format::batch::{BatchHeader, BatchView};
use crate::format::control::ControlType;
use crate::partition::Log;
use crate::segment::{BatchAt, OpenSegment, Segment};

/// A producer of which nothing has been appended for this long (or as long as partitions remember it, if that is more),
/// and which the partition does not know any more, needs no batch to be remembered by.
const PRODUCER_EXPIRY: Duration = Duration::from_secs(7 * 86_400);

/// What compaction must know beforehand.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Aborted transactions with data, by first offset.
    pub(crate) aborted: Vec<AbortedTxn>,
    /// What the state of each producer hangs on.
    pub(crate) producers: Producers,
    /// Records from the first one that is not compacted yet, below the bound.
    pub(crate) dirty_records: u64,
    /// Where the first transaction begins that is neither committed nor aborted.
    pub(crate) first_open: Option<u64>,
}

/// The last batch of each producer.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    last: HashMap<i64, LastBatch>,
}

#[derive(Clone, Copy, Debug)]
struct LastBatch {
    epoch: i16,
    /// The last offset of its last data; none where a marker has raised the epoch since.
    data: Option<u64>,
}

impl Producers {
    /// Whether a batch has to stay, if only its header, so that its producer is known after a recovery.
    pub(crate) fn hang_on(&self, header: &BatchHeader) -> bool {
        let Some(last) = self.last.get(&header.producer_id) else { return false };
        match last.data {
            Some(offset) => header.last_offset() as u64 == offset,
            None => header.attributes.is_control() && header.producer_epoch == last.epoch,
        }
    }

    fn see(&mut self, header: &BatchHeader) {
        if header.producer_id < 0 {
            return;
        }
        let epoch = header.producer_epoch;
        let last = self.last.entry(header.producer_id).or_insert(LastBatch { epoch, data: None });
        let is_marker = header.attributes.is_control();
        if epoch > last.epoch || !is_marker {
            let data = (!is_marker).then_some(header.last_offset() as u64);
            *last = LastBatch { epoch: epoch.max(last.epoch), data };
        }
    }
}

/// Looks through a log; records from `from` to `to` are to be mapped.
pub(crate) fn survey(log: &Log, from: u64, to: u64) -> Result<Survey> {
    let mut survey = Survey::default();
    let mut open: HashMap<i64, u64> = HashMap::new();
    let end = log.high_watermark().min(log.flushed());
    let now = log.clock().now().millis();
    let remembered = PRODUCER_EXPIRY.max(log.settings().producer_expiration);
    // Some are remembered for longer: who keeps a name is heard of without a batch.
    let mut known = HashSet::new();
    log.producer_ids(&mut known);
    for segment in log.all_segments() {
        if segment.base() >= end {
            break;
        }
        segment.load_times()?;
        let last_append = segment.times().last().map_or(now, |last| last.millis());
        let age = Duration::from_millis(u64::try_from(now.saturating_sub(last_append)).unwrap_or(0));
        let lately = age < remembered;
        let files = log.open_to_clean(&segment)?;
        let mut position = 0;
        while let Some(batch) = segment.batch_in(&files, position)? {
            let header = &batch.header;
            if header.last_offset() as u64 >= end {
                break;
            }
            position = batch.end();
            if (from..to).contains(&(header.last_offset() as u64)) && !header.attributes.is_control() {
                survey.dirty_records += header.records_count as u64;
            }
            if lately || known.contains(&header.producer_id) {
                survey.producers.see(header);
            }
            if header.attributes.is_transactional() {
                survey.note_transaction(&mut open, &segment, &files, &batch)?;
            }
        }
    }
    survey.first_open = open.values().min().copied();
    survey.aborted.sort_unstable_by_key(|txn| txn.first);
    Ok(survey)
}

impl Survey {
    fn note_transaction(
        &mut self,
        open: &mut HashMap<i64, u64>,
        segment: &Segment,
        files: &OpenSegment,
        batch: &BatchAt,
    ) -> Result<()> {
        let header = &batch.header;
        if !header.attributes.is_control() {
            open.entry(header.producer_id).or_insert(header.base_offset as u64);
            return Ok(());
        }
        let bytes = files.read(batch.position, header.total_len())?;
        let kind = control_type(&bytes).map_err(|e| e.at(&segment.log_path(), batch.position))?;
        let first = match kind {
            Some(ControlType::Abort | ControlType::Commit) => open.remove(&header.producer_id),
            _ => None,
        };
        if let (Some(first), Some(ControlType::Abort)) = (first, kind) {
            let marker = header.base_offset as u64;
            self.aborted.push(AbortedTxn { producer_id: header.producer_id, first, marker });
        }
        Ok(())
    }
}

/// What a control batch says; none where it has lost its record.
pub(super) fn control_type(
    batch: &[u8],
) -> std::result::Result<Option<ControlType>, crate::format::FormatError> {
    let view = BatchView::parse(batch)?;
    view.check_crc()?;
    match view.records().next() {
        None => Ok(None),
        Some(record) => ControlType::parse_key(record?.key.unwrap_or_default()).map(Some),
    }
}
