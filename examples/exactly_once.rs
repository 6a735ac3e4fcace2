//! Counts flights per carrier and day, exactly once, while it is killed again and again: the counts that it leaves
//! are, record for record, those of a run that nobody disturbed.
//!
//! ```text
//!   flights.csv --line n is sequence n--> topic flights --transactions--> topic counts
//!                idempotent producer                     counts and offsets, all or nothing
//!   driver: starts the worker, kills it with SIGKILL at random moments twenty times, lets it finish, compares
//! ```
//!
//! `cargo run --release --example exactly_once`
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use millpond::config::ReaderConfig;
use millpond::prelude::*;

const FLIGHTS: TopicDef<Utf8, Utf8> = TopicDef::new("flights").partitions(PARTITIONS);
const COUNTS: TopicDef<Utf8, Utf8> = TopicDef::new("counts").partitions(PARTITIONS);
const PARTITIONS: u32 = 3;
const KILLS: u32 = 20;
const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights.csv");

// The columns of the file that we look at.
const DAY: std::ops::Range<usize> = 0..3;
const CARRIER: usize = 9;

type AnyResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
/// How many flights there were so far, by carrier and day.
type Counts = BTreeMap<String, u64>;

fn main() -> AnyResult<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", dir] => work(Path::new(dir)),
        [] => drive(),
        _ => Err("no arguments are needed".into()),
    }
}

/// Brings the flights in, and counts them: from wherever an earlier worker was killed, to the end.
fn work(dir: &Path) -> AnyResult<()> {
    let broker = Broker::open(dir)?;
    import(&broker)?;
    count(&broker)?;
    broker.close().wait()?;
    Ok(())
}

/// Line `n` of the file is record `n / PARTITIONS` of partition `n % PARTITIONS`, however often this is tried.
fn import(broker: &Broker) -> AnyResult<()> {
    let text = std::fs::read_to_string(CSV)?;
    let importer = broker.topic(&FLIGHTS)?.idempotent_producer("importer")?;
    for partition in 0..PARTITIONS {
        let lines: Vec<&str> =
            text.lines().skip(1 + partition as usize).step_by(PARTITIONS as usize).collect();
        let done = importer.last_acknowledged(partition)?.map_or(0, |last| last + 1);
        let mut next = done;
        for batch in lines[done as usize..].chunks(25) {
            importer.send_at(partition, next, batch.iter().map(|line| Record::new(*line)))?.wait()?;
            next += batch.len() as u64;
            say("imported")?;
        }
    }
    Ok(())
}

/// Consumes, transforms and produces: each transaction holds the counts of a few flights, and how far it has come.
fn count(broker: &Broker) -> AnyResult<()> {
    let counts = broker.topic(&COUNTS)?;
    let mut so_far = (0..PARTITIONS).map(|p| last_counts(&counts, p)).collect::<AnyResult<Vec<_>>>()?;
    let config = GroupConfig::new().max_records(50).max_bytes(ByteSize::kib(6));
    let mut consumer = broker.group("counting")?.config(config).join(&FLIGHTS)?;
    let mut producer = broker.transactional("counting")?;
    loop {
        let records = consumer.poll().wait_timeout(Duration::from_millis(20))?;
        if records.is_empty() {
            return Ok(());
        }
        let mut txn = producer.begin()?;
        for record in &records {
            let partition = record.partition();
            let key = carrier_and_day(record.value()?);
            let count = so_far[partition as usize].entry(key.clone()).or_default();
            *count += 1;
            txn.send(&counts, Record::new(&count.to_string()).key(&key).partition(partition))?;
        }
        txn.commit_offsets(&consumer, &records)?;
        txn.commit().wait()?;
        say("committed")?;
    }
}

/// The counts that are committed in a partition: where an earlier worker has left off.
fn last_counts(counts: &Topic<Utf8, Utf8>, partition: u32) -> AnyResult<Counts> {
    let mut last = Counts::new();
    for (key, value) in committed(counts, partition)? {
        last.insert(key, value.parse()?);
    }
    Ok(last)
}

/// What readers of committed records see of a partition.
fn committed(counts: &Topic<Utf8, Utf8>, partition: u32) -> AnyResult<Vec<(String, String)>> {
    let config = ReaderConfig::new().isolation(Isolation::ReadCommitted);
    let mut reader = counts.partition(partition)?.reader_builder().config(config).build()?;
    let mut seen = Vec::new();
    while let Some(records) = reader.next()? {
        for record in &records {
            seen.push((record.key()?.to_owned(), record.value()?.to_owned()));
        }
    }
    Ok(seen)
}

fn carrier_and_day(line: &str) -> String {
    let column: Vec<&str> = line.split(',').collect();
    format!("{} {}", column[CARRIER], column[DAY].join("-"))
}

/// Tells the driver how far we are, and takes a step that it has left in the pipe; without a driver there are as
/// many as we like. So a worker that runs faster than its driver does not get away.
fn say(what: &str) -> AnyResult<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    out.flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Kills workers, lets one finish, and compares what they have left with the work of one that lived.
fn drive() -> AnyResult<()> {
    let scratch = std::env::temp_dir().join(format!("exactly-once-{}", std::process::id()));
    let (disturbed, calm) = (scratch.join("disturbed"), scratch.join("calm"));
    std::fs::create_dir_all(&scratch)?;
    let done = compare(&disturbed, &calm);
    std::fs::remove_dir_all(&scratch)?;
    done
}

fn compare(disturbed: &Path, calm: &Path) -> AnyResult<()> {
    let mut random = Random(u64::from(std::process::id()) << 20 | 1);
    let mut killed = 0;
    for _ in 0..KILLS {
        killed += u32::from(kill_at_random(disturbed, &mut random)?);
    }
    for dir in [disturbed, calm] {
        let lived = worker(dir)?.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        if !lived.success() {
            return Err("a worker failed".into());
        }
    }
    println!("Killed {killed} times while it imported and counted");
    let (left, expected) = (all_counts(disturbed)?, all_counts(calm)?);
    if left != expected {
        return Err("the counts differ from those of an undisturbed run".into());
    }
    let records: usize = left.iter().map(Vec::len).sum();
    let flights = std::fs::read_to_string(CSV)?.lines().count() - 1;
    if records != flights {
        return Err(format!("{records} counts of {flights} flights").into());
    }
    println!(
        "{records} records, the same as of an undisturbed run: nothing is missing, nothing is there twice"
    );
    Ok(())
}

/// Starts a worker and kills it some steps later; answers false if it had finished before.
fn kill_at_random(dir: &Path, random: &mut Random) -> AnyResult<bool> {
    const AHEAD: usize = 3;
    let mut child = worker(dir)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let out = child.stdout.take().ok_or("the worker says nothing")?;
    let mut steps_left = child.stdin.take().ok_or("the worker does not listen")?;
    let steps = random.below(24) as usize;
    steps_left.write_all("\n".repeat(steps + AHEAD).as_bytes())?;
    // Read on until the end: a worker that cannot speak would end by itself.
    let mut lines = BufReader::new(out).lines();
    let said = lines.by_ref().take(steps).filter(Result::is_ok).count();
    (0..random.below(5_000)).for_each(|_| std::thread::yield_now());
    child.kill()?;
    let lived = child.wait()?.success();
    Ok(said == steps && !lived)
}

fn worker(dir: &Path) -> AnyResult<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").arg(dir);
    Ok(command)
}

fn all_counts(dir: &Path) -> AnyResult<Vec<Vec<(String, String)>>> {
    let broker = Broker::open(dir)?;
    let counts = broker.topic(&COUNTS)?;
    let all = (0..PARTITIONS).map(|partition| committed(&counts, partition)).collect();
    drop(counts);
    broker.close().wait()?;
    all
}

/// Numbers by chance (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }
}
