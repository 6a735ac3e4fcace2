//! What is counted is what has passed, whatever becomes of the segments.

use std::sync::Arc;
use std::time::Duration;

use super::harness::{Machine, limits, settings};
use crate::config::Durability;
use crate::partition::{Cursor, Found, Passed};

fn read_all(cursor: &mut Cursor) -> Passed {
    let mut passed = Passed::default();
    while let Some(chunk) = cursor.read(u64::MAX, &limits()).unwrap() {
        passed.records += chunk.iter().count() as u64;
        passed.bytes += chunk.bytes();
    }
    passed
}

#[test]
fn what_goes_in_is_counted_over_rolls_truncations_and_openings() {
    for durability in [Durability::Memory, Durability::Sync] {
        let machine = Machine::new(settings(durability));
        let opened = machine.open(Found::New).unwrap();
        opened.send_many(600);
        opened.log.flush().unwrap();
        assert!(opened.log.segment_count() > 2);
        let passed = opened.log.passed_in();
        assert_eq!(passed, Passed { records: 600, bytes: opened.log.size_bytes() });

        opened.log.delete_records(300).unwrap();
        assert_eq!(opened.log.passed_in(), passed, "what has gone has passed all the same");

        let end = opened.log.truncate(500).unwrap();
        let taken_back = 600 - end;
        assert!(taken_back >= 100);
        assert_eq!(opened.log.passed_in(), passed);
        opened.send_many(taken_back);
        opened.log.flush().unwrap();
        let after = opened.log.passed_in();
        assert_eq!(after.records, 600 + taken_back);
        assert!(after.bytes > passed.bytes);

        opened.log.close().unwrap();
        drop(opened);
        let reopened = machine.open(Found::Unclean(None)).unwrap();
        assert_eq!(reopened.log.passed_in(), Passed::default());
        reopened.send_many(1);
        reopened.log.flush().unwrap();
        assert_eq!(reopened.log.passed_in().records, 1);
    }
}

#[test]
fn what_goes_out_is_counted_for_each_reader_and_stays_when_it_goes() {
    let machine = Machine::new(settings(Durability::Memory));
    let opened = machine.open(Found::New).unwrap();
    opened.send_many(100);
    let mut first = Cursor::counted(opened.log.clone(), 0);
    assert_eq!((opened.log.reader_count(), first.count().unwrap().position()), (1, None));
    let one = read_all(&mut first);
    assert_eq!(one.records, 100);
    assert_eq!(opened.log.passed_out(), one);
    assert_eq!(first.count().unwrap().position(), Some(100));
    first.seek(40);
    assert_eq!(first.count().unwrap().position(), Some(40));

    let mut second = Cursor::counted(opened.log.clone(), 50);
    let two = read_all(&mut second);
    let mut uncounted = Cursor::new(opened.log.clone(), 0);
    read_all(&mut uncounted);
    drop((first, second));
    assert_eq!(opened.log.reader_count(), 0);
    let both = Passed { records: one.records + two.records, bytes: one.bytes + two.bytes };
    assert_eq!(opened.log.passed_out(), both);
}

#[test]
fn a_deleted_segment_is_pinned_for_as_long_as_it_is_looked_at() {
    let machine = Machine::new(settings(Durability::Memory));
    let opened = machine.open(Found::New).unwrap();
    opened.send_many(600);
    let mut cursor = Cursor::counted(opened.log.clone(), 0);
    let chunk = cursor.read(u64::MAX, &limits()).unwrap().unwrap();
    drop(cursor);
    assert_eq!(opened.log.pinned_bytes(), 0);
    opened.log.delete_records(400).unwrap();
    let pinned = opened.log.pinned_bytes();
    assert!(pinned > 0, "the chunk pins its segment");
    assert_eq!(chunk.iter().count() as u64, chunk.records);
    drop(chunk);
    assert_eq!(opened.log.pinned_bytes(), 0);
}

#[test]
fn flushes_and_waits_are_counted_and_failed_ones_are_not() {
    let machine = Machine::new(settings(Durability::Sync));
    let opened = machine.open(Found::New).unwrap();
    let before = opened.log.flushes().count;
    for n in 1..=3 {
        let offset = opened.send("a record").unwrap();
        opened.log.wait_acked(offset + 1).unwrap();
        assert_eq!(opened.log.flushes().count, before + n);
        assert_eq!(opened.log.durable_waits().count, n);
    }
    assert_eq!(opened.log.flushes().total, Duration::ZERO, "the simulated clock stands still");
    let log = Arc::clone(&opened.log);
    log.wait_acked(1).unwrap();
    assert_eq!(log.durable_waits().count, 3, "who finds it done does not wait");
}
