//! `txns`, `producers`, `abort-txn` and `settle-txns`: who has what open, and ending it.
//!
//! Invariants: `txns` and `producers` read the logs only, so that they work beside a program that has the directory
//! open; `abort-txn` and `settle-txns` open the directory, which ends every transaction that nobody can go on with and
//! of which it can be read how it ended.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use millpond::env::Environment;
use millpond::{Broker, LogFile, LoggedBatch};

use crate::data::{must_exist, observe};
use crate::failure::{DONE, FAILED, Failure, Outcome};

/// List the open transactions: partition, producer, where and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Txns {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// List the idempotent and transactional producers of each partition.
#[derive(Debug, clap::Args)]
pub(crate) struct Producers {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Partitions of this topic only [default: all].
    #[arg(long)]
    topic: Option<String>,
}

/// End an open transaction of a directory that no program has open: aborted, unless its commit is recorded.
#[derive(Debug, clap::Args)]
pub(crate) struct AbortTxn {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The transactional id.
    #[arg(long)]
    id: String,
}

/// List the transactions of which damage hides how they ended (exit code 1 if there are any), or end them.
#[derive(Debug, clap::Args)]
pub(crate) struct SettleTxns {
    /// The data directory, which no program has open.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// End those of this producer id only [default: all].
    #[arg(long)]
    producer: Option<i64>,
    /// What becomes of their records; without it nothing is ended.
    #[arg(long, value_enum)]
    to: Option<Ending>,
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Ending {
    /// Its records count.
    Commit,
    /// Its records are passed over.
    Abort,
}

/// A producer in a partition.
#[derive(Clone, Debug, Default)]
struct Seen {
    epoch: i16,
    last_sequence: Option<i32>,
    last_offset: u64,
    last_timestamp: i64,
    /// Where its open transaction begins, and the timestamp there.
    open: Option<(u64, i64)>,
}

/// What the logs tell, by partition and producer id.
type Known = BTreeMap<(String, i64), Seen>;

const STATE: &str = "__transaction_state-0";

impl Txns {
    /// Prints them, one a line.
    pub(crate) fn run(self) -> Outcome {
        let _ = observe(&self.data)?;
        let ids = transactional_ids(&self.data)?;
        let now = Environment::system().clock().now().millis();
        let mut lines = Vec::new();
        for ((partition, producer), seen) in known(&self.data, None)? {
            let Some((offset, since)) = seen.open else { continue };
            let id = ids.get(&producer).map_or("?", String::as_str);
            let age = now.saturating_sub(since).max(0) / 1000;
            let epoch = seen.epoch;
            lines.push(format!(
                "{partition} transactionalId: {id} producerId: {producer} producerEpoch: {epoch} \
                 startOffset: {offset} age: {age} s"
            ));
        }
        print(&lines)
    }
}

impl Producers {
    /// Prints them, one a line.
    pub(crate) fn run(self) -> Outcome {
        let observer = observe(&self.data)?;
        if let Some(topic) = &self.topic {
            crate::data::check_topic(topic)?;
            if !observer.topics()?.iter().any(|name| name.as_str() == topic) {
                return Err(Failure::failed(format!("there is no topic {topic}")));
            }
        }
        let mut lines = Vec::new();
        for ((partition, producer), seen) in known(&self.data, self.topic.as_deref())? {
            let sequence = seen.last_sequence.unwrap_or(-1);
            let start = seen.open.map_or("none".to_owned(), |(offset, _)| offset.to_string());
            lines.push(format!(
                "{partition} producerId: {producer} producerEpoch: {} lastSequence: {sequence} lastOffset: {} \
                 lastTimestamp: {} currentTransactionStartOffset: {start}",
                seen.epoch, seen.last_offset, seen.last_timestamp
            ));
        }
        print(&lines)
    }
}

impl AbortTxn {
    /// Ends it. Exit code 1 if none was open.
    pub(crate) fn run(self) -> Outcome {
        must_exist(&self.data)?;
        let ids = transactional_ids(&self.data)?;
        let mine = |producer: &i64| ids.get(producer).is_some_and(|id| *id == self.id);
        let open = |known: Known| {
            let open = known.into_iter().filter(|((_, id), seen)| seen.open.is_some() && mine(id));
            open.map(|((partition, _), _)| partition).collect::<Vec<_>>()
        };
        let before = open(known(&self.data, None)?);
        let broker = Broker::open(&self.data)?;
        let aborted = broker.abort_transaction(&self.id);
        let closed = broker.close().wait();
        aborted?;
        closed?;
        let left = open(known(&self.data, None)?);
        let ended: Vec<&str> =
            before.iter().filter(|partition| !left.contains(partition)).map(String::as_str).collect();
        let line = match ended[..] {
            [] => format!("{} has no transaction open", self.id),
            _ => format!("ended the transaction of {} in {}", self.id, ended.join(" ")),
        };
        print(&[line])?;
        Ok(if ended.is_empty() { FAILED } else { DONE })
    }
}

impl SettleTxns {
    /// Prints them, one a line, and ends those that are asked for.
    pub(crate) fn run(self) -> Outcome {
        must_exist(&self.data)?;
        let broker = Broker::open(&self.data)?;
        let settled = self.settle(&broker);
        broker.close().wait()?;
        let (lines, left) = settled?;
        print(&lines)?;
        Ok(if left { FAILED } else { DONE })
    }

    /// A line for each, and whether any is left.
    fn settle(&self, broker: &Broker) -> Outcome<(Vec<String>, bool)> {
        let (mut lines, mut left) = (Vec::new(), false);
        for undecided in broker.undecided_transactions() {
            let producer = undecided.producer_id().get();
            let mine = self.producer.is_none_or(|wanted| wanted == producer);
            let outcome = match self.to.filter(|_| mine) {
                Some(Ending::Commit) => broker.commit_undecided(&undecided).map(|()| "committed")?,
                Some(Ending::Abort) => broker.abort_undecided(&undecided).map(|()| "aborted")?,
                None => "undecided",
            };
            left |= outcome == "undecided";
            let partitions: Vec<_> = undecided.partitions().iter().map(ToString::to_string).collect();
            let epoch = undecided.epoch().get();
            lines.push(format!(
                "{outcome} producerId: {producer} producerEpoch: {epoch} in {}",
                partitions.join(" ")
            ));
        }
        Ok((lines, left))
    }
}

/// What the logs of the partitions tell of their producers.
fn known(data: &Path, topic: Option<&str>) -> Outcome<Known> {
    let mut known = Known::new();
    let folders = std::fs::read_dir(data).map_err(|e| Failure::io("list", data, &e))?;
    for folder in folders.filter_map(Result::ok).filter(|entry| entry.path().is_dir()) {
        let partition = folder.file_name().to_string_lossy().into_owned();
        // Others are no partitions, or deleted ones.
        let is_number = |(_, number): &(&str, &str)| number.bytes().all(|digit| digit.is_ascii_digit());
        let Some((name, _)) = partition.rsplit_once('-').filter(is_number) else { continue };
        if topic.is_none_or(|topic| topic == name) {
            for_each_batch(&folder.path(), |batch| note(&mut known, &partition, batch))?;
        }
    }
    Ok(known)
}

fn note(known: &mut Known, partition: &str, batch: &LoggedBatch) {
    let id = batch.producer_id().get();
    if id < 0 {
        return;
    }
    let seen = known.entry((partition.to_owned(), id)).or_default();
    seen.epoch = batch.producer_epoch().get();
    seen.last_offset = batch.last_offset().get();
    seen.last_timestamp = batch.max_timestamp().millis();
    if batch.is_control() {
        seen.open = None;
        return;
    }
    seen.last_sequence = batch.sequences().map(|(_, last)| last);
    if batch.is_transactional() {
        seen.open.get_or_insert((batch.base_offset().get(), batch.max_timestamp().millis()));
    }
}

/// The transactional id that each producer id was last used for.
fn transactional_ids(data: &Path) -> Outcome<BTreeMap<i64, String>> {
    let mut ids = BTreeMap::new();
    let folder = data.join(STATE);
    if folder.is_dir() {
        for_each_batch(&folder, |batch| {
            for record in batch.records().filter_map(Result::ok) {
                // Kafka's: a version and a string; a version and the producer id.
                let id = record.key().and_then(|key| key.get(4..)).map(String::from_utf8_lossy);
                let producer = record.value().and_then(|value| value.get(2..10)?.try_into().ok());
                if let (Some(id), Some(producer)) = (id, producer) {
                    ids.insert(i64::from_be_bytes(producer), id.into_owned());
                }
            }
        })?;
    }
    Ok(ids)
}

/// Every batch of a partition, as far as the files can be read.
fn for_each_batch(folder: &Path, mut visit: impl FnMut(&LoggedBatch)) -> Outcome<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Failure::io("list", folder, &e))?;
    let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    let mut logs: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(is_log).collect();
    logs.sort();
    for log in logs {
        let mut file = LogFile::open(&log)?;
        // A torn tail is no batch yet: the next opening settles it.
        while let Ok(Some(batch)) = file.next_batch() {
            visit(&batch);
        }
    }
    Ok(())
}

fn print(lines: &[String]) -> Outcome {
    let mut out = BufWriter::new(stdout().lock());
    for line in lines {
        writeln!(out, "{line}").map_err(|e| Failure::output(&e))?;
    }
    out.flush().map_err(|e| Failure::output(&e))?;
    Ok(DONE)
}
