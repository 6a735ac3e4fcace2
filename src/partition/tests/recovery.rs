//! What a kill or a power cut leaves, and what opening makes of it.

use std::path::Path;

use super::harness::*;
use crate::config::Durability;
use crate::env::sim::SeededRandom;
use crate::error::ErrorKind;
use crate::partition::Found;

#[test]
fn a_kill_loses_nothing_at_memory() {
    for n in [1, 2, 7, 50, 333] {
        let machine = Machine::new(settings(Durability::Memory));
        let p = machine.open(Found::New).unwrap();
        p.send_many(n);
        let killed = machine.killed();
        let again = killed.open(unclean(None)).unwrap();
        again.assert_holds(0, n);
        assert!(again.recovery.was_unclean());
        assert!(again.recovery.records_sealed() > 0);
        assert_eq!(again.recovery.bytes_cut(), 0);
        assert_eq!(again.log.leader_epoch(), 1);
        again.send_many(10);
        again.assert_holds(0, n + 10);
    }
}

#[test]
fn a_power_cut_loses_nothing_at_sync_and_a_suffix_at_memory() {
    for level in [Durability::Sync, Durability::Memory] {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        p.send_many(200);
        p.log.flush().unwrap();
        let point = p.log.checkpoint().unwrap();
        p.send_many(100);
        for seed in 0..300 {
            let disk = machine.disk().after_power_cut(&SeededRandom::new(seed));
            let cut = Machine::on(disk, machine.settings.clone());
            let again = cut.open(unclean(point)).unwrap();
            let end = again.log.high_watermark();
            assert!((200..=300).contains(&end), "{level:?} seed {seed}: {end}");
            again.assert_holds(0, end);
        }
    }
}

#[test]
fn damage_below_the_recovery_point_is_reported_not_cut() {
    let machine = Machine::new(settings(Durability::Sync));
    let p = machine.open(Found::New).unwrap();
    p.send_many(50);
    p.log.flush().unwrap();
    let point = p.log.checkpoint().unwrap();
    drop(p);
    let machine = machine.killed();
    let log = Path::new("/data/t-0/00000000000000000000.log");
    machine.disk().flip_bit(log, 100, 3).unwrap();
    let p = machine.open(unclean(point)).unwrap();
    let error = p.read_from(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupted);
    assert!(error.path().is_some_and(|path| path == log), "{error}");
    drop(p);
    let machine = machine.killed();
    machine.disk().truncate_file(log, 200).unwrap();
    let error = machine.open(unclean(point)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupted);
}

#[test]
fn damage_above_the_recovery_point_is_a_torn_tail() {
    let machine = Machine::new(settings(Durability::Sync));
    let p = machine.open(Found::New).unwrap();
    p.send_many(20);
    p.log.flush().unwrap();
    let point = p.log.checkpoint().unwrap().unwrap();
    p.send_many(400);
    p.log.flush().unwrap();
    assert!(p.log.segment_count() > 2);
    drop(p);
    let machine = machine.killed();
    let log = Path::new("/data/t-0/00000000000000000000.log");
    machine.disk().flip_bit(log, point.position + 300, 0).unwrap();
    let p = machine.open(unclean(Some(point))).unwrap();
    assert!(p.recovery.segments_deleted() > 0);
    assert!(p.recovery.bytes_cut() > 0);
    let end = p.log.log_end();
    assert!((20..100).contains(&end));
    p.send_many(10);
    p.log.flush().unwrap();
    p.assert_holds(0, end + 10);
}

#[test]
fn an_interrupted_truncation_is_repeated() {
    let machine = Machine::new(settings(Durability::Sync));
    machine.disk().snapshot_every_call(100_000);
    let p = machine.open(Found::New).unwrap();
    p.send_many(300);
    p.log.flush().unwrap();
    let point = p.log.checkpoint().unwrap();
    drop(machine.disk().take_snapshots());
    let end = p.log.truncate(150).unwrap();
    let snapshots = machine.disk().take_snapshots();
    assert!(snapshots.len() > 10);
    for (i, snapshot) in snapshots.into_iter().enumerate() {
        for seed in 0..10 {
            let disk = snapshot.after_power_cut(&SeededRandom::new(seed));
            let cut = Machine::on(disk, machine.settings.clone());
            let again = cut.open(unclean(point)).unwrap();
            let found = again.log.log_end();
            assert!(found == 300 || found == end, "call {i} seed {seed}: {found}");
            again.assert_holds(0, found);
        }
    }
}

#[test]
fn a_missing_segment_file_below_the_point_is_corruption() {
    let machine = Machine::new(settings(Durability::Sync));
    let p = machine.open(Found::New).unwrap();
    p.send_many(10);
    let point = p.log.close().unwrap();
    drop(p);
    use crate::env::FileSystem;
    machine.disk().remove_file(Path::new("/data/t-0/00000000000000000000.log")).unwrap();
    assert_eq!(machine.open(Found::Clean(point)).err().unwrap().kind(), ErrorKind::Corrupted);
}
