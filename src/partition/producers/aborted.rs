//! The aborted transactions of a partition: what readers of committed records pass over.
//!
//! ```text
//!   producer 7:  | 10 r r r |        | abort 25 |     entry (7, 10, 25, stable 18)
//!   producer 9:            | 18 r r r ...             still open when the marker was written
//! ```
//!
//! Invariants
//! - Entries are in the order of their markers. Every transaction that begins below an entry's last stable offset
//!   had ended when its marker was written: later entries begin at or above it. That bounds each search.
//! - What a reader finds below the last stable offset does not change any more, but where there is nothing left to be
//!   passed over: below the log start, and where compaction has taken it away from every reader.

use crate::format::index::TxnEntry;

/// The aborted transactions of a partition, in the order of their markers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AbortedIndex {
    entries: Vec<TxnEntry>,
}

impl AbortedIndex {
    /// These entries, in their order.
    pub(crate) fn of(entries: Vec<TxnEntry>) -> AbortedIndex {
        AbortedIndex { entries }
    }

    /// All of them.
    pub(crate) fn entries(&self) -> &[TxnEntry] {
        &self.entries
    }

    /// One more, whose marker is the last thing in the log.
    pub(crate) fn push(&mut self, entry: TxnEntry) {
        self.entries.push(entry);
    }

    /// Forgets those whose markers lie at or behind `offset`.
    pub(crate) fn truncate(&mut self, offset: u64) {
        self.entries.retain(|entry| (entry.last_offset as u64) < offset);
    }

    /// Forgets those that lie wholly below `offset`.
    pub(crate) fn drop_below(&mut self, offset: u64) {
        let gone = self.entries.partition_point(|entry| (entry.last_offset as u64) < offset);
        if gone > 0 {
            self.entries.drain(..gone);
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// Whether the batch of this producer at this offset belongs to an aborted transaction.
    pub(crate) fn holds(&self, producer_id: i64, offset: u64) -> bool {
        for entry in self.from(offset) {
            if entry.producer_id == producer_id && entry.first_offset as u64 <= offset {
                return true;
            }
            if entry.last_stable_offset as u64 > offset {
                break;
            }
        }
        false
    }

    /// From `offset` on nothing is aborted before the offset that this answers; `bound` at most, which is not
    /// above the last stable offset.
    pub(crate) fn clear_until(&self, offset: u64, bound: u64) -> u64 {
        let mut clear = bound;
        for entry in self.from(offset) {
            clear = clear.min(entry.first_offset as u64);
            if entry.last_stable_offset as u64 >= clear {
                break;
            }
        }
        clear
    }

    fn from(&self, offset: u64) -> &[TxnEntry] {
        let first = self.entries.partition_point(|entry| (entry.last_offset as u64) < offset);
        self.entries.get(first..).unwrap_or_default()
    }
}
