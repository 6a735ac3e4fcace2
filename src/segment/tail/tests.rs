//! The order of the stores that an append makes: a kill may come between any two of them.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use super::*;
use crate::env::map::{CellMap, HeapPages, Region};
use crate::env::sim::SimDisk;
use crate::env::{FileSystem, OpenMode, StoreTap};
use crate::segment::{
    ActiveSettings, FileKind, LiveIndex, OpenSegments, Reach, SegmentFiles, TailCells, Way,
};

const LIMITS: OpenLimits =
    OpenLimits { batch_size: 400, linger_ms: 1_000, log_append_time: false, leader_epoch: 3 };

/// Notes what is published whenever the length and checksum of the open batch are stored.
#[derive(Debug, Default)]
struct AtTheCell {
    segment: OnceLock<Arc<Segment>>,
    published: Mutex<Vec<u64>>,
}

impl StoreTap for AtTheCell {
    fn stored(&self, range: Range<u64>) {
        const LAST_WORD: u64 = 56;
        if let Some(segment) = self.segment.get().filter(|_| range.start == LAST_WORD) {
            self.published.lock().push(segment.published().position.into());
        }
    }
}

#[test]
fn a_record_is_published_only_after_its_cell_vouches_for_it() {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/p")).unwrap();
    let home = SegmentFiles::new(Arc::new(disk), PathBuf::from("/p"), true, None, OpenSegments::new(8));
    let home = Arc::new(home);
    let file = home.open(FileKind::Log, 0, OpenMode::CreateNew).unwrap();
    let start = Mark { position: 0, delta: 0 };
    let settings = ActiveSettings { max_len: 1 << 16, index: (1 << 10, 1 << 10) };
    let index = LiveIndex::new(1 << 10, 1 << 10);
    let (segment, writer) = Segment::active(&home, 0, file, start, 0, index, settings).unwrap();
    segment.prepare(1 << 15, Way::Stored, Reach::Need, Duration::ZERO).unwrap();
    let tap = Arc::new(AtTheCell::default());
    tap.segment.set(segment.clone()).unwrap();
    let cells = TailCells::new(CellMap::new(Region::heap(HeapPages::zeroed(64), 64, Some(tap.clone()))), 1);
    let cell = Cell::new(&cells, 0).unwrap();
    let mut tail =
        Tail::new(segment.clone(), writer, 0, 0, 1 << 16).with_cell(cell, TopicId::from_bytes([1; 16]), 0);
    for n in 0..50u64 {
        let before: u64 = segment.published().position.into();
        let value = vec![b'x'; 40];
        let record = NewRecord { timestamp: n as i64, key: None, value: Some(&value), headers: &[] };
        assert_eq!(tail.push(&record, 0, LIMITS), Ok(n));
        let published = std::mem::take(&mut *tap.published.lock());
        assert!(!published.is_empty(), "record {n} has its cell");
        assert!(
            published.iter().all(|&end| end <= before),
            "record {n} was visible before its cell was stored"
        );
        assert!(u64::from(segment.published().position) > before);
        let found = cells.found();
        let records = found[0].length as usize;
        let first = tail.end() as usize - records;
        let open = segment.open().unwrap();
        let map = open.map();
        let bytes = map.slice(first as u64..tail.end()).unwrap();
        assert_eq!(crate::format::checksum::crc32c(bytes), found[0].crc, "the cell speaks of what is there");
    }
}
