//! Transactions as compaction meets them: whose data is void, and which markers have no data left.
//!
//! ```text
//!   P: data 5, data 7, ABORT 9      -> aborted: P from 5 to 9; its data goes at once
//!      marker 9: data met in this pass? stays : its delete horizon is set, later it goes
//! ```
//!
//! Invariants
//! - A producer has at most one transaction open in a partition, and the next marker with its id ends it.
//! - A marker is never judged by its key: it goes only when none of its transaction's data is left.

use std::collections::{HashMap, HashSet};

use crate::format::batch::BatchHeader;
use crate::format::control::ControlType;

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AbortedTxn {
    pub(crate) producer_id: i64,
    /// Offset of its first batch.
    pub(crate) first: u64,
    /// Offset of its marker.
    pub(crate) marker: u64,
}

/// What has been seen of the transactions on the way through the log.
#[derive(Debug)]
pub(crate) struct Transactions<'a> {
    /// Those that begin further on, by first offset.
    ahead: &'a [AbortedTxn],
    /// Aborted ones that have begun, by producer: the marker, and whether data of it was met.
    aborted: HashMap<i64, (u64, bool)>,
    /// Producers with data whose marker is not met yet.
    committed: HashSet<i64>,
}

impl<'a> Transactions<'a> {
    /// At the start of the log; `aborted` are all that were, by first offset.
    pub(crate) fn new(aborted: &'a [AbortedTxn]) -> Transactions<'a> {
        Transactions { ahead: aborted, aborted: HashMap::new(), committed: HashSet::new() }
    }

    /// Whether the data of a batch is void.
    pub(crate) fn is_void(&mut self, header: &BatchHeader) -> bool {
        if !header.attributes.is_transactional() {
            return false;
        }
        self.advance(header);
        let id = header.producer_id;
        match self.aborted.get_mut(&id) {
            Some((marker, met)) if (header.base_offset as u64) < *marker => {
                *met = true;
                true
            }
            _ => {
                self.committed.insert(id);
                false
            }
        }
    }

    /// Whether a control batch may go: none of its transaction's data was met. `kind` is what it says, unless it
    /// has lost its record already.
    pub(crate) fn is_spent(&mut self, header: &BatchHeader, kind: Option<ControlType>) -> bool {
        self.advance(header);
        let id = header.producer_id;
        match kind {
            None => true,
            Some(ControlType::Abort) => !self.aborted.remove(&id).is_some_and(|(_, met)| met),
            Some(ControlType::Commit) => !self.committed.remove(&id),
            Some(_) => false,
        }
    }

    fn advance(&mut self, header: &BatchHeader) {
        while let Some((next, rest)) = self.ahead.split_first() {
            if next.first > header.last_offset() as u64 {
                break;
            }
            self.ahead = rest;
            self.aborted.insert(next.producer_id, (next.marker, false));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::batch::Attributes;

    fn batch(base: i64, producer_id: i64, attributes: Attributes) -> BatchHeader {
        BatchHeader {
            base_offset: base,
            batch_length: 49,
            leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes,
            last_offset_delta: 0,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id,
            producer_epoch: 0,
            base_sequence: 0,
            records_count: 1,
        }
    }

    #[test]
    fn a_marker_ends_its_own_producers_transaction() {
        let txn = Attributes::NONE.with_transactional();
        let marker = txn.with_control();
        let aborted = [AbortedTxn { producer_id: 1, first: 5, marker: 9 }];
        let mut seen = Transactions::new(&aborted);
        assert!(!seen.is_void(&batch(3, 1, txn)), "committed by 4");
        assert!(!seen.is_spent(&batch(4, 1, marker), Some(ControlType::Commit)), "its data was met");
        assert!(seen.is_void(&batch(5, 1, txn)));
        assert!(!seen.is_void(&batch(6, 2, txn)));
        assert!(!seen.is_void(&batch(7, 1, Attributes::NONE)));
        assert!(!seen.is_spent(&batch(9, 1, marker), Some(ControlType::Abort)), "its data was met");
        assert!(seen.is_spent(&batch(10, 3, marker), Some(ControlType::Commit)), "nothing of it was met");
        assert!(!seen.is_spent(&batch(11, 2, marker), Some(ControlType::Commit)));
        assert!(!seen.is_void(&batch(12, 1, txn)), "the next transaction");
        assert!(seen.is_spent(&batch(13, 4, marker), None), "emptied before");
        assert!(!seen.is_spent(&batch(14, 4, marker), Some(ControlType::LeaderChange)));
    }
}
