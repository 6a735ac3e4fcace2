//! From the moment a record was meant to be sent to the moment a reader has it, at fixed rates.
//!
//! The time of a record is when the pace asked for it, not when the writer came to it: a writer that was
//! held up does not hide what its records waited. Writer and reader are pinned to a processor each.

use std::time::Instant;

use super::{Bench, Call, Unit, Work, append, bars, column};
use crate::Result;
use crate::machine::{now, percentile, pin};
use crate::payloads::Payloads;
use crate::peer::{Log, Reader, Setup, Writer};
use crate::sink::Sink;

const SIZE: usize = 100;
/// Nanoseconds between two records, and how the reader waits.
const PACES: [(u64, Way, &str); 5] = [
    (100_000, Way::Polling, "polling 10k"),
    (10_000, Way::Polling, "polling 100k"),
    (1_000, Way::Polling, "polling 1M"),
    (100_000, Way::Parked, "parked 10k"),
    (10_000, Way::Parked, "parked 100k"),
];
/// A reader so far behind, in seconds, has lost.
const MOST_BEHIND: f64 = 3.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Polling,
    Parked,
}

pub fn work() -> Work {
    let table = |name: &str| {
        let metrics = ["p50", "p99", "p99.9", "max"];
        let columns = metrics.iter().map(|metric| column(metric, name, metric, Unit::Micros)).collect();
        (format!("{name}/s"), columns)
    };
    Work {
        name: "latency",
        title: "Publish to consume at fixed rates",
        what: "Records of 100 B at so many a second, nothing synced; the time runs from the moment the pace \
               asked for the record (not from the call: coordinated omission is avoided) until the reader has \
               it. Writer and reader have a processor each; the reader polls, or sleeps until it is woken. On \
               shared virtual processors p99 and above tell more about the host than about the code.",
        tables: PACES.iter().map(|(_, _, name)| table(name)).collect(),
        takes: |facts| !facts.name.starts_with("raw") && facts.name != "millpond topics",
        warm: 256,
        most_reps: super::ALL,
        run,
        charts: vec![
            bars("latency-polling", "Publish to consume, 100k/s, polling: p50", "polling 100k", "p50"),
            bars("latency-parked", "Publish to consume, 100k/s, parked: p50", "parked 100k", "p50"),
        ],
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    for (pace, way, name) in PACES {
        let millis = if bench.quick { 100 } else { 300 };
        let count = millis * 1_000_000 / pace;
        let setup = Setup::new(SIZE, count * SIZE as u64).tailed();
        if !bench.can(name, &setup) {
            continue;
        }
        let dir = bench.folder()?;
        let log = bench.peer.open(&dir, &setup)?;
        let is_lossy = bench.peer.reads_once() || bench.peer.facts().name == "handover";
        let measured = paced(log.as_ref(), pace, way, count, is_lossy);
        match measured {
            Ok(late) => {
                let us = |share| percentile(&late, share) as f64 / 1e3;
                for (metric, share) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
                    bench.figure(name, metric, us(share));
                }
            }
            Err(error) => bench.why(name, error.to_string().trim_start_matches("cannot: ")),
        }
        log.close()?;
    }
    Ok(())
}

/// How late each record came, sorted.
fn paced(log: &dyn Log, pace: u64, way: Way, count: u64, is_lossy: bool) -> Result<Vec<u64>> {
    let (mut writer, mut reader) = (log.writer(0)?, log.reader(0)?);
    if way == Way::Parked && !reader.can_wait() {
        return Err("a reader cannot sleep".into());
    }
    let start = now();
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            pin(0);
            write(writer.as_mut(), start, pace, count)
        });
        pin(1);
        let sink = Sink::new(1).watching(start, pace, count as usize + 1);
        let sink = if is_lossy { sink.forgiving() } else { sink };
        let late = read(reader.as_mut(), sink, way, count, start, pace);
        writing.join().map_err(|_| "the writer died")??;
        late
    })
}

/// Sends each record at its time.
fn write(writer: &mut dyn Writer, start: Instant, pace: u64, count: u64) -> Result<()> {
    let mut payloads = Payloads::new(SIZE);
    for n in 0..count {
        let due = (n + 1) * pace;
        loop {
            let time = start.elapsed().as_nanos() as u64;
            if time >= due {
                break;
            }
            std::hint::spin_loop();
        }
        append(writer, Call::One, &mut payloads, n..n + 1)?;
    }
    Ok(())
}

fn read(
    reader: &mut dyn Reader,
    mut sink: Sink<'_>,
    way: Way,
    count: u64,
    start: Instant,
    pace: u64,
) -> Result<Vec<u64>> {
    let end = (count * pace) as f64 / 1e9 + MOST_BEHIND;
    let mut polls = 0_u32;
    while sink.next_of(0) < count {
        match way {
            Way::Parked => reader.wait(&mut sink)?,
            Way::Polling => {
                if !reader.read(&mut sink)? {
                    std::hint::spin_loop();
                }
            }
        }
        polls = polls.wrapping_add(1);
        if polls % 1024 == 0 && start.elapsed().as_secs_f64() > end {
            break;
        }
    }
    sink.check_order()?;
    let is_far_behind = sink.next_of(0) < count;
    let late = sink.latencies();
    if is_far_behind || late.is_empty() {
        return Err("cannot keep the rate".into());
    }
    Ok(late)
}
