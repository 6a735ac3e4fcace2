//! Cursors: tailing the open batch, seeking, times, what was taken away.

use super::harness::*;
use crate::config::Durability;
use crate::error::ErrorKind;
use crate::partition::{Cursor, Found};

#[test]
fn a_tailing_cursor_sees_each_record_of_the_open_batch_once() {
    let machine = Machine::new(settings(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    let mut cursor = Cursor::new(p.log.clone(), 0);
    let mut seen = Vec::new();
    for i in 0..500u64 {
        p.send_many(1 + i % 3);
        while let Some(chunk) = cursor.read(u64::MAX, &limits()).unwrap() {
            collect(&chunk, &mut seen).unwrap();
        }
        assert_eq!(cursor.next_offset(), p.log.log_end());
        assert_eq!(seen.len() as u64, p.log.log_end());
    }
    assert!(
        seen.iter()
            .enumerate()
            .all(|(i, (offset, value))| *offset == i as u64 && *value == value_of(*offset))
    );
}

#[test]
fn chunks_outlive_what_they_lend_from() {
    let machine = Machine::new(settings(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    p.send_many(600);
    let mut cursor = Cursor::new(p.log.clone(), 0);
    let chunk = cursor.read(u64::MAX, &limits()).unwrap().unwrap();
    assert_eq!(p.log.delete_records(400).unwrap(), 400);
    let mut seen = Vec::new();
    collect(&chunk, &mut seen).unwrap();
    assert_eq!(seen[0], (0, value_of(0)));
    let kind = cursor.read(u64::MAX, &limits()).unwrap_err().kind();
    assert!(matches!(kind, ErrorKind::OffsetOutOfRange { earliest, .. } if earliest.get() == 400));
    p.assert_holds(400, 600);
    assert!(
        p.log
            .delete_records(601)
            .unwrap_err()
            .to_string()
            .contains("begins at offset 400 and ends before 600")
    );
}

#[test]
fn bounds_are_exact() {
    let machine = Machine::new(settings(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    p.send_many(100);
    let mut cursor = Cursor::new(p.log.clone(), 17);
    let mut seen = Vec::new();
    while let Some(chunk) = cursor.read(42, &limits()).unwrap() {
        collect(&chunk, &mut seen).unwrap();
    }
    assert_eq!(seen.iter().map(|(o, _)| *o).collect::<Vec<_>>(), (17..42).collect::<Vec<_>>());
    let beyond = Cursor::new(p.log.clone(), 101).read(u64::MAX, &limits());
    assert!(matches!(beyond.unwrap_err().kind(), ErrorKind::OffsetOutOfRange { .. }));
}

#[test]
fn offsets_are_found_by_time() {
    for level in [Durability::Memory, Durability::Sync] {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        for i in 0..1000 {
            p.send_at(&value_of(i), 10_000 + i as i64 * 10);
        }
        p.log.flush().unwrap();
        for t in [0, 10_000, 10_001, 12_345, 19_990] {
            let expected = ((t - 10_000).max(0) as u64).div_ceil(10);
            let found = p.log.offset_for_timestamp(t).unwrap();
            assert_eq!(found, Some((expected, 10_000 + expected as i64 * 10)), "{t}");
        }
        assert_eq!(p.log.offset_for_timestamp(19_991).unwrap(), None);
        let point = p.log.close().unwrap();
        drop(p);
        let p = machine.open(Found::Clean(point)).unwrap();
        assert_eq!(p.log.offset_for_timestamp(12_345).unwrap(), Some((235, 12_350)));
        assert_eq!(p.log.offset_for_timestamp(19_990).unwrap(), Some((999, 19_990)));
    }
}

#[test]
fn a_truncation_takes_back_whole_batches_and_views_stay() {
    for level in [Durability::Memory, Durability::Sync] {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(500);
        p.log.flush().unwrap();
        let mut cursor = Cursor::new(p.log.clone(), 300);
        let chunk = cursor.read(u64::MAX, &limits()).unwrap().unwrap();
        let end = p.log.truncate(250).unwrap();
        assert!(end <= 250 && end > 200, "{end}");
        assert_eq!((p.log.log_end(), p.log.high_watermark(), p.log.flushed()), (end, end, end));
        let mut seen = Vec::new();
        collect(&chunk, &mut seen).unwrap();
        assert_eq!(seen[0], (300, value_of(300)));
        p.assert_holds(0, end);
        assert!(cursor.read(u64::MAX, &limits()).is_err());
        p.send_many(300);
        p.log.flush().unwrap();
        p.assert_holds(0, end + 300);
        let again = p.log.truncate(end + 100).unwrap();
        p.send_many(5);
        p.log.flush().unwrap();
        p.assert_holds(0, again + 5);
        drop((chunk, cursor, seen));
        let point = p.log.close().unwrap();
        drop(p);
        let p = machine.open(Found::Clean(point)).unwrap();
        p.assert_holds(0, again + 5);
        drop(p);
        let p = machine.killed().open(unclean(Some(point))).unwrap();
        p.assert_holds(0, again + 5);
    }
}

#[test]
fn a_tailing_cursor_notices_a_truncation() {
    for level in [Durability::Memory, Durability::Sync] {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(40);
        p.log.flush().unwrap();
        let mut cursor = Cursor::new(p.log.clone(), 38);
        assert!(cursor.read(u64::MAX, &limits()).unwrap().is_some());
        assert_eq!(cursor.next_offset(), 40);
        let end = p.log.truncate(20).unwrap();
        assert!(cursor.read(u64::MAX, &limits()).is_err(), "{level:?}");
        for _ in end..60 {
            p.send("anew").unwrap();
        }
        p.log.flush().unwrap();
        let mut seen = Vec::new();
        while let Some(chunk) = cursor.read(u64::MAX, &limits()).unwrap() {
            collect(&chunk, &mut seen).unwrap();
        }
        let anew: Vec<_> = (40..60).map(|offset| (offset, "anew".to_owned())).collect();
        assert_eq!(seen, anew, "{level:?}");
    }
}

#[test]
fn a_follower_takes_batches_as_they_are() {
    let machine = Machine::new(settings(Durability::Sync));
    let leader = machine.open(Found::New).unwrap();
    leader.send_many(50);
    leader.log.close().unwrap();
    let bytes = machine.disk().read_file(std::path::Path::new("/data/t-0/00000000000000000000.log")).unwrap();
    for level in [Durability::Memory, Durability::Sync] {
        let machine = Machine::new(settings(level));
        let follower = machine.open(Found::New).unwrap();
        assert_eq!(follower.log.append_follower(&bytes).unwrap(), 50);
        follower.log.flush().unwrap();
        follower.assert_holds(0, 50);
        let again = follower.log.append_follower(&bytes).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::InvalidArgument);
    }
}
