//! `bench`: how fast this machine is, in a few seconds.
//!
//! ```text
//!   send           one thread sends, and waits for the last record
//!   send + wait    one thread waits for each record before it sends the next
//!   send to read   from a send until a reader that waited has the record in hand
//!   read           one thread reads, and looks at every byte
//! ```
//!
//! Invariants: payloads are random, never zeros; a measurement ends after its time or after [`MOST_BYTES`],
//! whichever comes first; everything happens in a folder of its own, which is removed afterwards.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use millpond::Topic;
use millpond::config::Durability;
use millpond::env::Environment;
use millpond::prelude::*;

use crate::failure::{DONE, Failure, Outcome};
use crate::pace::Stopwatch;

/// The most bytes one measurement writes.
const MOST_BYTES: u64 = 256 << 20;
const SIZES: [usize; 2] = [100, 1024];
/// How many records go between two looks at the clock.
const STRIDE: u64 = 64;

/// Report throughput and latency of this machine.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Measure on this directory's disk, in a folder that is removed afterwards [default: the system's
    /// directory for temporary files].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many seconds each measurement takes, at most.
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: Duration,
}

impl Bench {
    /// Measures and reports.
    pub(crate) fn run(self) -> Outcome {
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("millpond-bench-");
        let made = match &self.data {
            Some(data) => std::fs::create_dir_all(data).and_then(|()| builder.tempdir_in(data)),
            None => builder.tempdir(),
        };
        let dir = made.map_err(|e| Failure::failed(format!("could not make a folder to measure in: {e}")))?;
        print(format_args!("in {}", dir.path().display()))?;
        let broker = Broker::open(dir.path())?;
        let measured = self.measure_all(&broker);
        let closed = broker.close().wait();
        measured?;
        closed?;
        dir.close().map_err(|e| Failure::failed(format!("could not remove the folder again: {e}")))?;
        Ok(DONE)
    }

    fn measure_all(&self, broker: &Broker) -> Outcome<()> {
        let levels = [Durability::Memory, Durability::Sync];
        for (n, (level, size)) in levels.into_iter().flat_map(|l| SIZES.map(|s| (l, s))).enumerate() {
            let name = format!("bench-{n}");
            let topic = broker.create_topic(&name, TopicConfig::new().durability(level))?;
            let payload = random_bytes(size);
            let what = format!("{size} B, {level}");
            print(format_args!("send          {what:<16} {}", self.send(&topic, &payload)?))?;
            print(format_args!("read          {what:<16} {}", read(&topic)?))?;
            print(format_args!("send + wait   {what:<16} {}", self.send_and_wait(&topic, &payload)?))?;
            print(format_args!("send to read  {what:<16} {}", self.send_to_read(&topic, &payload)?))?;
            broker.delete_topic(&name)?;
        }
        Ok(())
    }

    fn send(&self, topic: &Topic, payload: &[u8]) -> Outcome<Throughput> {
        let producer = topic.producer()?;
        let (watch, mut count) = (Stopwatch::start(), 0);
        while !self.is_over(&watch, count, payload) {
            for _ in 0..STRIDE {
                // Its delivery is not looked at: the flush tells.
                drop(producer.send(Record::new(payload))?);
            }
            count += STRIDE;
        }
        producer.flush().wait()?;
        Ok(Throughput { records: count, bytes: count * payload.len() as u64, took: watch.elapsed() })
    }

    fn send_and_wait(&self, topic: &Topic, payload: &[u8]) -> Outcome<Latency> {
        let producer = topic.producer()?;
        let (watch, mut latency) = (Stopwatch::start(), Latency::default());
        while !self.is_over(&watch, latency.count(), payload) {
            let one = Stopwatch::start();
            producer.send(Record::new(payload))?.wait()?;
            latency.add(one.elapsed());
        }
        Ok(latency)
    }

    fn send_to_read(&self, topic: &Topic, payload: &[u8]) -> Outcome<Latency> {
        let (told, hear) = std::sync::mpsc::channel();
        let watch = Stopwatch::start();
        let mut reader = topic.partition(0)?.reader(Start::Latest)?;
        let producer = topic.producer()?;

        std::thread::scope(|scope| {
            let reading = scope.spawn(move || -> millpond::Result<()> {
                // The reader ends when nobody listens any more.
                loop {
                    let records = reader.poll().wait()?;
                    let now = watch.elapsed();
                    for _ in &records {
                        if told.send(now).is_err() {
                            return Ok(());
                        }
                    }
                }
            });
            let mut latency = Latency::default();
            while !self.is_over(&watch, latency.count(), payload) {
                let sent = watch.elapsed();
                drop(producer.send(Record::new(payload))?);
                match hear.recv() {
                    Ok(read) => latency.add(read.saturating_sub(sent)),
                    Err(_) => break,
                }
            }
            drop(hear);
            // One more, so that the reader notices.
            drop(producer.send(Record::new(payload))?);
            let failed = |_| Failure::failed("the reading thread failed");
            reading.join().map_err(failed)??;
            Ok(latency)
        })
    }

    fn is_over(&self, watch: &Stopwatch, count: u64, payload: &[u8]) -> bool {
        count * payload.len() as u64 >= MOST_BYTES || watch.elapsed() >= self.seconds
    }
}

fn read(topic: &Topic) -> Outcome<Throughput> {
    let mut reader = topic.partition(0)?.reader(Start::Earliest)?;
    let (watch, mut records, mut bytes, mut sum) = (Stopwatch::start(), 0, 0, 0u64);
    while let Some(chunk) = reader.next()? {
        for record in &chunk {
            let value = record.value()?.unwrap_or_default();
            records += 1;
            bytes += value.len() as u64;
            sum = value.iter().fold(sum, |sum, byte| sum.wrapping_add(u64::from(*byte)));
        }
    }
    std::hint::black_box(sum);
    Ok(Throughput { records, bytes, took: watch.elapsed() })
}

/// So many records in some time.
struct Throughput {
    records: u64,
    bytes: u64,
    took: Duration,
}

impl Display for Throughput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.took.as_secs_f64().max(1e-9);
        let (records, megabytes) = (self.records as f64 / seconds, self.bytes as f64 / seconds / 1e6);
        write!(f, "{records:>12.0} records/s {megabytes:>10.1} MB/s")
    }
}

/// How long each of many took.
#[derive(Default)]
struct Latency {
    each: Vec<Duration>,
}

impl Latency {
    fn add(&mut self, one: Duration) {
        self.each.push(one);
    }

    fn count(&self) -> u64 {
        self.each.len() as u64
    }
}

impl Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.each.clone();
        sorted.sort_unstable();
        let Some(last) = sorted.len().checked_sub(1) else { return write!(f, "nothing was measured") };
        let total: Duration = sorted.iter().sum();
        let rate = sorted.len() as f64 / total.as_secs_f64().max(1e-9);
        let at = |percent: usize| sorted[last * percent / 100].as_secs_f64() * 1e6;
        write!(
            f,
            "{rate:>12.0} records/s   p50 {:.1} us, p99 {:.1} us, max {:.1} us",
            at(50),
            at(99),
            at(100)
        )
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds")?;
    if !(0.01..=60.0).contains(&seconds) {
        return Err("expected 0.01 to 60 seconds".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn random_bytes(len: usize) -> Vec<u8> {
    let environment = Environment::system();
    let words = std::iter::repeat_with(|| environment.random().next_u64().to_be_bytes());
    words.flatten().take(len).collect()
}

fn print(line: impl Display) -> Outcome<()> {
    writeln!(stdout(), "{line}").map_err(|e| Failure::output(&e))
}
