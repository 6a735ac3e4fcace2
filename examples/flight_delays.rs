//! A pipeline over 8,832 real departures from New York: which airports do flights reach late?
//!
//! ```text
//!   flights.csv -> flights (by destination) -> group of four workers -> delays-by-airport -> the ten worst
//! ```
//!
//! Kill it at any moment and start it again: the totals are those of an undisturbed run. Delivery is at least
//! once, and counting is idempotent:
//! - A flight is published once: what each partition holds is a beginning of what goes there, so as many are
//!   passed over as it holds.
//! - Statistics say up to which offset of `flights` they count. They are written, to the partition of the same
//!   number, before that offset is committed; who takes a partition over reads them first, and passes over
//!   flights that are counted already.
//!
//! `cargo run --release --example flight_delays [DIRECTORY [PAUSE_AFTER]]`: with a number it stands still when so
//! many flights are counted, to be killed.
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use millpond::consumer::RebalanceListener;
use millpond::prelude::*;
use millpond::{ErrorKind, TopicPartition};

const FLIGHTS: TopicDef<Utf8, Utf8> = TopicDef::new("flights").partitions(8);
const DELAYS: TopicDef<Utf8, Utf8> = TopicDef::new("delays-by-airport").partitions(8);
const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights.csv");
const ARR_DELAY: usize = 8; // in minutes; NA if it never arrived
const DEST: usize = 13;

type AnyResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What is known of an airport, counting the flights below `next_offset`.
#[derive(Clone, Copy, Debug, Default)]
struct Delays {
    arrivals: u64,
    minutes: i64,
    next_offset: u64,
}

impl Delays {
    fn parse(text: &str) -> Option<Delays> {
        let mut numbers = text.split(' ');
        let arrivals = numbers.next()?.parse().ok()?;
        let (minutes, next_offset) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Delays { arrivals, minutes, next_offset })
    }

    fn text(&self) -> String {
        format!("{} {} {}", self.arrivals, self.minutes, self.next_offset)
    }
}

/// What all workers share.
struct Progress {
    published: AtomicBool,
    counted: AtomicU64,
    pause_after: Option<u64>,
}

fn main() -> AnyResult<()> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap_or_else(|| "flight-delays-data".into());
    let pause_after = arguments.next().map(|number| number.parse()).transpose()?;
    let broker = Broker::open(&dir)?;
    broker.topic(&DELAYS)?;
    let progress = Progress { published: AtomicBool::new(false), counted: AtomicU64::new(0), pause_after };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| work(&broker, &progress))).collect();
        let published = publish(&broker);
        progress.published.store(true, Ordering::Release);
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        published
    })?;
    print_worst(&broker)?;
    broker.close().wait()?;
    Ok(())
}

/// Publishes what is not there yet.
fn publish(broker: &Broker) -> AnyResult<()> {
    let flights = broker.topic(&FLIGHTS)?;
    let mut there = Vec::new();
    for partition in flights.partitions()? {
        there.push(partition.log_end_offset().get());
    }
    let producer = flights.producer()?;
    for line in BufReader::new(File::open(CSV)?).lines().skip(1) {
        let line = line?;
        let airport = line.split(',').nth(DEST).ok_or("a line without a destination")?;
        let at = airport.bytes().map(usize::from).sum::<usize>() % there.len();
        if there[at] > 0 {
            there[at] -= 1;
            continue;
        }
        drop(producer.send(Record::new(&line).key(airport).partition(at as u32))?);
    }
    producer.flush().wait()?;
    Ok(())
}

/// Notes the partitions that have come: what was known of them may be old.
struct Fresh(Arc<Mutex<Vec<TopicPartition>>>);

impl RebalanceListener for Fresh {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        self.0.lock().expect("nobody panics").extend_from_slice(partitions);
    }
}

/// Counts the flights of its partitions until all are counted.
fn work(broker: &Broker, progress: &Progress) -> AnyResult<()> {
    let fresh = Arc::new(Mutex::new(Vec::new()));
    let group = broker.group("delays")?.config(GroupConfig::new().max_records(500));
    let mut consumer = group.listener(Fresh(fresh.clone())).join(&FLIGHTS)?;
    let producer = broker.topic(&DELAYS)?.producer()?;
    let mut known: HashMap<u32, HashMap<String, Delays>> = HashMap::new();
    loop {
        let all_published = progress.published.load(Ordering::Acquire);
        let records = consumer.poll().wait_timeout(Duration::from_millis(20))?;
        for partition in fresh.lock().expect("nobody panics").drain(..) {
            known.insert(partition.partition(), load(broker, partition.partition())?);
        }
        let mut changed: HashMap<(u32, String), Delays> = HashMap::new();
        for record in &records {
            let line = record.value()?;
            let airport = record.key()?;
            let of_partition = known.entry(record.partition()).or_default();
            let delays = of_partition.entry(airport.to_owned()).or_default();
            if record.offset().get() < delays.next_offset {
                continue; // counted already
            }
            delays.next_offset = record.offset().get() + 1;
            if let Some(Ok(minutes)) = line.split(',').nth(ARR_DELAY).map(str::parse::<i64>) {
                delays.arrivals += 1;
                delays.minutes += minutes;
            }
            changed.insert((record.partition(), airport.to_owned()), *delays);
            let counted = progress.counted.fetch_add(1, Ordering::Relaxed) + 1;
            pause(progress, counted);
        }
        for ((partition, airport), delays) in &changed {
            drop(producer.send(Record::new(&delays.text()).key(airport).partition(*partition))?);
        }
        producer.flush().wait()?; // the statistics first,
        match consumer.commit(&records).wait() {
            // then how far they go. Who has the partition now counts them again, to the same result.
            Err(error) if error.kind() == ErrorKind::Rebalanced => {}
            committed => committed?,
        }
        let lag = broker.group("delays")?.lag()?;
        if all_published && records.is_empty() && lag.iter().all(|lag| lag.records() == 0) {
            consumer.close().wait()?;
            return Ok(());
        }
    }
}

/// Stands still, if that is asked for here.
fn pause(progress: &Progress, counted: u64) {
    if progress.pause_after.is_some_and(|after| counted >= after) {
        println!("counted {counted}");
        loop {
            thread::park();
        }
    }
}

/// The last statistics of a partition's airports.
fn load(broker: &Broker, partition: u32) -> AnyResult<HashMap<String, Delays>> {
    let mut found = HashMap::new();
    let mut reader = broker.topic(&DELAYS)?.partition(partition)?.read(..)?;
    while let Some(records) = reader.next()? {
        for record in &records {
            let delays = Delays::parse(record.value()?).ok_or("statistics that are none")?;
            found.insert(record.key()?.to_owned(), delays);
        }
    }
    Ok(found)
}

fn print_worst(broker: &Broker) -> AnyResult<()> {
    let mut all = Vec::new();
    for partition in 0..broker.topic(&DELAYS)?.partition_count() {
        all.extend(load(broker, partition)?);
    }
    let (arrivals, minutes) = all.iter().fold((0, 0), |sum, (_, d)| (sum.0 + d.arrivals, sum.1 + d.minutes));
    println!("{} airports, {arrivals} arrivals, {minutes} minutes late in all", all.len());
    let mean = |delays: &Delays| delays.minutes as f64 / delays.arrivals.max(1) as f64;
    all.retain(|(_, delays)| delays.arrivals >= 10);
    all.sort_by(|(a, x), (b, y)| mean(y).total_cmp(&mean(x)).then_with(|| a.cmp(b)));
    println!("airport  arrivals  mean delay");
    for (airport, delays) in all.iter().take(10) {
        println!("{airport:<7}  {:>8}  {:>6.1} min", delays.arrivals, mean(delays));
    }
    Ok(())
}
