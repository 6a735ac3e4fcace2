//! `verify` and `repair`: whether the files are as they should be, and making them so.
//!
//! ```text
//!   0  clean
//!   1  unsettled: a torn tail, an unsealed batch; the next opening settles it
//!   2  corrupt: file and position are named; `repair` says what it drops
//! ```
//!
//! Invariant: `verify` changes nothing, and works beside a program that has the directory open.

use std::fmt::Display;
use std::io::{Write, stdout};
use std::path::PathBuf;

use millpond::broker::{Verdict, VerifyReport};

use crate::data::{must_exist, observe};
use crate::failure::{CORRUPT, DONE, FAILED, Failure, Outcome};
use crate::progress::Watch;

/// Read everything, and say what is not as it should be: exit code 0 clean, 1 unsettled, 2 corrupt.
///
/// Unsettled is what the next opening settles by itself: a torn tail, a batch that was not sealed.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Cut what is corrupt, and say what that drops. Nothing else may have the directory open.
#[derive(Debug, clap::Args)]
pub(crate) struct Repair {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

impl Verify {
    /// Reads everything.
    pub(crate) fn run(self) -> Outcome {
        let observer = observe(&self.data)?;
        let watch = Watch::new();
        let report = observer.verify(|progress| {
            watch.show(progress.topic_partition(), progress.bytes_done(), progress.bytes_total());
        })?;
        drop(watch);
        print_report(&report)?;
        Ok(match report.verdict() {
            Verdict::Clean => DONE,
            Verdict::Unsettled => FAILED,
            _ => CORRUPT,
        })
    }
}

impl Repair {
    /// Cuts what is corrupt.
    pub(crate) fn run(self) -> Outcome {
        must_exist(&self.data)?;
        let report = millpond::broker::repair(&self.data)?;
        for action in report.actions() {
            print(action)?;
        }
        match report.actions().len() {
            0 => print("nothing to repair")?,
            1 => print(format_args!("1 repair, {} bytes dropped", report.bytes_dropped()))?,
            count => print(format_args!("{count} repairs, {} bytes dropped", report.bytes_dropped()))?,
        }
        Ok(DONE)
    }
}

fn print_report(report: &VerifyReport) -> Outcome<()> {
    if report.was_live() {
        print("live: a program has the directory open; batches that it has not sealed were not looked at")?;
    }
    for finding in report.findings() {
        print(finding)?;
    }
    let partitions = report.partitions();
    let batches: u64 = partitions.iter().map(|partition| partition.batches()).sum();
    let records: u64 = partitions.iter().map(|partition| partition.records()).sum();
    let bytes: u64 = partitions.iter().map(|partition| partition.bytes()).sum();
    let verdict = match report.verdict() {
        Verdict::Clean => "clean",
        Verdict::Unsettled => "unsettled (the next opening settles it)",
        _ => "corrupt (see repair)",
    };
    let count = partitions.len();
    print(format_args!("{verdict}: {count} partitions, {batches} batches, {records} records, {bytes} bytes"))
}

fn print(line: impl Display) -> Outcome<()> {
    writeln!(stdout(), "{line}").map_err(|e| Failure::output(&e))
}
