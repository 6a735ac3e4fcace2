//! The table of figures: every row beside the raw loop that bounds it, measured in the same run.
//!
//! ```text
//!   cargo bench --bench table                      all rows, five repetitions
//!   cargo bench --bench table -- --reps 9 send     rows whose name has "send" in it
//!   cargo bench --bench table -- --dir PATH        data below PATH (default: the directory for temporary files)
//!
//!   parent: for each repetition, for each row --> child process: calm memory, row and bound, figures
//!           medians <---------------------------------------- "figure ours 13.1" lines
//! ```
//!
//! Invariants
//! - A row and its bound run in one process, in an order that changes with each repetition, and the ratio
//!   is the median of the ratios of the repetitions.
//! - What was written is read back (count, order, sum of all words); a row that is wrong has no figure.
//! - Every payload is random.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a table is there to be printed")]

mod cleaning;
#[path = "../common/mod.rs"]
mod common;
mod durable;
mod groups;
mod harness;
mod latency;
mod memory;
mod opening;
mod reading;
mod row;
mod together;
mod transactions;

use std::path::PathBuf;
use std::process::ExitCode;

use common::Result;
use row::Row;

/// What the command line asks for.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// How often each row is measured.
    pub(crate) reps: usize,
    /// Where the data goes.
    pub(crate) dir: PathBuf,
    /// Only rows whose name holds one of these.
    pub(crate) only: Vec<String>,
    /// Measured by `cargo bench`, not merely run as a test.
    pub(crate) bench: bool,
    /// This process measures one row.
    pub(crate) child: Option<String>,
    /// Ours first, then the bound.
    pub(crate) ours_first: bool,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let rows = rows();
    if let Some(name) = &options.child {
        if name.starts_with(opening::VICTIM) {
            return opening::die_writing(&options.dir);
        }
        let row = rows.iter().find(|row| row.name == name).ok_or("no such row")?;
        return harness::measure(row, options);
    }
    if !options.bench {
        println!("the table is measured by `cargo bench --bench table`");
        return Ok(());
    }
    harness::table(&rows, options)
}

/// All rows, in the order of the table.
fn rows() -> Vec<Row> {
    let mut rows = memory::rows();
    rows.extend(durable::rows());
    rows.extend(reading::rows());
    rows.extend(together::rows());
    rows.extend(groups::rows());
    rows.extend(latency::rows());
    rows.extend(opening::rows());
    rows.extend(transactions::rows());
    rows.extend(cleaning::rows());
    rows
}

fn options() -> Result<Options> {
    let mut options = Options { reps: 5, dir: std::env::temp_dir(), ..Options::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} wants a value"));
        match argument.as_str() {
            "--bench" => options.bench = true,
            "--reps" => options.reps = value()?.parse()?,
            "--dir" => options.dir = value()?.into(),
            "--child" => options.child = Some(value()?),
            "--ours-first" => options.ours_first = true,
            other if other.starts_with("--") => return Err(format!("unknown option {other}").into()),
            _ => options.only.push(argument),
        }
    }
    Ok(options)
}
