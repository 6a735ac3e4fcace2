//! Append in batches of 100, nothing synced.

use super::append::{SIZES, run};
use super::{Call, Unit, Work, bars, column, files, one_table};

pub fn work() -> Work {
    Work {
        name: "batch",
        title: "Append in batches of 100",
        what: "One thread, 100 records a call, by the best call there is for that; nothing synced.",
        tables: one_table(SIZES.iter().map(|(_, name)| column(name, name, "rate", Unit::Rate))),
        takes: files,
        warm: 640,
        most_reps: super::ALL,
        run: |bench| run(bench, Call::Batch(100)),
        charts: vec![
            bars("batch-100", "Batches of 100 x 100 B", "100 B", "rate"),
            bars("batch-1k", "Batches of 100 x 1 KiB", "1 KiB", "rate"),
        ],
    }
}
