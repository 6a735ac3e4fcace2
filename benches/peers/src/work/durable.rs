//! Appends that are on the device when they return: 1, 8 and 64 threads that wait, and batches.

use std::sync::Barrier;
use std::time::Instant;

use super::{Bench, Call, Limits, Unit, Work, append, append_for, bars, column, files};
use crate::Result;
use crate::machine::{calm_processor, now, percentile, pin};
use crate::payloads::Payloads;
use crate::peer::{Log, Setup, Writer};

const THREADS: [(u32, &str); 3] = [(1, "1 thread"), (8, "8 threads"), (64, "64 threads")];
const SIZE: usize = 1024;
const BATCH: u64 = 100;

pub fn work() -> Work {
    let rates = THREADS.iter().map(|(_, name)| column(name, name, "rate", Unit::Rate));
    let rates = rates.chain([column("batches of 100", "batch", "rate", Unit::Rate)]).collect();
    let time = |metric| {
        THREADS.iter().map(move |(_, name)| column(&format!("{name}, {metric}"), name, metric, Unit::Micros))
    };
    let times = time("p50").chain(time("p99")).collect();
    Work {
        name: "durable",
        title: "Durable appends",
        what: "Records of 1 KiB, each on the device when its append returns; one log, so many threads, each \
               waiting for its record before it sends the next; then one thread with batches of 100. Records \
               a second over all threads, and the time of one append.",
        tables: vec![("Records a second".into(), rates), ("Time of one append".into(), times)],
        takes: files,
        warm: 192,
        most_reps: super::ALL,
        run,
        charts: vec![
            bars("durable-1", "Durable appends, 1 thread", "1 thread", "rate"),
            bars("durable-8", "Durable appends, 8 threads", "8 threads", "rate"),
            bars("durable-64", "Durable appends, 64 threads", "64 threads", "rate"),
            bars("durable-batch", "Durable batches of 100", "batch", "rate"),
        ],
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    // A sleeper that wakes on a busy processor waits for its tick: the thread alone is pinned to the calm one.
    let limits = bench.limits(600, 128 << 20, SIZE);
    for (threads, name) in THREADS {
        let setup = Setup::new(SIZE, limits.most * SIZE as u64).durable().shared(1, threads);
        if !bench.can(name, &setup) {
            continue;
        }
        let dir = bench.folder()?;
        let log = bench.peer.open(&dir, &setup)?;
        let each = Limits { most: limits.most / u64::from(threads), ..limits };
        let (counts, mut times, time) = appends(log.as_ref(), threads, each)?;
        log.close()?;
        bench.verify(&dir, &setup, 0, &counts, &Payloads::new(SIZE))?;
        times.sort_unstable();
        bench.figure(name, "rate", counts.iter().sum::<u64>() as f64 / time);
        bench.figure(name, "p50", percentile(&times, 0.5) as f64 / 1e3);
        bench.figure(name, "p99", percentile(&times, 0.99) as f64 / 1e3);
    }
    batches(bench)
}

/// Counts of the threads, nanoseconds of each append, and the seconds they took together.
fn appends(log: &dyn Log, threads: u32, limits: Limits) -> Result<(Vec<u64>, Vec<u64>, f64)> {
    let payloads = Payloads::new(SIZE);
    let barrier = Barrier::new(threads as usize + 1);
    let mut writers = (0..threads).map(|_| log.writer(0)).collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        let handles: Vec<_> = writers
            .iter_mut()
            .enumerate()
            .map(|(number, writer)| {
                let (mut payloads, barrier) = (payloads.of_writer(number as u64), &barrier);
                scope.spawn(move || {
                    if threads == 1 {
                        pin(calm_processor());
                    }
                    barrier.wait();
                    append_timed(writer.as_mut(), &mut payloads, limits)
                })
            })
            .collect();
        barrier.wait();
        let (mut counts, mut times, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for handle in handles {
            let (of_one, start, end) = handle.join().map_err(|_| "a thread died")??;
            counts.push(of_one.len() as u64);
            times.extend(of_one);
            spans.push((start, end));
        }
        // This thread may wake long after the others began: they looked at the clock themselves.
        let first = spans.iter().map(|(start, _)| *start).min().ok_or("no threads")?;
        let last = spans.iter().map(|(_, end)| *end).max().ok_or("no threads")?;
        Ok((counts, times, (last - first).as_secs_f64()))
    })
}

/// Nanoseconds of each append, and when the first began and the last ended.
fn append_timed(
    writer: &mut dyn Writer,
    payloads: &mut Payloads,
    limits: Limits,
) -> Result<(Vec<u64>, Instant, Instant)> {
    let mut times = Vec::new();
    let start = now();
    while (times.len() as u64) < limits.most && start.elapsed() < limits.time {
        let before = now();
        let n = times.len() as u64;
        append(writer, Call::One, payloads, n..n + 1)?;
        times.push(before.elapsed().as_nanos() as u64);
    }
    Ok((times, start, now()))
}

fn batches(bench: &Bench<'_>) -> Result<()> {
    let limits = bench.limits(500, 384 << 20, SIZE);
    let setup = Setup::new(SIZE, limits.most * SIZE as u64).durable();
    if !bench.can("batch", &setup) {
        return Ok(());
    }
    let dir = bench.folder()?;
    let log = bench.peer.open(&dir, &setup)?;
    let mut payloads = Payloads::new(SIZE);
    let (count, time) =
        append_for(log.writer(0)?.as_mut(), Call::Batch(BATCH), &mut payloads, limits, BATCH)?;
    log.close()?;
    bench.verify(&dir, &setup, 0, &[count], &payloads)?;
    bench.figure("batch", "rate", count as f64 / time);
    Ok(())
}
