//! Kills, power cuts and failing calls at every step of a compaction.

use std::collections::HashSet;

use super::world::{RETENTION_MS, Sent, World};
use crate::env::sim::{Failure, Fault, Op, SeededRandom, SimDisk, Times};
use crate::format::control::TxnOutcome;

/// A log of several groups of segments, with tombstones, transactions and producers; ready to be compacted.
/// `late`: it was compacted before, and its tombstones may go now.
fn pond(late: bool) -> World {
    let mut world = World::new();
    fill(&mut world, 0);
    world.settle();
    if late {
        world.compact_and_note();
        world.sim.clock().advance(std::time::Duration::from_millis(RETENTION_MS as u64 + 1));
        fill(&mut world, 1000);
        world.settle();
    }
    assert!(world.log().segment_count() > 4);
    world
}

fn fill(world: &mut World, start: u32) {
    for i in 0..44u32 {
        let value = (i % 5 != 0).then(|| format!("value {} {}", start + i, "x".repeat(40)));
        let producer = [-1, 1, 2, 3][i as usize % 4];
        let transactional = producer == 2;
        world.send(
            producer,
            transactional,
            vec![
                Sent { key: (i * 7 % 23) as u8, value },
                Sent { key: 30 + (i % 4) as u8, value: Some(format!("other {i}")) },
            ],
        );
        if i % 16 == 7 {
            world.end(2, if i % 32 == 7 { TxnOutcome::Abort } else { TxnOutcome::Commit });
        }
    }
    world.end(2, TxnOutcome::Commit);
}

/// Opens what a crash has left, and compacts it to the end.
fn judge(world: &World, disk: SimDisk, what: &str) {
    let mut after = world.on(disk);
    after.reopen_after_crash().unwrap_or_else(|e| panic!("{what}: {e}"));
    let left: Vec<_> = after.sim.disk().files().into_iter().filter(|path| is_leftover(path)).collect();
    assert!(left.is_empty(), "{what}: {left:?} is left");
    after.check_safe();
    after.settle();
    let now = after.now();
    after.compact().unwrap_or_else(|e| panic!("{what}: {e}"));
    after.check_safe();
    if after.batches.iter().all(|batch| batch.horizon.is_none_or(|horizon| horizon > now)) {
        after.check_exact(now);
    }
}

fn is_leftover(path: &std::path::Path) -> bool {
    let name = path.to_string_lossy();
    [".cleaned", ".swap", ".deleted", ".tmp"].iter().any(|suffix| name.ends_with(suffix))
}

fn crash_everywhere(late: bool, cuts: u64, least: usize) {
    let world = pond(late);
    world.sim.disk().snapshot_every_call(100_000);
    world.compact().unwrap();
    let states = world.sim.disk().take_snapshots();
    assert!(states.len() > 50);
    let random = SeededRandom::new(11);
    let mut seen = HashSet::new();
    for (at, state) in states.iter().enumerate() {
        let mut images = vec![
            state.after_kill(),
            state.after_power_cut_losing_everything(),
            state.after_power_cut_keeping_everything(),
        ];
        images.extend((0..cuts).map(|_| state.after_power_cut(&random)));
        for image in images {
            if seen.insert(image.image_hash()) {
                judge(&world, image, &format!("state {at} of {}", states.len()));
            }
        }
    }
    assert!(seen.len() >= least, "{} images", seen.len());
}

#[test]
fn crashes_between_any_two_calls() {
    crash_everywhere(false, 3, 150);
}

#[test]
fn crashes_while_tombstones_go() {
    crash_everywhere(true, 3, 150);
}

/// A crash while the opening repeats what an earlier crash has interrupted.
#[test]
fn crashes_during_the_opening_after_a_crash() {
    let world = pond(false);
    world.sim.disk().snapshot_every_call(100_000);
    world.compact().unwrap();
    let states = world.sim.disk().take_snapshots();
    let random = SeededRandom::new(12);
    let mut seen = HashSet::new();
    for (at, state) in states.iter().enumerate() {
        let mut after = world.on(state.after_power_cut(&random));
        if !seen.insert(after.sim.disk().image_hash()) {
            continue;
        }
        after.sim.disk().snapshot_every_call(100_000);
        after.reopen_after_crash().unwrap();
        for inner in after.sim.disk().take_snapshots().into_iter().step_by(3) {
            let image = inner.after_power_cut(&random);
            if seen.insert(image.image_hash()) {
                judge(&world, image, &format!("state {at}, then within its opening"));
            }
        }
    }
    assert!(seen.len() > 150, "{} images", seen.len());
}

/// Fails each call of a compaction in turn: those of one kind, or all.
fn fail_everywhere(fault: Fault, times: Times, op: Option<Op>) {
    let count = |world: &World| op.map_or(world.sim.disk().calls(), |op| world.sim.disk().calls_of(op));
    let calls = {
        let world = pond(false);
        let before = count(&world);
        world.compact().unwrap();
        count(&world) - before
    };
    assert!(calls > 5);
    for n in 1..=calls {
        let mut world = pond(false);
        let failure = Failure::nth(n, fault).times(times);
        world.sim.disk().inject(op.map_or(failure, |op| failure.only(op)));
        let failed = world.compact().is_err();
        world.sim.disk().stop_failing();
        assert_eq!(failed, fault != Fault::ShortWrite, "call {n} of {calls}");
        // The log reads as before or as after, never less.
        world.check_safe();
        if world.log().is_poisoned() {
            assert_eq!(fault, Fault::Io, "call {n} poisons");
        } else {
            world.send(1, false, vec![Sent { key: 1, value: Some(format!("after call {n}")) }]);
            world.settle();
            let now = world.now();
            world.compact().unwrap_or_else(|e| panic!("again after call {n} failed: {e}"));
            world.check_safe();
            world.check_exact(now);
        }
        let kill = world.sim.disk().after_kill();
        judge(&world, kill, &format!("killed after call {n} failed"));
        let cut = world.sim.disk().after_power_cut_losing_everything();
        judge(&world, cut, &format!("cut after call {n} failed"));
    }
}

#[test]
fn every_call_may_fail_once() {
    fail_everywhere(Fault::Io, Times::Once, None);
}

#[test]
fn the_disk_may_be_full_from_any_call_on() {
    for op in [Op::Write, Op::Create, Op::Rename, Op::SetSize] {
        fail_everywhere(Fault::StorageFull, Times::Always, Some(op));
    }
}

#[test]
fn writes_may_be_short() {
    fail_everywhere(Fault::ShortWrite, Times::Once, Some(Op::Write));
}
