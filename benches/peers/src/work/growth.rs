//! How cost grows: with the size of records, of batches, with the number of logs, with the length of a log.

use super::{Bench, Call, Chart, ChartKind, Limits, Unit, Work, append, append_for, column, step};
use crate::Result;
use crate::machine::{now, percentile};
use crate::payloads::Payloads;
use crate::peer::{Facts, Kind, Setup, Writer};

const SIZES: [u64; 9] = [16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
const BATCHES: [u64; 7] = [1, 3, 10, 30, 100, 300, 1000];
const LOGS: [u64; 4] = [1, 10, 100, 1000];
const LENGTHS: [u64; 4] = [64 << 20, 256 << 20, 1 << 30, 2 << 30];

/// Those whose curves are drawn.
fn takes(facts: &Facts) -> bool {
    facts.kind == Kind::Millpond && facts.name == "millpond"
        || ["khata", "commitlog", "yaque", "raft-engine", "raw map"].contains(&facts.name)
}

fn lines(
    file: &'static str,
    title: &'static str,
    metric: &'static str,
    axes: (&'static str, &'static str),
    unit: Unit,
) -> Chart {
    Chart { file, title, kind: ChartKind::Lines { metric, x: axes.0, y: axes.1, unit } }
}

fn tables(
    points: &[u64],
    unit: Unit,
    metric: &'static str,
    caption: &str,
) -> (String, Vec<crate::work::Column>) {
    let name = |point: &u64| match unit {
        Unit::Bytes => crate::report::in_unit(*point as f64, Unit::Bytes),
        _ => point.to_string(),
    };
    let kind = match metric {
        "rate" => Unit::Rate,
        "open" => Unit::Millis,
        _ => Unit::Micros,
    };
    (
        caption.into(),
        points.iter().map(|point| column(&name(point), &point.to_string(), metric, kind)).collect(),
    )
}

pub fn by_size() -> Work {
    Work {
        name: "by-size",
        title: "Cost over the size of a record",
        what: "One thread, one at a time, nothing synced: records a second, and the time of one append.",
        tables: vec![
            tables(&SIZES, Unit::Bytes, "rate", "Records a second"),
            tables(&SIZES, Unit::Bytes, "p50", "Time of one append, p50"),
            tables(&SIZES, Unit::Bytes, "p99", "Time of one append, p99"),
        ],
        takes,
        warm: 768,
        most_reps: super::ALL,
        run: run_sizes,
        charts: vec![
            lines(
                "by-size-rate",
                "Append one at a time",
                "rate",
                ("bytes of a record", "records/s"),
                Unit::Rate,
            ),
            lines(
                "by-size-bytes",
                "Append one at a time",
                "bytes",
                ("bytes of a record", "bytes/s"),
                Unit::BytesPerSecond,
            ),
            lines(
                "by-size-p50",
                "Time of one append, p50",
                "p50",
                ("bytes of a record", "time"),
                Unit::Micros,
            ),
            lines(
                "by-size-p99",
                "Time of one append, p99",
                "p99",
                ("bytes of a record", "time"),
                Unit::Micros,
            ),
        ],
    }
}

pub fn by_batch() -> Work {
    Work {
        name: "by-batch",
        title: "Cost over the size of a batch",
        what: "One thread, records of 100 B, so many a call, nothing synced.",
        tables: vec![
            tables(&BATCHES, Unit::Count, "rate", "Records a second"),
            tables(&BATCHES, Unit::Count, "p50", "Time of one call, p50"),
        ],
        takes,
        warm: 768,
        most_reps: super::ALL,
        run: run_batches,
        charts: vec![
            lines(
                "by-batch-rate",
                "Batches of 100 B records",
                "rate",
                ("records of a batch", "records/s"),
                Unit::Rate,
            ),
            lines(
                "by-batch-p50",
                "Time of one batch, p50",
                "p50",
                ("records of a batch", "time"),
                Unit::Micros,
            ),
        ],
    }
}

pub fn by_logs() -> Work {
    Work {
        name: "by-logs",
        title: "Cost over the number of active partitions",
        what: "One thread appends records of 100 B to so many logs in turn, one at a time, nothing synced.",
        tables: vec![tables(&LOGS, Unit::Count, "rate", "Records a second")],
        takes,
        warm: 768,
        most_reps: super::ALL,
        run: run_logs,
        charts: vec![lines(
            "by-logs",
            "One thread, many active logs, 100 B",
            "rate",
            ("active logs", "records/s"),
            Unit::Rate,
        )],
    }
}

pub fn by_length() -> Work {
    Work {
        name: "by-length",
        title: "Cost over the length of the log",
        what: "Records of 1 KiB in batches of 100 until the log has this length, nothing synced: records a second \
               of the last 32 MiB; closed, opened again, and single records by random offsets.",
        tables: vec![
            tables(&LENGTHS, Unit::Bytes, "rate", "Records a second at this length"),
            tables(&LENGTHS, Unit::Bytes, "open", "Opening after a clean close"),
            tables(&LENGTHS, Unit::Bytes, "fetch", "Random read by offset, mean"),
        ],
        takes: |facts| takes(facts) && facts.kind != Kind::Bound,
        warm: 1024,
        most_reps: 1,
        run: run_lengths,
        charts: vec![
            lines(
                "by-length-rate",
                "Batches of 1 KiB records",
                "rate",
                ("bytes of the log", "records/s"),
                Unit::Rate,
            ),
            lines(
                "by-length-open",
                "Opening after a clean close",
                "open",
                ("bytes of the log", "time"),
                Unit::Millis,
            ),
            lines(
                "by-length-fetch",
                "Random read by offset, mean",
                "fetch",
                ("bytes of the log", "time"),
                Unit::Micros,
            ),
        ],
    }
}

/// Rate within limits, then the times of single calls.
fn curve(bench: &Bench<'_>, point: u64, size: usize, call: Call) -> Result<()> {
    let name = point.to_string();
    let limits = bench.limits(150, 160 << 20, size);
    let times = Limits { most: (limits.most / 4).max(2), ..bench.limits(60, 256 << 20, size) };
    let setup = Setup::new(size, (limits.most + times.most + 2048) * size as u64);
    if !bench.can(&name, &setup) {
        return Ok(());
    }
    let dir = bench.folder()?;
    let mut payloads = Payloads::new(size);
    let log = bench.peer.open(&dir, &setup)?;
    let (count, late) = {
        let mut writer = log.writer(0)?;
        let writer = writer.as_mut();
        let (count, time) = append_for(writer, call, &mut payloads, limits, step(size, call))?;
        bench.figure(&name, "rate", count as f64 / time);
        bench.figure(&name, "bytes", (count * size as u64) as f64 / time);
        timed(writer, call, &mut payloads, count, times)?
    };
    log.close()?;
    bench.figure(&name, "p50", percentile(&late, 0.5) as f64 / 1e3);
    bench.figure(&name, "p99", percentile(&late, 0.99) as f64 / 1e3);
    bench.verify(&dir, &setup, 0, &[count], &payloads)?;
    Ok(std::fs::remove_dir_all(&dir)?)
}

/// How many there are then, and the nanoseconds of each call, sorted.
fn timed(
    writer: &mut dyn Writer,
    call: Call,
    payloads: &mut Payloads,
    first: u64,
    limits: Limits,
) -> Result<(u64, Vec<u64>)> {
    let many = if let Call::Batch(size) = call { size } else { 1 };
    let (mut count, mut times) = (first, Vec::new());
    let start = now();
    while count - first < limits.most && start.elapsed() < limits.time {
        let before = now();
        append(writer, call, payloads, count..count + many)?;
        times.push(before.elapsed().as_nanos() as u64);
        count += many;
    }
    times.sort_unstable();
    Ok((count, times))
}

fn run_sizes(bench: &Bench<'_>) -> Result<()> {
    SIZES.iter().try_for_each(|size| curve(bench, *size, *size as usize, Call::One))
}

fn run_batches(bench: &Bench<'_>) -> Result<()> {
    BATCHES.iter().try_for_each(|batch| curve(bench, *batch, 100, Call::Batch(*batch)))
}

fn run_logs(bench: &Bench<'_>) -> Result<()> {
    const SIZE: usize = 100;
    for count in LOGS {
        let name = count.to_string();
        let limits = bench.limits(200, 128 << 20, SIZE);
        let setup = Setup::new(SIZE, (limits.most / count + 1) * SIZE as u64).shared(count as u32, 1);
        if !bench.can(&name, &setup) {
            continue;
        }
        let dir = bench.folder()?;
        let mut payloads = Payloads::new(SIZE);
        let log = bench.peer.open(&dir, &setup)?;
        let rounds = {
            let mut writers = (0..count as u32).map(|one| log.writer(one)).collect::<Result<Vec<_>>>()?;
            let mut rounds = 0;
            let start = now();
            while rounds < limits.most / count && start.elapsed() < limits.time {
                let until = (rounds + 1000_u64.div_ceil(count)).min(limits.most / count);
                for n in rounds..until {
                    for writer in &mut writers {
                        writer.append(payloads.record(n))?;
                    }
                }
                rounds = until;
            }
            bench.figure(&name, "rate", (rounds * count) as f64 / start.elapsed().as_secs_f64());
            rounds
        };
        log.close()?;
        bench.verify(&dir, &setup, count as u32 - 1, &[rounds], &payloads)?;
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

fn run_lengths(bench: &Bench<'_>) -> Result<()> {
    const SIZE: usize = 1024;
    let mut last = 0.0;
    for length in LENGTHS {
        // Whoever would take too long is not asked for more.
        if last > 5.0 {
            bench.why(&length.to_string(), "would take too long");
            continue;
        }
        let start = now();
        length_of(bench, length, SIZE)?;
        last = start.elapsed().as_secs_f64();
    }
    Ok(())
}

fn length_of(bench: &Bench<'_>, length: u64, size: usize) -> Result<()> {
    let name = length.to_string();
    let length = if bench.quick { length / 16 } else { length };
    let count = length / size as u64;
    let setup = Setup::new(size, length);
    if !bench.can(&name, &setup) {
        return Ok(());
    }
    let dir = bench.folder()?;
    let mut payloads = Payloads::new(size);
    let log = bench.peer.open(&dir, &setup)?;
    {
        let mut writer = log.writer(0)?;
        let tail = count - (32 << 20) / size as u64 / if bench.quick { 16 } else { 1 };
        append(writer.as_mut(), Call::Batch(100), &mut payloads, 0..tail)?;
        let start = now();
        append(writer.as_mut(), Call::Batch(100), &mut payloads, tail..count)?;
        bench.figure(&name, "rate", (count - tail) as f64 / start.elapsed().as_secs_f64());
    }
    log.close()?;
    let start = now();
    let log = super::opening::ready(bench, &dir, &setup)?;
    bench.figure(&name, "open", start.elapsed().as_secs_f64() * 1e3);
    if bench.peer.cannot("random", &setup).is_none() {
        let rate = super::random::rate(bench, count, log.reader(0)?.as_mut())?;
        bench.figure(&name, "fetch", 1e6 / rate);
    }
    log.close()?;
    Ok(std::fs::remove_dir_all(&dir)?)
}
