//! `groups` and `lag`: who has come how far; `delete-group` and `delete-offsets`.
//!
//! Invariants: those that only look take no lock and write nothing, so they work beside a program that has the
//! directory open; those that change something need it for themselves, and say what went.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::slice;

use millpond::broker::{ObservedGroup, PartitionLag, Sight};
use millpond::group::GroupId;
use millpond::{Broker, Error};

use crate::data::{check_topic, must_exist, observe};
use crate::failure::{DONE, Failure, Outcome, all_but};
use crate::topics::print;

/// List the consumer groups, or describe one: its static members, and each partition it has committed in.
#[derive(Debug, clap::Args)]
pub(crate) struct Groups {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Describe this group [default: list all].
    #[arg(long)]
    group: Option<String>,
}

/// Print how far groups are behind: group, topic, partition, committed, end, records and seconds behind.
#[derive(Debug, clap::Args)]
pub(crate) struct Lag {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// This group only [default: all].
    #[arg(long)]
    group: Option<String>,
}

/// Delete a group with all that it has committed.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteGroup {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The group.
    #[arg(long)]
    group: String,
}

/// Delete what a group has committed in a topic.
#[derive(Debug, clap::Args)]
pub(crate) struct DeleteOffsets {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The group.
    #[arg(long)]
    group: String,
    /// The topic.
    #[arg(long)]
    topic: String,
}

impl Groups {
    /// Prints the names, or one group.
    pub(crate) fn run(self) -> Outcome {
        let Some(name) = &self.group else {
            return print(observe(&self.data)?.groups()?.iter());
        };
        check_group(name)?;
        let group = observe(&self.data)?.group(name)?;
        print(describe(&group).iter())?;
        Ok(all_but(group.unreadable()))
    }
}

fn describe(group: &ObservedGroup) -> Vec<String> {
    let members = if group.has_members() { "has members" } else { "no members" };
    let epoch = group.epoch().map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
    let mut lines = vec![format!("{} {members} epoch={epoch} lag={}", group.id(), group.lag_records())];
    for member in group.static_members() {
        let away = member.away_until().map_or_else(String::new, |until| format!(" away_until={until}"));
        let assigned: Vec<String> = member.assigned().iter().map(ToString::to_string).collect();
        let partitions = assigned.join(",");
        lines.push(format!(
            "  member {}: id={}{away} partitions={partitions}",
            member.instance_id(),
            member.id()
        ));
    }
    for lag in group.lag() {
        let (committed, time) = (committed(lag), seconds(lag));
        let (partition, end, records) = (lag.partition(), lag.end(), lag.records());
        lines.push(format!("  {partition}: committed={committed} end={end} lag={records} seconds={time}"));
    }
    lines
}

fn committed(lag: &PartitionLag) -> String {
    lag.committed().map_or_else(|| "-".to_owned(), |committed| committed.offset().to_string())
}

fn seconds(lag: &PartitionLag) -> String {
    lag.time().map_or_else(|| "-".to_owned(), |time| format!("{:.1}", time.as_secs_f64()))
}

impl Lag {
    /// Prints a line for each partition.
    pub(crate) fn run(self) -> Outcome {
        if let Some(name) = &self.group {
            check_group(name)?;
        }
        let observer = observe(&self.data)?;
        let (group, sight);
        let (groups, unreadable) = match &self.group {
            Some(name) => {
                group = observer.group(name)?;
                (slice::from_ref(&group), group.unreadable().iter().collect())
            }
            None => {
                sight = observer.watch().look()?;
                (&*sight.groups, unreadable_of_groups(&sight))
            }
        };
        let mut lines = Vec::new();
        for group in groups {
            for lag in group.lag() {
                let (topic, number) = (lag.partition().topic(), lag.partition().partition());
                let (committed, end, records, time) =
                    (committed(lag), lag.end(), lag.records(), seconds(lag));
                lines.push(format!(
                    "{}\t{topic}\t{number}\t{committed}\t{end}\t{records}\t{time}",
                    group.id()
                ));
            }
        }
        print(lines.iter())?;
        Ok(all_but(unreadable))
    }
}

/// What lies in no group's way is not told.
fn unreadable_of_groups(sight: &Sight) -> Vec<&Error> {
    let missed = |error: &&Error| {
        let Some(tp) = error.topic_partition() else { return true };
        let mut of_groups = sight.groups.iter().flat_map(ObservedGroup::unreadable);
        tp.topic().is_internal() || of_groups.any(|missed| missed.topic_partition() == Some(tp))
    };
    sight.unreadable().into_iter().filter(missed).collect()
}

impl DeleteGroup {
    /// Deletes the group.
    pub(crate) fn run(self) -> Outcome {
        check_group(&self.group)?;
        change(&self.data, |broker| broker.group(&self.group)?.delete())?;
        said(writeln!(stdout(), "deleted group {}", self.group))
    }
}

impl DeleteOffsets {
    /// Deletes the offsets.
    pub(crate) fn run(self) -> Outcome {
        check_group(&self.group)?;
        check_topic(&self.topic)?;
        change(&self.data, |broker| broker.group(&self.group)?.delete_offsets(&self.topic))?;
        said(writeln!(stdout(), "deleted the offsets of group {} in topic {}", self.group, self.topic))
    }
}

/// Opens the directory, does this, and closes it in order.
pub(crate) fn change<T>(
    data: &std::path::Path,
    call: impl FnOnce(&Broker) -> millpond::Result<T>,
) -> Outcome<T> {
    must_exist(data)?;
    let broker = Broker::open(data)?;
    let done = call(&broker);
    let closed = broker.close().wait();
    let done = done?;
    closed?;
    Ok(done)
}

fn said(written: std::io::Result<()>) -> Outcome {
    written.map_err(|e| Failure::output(&e))?;
    Ok(DONE)
}

/// Refuses a name that no group can have, before anything is opened.
pub(crate) fn check_group(name: &str) -> Outcome<()> {
    GroupId::new(name).map(drop).map_err(|error| Failure::Usage(error.to_string()))
}
