//! Instructions per record, counted by callgrind: the same on an idle and on a busy machine, so that a
//! regression shows on any.
//!
//! ```text
//!   cargo bench --bench instructions              counts, and compares with benches/instructions.txt
//!   cargo bench --bench instructions -- --record  counts, and writes that file anew
//!
//!   this program --> valgrind --tool=callgrind this program run CALL n     for two n: the difference is
//!                                                                          n's, without the start
//! ```
//!
//! Needs valgrind; without it the comparison is skipped, loudly. What the background thread does meanwhile (it
//! prepares pages) is counted too: the margin allows for it.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints what it has found")]

mod common;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use millpond::config::{BrokerConfig, ReadMode};
use millpond::prelude::*;

use common::Result;
use common::payload::{Payloads, sum_of_words};

/// A count may be this much above the recorded one.
const MARGIN: f64 = 0.10;
/// What is recorded.
const RECORDED: &str = "benches/instructions.txt";
/// Records of the smaller and of the larger run.
const FEW: u64 = 20_000;
const MANY: u64 = 60_000;

/// A path whose instructions are counted: its name, and what one run of `n` records does.
type Call = (&'static str, fn(&Path, u64) -> Result<()>);

const CALLS: [Call; 7] = [
    ("send 100 B, in place", |dir, n| send(dir, n, Durability::Memory, 100, ByteSize::kib(64))),
    ("send 1 KiB, in place", |dir, n| send(dir, n, Durability::Memory, 1024, ByteSize::kib(64))),
    ("send 100 B, staged", send_staged),
    ("send 1000 B and seal", |dir, n| send(dir, n, Durability::Memory, 1000, ByteSize::kib(1))),
    ("send_batch of 100 x 100 B", send_batches),
    ("read 100 B, first", |dir, n| read(dir, n, 1)),
    ("read 100 B, twice", |dir, n| read(dir, n, 2)),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let done = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", call, n] => run(call, n),
        ["--record"] => count_all().and_then(|counts| record(&counts)),
        [] => count_all().and_then(|counts| compare(&counts)),
        _ => Err("usage: cargo bench --bench instructions [-- --record]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str, n: &str) -> Result<()> {
    let (_, call) = CALLS.iter().find(|(call, _)| *call == name).ok_or("no such call")?;
    let dir = tempfile::tempdir()?;
    call(dir.path(), n.parse()?)
}

fn topic(broker: &Broker, durability: Durability, batch_size: ByteSize) -> Result<Topic> {
    let settings = TopicConfig::new().durability(durability).batch_size(batch_size);
    Ok(broker.create_topic("counted", settings)?)
}

fn send(dir: &Path, n: u64, durability: Durability, size: usize, batch_size: ByteSize) -> Result<()> {
    let broker = Broker::open(dir)?;
    let producer = topic(&broker, durability, batch_size)?.producer()?;
    let mut payloads = Payloads::new(size);
    for i in 0..n {
        drop(producer.send(Record::new(payloads.stamped(i)))?);
    }
    Ok(broker.close().wait()?)
}

/// Without maps, and with a linger that never passes: when a batch is written does not depend on the time it takes.
fn send_staged(dir: &Path, n: u64) -> Result<()> {
    let config = BrokerConfig::new().read_mode(ReadMode::Buffered);
    let broker = Broker::builder(dir).config(config).open()?;
    let settings = TopicConfig::new().durability(Durability::Memory).linger(Duration::from_secs(60));
    let producer = broker.create_topic("counted", settings)?.producer()?;
    let mut payloads = Payloads::new(100);
    for i in 0..n {
        drop(producer.send(Record::new(payloads.stamped(i)))?);
    }
    Ok(broker.close().wait()?)
}

fn send_batches(dir: &Path, n: u64) -> Result<()> {
    let broker = Broker::open(dir)?;
    fill(&topic(&broker, Durability::Memory, ByteSize::kib(64))?, n)?;
    Ok(broker.close().wait()?)
}

fn fill(topic: &Topic, n: u64) -> Result<()> {
    let producer = topic.producer()?;
    let mut payloads: Vec<Payloads> = (0..100).map(|_| Payloads::new(100)).collect();
    for first in (0..n).step_by(payloads.len()) {
        let values: Vec<&[u8]> =
            (first..).zip(&mut payloads).map(|(i, payload)| payload.stamped(i)).collect();
        drop(producer.send_batch(values.iter().map(|value| Record::new(*value)))?);
    }
    Ok(())
}

fn read(dir: &Path, n: u64, times: u32) -> Result<()> {
    {
        let broker = Broker::open(dir)?;
        fill(&topic(&broker, Durability::Memory, ByteSize::kib(64))?, n)?;
        broker.close().wait()?;
    }
    let broker = Broker::open(dir)?;
    let topic = broker.topic("counted")?;
    let mut sum = 0_u64;
    for _ in 0..times {
        let mut reader = topic.partition(0)?.read(Offset::ZERO..)?;
        let mut seen = 0;
        while let Some(records) = reader.next()? {
            for record in &records {
                sum = sum.wrapping_add(sum_of_words(record.value()?.unwrap_or_default()));
                seen += 1;
            }
        }
        assert_eq!(seen, n, "every record is read");
    }
    std::hint::black_box(sum);
    Ok(broker.close().wait()?)
}

/// The instructions per record of every call.
fn count_all() -> Result<Vec<(&'static str, f64)>> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("SKIPPED: valgrind is not installed, nothing is counted");
        return Ok(Vec::new());
    }
    let mut counts = Vec::new();
    for (name, _) in CALLS {
        let (few, many) = (count(name, FEW)?, count(name, MANY)?);
        let each = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
        println!("{name:28} {each:8.1}");
        counts.push((name, each));
    }
    // What writing costs is in both reads, what the second pass costs only in one.
    let find = |name: &str| counts.iter().find(|(call, _)| *call == name).map_or(0.0, |(_, each)| *each);
    let (write, first, twice) =
        (find("send_batch of 100 x 100 B"), find("read 100 B, first"), find("read 100 B, twice"));
    for (name, each) in &mut counts {
        match *name {
            "read 100 B, first" => *each = first - write,
            "read 100 B, twice" => (*name, *each) = ("read 100 B, again", twice - first),
            _ => {}
        }
    }
    Ok(counts)
}

/// All instructions of a run.
fn count(name: &str, n: u64) -> Result<u64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args(["run", name, &n.to_string()])
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{name} failed under valgrind:\n{text}").into());
    }
    let line = text.lines().find_map(|line| line.split_once("Collected :"));
    let (_, total) = line.ok_or("valgrind has not counted")?;
    Ok(total.trim().parse()?)
}

fn recorded_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDED)
}

fn record(counts: &[(&str, f64)]) -> Result<()> {
    let mut text = String::from(
        "# Instructions per record. Written by `cargo bench --bench instructions -- --record`.\n",
    );
    for (name, each) in counts {
        writeln!(text, "{name:28} {each:8.1}")?;
    }
    Ok(std::fs::write(recorded_path(), text)?)
}

fn compare(counts: &[(&str, f64)]) -> Result<()> {
    let text = std::fs::read_to_string(recorded_path())?;
    let mut worse = String::new();
    println!("\n{:28} {:>8} {:>8}", "instructions per record", "now", "recorded");
    for (name, each) in counts {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let recorded: f64 = line.ok_or_else(|| format!("{name} is not recorded"))?.trim().parse()?;
        println!("{name:28} {each:8.1} {recorded:8.1}");
        if *each > recorded * (1.0 + MARGIN) {
            writeln!(worse, "{name}: {each:.1} instructions per record, {recorded:.1} recorded")?;
        }
    }
    if worse.is_empty() { Ok(()) } else { Err(worse.into()) }
}
