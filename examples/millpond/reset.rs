//! `reset-offsets`: a group goes on from somewhere else.
//!
//! ```text
//!   opened -> where each partition goes from and to: printed -> set, all at once, unless it is a dry run
//! ```
//!
//! Invariants: nothing is set before the whole plan is known to be possible; a dry run writes nothing to the
//! offsets.

use std::path::PathBuf;

use millpond::TopicPartition;
use millpond::group::OffsetAndMetadata;
use millpond::prelude::*;

use crate::consume::start;
use crate::data::check_topic;
use crate::failure::Outcome;
use crate::groups::{change, check_group};
use crate::topics::print;

/// Set where a group goes on in a topic; prints each partition with the offsets before and after.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("where").required(true))]
pub(crate) struct ResetOffsets {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The group.
    #[arg(long)]
    group: String,
    /// The topic.
    #[arg(long)]
    topic: String,
    /// This partition only [default: all].
    #[arg(long, value_name = "P")]
    partition: Option<u32>,
    /// earliest, latest, an offset, @UNIX_MILLISECONDS or last:N (of each partition).
    #[arg(long, value_name = "WHERE", group = "where", value_parser = start)]
    to: Option<Start>,
    /// So many records on, or back (below 0), within what the log holds.
    #[arg(long, value_name = "N", group = "where", allow_hyphen_values = true)]
    shift_by: Option<i64>,
    /// Print the plan only.
    #[arg(long)]
    dry_run: bool,
}

/// A partition, from where to where.
struct Step {
    partition: TopicPartition,
    from: Option<Offset>,
    to: Offset,
}

impl ResetOffsets {
    /// Prints the plan and carries it out.
    pub(crate) fn run(self) -> Outcome {
        check_group(&self.group)?;
        check_topic(&self.topic)?;
        let steps = change(&self.data, |broker| {
            let steps = self.plan(broker)?;
            if !self.dry_run {
                self.carry_out(broker, &steps)?;
            }
            Ok(steps)
        })?;
        let was = |step: &Step| step.from.map_or_else(|| "-".to_owned(), |from| from.to_string());
        print(steps.iter().map(|step| format!("{}\t{}\t{}", step.partition, was(step), step.to)))
    }

    fn plan(&self, broker: &Broker) -> millpond::Result<Vec<Step>> {
        let topic = broker.topic(self.topic.as_str())?;
        let partitions = match self.partition {
            Some(number) => vec![topic.partition(number)?],
            None => topic.partitions()?,
        };
        let group = broker.group(&self.group)?;
        partitions.iter().map(|partition| self.step(&group, partition)).collect()
    }

    fn step(&self, group: &millpond::Group, partition: &Partition) -> millpond::Result<Step> {
        let tp = partition.topic_partition().clone();
        let from = group.committed(&tp)?.as_ref().map(OffsetAndMetadata::offset);
        let to = match (self.to, self.shift_by) {
            (Some(to), _) => partition.reader(to)?.position(),
            (None, by) => {
                let (start, end) = (partition.log_start_offset().get(), partition.high_watermark().get());
                let shifted = from.map_or(start, Offset::get).saturating_add_signed(by.unwrap_or(0));
                Offset::new(shifted.clamp(start, end)).unwrap_or(partition.high_watermark())
            }
        };
        Ok(Step { partition: tp, from, to })
    }

    fn carry_out(&self, broker: &Broker, steps: &[Step]) -> millpond::Result<()> {
        let group = broker.group(&self.group)?;
        match (self.partition, self.to, self.shift_by) {
            (None, Some(to), _) => group.reset(&self.topic, to),
            (None, None, Some(by)) => group.shift(&self.topic, by),
            _ => steps.iter().try_for_each(|step| group.reset_partition(&step.partition, step.to)),
        }
    }
}
