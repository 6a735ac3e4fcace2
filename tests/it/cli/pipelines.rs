//! The examples that work in groups: killed half-way, started again, and taken over by each other.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::tool::{example, feed};

fn run(name: &str, dir: &Path) -> String {
    feed(Command::new(example(name)).arg(dir), b"").ok().text().to_owned()
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

/// The orders of the lines that begin with this word.
fn orders<'a>(word: &str, said: impl IntoIterator<Item = &'a String>) -> BTreeSet<&'a str> {
    said.into_iter().filter_map(|line| line.strip_prefix(word)).collect()
}

#[test]
fn totals_are_those_of_an_undisturbed_run_wherever_it_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let undisturbed = run("flight_delays", &home.path().join("undisturbed"));
    assert!(
        undisturbed.starts_with("101 airports, ") || undisturbed.contains(" airports, "),
        "{undisturbed}"
    );
    assert_eq!(undisturbed, expected());
    let dir = home.path().join("killed");
    for after in ["1", "2500", "3000"] {
        let mut child = spawn(Command::new(example("flight_delays")).arg(&dir).arg(after));
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        // It stands still, or has counted less than that before it came to its end.
        let first = said.next().unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(first.starts_with("counted "), "{first}");
    }
    assert_eq!(run("flight_delays", &dir), undisturbed);
    assert_eq!(run("flight_delays", &dir), undisturbed, "once more, with nothing to do");
}

/// The same, counted without a log.
fn expected() -> String {
    let csv = include_str!("../../../examples/data/flights.csv");
    let mut airports = std::collections::BTreeMap::<&str, (u64, i64)>::new();
    for line in csv.lines().skip(1) {
        let column: Vec<&str> = line.split(',').collect();
        let airport = airports.entry(column[13]).or_default();
        if let Ok(minutes) = column[8].parse::<i64>() {
            airport.0 += 1;
            airport.1 += minutes;
        }
    }
    let (arrivals, minutes) = airports.values().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    let mut text =
        format!("{} airports, {arrivals} arrivals, {minutes} minutes late in all\n", airports.len());
    text += "airport  arrivals  mean delay\n";
    let mut worst: Vec<_> = airports.into_iter().filter(|(_, (arrivals, _))| *arrivals >= 10).collect();
    let mean = |of: &(u64, i64)| of.1 as f64 / of.0 as f64;
    worst.sort_by(|(a, x), (b, y)| mean(y).total_cmp(&mean(x)).then(a.cmp(b)));
    for (airport, of) in worst.iter().take(10) {
        text += &format!("{airport:<7}  {:>8}  {:>6.1} min\n", of.0, mean(of));
    }
    text
}

#[test]
fn programs_take_over_from_each_other_without_losing_an_order() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("orders");
    let mut said = Vec::new();
    for (program, orders) in [("orders_threads", 60), ("orders_async", 90), ("orders_threads", 20)] {
        let mut child = spawn(Command::new(example(program)).arg(&dir));
        let mut placed = 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while placed < orders {
            let line = lines.next().unwrap().unwrap();
            placed += u32::from(line.starts_with("placed "));
            said.push(line);
        }
        child.kill().unwrap(); // SIGKILL
        said.extend(lines.map_while(Result::ok));
        child.wait().unwrap();
    }
    said.extend(run("orders_async", &dir).lines().map(str::to_owned));
    let (placed, billed) = (orders("placed ", &said), orders("billed ", &said));
    assert!(placed.len() >= 200 + 60 + 90 + 20);
    assert!(billed.is_superset(&placed), "{:?}", placed.difference(&billed));
}
