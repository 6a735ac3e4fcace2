//! `consume`: records of a topic, to standard output.
//!
//! ```text
//!   nobody has the directory open --> Broker      the log as an opening leaves it
//!   somebody has, or --follow     --> Observer    what is published, by looking again and again
//!   --group                       --> Broker      see share.rs
//! ```
//!
//! Invariants: only what is published is printed, in order within each partition; a closed pipe ends it
//! quietly; nothing is created.

use std::io::{self, BufWriter, StdoutLock, Write, stdout};
use std::path::PathBuf;

use millpond::ErrorKind;
use millpond::config::OffsetReset;
use millpond::consumer::OwnedRecord;
use millpond::prelude::*;

use crate::data::{check_topic, must_exist, observe};
use crate::failure::{DONE, Failure, Outcome};
use crate::groups::check_group;
use crate::live::LiveView;
use crate::output::{self, Format};
use crate::share::Share;

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
    /// Read as a member of this group, go on where it has committed, and commit what is printed; --from says where
    /// a new group begins (earliest or latest).
    #[arg(long, conflicts_with = "partition")]
    group: Option<String>,
    /// So many members, a thread each, share the topic.
    #[arg(long, value_name = "N", requires = "group", default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,
    /// How records are printed.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

impl Consume {
    /// Prints the records.
    pub(crate) fn run(self) -> Outcome {
        check_topic(&self.topic)?;
        if let Some(group) = &self.group {
            return self.share(group.clone());
        }
        must_exist(&self.data)?;
        if self.follow {
            return self.print_live();
        }
        match Broker::open(&self.data) {
            Ok(broker) => self.print_stored(&broker),
            Err(error) if error.kind() == ErrorKind::Locked => self.print_live(),
            Err(error) => Err(error.into()),
        }
    }

    /// With others of a group; the directory is this process's for as long as that takes.
    fn share(&self, group: String) -> Outcome {
        check_group(&group)?;
        let from = match self.from {
            Start::Earliest => OffsetReset::Earliest,
            Start::Latest => OffsetReset::Latest,
            _ => {
                let message = "a group begins at earliest or latest: see reset-offsets for anything else";
                return Err(Failure::Usage(message.into()));
            }
        };
        let (topic, max, follow) = (self.topic.clone(), self.max, self.follow);
        let share = Share { topic, group, workers: self.workers, from, max, follow, format: self.output };
        must_exist(&self.data)?;
        let broker = Broker::open(&self.data)?;
        let shared = share.run(&broker);
        let closed = broker.close().wait();
        let code = shared?;
        closed?;
        Ok(code)
    }

    fn print_stored(&self, broker: &Broker) -> Outcome {
        let printed = self.print_topic(broker);
        let closed = broker.close().wait();
        printed?;
        closed?;
        Ok(DONE)
    }

    fn print_topic(&self, broker: &Broker) -> Outcome<()> {
        let topic = broker.topic(self.topic.as_str())?;
        let mut printer = Printer::new(self.output, self.max);
        match self.partition {
            Some(number) => {
                let mut reader = topic.partition(number)?.reader(self.from)?;
                printer.print_chunks(|| reader.next())?;
            }
            None => {
                let mut reader = topic.read(self.from)?;
                printer.print_chunks(|| reader.next())?;
            }
        }
        printer.flush()
    }

    fn print_live(&self) -> Outcome {
        let observer = observe(&self.data)?;
        let mut view = LiveView::open(&observer, &self.topic, self.partition, self.from)?;
        let mut printer = Printer::new(self.output, self.max);
        while printer.left > 0 {
            match view.next()? {
                Some(record) => printer.print_copied(&record)?,
                None if self.follow => {
                    printer.flush()?;
                    view.pause();
                }
                None => break,
            }
        }
        printer.flush()?;
        Ok(DONE)
    }
}

/// Writes records, as many as were asked for.
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

    fn print_chunks(&mut self, mut next: impl FnMut() -> millpond::Result<Option<Records>>) -> Outcome<()> {
        while let Some(records) = next()? {
            for record in &records {
                if self.left == 0 {
                    return Ok(());
                }
                if let Err(error) = record.check() {
                    // What comes before the damage is shown.
                    self.flush()?;
                    return Err(error.into());
                }
                let written = output::lent(&record).write(&mut self.out, self.format);
                self.count(written)?;
            }
        }
        Ok(())
    }

    fn print_copied(&mut self, record: &OwnedRecord) -> Outcome<()> {
        let written = output::copied(record).write(&mut self.out, self.format);
        self.count(written)
    }

    fn count(&mut self, written: io::Result<()>) -> Outcome<()> {
        self.left = self.left.saturating_sub(1);
        written.map_err(|e| Failure::output(&e))
    }

    fn flush(&mut self) -> Outcome<()> {
        self.out.flush().map_err(|e| Failure::output(&e))
    }
}

/// Reads where to begin.
pub(crate) fn start(text: &str) -> Result<Start, String> {
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
