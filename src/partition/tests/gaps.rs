//! Batches whose last records are gone, as compaction leaves them: offsets go on behind the batch.

use super::harness::*;
use crate::config::Durability;
use crate::format::batch::{BatchBuilder, BatchHeader, BatchSpec, seal_header};
use crate::partition::{Cursor, Found};

/// A batch of two records that once held ten.
fn thinned(base: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchSpec { leader_epoch: 0, ..BatchSpec::default() });
    builder.append(1, None, Some(format!("first of {base}").as_bytes()), &[]);
    builder.append(2, None, Some(format!("second of {base}").as_bytes()), &[]);
    let mut bytes = builder.finish(base as i64, None).unwrap();
    let header = BatchHeader { last_offset_delta: 9, ..BatchHeader::parse(&bytes).unwrap() };
    seal_header(&mut bytes, &header).unwrap();
    bytes
}

#[test]
fn the_next_offset_lies_behind_the_batch() {
    for durability in [Durability::Memory, Durability::Sync] {
        let machine = Machine::new(settings(durability));
        let opened = machine.open(Found::New).unwrap();
        for base in [0, 10, 20] {
            assert_eq!(opened.log.append_follower(&thinned(base)).unwrap(), base + 10);
        }
        opened.log.flush().unwrap();
        let mut cursor = Cursor::new(opened.log.clone(), 0);
        let mut seen = Vec::new();
        while let Some(chunk) = cursor.read(u64::MAX, &limits()).unwrap() {
            collect(&chunk, &mut seen).unwrap();
        }
        let offsets: Vec<u64> = seen.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [0, 1, 10, 11, 20, 21]);
        assert_eq!(cursor.next_offset(), 30, "and not behind the last record");
        // From the middle of a gap the next batch is found.
        assert_eq!(opened.read_from(5).unwrap().first().map(|(offset, _)| *offset), Some(10));
        assert_eq!(opened.read_from(25).unwrap(), []);
        assert_eq!(opened.send("behind the gap").unwrap(), 30);
        opened.log.flush().unwrap();
        let mut again = Vec::new();
        collect(&cursor.read(u64::MAX, &limits()).unwrap().unwrap(), &mut again).unwrap();
        assert_eq!(again, [(30, "behind the gap".to_owned())]);
        // And after a kill, by the headers alone.
        drop((opened, cursor));
        let killed = machine.killed();
        let opened = killed.open(unclean(None)).unwrap();
        assert_eq!(opened.recovery.log_end, 31);
        assert_eq!(opened.read_from(0).unwrap().len(), 7);
    }
}

/// Offsets in a segment are told by 32 bits: a batch behind a gap that is too wide for that begins the next segment,
/// and one that no segment could hold is refused.
#[test]
fn a_gap_never_reaches_beyond_what_a_segment_can_tell() {
    for durability in [Durability::Memory, Durability::Sync] {
        let machine = Machine::new(settings(durability));
        let opened = machine.open(Found::New).unwrap();
        let log = &opened.log;
        log.manifest.lock().compacted = true;
        assert_eq!(log.append_follower(&thinned(0)).unwrap(), 10);
        let wide = i32::MAX as u64 - 5;
        assert_eq!(log.append_follower(&thinned(wide)).unwrap(), wide + 10);
        assert_eq!(log.segment_count(), 2, "it does not fit the first one");
        for base in [wide + (1 << 31) + 10, 1 << 40, i64::MAX as u64 - 10] {
            let error = log.append_follower(&thinned(base)).unwrap_err();
            assert_eq!(error.kind(), crate::error::ErrorKind::InvalidArgument, "{base}");
        }
        assert_eq!(opened.send("behind").unwrap(), wide + 10);
        log.flush().unwrap();
        let offsets: Vec<u64> = opened.read_from(0).unwrap().iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, [0, 1, wide, wide + 1, wide + 10]);
    }
}
