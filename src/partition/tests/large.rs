//! Values that are written from where they lie, among others that are not.

use std::path::Path;
use std::time::Duration;

use super::harness::*;
use crate::config::Durability;
use crate::format::record::HeaderRef;
use crate::partition::{Found, LogSettings, Patience};
use crate::segment::NewRecord;

/// Some of the harness's values are as large as this, some are not.
const LARGE: usize = 26;

fn levels() -> [Durability; 3] {
    [Durability::Memory, Durability::Interval(Duration::from_millis(100)), Durability::Sync]
}

#[test]
fn they_keep_their_place_among_others() {
    for level in levels() {
        for in_place in [true, false] {
            let large = LogSettings { large_value: LARGE, in_place, ..settings(level) };
            let machine = Machine::new(large);
            let p = machine.open(Found::New).unwrap();
            p.send_many(400);
            p.log.wait_acked(400).unwrap();
            p.assert_holds(0, 400);
            p.log.flush().unwrap();
            assert_eq!(p.log.flushed(), 400);
            let point = p.log.checkpoint().unwrap();
            p.send_many(50);
            p.log.seal_and_write().unwrap();
            drop(p);
            let killed = machine.killed();
            let p = killed.open(unclean(point)).unwrap();
            p.assert_holds(0, 450);
            p.send_many(10);
            let point = p.log.close().unwrap();
            drop(p);
            let p = killed.open(Found::Clean(point)).unwrap();
            assert!(!p.recovery.was_unclean());
            p.assert_holds(0, 460);
        }
    }
}

/// The first segment of a log that has taken these records, each as a batch of its own.
fn file_of(settings: LogSettings, log_append_time: bool) -> Vec<u8> {
    let mut settings = LogSettings { batch_size: 1, segment_size: 1 << 20, ..settings };
    if log_append_time {
        settings.timestamp_type = crate::config::TimestampType::LogAppend;
    }
    let machine = Machine::new(settings);
    let p = machine.open(Found::New).unwrap();
    let headers = [HeaderRef { key: "a", value: Some(b"b") }, HeaderRef { key: "none", value: None }];
    for (n, len) in [1, LARGE, 300, 2, 64, 2000, 0].into_iter().enumerate() {
        let value = vec![b'v'; len];
        let key = vec![b'k'; 70 * (n % 2)];
        let record = NewRecord {
            timestamp: 1000 + n as i64,
            key: (n != 2).then_some(&key),
            value: Some(&value),
            headers: &headers[..n % 3],
        };
        let appended = p.log.append(&record, Patience::No).unwrap();
        assert_eq!(appended.offset, n as u64);
        p.log.wait_acked(n as u64 + 1).unwrap();
    }
    p.log.close().unwrap();
    machine.disk().read_file(&Path::new(DIR).join("00000000000000000000.log")).unwrap()
}

#[test]
fn their_bytes_are_those_of_any_other_batch() {
    for level in levels() {
        for log_append_time in [false, true] {
            let plain = file_of(settings(level), log_append_time);
            let large = file_of(LogSettings { large_value: LARGE, ..settings(level) }, log_append_time);
            assert_eq!(plain, large, "{level:?}");
        }
    }
}

#[test]
fn a_large_value_is_written_with_few_calls_and_no_zeros() {
    let large = LogSettings {
        large_value: LARGE,
        segment_size: 64 << 20,
        max_record_size: 8 << 20,
        ..settings(Durability::Memory)
    };
    let machine = Machine::new(large);
    let p = machine.open(Found::New).unwrap();
    p.send_many(3);
    let value = vec![b'v'; 3 << 20];
    let record = NewRecord { timestamp: 1, key: None, value: Some(&value), headers: &[] };
    for _ in 0..3 {
        let before = machine.disk().calls();
        p.log.append(&record, Patience::No).unwrap();
        // Allocation, what is before the value, four pieces of it, what follows.
        assert!(machine.disk().calls() - before <= 7);
    }
    assert_eq!(p.log.high_watermark(), 6);
}
