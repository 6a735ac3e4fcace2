//! One rule at a time: the mistakes that others have made, each with a test of its name.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::world::{RETENTION_MS, Sent, World};
use crate::cleaner::plan::groups;
use crate::cleaner::{Pace, dirtiness, is_due};
use crate::config::CrcCheck;
use crate::error::{Error, Result};
use crate::format::control::TxnOutcome;
use crate::partition::{Cursor, ReadLimits};

fn put(key: u8, value: &str) -> Vec<Sent> {
    vec![Sent { key, value: Some(value.into()) }]
}

fn gone(key: u8) -> Vec<Sent> {
    vec![Sent { key, value: None }]
}

fn markers(world: &World) -> usize {
    let full = |h: &&crate::format::batch::BatchHeader| h.attributes.is_control() && h.records_count == 1;
    world.headers().iter().filter(full).count()
}

/// Every marker has the same key: judged by it, all but the last would go, and leave their data undecided.
#[test]
fn markers_are_never_judged_by_their_key() {
    let mut world = World::new();
    for round in 0..6u8 {
        world.send(1 + i64::from(round % 3), true, put(round, "kept"));
        world.end(1 + i64::from(round % 3), TxnOutcome::Commit);
    }
    world.settle();
    world.compact_and_note();
    assert_eq!(markers(&world), 6);
    world.check_exact(world.now());
}

/// Its data gone, a marker stays for the time of a tombstone, then goes.
#[test]
fn a_marker_without_data_goes_after_its_time() {
    let mut world = World::new();
    world.send(1, true, put(1, "old"));
    world.end(1, TxnOutcome::Commit);
    world.send(1, false, put(1, "new"));
    world.settle();
    let pass = |world: &mut World, markers_left: usize| {
        world.compact_and_note();
        assert_eq!(markers(world), markers_left);
    };
    pass(&mut world, 1); // its data was met, and goes
    pass(&mut world, 1); // nothing was met: its time is stamped
    world.sim.clock().advance(Duration::from_millis(RETENTION_MS as u64 - 1));
    pass(&mut world, 1);
    world.sim.clock().advance(Duration::from_millis(1));
    pass(&mut world, 0);
    world.check_safe();
}

/// The time is stamped by the first pass that sees the tombstone, whatever the clock did before.
#[test]
fn a_tombstone_stays_for_its_time_after_the_first_pass() {
    let mut world = World::new();
    world.send(-1, false, put(1, "old"));
    world.send(-1, false, gone(1));
    world.sim.clock().advance(Duration::from_secs(3600));
    world.settle();
    world.compact_and_note();
    assert_eq!(world.read().unwrap().len(), 1, "the tombstone alone");
    world.sim.clock().advance(Duration::from_millis(RETENTION_MS as u64 - 1));
    world.compact_and_note();
    assert_eq!(world.read().unwrap().len(), 1);
    world.sim.clock().advance(Duration::from_millis(1));
    world.compact_and_note();
    assert!(world.read().unwrap().is_empty());
    assert!(world.headers().is_empty());
}

/// Ends a compaction that has worked through so many bytes, as a broker does that closes.
struct Until(AtomicU64);

impl Pace for Until {
    fn spend(&self, bytes: u64) -> Result<()> {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(bytes), Ordering::Relaxed);
        if bytes > left { Err(Error::closed("the broker")) } else { Ok(()) }
    }
}

/// Where the log says that nothing is compacted, nothing deleted is forgotten: a table's snapshot counts on it.
#[test]
fn rounds_that_are_cut_off_take_no_tombstone_away() {
    let mut world = World::new();
    world.send(-1, false, put(1, "old"));
    world.send(-1, false, gone(1));
    (2..60).for_each(|key| world.send(-1, false, put(key, &"x".repeat(60))));
    world.settle();
    let bytes: u64 = world.log().cleanable().unwrap().iter().map(|source| source.bytes).sum();
    for _ in 0..3 {
        world.compact_at(&Until(AtomicU64::new(bytes + 2000))).unwrap_err();
        let seen = world.read().unwrap();
        assert_eq!(seen.values().next(), Some(&gone(1)[0]), "what it deletes is gone, and it is there");
        assert_eq!((world.log().cleaned_to(), world.log().tombstones_gone()), (0, 0));
        world.sim.clock().advance(Duration::from_millis(RETENTION_MS as u64));
    }
    world.compact().unwrap();
    assert_eq!(world.read().unwrap().len(), 59);
    world.compact().unwrap();
    assert_eq!(world.read().unwrap().len(), 58);
    assert_eq!(world.log().tombstones_gone(), 2);
    world.check_safe();
}

/// Behind the start of an open transaction nothing is compacted: it might be aborted.
#[test]
fn nothing_is_compacted_behind_the_start_of_an_open_transaction() {
    let mut world = World::new();
    world.send(-1, false, put(1, "before"));
    world.send(1, true, put(1, "undecided"));
    world.send(-1, false, put(2, "a"));
    world.send(-1, false, put(2, "b"));
    world.settle();
    world.compact_and_note();
    assert_eq!(world.log().cleaned_to(), 1);
    assert_eq!(world.read().unwrap().len(), 4);
    world.end(1, TxnOutcome::Abort);
    world.settle();
    world.compact_and_note();
    let values: Vec<_> = world.read().unwrap().into_values().filter_map(|sent| sent.value).collect();
    assert_eq!(values, ["before", "b"]);
    world.check_safe();
}

/// The active segment stays as it is, and so does what no stored recovery point covers.
#[test]
fn the_active_segment_and_what_no_point_covers_stay() {
    let mut world = World::new();
    for i in 0..60 {
        world.send(-1, false, put(1, &format!("{i} {}", "x".repeat(60))));
    }
    assert!(world.log().segment_count() > 2);
    world.compact().unwrap();
    assert_eq!(world.read().unwrap().len(), 60, "no point has been stored");
    world.checkpoint();
    let active = world.log().all_segments().last().unwrap().base();
    world.compact_and_note();
    assert_eq!(world.log().cleaned_to(), active);
    assert!(world.read().unwrap().keys().all(|&offset| offset >= active - 1));
}

/// A log without anything new is not compacted again and again.
#[test]
fn a_compacted_log_is_not_due() {
    let mut world = World::new();
    for i in 0..60 {
        world.send(-1, false, put(i % 3, &"x".repeat(60)));
    }
    world.settle();
    assert_eq!(is_due(world.log()).unwrap().map(|dirty| dirty.percent), Some(100));
    world.compact_and_note();
    assert_eq!(dirtiness(world.log()).unwrap(), None);
    let report = world.compact().unwrap();
    assert_eq!((report.rounds(), report.records_before(), report.records_after()), (1, 3, 3));
}

/// A table with room for few keys makes progress in each round, and ends.
#[test]
fn a_small_memory_takes_several_rounds() {
    let mut world = World::new();
    for i in 0..200u8 {
        world.send(-1, false, put(i % 100, &"x".repeat(30)));
    }
    world.settle();
    world.memory = 24 * 20;
    let report = world.compact().unwrap();
    assert!((5..=20).contains(&report.rounds()), "{}", report.rounds());
    assert_eq!((report.records_before(), report.records_after()), (200, 100));
    world.check_exact(world.now());
}

/// Neighbours are put together only while positions and relative offsets fit 31 bits, and were appended in a time.
#[test]
fn groups_end_where_offsets_would_not_fit() {
    let mut world = World::new();
    for i in 0..60 {
        world.send(-1, false, put(1, &format!("{i} {}", "x".repeat(60))));
    }
    world.settle();
    let mut sources = world.log().cleanable().unwrap();
    assert!(sources.len() > 3);
    assert_eq!(groups(&sources, 1 << 20, Duration::MAX).len(), 1);
    assert_eq!(groups(&sources, 1, Duration::MAX).len(), sources.len());
    sources[2].last_append = sources[0].first_append + 1000;
    assert_eq!(groups(&sources, 1 << 20, Duration::from_millis(999))[0].len(), 2);
    sources[1].end_offset = sources[0].segment.base() + (1 << 31);
    assert_eq!(groups(&sources, 1 << 20, Duration::MAX)[0].len(), 1);
}

/// What is younger than the topic's least lag stays, and so does all behind it.
#[test]
fn the_young_are_left_alone() {
    let mut world = World::new();
    world.settings.cleanup.min_lag = Duration::from_secs(60);
    let settings = world.settings.clone();
    world.log().change_settings(settings).unwrap();
    for i in 0..40 {
        world.send(-1, false, put(1, &format!("{i} {}", "x".repeat(60))));
    }
    world.settle();
    world.compact().unwrap();
    assert_eq!(world.read().unwrap().len(), 40);
    world.sim.clock().advance(Duration::from_secs(61));
    world.compact().unwrap();
    assert_eq!(world.read().unwrap().len(), 1);
}

/// What waits for longer than the topic's greatest lag is due, however little it is.
#[test]
fn the_overdue_are_due() {
    let mut world = World::new();
    world.settings.cleanup.dirty_percent = 90;
    world.settings.cleanup.max_lag = Some(Duration::from_secs(60));
    let settings = world.settings.clone();
    world.log().change_settings(settings).unwrap();
    for i in 0..40u8 {
        world.send(-1, false, put(i, &"x".repeat(60)));
    }
    world.settle();
    world.compact_and_note();
    world.send(-1, false, put(1, "a little"));
    world.settle();
    assert_eq!(is_due(world.log()).unwrap(), None);
    world.sim.clock().advance(Duration::from_secs(61));
    assert!(is_due(world.log()).unwrap().is_some_and(|dirty| dirty.overdue));
}

/// Of a large log little that is new is less than a percent: where none is asked for it is enough.
#[test]
fn where_no_percent_is_asked_for_anything_new_is_enough() {
    let mut world = World::new();
    world.settings.cleanup.dirty_percent = 0;
    world.log().change_settings(world.settings.clone()).unwrap();
    for i in 0..250u8 {
        world.send(-1, false, put(i, &"x".repeat(60)));
    }
    world.settle();
    world.compact_and_note();
    assert_eq!(is_due(world.log()).unwrap(), None);
    world.send(-1, false, put(1, "a little"));
    world.settle();
    assert_eq!(is_due(world.log()).unwrap().map(|dirty| dirty.percent), Some(0));
    world.compact_and_note();
    assert_eq!(is_due(world.log()).unwrap(), None);
}

/// A reader at the end of a segment that was put together with its neighbours goes on in the middle of the new one.
#[test]
fn a_reader_goes_on_where_its_segment_has_become_part_of_another() {
    let mut world = World::new();
    for key in 0..6 {
        world.send(-1, false, put(key, "v"));
        world.settle();
    }
    let mut cursor = Cursor::new(world.log().clone(), 0);
    let limits = ReadLimits { max_bytes: 1, max_records: 1, crc: CrcCheck::Once };
    let lent = cursor.read(u64::MAX, &limits).unwrap().unwrap();
    assert_eq!(cursor.next_offset(), 1);
    let segments = world.log().segment_count();
    world.compact().unwrap();
    assert!(world.log().segment_count() < segments);
    let mut offsets = Vec::new();
    while let Some(chunk) = cursor.read(u64::MAX, &limits).unwrap() {
        offsets.extend(chunk.iter().map(|record| record.unwrap().offset));
    }
    assert_eq!(offsets, [1, 2, 3, 4, 5]);
    assert_eq!(lent.iter().count(), 1, "what was lent is still there");
    assert!(world.log().pinned_bytes() > 0);
    drop((lent, cursor));
    assert_eq!(world.log().pinned_bytes(), 0);
}
