//! millpond beside what a user would pick instead, in one run.
//!
//! ```text
//!   cargo run --release --manifest-path benches/peers/Cargo.toml -- all
//!   ... -- append khata --reps 5      one workload; one peer, beside millpond
//!   ... -- durable latency --quick    two workloads, all peers, small
//!   ... -- report                     tables and plots again, from the rows kept
//!
//!   parent: repetition > workload > peer (in turn) --> child process: calm memory, one workload, figures
//!           rows.tsv <------------------------------ "figure <point> <metric> <value>" lines
//!           BENCHMARKS.md (between its marks), docs/plots/*.svg <-- medians of the rows
//! ```
//!
//! Invariants
//! - Whoever is measured is measured in a process of its own, in turn with the others, in an order that
//!   changes with each repetition.
//! - What was written is read back and compared; what is wrong has no figure.
//! - Every payload is random and was prepared before.

mod conditions;
#[path = "../../common/machine.rs"]
#[allow(dead_code, reason = "shared with the table of figures, which takes other parts")]
mod machine;
mod options;
mod parent;
mod payloads;
mod peer;
mod peers;
mod report;
mod rows;
mod sink;
mod work;

use std::process::ExitCode;

use options::Options;

/// Whatever went wrong.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Of a step.
pub type Result<T> = std::result::Result<T, Failure>;

fn main() -> ExitCode {
    match Options::from_arguments().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let Some(child) = &options.child {
        return work::run_child(child, options);
    }
    if !options.report_only {
        parent::measure(options)?;
    }
    report::write(options)
}
