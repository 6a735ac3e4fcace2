//! Appending, rolling, flushing, closing, reopening.

use std::time::Duration;

use super::harness::*;
use crate::config::{Compression, Durability};
use crate::error::ErrorKind;
use crate::partition::Found;

fn levels() -> [Durability; 3] {
    [Durability::Memory, Durability::Interval(Duration::from_millis(100)), Durability::Sync]
}

#[test]
fn records_are_visible_as_their_level_says() {
    for level in levels() {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(5);
        let expected = if level == Durability::Sync { 0 } else { 5 };
        assert_eq!(p.log.high_watermark(), expected, "{level:?}");
        p.log.wait_acked(5).unwrap();
        assert_eq!(p.log.high_watermark(), 5);
        p.assert_holds(0, 5);
    }
}

#[test]
fn many_records_roll_segments_and_read_back() {
    for level in levels() {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(1000);
        p.log.flush().unwrap();
        assert!(p.log.segment_count() > 3, "{level:?}: {} segments", p.log.segment_count());
        p.assert_holds(0, 1000);
        p.assert_holds(517, 1000);
        assert_eq!(p.log.flushed(), 1000);
    }
}

#[test]
fn a_clean_close_opens_without_recovery() {
    for level in levels() {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(700);
        let point = p.log.close().unwrap();
        assert_eq!(point.offset, 700);
        assert_eq!(p.send("late").unwrap_err().kind(), ErrorKind::Closed);
        drop(p);
        let p = machine.open(Found::Clean(point)).unwrap();
        assert!(!p.recovery.was_unclean());
        p.assert_holds(0, 700);
        p.send_many(100);
        p.log.flush().unwrap();
        p.assert_holds(0, 800);
    }
}

#[test]
fn closed_files_have_no_zero_tail() {
    let machine = Machine::new(settings(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    p.send_many(20);
    let point = p.log.close().unwrap();
    let bytes = machine.disk().read_file(std::path::Path::new("/data/t-0/00000000000000000000.log"));
    assert_eq!(bytes.unwrap().len() as u64, point.position);
}

#[test]
fn compressed_batches_read_back() {
    let all = [
        (Compression::Gzip { level: None }, cfg!(feature = "gzip")),
        (Compression::Snappy, cfg!(feature = "snappy")),
        (Compression::Lz4, cfg!(feature = "lz4")),
        (Compression::Zstd { level: None }, cfg!(feature = "zstd")),
    ];
    for (compression, built) in all {
        if !built {
            continue;
        }
        for level in levels() {
            let mut settings = settings(level);
            settings.compression = compression;
            let machine = Machine::new(settings);
            let p = machine.open(Found::New).unwrap();
            p.send_many(300);
            p.log.wait_acked(300).unwrap();
            p.assert_holds(0, 300);
            p.assert_holds(123, 300);
        }
    }
}

#[test]
fn buffered_reads_see_the_same() {
    for level in levels() {
        let mut settings = settings(level);
        settings.in_place = false;
        let mut machine = Machine::new(settings);
        machine.map = false;
        let p = machine.open(Found::New).unwrap();
        p.send_many(500);
        p.log.wait_acked(500).unwrap();
        p.assert_holds(0, 500);
        let point = p.log.close().unwrap();
        drop(p);
        let p = machine.open(Found::Clean(point)).unwrap();
        p.assert_holds(3, 500);
    }
}

#[test]
fn settings_change_between_in_place_and_staged() {
    let machine = Machine::new(settings(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    p.send_many(10);
    p.log.change_settings(settings(Durability::Sync)).unwrap();
    assert_eq!(p.log.high_watermark(), 10);
    p.send_many(10);
    assert_eq!(p.log.high_watermark(), 10);
    p.log.change_settings(settings(Durability::Memory)).unwrap();
    assert_eq!(p.log.high_watermark(), 20);
    p.send_many(10);
    p.assert_holds(0, 30);
    p.log.change_settings(settings(Durability::Sync)).unwrap();
    p.log.change_settings(settings(Durability::Memory)).unwrap();
    p.send_many(10);
    p.assert_holds(0, 40);
}

#[test]
fn too_large_records_say_size_and_limit() {
    let machine = Machine::new(settings(Durability::Memory));
    let p = machine.open(Found::New).unwrap();
    let error = p.send(&"x".repeat(5000)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RecordTooLarge { limit: 4096, size } if size > 5000));
    p.send(&"x".repeat(3900)).unwrap();
}

#[test]
fn the_disk_fills_and_frees() {
    for level in levels() {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(50);
        p.log.flush().unwrap();
        machine.disk().set_capacity(Some(machine.disk().used()));
        let mut sent = 50;
        let error = loop {
            let result =
                p.send(&value_of(sent)).and_then(|offset| p.log.wait_acked(offset + 1).map(|()| offset));
            match result {
                Ok(_) => sent += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{level:?} {error}");
        assert!(!p.log.is_poisoned());
        p.assert_holds(0, p.log.high_watermark());
        machine.disk().set_capacity(None);
        let next = p.log.append.lock().next_offset();
        p.send_many(100);
        p.log.wait_acked(next + 100).unwrap();
        p.assert_holds(0, next + 100);
    }
}

#[test]
fn a_failed_sync_poisons() {
    use crate::env::sim::{Failure, Fault, Op};
    for level in levels() {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(10);
        p.log.flush().unwrap();
        p.send_many(10);
        machine.disk().inject(Failure::nth(1, Fault::Io).only(Op::Sync));
        assert_eq!(p.log.flush().unwrap_err().kind(), ErrorKind::Io);
        assert!(p.log.is_poisoned());
        assert_eq!(p.log.flush().unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(p.send("x").unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(p.log.high_watermark(), 10);
        p.assert_holds(0, 10);
    }
}

#[test]
#[cfg_attr(miri, ignore = "megabytes are too many for an interpreter")]
fn much_goes_to_the_device_in_pieces_before_its_sync_and_an_error_of_that_is_final() {
    use crate::env::sim::{Failure, Fault, Op};
    let mut large = settings(Durability::Memory);
    (large.segment_size, large.index_size, large.max_record_size) = (128 << 20, 1 << 20, 2 << 20);
    let machine = Machine::new(large);
    let p = machine.open(Found::New).unwrap();
    let megabyte = "m".repeat(1 << 20);
    for _ in 0..70 {
        p.send(&megabyte).unwrap();
    }
    let pieces = || machine.disk().calls_of(Op::WriteBack);
    p.log.flush().unwrap();
    assert_eq!(pieces(), 3, "what is left of 70 MiB after three pieces of 16 goes with the sync");
    p.send(&megabyte).unwrap();
    p.log.flush().unwrap();
    assert_eq!(pieces(), 3, "little is synced at once");
    for _ in 0..35 {
        p.send(&megabyte).unwrap();
    }
    let syncs = machine.disk().calls_of(Op::Sync);
    machine.disk().inject(Failure::nth(1, Fault::Io).only(Op::WriteBack));
    assert_eq!(p.log.flush().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(machine.disk().calls_of(Op::Sync), syncs, "the system may have told the error: no sync would");
    assert_eq!(p.log.flush().unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(p.log.high_watermark(), 71);
}

#[test]
fn staged_records_are_flushed_when_due() {
    let machine = Machine::new(settings(Durability::Sync));
    let p = machine.open(Found::New).unwrap();
    p.send_many(1);
    let clock = machine.environment.clock();
    assert!(p.log.tick(p.log.clock().monotonic()).unwrap().is_some());
    assert_eq!(p.log.high_watermark(), 0);
    clock.advance(Duration::from_millis(6));
    p.log.tick(p.log.clock().monotonic()).unwrap();
    assert_eq!(p.log.high_watermark(), 1);
}

#[test]
fn an_overdue_interval_holds_appends_back() {
    let machine = Machine::new(settings(Durability::Interval(Duration::from_millis(100))));
    let p = machine.open(Found::New).unwrap();
    p.send_many(1);
    machine.environment.clock().advance(Duration::from_millis(101));
    assert_eq!(p.send("x").unwrap_err().kind(), ErrorKind::Backpressure);
    p.log.tick(p.log.clock().monotonic()).unwrap();
    assert_eq!(p.log.flushed(), 1);
    p.send_many(1);
}

#[test]
fn an_old_segment_rolls_without_traffic() {
    for level in levels() {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(3);
        p.log.flush().unwrap();
        machine.environment.clock().advance(Duration::from_secs(3601));
        p.log.tick(p.log.clock().monotonic()).unwrap();
        assert_eq!(p.log.segment_count(), 2, "{level:?}");
        p.send_many(3);
        p.log.flush().unwrap();
        p.assert_holds(0, 6);
    }
}
