//! `create` and `delete`: topics.
//!
//! Invariants: settings are given as `NAME=VALUE`, by the names that `describe` prints, and a wrong one is
//! named; deleting asks for nothing but the topic's name, and says what went.

use std::io::{Write, stdout};
use std::path::PathBuf;

use millpond::Broker;
use millpond::config::{Compression, Durability, TopicConfig};

use crate::data::{check_topic, must_exist};
use crate::failure::{DONE, Failure, Outcome};

/// Create a topic.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// The data directory; made if it does not exist.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// How many partitions it has [default: 1].
    #[arg(long, value_name = "N")]
    partitions: Option<u32>,
    /// memory, sync or interval:TIME (such as interval:250ms) [default: sync].
    #[arg(long, value_name = "LEVEL")]
    durability: Option<Durability>,
    /// none, gzip, snappy, lz4 or zstd, as far as this build has them [default: none].
    #[arg(long, value_name = "CODEC")]
    compression: Option<Compression>,
    /// Any other setting by the name that `describe` gives it, such as retention=age:7d; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
}

/// Delete a topic with all its records.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The topic.
    #[arg(long)]
    topic: String,
}

impl Create {
    /// Creates the topic.
    pub(crate) fn run(self) -> Outcome {
        check_topic(&self.topic)?;
        let config = self.config()?;
        config.validate()?;
        if let Some(volatile) = config.volatile_bound() {
            let message = format!("volatile={volatile}: such a topic would be gone when this command ends");
            return Err(Failure::Usage(message));
        }
        let broker = Broker::open(&self.data)?;
        let created = broker.create_topic(&self.topic, config);
        let closed = broker.close().wait();
        let topic = created?;
        closed?;
        let count = topic.partition_count();
        let line = writeln!(stdout(), "created topic {} with {count} partition(s)", self.topic);
        line.map_err(|e| Failure::output(&e))?;
        Ok(DONE)
    }

    fn config(&self) -> Outcome<TopicConfig> {
        let given = self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut config = TopicConfig::from_pairs(given)?;
        if let Some(partitions) = self.partitions {
            config = config.partitions(partitions);
        }
        if let Some(durability) = self.durability {
            config = config.durability(durability);
        }
        if let Some(compression) = self.compression {
            config = config.compression(compression);
        }
        Ok(config)
    }
}

impl Delete {
    /// Deletes the topic.
    pub(crate) fn run(self) -> Outcome {
        check_topic(&self.topic)?;
        must_exist(&self.data)?;
        let broker = Broker::open(&self.data)?;
        let deleted = broker.delete_topic(&self.topic);
        let closed = broker.close().wait();
        deleted?;
        closed?;
        writeln!(stdout(), "deleted topic {}", self.topic).map_err(|e| Failure::output(&e))?;
        Ok(DONE)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("expected NAME=VALUE")?;
    Ok((name.into(), value.into()))
}
