//! Every interleaving (within loom's memory model, and a bound on preemptions) of group commit: nobody
//! sleeps for ever, one leads at a time, what is flushed only rises. First the protocol alone, then whole
//! partitions on the simulated disk.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::Arc; // not loom's: its drop panics again while a deadlock unwinds
use std::task::Poll;
use std::time::Duration;

use super::leadership::Leadership;
use super::*;
use crate::config::{CrcCheck, Durability, TopicConfig};
use crate::env::FileSystem;
use crate::env::sim::{Failure, Fault, Op, SimEnvironment};
use crate::error::{Error, ErrorKind, Result};
use crate::segment::{NewRecord, OpenSegments};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{block_on, thread};
use crate::types::{TopicId, TopicName, TopicPartition};

fn model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 100_000;
    model.check(run);
}

/// A log of numbers: `appended` so many, `flushed` so many of them.
struct Pond {
    leadership: Leadership,
    appended: AtomicU64,
    flushed: AtomicU64,
    /// Somebody is flushing.
    busy: AtomicBool,
    /// The first flush fails, and nothing is flushed any more.
    fails: bool,
    failed: AtomicBool,
}

impl Pond {
    fn new(fails: bool) -> Arc<Pond> {
        Arc::new(Pond {
            leadership: Leadership::new(),
            appended: AtomicU64::new(0),
            flushed: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            fails,
            failed: AtomicBool::new(false),
        })
    }

    fn done(&self, end: u64) -> Result<bool> {
        if self.flushed.load(Ordering::Acquire) >= end {
            return Ok(true);
        }
        if self.failed.load(Ordering::Acquire) { Err(Error::closed("the pond")) } else { Ok(false) }
    }

    fn lead(&self) -> Result<()> {
        assert!(!self.busy.swap(true, Ordering::AcqRel), "two lead");
        let end = self.appended.load(Ordering::Acquire);
        let before = self.flushed.load(Ordering::Acquire);
        assert!(before <= end, "what is flushed rises");
        if self.fails {
            self.failed.store(true, Ordering::Release);
        } else {
            self.flushed.store(end, Ordering::Release);
        }
        self.busy.store(false, Ordering::Release);
        if self.fails { Err(Error::closed("the pond")) } else { Ok(()) }
    }

    /// Appends one, and waits until it is flushed.
    fn append_and_wait(&self) -> Result<()> {
        let end = self.appended.fetch_add(1, Ordering::AcqRel) + 1;
        self.leadership.until(|| self.done(end), || self.lead(), None)?;
        assert!(self.flushed.load(Ordering::Acquire) >= end, "acknowledged, and not flushed");
        Ok(())
    }
}

fn appenders(threads: usize, fails: bool) {
    let pond = Pond::new(fails);
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let pond = Arc::clone(&pond);
            thread::spawn(move || pond.append_and_wait().is_ok())
        })
        .collect();
    let mut well = vec![pond.append_and_wait().is_ok()];
    well.extend(others.into_iter().map(|other| other.join().unwrap()));
    assert!(well.iter().all(|well| *well != fails), "{well:?}");
    assert_eq!(pond.leadership.following(), 0);
}

#[test]
fn loom_two_commit_together() {
    model(4, || appenders(2, false));
}

#[test]
fn loom_three_commit_together() {
    model(2, || appenders(3, false));
}

#[test]
fn loom_a_failed_flush_leaves_nobody_asleep() {
    model(3, || appenders(2, true));
}

/// A follower that has enough of it, in the middle of a turn.
fn gives_up(stirs: bool) {
    let pond = Pond::new(false);
    let ended = Arc::new(AtomicBool::new(false));
    pond.leadership.claim();
    let follower = {
        let (pond, ended) = (Arc::clone(&pond), Arc::clone(&ended));
        thread::spawn(move || {
            let now = || if ended.load(Ordering::Acquire) { Duration::MAX } else { Duration::ZERO };
            let deadline: super::leadership::Deadline<'_> = Some((Duration::from_secs(1), &now));
            assert!(!pond.leadership.until(|| pond.done(1), || pond.lead(), deadline).unwrap());
        })
    };
    ended.store(true, Ordering::Release);
    if stirs {
        pond.leadership.stir();
    }
    follower.join().unwrap();
    assert_eq!(pond.leadership.following(), 0);
}

#[test]
fn loom_who_gives_up_in_the_middle_of_a_turn_is_woken() {
    model(4, || gives_up(true));
}

#[test]
#[should_panic(expected = "deadlock")]
fn loom_who_gives_up_and_is_not_woken_sleeps_on() {
    model(4, || gives_up(false));
}

/// As [`appenders`], but who finds a leader sleeps only after a moment in which that turn may end.
#[test]
#[should_panic(expected = "deadlock")]
fn loom_mutant_a_late_sleep_is_caught() {
    model(3, || {
        let pond = Pond::new(false);
        let leader = {
            let pond = Arc::clone(&pond);
            thread::spawn(move || pond.append_and_wait().unwrap())
        };
        let end = pond.appended.fetch_add(1, Ordering::AcqRel) + 1;
        pond.leadership.until_with_a_gap(|| pond.done(end), || pond.lead()).unwrap();
        leader.join().unwrap();
    });
}

/// A leader that wakes its followers before its turn has ended.
#[test]
#[should_panic(expected = "deadlock")]
fn loom_mutant_an_early_wake_up_is_caught() {
    model(3, || {
        let pond = Pond::new(false);
        pond.leadership.claim();
        let leader = {
            let pond = Arc::clone(&pond);
            thread::spawn(move || pond.leadership.lead_waking_early(|| pond.lead()).unwrap())
        };
        pond.append_and_wait().unwrap();
        leader.join().unwrap();
    });
}

/// A new partition on a simulated disk.
fn open(durability: Durability, segment_size: u64) -> (SimEnvironment, Arc<Log>) {
    let sim = SimEnvironment::new(1);
    sim.disk().create_dir(Path::new("/data")).unwrap();
    let mut settings = LogSettings::of(&TopicConfig::new(), true, Duration::from_secs(30), Duration::MAX);
    settings.durability = durability;
    settings.segment_size = segment_size;
    settings.batch_size = 300;
    settings.max_record_size = 400;
    let opening = Opening {
        tp: TopicPartition::new(TopicName::new("t").unwrap(), 0),
        topic_id: TopicId::from_bytes([9; 16]),
        dir: PathBuf::from("/data/t-0"),
        environment: &sim.environment(),
        settings,
        map: true,
        crc_check: CrcCheck::Always,
        pin: Arc::from(sim.disk().lock(Path::new("/data/lock")).unwrap()),
        budget: Arc::new(Budget::new(1 << 20)),
        attendant: Arc::new(Unattended),
        state: Found::New,
        cell: None,
        found_cells: &[],
        open_segments: OpenSegments::new(64),
        progress: &|_| {},
    };
    let log = opening.open().unwrap().log;
    (sim, log)
}

fn append(log: &Log, value: &[u8]) -> u64 {
    let record = NewRecord { timestamp: 5, key: None, value: Some(value), headers: &[] };
    log.append(&record, Patience::No).unwrap().offset
}

fn read(cursor: &mut Cursor, values: &mut Vec<Vec<u8>>) {
    let limits = ReadLimits { max_bytes: 4096, max_records: 100, crc: CrcCheck::Always };
    while let Some(chunk) = cursor.read(u64::MAX, &limits).unwrap() {
        for record in chunk.iter() {
            let record = record.unwrap();
            assert_eq!(record.offset, values.len() as u64, "in order, each once");
            values.push(record.record.value.unwrap().to_vec());
        }
    }
}

/// A reader looks while another thread writes, and once more at the end.
fn written_and_read(segment_size: u64, values: &'static [&'static [u8]], write: fn(&Log, &'static [u8])) {
    let (_sim, log) = open(Durability::Memory, segment_size);
    let writer = {
        let log = log.clone();
        thread::spawn(move || values.iter().for_each(|value| write(&log, value)))
    };
    let mut cursor = Cursor::new(log, 0);
    let mut seen = Vec::new();
    read(&mut cursor, &mut seen);
    writer.join().unwrap();
    read(&mut cursor, &mut seen);
    assert_eq!(seen, values);
}

#[test]
fn loom_a_cursor_reads_what_is_published() {
    model(2, || {
        written_and_read(1024, &[b"a", b"b"], |log, value| {
            append(log, value);
        });
    });
}

#[test]
fn loom_a_cursor_reads_across_a_seal() {
    model(2, || {
        written_and_read(1024, &[b"a", b"b"], |log, value| {
            append(log, value);
            log.seal_and_write().unwrap();
        });
    });
}

#[test]
fn loom_a_cursor_reads_across_a_roll() {
    model(1, || {
        written_and_read(400, &[&[1; 200], &[2; 200]], |log, value| {
            append(log, value);
        });
    });
}

#[test]
fn loom_who_awaits_records_is_woken_by_a_send() {
    model(2, || {
        let (_sim, log) = open(Durability::Memory, 1024);
        let writer = {
            let log = log.clone();
            thread::spawn(move || append(&log, b"a"))
        };
        let mut key = None;
        block_on(&mut poll_fn(|context| {
            if log.high_watermark() == 0 {
                log.await_records(&mut key, context.waker());
            }
            if log.high_watermark() == 0 { Poll::Pending } else { Poll::Ready(()) }
        }));
        if let Some(key) = key {
            log.readers().cancel(key);
        }
        writer.join().unwrap();
    });
}

#[test]
fn loom_two_threads_commit_one_partition() {
    model(2, || {
        let (_sim, log) = open(Durability::Sync, 1024);
        let other = {
            let log = log.clone();
            thread::spawn(move || {
                let end = append(&log, b"a") + 1;
                log.wait_acked(end).unwrap();
                assert!(log.flushed() >= end);
            })
        };
        let end = append(&log, b"b") + 1;
        log.wait_acked(end).unwrap();
        assert!(log.flushed() >= end && log.high_watermark() >= end);
        other.join().unwrap();
        assert_eq!((log.flushed(), log.high_watermark(), log.log_end()), (2, 2, 2));
    });
}

#[test]
fn loom_who_awaits_an_acknowledgement_is_woken_by_anothers_flush() {
    model(2, || {
        let (_sim, log) = open(Durability::Sync, 1024);
        let end = append(&log, b"a") + 1;
        let other = {
            let log = log.clone();
            thread::spawn(move || log.flush().unwrap())
        };
        let mut key = None;
        block_on(&mut poll_fn(|context| log.poll_acked(end, context, &mut key))).unwrap();
        assert!(log.flushed() >= end);
        if let Some(key) = key {
            log.cancel_acked(key);
        }
        other.join().unwrap();
    });
}

#[test]
fn loom_a_failed_sync_reaches_everybody() {
    model(2, || {
        let (sim, log) = open(Durability::Sync, 1024);
        let end = append(&log, b"a") + 1;
        sim.disk().inject(Failure::nth(1, Fault::Io).only(Op::Sync));
        let other = {
            let log = log.clone();
            thread::spawn(move || log.wait_acked(end).unwrap_err().kind())
        };
        let mut kinds = [log.wait_acked(end).unwrap_err().kind(), other.join().unwrap()];
        kinds.sort_by_key(|kind| *kind == ErrorKind::Poisoned);
        assert!(matches!(kinds, [ErrorKind::Io | ErrorKind::Poisoned, ErrorKind::Poisoned]), "{kinds:?}");
        assert_eq!((log.flushed(), log.high_watermark()), (0, 0));
    });
}
