//! What an administrator does to groups, and what each of them gets in the end.

use std::time::Duration;

use millpond::ErrorKind;

use super::groups::{GROUPS, Pending};
use super::world::{World, offset};

impl World {
    /// Sets or deletes offsets, as an administrator does.
    pub(super) fn change_group(&mut self) {
        let group = GROUPS[self.below(2) as usize];
        let Some(number) = self.any_topic() else { return };
        let busy = self.members.iter().any(|member| member.group == group);
        let n = self.below(self.topics[&number].logs.len() as u64) as u32;
        let broker = self.broker();
        let (handle, name) = (broker.group(group).unwrap(), self.topics[&number].name.clone());
        let allowed =
            [ErrorKind::GroupInUse, ErrorKind::NoOffset, ErrorKind::GroupNotFound, ErrorKind::Backpressure];
        let answer = if self.one_in(2) {
            let partition = self.topics[&number].partition(n as usize);
            let (start, end) = (partition.log_start_offset().get(), partition.high_watermark().get());
            let to = start + self.below(end.saturating_sub(start) + 1);
            self.say(format!("reset {group} {number}-{n} {to}"));
            self.begin_commit(group, number, n, Pending { value: Some(to), back: true, txn: None });
            handle.reset_partition(&self.tp(number, n), offset(to)).map(|()| Some((n, to)))
        } else {
            self.say(format!("delete_offsets {group} {number}"));
            for n in 0..self.topics[&number].logs.len() as u32 {
                self.begin_commit(group, number, n, Pending { value: None, back: true, txn: None });
            }
            handle.delete_offsets(&name).map(|()| None)
        };
        match answer {
            Ok(Some((n, to))) => self.must_be_committed(group, number, n, to),
            Ok(None) => {
                for n in 0..self.topics[&number].logs.len() as u32 {
                    assert_eq!(self.committed_in(group, number, n), Ok(None), "deleted");
                }
            }
            Err(error) => {
                assert!(error.kind() != ErrorKind::GroupInUse || busy, "{error}");
                self.bear("change a group", &error, &allowed);
            }
        }
    }

    /// In the end each group gets everything that it has not committed.
    pub(super) fn everybody_reads_everything(&mut self) {
        self.members.clear();
        let names: Vec<String> = self.topics.values().map(|topic| topic.name.clone()).collect();
        if names.is_empty() {
            return;
        }
        for group in GROUPS {
            self.say(format!("{group} reads everything"));
            self.join_as(group, &names, None);
            self.look_at_commits();
            let mut idle = 0;
            while idle < 4 {
                idle = if self.poll_one(0) == 0 { idle + 1 } else { 0 };
                if idle > 0 {
                    // Static members that are away are waited for.
                    self.advance(Duration::from_secs(30));
                }
            }
            let member = self.members.remove(0);
            for (number, topic) in &self.topics {
                for n in 0..topic.logs.len() {
                    let stable = topic.partition(n).last_stable_offset().get();
                    let at = member.places.get(&(*number, n as u32)).and_then(|place| place.at);
                    let at = at.unwrap_or_else(|| panic!("{group} was not given {number}-{n}"));
                    self.check_passed_over(group, (*number, n as u32), at, &[], stable);
                }
            }
        }
    }
}
