//! Opening 1 GiB: after a clean close, and after the process was killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::{Bench, Call, Limits, Unit, Work, append_for, column, files, one_table};
use crate::Result;
use crate::machine::{now, pause};
use crate::parent::child_command;
use crate::payloads::Payloads;
use crate::peer::{Log, Setup};
use crate::sink::Sink;

const SIZE: usize = 1024;
const BYTES: u64 = 1 << 30;
/// The part of a child that syncs what it writes, and is killed then.
const SYNCED: &str = "synced";

pub fn work() -> Work {
    Work {
        name: "open",
        title: "Opening 1 GiB",
        what: "1 GiB of 1 KiB records in batches of 100, nothing synced (less where filling takes more than 3 s); \
               closed and opened again, until somebody could append; then the same in a process that is killed (SIGKILL) as soon as it has \
               written. *Lost* counts records that had been acknowledged and are not there; what is there was \
               read and compared. *Synced*: the same with each batch on the device.",
        tables: one_table([
            column("clean", "clean", "open", Unit::Millis),
            column("after a kill", "kill", "open", Unit::Millis),
            column("lost", "kill", "lost", Unit::Count),
            column("payload", "kill", "bytes", Unit::Size),
            column("synced: after a kill", "synced", "open", Unit::Millis),
            column("lost", "synced", "lost", Unit::Count),
            column("payload", "synced", "bytes", Unit::Size),
        ]),
        takes: files,
        warm: 1024,
        most_reps: 1,
        run,
        charts: Vec::new(),
    }
}

/// Longer for what is synced, so that it has 1 GiB too.
fn limits(bench: &Bench<'_>, durable: bool) -> Limits {
    let seconds = if durable { 4 } else { 3 };
    Limits { time: Duration::from_secs(seconds), ..bench.limits(0, BYTES, SIZE) }
}

fn setup(bench: &Bench<'_>, durable: bool) -> Setup {
    let setup = Setup::new(SIZE, limits(bench, durable).most * SIZE as u64);
    if durable { setup.durable() } else { setup }
}

fn run(bench: &Bench<'_>) -> Result<()> {
    if let Some(part) = bench.part {
        return die_writing(bench, part);
    }
    if !bench.can("clean", &setup(bench, false)) {
        return Ok(());
    }
    after_close(bench)?;
    match bench.peer.cannot("append", &setup(bench, false)) {
        Some(why) => bench.why("kill", why),
        None => after_kill(bench, "kill")?,
    }
    match bench.peer.cannot("durable", &setup(bench, true)) {
        Some(why) => bench.why(SYNCED, why),
        None => after_kill(bench, SYNCED)?,
    }
    Ok(())
}

fn after_close(bench: &Bench<'_>) -> Result<()> {
    let setup = setup(bench, false);
    let dir = bench.folder()?;
    let (count, log) = fill(bench, &dir, &setup)?;
    log.close()?;
    let mut times = Vec::new();
    for _ in 0..3 {
        let start = now();
        let log = ready(bench, &dir, &setup)?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
        log.close()?;
    }
    bench.figure("clean", "open", crate::machine::median(&times));
    bench.verify(&dir, &setup, 0, &[count], &Payloads::new(SIZE))?;
    Ok(std::fs::remove_dir_all(&dir)?)
}

fn fill(bench: &Bench<'_>, dir: &Path, setup: &Setup) -> Result<(u64, Box<dyn Log>)> {
    let log = bench.peer.open(dir, setup)?;
    let limits = limits(bench, setup.durable);
    let mut payloads = Payloads::new(SIZE);
    let (count, _) = append_for(log.writer(0)?.as_mut(), Call::Batch(100), &mut payloads, limits, 100)?;
    log.settle()?;
    Ok((count, log))
}

/// Opens until somebody could append: some do their work only then.
pub fn ready(bench: &Bench<'_>, dir: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
    let log = bench.peer.open(dir, setup)?;
    drop(log.writer(0)?);
    Ok(log)
}

/// What the child does: writes, says how much, and waits for its end.
fn die_writing(bench: &Bench<'_>, part: &str) -> Result<()> {
    let dir = bench.dir.join(part);
    std::fs::create_dir_all(&dir)?;
    let (count, _log) = fill(bench, &dir, &setup(bench, part == SYNCED))?;
    println!("{count}");
    std::io::stdout().flush()?;
    pause(Duration::from_secs(60));
    Ok(())
}

fn after_kill(bench: &Bench<'_>, part: &str) -> Result<()> {
    let name = bench.peer.facts().name;
    let mut command = child_command("open", name, bench.dir, bench.quick)?;
    let mut victim = command.args(["--part", part]).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let told = victim.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    victim.kill()?;
    victim.wait()?;
    if !matches!(told, Some(Ok(_))) {
        return Err("the child that was to be killed died before".into());
    }
    let count: u64 = line.trim().parse()?;
    let dir = bench.dir.join(part);
    let setup = setup(bench, part == SYNCED);
    bench.peer.before_reopening(&dir)?;
    let start = now();
    let log = ready(bench, &dir, &setup)?;
    bench.figure(part, "open", start.elapsed().as_secs_f64() * 1e3);
    log.close()?;

    let mut sink = Sink::new(1);
    bench.peer.read_back(&dir, &setup, 0, &mut sink)?;
    sink.check_order()?;
    bench.figure(part, "lost", count.saturating_sub(sink.seen) as f64);
    bench.figure(part, "bytes", (count * SIZE as u64) as f64);
    Ok(std::fs::remove_dir_all(&dir)?)
}
