//! A sequence of operations on one partition, against a list of values.
//!
//! ```text
//!   settings | op op op ...        op: append, batch, flush, tick, truncate, delete-records, settings, ...
//!                                  or: faults, a full disk; a crash inside the next op; close; kill; power cut
//! ```
//!
//! Invariants that are checked after each operation
//! - What is visible is exactly what the model says, and nothing visible is missing.
//! - After a kill everything published is there, after a power cut everything flushed; what else is there
//!   is a prefix of what was appended.
//! - A failure that was not injected is an error of the partition.

use std::time::Duration;

use super::input::Input;
use super::machine::{Machine, Opened, Seen, must, plain_settings};
use super::model::{Bounds, Model};
use crate::config::{Compression, Durability, TimestampType};
use crate::env::sim::{Failure, Fault, Op, SeededRandom, SimDisk, Times};
use crate::error::{ErrorKind, Result};
use crate::format::batch::{Attributes, BatchBuilder, BatchSpec};
use crate::format::compression::Codec;
use crate::partition::{
    Chunk, Cursor, FinishedBatch, Found, LogSettings, Patience, ReadLimits, RecoveryPoint,
};
use crate::segment::NewRecord;

/// More operations than this are not carried out.
const MOST_OPERATIONS: usize = 200;
/// Calls inside one operation that a crash can follow.
const MOST_CALLS: usize = 12;

/// A partition, its machine, and what it must hold.
struct World {
    machine: Machine,
    opened: Opened,
    model: Model,
    point: Option<RecoveryPoint>,
    /// Makes each value another one.
    stamp: u64,
    /// Something was made to fail, so errors are expected.
    trouble: bool,
    /// A log start whose manifest could not be written with certainty: it may be there after a crash.
    attempted_start: Option<u64>,
    /// The target of a truncation that failed half-way: the next opening may finish it.
    attempted_cut: Option<u64>,
    /// What a reader holds on to, and what it saw in it.
    held: Option<(Chunk, Vec<Seen>)>,
}

/// Carries out the operations that `bytes` describe.
pub fn op_sequence(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let settings = settings(&mut input);
    let mut machine = Machine::new(settings);
    machine.map = machine.settings.in_place || input.byte() & 1 == 0;
    let opened = must(machine.open(Found::New));
    let mut world = World {
        machine,
        opened,
        model: Model::default(),
        point: None,
        stamp: 0,
        trouble: false,
        attempted_start: None,
        attempted_cut: None,
        held: None,
    };
    for _ in 0..MOST_OPERATIONS {
        if input.is_empty() {
            break;
        }
        world.operation(&mut input);
        world.check();
    }
    world.settle_trouble();
    world.close();
    world.check();
}

fn settings(input: &mut Input<'_>) -> LogSettings {
    let how = input.byte();
    let durability = match how % 3 {
        0 => Durability::Memory,
        1 => Durability::Sync,
        _ => Durability::Interval(Duration::from_millis(100)),
    };
    let mut settings = plain_settings(durability);
    settings.in_place = how & 0b100 == 0;
    settings.timestamp_type =
        if how & 0b1000 == 0 { TimestampType::Create } else { TimestampType::LogAppend };
    settings.compression = compression(how >> 4 & 0b111);
    settings.batch_size = if how & 0b1000_0000 == 0 { 300 } else { 100 };
    let more = input.byte();
    settings.segment_size = 2048 << (more & 3);
    settings.index_interval = if more & 4 == 0 { 128 } else { 1 };
    settings.index_size = if more & 8 == 0 { 1024 } else { 60 };
    settings.linger = Duration::from_millis(if more & 16 == 0 { 5 } else { 0 });
    settings
}

fn compression(choice: u8) -> Compression {
    let wanted = match choice {
        1 => Compression::Lz4,
        2 => Compression::Snappy,
        3 => Compression::Zstd { level: None },
        4 => Compression::Gzip { level: None },
        _ => Compression::None,
    };
    if wanted.is_available() { wanted } else { Compression::None }
}

impl World {
    fn operation(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        match op % 32 {
            0..=6 => self.append(input),
            7 => (0..8).for_each(|_| self.append(input)),
            8 => self.append_batch(input),
            9 | 10 => self.try_flush(),
            11 => {
                let end = self.model.end();
                let done = self.opened.log.wait_acked(end);
                if self.allowed(done).is_some() {
                    assert!(self.opened.log.high_watermark() >= end, "acknowledged and visible");
                }
            }
            12 => {
                let done = self.opened.log.seal_and_write();
                self.allowed(done);
            }
            13 | 14 => self.checkpoint(),
            15 => {
                self.machine.advance(input.byte().into());
                self.tick();
            }
            16 => {
                self.machine.advance(3_700_000);
                self.tick();
            }
            17 => {
                let done = self.opened.log.prepare_ahead();
                self.allowed(done);
            }
            18 => self.truncate(input),
            19 => self.delete_records(input),
            20 => self.change_settings(input),
            21 => self.hold(input),
            22 => self.search(input),
            23 => self.inject(input),
            24 => {
                self.trouble = true;
                let disk = self.machine.disk();
                disk.set_capacity(Some(disk.used() + input.below(5) * 4096));
            }
            25 => self.settle_trouble(),
            26 | 27 => self.crash_inside(input),
            28 => self.close(),
            29 => self.crash(input, true),
            _ => self.crash(input, false),
        }
    }

    /// The value of a call, or nothing if it failed and might.
    fn allowed<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(e) => {
                let expected = match e.kind() {
                    ErrorKind::Backpressure => true,
                    ErrorKind::StorageFull | ErrorKind::Io | ErrorKind::Poisoned => self.trouble,
                    _ => false,
                };
                assert!(expected, "{e} {:?}", e.kind());
                None
            }
        }
    }

    fn value(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        self.stamp += 1;
        let length = usize::from(input.byte());
        let mut value = self.stamp.to_be_bytes().to_vec();
        value.resize(8 + length * length / 100, self.stamp as u8);
        value
    }

    fn timestamp(&self, input: &mut Input<'_>) -> i64 {
        match input.byte() {
            0..=200 => self.machine.now(),
            201..=240 => self.machine.now() - i64::from(input.byte()) * 100,
            241..=250 => i64::from(input.byte()),
            251 => i64::MAX,
            252 => -1,
            _ => i64::MAX / 2,
        }
    }

    fn append(&mut self, input: &mut Input<'_>) {
        let (timestamp, value) = (self.timestamp(input), self.value(input));
        let record = NewRecord { timestamp, key: None, value: Some(&value), headers: &[] };
        let result = self.opened.log.append(&record, Patience::No);
        if let Some(appended) = self.allowed(result) {
            self.model.push(Seen { offset: appended.offset, timestamp: appended.timestamp, value });
        }
    }

    fn append_batch(&mut self, input: &mut Input<'_>) {
        let attributes = if input.byte() & 1 == 0 || !Codec::Lz4.is_built_in() {
            Attributes::NONE
        } else {
            Attributes::NONE.with_codec(Codec::Lz4)
        };
        let mut builder = BatchBuilder::new(BatchSpec { attributes, ..BatchSpec::default() });
        let mut records = Vec::new();
        for _ in 0..1 + input.below(5) {
            let (timestamp, value) = (self.timestamp(input), self.value(input));
            builder.append(timestamp, None, Some(&value), &[]);
            records.push((timestamp, value));
        }
        let mut batch = must(FinishedBatch::built(must(builder.finish(0, None))));
        if batch.len() > self.opened.log.settings().segment_size {
            return;
        }
        let result = self.opened.log.append_batch(&mut batch, Patience::No);
        if let Some(appended) = self.allowed(result) {
            for (offset, (timestamp, value)) in (appended.offset..).zip(records) {
                self.model.push(Seen { offset, timestamp, value });
            }
        }
    }

    fn try_flush(&mut self) {
        let result = self.opened.log.flush();
        if self.allowed(result).is_some() {
            assert_eq!(self.opened.log.flushed(), self.model.end());
        }
    }

    fn checkpoint(&mut self) {
        let result = self.opened.log.checkpoint();
        if let Some(Some(point)) = self.allowed(result) {
            assert!(point.offset <= self.opened.log.flushed());
            self.point = Some(point);
        }
    }

    fn tick(&mut self) {
        let now = self.opened.log.clock().monotonic();
        let result = self.opened.log.tick(now);
        self.allowed(result);
    }

    fn truncate(&mut self, input: &mut Input<'_>) {
        let (start, end) = (self.model.log_start, self.model.end());
        let to = start + input.below(end - start + 1);
        let result = self.opened.log.truncate(to);
        if result.is_err() && self.opened.log.is_poisoned() {
            self.attempted_cut = Some(to);
        }
        if let Some(boundary) = self.allowed(result) {
            assert!((start..=to).contains(&boundary), "truncated to {boundary}, not {to}");
            self.model.truncate(boundary);
            assert_eq!(self.opened.log.log_end(), boundary);
        }
    }

    fn delete_records(&mut self, input: &mut Input<'_>) {
        let (start, end) = (self.opened.log.log_start(), self.opened.log.high_watermark());
        let before = start + input.below(end.saturating_sub(start) + 1);
        let result = self.opened.log.delete_records(before);
        match self.allowed(result) {
            Some(log_start) => assert_eq!(log_start, before),
            None => self.attempted_start = Some(before),
        }
        let log_start = self.opened.log.log_start();
        assert!(log_start == start || log_start == before);
        self.model.log_start = log_start;
    }

    fn change_settings(&mut self, input: &mut Input<'_>) {
        let mut changed = settings(input);
        // Staged and mapped reading is the broker's choice, for as long as it is open.
        changed.in_place &= self.machine.map;
        // A file of the simulated disk is not mapped again with more bytes.
        changed.segment_size = self.machine.settings.segment_size;
        let result = self.opened.log.change_settings(changed.clone());
        self.allowed(result);
        self.machine.settings = (*self.opened.log.settings()).clone();
    }

    /// Takes a chunk and keeps it: whatever happens to the log, it stays what it was.
    fn hold(&mut self, input: &mut Input<'_>) {
        self.check_held();
        let (start, end) = (self.opened.log.log_start(), self.opened.log.high_watermark());
        let from = start + input.below(end - start + 1);
        let limits = ReadLimits { max_bytes: 600, max_records: 10, crc: crate::config::CrcCheck::Always };
        let read = Cursor::new(self.opened.log.clone(), from).read(u64::MAX, &limits);
        self.held = must(read).map(|chunk| {
            let seen = seen_in(&chunk);
            assert_eq!(seen, self.model.slice(from, from + seen.len() as u64));
            (chunk, seen)
        });
    }

    fn check_held(&self) {
        if let Some((chunk, seen)) = &self.held {
            assert_eq!(seen_in(chunk), *seen, "a chunk changed under its holder");
        }
    }

    /// The first record at or after a timestamp.
    fn search(&mut self, input: &mut Input<'_>) {
        let (start, end) = (self.opened.log.log_start(), self.opened.log.high_watermark());
        let timestamp = self.timestamp(input);
        let expected = self.model.slice(start, end).iter().find(|seen| seen.timestamp >= timestamp);
        let found = must(self.opened.log.offset_for_timestamp(timestamp));
        assert_eq!(found, expected.map(|seen| (seen.offset, seen.timestamp)), "for {timestamp}");
    }

    fn inject(&mut self, input: &mut Input<'_>) {
        self.trouble = true;
        let how = input.byte();
        let fault = match how % 4 {
            0 => Fault::Io,
            1 | 2 => Fault::StorageFull,
            _ => Fault::ShortWrite,
        };
        let failure = Failure::nth(1 + input.below(16), fault);
        let failure = match how >> 2 & 7 {
            0 => failure.only(Op::Sync),
            1 => failure.only(Op::Write),
            2 => failure.only(Op::Allocate),
            3 => failure.only(Op::SyncDir),
            _ => failure,
        };
        let times = if how & 0b10_0000 == 0 { Times::Once } else { Times::Always };
        self.machine.disk().inject(failure.times(times));
    }

    /// Failing ends. A partition that is poisoned is opened again.
    fn settle_trouble(&mut self) {
        self.machine.disk().stop_failing();
        self.machine.disk().set_capacity(None);
        if self.opened.log.is_poisoned() {
            let (disk, bounds) = (self.machine.disk().after_kill(), self.bounds(true));
            let before = self.model.clone();
            self.reopen_unclean(disk, bounds, &before);
        }
        self.trouble = false;
    }

    /// What must and what may be there after a kill or a power cut now.
    fn bounds(&self, kill: bool) -> Bounds {
        let log = &self.opened.log;
        let least = if kill && !log.is_poisoned() { log.log_end() } else { log.flushed() };
        Bounds { least, most: self.model.end() }
    }

    fn crash(&mut self, input: &mut Input<'_>, kill: bool) {
        let (bounds, before) = (self.bounds(kill), self.model.clone());
        let disk = self.machine.disk();
        let left = if kill { disk.after_kill() } else { power_cut(disk, input) };
        self.reopen_unclean(left, bounds, &before);
        self.trouble = false;
    }

    /// A crash behind one of the calls that the next operation makes.
    fn crash_inside(&mut self, input: &mut Input<'_>) {
        let kill = input.byte() & 1 == 0;
        let calls = 1 + input.below(MOST_CALLS as u64) as usize;
        let next = [0, 7, 8, 9, 11, 13, 15, 16, 17, 18, 19, 20][input.below(12) as usize];
        let (bounds, before) = (self.bounds(kill), self.model.clone());
        self.machine.disk().snapshot_every_call(calls);
        self.operation(&mut Input::new(&[&[next], input.take(32)].concat()));
        self.machine.disk().snapshot_every_call(0);
        let snapshots = self.machine.disk().take_snapshots();
        let bounds = bounds.join(self.bounds(kill));
        let Some(disk) = snapshots.into_iter().last() else { return };
        let left = if kill { disk.after_kill() } else { power_cut(&disk, input) };
        self.reopen_unclean(left, bounds, &before);
        self.trouble = false;
    }

    /// Opens what a crash has left, and takes the model back to what is there.
    fn reopen_unclean(&mut self, disk: SimDisk, bounds: Bounds, before: &Model) {
        self.held = None;
        let mut machine =
            Machine { map: self.machine.map, ..Machine::on(disk, self.machine.settings.clone()) };
        machine.disk().stop_failing();
        machine.disk().set_capacity(None);
        machine.load_cells();
        let opened = must(machine.open(Found::Unclean(self.point)));
        let (start, end) = (opened.log.log_start(), opened.log.log_end());
        let Bounds { least, most } = bounds;
        let finished_cut = self.attempted_cut.take().is_some_and(|to| (start..=to).contains(&end));
        assert!(
            finished_cut || (least..=most).contains(&end),
            "the log ends at {end}, not between {least} and {most}"
        );
        let starts = [Some(self.model.log_start), Some(before.log_start), self.attempted_start.take()];
        assert!(starts.contains(&Some(start)), "it starts at {start}, not at one of {starts:?}");
        assert!(opened.recovery.was_unclean());
        self.model = before.longer(&self.model).clone();
        self.model.truncate(end);
        self.model.log_start = start;
        (self.machine, self.opened) = (machine, opened);
        assert_eq!((self.opened.log.flushed(), self.opened.log.high_watermark()), (end, end));
    }

    /// Closes the partition and opens it again.
    fn close(&mut self) {
        self.held = None;
        let result = self.opened.log.close();
        let Some(point) = self.allowed(result) else {
            // A close that failed leaves what a kill leaves.
            let (disk, bounds) = (self.machine.disk().after_kill(), self.bounds(true));
            let before = self.model.clone();
            let bounds = Bounds { least: self.opened.log.flushed(), ..bounds };
            self.reopen_unclean(disk, bounds, &before);
            self.trouble = false;
            return;
        };
        assert_eq!(point.offset, self.model.end());
        self.machine.disk().stop_failing();
        self.machine.disk().set_capacity(None);
        self.trouble = false;
        self.point = Some(point);
        // A power cut right after a close takes nothing.
        let cut = self.machine.disk().after_power_cut_losing_everything();
        let cut = Machine { map: self.machine.map, ..Machine::on(cut, self.machine.settings.clone()) };
        self.opened = must(cut.open(Found::Clean(point)));
        self.machine = cut;
        assert!(!self.opened.recovery.was_unclean());
        assert_eq!(self.opened.log.log_end(), self.model.end());
    }

    fn check(&mut self) {
        let log = &self.opened.log;
        let (start, end) = (log.log_start(), log.high_watermark());
        assert_eq!(start, self.model.log_start);
        if log.is_poisoned() {
            // Nothing but what is on the device is lent; a truncation may have stopped half-way.
            assert!(end <= log.flushed(), "visible after a failure, and not on the device");
            if let Ok(read) = self.opened.read_from(start) {
                assert_eq!(read, self.model.slice(start, end.min(log.log_end())));
            }
            return;
        }
        assert!(
            start <= end && end <= log.log_end() && log.flushed() <= log.log_end(),
            "the order of the marks"
        );
        assert!(log.log_end() <= self.model.end());
        if log.settings().durability == Durability::Sync {
            assert!(end <= log.flushed(), "visible at Sync, and not on the device");
        }
        let read = must(self.opened.read_from(start));
        assert_eq!(read, self.model.slice(start, end));
        self.check_held();
    }
}

fn seen_in(chunk: &Chunk) -> Vec<Seen> {
    let seen = chunk.iter().map(|record| {
        let record = must(record);
        let value = record.record.value.unwrap_or_default().to_vec();
        Seen { offset: record.offset, timestamp: record.timestamp, value }
    });
    seen.collect()
}

fn power_cut(disk: &SimDisk, input: &mut Input<'_>) -> SimDisk {
    match input.byte() {
        0 => disk.after_power_cut_losing_everything(),
        1 => disk.after_power_cut_keeping_everything(),
        seed => disk.after_power_cut(&SeededRandom::new(seed.into())),
    }
}
