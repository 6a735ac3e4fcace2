//! What others see of the directory: beside the broker that has it open, and as it is at each call of the disk.
//!
//! Invariants: nothing is ever corrupt; marks are in order; records are those that were sent, at their offsets.

use millpond::Observer;
use millpond::broker::{TopicDescription, Verdict};
use millpond::consumer::OwnedRecord;
use millpond::prelude::*;
use millpond::testing::{SimDisk, SimEnvironment};

use super::log::{Seen, read};
use super::world::{Trouble, World, offset};

impl World {
    /// Looks from outside, while the broker goes on.
    pub(super) fn observe(&mut self) {
        if matches!(self.trouble, Trouble::Broken(_)) {
            return;
        }
        self.say("observe");
        let observer = Observer::open_in(self.sim.environment(), "/data").unwrap();
        assert!(observer.is_live().unwrap(), "somebody has it open");
        nothing_is_corrupt(&observer);
        everything_is_told(&observer);
        for (&number, topic) in &self.topics {
            if topic.config.volatile_bound().is_some() {
                continue;
            }
            let described = observer.describe(&topic.name).unwrap();
            assert_eq!(described.id(), topic.id, "{}", topic.name);
            check_order_of_marks(&described);
            for n in 0..topic.logs.len() {
                self.observe_partition(&observer, number, n);
            }
        }
    }

    /// From outside everything is seen that is visible within; perhaps more, which is written already.
    fn observe_partition(&self, observer: &Observer, number: u64, n: usize) {
        let topic = &self.topics[&number];
        let (name, partition) = (format!("{}-{n}", topic.name), topic.partition(n));
        let start = partition.log_start_offset();
        let within = read(&partition, start.get(), Isolation::ReadUncommitted).unwrap();
        let high = partition.high_watermark().get();
        let outside = records_of(observer, &topic.name, n as u32, start.get());
        outside.iter().for_each(|seen| seen.check(&self.records[seen.id], number, n as u32));
        let visible = outside.iter().filter(|seen| seen.offset < high).map(|seen| (seen.offset, seen.id));
        let visible: Vec<_> = visible.collect();
        let within: Vec<_> = within.iter().map(|seen| (seen.offset, seen.id)).collect();
        assert_eq!(visible, within, "{name} from outside, below {high}");
    }

    /// Looks at some of the states that a disk has gone through.
    pub(super) fn observe_some(&self, states: &[SimDisk]) {
        if states.is_empty() || matches!(self.trouble, Trouble::Broken(_)) {
            return;
        }
        for _ in 0..4 {
            let state = &states[self.below(states.len() as u64) as usize];
            let sim = SimEnvironment::on(state.after_kill(), 1);
            let observer = Observer::open_in(sim.environment(), "/data").unwrap();
            nothing_is_corrupt(&observer);
            everything_is_told(&observer);
            let names = observer.topics().unwrap();
            for name in names.into_iter().filter(|name| !name.as_str().starts_with("__")) {
                let described = observer.describe(&name).unwrap();
                check_order_of_marks(&described);
                let known =
                    self.topics.iter().chain(self.deleted.as_ref().map(|(number, topic)| (number, topic)));
                let number = known.clone().find(|(_, topic)| topic.id == described.id());
                let (&number, _) = number.unwrap_or_else(|| panic!("{name} is nobody's"));
                for part in described.partitions() {
                    let start = part.log_start_offset().get();
                    let seen = records_of(&observer, name.as_str(), part.partition(), start);
                    seen.iter().for_each(|seen| seen.check(&self.records[seen.id], number, part.partition()));
                }
            }
        }
    }
}

/// All records of a partition as they are seen from outside, in order.
pub(super) fn records_of(observer: &Observer, topic: &str, n: u32, from: u64) -> Vec<Seen> {
    let mut records = observer.read(topic, n, offset(from)..).unwrap();
    let mut all: Vec<Seen> = Vec::new();
    while let Some(record) = records.next().unwrap() {
        let seen = of_owned(&record);
        assert!(all.last().is_none_or(|last| last.offset < seen.offset), "{topic}-{n}: {seen:?}");
        all.push(seen);
    }
    all
}

fn of_owned(record: &OwnedRecord) -> Seen {
    let text = match record.value() {
        Some(value) => value.split(|&byte| byte == b':').next().unwrap().to_vec(),
        None => record.headers().iter().next().expect("a tombstone names itself").1.unwrap().to_vec(),
    };
    Seen {
        offset: record.offset().get(),
        timestamp: record.timestamp().millis(),
        id: String::from_utf8(text).unwrap().parse().unwrap(),
        key: record.key().map(<[u8]>::to_vec),
        tombstone: record.value().is_none(),
        len: record.value().map_or(0, <[u8]>::len),
    }
}

fn nothing_is_corrupt(observer: &Observer) {
    let report = observer.verify(|_| {}).unwrap();
    assert!(report.verdict() != Verdict::Corrupt, "{:?}", report.findings());
}

/// Groups, transactions and lag can be told at any moment.
fn everything_is_told(observer: &Observer) {
    let groups = observer.groups().unwrap();
    for group in groups {
        observer.group(&group).unwrap();
    }
    observer.transactions().unwrap();
    observer.watch().look().unwrap();
}

fn check_order_of_marks(described: &TopicDescription) {
    for part in described.partitions() {
        let (start, high, end) = (part.log_start_offset(), part.high_watermark(), part.log_end_offset());
        assert!(start <= high && high <= end, "{}: {part:?}", described.name());
    }
}
