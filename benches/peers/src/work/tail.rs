//! Reading while it is written, as fast as both go.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Bench, Call, Limits, Unit, Work, append, bars, column, one_table};
use crate::Result;
use crate::machine::now;
use crate::payloads::Payloads;
use crate::peer::{Log, Reader, Setup, Writer};
use crate::sink::Sink;

/// Time for the reader to come to the end behind the writer.
const MOST_SECONDS: f64 = 10.0;

pub fn work() -> Work {
    Work {
        name: "tail",
        title: "Reading while writing",
        what: "One thread appends one at a time, unpaced, nothing synced; one reads behind it, and waits as it \
               can. The rate is that of the reader until it has all. *Skipped* counts records that the reader \
               never got, or got again.",
        tables: one_table([
            column("100 B", "100 B", "rate", Unit::Rate),
            column("1 KiB", "1 KiB", "rate", Unit::Rate),
            column("skipped, 100 B", "100 B", "skipped", Unit::Count),
        ]),
        takes: |facts| !["handover", "raw file", "millpond topics"].contains(&facts.name),
        warm: 640,
        most_reps: super::ALL,
        run,
        charts: vec![
            bars("tail-100", "One writer and one reader, 100 B", "100 B", "rate"),
            bars("tail-1k", "One writer and one reader, 1 KiB", "1 KiB", "rate"),
        ],
    }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    for (size, name) in super::append::SIZES {
        let limits = bench.limits(500, 320 << 20, size);
        let setup = Setup::new(size, (limits.most + 1) * size as u64).tailed();
        if !bench.can(name, &setup) {
            continue;
        }
        let dir = bench.folder()?;
        let log = bench.peer.open(&dir, &setup)?;
        let payloads = Payloads::new(size);
        let is_lossy = bench.peer.reads_once();
        let (count, sink, time) = follow(log.as_ref(), payloads.of_writer(0), limits, is_lossy)?;
        log.close()?;
        std::fs::remove_dir_all(&dir)?;
        if sink.skipped + sink.returned == 0 {
            sink.finish(&[count], &payloads)?;
        }
        bench.figure(name, "rate", sink.seen as f64 / time);
        bench.figure(name, "skipped", (sink.skipped + sink.returned) as f64);
    }
    Ok(())
}

/// How many were sent, what the reader saw, and the seconds until it had all.
fn follow(
    log: &dyn Log,
    payloads: Payloads,
    limits: Limits,
    is_lossy: bool,
) -> Result<(u64, Sink<'static>, f64)> {
    // Unknown until the writer has decided which record is its last; told before that is sent, so that
    // the reader waits only while something is to come.
    let total = AtomicU64::new(u64::MAX);
    let (mut writer, mut reader) = (log.writer(0)?, log.reader(0)?);
    let start = now();
    std::thread::scope(|scope| {
        let total = &total;
        let writing = scope.spawn(move || write(writer.as_mut(), payloads, limits, total));
        let sink = read(reader.as_mut(), total, is_lossy);
        let time = start.elapsed().as_secs_f64();
        let count = writing.join().map_err(|_| "the writer died")?;
        Ok((count?, sink?, time))
    })
}

fn write(writer: &mut dyn Writer, mut payloads: Payloads, limits: Limits, total: &AtomicU64) -> Result<u64> {
    let start = now();
    let mut count = 0;
    while count < limits.most && start.elapsed() < limits.time {
        let end = (count + 64).min(limits.most);
        let appended = append(writer, Call::One, &mut payloads, count..end);
        if appended.is_err() {
            total.store(count, Ordering::Release);
        }
        appended?;
        count = end;
    }
    total.store(count + 1, Ordering::Release);
    append(writer, Call::One, &mut payloads, count..count + 1)?;
    Ok(count + 1)
}

fn read(reader: &mut dyn Reader, total: &AtomicU64, is_lossy: bool) -> Result<Sink<'static>> {
    let mut sink = if is_lossy { Sink::new(1).forgiving() } else { Sink::new(1) };
    let start = now();
    let waits = reader.can_wait();
    while sink.next_of(0) < total.load(Ordering::Acquire) {
        if waits {
            reader.wait(&mut sink)?;
        } else if !reader.read(&mut sink)? {
            if start.elapsed().as_secs_f64() > MOST_SECONDS {
                return Err(format!("the reader stopped at record {}", sink.next_of(0)).into());
            }
            std::hint::spin_loop();
        }
        sink.check_order()?;
    }
    Ok(sink)
}
