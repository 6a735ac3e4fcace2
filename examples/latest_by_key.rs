//! Where is every aircraft now? The flights of New York's airports (1 to 10 January 2013) go to a compacted topic,
//! keyed by tail number; a `Table` of it holds the last known airport of each aircraft, and opens from a snapshot
//! the second time.
//!
//! `cargo run --release --example latest_by_key [DIRECTORY]`
#![expect(clippy::print_stdout, reason = "an example speaks to its user")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};

use millpond::config::CleanupPolicy;
use millpond::prelude::*;

/// Of each tail number the latest airport stays, for ever; what was before goes.
const POSITIONS: TopicDef<Utf8, Utf8> = TopicDef::new("positions").settings(compacted);
const CSV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/flights.csv");

// The columns of the file that we look at.
const AIR_TIME: usize = 14; // NA if the flight was cancelled, or did not arrive
const TAIL_NUMBER: usize = 11;
const DESTINATION: usize = 13;

type AnyResult<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn compacted() -> TopicConfig {
    TopicConfig::new()
        .cleanup_policy(CleanupPolicy::Compact)
        .segment_size(ByteSize::kib(64)) // small, so that there is something to compact
        .batch_size(ByteSize::kib(4))
}

fn main() -> AnyResult<()> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "positions-data".into());
    let broker = Broker::open(&dir)?;
    let positions = broker.topic(&POSITIONS)?;
    let truth = publish(&positions)?;

    let before = positions.describe().size_bytes();
    let report = positions.compact()?.wait()?; // else it is done in the background, when half of the log is new
    println!(
        "{} of {} records are the latest of their aircraft: {before} bytes became {}",
        report.records_after(),
        report.records_before(),
        positions.describe().size_bytes()
    );

    let table = positions.table()?;
    let how = if table.is_from_snapshot() { "from its snapshot" } else { "from the log" };
    println!("The table of {} aircraft opened {how}", table.len());
    for (aircraft, airport) in &truth {
        assert_eq!(table.get(aircraft.as_str())?, Some(airport.as_str()), "{aircraft}");
    }
    table.save_snapshot()?;
    assert!(positions.table()?.is_from_snapshot());

    let mut at: BTreeMap<&str, u32> = BTreeMap::new();
    for aircraft in table.iter() {
        *at.entry(aircraft.value()?).or_default() += 1;
    }
    let mut airports: Vec<_> = at.into_iter().collect();
    airports.sort_by_key(|&(name, count)| (std::cmp::Reverse(count), name));
    println!("Most aircraft were last seen flying to:");
    for (name, count) in airports.iter().take(5) {
        println!("  {name} {count:>4}");
    }
    drop((table, positions));
    broker.close().wait()?;
    Ok(())
}

/// Sends where each flight went, and answers where each aircraft is in the end.
fn publish(positions: &Topic<Utf8, Utf8>) -> AnyResult<BTreeMap<String, String>> {
    let producer = positions.producer()?;
    let mut truth = BTreeMap::new();
    for line in BufReader::new(File::open(CSV)?).lines().skip(1) {
        let line = line?;
        let column: Vec<&str> = line.split(',').collect();
        let (aircraft, airport) = (column[TAIL_NUMBER], column[DESTINATION]);
        if column[AIR_TIME] == "NA" || aircraft == "NA" || aircraft.is_empty() {
            continue;
        }
        drop(producer.send(Record::new(airport).key(aircraft))?);
        truth.insert(aircraft.to_owned(), airport.to_owned());
    }
    producer.flush().wait()?;
    Ok(truth)
}
