//! A progress bar, where somebody watches.
//!
//! Invariant: without a terminal on standard error nothing is drawn at all.

use std::fmt::Display;
use std::io::{IsTerminal, stderr};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};

/// How many records go by between two updates: drawing must not slow the stream down.
const STRIDE: u64 = 256;

/// Progress of a stream of records.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    records: u64,
    bytes: u64,
}

impl Progress {
    /// Of a stream with so many bytes, if that is known.
    pub(crate) fn new(total_bytes: Option<u64>) -> Progress {
        let bar = match total_bytes {
            _ if !stderr().is_terminal() => ProgressBar::hidden(),
            Some(total) => styled(ProgressBar::new(total), "{bar:30} {percent:>3}% "),
            None => styled(ProgressBar::no_length(), "{spinner} "),
        };
        Progress { bar, records: 0, bytes: 0 }
    }

    /// One more record, which took so many bytes of the stream.
    pub(crate) fn record(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
        if self.records % STRIDE == 1 {
            self.bar.set_position(self.bytes);
            self.bar.set_message(format!("{} records", HumanCount(self.records)));
        }
    }

    /// How many records there were.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// How many bytes they took.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn styled(bar: ProgressBar, start: &str) -> ProgressBar {
    let template = format!("{start}{{bytes}} {{bytes_per_sec}} {{msg}}");
    match ProgressStyle::with_template(&template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Progress of a long look at many partitions.
#[derive(Debug)]
pub(crate) struct Watch {
    bar: ProgressBar,
}

impl Watch {
    /// Draws nothing yet.
    pub(crate) fn new() -> Watch {
        let hidden = !stderr().is_terminal();
        let bar = if hidden { ProgressBar::hidden() } else { ProgressBar::new(0) };
        Watch { bar: styled(bar, "{bar:30} {percent:>3}% ") }
    }

    /// Shows what is looked at, and how much of it has been.
    pub(crate) fn show(&self, what: impl Display, bytes: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(bytes);
        self.bar.set_message(what.to_string());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
