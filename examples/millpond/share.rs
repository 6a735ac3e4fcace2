//! `consume --group`: workers share a topic, and the group remembers how far it has come.
//!
//! ```text
//!   worker 1..N:  poll -> print, flush -> commit, wait     at least once: what was printed and not committed
//!                                                          is printed again
//!   ends: at the end of the topic (without --follow), after --max records, by Ctrl-C, or with the output
//! ```
//!
//! Invariants: only what is printed is committed; each worker says on standard error which partitions it has,
//! whenever that changes; whatever ends it, members leave and the directory is closed in order.

use std::collections::BTreeMap;
use std::io::{BufWriter, Stdout, Write, stdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use millpond::config::{GroupConfig, OffsetReset};
use millpond::group::OffsetAndMetadata;
use millpond::prelude::*;
use millpond::{ErrorKind, TopicPartition};

use crate::failure::{DONE, Failure, Outcome, say};
use crate::output::{self, Format};
use crate::stop::Stop;

/// How long a worker waits before it looks whether the topic is at its end.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Share {
    pub(crate) topic: String,
    pub(crate) group: String,
    pub(crate) workers: u32,
    pub(crate) from: OffsetReset,
    pub(crate) max: Option<u64>,
    pub(crate) follow: bool,
    pub(crate) format: Format,
}

/// Where all workers print.
struct Printer {
    out: BufWriter<Stdout>,
    left: u64,
}

/// One of those who share.
struct Worker<'a> {
    share: &'a Share,
    broker: &'a Broker,
    printer: &'a Mutex<Printer>,
    stop: &'a Arc<Stop>,
    number: u32,
}

impl Share {
    /// Prints the records of the group's partitions, with all workers.
    pub(crate) fn run(&self, broker: &Broker) -> Outcome {
        broker.topic(self.topic.as_str())?;
        let stop = Stop::on_interrupt()?;
        let printer =
            Printer { out: BufWriter::with_capacity(64 << 10, stdout()), left: self.max.unwrap_or(u64::MAX) };
        let printer = Mutex::new(printer);
        let worker = |number| Worker { share: self, broker, printer: &printer, stop: &stop, number };
        let ended: Vec<Outcome<()>> = thread::scope(|scope| {
            let run = |number| {
                let worker = worker(number);
                scope.spawn(move || worker.run().inspect_err(|_| worker.stop.ask()))
            };
            let workers: Vec<_> = (1..=self.workers).map(run).collect();
            let died = || Err(Failure::failed("a worker died"));
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| died())).collect()
        });
        ended.into_iter().collect::<Outcome<Vec<()>>>()?;
        Ok(DONE)
    }
}

impl Worker<'_> {
    fn run(&self) -> Outcome<()> {
        let config = GroupConfig::new().offset_reset(self.share.from);
        let group = self.broker.group(&self.share.group)?.config(config);
        let group = group.client_id(format!("worker-{}", self.number))?;
        let mut consumer = group.join(self.share.topic.as_str())?;
        self.stop.wakes(consumer.interrupter());
        let worked = self.work(&mut consumer);
        consumer.close().wait()?;
        worked
    }

    fn work(&self, consumer: &mut Consumer) -> Outcome<()> {
        let mut known = Vec::new();
        while !self.stop.is_asked() {
            let records = consumer.poll().wait_timeout(LOOK_AGAIN)?;
            let assignment = consumer.assignment();
            if assignment != known {
                let names: Vec<String> = assignment.iter().map(ToString::to_string).collect();
                say(format!("worker {} has {}", self.number, or_nothing(&names.join(" "))));
                known = assignment;
            }
            if !records.is_empty() {
                self.process(consumer, &records)?;
            } else if !self.share.follow && self.is_at_the_end()? {
                break;
            }
        }
        let unprinted = self.printer.lock().unwrap_or_else(PoisonError::into_inner).left == 0;
        if unprinted {
            return Ok(());
        }
        // Also where nothing was printed, so that the group is known to read there.
        self.committed(consumer.commit_all().wait())
    }

    /// Prints what there is and commits it.
    fn process(&self, consumer: &Consumer, records: &Records) -> Outcome<()> {
        let printed = self.print(records)?;
        let commit = |(partition, next)| consumer.commit_offset(&partition, OffsetAndMetadata::new(next));
        // All are under way before the first is waited for: one flush serves them.
        let commits: Vec<_> = printed.into_iter().map(commit).collect();
        commits.into_iter().try_for_each(|commit| self.committed(commit.wait()))
    }

    fn committed(&self, committed: millpond::Result<()>) -> Outcome<()> {
        match committed {
            // Somebody else has the partition by now, and prints its records again.
            Err(error) if matches!(error.kind(), ErrorKind::Rebalanced | ErrorKind::Fenced) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Answers where each partition goes on.
    fn print(&self, records: &Records) -> Outcome<BTreeMap<TopicPartition, Offset>> {
        let mut printer = self.printer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut printed = BTreeMap::new();
        let mut damage = None;
        for record in records {
            if printer.left == 0 {
                self.stop.ask();
                break;
            }
            if let Err(error) = record.check() {
                damage = Some(error);
                break;
            }
            printer.left -= 1;
            let written = output::lent(&record).write(&mut printer.out, self.share.format);
            written.map_err(|e| Failure::output(&e))?;
            printed.insert(record.topic_partition().clone(), record.offset().next());
        }
        if printer.left == 0 {
            self.stop.ask();
        }
        printer.out.flush().map_err(|e| Failure::output(&e))?;
        match damage {
            // What comes before the damage has been shown.
            Some(error) => Err(error.into()),
            None => Ok(printed),
        }
    }

    /// Nothing is left that the group has not been handed.
    fn is_at_the_end(&self) -> Outcome<bool> {
        let lag = self.broker.group(&self.share.group)?.lag()?;
        for partition in self.broker.topic(self.share.topic.as_str())?.partitions()? {
            let known = lag.iter().find(|lag| lag.partition() == partition.topic_partition());
            let committed = known.and_then(|lag| lag.committed()).map(OffsetAndMetadata::offset);
            let position = known.and_then(|lag| lag.position());
            let at = committed.max(position).unwrap_or(partition.log_start_offset());
            if at < partition.high_watermark() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn or_nothing(names: &str) -> &str {
    if names.is_empty() { "no partitions" } else { names }
}
