//! The situations: workloads, each with its quota of distinct images.

use std::time::Duration;

use super::super::harness::settings;
use super::explore::{Explorer, Focus};
use super::run::Run;
use crate::config::Durability;
use crate::partition::LogSettings;

/// Every situation and the least number of distinct images in it.
const QUOTAS: [(&str, usize); 19] = [
    ("appending, Memory", 1_300),
    ("appending, Interval", 1_300),
    ("appending, Sync", 520),
    ("rolling, Memory", 1_500),
    ("rolling, Sync", 1_900),
    ("sealing in place", 1_200),
    ("truncating", 1_900),
    ("delete-records", 1_300),
    ("full disk, Memory", 1_400),
    ("full disk, Sync", 1_000),
    ("checkpoint", 1_550),
    ("close", 950),
    ("settings change", 1_200),
    ("recovery itself", 1_900),
    ("second crash", 1_700),
    ("idle, Memory", 1_300),
    ("idle, Sync", 1_000),
    ("large records, Memory", 500),
    ("large records, Sync", 500),
];

#[test]
fn the_quotas_add_up() {
    assert!(QUOTAS.iter().map(|(_, quota)| quota).sum::<usize>() >= 20_000);
    assert!(QUOTAS.iter().all(|(_, quota)| *quota >= 500));
}

fn finish(explorer: Explorer, situation: &str) {
    let quota = QUOTAS.iter().find(|(name, _)| *name == situation).unwrap().1;
    explorer.finish(quota);
}

const INTERVAL: Durability = Durability::Interval(Duration::from_millis(100));

fn small(level: Durability) -> LogSettings {
    LogSettings { segment_size: 24_576, batch_size: 1_000, ..settings(level) }
}

fn rolling(level: Durability) -> LogSettings {
    LogSettings { segment_size: 2_000, batch_size: 600, index_interval: 200, ..settings(level) }
}

fn appending(situation: &'static str, level: Durability) {
    let (cuts, rounds) = if level == Durability::Sync { (32, 24) } else { (8, 12) };
    let mut explorer = Explorer::new(situation, Focus::First, cuts);
    let mut run = Run::new(small(level));
    for round in 1..=rounds {
        run.send(4 + explorer.below(6));
        if round % 3 == 1 || level == Durability::Sync {
            run.write_out();
        }
        if round % 6 == 0 {
            run.flush();
        }
        if round == 7 {
            run.checkpoint();
        }
    }
    if level == INTERVAL {
        run.tick(Duration::from_millis(51));
        assert_eq!(run.log().log.flushed(), run.end(), "the interval's promise");
    }
    explorer.explore(&run.states);
    finish(explorer, situation);
}

#[test]
fn crashes_while_appending_at_memory() {
    appending("appending, Memory", Durability::Memory);
}

#[test]
fn crashes_while_appending_at_interval() {
    appending("appending, Interval", INTERVAL);
}

#[test]
fn crashes_while_appending_at_sync() {
    appending("appending, Sync", Durability::Sync);
}

/// Several segments; the flush comes late, so that it has older segments to sync first.
fn roll(situation: &'static str, level: Durability) {
    let (cuts, rounds) = if level == Durability::Sync { (12, 6) } else { (4, 4) };
    let mut explorer = Explorer::new(situation, Focus::First, cuts);
    let mut run = Run::new(rolling(level));
    for round in 1..=rounds {
        run.send(10 + explorer.below(6));
        run.write_out();
        run.send(4);
        if round % 2 == 0 {
            run.flush();
        }
        if round == 2 {
            run.checkpoint();
        }
    }
    assert!(run.log().log.segment_count() > 4);
    explorer.explore(&run.states);
    finish(explorer, situation);
}

/// Files are closed while nobody uses them, and opened again by the next append, roll or read.
fn idle(situation: &'static str, level: Durability) {
    let (cuts, rounds) = if level == Durability::Sync { (16, 6) } else { (8, 6) };
    let mut explorer = Explorer::new(situation, Focus::First, cuts);
    let mut run = Run::new(rolling(level));
    for round in 1..=rounds {
        run.send(5 + explorer.below(8));
        run.close_files();
        if round % 3 == 0 {
            run.checkpoint();
            run.close_files();
        }
        if round % 2 == 0 {
            run.verify().unwrap();
        }
    }
    run.close_files();
    run.close();
    run.reopen();
    run.close_files();
    run.send(3);
    assert!(run.log().log.segment_count() > 2);
    explorer.explore(&run.states);
    finish(explorer, situation);
}

#[test]
fn crashes_around_closed_files_at_memory() {
    idle("idle, Memory", Durability::Memory);
}

#[test]
fn crashes_around_closed_files_at_sync() {
    idle("idle, Sync", Durability::Sync);
}

#[test]
fn crashes_while_rolling_at_memory() {
    roll("rolling, Memory", Durability::Memory);
}

#[test]
fn crashes_while_rolling_at_sync() {
    roll("rolling, Sync", Durability::Sync);
}

/// Many small batches, sealed by size, by linger and by hand: kills between the stores of a header, of a
/// cell, of a record.
#[test]
fn crashes_while_sealing_in_place() {
    let situation = "sealing in place";
    let mut explorer = Explorer::new(situation, Focus::First, 8);
    let mut run = Run::new(LogSettings { batch_size: 350, ..small(Durability::Memory) });
    for round in 0..20 {
        run.send(1 + explorer.below(4));
        match round % 4 {
            0 => run.write_out(),
            2 => run.pond.environment.clock().advance(Duration::from_millis(6)),
            _ => {}
        }
        if round == 9 {
            run.flush();
        }
    }
    explorer.explore(&run.states);
    finish(explorer, situation);
}

/// Only what is in flight while records are taken back, and right after it.
#[test]
fn crashes_while_truncating() {
    let situation = "truncating";
    let mut explorer = Explorer::new(situation, Focus::First, 3);
    for (level, checkpointed) in
        [(Durability::Sync, false), (Durability::Sync, true), (Durability::Memory, true), (INTERVAL, false)]
    {
        let mut run = Run::new(rolling(level));
        run.send(40);
        run.flush();
        if checkpointed {
            run.checkpoint();
        }
        run.states.clear();
        run.truncate(18 + explorer.below(15));
        run.send(12);
        run.write_out();
        let middle = run.end() - 4;
        run.truncate(middle);
        run.send(3);
        if checkpointed {
            run.flush();
            run.checkpoint();
        }
        run.truncate(9);
        run.send(4);
        run.flush();
        explorer.explore(&run.states);
    }
    finish(explorer, situation);
}

#[test]
fn crashes_while_records_are_deleted() {
    let situation = "delete-records";
    let mut explorer = Explorer::new(situation, Focus::First, 3);
    for level in [Durability::Sync, Durability::Memory, INTERVAL] {
        let mut run = Run::new(rolling(level));
        run.send(35);
        run.flush();
        run.states.clear();
        run.send(5);
        run.flush();
        run.delete_records(7 + explorer.below(4));
        run.checkpoint();
        run.send(5);
        run.flush();
        run.delete_records(30);
        run.send(6);
        let end = run.end() - 6;
        run.delete_records(end);
        run.flush();
        run.truncate(end + 3);
        explorer.explore(&run.states);
    }
    finish(explorer, situation);
}

/// The disk fills, is full for a while, and has room again.
fn full_disk(situation: &'static str, level: Durability) {
    let cuts = if level == Durability::Sync { 10 } else { 2 };
    let mut explorer = Explorer::new(situation, Focus::First, cuts);
    for pages in 1..=4 {
        let mut run = Run::new(LogSettings { segment_size: 6_000, ..rolling(level) });
        run.send(10);
        run.flush();
        run.states.clear();
        let disk = run.pond.disk().clone();
        disk.set_capacity(Some(disk.used() + pages * 4096));
        for _ in 0..12 {
            let sent = run.send(5);
            let flushed = run.flush();
            if sent < 5 || !flushed {
                break;
            }
        }
        run.send(2);
        disk.set_capacity(None);
        assert_eq!(run.send(6), 6, "room again");
        assert!(run.flush());
        run.verify().unwrap();
        explorer.explore(&run.states);
    }
    finish(explorer, situation);
}

#[test]
fn crashes_on_a_full_disk_at_memory() {
    full_disk("full disk, Memory", Durability::Memory);
}

#[test]
fn crashes_on_a_full_disk_at_sync() {
    full_disk("full disk, Sync", Durability::Sync);
}

#[test]
fn crashes_around_checkpoints() {
    let situation = "checkpoint";
    let mut explorer = Explorer::new(situation, Focus::First, 3);
    for level in [Durability::Memory, Durability::Sync, INTERVAL] {
        let mut run = Run::new(rolling(level));
        run.send(20);
        run.flush();
        run.states.clear();
        for round in 0..4 {
            run.checkpoint();
            run.send(6);
            run.write_out();
            run.checkpoint();
            run.send(5);
            if round != 1 {
                run.flush();
            }
        }
        explorer.explore(&run.states);
    }
    finish(explorer, situation);
}

#[test]
fn crashes_while_closing() {
    let situation = "close";
    let mut explorer = Explorer::new(situation, Focus::First, 10);
    for (level, checkpointed) in
        [(Durability::Memory, false), (Durability::Sync, true), (INTERVAL, true), (Durability::Memory, true)]
    {
        let mut run = Run::new(rolling(level));
        for _ in 0..3 {
            run.send(10);
            run.write_out();
            run.send(3);
            if checkpointed {
                run.flush();
                run.checkpoint();
                run.send(5);
            }
            run.states.clear();
            run.close();
            run.reopen();
        }
        run.send(4);
        run.close();
        explorer.explore(&run.states);
    }
    finish(explorer, situation);
}

#[test]
fn crashes_while_settings_change() {
    let situation = "settings change";
    let mut explorer = Explorer::new(situation, Focus::First, 3);
    let levels = [Durability::Memory, Durability::Sync, INTERVAL, Durability::Sync, Durability::Memory];
    for sizes in 0..2 {
        let mut run = Run::new(rolling(levels[0]));
        run.send(6);
        for &level in &levels[1..] {
            run.change_settings(LogSettings { segment_size: 2_000 + sizes * 500, ..rolling(level) });
            run.send(7);
            if explorer.below(2) == 0 {
                run.write_out();
                run.send(2);
            }
        }
        explorer.explore(&run.states);
    }
    finish(explorer, situation);
}

/// Crashes of what a crash has left: while it is opened, or while it is appended to afterwards.
fn again(situation: &'static str, focus: Focus) {
    let mut explorer = Explorer::new(situation, focus, 1);
    for level in [Durability::Memory, Durability::Sync, INTERVAL] {
        let mut run = Run::new(rolling(level));
        run.send(12);
        run.flush();
        run.checkpoint();
        run.states.clear();
        run.send(14);
        run.write_out();
        run.send(6);
        run.truncate(20);
        run.send(5);
        explorer.explore(&run.states);
    }
    finish(explorer, situation);
}

#[test]
fn crashes_during_recovery() {
    again("recovery itself", Focus::Opening);
}

#[test]
fn crashes_after_recovery() {
    again("second crash", Focus::Second);
}

/// Among others, values that are written from where they lie.
fn large(situation: &'static str, level: Durability) {
    let mut explorer = Explorer::new(situation, Focus::First, 3);
    let mut run = Run::new(LogSettings { large_value: 100, ..rolling(level) });
    for round in 0..9 {
        run.send(3 + explorer.below(6));
        if round % 3 == 1 {
            run.flush();
            run.checkpoint();
        }
    }
    explorer.explore(&run.states);
    finish(explorer, situation);
}

#[test]
fn crashes_amid_large_records() {
    large("large records, Memory", Durability::Memory);
    large("large records, Sync", Durability::Sync);
}
