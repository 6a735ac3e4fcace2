//! `txns`, `producers`, `abort-txn` and `settle-txns`: who has what open, and ending it.
//!
//! Invariants: `txns` and `producers` read the logs only, so that they work beside a program that has the directory
//! open; `abort-txn` and `settle-txns` open the directory, which ends every transaction that nobody can go on with and
//! of which it can be read how it ended.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use millpond::env::Environment;
use millpond::txn::TransactionState;
use millpond::{Broker, ErrorKind, LogFile, LoggedBatch};

use crate::data::{must_exist, observe};
use crate::failure::{DONE, FAILED, Failure, Outcome};

/// List the open transactions: partition, producer, where and for how long; those without records in the log yet when they
/// have been open for a second.
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

impl Txns {
    /// Prints them, one a line. Where the topic of transactions is damaged, without their ids, and exit code 1.
    pub(crate) fn run(self) -> Outcome {
        let (described, damage) = match observe(&self.data)?.transactions() {
            Ok(described) => (described, None),
            // What the logs of the partitions tell is told all the same: somebody may have to settle it.
            Err(error) if error.kind() == ErrorKind::Corrupted => (Vec::new(), Some(error)),
            Err(error) => return Err(error.into()),
        };
        let known = known(&self.data, None)?;
        let now = Environment::system().clock().now().millis();
        let mut lines = BTreeMap::new();
        for ((partition, producer), seen) in &known {
            let Some((offset, since)) = seen.open else { continue };
            let id = described.iter().find(|txn| txn.producer_id().get() == *producer);
            let age = now.saturating_sub(since).max(0) / 1000;
            let open =
                Open { id: id.map_or("?", |txn| txn.id()), epoch: seen.epoch, start: Some(offset), age };
            lines.insert((partition.clone(), *producer), open.line(partition, *producer));
        }
        // What is so small that none of it has been appended yet.
        for txn in described.iter().filter(|txn| txn.state() == TransactionState::Open) {
            let (producer, epoch) = (txn.producer_id().get(), txn.epoch().get());
            let age = txn.age().unwrap_or_default().as_secs().try_into().unwrap_or(i64::MAX);
            for partition in txn.partitions().iter().map(ToString::to_string) {
                let key = (partition, producer);
                let begun = known.get(&key).is_some_and(|seen| seen.epoch >= epoch);
                if !begun {
                    let line = Open { id: txn.id(), epoch, start: None, age }.line(&key.0, producer);
                    lines.insert(key, line);
                }
            }
        }
        print(&lines.into_values().collect::<Vec<_>>())?;
        damage.map_or(Ok(DONE), |damage| Err(damage.into()))
    }
}

/// An open transaction in a partition.
struct Open<'a> {
    id: &'a str,
    epoch: i16,
    /// Where its records begin, if some are in the log already.
    start: Option<u64>,
    age: i64,
}

impl Open<'_> {
    fn line(&self, partition: &str, producer: i64) -> String {
        let Open { id, epoch, start, age } = self;
        let start = start.map_or("none".to_owned(), |offset| offset.to_string());
        format!(
            "{partition} transactionalId: {id} producerId: {producer} producerEpoch: {epoch} \
             startOffset: {start} age: {age} s"
        )
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
        let before = self.open()?;
        let broker = Broker::open(&self.data)?;
        let aborted = broker.abort_transaction(&self.id);
        let closed = broker.close().wait();
        aborted?;
        closed?;
        let left = self.open()?;
        let ended: Vec<&str> = before
            .iter()
            .filter(|partition| !left.contains(partition.as_str()))
            .map(String::as_str)
            .collect();
        let line = match ended[..] {
            [] => format!("{} has no transaction open", self.id),
            _ => format!("ended the transaction of {} in {}", self.id, ended.join(" ")),
        };
        print(&[line])?;
        Ok(if ended.is_empty() { FAILED } else { DONE })
    }

    /// The partitions in which it has something open, in the log or in what is written down of it.
    fn open(&self) -> Outcome<BTreeSet<String>> {
        let described = observe(&self.data)?.transactions()?;
        let mut open = BTreeSet::new();
        for txn in described.iter().filter(|txn| txn.id() == self.id) {
            if txn.state() == TransactionState::Open {
                open.extend(txn.partitions().iter().map(ToString::to_string));
            }
            for ((partition, producer), seen) in known(&self.data, None)? {
                if seen.open.is_some() && producer == txn.producer_id().get() {
                    open.insert(partition);
                }
            }
        }
        Ok(open)
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
