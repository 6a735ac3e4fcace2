//! Batches that are handed out in parts, because they have more records than a reader may be given at once.

use super::harness::*;
use crate::config::{Compression, Durability};
use crate::error::ErrorKind;
use crate::partition::{Chunk, Cursor, Found, LogSettings, Passed, ReadLimits};

const SEVEN: fn() -> ReadLimits = || ReadLimits { max_records: 7, max_bytes: 1 << 20, ..limits() };

/// Batches of some 160 records.
fn large(durability: Durability, compression: Compression) -> LogSettings {
    LogSettings { batch_size: 8 << 10, segment_size: 24 << 10, compression, ..settings(durability) }
}

fn compressions() -> Vec<Compression> {
    let lz4 = cfg!(feature = "lz4").then_some(Compression::Lz4);
    [Compression::None].into_iter().chain(lz4).collect()
}

/// The next part: its offsets, each with the value that belongs there.
fn part(cursor: &mut Cursor, until: u64) -> Option<(Vec<u64>, Chunk)> {
    let chunk = cursor.read(until, &SEVEN()).unwrap()?;
    let mut seen = Vec::new();
    collect(&chunk, &mut seen).unwrap();
    assert!((1..=7).contains(&seen.len()), "{}", seen.len());
    assert_eq!(chunk.count_hint(), seen.len(), "what is counted is what there is");
    assert!(seen.iter().all(|(offset, value)| *value == value_of(*offset)));
    Some((seen.into_iter().map(|(offset, _)| offset).collect(), chunk))
}

#[test]
fn parts_are_the_whole_and_count_as_much() {
    for (compression, map) in compressions().into_iter().flat_map(|kind| [(kind, true), (kind, false)]) {
        for level in [Durability::Memory, Durability::Sync] {
            let settings = LogSettings { in_place: map, ..large(level, compression) };
            let machine = Machine { map, ..Machine::new(settings) };
            let p = machine.open(Found::New).unwrap();
            p.send_many(1000);
            p.log.seal_and_write().unwrap();
            p.log.flush().unwrap();
            let mut whole = Cursor::counted(p.log.clone(), 0);
            let all = ReadLimits { max_records: u32::MAX, ..SEVEN() };
            let mut passed = Passed::default();
            while let Some(chunk) = whole.read(u64::MAX, &all).unwrap() {
                passed.records += chunk.count_hint() as u64;
                passed.bytes += chunk.bytes();
            }
            let mut cursor = Cursor::counted(p.log.clone(), 0);
            let mut counted = Passed::default();
            while let Some((offsets, chunk)) = part(&mut cursor, u64::MAX) {
                assert_eq!(offsets[0], counted.records, "no gap");
                assert_eq!(cursor.next_offset(), offsets[0] + offsets.len() as u64);
                counted.records += offsets.len() as u64;
                counted.bytes += chunk.bytes();
            }
            assert_eq!(counted, passed, "{compression:?} {map} {level:?}");
        }
    }
}

#[cfg(feature = "lz4")]
#[test]
fn a_batch_in_parts_is_decompressed_once() {
    use crate::partition::chunk::Source;
    use std::sync::Arc;

    let machine = Machine::new(large(Durability::Memory, Compression::Lz4));
    let p = machine.open(Found::New).unwrap();
    p.send_many(1000);
    p.log.flush().unwrap();
    let mut cursor = Cursor::new(p.log.clone(), 0);
    let (mut copies, mut last, mut parts) = (0, None, 0);
    while let Some((_, chunk)) = part(&mut cursor, u64::MAX) {
        let Source::Heap(bytes) = &chunk.source else { panic!("it is compressed") };
        copies += u32::from(!last.is_some_and(|last| Arc::ptr_eq(bytes, &last)));
        (last, parts) = (Some(bytes.clone()), parts + 1);
    }
    assert!(parts > 100 && copies < 12, "{copies} copies for {parts} parts");
}

#[test]
fn an_open_batch_in_parts_grows_meanwhile() {
    let machine = Machine::new(large(Durability::Memory, Compression::None));
    let p = machine.open(Found::New).unwrap();
    let mut cursor = Cursor::new(p.log.clone(), 0);
    let mut next = 0;
    for n in 0..100 {
        p.send_many(n % 31);
        for _ in 0..n % 4 {
            let Some((offsets, _)) = part(&mut cursor, u64::MAX) else { break };
            assert_eq!(offsets[0], next);
            next = cursor.next_offset();
        }
        if n % 10 == 0 {
            p.log.seal_and_write().unwrap();
        }
    }
    while let Some((offsets, _)) = part(&mut cursor, u64::MAX) {
        assert_eq!(offsets[0], next);
        next = cursor.next_offset();
    }
    assert_eq!(next, p.log.log_end());
}

#[test]
fn a_range_ends_and_a_jump_lands_within_a_part() {
    for compression in compressions() {
        let machine = Machine::new(large(Durability::Memory, compression));
        let p = machine.open(Found::New).unwrap();
        p.send_many(1000);
        p.log.seal_and_write().unwrap();
        p.log.flush().unwrap();
        let mut cursor = Cursor::new(p.log.clone(), 3);
        let mut seen = Vec::new();
        while let Some((offsets, _)) = part(&mut cursor, 50) {
            seen.extend(offsets);
        }
        assert!(seen.into_iter().eq(3..50));
        for to in [80, 3, 500, 85, 84, 999] {
            cursor.seek(to);
            assert_eq!(part(&mut cursor, u64::MAX).unwrap().0[0], to);
            if cursor.next_offset() < 900 {
                part(&mut cursor, u64::MAX).unwrap(); // it goes on in order: from here on the rest is kept
            }
            cursor.let_go(); // somebody paused it, and waits for others
            if cursor.next_offset() < 1000 {
                let next = cursor.next_offset();
                assert_eq!(part(&mut cursor, next + 3).unwrap().0, [next, next + 1, next + 2]);
            }
        }
    }
}

#[test]
fn what_is_taken_back_or_deleted_is_not_handed_out_of_what_is_left() {
    for compression in compressions() {
        let machine = Machine::new(large(Durability::Memory, compression));
        let p = machine.open(Found::New).unwrap();
        p.send_many(1000);
        p.log.seal_and_write().unwrap();
        p.log.flush().unwrap();
        let (mut behind, mut deleted) = (Cursor::new(p.log.clone(), 0), Cursor::new(p.log.clone(), 0));
        behind.seek(700);
        assert_eq!(part(&mut behind, u64::MAX).unwrap().0[0], 700);
        assert_eq!(part(&mut deleted, u64::MAX).unwrap().0.len(), 7);
        p.log.delete_records(20).unwrap();
        assert!(matches!(
            deleted.read(u64::MAX, &SEVEN()).unwrap_err().kind(),
            ErrorKind::OffsetOutOfRange { .. }
        ));
        let end = p.log.truncate(701).unwrap();
        assert!(end <= 701);
        for _ in end..1000 {
            p.send("anew").unwrap();
        }
        p.log.flush().unwrap();
        let next = behind.next_offset();
        let chunk = behind.read(u64::MAX, &SEVEN()).unwrap().unwrap();
        let mut seen = Vec::new();
        collect(&chunk, &mut seen).unwrap();
        assert_eq!(seen[0], (next, "anew".to_owned()));
    }
}
