//! Single records by offset and by time, all over the log.

use super::{Bench, Call, Unit, Work, append_for, bars, column, one_table};
use crate::Result;
use crate::machine::{now, percentile};
use crate::payloads::Payloads;
use crate::peer::{Reader, Setup};
use crate::sink::Sink;

const SIZE: usize = 1024;
const BYTES: u64 = 256 << 20;
/// The time of the first record, in milliseconds.
const EPOCH: i64 = 1_700_000_000_000;

pub fn work() -> Work {
    let mut columns = Vec::new();
    for name in ["by offset", "by time"] {
        columns.push(column(name, name, "rate", Unit::Rate));
        columns.push(column("p50", name, "p50", Unit::Micros));
        columns.push(column("p99", name, "p99", Unit::Micros));
    }
    Work {
        name: "random",
        title: "Random reads",
        what: "256 MiB of 1 KiB records (less where that takes too long), closed and opened again, in the page \
               cache; one thread asks for one record at a time, by a random offset, then by a random time (each \
               record is a millisecond younger than the one before). millpond checks the whole batch of 100 when \
               it first comes to one of its records; commitlog, raft-engine and kafko the record each time.",
        tables: one_table(columns),
        takes: |facts| super::files(facts) && !facts.name.starts_with("raw"),
        warm: 512,
        most_reps: super::ALL,
        run,
        charts: vec![bars("random", "Random reads by offset", "by offset", "rate")],
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    let limits = bench.limits(1500, BYTES, SIZE);
    let setup = Setup::new(SIZE, limits.most * SIZE as u64);
    if !bench.can("by offset", &setup) {
        return Ok(());
    }
    let dir = bench.folder()?;
    let log = bench.peer.open(&dir, &setup)?;
    let (count, _) =
        append_for(log.writer(0)?.as_mut(), Call::Batch(100), &mut Payloads::new(SIZE), limits, 100)?;
    log.close()?;
    let log = bench.peer.open(&dir, &setup)?;
    fetch(bench, "by offset", count, log.reader(0)?.as_mut(), |reader, n, sink| reader.fetch(n, sink))?;
    log.close()?;
    std::fs::remove_dir_all(&dir)?;
    by_time(bench, &setup)
}

fn by_time(bench: &Bench<'_>, setup: &Setup) -> Result<()> {
    let dir = bench.folder()?;
    let count = setup.bytes / SIZE as u64;
    let log = bench.peer.open(&dir, setup)?;
    {
        let mut payloads = Payloads::new(SIZE);
        let mut writer = log.writer(0)?;
        for n in 0..count {
            if let Err(error) = writer.append_at(payloads.record(n), EPOCH + n as i64) {
                bench.why("by time", error.to_string().trim_start_matches("cannot: "));
                return Ok(());
            }
        }
    }
    log.close()?;
    let log = bench.peer.open(&dir, setup)?;
    let by_time = |reader: &mut dyn Reader, n, sink: &mut Sink<'_>| reader.fetch_time(EPOCH + n as i64, sink);
    fetch(bench, "by time", count, log.reader(0)?.as_mut(), by_time)?;
    log.close()
}

/// Random records by offset, a second.
pub fn rate(bench: &Bench<'_>, count: u64, reader: &mut dyn Reader) -> Result<f64> {
    let (times, time) = fetch_for(bench, count, reader, |reader, n, sink| reader.fetch(n, sink))?;
    Ok(times.len() as f64 / time)
}

/// Tells the figures of random records.
fn fetch(
    bench: &Bench<'_>,
    name: &str,
    count: u64,
    reader: &mut dyn Reader,
    one: impl Fn(&mut dyn Reader, u64, &mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    let (mut times, time) = fetch_for(bench, count, reader, one)?;
    times.sort_unstable();
    bench.figure(name, "rate", times.len() as f64 / time);
    bench.figure(name, "p50", percentile(&times, 0.5) as f64 / 1e3);
    bench.figure(name, "p99", percentile(&times, 0.99) as f64 / 1e3);
    Ok(())
}

/// Fetches random records for a while: the nanoseconds of each, and the seconds of all.
fn fetch_for(
    bench: &Bench<'_>,
    count: u64,
    reader: &mut dyn Reader,
    one: impl Fn(&mut dyn Reader, u64, &mut Sink<'_>) -> Result<()>,
) -> Result<(Vec<u64>, f64)> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % count
    };
    let limits = bench.limits(500, u64::MAX, SIZE);
    let mut times = Vec::new();
    let start = now();
    while start.elapsed() < limits.time {
        let n = random();
        let mut sink = Sink::from(n);
        let before = now();
        one(reader, n, &mut sink)?;
        times.push(before.elapsed().as_nanos() as u64);
        sink.check_order()?;
        if sink.seen != 1 {
            return Err(format!("{} records for one offset", sink.seen).into());
        }
    }
    Ok((times, start.elapsed().as_secs_f64()))
}
