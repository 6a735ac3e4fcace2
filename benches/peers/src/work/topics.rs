//! Many logs in one place, one in a hundred of them active; and what an idle one takes.

use super::{Bench, Unit, Work, column, one_table};
use crate::Result;
use crate::machine::{disk_bytes, now, pause, resident_bytes};
use crate::payloads::Payloads;
use crate::peer::{Facts, Kind, Setup};

const SIZE: usize = 100;
const COUNTS: [(u32, &str); 2] = [(1_000, "1,000"), (10_000, "10,000")];
/// Logs of the footprint.
const FEW: u32 = 100;

/// Those that know topics, queues or groups.
fn takes(facts: &Facts) -> bool {
    matches!(facts.kind, Kind::Millpond)
        || ["raft-engine", "mrecordlog", "walrus", "kafko"].contains(&facts.name)
}

pub fn work() -> Work {
    let table = |name: &str| {
        let columns = vec![
            column("making one", name, "make", Unit::Micros),
            column("opening all", name, "open", Unit::Millis),
            column("append to the active", name, "rate", Unit::Rate),
            column("memory, each", name, "memory", Unit::Bytes),
            column("disk, each", name, "disk", Unit::Bytes),
        ];
        (format!("{name} logs"), columns)
    };
    Work {
        name: "topics",
        title: "Many topics",
        what: "So many logs (partitions of one topic; topics, queues, groups, whatever the peer has), one record \
               in each; then one in a hundred is appended to, in turn, 100 B at a time, by one thread, nothing \
               synced; closed and opened again.",
        tables: COUNTS.iter().map(|(_, name)| table(name)).collect(),
        takes,
        warm: 256,
        most_reps: 1,
        run,
        charts: Vec::new(),
    }
}

/// What an idle log takes.
pub fn footprint() -> Work {
    Work {
        name: "footprint",
        title: "Memory and disk of a topic",
        what: "100 logs, empty, then with one record of 100 B in each, then closed: resident memory and space on \
               the disk, of each.",
        tables: one_table([
            column("memory, empty", "empty", "memory", Unit::Bytes),
            column("disk, empty", "empty", "disk", Unit::Bytes),
            column("memory, one record", "one", "memory", Unit::Bytes),
            column("disk, one record", "one", "disk", Unit::Bytes),
            column("disk, closed", "closed", "disk", Unit::Bytes),
        ]),
        takes,
        warm: 0,
        most_reps: super::ALL,
        run: run_footprint,
        charts: Vec::new(),
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    for (count, name) in COUNTS {
        let count = if bench.quick { count / 20 } else { count };
        let limits = bench.limits(400, 64 << 20, SIZE);
        let setup = Setup::new(SIZE, limits.most * SIZE as u64).shared(count, 1);
        if !bench.can(name, &setup) {
            continue;
        }
        let dir = bench.folder()?;
        let before = resident_bytes()?;
        let start = now();
        let log = bench.peer.open(&dir, &setup)?;
        let mut payloads = Payloads::new(SIZE);
        {
            let mut writers = (0..count).map(|one| log.writer(one)).collect::<Result<Vec<_>>>()?;
            writers.iter_mut().try_for_each(|writer| writer.append(payloads.record(0)))?;
            bench.figure(name, "make", start.elapsed().as_secs_f64() / f64::from(count) * 1e6);
            pause(std::time::Duration::from_millis(200));
            let memory = resident_bytes()?.saturating_sub(before);
            bench.figure(name, "memory", memory as f64 / f64::from(count));

            let mut active: Vec<_> = writers.iter_mut().step_by(100).collect();
            let start = now();
            let mut rounds = 0;
            while start.elapsed() < limits.time && rounds * (active.len() as u64) < limits.most {
                rounds += 1;
                for writer in &mut active {
                    writer.append(payloads.record(rounds))?;
                }
            }
            let appended = rounds * active.len() as u64;
            bench.figure(name, "rate", appended as f64 / start.elapsed().as_secs_f64());
            drop(active);
            drop(writers);
            log.close()?;
            bench.figure(name, "disk", disk_bytes(&dir)? as f64 / f64::from(count));
            let start = now();
            let log = bench.peer.open(&dir, &setup)?;
            bench.figure(name, "open", start.elapsed().as_secs_f64() * 1e3);
            log.close()?;
            for one in [0, count - 1] {
                let of_one = if one % 100 == 0 { rounds + 1 } else { 1 };
                bench.verify(&dir, &setup, one, &[of_one], &payloads)?;
            }
        }
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

fn run_footprint(bench: &Bench<'_>) -> Result<()> {
    let setup = Setup::new(SIZE, 1 << 20).shared(FEW, 1);
    if !bench.can("empty", &setup) {
        return Ok(());
    }
    let dir = bench.folder()?;
    let each = |bytes: u64| bytes as f64 / f64::from(FEW);
    let mut payloads = Payloads::new(SIZE);
    let before = resident_bytes()?;
    let log = bench.peer.open(&dir, &setup)?;
    let memory = || -> Result<f64> {
        pause(std::time::Duration::from_millis(300));
        Ok(each(resident_bytes()?.saturating_sub(before)))
    };
    bench.figure("empty", "memory", memory()?);
    bench.figure("empty", "disk", each(disk_bytes(&dir)?));
    {
        let mut writers = (0..FEW).map(|one| log.writer(one)).collect::<Result<Vec<_>>>()?;
        writers.iter_mut().try_for_each(|writer| writer.append(payloads.record(0)))?;
        bench.figure("one", "memory", memory()?);
        bench.figure("one", "disk", each(disk_bytes(&dir)?));
    }
    log.close()?;
    bench.figure("closed", "disk", each(disk_bytes(&dir)?));
    Ok(())
}
