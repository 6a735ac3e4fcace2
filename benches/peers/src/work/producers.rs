//! Several producers, on one log and on several.

use std::sync::Barrier;
use std::time::Instant;

use super::{Bench, Call, Limits, Unit, Work, append_for, bars, column, files, one_table, step};
use crate::Result;
use crate::machine::now;
use crate::payloads::Payloads;
use crate::peer::{Log, Setup};

/// Producers, logs.
const GRID: [(u32, u32, &str); 6] = [
    (1, 1, "1 on 1"),
    (4, 1, "4 on 1"),
    (16, 1, "16 on 1"),
    (4, 4, "4 on 4"),
    (16, 4, "16 on 4"),
    (16, 16, "16 on 16"),
];
const SIZE: usize = 100;

pub fn work() -> Work {
    Work {
        name: "producers",
        title: "Several producers",
        what: "So many threads on so many logs (partitions, topics, queues), each appending 100 B one at a time \
               to one of them, nothing synced; records a second of all together.",
        tables: one_table(GRID.iter().map(|(_, _, name)| column(name, name, "rate", Unit::Rate))),
        takes: files,
        warm: 512,
        most_reps: super::ALL,
        run,
        charts: vec![
            bars("producers-4-4", "4 producers on 4 logs, 100 B", "4 on 4", "rate"),
            bars("producers-16-1", "16 producers on one log, 100 B", "16 on 1", "rate"),
        ],
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    for (writers, logs, name) in GRID {
        let limits = bench.limits(300, 256 << 20, SIZE);
        // Whatever a thread gets, its log has room for it.
        let each = Limits { most: limits.most / u64::from(writers), ..limits };
        let per_log = u64::from(writers / logs);
        let setup = Setup::new(SIZE, each.most * per_log * SIZE as u64).shared(logs, writers);
        if !bench.can(name, &setup) {
            continue;
        }
        let dir = bench.folder()?;
        let log = bench.peer.open(&dir, &setup)?;
        let (counts, time) = appends(log.as_ref(), writers, logs, each)?;
        log.close()?;
        for log in 0..logs {
            let of_log: Vec<u64> = counts.iter().skip(log as usize).step_by(logs as usize).copied().collect();
            bench.verify(&dir, &setup, log, &of_log, &Payloads::new(SIZE))?;
        }
        std::fs::remove_dir_all(&dir)?;
        bench.figure(name, "rate", counts.iter().sum::<u64>() as f64 / time);
    }
    Ok(())
}

/// Records of each thread, and the seconds of all together. Thread `t` writes to log `t % logs`, where it is
/// writer `t / logs`.
fn appends(log: &dyn Log, writers: u32, logs: u32, limits: Limits) -> Result<(Vec<u64>, f64)> {
    let payloads = Payloads::new(SIZE);
    let barrier = Barrier::new(writers as usize + 1);
    let mut handles = (0..writers).map(|thread| log.writer(thread % logs)).collect::<Result<Vec<_>>>()?;
    let spans = std::thread::scope(|scope| {
        let threads: Vec<_> = handles
            .iter_mut()
            .enumerate()
            .map(|(thread, writer)| {
                let mut payloads = payloads.of_writer(thread as u64 / u64::from(logs));
                let barrier = &barrier;
                scope.spawn(move || -> Result<(u64, Instant, Instant)> {
                    barrier.wait();
                    let start = now();
                    let step = step(SIZE, Call::One);
                    let (count, _) = append_for(writer.as_mut(), Call::One, &mut payloads, limits, step)?;
                    Ok((count, start, now()))
                })
            })
            .collect();
        barrier.wait();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread died")?)
            .collect::<Result<Vec<_>>>()
    })?;
    drop(handles);
    let start = now();
    log.settle()?;
    // With more threads than processors this thread may wake long after they began.
    let first = spans.iter().map(|(_, start, _)| *start).min().unwrap_or(start);
    let last = spans.iter().map(|(_, _, end)| *end).max().unwrap_or(start);
    let time = (last - first + start.elapsed()).as_secs_f64();
    Ok((spans.iter().map(|(count, ..)| *count).collect(), time))
}
