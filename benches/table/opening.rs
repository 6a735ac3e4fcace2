//! Opening what is there, and what an idle broker takes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use millpond::config::BrokerConfig;
use millpond::prelude::*;

use crate::common::payload::{Payloads, stamp};
use crate::common::raw::RawFile;
use crate::common::{Result, machine, machine::seconds};
use crate::row::{Bench, Figures, Row, Target, open};

/// The child that is killed while it writes.
pub(crate) const VICTIM: &str = "victim";

const BATCH: usize = 100;
/// Batches of 100 x 1 KiB.
const GIB: u64 = 10_230;
/// What lies above the recovery point when the kill comes: just below 16 MiB.
const ABOVE: u64 = 160;

/// The rows.
pub(crate) fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "open 1 GiB after a clean close",
            unit: "ms",
            target: Target::AtMost(5.0),
            run: after_close,
        },
        Row {
            name: "open 1 GiB after a kill, 16 MiB above the recovery point (bound: write and sync them)",
            unit: "ms",
            target: Target::AtMostMore(20.0),
            run: after_kill,
        },
        Row { name: "memory of an idle broker", unit: "KiB", target: Target::AtMost(1024.0), run: idle },
        Row { name: "disk of an empty topic", unit: "KiB", target: Target::AtMost(64.0), run: empty },
    ]
}

fn fill(producer: &Producer, payloads: &mut Payloads, batches: std::ops::Range<u64>) -> Result<()> {
    for n in batches {
        drop(producer.send_batch(payloads.batch(n * BATCH as u64, BATCH).map(Record::new))?);
    }
    Ok(())
}

fn after_close(bench: &Bench<'_>) -> Result<Figures> {
    let (broker, topic) = open(bench.dir, Durability::Memory, 1)?;
    fill(&topic.producer()?, &mut Payloads::new(1024), 0..GIB)?;
    broker.close().wait()?;
    drop((topic, broker));
    let mut times = Vec::new();
    for _ in 0..5 {
        let (time, broker) = seconds(|| Ok(Broker::open(bench.dir.join("data"))?))?;
        times.push(time * 1e3);
        if !broker.recovery().was_clean() {
            return Err("the directory had been closed".into());
        }
        check_ends(&broker, GIB)?;
        broker.close().wait()?;
    }
    Ok(Figures::alone(machine::median(&times)))
}

/// First and last record are there, and nothing behind them.
fn check_ends(broker: &Broker, batches: u64) -> Result<()> {
    let topic = broker.topic("bench")?;
    let count = batches * BATCH as u64;
    for start in [Start::Earliest, Start::Last(1)] {
        let mut reader = topic.partition(0)?.reader(start)?;
        let expected = reader.position().get();
        let records = reader.next()?.ok_or("no records")?;
        let first = records.iter().next().ok_or("no record")?;
        if stamp(first.value()?.unwrap_or_default()) != expected {
            return Err(format!("a wrong record at offset {expected}").into());
        }
    }
    let end = topic.partition(0)?.log_end_offset().get();
    if end == count { Ok(()) } else { Err(format!("{end} records, {count} were written").into()) }
}

fn after_kill(bench: &Bench<'_>) -> Result<Figures> {
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--child", VICTIM, "--dir"])
        .arg(bench.dir)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let ready = victim.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    victim.kill()?;
    victim.wait()?;
    if !matches!(ready, Some(Ok(_))) || line.trim() != "written" {
        return Err("the child that was to be killed died before".into());
    }
    let (ours, broker) = seconds(|| Ok(Broker::open(bench.dir.join("data"))?))?;
    let recovered = broker.recovery().partitions().map(|(_, one)| one.bytes_rewritten()).sum::<u64>();
    if broker.recovery().was_clean() {
        return Err("the directory had not been closed".into());
    }
    check_ends(&broker, GIB + ABOVE)?;

    let bytes = vec![0xa5; 1 << 20];
    let mut file = RawFile::create(bench.dir, 16 << 20)?;
    let (bound, ()) = seconds(|| {
        (0..16).try_for_each(|_| file.write(&bytes))?;
        file.sync()
    })?;
    let figures = Figures { ours: ours * 1e3, bound: Some(bound * 1e3), notes: Vec::new() };
    Ok(figures.note("MiB rewritten", recovered as f64 / f64::from(1_u32 << 20)))
}

/// Writes 1 GiB, waits until the recovery point has followed, writes 16 MiB more, says so, and waits for
/// the end that the parent has in mind.
pub(crate) fn die_writing(dir: &Path) -> Result<()> {
    let config = BrokerConfig::new()
        .checkpoint_interval(Duration::from_millis(300))
        .memory_flush_interval(Duration::from_secs(2));
    let broker = Broker::builder(dir.join("data")).config(config).open()?;
    let settings = TopicConfig::new().durability(Durability::Memory).segment_size(ByteSize::mib(1536));
    let topic = broker.create_topic("bench", settings)?;
    let (producer, mut payloads) = (topic.producer()?, Payloads::new(1024));
    fill(&producer, &mut payloads, 0..GIB)?;
    let partition = topic.partition(0)?;
    while partition.flushed_offset() < partition.log_end_offset() {
        machine::pause(Duration::from_millis(20));
    }
    machine::pause(Duration::from_millis(700));
    fill(&producer, &mut payloads, GIB..GIB + ABOVE)?;
    println!("written");
    machine::pause(Duration::from_secs(60));
    Ok(())
}

fn idle(bench: &Bench<'_>) -> Result<Figures> {
    let (before, own) = (machine::resident_bytes()?, machine::anonymous_bytes()?);
    let (broker, topic) = open(bench.dir, Durability::Sync, 1)?;
    let producer = topic.producer()?;
    machine::pause(Duration::from_millis(300));
    let (after, own_after) = (machine::resident_bytes()?, machine::anonymous_bytes()?);
    drop((producer, topic, broker));
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    let figures = Figures::alone(kib(after.saturating_sub(before)));
    // The rest is code that was run for the first time, 64 KiB around each page of it.
    Ok(figures.note("of it no pages of files", kib(own_after.saturating_sub(own))))
}

fn empty(bench: &Bench<'_>) -> Result<Figures> {
    let (_broker, topic) = open(bench.dir, Durability::Memory, 1)?;
    let producer = topic.producer()?;
    machine::pause(Duration::from_millis(300));
    drop(producer);
    let bytes = machine::disk_bytes(&bench.dir.join("data").join("bench-0"))?;
    Ok(Figures::alone(bytes as f64 / 1024.0))
}
