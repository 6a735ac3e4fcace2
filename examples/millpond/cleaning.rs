//! `compact` and `retain`: what a log no longer has to keep, now instead of by and by.
//!
//! Invariants: nothing goes that the topic's settings do not name; each topic gets one line of what was done.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::sync::Mutex;

use millpond::Broker;
use millpond::Topic;

use crate::data::{check_topic, must_exist};
use crate::failure::{DONE, Failure, Outcome};
use crate::progress::Watch;

/// Compact a topic now: of each key the latest record stays.
#[derive(Debug, clap::Args)]
pub(crate) struct Compact {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The topic; its cleanup_policy is compact or compact,delete.
    #[arg(long)]
    topic: String,
}

/// Delete now what the retention of a topic, or of all, does not keep.
#[derive(Debug, clap::Args)]
pub(crate) struct Retain {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// This topic only [default: all].
    #[arg(long)]
    topic: Option<String>,
}

impl Compact {
    /// Compacts it, and says what came of it.
    pub(crate) fn run(self) -> Outcome {
        check_topic(&self.topic)?;
        must_exist(&self.data)?;
        let broker = Broker::open(&self.data)?;
        let watch = Mutex::new(Watch::new());
        let compacted = broker.topic(self.topic.as_str()).and_then(|topic| {
            let running = topic.compaction()?.on_progress(move |now| {
                if let Ok(watch) = watch.lock() {
                    watch.show(now.partition(), now.bytes_done(), now.bytes_total());
                }
            });
            running.start().wait()
        });
        let closed = broker.close().wait();
        let report = compacted?;
        closed?;
        writeln!(
            stdout(),
            "compacted topic {}: {} of {} records, {} of {} bytes, {} of {} segments left",
            self.topic,
            report.records_after(),
            report.records_before(),
            report.bytes_after(),
            report.bytes_before(),
            report.segments_after(),
            report.segments_before()
        )
        .map_err(|e| Failure::output(&e))?;
        Ok(DONE)
    }
}

impl Retain {
    /// Deletes what may go, and says how much that was.
    pub(crate) fn run(self) -> Outcome {
        if let Some(topic) = &self.topic {
            check_topic(topic)?;
        }
        must_exist(&self.data)?;
        let broker = Broker::open(&self.data)?;
        let done = self.retain(&broker);
        let closed = broker.close().wait();
        for line in done? {
            writeln!(stdout(), "{line}").map_err(|e| Failure::output(&e))?;
        }
        closed?;
        Ok(DONE)
    }

    fn retain(&self, broker: &Broker) -> millpond::Result<Vec<String>> {
        let names = match &self.topic {
            Some(name) => vec![name.clone()],
            None => broker.topics().into_iter().map(String::from).collect(),
        };
        let mut lines = Vec::new();
        for name in names {
            let topic: Topic = broker.topic(name.as_str())?;
            let report = topic.retain()?;
            let (bytes, segments) = (report.bytes_deleted(), report.segments_deleted());
            lines.push(format!("topic {name}: {bytes} bytes in {segments} segments deleted"));
        }
        Ok(lines)
    }
}
