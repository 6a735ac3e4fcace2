//! A table's snapshot: what it held at some positions, so that it opens without reading the whole log.
//!
//! ```text
//!   NAME.table: sealed file | topic id | partitions: next offset, epoch | rows: partition, offset, timestamp, key, value
//! ```
//!
//! Invariants
//! - It is a cache: one that is damaged, of another topic, or in doubt is ignored, and the table read anew.
//! - In doubt is one whose positions the log does not hold any more, or holds with another epoch, and one behind
//!   whose positions compaction has taken a tombstone away.

use std::path::PathBuf;
use std::sync::Arc;

use super::rows::{Row, Rows};
use crate::env::{Environment, OpenMode, Previous, read_whole, replace_file};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::sealed_file::{self, Reader, Writer};
use crate::partition::Log;
use crate::types::TopicId;

const KIND: u16 = 0x5442;
/// Version 1 told its age, and believed a topic that tombstones had stayed for as long as they stay now.
const VERSION: u16 = 2;
const MAX_LEN: u64 = u32::MAX as u64;

/// Where a topic's snapshot is.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotPlace {
    pub(crate) environment: Environment,
    pub(crate) path: PathBuf,
    pub(crate) topic: TopicId,
}

/// How far a partition had been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) next: u64,
    /// Leader epoch of the record before; -1 unknown.
    pub(super) epoch: i32,
}

/// What a snapshot holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snapshot {
    pub(super) positions: Vec<Position>,
    pub(super) rows: Rows,
}

impl SnapshotPlace {
    /// Writes a snapshot durably in place of the one before.
    pub(super) fn save(&self, positions: &[Position], rows: &Rows) -> Result<()> {
        let bytes = encode(self.topic, positions, rows);
        let Some(bytes) = bytes.filter(|bytes| (bytes.len() as u64) < MAX_LEN) else {
            return Err(Error::invalid_argument(
                "the table is too large for a snapshot, which holds up to 4 GiB",
            ));
        };
        replace_file(&**self.environment.files(), &self.path, &bytes, Previous::Drop)
            .map_err(|e| Error::io("write a table's snapshot", &self.path, e))
    }

    /// The snapshot, if there is one that can be believed for these partitions.
    pub(super) fn load(&self, logs: &[Arc<Log>]) -> Option<Snapshot> {
        let file = self.environment.files().open(&self.path, OpenMode::Read).ok()?;
        let bytes = read_whole(&*file, MAX_LEN).ok()?;
        let snapshot = decode(self.topic, &bytes).ok().flatten()?;
        let known = snapshot.positions.len() <= logs.len();
        let holds = |(position, log): (&Position, &Arc<Log>)| is_held(log, position);
        (known && snapshot.positions.iter().zip(logs).all(holds)).then_some(snapshot)
    }
}

/// Whether a log goes on from a position as it was left.
fn is_held(log: &Log, position: &Position) -> bool {
    let there = position.next >= log.log_start() && position.next <= log.high_watermark();
    there && log.tombstones_gone() <= position.next && log.epoch_before(position.next) == position.epoch
}

fn encode(topic: TopicId, positions: &[Position], rows: &Rows) -> Option<Vec<u8>> {
    let mut writer = Writer::new();
    writer.put_array(*topic.as_bytes());
    writer.put_count(positions.len());
    for position in positions {
        writer.put_u64(position.next).put_i32(position.epoch);
    }
    writer.put_count(rows.len());
    for (key, row) in rows.iter() {
        writer.put_u32(row.partition).put_u64(row.offset).put_i64(row.timestamp);
        writer.put_bytes(key).put_bytes(&row.value);
        if writer.as_bytes().len() as u64 > MAX_LEN - 64 {
            return None;
        }
    }
    Some(writer.seal(KIND, VERSION))
}

/// `None` for a snapshot of another topic, or of an earlier version.
fn decode(topic: TopicId, bytes: &[u8]) -> std::result::Result<Option<Snapshot>, FormatError> {
    let (version, payload) = sealed_file::open(KIND, VERSION, bytes)?;
    let mut reader = Reader::new(payload);
    if version < VERSION || TopicId::from_bytes(reader.get_array()?) != topic {
        return Ok(None);
    }
    let mut positions = Vec::new();
    for _ in 0..reader.get_count(12)? {
        positions.push(Position { next: reader.get_u64()?, epoch: reader.get_i32()? });
    }
    let count = reader.get_count(28)?;
    let mut rows = Rows::with_capacity(count);
    for _ in 0..count {
        let (partition, offset, timestamp) = (reader.get_u32()?, reader.get_u64()?, reader.get_i64()?);
        let key = reader.get_bytes()?;
        rows.put(key, Row { partition, offset, timestamp, value: reader.get_bytes()?.into() });
    }
    reader.finish()?;
    Ok(Some(Snapshot { positions, rows }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let topic = TopicId::from_bytes([3; 16]);
        let mut rows = Rows::default();
        rows.put(b"k", Row { partition: 1, offset: 7, timestamp: -5, value: (*b"v").into() });
        rows.put(b"", Row { partition: 0, offset: 0, timestamp: 9, value: (*b"").into() });
        let positions = [Position { next: 8, epoch: 2 }, Position { next: 1, epoch: -1 }];
        let bytes = encode(topic, &positions, &rows).unwrap();
        let read = decode(topic, &bytes).unwrap().unwrap();
        assert_eq!(read, Snapshot { positions: positions.to_vec(), rows });
        assert_eq!(decode(TopicId::from_bytes([4; 16]), &bytes).unwrap(), None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(topic, &damaged).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode(topic, &bytes[..len]).is_err(), "{len} bytes");
        }
    }
}
