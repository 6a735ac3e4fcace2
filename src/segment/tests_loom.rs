//! Every interleaving (within loom's memory model) of one writer and one reader of a segment: what is lent
//! is complete, the open batch's header is never lent, and each part of the protocol is needed.
//!
//! The mapped bytes themselves are tracked: a read that nothing orders after the write fails the model.

use std::path::PathBuf;
use std::time::Duration;

use super::open_batch::OpenBatchCell;
use super::*;
use crate::env::map::{HeapPages, Mark, SegmentMap};
use crate::env::sim::SimDisk;
use crate::env::{FileSystem, OpenMode, Region};
use crate::format::batch::{BatchBuilder, BatchHeader, BatchSpec, BatchView, HEADER_LEN};
use crate::format::record::decode_record;
use crate::sync::{Arc, thread};

const MAX_LEN: u64 = 512;
const HEADER: u64 = HEADER_LEN as u64;

fn model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 100_000;
    model.check(run);
}

/// An empty segment on a simulated disk, prepared to its end.
fn tail() -> (std::sync::Arc<Segment>, Tail) {
    let disk = SimDisk::new();
    disk.create_dir(&PathBuf::from("/d")).unwrap();
    let files = std::sync::Arc::new(disk);
    let home = SegmentFiles::new(files, PathBuf::from("/d"), true, None, OpenSegments::new(8));
    let home = std::sync::Arc::new(home);
    let file = home.open(FileKind::Log, 0, OpenMode::CreateNew).unwrap();
    let index = LiveIndex::new(4096, 1 << 20);
    let settings = ActiveSettings { max_len: MAX_LEN, index: (4096, 1 << 20) };
    let (segment, writer) =
        Segment::active(&home, 0, file, Mark { position: 0, delta: 0 }, 0, index, settings).unwrap();
    segment.prepare(MAX_LEN, Way::Stored, Reach::Need, Duration::ZERO).unwrap();
    (segment.clone(), Tail::new(segment, writer, 0, 0, MAX_LEN))
}

fn limits(batch_size: u64) -> OpenLimits {
    OpenLimits { batch_size, linger_ms: 1000, log_append_time: false, leader_epoch: 3 }
}

/// Appends record `offset`, whose value is its offset.
fn push(tail: &mut Tail, offset: u64, batch_size: u64) {
    let value = [offset as u8];
    let record = NewRecord { timestamp: timestamp(offset), key: None, value: Some(&value), headers: &[] };
    assert_eq!(tail.push(&record, 0, limits(batch_size)), Ok(offset));
}

fn timestamp(offset: u64) -> i64 {
    100 + offset as i64
}

/// Checks everything that can be seen now; answers the offset behind it.
fn look(segment: &Segment) -> u64 {
    let open = segment.open().unwrap();
    let map = open.map();
    // Published first, then sealed: see `SegmentMap::slice`.
    let published = map.published();
    let sealed = map.sealed();
    let next = sealed_records(map.slice(0..sealed).expect("what is sealed is lent"));
    if u64::from(published.position) <= sealed {
        return next;
    }
    let Some(open) = segment.open_batch(sealed) else {
        assert!(map.sealed() > sealed, "a batch that is not open has been sealed");
        return look(segment);
    };
    assert_eq!((open.position, open.base_offset), (sealed, next));
    assert_eq!((open.base_timestamp, open.leader_epoch), (timestamp(next), 3));
    let records = map.slice(sealed + HEADER..published.position.into()).expect("what is published is lent");
    assert_eq!(records_from(records, next), u64::from(published.delta));
    published.delta.into()
}

fn sealed_records(mut bytes: &[u8]) -> u64 {
    let mut next = 0;
    while !bytes.is_empty() {
        let view = BatchView::parse(bytes).expect("a sealed batch has its header");
        view.check_crc().expect("a sealed batch is complete");
        assert_eq!(view.header.base_offset as u64, next);
        next = records_from(view.payload(), next);
        bytes = &bytes[view.bytes.len()..];
    }
    next
}

fn records_from(mut bytes: &[u8], mut next: u64) -> u64 {
    while !bytes.is_empty() {
        let (record, len) = decode_record(bytes).expect("a published record is complete");
        assert_eq!(record.value, Some(&[next as u8][..]));
        next += 1;
        bytes = &bytes[len..];
    }
    next
}

/// One writer; a reader that looks `looks` times, and once more at the end.
fn one_writer_one_reader(looks: usize, expected: u64, write: impl FnOnce(Tail) + Send + 'static) {
    let (segment, tail) = tail();
    let writer = thread::spawn(move || write(tail));
    let mut seen = 0;
    for _ in 0..looks {
        let now = look(&segment);
        assert!(now >= seen, "what was visible stays visible");
        seen = now;
    }
    writer.join().unwrap();
    assert_eq!(look(&segment), expected);
}

#[test]
fn loom_published_records_are_complete() {
    model(3, || {
        one_writer_one_reader(2, 2, |mut tail| {
            push(&mut tail, 0, 1000);
            push(&mut tail, 1, 1000);
        });
    });
}

#[test]
fn loom_a_batch_is_sealed_under_its_reader() {
    model(3, || {
        one_writer_one_reader(2, 1, |mut tail| {
            push(&mut tail, 0, 1000);
            tail.seal();
        });
    });
}

#[test]
fn loom_the_next_batch_opens_under_the_reader_of_the_last() {
    model(2, || {
        one_writer_one_reader(2, 3, |mut tail| {
            for offset in 0..3 {
                push(&mut tail, offset, 62); // each record its own batch
            }
        });
    });
}

#[test]
fn loom_batches_written_whole_are_complete() {
    model(3, || {
        let mut builder = BatchBuilder::new(BatchSpec { leader_epoch: 3, ..BatchSpec::default() });
        builder.append(timestamp(0), None, Some(&[0]), &[]);
        let batch = builder.finish(0, None).unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        one_writer_one_reader(2, 2, move |mut tail| {
            tail.write_batch(&batch, &header, 0).unwrap();
            push(&mut tail, 1, 1000);
        });
    });
}

#[test]
fn loom_the_header_of_the_open_batch_is_not_lent() {
    model(3, || {
        let (segment, mut tail) = tail();
        let writer = thread::spawn(move || {
            push(&mut tail, 0, 1000);
            tail.seal();
        });
        let open = segment.open().unwrap();
        let map = open.map();
        for range in [0..HEADER, 60..62, 0..HEADER + 1] {
            if let Some(bytes) = map.slice(range.clone()) {
                // Then it has been sealed, and what is lent is final.
                assert!(map.sealed() >= range.end);
                assert_eq!(bytes, map.slice(range).unwrap());
            }
        }
        assert_eq!(map.slice(0..MAX_LEN), None);
        writer.join().unwrap();
    });
}

/// The map alone, with a writer that publishes nine bytes behind a header, then seals.
fn map_model(
    publish: fn(&mut crate::env::map::MapWriter, Mark),
    seal: fn(&mut crate::env::map::MapWriter, u64),
) {
    model(3, move || {
        let region = Region::heap(HeapPages::zeroed(128), 128, None);
        let (map, mut writer) = SegmentMap::new(region, Mark { position: 0, delta: 0 }, 128);
        let writing = thread::spawn(move || {
            writer.window(HEADER..70).unwrap().fill(7);
            publish(&mut writer, Mark { position: 70, delta: 1 });
            writer.open_header().unwrap().fill(1);
            seal(&mut writer, 70);
        });
        let published = u64::from(map.published().position);
        if published > 0 {
            assert_eq!(map.slice(HEADER..published).unwrap(), [7; 9]);
        }
        if let Some(header) = map.slice(0..HEADER) {
            assert_eq!(header, [1; HEADER_LEN]);
        }
        writing.join().unwrap();
    });
}

#[test]
fn loom_publishing_and_sealing_order_the_bytes() {
    map_model(|writer, end| writer.publish(end), |writer, end| writer.seal(end));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_mutant_a_relaxed_publication_is_caught() {
    map_model(|writer, end| writer.publish_relaxed(end), |writer, end| writer.seal(end));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn loom_mutant_a_relaxed_seal_is_caught() {
    map_model(|writer, end| writer.publish(end), |writer, end| writer.seal_relaxed(end));
}

fn open(position: u64) -> OpenBatch {
    OpenBatch {
        position,
        base_offset: position + 1,
        base_timestamp: position as i64 + 2,
        log_append_time: position == 100,
        leader_epoch: position as i32,
    }
}

/// A cell whose batch changes under a reader of the first.
fn cell_model(set: fn(&OpenBatchCell, OpenBatch), get: fn(&OpenBatchCell, u64) -> Option<(u64, i64)>) {
    model(3, move || {
        let cell = Arc::new(OpenBatchCell::new());
        cell.set(open(0));
        let writer = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || set(&cell, open(100)))
        };
        for position in [0, 100] {
            if let Some(fields) = get(&cell, position) {
                assert_eq!(fields, (open(position).base_offset, open(position).base_timestamp), "torn");
            }
        }
        writer.join().unwrap();
        assert_eq!(cell.get(0), None);
        assert_eq!(cell.get(100).map(|found| found.position), Some(100));
    });
}

fn fields(cell: &OpenBatchCell, position: u64) -> Option<(u64, i64)> {
    let found = cell.get(position)?;
    assert_eq!(found, open(position), "torn");
    Some((found.base_offset, found.base_timestamp))
}

#[test]
fn loom_an_open_batch_is_never_torn() {
    cell_model(OpenBatchCell::set, fields);
}

#[test]
#[should_panic(expected = "torn")]
fn loom_mutant_a_cell_that_is_not_invalidated_is_caught() {
    cell_model(OpenBatchCell::set_without_invalidation, fields);
}

#[test]
#[should_panic(expected = "torn")]
fn loom_mutant_a_cell_that_is_looked_at_once_is_caught() {
    cell_model(OpenBatchCell::set, OpenBatchCell::get_without_second_look);
}
