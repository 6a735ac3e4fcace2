//! `topics` and `describe`: what a directory holds.
//!
//! Invariant: nothing is written and no lock is taken, so both work beside a program that has the
//! directory open.

use std::fmt::Display;
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use millpond::broker::TopicDescription;

use crate::data::{check_topic, observe};
use crate::failure::{DONE, Failure, Outcome, all_but};

/// List the topics, one a line.
#[derive(Debug, clap::Args)]
pub(crate) struct Topics {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Describe a topic, or all of them: settings, and where each partition begins and ends.
#[derive(Debug, clap::Args)]
pub(crate) struct Describe {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// This topic only [default: all].
    #[arg(long)]
    topic: Option<String>,
}

impl Topics {
    /// Prints the names.
    pub(crate) fn run(self) -> Outcome {
        let topics = observe(&self.data)?.topics()?;
        print(topics.iter())
    }
}

impl Describe {
    /// Prints what there is to say about each.
    pub(crate) fn run(self) -> Outcome {
        if let Some(topic) = &self.topic {
            check_topic(topic)?;
        }
        let observer = observe(&self.data)?;
        let names = match self.topic {
            Some(name) => vec![name],
            None => observer.topics()?.iter().map(ToString::to_string).collect(),
        };
        let found = names.iter().map(|name| observer.describe(name));
        let topics: Vec<TopicDescription> = found.collect::<millpond::Result<_>>()?;
        let mut lines = Vec::new();
        for topic in &topics {
            describe(topic, &mut lines);
        }
        print(lines.iter())?;
        Ok(all_but(topics.iter().flat_map(TopicDescription::unreadable)))
    }
}

fn describe(topic: &TopicDescription, lines: &mut Vec<String>) {
    let settings = topic.config().to_pairs();
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    lines.push(format!("{} id={} {}", topic.name(), topic.id(), settings.join(" ")));
    for partition in topic.partitions() {
        lines.push(format!(
            "  partition {}: log_start_offset={} high_watermark={} log_end_offset={} leader_epoch={} \
             segments={} bytes={} compacted_to={}",
            partition.partition(),
            partition.log_start_offset(),
            partition.high_watermark(),
            partition.log_end_offset(),
            partition.leader_epoch().get(),
            partition.segment_count(),
            partition.size_bytes(),
            partition.compacted_to()
        ));
    }
}

/// Prints lines.
pub(crate) fn print(lines: impl Iterator<Item = impl Display>) -> Outcome {
    let mut out = BufWriter::new(stdout().lock());
    for line in lines {
        writeln!(out, "{line}").map_err(|e| Failure::output(&e))?;
    }
    out.flush().map_err(|e| Failure::output(&e))?;
    Ok(DONE)
}
