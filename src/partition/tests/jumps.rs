//! Cursors that jump: into the middle of large batches, again and again, by offset and by time.

use std::path::Path;

use super::harness::*;
use crate::config::{CrcCheck, Durability};
use crate::env::{FileSystem, OpenMode};
use crate::error::ErrorKind;
use crate::partition::{Chunk, Cursor, Found, LogSettings, ReadLimits};
use crate::types::Offset;

const LEVELS: [Durability; 2] = [Durability::Memory, Durability::Sync];
const LOG: &str = "/data/t-0/00000000000000000000.log";

/// Batches of some 160 records in segments of some three batches.
fn large(durability: Durability) -> LogSettings {
    LogSettings { batch_size: 8 << 10, segment_size: 24 << 10, ..settings(durability) }
}

/// The first record of a chunk.
fn first(chunk: &Chunk) -> (u64, String) {
    let record = chunk.iter().next().unwrap().unwrap();
    (record.offset, String::from_utf8_lossy(record.record.value.unwrap()).into_owned())
}

/// Offsets all over `0..end`, each more than once.
fn all_over(end: u64) -> impl Iterator<Item = u64> {
    (0..2 * end).map(move |n| n * 7919 % end)
}

#[test]
fn a_jump_finds_its_record_each_time() {
    for level in LEVELS {
        for (map, crc) in [(true, CrcCheck::Once), (true, CrcCheck::Never), (false, CrcCheck::Once)] {
            let in_place = map; // who reads by calls does not store through a map
            let machine = Machine { map, ..Machine::new(LogSettings { in_place, ..large(level) }) };
            let p = machine.open(Found::New).unwrap();
            p.send_many(1500);
            let point = p.log.close().unwrap();
            drop(p);
            let p = machine.open(Found::Clean(point)).unwrap();
            assert!(p.log.segment_count() > 2);
            let limits = ReadLimits { max_records: 1, crc, ..limits() };
            let mut cursor = Cursor::counted(p.log.clone(), 0);
            for offset in all_over(1500) {
                cursor.seek(offset);
                let chunk = cursor.read(u64::MAX, &limits).unwrap().unwrap();
                assert_eq!(first(&chunk), (offset, value_of(offset)));
                // What it lends is what is left of the batch, but for a few records that were passed over.
                let left = chunk.iter().count() as u64;
                assert_eq!(cursor.next_offset(), offset + left);
                assert!(!map || chunk.count_hint() as u64 <= left + 8, "{left}");
                // From here it goes on in order, as if it had never jumped.
                if offset % 97 == 0 && cursor.next_offset() < 1500 {
                    let chunk = cursor.read(u64::MAX, &limits).unwrap().unwrap();
                    assert_eq!(first(&chunk), (offset + left, value_of(offset + left)));
                }
            }
        }
    }
}

#[test]
fn what_was_learned_of_a_batch_goes_with_it() {
    let machine = Machine::new(large(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    p.send_many(1000);
    p.log.flush().unwrap();
    let jump = |offset| {
        let chunk = Cursor::new(p.log.clone(), offset).read(u64::MAX, &limits()).unwrap().unwrap();
        first(&chunk)
    };
    (0..1000).step_by(50).for_each(|offset| assert_eq!(jump(offset), (offset, value_of(offset))));
    let end = p.log.truncate(500).unwrap();
    // Other records, of other lengths, at the same offsets and positions.
    for offset in end..1000 {
        p.send(&"y".repeat(1 + offset as usize % 61)).unwrap();
    }
    p.log.flush().unwrap();
    for offset in all_over(1000) {
        let expected = if offset < end { value_of(offset) } else { "y".repeat(1 + offset as usize % 61) };
        assert_eq!(jump(offset), (offset, expected));
    }
}

#[test]
fn a_cursor_that_jumps_meets_what_has_changed_meanwhile() {
    let machine = Machine::new(large(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    p.send_many(1500);
    p.log.flush().unwrap();
    assert!(p.log.segment_count() > 2);
    let limits = ReadLimits { max_records: 1, ..limits() };
    let mut cursor = Cursor::new(p.log.clone(), 0);
    let mut jump = |offset: u64| {
        cursor.seek(offset);
        cursor.read(u64::MAX, &limits).map(|chunk| chunk.map(|chunk| first(&chunk)))
    };
    // It keeps the first segment, whose second half is taken away then.
    assert_eq!(jump(450).unwrap(), Some((450, value_of(450))));
    let end = p.log.truncate(420).unwrap();
    assert!((20..420).contains(&end), "{end}");
    assert_eq!(jump(450).unwrap_err().kind(), out_of_range(450, 0, end));
    assert_eq!(jump(20).unwrap(), Some((20, value_of(20))));
    for offset in end..1500 {
        p.send(&format!("another {offset}")).unwrap();
    }
    p.log.flush().unwrap();
    for offset in all_over(1500) {
        let expected = if offset < end { value_of(offset) } else { format!("another {offset}") };
        assert_eq!(jump(offset).unwrap(), Some((offset, expected)));
        if offset % 500 == 250 {
            // What grows while the cursor stands in it is in its reach, rolled or not.
            let next = p.log.log_end();
            p.send(&value_of(next)).unwrap();
            assert_eq!(jump(next).unwrap(), Some((next, value_of(next))));
        }
    }
    p.log.delete_records(700).unwrap();
    assert_eq!(jump(699).unwrap_err().kind(), out_of_range(699, 700, p.log.log_end()));
    assert_eq!(jump(700).unwrap(), Some((700, "another 700".to_owned())));
}

#[test]
fn a_jump_finds_what_came_after_a_truncation_inside_a_batch() {
    let machine = Machine::new(large(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    p.send_many(1500);
    p.log.flush().unwrap();
    // The last batch of the first segment stays, though all of it that is left is taken back.
    let (_, end) = p.log.stretch_for(0).unwrap();
    let start = end - 5;
    // One batch each time, so that the cursor stays in that segment.
    let one = ReadLimits { max_records: 1, ..limits() };
    p.log.delete_records(start).unwrap();
    for sought_before in [true, false] {
        let mut cursor = Cursor::new(p.log.clone(), start);
        cursor.read(u64::MAX, &one).unwrap().unwrap();
        if sought_before {
            cursor.seek(start);
        }
        assert_eq!(p.log.truncate(start).unwrap(), start);
        for offset in start..start + 10 {
            p.send(&format!("another {offset} {sought_before}")).unwrap();
        }
        p.log.flush().unwrap();
        cursor.seek(start);
        let mut seen = Vec::new();
        while let Some(chunk) = cursor.read(u64::MAX, &one).unwrap() {
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            seen.extend(chunk.iter().map(|record| text(record.unwrap().record.value.unwrap())));
        }
        let expected: Vec<_> =
            (start..start + 10).map(|offset| format!("another {offset} {sought_before}")).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_jump_ahead_finds_its_record_in_a_segment_to_come() {
    let machine = Machine::new(large(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    p.send_many(100);
    let mut cursor = Cursor::new(p.log.clone(), 0);
    cursor.read(u64::MAX, &limits()).unwrap().unwrap();
    cursor.seek(1400);
    p.send_many(1500);
    p.log.flush().unwrap();
    assert_eq!(first(&cursor.read(u64::MAX, &limits()).unwrap().unwrap()), (1400, value_of(1400)));
}

/// What a reader is told that has jumped to where nothing is.
fn out_of_range(requested: u64, earliest: u64, latest: u64) -> ErrorKind {
    let [requested, earliest, latest] = [requested, earliest, latest].map(Offset::of);
    ErrorKind::OffsetOutOfRange { requested, earliest, latest }
}

#[test]
fn batches_without_an_entry_of_their_own_are_found() {
    // A small batch and a large one: the entries are those of every second one, and as far apart as neighbours are.
    let machine = Machine::new(LogSettings { batch_size: 2 << 10, ..large(Durability::Memory) });
    let p = machine.open(Found::New).unwrap();
    let value = |n: u64| if n % 2 == 0 { value_of(n) } else { "large ".repeat(150) + &value_of(n) };
    for n in 0..100 {
        p.send(&value(n)).unwrap();
        p.log.flush().unwrap();
    }
    let mut cursor = Cursor::new(p.log.clone(), 0);
    for offset in all_over(100) {
        cursor.seek(offset);
        let chunk = cursor.read(u64::MAX, &limits()).unwrap().unwrap();
        assert_eq!(first(&chunk), (offset, value(offset)));
    }
}

#[test]
fn a_jump_into_a_damaged_batch_is_an_error() {
    let large = LogSettings {
        batch_size: 200 << 10,
        segment_size: 1 << 20,
        max_record_size: 4 << 10,
        ..settings(Durability::Sync)
    };
    let machine = Machine::new(large.clone());
    let p = machine.open(Found::New).unwrap();
    for _ in 0..100 {
        p.send(&"z".repeat(1500)).unwrap();
    }
    let point = p.log.close().unwrap();
    drop(p);
    let bytes = machine.disk().read_file(Path::new(LOG)).unwrap();
    assert!(bytes.len() > 2 * (64 << 10), "a batch of several pieces");
    // In each of the pieces in which it is read, and on both sides of their ends.
    for at in [70, 30_000, (64 << 10) - 1, 64 << 10, (128 << 10) - 1, 128 << 10, bytes.len() - 1] {
        for offset in [0, 1, 50, 99] {
            let disk = machine.disk().after_kill();
            let file = disk.open(Path::new(LOG), OpenMode::ReadWrite).unwrap();
            crate::env::write_all_at(&*file, &[bytes[at] ^ 0x10], at as u64).unwrap();
            drop(file);
            let damaged = Machine::on(disk, large.clone());
            let p = damaged.open(Found::Clean(point)).unwrap();
            for _ in 0..2 {
                let error = Cursor::new(p.log.clone(), offset).read(u64::MAX, &limits()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupted, "byte {at}, offset {offset}");
            }
        }
    }
}

#[test]
fn a_time_is_found_behind_batches_that_are_older() {
    for level in LEVELS {
        let machine = Machine::new(large(level));
        let p = machine.open(Found::New).unwrap();
        // Each hundred takes a step back before it goes on.
        let time = |n: u64| 10_000 + n as i64 - if n % 100 < 20 { 50 } else { 0 };
        for n in 0..2000 {
            p.send_at(&value_of(n), time(n));
        }
        p.log.flush().unwrap();
        let point = p.log.close().unwrap();
        drop(p);
        let p = machine.open(Found::Clean(point)).unwrap();
        for t in (9_900..12_100).step_by(7) {
            let expected = (0..2000).find(|&n| time(n) >= t).map(|n| (n, time(n)));
            assert_eq!(p.log.offset_for_timestamp(t).unwrap(), expected, "{t}");
        }
    }
}

#[test]
fn damage_is_no_reason_to_pass_a_batch_over() {
    let machine = Machine::new(large(Durability::Sync));
    let p = machine.open(Found::New).unwrap();
    for n in 0..300 {
        p.send_at(&value_of(n), 10_000 + n as i64);
    }
    p.log.flush().unwrap();
    let point = p.log.close().unwrap();
    drop(p);
    // The greatest timestamp of the first batch says that all of it is older.
    let file = machine.disk().open(Path::new(LOG), OpenMode::ReadWrite).unwrap();
    crate::env::write_all_at(&*file, &9_999i64.to_be_bytes(), 35).unwrap();
    drop(file);
    let p = machine.open(Found::Clean(point)).unwrap();
    assert_eq!(p.log.offset_for_timestamp(10_005).unwrap_err().kind(), ErrorKind::Corrupted);
}
