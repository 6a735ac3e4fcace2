//! `produce`: one record a line.
//!
//! Invariants
//! - The input is a stream: one line is held, and the acknowledgements that are waited for are bounded.
//! - Nothing waits for an acknowledgement but the thread that reports it.
//! - A topic that exists is never changed: settings that differ from its own are an error.

use std::fmt::Display;
use std::fs::File;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};

use millpond::ErrorKind;
use millpond::config::{Compression, Durability};
use millpond::prelude::*;
use millpond::producer::Delivery;

use crate::acks::{Acks, Sink};
use crate::data::check_topic;
use crate::failure::{DONE, Failure, Outcome, say};
use crate::key::KeyColumn;
use crate::lines::{LineError, Lines};
use crate::pace::{Pace, Stopwatch};
use crate::progress::Progress;

/// Publish one record a line.
///
/// A record's value is the whole line without its end. The topic is created if it does not exist.
#[derive(Debug, clap::Args)]
pub(crate) struct Produce {
    /// The data directory; made if it does not exist.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// How many partitions the topic is created with [default: 1].
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// memory, sync or interval:TIME (such as interval:250ms) [default: sync].
    #[arg(long, value_name = "LEVEL")]
    durability: Option<Durability>,
    /// none, gzip, snappy, lz4 or zstd, as far as this build has them [default: none].
    #[arg(long, value_name = "CODEC")]
    compression: Option<Compression>,
    /// The column, counted from 1, that is the record's key; lines are split at every delimiter.
    #[arg(long, value_name = "I")]
    key_column: Option<NonZeroUsize>,
    /// What stands between columns; \t is a tab.
    #[arg(long, value_name = "D", default_value = ",", requires = "key_column")]
    delimiter: String,
    /// Write a line `acked PARTITION OFFSET` as soon as a record is acknowledged; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    acks_to: Option<PathBuf>,
    /// Send no more than so many records a second.
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU64>,
    /// The lines; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    input: PathBuf,
}

impl Produce {
    /// Publishes the lines.
    pub(crate) fn run(self) -> Outcome {
        check_topic(&self.topic)?;
        self.settings().validate()?;
        let key = self.key_column.map(|column| KeyColumn::new(column.get(), &self.delimiter)).transpose()?;
        let (input, size) = open_input(&self.input)?;
        let broker = Broker::open(&self.data)?;
        let topic = self.open_topic(&broker)?;
        let acks = self.open_acks()?;

        let watch = Stopwatch::start();
        let mut progress = Progress::new(size);
        let sent = self.send_all(&topic, input, key.as_ref(), acks.as_ref(), &mut progress);
        // What was sent is reported, whatever became of the rest.
        let reported = acks.map_or(Ok(()), Acks::finish);
        let closed = broker.close().wait();
        let seconds = watch.elapsed().as_secs_f64();
        let (records, bytes) = (progress.records(), progress.bytes());
        drop(progress);
        reported?;
        sent?;
        closed?;
        self.print_totals(records, bytes, seconds)?;
        Ok(DONE)
    }

    fn open_topic(&self, broker: &Broker) -> Outcome<Topic> {
        match broker.topic(self.topic.as_str()) {
            Ok(topic) => {
                self.check_settings(&topic)?;
                Ok(topic)
            }
            Err(error) if error.kind() == ErrorKind::TopicNotFound => {
                Ok(broker.create_topic(&self.topic, self.settings())?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn settings(&self) -> TopicConfig {
        TopicConfig::new()
            .partitions(self.partitions.unwrap_or(1))
            .durability(self.durability.unwrap_or_default())
            .compression(self.compression.unwrap_or_default())
    }

    fn check_settings(&self, topic: &Topic) -> Outcome<()> {
        let has = topic.config();
        self.check_setting("partitions", self.partitions, topic.partition_count())?;
        self.check_setting("durability", self.durability, has.durability_level())?;
        self.check_setting("compression", self.compression, has.compression_type())
    }

    fn check_setting<T: PartialEq + Display>(&self, name: &str, asked: Option<T>, has: T) -> Outcome<()> {
        match asked {
            Some(asked) if asked != has => Err(Failure::failed(format!(
                "topic {} exists with {name} {has}, not {asked}: leave --{name} away",
                self.topic
            ))),
            _ => Ok(()),
        }
    }

    fn open_acks(&self) -> Outcome<Option<Acks>> {
        let Some(path) = &self.acks_to else { return Ok(None) };
        let sink: Sink = if is_dash(path) {
            Box::new(stdout())
        } else {
            Box::new(File::create(path).map_err(|e| Failure::io("create", path, &e))?)
        };
        Acks::start(sink).map(Some)
    }

    fn send_all(
        &self,
        topic: &Topic,
        input: Box<dyn BufRead>,
        key: Option<&KeyColumn>,
        acks: Option<&Acks>,
        progress: &mut Progress,
    ) -> Outcome<()> {
        let producer = topic.producer()?;
        let mut lines = Lines::new(input, topic.config().max_record_size_bytes());
        let mut pace = self.rate.map(Pace::new);
        loop {
            let number = lines.number() + 1;
            let next = lines.next().map_err(|error| self.line_error(number, error))?;
            let Some((line, taken)) = next else { break };
            if let Some(pace) = &mut pace {
                pace.wait();
            }
            let delivery = send(&producer, line, key, number)?;
            progress.record(taken);
            match acks {
                Some(acks) if !acks.push(delivery) => break,
                _ => {}
            }
        }
        Ok(producer.close().wait()?)
    }

    fn line_error(&self, number: u64, error: LineError) -> Failure {
        match error {
            LineError::Read(error) => Failure::io("read", &self.input, &error),
            LineError::TooLong(limit) => Failure::failed(format!(
                "line {number} is longer than the {limit} bytes of the topic's max_record_size"
            )),
        }
    }

    fn print_totals(&self, records: u64, bytes: u64, seconds: f64) -> Outcome<()> {
        let rate = records as f64 / seconds.max(1e-9);
        let totals = format!("{records} records, {bytes} bytes in {seconds:.3} s: {rate:.0} records/s");
        if self.acks_to.as_deref().is_some_and(is_dash) {
            // Standard output holds acknowledgements and nothing else.
            say(totals);
            return Ok(());
        }
        writeln!(stdout(), "{totals}").map_err(|e| Failure::output(&e))
    }
}

fn send(producer: &Producer, line: &[u8], key: Option<&KeyColumn>, number: u64) -> Outcome<Delivery> {
    let sent = match key {
        Some(key) => producer.send(Record::new(line).key(key.of(line, number)?)),
        None => producer.send(Record::new(line)),
    };
    sent.map_err(|error| Failure::failed(format!("line {number}: {error:#}")))
}

/// The input, and how long it is where that is known.
fn open_input(path: &Path) -> Outcome<(Box<dyn BufRead>, Option<u64>)> {
    if is_dash(path) {
        return Ok((Box::new(BufReader::new(stdin())), None));
    }
    let file = File::open(path).map_err(|e| Failure::io("open", path, &e))?;
    let about = file.metadata().map_err(|e| Failure::io("look at", path, &e))?;
    if about.is_dir() {
        return Err(Failure::failed(format!("{} is a directory", path.display())));
    }
    let size = about.is_file().then_some(about.len());
    Ok((Box::new(BufReader::with_capacity(256 << 10, file)), size))
}

fn is_dash(path: &Path) -> bool {
    path.as_os_str() == "-"
}
