//! A partition whose log file, indexes, tail cell and recovery point hold anything.
//!
//! What a recovery must answer is worked out independently: the longest run of good batches.

use std::path::Path;

use super::input::Input;
use super::machine::{DIR, Machine, Opened, Seen, TOPIC, must, plain_settings};
use super::parsers::with_crcs;
use crate::config::Durability;
use crate::env::FileSystem;
use crate::env::sim::SeededRandom;
use crate::error::ErrorKind;
use crate::format::batch::{BatchBuilder, BatchSpec, BatchView, HEADER_LEN, Records};
use crate::format::checksum::crc32c;
use crate::partition::{Found, Patience, RecoveryPoint};
use crate::segment::{CellIdentity, FoundCell, IndexLengths, NewRecord};
use crate::types::TopicId;

/// Good batches at the start of some bytes.
#[derive(Debug, Default)]
struct Prefix {
    /// Where each batch ends: position and offset.
    ends: Vec<(u64, u64)>,
    epoch: i32,
    next_offset: u64,
    position: usize,
    /// Records that a reader gets, until the first damaged one.
    records: Vec<Seen>,
    /// A batch whose checksum is right holds what is no record, or a codec that is not built in.
    damaged: bool,
}

impl Prefix {
    fn of(bytes: &[u8], next_offset: u64) -> Prefix {
        let mut prefix = Prefix { epoch: -1, next_offset, ..Prefix::default() };
        while let Some(view) = bytes.get(prefix.position..).and_then(|rest| BatchView::parse(rest).ok()) {
            let header = &view.header;
            let continuous =
                header.base_offset as u64 == prefix.next_offset && header.leader_epoch >= prefix.epoch;
            if !continuous || view.check_crc().is_err() {
                break;
            }
            prefix.position += view.bytes.len();
            prefix.next_offset = header.next_offset() as u64;
            prefix.epoch = header.leader_epoch;
            prefix.ends.push((prefix.position as u64, prefix.next_offset));
            if !header.attributes.is_control() && header.records_count > 0 && !prefix.damaged {
                prefix.damaged = !prefix.take(&view);
            }
        }
        prefix
    }

    fn take(&mut self, view: &BatchView<'_>) -> bool {
        let Ok(records) = view.decompressed(1 << 24) else { return false };
        for record in Records::new(&view.header, &records) {
            let Ok(record) = record else { return false };
            if record.offset_delta < 0 {
                return false;
            }
            let timestamp = view.header.timestamp_of(record.timestamp_delta);
            let offset = view.header.offset_of(record.offset_delta) as u64;
            self.records.push(Seen { offset, timestamp, value: record.value.unwrap_or_default().to_vec() });
        }
        true
    }
}

/// Opens a partition over arbitrary bytes, reads it, appends to it, and opens it again.
pub fn segment_recovery(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let durability = if how & 2 == 0 { Durability::Memory } else { Durability::Sync };
    let mut machine = Machine::new(plain_settings(durability));
    machine.map = how & 4 == 0;
    machine.settings.in_place = machine.map;
    let point = input.byte();
    let cell = if how & 8 != 0 { Some((input.byte(), input.byte(), input.byte())) } else { None };
    let second = if how & 16 != 0 { usize::from(input.short()) } else { usize::MAX };
    let arbitrary = if how & 32 != 0 { Some((input.short(), input.short(), input.short())) } else { None };
    let given = input.rest();
    let log = if how & 1 == 0 { given.to_vec() } else { with_crcs(given) };
    let (first, rest) = log.split_at(second.min(log.len()));
    let prefix = Prefix::of(first, 0);
    put(&machine, 0, "log", first);
    if second <= log.len() {
        let next = Prefix::of(first, 0).next_offset;
        put(&machine, next.max(1), "log", rest);
    }
    if let Some(cell) = cell {
        machine.cells = vec![found_cell(cell, &prefix, first)];
    }
    let known = match arbitrary {
        Some((offset, segment, position)) => Some(point_at(offset.into(), segment.into(), position.into())),
        None => prefix
            .ends
            .get(usize::from(point).wrapping_sub(1))
            .map(|&(position, offset)| point_at(offset, 0, position)),
    };
    let one_file = second > log.len() && cell.is_none() && arbitrary.is_none();
    recover(machine, Found::Unclean(known), one_file.then_some(&prefix), arbitrary.is_none());
}

fn put(machine: &Machine, base: u64, suffix: &str, bytes: &[u8]) {
    let dir = Path::new(DIR);
    must(machine.disk().create_dir(dir));
    must(machine.disk().write_file(&dir.join(format!("{base:020}.{suffix}")), bytes));
}

fn point_at(offset: u64, segment: u64, position: u64) -> RecoveryPoint {
    let indexes = IndexLengths { offsets: 0, times: 0 };
    RecoveryPoint { offset, segment, position, indexes, generation: 0 }
}

/// A cell that vouches for `length` bytes behind the good batches, perhaps wrongly.
fn found_cell((kind, length, crc): (u8, u8, u8), prefix: &Prefix, file: &[u8]) -> FoundCell {
    let start = prefix.position + HEADER_LEN;
    let length = if length == u8::MAX { file.len().saturating_sub(start) } else { length.into() };
    let covered = file.get(start..start.saturating_add(length)).unwrap_or_default();
    FoundCell {
        identity: CellIdentity {
            topic: TopicId::from_bytes(TOPIC),
            partition: 0,
            leader_epoch: prefix.epoch.saturating_add(i32::from(kind >> 6)),
            log_append_time: kind & 1 != 0,
            segment: 0,
            base_offset: prefix.next_offset.wrapping_add(u64::from(kind >> 1 & 1)),
            base_timestamp: i64::from(kind) << 40,
        },
        length: length as u32,
        crc: crc32c(covered) ^ u32::from(crc),
    }
}

fn recover(mut machine: Machine, state: Found, expected: Option<&Prefix>, trusted: bool) {
    let opened = match machine.open(state) {
        Ok(opened) => opened,
        Err(e) => {
            assert!(expected.is_none() || matches!(e.kind(), ErrorKind::Corrupted), "{e}");
            return;
        }
    };
    let before = check(&opened, expected);
    let end = opened.log.log_end();
    assert_eq!(opened.log.flushed(), end, "what is served after a recovery is on the device");
    let appended = append(&machine, &opened);
    let epoch = opened.log.leader_epoch();
    // Once more after a power cut that takes what it can, and once after a clean close.
    let cut = machine.disk().after_power_cut(&SeededRandom::new(end));
    let survivor = Machine { map: machine.map, ..Machine::on(cut, machine.settings.clone()) };
    let Some(again) = reopen(&survivor, state, trusted) else { return };
    assert!(again.recovery.was_unclean() && again.log.leader_epoch() > epoch);
    same(&again, &before, &appended, trusted);
    let point = must(opened.log.close());
    drop(opened);
    machine.cells.clear();
    let Some(again) = reopen(&machine, Found::Clean(point), trusted) else { return };
    assert!(!again.recovery.was_unclean());
    same(&again, &before, &appended, trusted);
}

/// What a false recovery point has vouched for may be found out at any opening.
fn reopen(machine: &Machine, state: Found, trusted: bool) -> Option<Opened> {
    match machine.open(state) {
        Err(e) if !trusted && e.kind() == ErrorKind::Corrupted => None,
        opened => Some(must(opened)),
    }
}

/// Reads everything; what was read is what the good batches hold, or the beginning of it and an error.
fn check(opened: &Opened, expected: Option<&Prefix>) -> Option<Vec<Seen>> {
    let read = opened.read_from(opened.log.log_start());
    if let Err(e) = &read {
        assert!(
            matches!(e.kind(), ErrorKind::Corrupted | ErrorKind::UnsupportedFormat),
            "{e} {:?}",
            e.kind()
        );
    }
    if let Some(prefix) = expected {
        assert_eq!(opened.log.log_end(), prefix.next_offset);
        match &read {
            Ok(records) => assert!(prefix.damaged || *records == prefix.records, "{records:?} {prefix:?}"),
            Err(e) => assert!(prefix.damaged, "{e}"),
        }
    }
    read.ok()
}

/// Appends one record and makes it durable.
fn append(machine: &Machine, opened: &Opened) -> Seen {
    let record = NewRecord { timestamp: machine.now(), key: None, value: Some(b"one more"), headers: &[] };
    let end = opened.log.log_end();
    let appended = must(opened.log.append(&record, Patience::No));
    assert_eq!(appended.offset, end);
    must(opened.log.flush());
    Seen { offset: appended.offset, timestamp: appended.timestamp, value: b"one more".to_vec() }
}

fn same(opened: &Opened, before: &Option<Vec<Seen>>, appended: &Seen, trusted: bool) {
    assert_eq!(opened.log.log_end(), appended.offset + 1, "the appended record was durable");
    let (last, all) = (opened.read_from(appended.offset), opened.read_from(opened.log.log_start()));
    match (before, last, all) {
        // The way may lead over what a false recovery point has vouched for: a batch that is none, or one that
        // takes more offsets than were left for it.
        _ if !trusted => {}
        (Some(before), Ok(last), Ok(all)) => {
            assert_eq!(last, std::slice::from_ref(appended));
            assert!(all.iter().eq(before.iter().chain([appended])), "before {before:?}, now {all:?}");
        }
        (None, _, Err(_)) => {}
        (before, _, all) => panic!("before {before:?}, now {all:?}"),
    }
}

/// A good log of two segments whose index files hold anything: each record is found, or an error says why.
pub(super) fn beside_indexes(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let offsets_len = usize::from(input.byte());
    let machine = Machine::new(plain_settings(Durability::Sync));
    let (first, _) = batches(0, 40);
    let (second, end) = batches(40, 3);
    put(&machine, 0, "log", &first);
    put(&machine, 40, "log", &second);
    put(&machine, 0, "index", input.take(offsets_len));
    let times = input.rest();
    put(&machine, 0, "timeindex", times);
    if how & 1 != 0 {
        // The active segment's files, too.
        put(&machine, 40, "index", input.take(offsets_len));
        put(&machine, 40, "timeindex", times);
    }
    let mut point = point_at(end, 40, second.len() as u64);
    if how & 2 != 0 {
        point.indexes = IndexLengths { offsets: 8 * u64::from(how >> 4), times: 12 * u64::from(how >> 4) };
    }
    let state = if how & 4 == 0 { Found::Clean(point) } else { Found::Unclean(Some(point)) };
    let opened = must(machine.open(state));
    for from in 0..end {
        match opened.read_from(from) {
            Ok(read) => assert!(read.iter().map(|seen| seen.offset).eq(from..end), "from {from}: {read:?}"),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Corrupted, "{e}"),
        }
    }
    for timestamp in [-1, 0, 1_000, 1_020, 5_000, i64::MAX] {
        if let Ok(Some((offset, found))) = opened.log.offset_for_timestamp(timestamp) {
            assert!(offset < end && found >= timestamp);
        }
    }
}

/// Batches of one record each from offset `from` on, and the offset behind them.
fn batches(from: u64, count: u64) -> (Vec<u8>, u64) {
    let mut bytes = Vec::new();
    for offset in from..from + count {
        let mut builder = BatchBuilder::new(BatchSpec { leader_epoch: 0, ..BatchSpec::default() });
        builder.append(1_000 + offset as i64, None, Some(format!("record {offset}").as_bytes()), &[]);
        bytes.extend(must(builder.finish(offset as i64, None)));
    }
    (bytes, from + count)
}
