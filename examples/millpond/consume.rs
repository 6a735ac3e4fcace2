//! `consume`: records of a topic, to standard output.
//!
//! ```text
//!   nobody has the directory open --> Broker      the log as an opening leaves it
//!   somebody has, or --follow     --> Observer    what is published, by looking again and again
//! ```
//!
//! Invariants: only what is published is printed, in order within each partition; a closed pipe ends it
//! quietly; nothing is created.

use std::io::{BufWriter, StdoutLock, Write, stdout};
use std::path::PathBuf;

use millpond::prelude::*;

use crate::data::{check_topic, must_exist};
use crate::failure::{DONE, Failure, Outcome};
use crate::output::Format;

/// Print the records of a topic.
#[derive(Debug, clap::Args)]
pub(crate) struct Consume {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// This partition only [default: all].
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// earliest, latest, an offset, @UNIX_MILLISECONDS or last:N (of each partition).
    #[arg(long, value_name = "WHERE", default_value = "earliest", value_parser = start)]
    from: Start,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    max: Option<u64>,
    /// Wait for more records at the end.
    #[arg(long)]
    follow: bool,
    /// How records are printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

impl Consume {
    /// Prints the records.
    pub(crate) fn run(self) -> Outcome {
        check_topic(&self.topic)?;
        must_exist(&self.data)?;
        let broker = Broker::open(&self.data)?;
        let printed = self.print_all(&broker);
        let closed = broker.close().wait();
        printed?;
        closed?;
        Ok(DONE)
    }

    fn print_all(&self, broker: &Broker) -> Outcome<()> {
        let topic = broker.topic(self.topic.as_str())?;
        let mut printer = Printer::new(self.output, self.max);
        match self.partition {
            Some(number) => {
                let mut reader = topic.partition(number)?.reader(self.from)?;
                while let Some(records) = reader.next()? {
                    if !printer.print(&records)? {
                        break;
                    }
                }
            }
            None => {
                let mut reader = topic.read(self.from)?;
                while let Some(records) = reader.next()? {
                    if !printer.print(&records)? {
                        break;
                    }
                }
            }
        }
        printer.finish()
    }
}

struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    format: Format,
    left: u64,
}

impl Printer {
    fn new(format: Format, max: Option<u64>) -> Printer {
        let out = BufWriter::with_capacity(64 << 10, stdout().lock());
        Printer { out, format, left: max.unwrap_or(u64::MAX) }
    }

    /// Prints records; answers whether more may be printed.
    fn print(&mut self, records: &Records) -> Outcome<bool> {
        for record in records {
            if self.left == 0 {
                break;
            }
            record.check()?;
            self.format.write(&mut self.out, &record).map_err(|e| Failure::output(&e))?;
            self.left -= 1;
        }
        Ok(self.left > 0)
    }

    fn finish(mut self) -> Outcome<()> {
        self.out.flush().map_err(|e| Failure::output(&e))
    }
}

fn start(text: &str) -> Result<Start, String> {
    let wrong = |_| format!("{text} is none of earliest, latest, an offset, @UNIX_MILLISECONDS and last:N");
    match text {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    if let Some(millis) = text.strip_prefix('@') {
        return millis.parse().map(Start::Timestamp).map_err(|_| wrong(()));
    }
    if let Some(count) = text.strip_prefix("last:") {
        return count.parse().map(Start::Last).map_err(|_| wrong(()));
    }
    text.parse().map(Start::Offset).map_err(|_| wrong(()))
}
