//! Tail cells: what a kill leaves of a batch that had no header yet.
//!
//! One 64-byte cell per partition in a small mapped file of the broker that is never synced. After each
//! record the writer stores the length and the running CRC of the open batch, in one word, before the
//! record is published. After a kill the page cache still holds both, and recovery can seal the batch.
//!
//! ```text
//!   word 0  nonce of this opening
//!   word 1  topic id, first half
//!   word 2  topic id, second half
//!   word 3  partition (31 bits) | log append time (1) | leader epoch (32)
//!   word 4  base offset of the segment
//!   word 5  base offset of the batch
//!   word 6  base timestamp
//!   word 7  length of the records (32) | running CRC-32C (32)      0 = nothing
//! ```
//!
//! Invariants
//! - At the opening of a batch word 7 is zeroed, then the identity is written, then word 7 is stored.
//! - A cell is believed only if topic, partition and segment agree, its base offset is the log's end, and
//!   the CRC over the bytes found there holds: what a power cut leaves is believed for the same reasons.

use std::sync::Arc;

use crate::env::map::CellMap;
use crate::types::TopicId;

const WORD_NONCE: usize = 0;
const WORD_TOPIC: usize = 1;
const WORD_PARTITION: usize = 3;
const WORD_SEGMENT: usize = 4;
const WORD_BASE: usize = 5;
const WORD_TIMESTAMP: usize = 6;
const WORD_LENGTH_CRC: usize = 7;

/// The cells of a broker.
#[derive(Debug)]
pub(crate) struct TailCells {
    map: CellMap,
    nonce: u64,
}

/// Whose batch a cell describes, and how to seal it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellIdentity {
    /// The topic.
    pub(crate) topic: TopicId,
    /// The partition's number.
    pub(crate) partition: u32,
    /// The batch's leader epoch.
    pub(crate) leader_epoch: i32,
    /// All its timestamps are its append time.
    pub(crate) log_append_time: bool,
    /// Base offset of the segment.
    pub(crate) segment: u64,
    /// Base offset of the batch.
    pub(crate) base_offset: u64,
    /// Base timestamp of the batch.
    pub(crate) base_timestamp: i64,
}

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundCell {
    /// Whose.
    pub(crate) identity: CellIdentity,
    /// Bytes of records behind the header's place.
    pub(crate) length: u32,
    /// Their CRC-32C.
    pub(crate) crc: u32,
}

impl TailCells {
    /// Cells of an opening with this nonce.
    pub(crate) fn new(map: CellMap, nonce: u64) -> Arc<TailCells> {
        Arc::new(TailCells { map, nonce })
    }

    /// Every batch that the cells of an earlier opening describe.
    pub(crate) fn found(&self) -> Vec<FoundCell> {
        (0..self.map.cells()).filter_map(|cell| self.read(cell)).collect()
    }

    fn read(&self, cell: usize) -> Option<FoundCell> {
        let word = |i| self.map.load(cell, i);
        let length_crc = word(WORD_LENGTH_CRC);
        if length_crc == 0 || word(WORD_NONCE) == 0 {
            return None;
        }
        let mut topic = [0; 16];
        topic[..8].copy_from_slice(&word(WORD_TOPIC).to_be_bytes());
        topic[8..].copy_from_slice(&word(WORD_TOPIC + 1).to_be_bytes());
        let partition = word(WORD_PARTITION);
        Some(FoundCell {
            identity: CellIdentity {
                topic: TopicId::from_bytes(topic),
                partition: (partition >> 33) as u32,
                leader_epoch: partition as u32 as i32,
                log_append_time: partition >> 32 & 1 == 1,
                segment: word(WORD_SEGMENT),
                base_offset: word(WORD_BASE),
                base_timestamp: word(WORD_TIMESTAMP) as i64,
            },
            length: (length_crc >> 32) as u32,
            crc: length_crc as u32,
        })
    }
}

/// One partition's cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    cells: Arc<TailCells>,
    index: usize,
}

impl Cell {
    /// The cell with this number, if there are as many.
    pub(crate) fn new(cells: &Arc<TailCells>, index: usize) -> Option<Cell> {
        (index < cells.map.cells()).then(|| Cell { cells: cells.clone(), index })
    }

    /// A batch opens.
    pub(crate) fn open(&self, id: &CellIdentity) {
        let store = |word, value| self.cells.map.store(self.index, word, value);
        store(WORD_LENGTH_CRC, 0);
        let (first, second) = id.topic.as_bytes().split_at(8);
        store(WORD_NONCE, self.cells.nonce);
        store(WORD_TOPIC, be_word(first));
        store(WORD_TOPIC + 1, be_word(second));
        let log_append = u64::from(id.log_append_time);
        let partition = u64::from(id.partition) << 33 | log_append << 32 | u64::from(id.leader_epoch as u32);
        store(WORD_PARTITION, partition);
        store(WORD_SEGMENT, id.segment);
        store(WORD_BASE, id.base_offset);
        store(WORD_TIMESTAMP, id.base_timestamp as u64);
    }

    /// The open batch has `length` bytes of records with this CRC; to be stored before they are published.
    #[inline]
    pub(crate) fn grown(&self, length: u32, crc: u32) {
        self.cells.map.store(self.index, WORD_LENGTH_CRC, u64::from(length) << 32 | u64::from(crc));
    }
}

fn be_word(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Region;
    use crate::env::map::HeapPages;

    #[test]
    fn a_cell_reads_back() {
        let cells = TailCells::new(CellMap::new(Region::heap(HeapPages::zeroed(128), 128, None)), 77);
        assert!(Cell::new(&cells, 2).is_none());
        let id = CellIdentity {
            topic: TopicId::from_bytes([3; 16]),
            partition: 9,
            leader_epoch: -1,
            log_append_time: true,
            segment: 100,
            base_offset: 123,
            base_timestamp: -5,
        };
        let cell = Cell::new(&cells, 1).unwrap();
        cell.open(&id);
        assert_eq!(cells.found(), []);
        cell.grown(40, 0xDEAD_BEEF);
        assert_eq!(cells.found(), [FoundCell { identity: id, length: 40, crc: 0xDEAD_BEEF }]);
    }
}
