//! The quickstart, run twice.

use std::process::Command;

use super::tool::{example, feed};

#[test]
fn the_second_run_finds_what_the_first_one_published() {
    let home = tempfile::tempdir().unwrap();
    let run = || feed(Command::new(example("quickstart")).current_dir(home.path()), b"").ok();

    let first = run();
    let (said, table) = first.text().split_once('\n').unwrap();
    assert_eq!(said, "Published 8832 departures to the topic flights in quickstart-data");
    let again = run();
    let (said, same) = again.text().split_once('\n').unwrap();
    assert_eq!(said, "Found 8832 departures from last time in quickstart-data");
    assert_eq!(table, same);
    assert_eq!(table, expected());
    assert!(home.path().join("quickstart-data").is_dir());
}

/// The same, counted without a log.
fn expected() -> String {
    let csv = include_str!("../../../examples/data/flights.csv");
    let mut carriers = std::collections::BTreeMap::<&str, (u32, u32, i64)>::new();
    for line in csv.lines().skip(1) {
        let column: Vec<&str> = line.split(',').collect();
        let carrier = carriers.entry(column[9]).or_default();
        if column[3] == "NA" {
            carrier.1 += 1;
        } else {
            carrier.0 += 1;
            carrier.2 += column[5].parse::<i64>().unwrap();
        }
    }
    let mut table = String::from("carrier  departures  cancelled  mean departure delay\n");
    for (name, (departed, cancelled, delay)) in carriers {
        let mean = delay as f64 / f64::from(departed);
        table += &format!("{name:<7}  {departed:>10}  {cancelled:>9}  {mean:>16.1} min\n");
    }
    table
}
