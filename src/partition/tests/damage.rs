//! A small log, damaged: every bit of every file flipped, every file cut to every length.
//!
//! ```text
//!   closed:          the damage is reported, or every record is there as it was
//!   crashed, point at the end: the same
//!   crashed, point before the end: below the point the same; above it the log may end sooner, in a record
//!                    that was whole
//! ```
//!
//! Invariant: never a record that was not written, never a panic, never a shorter log without a word.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::crash::pond::Pond;
use super::harness::{limits, settings};
use crate::config::Durability;
use crate::env::sim::SimDisk;
use crate::error::{Error, ErrorKind, Result};
use crate::partition::{Cursor, Found, Log, LogSettings, RecoveryPoint};
use crate::segment::NewRecord;

/// One record as it is read: offset, timestamp, epoch, key, value.
type Seen = (u64, i64, i32, Vec<u8>, Vec<u8>);

/// A log on a disk, and everything it holds.
struct Sample {
    disk: SimDisk,
    settings: LogSettings,
    records: Vec<Seen>,
    /// Its end.
    closed: RecoveryPoint,
    /// A point on the way.
    earlier: RecoveryPoint,
}

fn small() -> LogSettings {
    LogSettings { segment_size: 800, batch_size: 160, index_interval: 60, ..settings(Durability::Sync) }
}

impl Sample {
    /// Three segments, two leader epochs, timestamps that do not only rise.
    fn new() -> Sample {
        let pond = Pond::new(small());
        let first = pond.open(Found::New).unwrap();
        append(&first.log, 24);
        let earlier = first.log.checkpoint().unwrap().unwrap();
        drop(first);
        let pond = Pond::on(pond.disk().after_kill(), small());
        let second = pond.open(Found::Unclean(Some(earlier))).unwrap();
        append(&second.log, 28);
        assert_eq!(second.log.segment_count(), 3);
        let records = read(&second.log, 0).unwrap();
        assert_eq!(records.len(), 52);
        let closed = second.log.close().unwrap();
        drop(second);
        Sample { disk: pond.disk().after_kill(), settings: small(), records, closed, earlier }
    }

    fn files(&self) -> Vec<PathBuf> {
        let files = self.disk.files().into_iter();
        files.filter(|path| path.starts_with("/data/t-0")).collect()
    }

    /// Opens a damaged disk and looks at everything: all records, from several places, by several times.
    /// The records below `kept` must be there unless the damage is reported.
    fn judge(&self, disk: SimDisk, found: Found, kept: u64) -> bool {
        let pond = Pond::on(disk, self.settings.clone());
        let opened = match pond.open(found) {
            Ok(opened) => opened,
            Err(e) => return reported(&e),
        };
        let (log, end) = (&opened.log, opened.log.log_end());
        assert!(end >= kept && end <= self.records.len() as u64, "the log ends at {end}");
        let mut noticed = false;
        let epoch = end.checked_sub(1).map_or(0, |last| self.records[last as usize].2);
        assert!(log.leader_epoch() >= epoch, "the epoch falls to {}", log.leader_epoch());
        match read(log, 0) {
            Ok(records) => assert_eq!(records, self.records[..end as usize]),
            Err(e) => noticed |= reported(&e),
        }
        for from in [3, 11, 19, 24, 30, 38, 45, 51].into_iter().filter(|&from| from < end) {
            match read_chunk(&mut Cursor::new(log.clone(), from)) {
                Ok(records) => {
                    assert!(
                        !records.is_empty() && self.records[from as usize..].starts_with(&records),
                        "from {from}"
                    );
                }
                Err(e) => noticed |= reported(&e),
            }
        }
        for time in [0, 1_010, 1_065, 1_119, 1_161, 1_230, 1_301, 1_358, 1_500] {
            match log.offset_for_timestamp(time) {
                Ok(found) => {
                    let of_time = |record: &&Seen| record.0 < end && record.1 >= time;
                    let expected = self.records.iter().find(of_time).map(|record| (record.0, record.1));
                    assert_eq!(found, expected, "time {time}");
                }
                Err(e) => noticed |= reported(&e),
            }
        }
        noticed
    }
}

fn reported(e: &Error) -> bool {
    let kind = e.kind();
    assert!(matches!(kind, ErrorKind::Corrupted | ErrorKind::UnsupportedFormat), "{kind:?}: {e}");
    true
}

fn append(log: &Arc<Log>, n: u64) {
    for _ in 0..n {
        let next = log.append.lock().next_offset();
        let (key, value) = (format!("k{}", next % 3), "v".repeat((next * 5 % 17) as usize));
        // Now and then one is older than the one before.
        let timestamp = 1_000 + next as i64 * 7 - if next % 4 == 3 { 20 } else { 0 };
        let record =
            NewRecord { timestamp, key: Some(key.as_bytes()), value: Some(value.as_bytes()), headers: &[] };
        log.append(&record, crate::partition::Patience::No).unwrap();
    }
    log.flush().unwrap();
}

fn read(log: &Arc<Log>, from: u64) -> Result<Vec<Seen>> {
    let mut cursor = Cursor::new(log.clone(), from);
    let mut all = Vec::new();
    loop {
        let records = read_chunk(&mut cursor)?;
        if records.is_empty() {
            return Ok(all);
        }
        all.extend(records);
    }
}

fn read_chunk(cursor: &mut Cursor) -> Result<Vec<Seen>> {
    let Some(chunk) = cursor.read(u64::MAX, &limits())? else { return Ok(Vec::new()) };
    let bytes = |field: Option<&[u8]>| field.unwrap_or_default().to_vec();
    let seen = |r: crate::partition::ChunkRecord<'_>| {
        (r.offset, r.timestamp, r.leader_epoch, bytes(r.record.key), bytes(r.record.value))
    };
    chunk.iter().map(|record| record.map(seen)).collect()
}

/// Damages a copy of the disk in each way that `each` tells of, and judges it.
struct Tally {
    tried: u64,
    reported: u64,
}

fn damaged(
    sample: &Sample,
    found: Found,
    kept: u64,
    path: &Path,
    tally: &mut Tally,
    harm: impl FnOnce(&SimDisk),
    what: &str,
) {
    struct At<'a>(&'a Path, &'a str);
    impl Drop for At<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}: {}", self.0.display(), self.1);
            }
        }
    }
    let at = At(path, what);
    let disk = sample.disk.after_kill();
    harm(&disk);
    tally.tried += 1;
    tally.reported += u64::from(sample.judge(disk, found, kept));
    drop(at);
}

/// Every bit of every file, and every length; prints a line for each file.
fn every_damage(name: &str, found: fn(&Sample) -> (Found, u64)) {
    let sample = Sample::new();
    let (state, kept) = found(&sample);
    assert!(!sample.judge(sample.disk.after_kill(), state, kept), "no damage, and yet reported");
    for path in sample.files() {
        let len = sample.disk.read_file(&path).unwrap().len() as u64;
        let (mut flips, mut cuts) = (Tally { tried: 0, reported: 0 }, Tally { tried: 0, reported: 0 });
        for byte in 0..len {
            for bit in 0..8 {
                let harm = |disk: &SimDisk| disk.flip_bit(&path, byte, bit).unwrap();
                damaged(&sample, state, kept, &path, &mut flips, harm, &format!("byte {byte} bit {bit}"));
            }
            let harm = |disk: &SimDisk| disk.truncate_file(&path, byte).unwrap();
            damaged(&sample, state, kept, &path, &mut cuts, harm, &format!("cut to {byte}"));
        }
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        println!(
            "{name:<10} {file:<32} {:>6} bits flipped, {:>6} reported; {:>5} lengths, {:>5} reported",
            flips.tried, flips.reported, cuts.tried, cuts.reported
        );
    }
}

#[test]
fn a_damaged_log_that_was_closed() {
    every_damage("closed", |sample| (Found::Clean(sample.closed), sample.records.len() as u64));
}

#[test]
fn a_damaged_log_that_crashed_with_its_point_at_the_end() {
    every_damage("crashed", |sample| (Found::Unclean(Some(sample.closed)), sample.records.len() as u64));
}

#[test]
fn a_damaged_log_above_its_recovery_point() {
    every_damage("above", |sample| (Found::Unclean(Some(sample.earlier)), sample.earlier.offset));
}
