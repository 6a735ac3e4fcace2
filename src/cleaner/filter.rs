//! Which records of a batch stay.
//!
//! ```text
//!   above the round's end -> stays
//!   void (aborted)        -> goes at once
//!   older than the latest of its key, or without a key -> goes
//!   latest, with a value  -> stays
//!   latest, a tombstone   -> the first pass stamps when it may go; it goes in a pass after that time, if a whole
//!                            round has come by it before
//! ```
//!
//! Invariants
//! - A batch that loses nothing, and needs no stamp, is copied byte for byte.
//! - The last batch of a producer that is still known stays as a bare header at least.
//! - A tombstone goes only where the log says that it has been compacted so far: who has read up to there has met it,
//!   or nothing of what it deletes.

use super::offset_map::OffsetMap;
use super::survey::Producers;
use crate::format::FormatError;
use crate::format::batch::{BatchHeader, BatchView, Records, empty, rebuild};
use crate::format::record::RecordRef;

/// The greatest size a batch may have when its compression is undone, in bytes.
pub(super) const MAX_DECOMPRESSED: usize = 1 << 30;

/// By what records are judged in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    /// Latest offsets of keys.
    pub(crate) map: &'a OffsetMap,
    /// Records from here on stay: they are not in the map.
    pub(crate) end: u64,
    /// Tombstones from here on stay: no round that has come by them has ended yet.
    pub(crate) settled: u64,
    /// Wall clock, in milliseconds since the epoch.
    pub(crate) now: i64,
    /// How long tombstones stay, in milliseconds.
    pub(crate) delete_retention: i64,
    /// Whose last batches stay.
    pub(crate) producers: &'a Producers,
}

/// What becomes of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It stays as it is.
    Keep,
    /// It stays with fewer records, or with a delete horizon.
    Rewrite(Vec<u8>),
    /// It goes.
    Drop,
}

impl Rules<'_> {
    /// Judges a batch. `void`: its data is of an aborted transaction, or, of a control batch, its transaction's
    /// data is gone.
    pub(crate) fn judge(&self, batch: &BatchView<'_>, void: bool) -> Result<Verdict, FormatError> {
        let header = &batch.header;
        if header.base_offset as u64 >= self.end {
            return Ok(Verdict::Keep);
        }
        let control = header.attributes.is_control();
        let goes = if control { void && self.has_passed(header) } else { void };
        if goes {
            return self.without_records(header);
        }
        let payload = batch.decompressed(MAX_DECOMPRESSED)?;
        let mut kept: Vec<RecordRef<'_>> = Vec::new();
        let mut tombstones = false;
        for record in Records::new(header, &payload) {
            let record = record?;
            let offset = header.offset_of(record.offset_delta) as u64;
            if control || self.stays(header, offset, &record) {
                tombstones |= !control && record.value.is_none() && offset < self.end;
                kept.push(record);
            }
        }
        if kept.is_empty() {
            return self.without_records(header);
        }
        let has_horizon = header.attributes.has_delete_horizon();
        let stamp = !has_horizon && (tombstones || (control && void));
        if kept.len() == header.records_count as usize && !stamp {
            return Ok(Verdict::Keep);
        }
        let horizon = match stamp {
            true => Some(self.now.saturating_add(self.delete_retention)),
            false => has_horizon.then_some(header.base_timestamp),
        };
        rebuild(header, &kept, horizon).map(Verdict::Rewrite)
    }

    /// A record that is not of a control batch.
    fn stays(&self, header: &BatchHeader, offset: u64, record: &RecordRef<'_>) -> bool {
        if offset >= self.end {
            return true;
        }
        let Some(key) = record.key else { return false };
        let latest = self.map.latest(key).is_none_or(|latest| offset >= latest);
        latest && (record.value.is_some() || offset >= self.settled || !self.has_passed(header))
    }

    /// Behind the last tombstone that may have gone from a batch that changes; 0 if none has.
    pub(crate) fn tombstones_gone(&self, header: &BatchHeader) -> u64 {
        let may_have = !header.attributes.is_control() && self.has_passed(header);
        if may_have { self.settled.min(header.last_offset() as u64 + 1) } else { 0 }
    }

    /// Whether the time has come when the tombstones of a batch, or a marker, may go.
    fn has_passed(&self, header: &BatchHeader) -> bool {
        header.attributes.has_delete_horizon() && header.base_timestamp <= self.now
    }

    fn without_records(&self, header: &BatchHeader) -> Result<Verdict, FormatError> {
        if header.producer_id < 0 || !self.producers.hang_on(header) {
            return Ok(Verdict::Drop);
        }
        if header.records_count == 0 {
            return Ok(Verdict::Keep);
        }
        empty(header).map(Verdict::Rewrite)
    }
}
