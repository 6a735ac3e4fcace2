//! Files that are closed because nobody uses them, and opened again.

use super::harness::{Machine, Opened, limits, settings, unclean};
use crate::config::Durability;
use crate::env::FileSystem;
use crate::env::sim::{Failure, Fault, Op};
use crate::error::ErrorKind;
use crate::partition::{Cursor, Found, LogSettings};

const LEVELS: [Durability; 3] =
    [Durability::Memory, Durability::Interval(std::time::Duration::from_secs(1)), Durability::Sync];

fn machine(level: Durability) -> Machine {
    Machine::new(LogSettings { segment_size: 2_000, batch_size: 600, index_interval: 200, ..settings(level) })
}

fn closed(p: &Opened) {
    p.close_files().unwrap();
    assert_eq!(p.open_files(), 0);
}

#[test]
fn a_log_goes_on_where_its_files_were_closed() {
    for level in LEVELS {
        let machine = machine(level);
        let p = machine.open(Found::New).unwrap();
        assert_eq!(p.open_files(), 0, "a new log opens nothing before it is used");
        let mut end = 0;
        for _ in 0..12 {
            p.send_many(7);
            end += 7;
            closed(&p);
            assert_eq!((p.log.log_end(), p.log.flushed(), p.log.high_watermark()), (end, end, end));
        }
        p.assert_holds(0, end);
        p.assert_holds(end / 2, end);
        closed(&p);
        let found = p.log.offset_for_timestamp(0).unwrap().map(|(offset, _)| offset);
        assert_eq!(found, Some(0));
        closed(&p);
        let point = p.log.close().unwrap();
        assert_eq!(point.offset, end);
        drop(p);
        let p = machine.open(Found::Clean(point)).unwrap();
        assert!(!p.recovery.was_unclean());
        p.assert_holds(0, end);
        p.send_many(3);
        drop(p);
        let killed = machine.killed();
        let p = killed.open(unclean(Some(point))).unwrap();
        assert!(p.log.log_end() >= end);
    }
}

#[test]
fn an_opening_after_a_clean_close_opens_no_log_and_closing_it_changes_nothing() {
    let machine = machine(Durability::Sync);
    let p = machine.open(Found::New).unwrap();
    p.send_many(40);
    let point = p.log.close().unwrap();
    drop(p);
    let p = machine.open(Found::Clean(point)).unwrap();
    assert_eq!(p.open_files(), 0);
    machine.disk().start_log();
    assert_eq!(p.log.checkpoint().unwrap(), None);
    assert_eq!(p.log.close().unwrap(), point);
    assert_eq!(machine.disk().take_log(), [] as [String; 0], "nothing had changed");
    drop(p);
    assert!(!machine.open(Found::Clean(point)).unwrap().recovery.was_unclean());
}

#[test]
fn a_view_keeps_its_segment_open_and_a_waiting_reader_does_not() {
    let machine = machine(Durability::Memory);
    let p = machine.open(Found::New).unwrap();
    p.send_many(5);
    let mut cursor = Cursor::new(p.log.clone(), 0);
    let chunk = cursor.read(u64::MAX, &limits()).unwrap().unwrap();
    p.close_files().unwrap();
    assert_eq!(p.open_files(), 1, "closed under a view");
    assert_eq!(chunk.iter().count(), 5);
    drop(chunk);
    p.close_files().unwrap();
    assert_eq!(p.open_files(), 1, "closed under a reader");
    cursor.let_go();
    closed(&p);
    assert!(cursor.read(u64::MAX, &limits()).unwrap().is_none());
    assert_eq!(p.open_files(), 0, "a look at the end opens nothing");
    p.send_many(4);
    let chunk = cursor.read(u64::MAX, &limits()).unwrap().unwrap();
    assert_eq!(chunk.iter().map(|record| record.unwrap().offset).collect::<Vec<_>>(), [5, 6, 7, 8]);
    drop(chunk);
    // Who polls in vain for long enough, in turns and in time, lets go by itself.
    let mut polls = |count| {
        (0..count).for_each(|_| assert!(cursor.read(u64::MAX, &limits()).unwrap().is_none()));
        p.close_files().unwrap();
        p.open_files()
    };
    assert_eq!(polls(10_000), 1);
    machine.environment.clock().advance(std::time::Duration::from_secs(1));
    assert_eq!(polls(200), 1);
    assert_eq!(polls(200), 0);
}

#[test]
fn a_reader_whose_segment_is_closed_and_deleted_goes_on_behind_it() {
    let machine = machine(Durability::Memory);
    let p = machine.open(Found::New).unwrap();
    p.send_many(60);
    let bases: Vec<u64> = p.log.segments.read().iter().map(|segment| segment.base()).collect();
    let mut cursor = Cursor::new(p.log.clone(), 0);
    while cursor.next_offset() < bases[1] {
        cursor.read(bases[1], &limits()).unwrap();
    }
    cursor.let_go();
    p.log.delete_records(bases[1]).unwrap();
    closed(&p);
    let chunk = cursor.read(u64::MAX, &limits()).unwrap().unwrap();
    assert_eq!(chunk.iter().next().unwrap().unwrap().offset, bases[1]);
}

#[test]
fn files_are_closed_only_after_a_flush_and_never_after_a_failed_one() {
    for level in [Durability::Memory, Durability::Sync] {
        let machine = machine(level);
        let p = machine.open(Found::New).unwrap();
        p.send_many(5);
        p.log.flush().unwrap();
        p.send_many(3);
        machine.disk().inject(Failure::nth(1, Fault::Io).only(Op::Sync));
        assert_eq!(p.close_files().unwrap_err().kind(), ErrorKind::Io);
        assert!(p.log.is_poisoned());
        let syncs = machine.disk().calls_of(Op::Sync);
        p.close_files().unwrap();
        assert_eq!(machine.disk().calls_of(Op::Sync), syncs, "a failed sync is not repeated");
        assert_eq!(p.open_files(), 1, "what could not be flushed stays open");
        p.assert_holds(0, 5);
    }
}

#[test]
fn the_cut_of_unused_room_is_synced_before_the_file_is_closed() {
    let machine = machine(Durability::Memory);
    let p = machine.open(Found::New).unwrap();
    p.send_many(5);
    p.log.flush().unwrap();
    machine.disk().start_log();
    closed(&p);
    let calls = machine.disk().take_log();
    let cut = calls.iter().position(|call| call.starts_with("SetSize")).expect("room is given back");
    let synced = calls.iter().rposition(|call| call.starts_with("Sync ")).unwrap();
    assert!(cut < synced, "{calls:?}");
}

#[test]
fn a_file_that_does_not_open_again_is_told_and_tried_again() {
    for level in LEVELS {
        let machine = machine(level);
        let p = machine.open(Found::New).unwrap();
        p.send_many(5);
        closed(&p);
        machine.disk().inject(Failure::nth(1, Fault::Io).only(Op::Map));
        assert_eq!(p.send("more").unwrap_err().kind(), ErrorKind::Io);
        machine.disk().inject(Failure::nth(1, Fault::Io).only(Op::Map));
        assert_eq!(p.read_from(0).unwrap_err().kind(), ErrorKind::Io);
        assert!(!p.log.is_poisoned(), "no byte is in doubt");
        p.send_many(3);
        p.assert_holds(0, if level == Durability::Sync { 5 } else { 8 });
        p.log.flush().unwrap();
        p.assert_holds(0, 8);
    }
}

#[test]
fn a_file_that_has_become_shorter_is_damage() {
    let machine = machine(Durability::Memory);
    let p = machine.open(Found::New).unwrap();
    p.send_many(5);
    closed(&p);
    let path = std::path::Path::new(super::harness::DIR).join("00000000000000000000.log");
    let file = machine.disk().open(&path, crate::env::OpenMode::ReadWrite).unwrap();
    file.set_size(file.size().unwrap() - 1).unwrap();
    assert_eq!(p.send("more").unwrap_err().kind(), ErrorKind::Corrupted);
    assert_eq!(p.read_from(0).unwrap_err().kind(), ErrorKind::Corrupted);
}

#[test]
fn an_idle_end_gives_its_room_back() {
    let machine = machine(Durability::Memory);
    let p = machine.open(Found::New).unwrap();
    p.send_many(5);
    let path = std::path::Path::new(super::harness::DIR).join("00000000000000000000.log");
    let size = || machine.disk().size_of(&path).unwrap();
    let with_room = size();
    p.log.flush().unwrap();
    let tick = |seconds| {
        machine.environment.clock().advance(std::time::Duration::from_secs(seconds));
        p.log.tick(p.log.clock().monotonic()).unwrap()
    };
    tick(9);
    assert_eq!(size(), with_room);
    tick(2);
    let end = u64::from(p.log.active_segment().unwrap().published().position);
    assert_eq!(size(), end, "no room beyond the end");
    p.send_many(5);
    assert!(size() > end);
    p.assert_holds(0, 10);
}

#[test]
fn settings_truncation_and_rolls_wake_a_log() {
    for level in LEVELS {
        let machine = machine(level);
        let p = machine.open(Found::New).unwrap();
        p.send_many(30);
        closed(&p);
        p.log.truncate(20).unwrap();
        let end = p.log.log_end();
        closed(&p);
        p.assert_holds(0, end);
        let other = if level == Durability::Sync { Durability::Memory } else { Durability::Sync };
        p.log.change_settings(LogSettings { durability: other, ..machine.settings.clone() }).unwrap();
        closed(&p);
        p.send_many(10);
        machine.environment.clock().advance(machine.settings.segment_age * 2);
        closed(&p);
        p.log.tick(p.log.clock().monotonic()).unwrap();
        closed(&p);
        p.send_many(2);
        p.log.flush().unwrap();
        p.assert_holds(0, end + 12);
    }
}
