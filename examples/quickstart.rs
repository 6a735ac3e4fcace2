//! Publishes 8,832 real departures from New York (1 to 10 January 2013), reads them back in parallel, and
//! tells how each airline did. Run it twice: the second time it finds its records from last time.
//!
//! `cargo run --release --example quickstart [DIRECTORY]`
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::thread;

use millpond::prelude::*;

const FLIGHTS: TopicDef<Utf8, Utf8> = TopicDef::new("flights").partitions(6);
const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights.csv");

// The columns of the file that we look at.
const DEP_DELAY: usize = 5; // in minutes; NA if the flight was cancelled
const CARRIER: usize = 9;
const TAIL_NUMBER: usize = 11;
const MINUTE: usize = 17;
const TIME_HOUR: usize = 18;

type AnyResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
/// The departure delays of each carrier's flights; `None` for those that were cancelled.
type Delays = BTreeMap<String, Vec<Option<i64>>>;

fn main() -> AnyResult<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "quickstart-data".into());
    let broker = Broker::open(&dir)?; // one directory, one process
    let flights = broker.topic(&FLIGHTS)?; // opened, or created the first time

    match records_in(&flights)? {
        0 => println!("Published {} departures to the topic flights in {dir}", publish(&flights)?),
        found => println!("Found {found} departures from last time in {dir}"),
    }
    print_carriers(&read_in_parallel(&flights)?);
    broker.close().wait()?;
    Ok(())
}

fn records_in(flights: &Topic<Utf8, Utf8>) -> millpond::Result<u64> {
    Ok(flights.partitions()?.iter().map(|partition| partition.log_end_offset().get()).sum())
}

/// Each line is a record, keyed by the aircraft's tail number: all flights of one aircraft stay in order.
fn publish(flights: &Topic<Utf8, Utf8>) -> AnyResult<usize> {
    let producer = flights.producer()?;
    let mut count = 0;
    for line in BufReader::new(File::open(CSV)?).lines().skip(1) {
        let line = line?;
        let column: Vec<&str> = line.split(',').collect();
        let departs = scheduled(column[TIME_HOUR], column[MINUTE]).ok_or("a time that is none")?;
        // The delivery tells when this one record is durable; we ask once, for all, with the flush below.
        drop(producer.send(Record::new(&line).key(column[TAIL_NUMBER]).timestamp(departs))?);
        count += 1;
    }
    producer.flush().wait()?; // now all are as durable as the topic promises: on the device
    Ok(count)
}

/// One thread for each partition; what they found is put together.
fn read_in_parallel(flights: &Topic<Utf8, Utf8>) -> AnyResult<Delays> {
    let partitions = flights.partitions()?;
    thread::scope(|scope| {
        let threads: Vec<_> = partitions.iter().map(|partition| scope.spawn(|| read(partition))).collect();
        let mut all = Delays::new();
        for thread in threads {
            for (carrier, delays) in thread.join().map_err(|_| "a reader panicked")?? {
                all.entry(carrier).or_default().extend(delays);
            }
        }
        Ok(all)
    })
}

fn read(partition: &Partition<Utf8, Utf8>) -> AnyResult<Delays> {
    let mut found = Delays::new();
    let mut reader = partition.read(Offset::ZERO..)?;
    while let Some(records) = reader.next()? {
        for record in &records {
            let column: Vec<&str> = record.value()?.split(',').collect(); // lent by the log, not copied
            found.entry(column[CARRIER].to_owned()).or_default().push(column[DEP_DELAY].parse().ok());
        }
    }
    Ok(found)
}

fn print_carriers(carriers: &Delays) {
    println!("carrier  departures  cancelled  mean departure delay");
    for (name, delays) in carriers {
        let departed: Vec<i64> = delays.iter().copied().flatten().collect();
        let mean = departed.iter().sum::<i64>() as f64 / departed.len().max(1) as f64;
        let cancelled = delays.len() - departed.len();
        println!("{name:<7}  {:>10}  {cancelled:>9}  {mean:>16.1} min", departed.len());
    }
}

/// The hour, such as `2013-01-01T10:00:00Z`, and the minute in it, as a timestamp.
fn scheduled(hour: &str, minute: &str) -> Option<Timestamp> {
    let number = |from: usize, to: usize| hour.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Days since 1970-01-01 in the Gregorian calendar; a year begins in March, so that leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = 365 * year + leap_days + (153 * month + 2) / 5 + day - 719_469;
    let minutes = (days * 24 + number(11, 13)?) * 60 + minute.parse::<i64>().ok()?;
    Some(Timestamp::from_millis(minutes * 60_000))
}
