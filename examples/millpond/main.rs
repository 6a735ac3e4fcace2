//! The command-line tool: publishes lines, reads them back, and looks after a data directory.
//!
//! ```text
//!   produce  consume         records in and out
//!   topics  describe         what is there (also beside a running program)
//!   create  delete           topics
//!   groups  lag  top         consumer groups, how far they are, and what happens now (also beside a running program)
//!   reset-offsets  delete-group  delete-offsets
//!   compact  retain          what need not be kept
//!   dump  verify  repair     the files themselves
//!   txns  abort-txn  settle-txns   transactions that are open, or hidden by damage
//!   producers                who has numbered its records
//!   bench                    how fast this machine is
//! ```
//!
//! Run it with `cargo run --release --example millpond -- help`.
//!
//! Invariants: bad input gets one line on standard error and exit code 64 (usage) or 1 (failure), never a
//! panic; a closed pipe ends a command quietly; commands that only look take no lock and write nothing.

mod acks;
mod admin;
mod bench;
mod cleaning;
mod consume;
mod data;
mod dump;
mod failure;
mod groups;
mod key;
mod lines;
mod live;
mod output;
mod pace;
mod produce;
mod progress;
mod reset;
mod share;
mod stop;
mod top;
mod topics;
mod transactions;
mod verify;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use failure::{DONE, Failure, Outcome};

/// Publish to, read from and look after a millpond data directory.
#[derive(Debug, Parser)]
#[command(name = "millpond", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Produce(produce::Produce),
    Consume(consume::Consume),
    Topics(topics::Topics),
    Describe(topics::Describe),
    Create(admin::Create),
    Delete(admin::Delete),
    Compact(cleaning::Compact),
    Retain(cleaning::Retain),
    Dump(dump::Dump),
    Verify(verify::Verify),
    Repair(verify::Repair),
    Groups(groups::Groups),
    Lag(groups::Lag),
    ResetOffsets(reset::ResetOffsets),
    DeleteGroup(groups::DeleteGroup),
    DeleteOffsets(groups::DeleteOffsets),
    Top(top::Top),
    Txns(transactions::Txns),
    Producers(transactions::Producers),
    AbortTxn(transactions::AbortTxn),
    SettleTxns(transactions::SettleTxns),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let outcome = parse().and_then(|cli| cli.map_or(Ok(DONE), run));
    ExitCode::from(outcome.unwrap_or_else(Failure::report))
}

fn run(cli: Cli) -> Outcome {
    match cli.command {
        Command::Produce(command) => command.run(),
        Command::Consume(command) => command.run(),
        Command::Topics(command) => command.run(),
        Command::Describe(command) => command.run(),
        Command::Create(command) => command.run(),
        Command::Delete(command) => command.run(),
        Command::Compact(command) => command.run(),
        Command::Retain(command) => command.run(),
        Command::Dump(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Repair(command) => command.run(),
        Command::Groups(command) => command.run(),
        Command::Lag(command) => command.run(),
        Command::ResetOffsets(command) => command.run(),
        Command::DeleteGroup(command) => command.run(),
        Command::DeleteOffsets(command) => command.run(),
        Command::Top(command) => command.run(),
        Command::Txns(command) => command.run(),
        Command::Producers(command) => command.run(),
        Command::AbortTxn(command) => command.run(),
        Command::SettleTxns(command) => command.run(),
        Command::Bench(command) => command.run(),
    }
}

/// The command line; `None` if it only asked for help, which it got.
fn parse() -> Outcome<Option<Cli>> {
    let error = match Cli::try_parse() {
        Ok(cli) => return Ok(Some(cli)),
        Err(error) => error,
    };
    if !error.use_stderr() {
        error.print().map_err(|e| Failure::output(&e))?;
        return Ok(None);
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Err(Failure::Usage("no subcommand was given (try --help)".into()));
    }
    // The first paragraph says what is wrong; the rest is advice of several lines.
    let text = error.render().to_string();
    let what = text.split("\n\n").next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    Err(Failure::Usage(format!("{what} (try --help)")))
}
