//! Topics: made, changed, compacted, deleted; and the marks of their partitions after every step.
//!
//! Invariants that hold after each step: `log_start <= last_stable <= high_watermark <= log_end`, `flushed <= log_end`;
//! at `Sync` nothing above `flushed` is visible; no mark falls; nothing is poisoned that no call has failed for.

use std::collections::BTreeSet;
use std::time::Duration;

use millpond::config::{CleanupPolicy, Compression, Overflow, TimestampType, Volatile};
use millpond::prelude::*;
use millpond::producer::IdempotentProducer;
use millpond::{ErrorKind, TopicId};

use super::log::{LogModel, Marks, read};
use super::world::{World, offset};

const NAMES: [&str; 4] = ["clicks", "orders-0", "a.b_c", "state"];
const LEVELS: [Durability; 3] =
    [Durability::Sync, Durability::Memory, Durability::Interval(Duration::from_millis(400))];
const CODECS: &[Compression] = &[
    Compression::None,
    Compression::None,
    Compression::None,
    #[cfg(feature = "lz4")]
    Compression::Lz4,
    #[cfg(feature = "zstd")]
    Compression::Zstd { level: None },
    #[cfg(feature = "gzip")]
    Compression::Gzip { level: None },
    #[cfg(feature = "snappy")]
    Compression::Snappy,
];

/// A topic, and its model.
pub(super) struct Modelled {
    pub(super) name: String,
    pub(super) id: TopicId,
    pub(super) topic: Topic,
    pub(super) producer: Producer,
    pub(super) named: [Option<IdempotentProducer>; 2],
    pub(super) table: Option<Table>,
    pub(super) config: TopicConfig,
    pub(super) logs: Vec<LogModel>,
    /// Keys are spread over so many partitions, also when there are more by now.
    pub(super) spread: u32,
    /// It was compacted with at least this time for tombstones, once.
    pub(super) compacts: Option<Duration>,
    /// Retention by this age at least, once.
    pub(super) ages: Option<Duration>,
    /// Retention by size, once.
    pub(super) sized: bool,
    /// Which timestamps its records had, once: those they were given, those of their appends.
    pub(super) times: [bool; 2],
}

impl Modelled {
    pub(super) fn partition(&self, number: usize) -> Partition {
        self.topic.partition(number as u32).unwrap()
    }

    /// Takes over settings: what they allow may happen from now on.
    pub(super) fn takes(&mut self, config: TopicConfig) {
        let least = |known: Option<Duration>, new: Duration| Some(known.map_or(new, |known| known.min(new)));
        if config.cleanup_policy_kind().compacts() {
            self.compacts = least(self.compacts, config.delete_retention_duration());
        }
        if let Some(age) = config.retention_policy().max_age() {
            self.ages = least(self.ages, age);
        }
        self.times[usize::from(config.timestamp_kind() == TimestampType::LogAppend)] = true;
        self.sized |= config.volatile_bound().is_some() || config.retention_policy().max_size().is_some();
        self.config = config;
    }

    /// Handles of another broker.
    pub(super) fn reattach(&mut self, topic: Topic) {
        self.producer = topic.producer().unwrap();
        self.named = [None, None];
        self.table = None;
        self.topic = topic;
    }
}

impl World {
    fn draw_config(&self) -> TopicConfig {
        let config = TopicConfig::new()
            .durability(LEVELS[self.below(3) as usize])
            .compression(CODECS[self.below(CODECS.len() as u64) as usize])
            .linger(Duration::from_millis(50))
            .batch_size(ByteSize::kib(1 + self.below(2)))
            .segment_size(ByteSize::kib(16))
            .max_record_size(ByteSize::kib(8))
            .index_interval(ByteSize::bytes(200 + self.below(2) * 4_000))
            .timestamp_type(if self.one_in(6) { TimestampType::LogAppend } else { TimestampType::Create })
            .min_cleanable_dirty_percent(self.below(30) as u32)
            .delete_retention(Duration::from_secs(30 + self.below(2) * 86_400));
        let retention = match self.below(3) {
            0 => Retention::age(Duration::from_secs(60 + self.below(2) * 7_200)),
            1 => Retention::size(ByteSize::kib(20 + self.below(40))),
            _ => Retention::forever(),
        };
        match self.below(6) {
            0..=1 => config,
            2 => config.retention(retention),
            3 => config.cleanup_policy(CleanupPolicy::CompactAndDelete).retention(retention),
            _ => config.cleanup_policy(CleanupPolicy::Compact),
        }
    }

    /// The same for a topic that is in memory only.
    fn in_memory(&self, config: TopicConfig) -> TopicConfig {
        let bound = ByteSize::kib(64);
        let waits = self.one_in(2);
        keep_in_memory(
            config,
            if waits { Volatile::senders_wait(bound) } else { Volatile::drop_oldest(bound) },
        )
    }

    /// The errors of senders to a topic whose memory may be full.
    pub(super) fn when_full(&self, number: u64) -> &'static [ErrorKind] {
        match self.topics.get(&number).and_then(|topic| topic.config.volatile_bound()) {
            Some(volatile) if volatile.overflow() == Overflow::SendersWait => {
                &[ErrorKind::TimedOut, ErrorKind::Backpressure]
            }
            _ => &[],
        }
    }

    /// What a group has not committed yet stays, where senders wait.
    fn check_unread(&self, number: u64, n: usize, to: u64) {
        let asked = self.topics[&number].logs[n].asked_start >= to;
        if asked || self.when_full(number).is_empty() {
            return;
        }
        for ((group, of, part), committed) in &self.committed {
            if (*of, *part as usize) == (number, n) {
                let reached = committed.pending.iter().any(|pending| pending.value >= Some(to));
                let seen = committed.seen;
                assert!(reached || seen.is_none_or(|seen| seen >= to), "{number}-{n}: {group} {seen:?} {to}");
            }
        }
    }

    /// Admin calls on a full disk are another test's.
    fn room_for_admin(&mut self) {
        self.heal();
    }

    pub(super) fn create_topic(&mut self) {
        let taken: BTreeSet<&str> = self.topics.values().map(|topic| topic.name.as_str()).collect();
        let free: Vec<&str> = NAMES.iter().copied().filter(|name| !taken.contains(name)).collect();
        let Some(&name) = free.get(self.below(free.len() as u64) as usize) else { return };
        self.room_for_admin();
        let partitions = 1 + self.below(3) as u32;
        let config = self.draw_config().partitions(partitions);
        let config = if self.one_in(6) { self.in_memory(config) } else { config };
        self.say(format!("create {name}: {:?}", brief(&config)));
        let topic = self.broker().create_topic(name, config.clone()).unwrap();
        let mut modelled = Modelled {
            name: name.to_owned(),
            id: topic.id(),
            producer: topic.producer().unwrap(),
            topic,
            named: [None, None],
            table: None,
            config: config.clone(),
            logs: (0..partitions).map(|_| LogModel::default()).collect(),
            spread: partitions,
            compacts: None,
            ages: None,
            sized: false,
            times: [false; 2],
        };
        modelled.takes(config);
        self.topics.insert(self.next_topic, modelled);
        self.next_topic += 1;
    }

    /// The number of a topic of those there are.
    pub(super) fn any_topic(&self) -> Option<u64> {
        let at = self.below(self.topics.len() as u64) as usize;
        self.topics.keys().nth(at).copied()
    }

    pub(super) fn delete_topic(&mut self) {
        if self.topics.len() < 3 || self.one_in(2) {
            return;
        }
        self.room_for_admin();
        let Some(number) = self.any_topic() else { return };
        let gone = self.topics.remove(&number).unwrap();
        self.say(format!("delete {}", gone.name));
        self.broker().delete_topic(&gone.name).unwrap();
        assert_eq!(gone.topic.partition(0).unwrap_err().kind(), ErrorKind::Closed);
        self.deleted = Some((number, gone));
    }

    pub(super) fn add_partitions(&mut self) {
        self.room_for_admin();
        let Some(number) = self.any_topic() else { return };
        let broker = self.broker();
        let topic = self.topics.get_mut(&number).unwrap();
        if topic.logs.len() >= 4 {
            return;
        }
        topic.logs.push(LogModel::default());
        let total = topic.logs.len() as u32;
        topic.config = topic.config.clone().partitions(total);
        broker.add_partitions(&topic.name, total).unwrap();
        let line = format!("add_partitions {} {total}", topic.name);
        self.say(line);
    }

    pub(super) fn alter_topic(&mut self) {
        self.room_for_admin();
        let Some(number) = self.any_topic() else { return };
        let config = self.draw_config();
        let broker = self.broker();
        let topic = self.topics.get_mut(&number).unwrap();
        let config = config.partitions(topic.logs.len() as u32);
        let config = match topic.config.volatile_bound() {
            Some(volatile) => keep_in_memory(config, volatile),
            None => config,
        };
        topic.takes(config.clone());
        let name = topic.name.clone();
        self.say(format!("alter {name}: {:?}", brief(&config)));
        if let Err(error) = broker.alter_topic(&name, config) {
            self.bear("alter", &error, &[]);
        }
    }

    pub(super) fn delete_records(&mut self) {
        let Some(number) = self.any_topic() else { return };
        let topic = &self.topics[&number];
        let n = self.below(topic.logs.len() as u64) as usize;
        let partition = topic.partition(n);
        let (start, high) = (topic.logs[n].marks.start, partition.high_watermark().get());
        let to = start + self.below((high - start.min(high)) / 2 + 1);
        self.say(format!("delete_records {number}-{n} below {to}"));
        match partition.delete_records(offset(to)) {
            Ok(now) => {
                assert_eq!(now.get(), to.max(start));
                self.topics.get_mut(&number).unwrap().logs[n].marks.start = now.get();
            }
            Err(error) => {
                let log = &mut self.topics.get_mut(&number).unwrap().logs[n];
                log.asked_start = log.asked_start.max(to);
                self.bear("delete_records", &error, &[]);
            }
        }
    }

    pub(super) fn compact(&mut self) {
        let Some(number) = self.any_topic() else { return };
        self.say(format!("compact {number}"));
        let topic = &self.topics[&number];
        let compacts = topic.config.cleanup_policy_kind().compacts();
        let answer = topic.topic.compact().and_then(|compaction| compaction.wait());
        match answer {
            Ok(_) => assert!(compacts, "only what is to be compacted"),
            Err(error) if !compacts => assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}"),
            Err(error) => self.bear("compact", &error, &[]),
        }
        self.audit();
    }

    pub(super) fn retain(&mut self) {
        self.say("retain");
        if let Err(error) = self.broker().retain() {
            self.bear("retain", &error, &[]);
        }
    }

    /// The marks of every partition, and what has become readable.
    pub(super) fn look(&mut self) {
        self.deleted = None;
        let numbers: Vec<u64> = self.topics.keys().copied().collect();
        for number in numbers {
            for n in 0..self.topics[&number].logs.len() {
                self.look_at(number, n);
            }
        }
        self.look_at_commits();
    }

    fn look_at(&mut self, number: u64, n: usize) {
        let topic = &self.topics[&number];
        let name = format!("{}-{n}", topic.name);
        let log = &topic.logs[n];
        let partition = topic.partition(n);
        let poisoned = topic.topic.describe().partitions()[n].is_poisoned();
        assert!(!poisoned || matches!(self.trouble, super::world::Trouble::Broken(_)), "{name} is poisoned");
        let stable = partition.last_stable_offset().get();
        let now = Marks {
            start: partition.log_start_offset().get(),
            high: partition.high_watermark().get(),
            flushed: partition.flushed_offset().get(),
            end: partition.log_end_offset().get(),
            epoch: partition.leader_epoch().get(),
        };
        let before = log.marks;
        if poisoned {
            let log = &mut self.topics.get_mut(&number).unwrap().logs[n];
            log.poisoned = true;
            log.marks = Marks { high: before.high.min(now.flushed), flushed: now.flushed, ..before };
            return;
        }
        assert!(now.start <= stable && stable <= now.high && now.high <= now.end, "{name}: {stable} {now:?}");
        assert!(now.flushed <= now.end, "{name}: {now:?}");
        assert!(now.high >= before.high && now.flushed >= before.flushed, "{name}: {now:?} after {before:?}");
        assert!(now.start >= before.start && now.epoch >= before.epoch, "{name}: {now:?} after {before:?}");
        if topic.config.durability_level() == Durability::Sync && !self.in_trouble() {
            assert!(now.high <= now.flushed, "{name}: visible before it is on the device: {now:?}");
        }
        if now.start > before.start {
            self.check_retention(number, n, before.start, now.start);
            self.check_unread(number, n, now.start);
        }
        self.learn(number, n, now.high);
        self.topics.get_mut(&number).unwrap().logs[n].marks = now;
    }

    /// Nothing is deleted unless asked.
    pub(super) fn check_retention(&self, number: u64, n: usize, from: u64, to: u64) {
        let topic = &self.topics[&number];
        let young =
            topic.logs[n].known.range(from..to).map(|(_, &id)| self.now() - self.records[id].at).min();
        let old_enough = |age: Duration| young.is_none_or(|young| young >= age.as_millis() as i64);
        let name = &topic.name;
        let asked = topic.logs[n].asked_start >= to;
        assert!(
            asked || topic.sized || topic.ages.is_some_and(old_enough),
            "{name}-{n}: {from}..{to} is deleted, the youngest {young:?} ms old"
        );
    }

    /// Reads what has become visible since the last look.
    fn learn(&mut self, number: u64, n: usize, high: u64) {
        let topic = &self.topics[&number];
        let log = &topic.logs[n];
        let partition = topic.partition(n);
        let from = log.read_to.max(partition.log_start_offset().get());
        if from >= high {
            return;
        }
        let seen = read(&partition, from, Isolation::ReadUncommitted).unwrap();
        let found: BTreeSet<u64> = seen.iter().map(|record| record.offset).collect();
        // What compaction has taken meanwhile, an audit judges.
        let told = log.known.range(from..high).filter(|_| topic.compacts.is_none());
        for (offset, id) in told {
            assert!(found.contains(offset), "{}-{n}: record {id} at {offset} is not there", topic.name);
        }
        for record in seen {
            self.witness(&record, number, n as u32);
        }
        self.topics.get_mut(&number).unwrap().logs[n].read_to = high;
    }

    /// A record has this offset, from now on.
    pub(super) fn place(&mut self, id: usize, offset: u64) {
        let sent = &mut self.records[id];
        let log = &mut self.topics.get_mut(&sent.topic).unwrap().logs[sent.partition as usize];
        let known = log.known.insert(offset, id);
        assert!(known.is_none_or(|known| known == id), "{id} and {known:?} are both at {offset}");
        assert!(sent.offset.is_none_or(|known| known == offset), "{id} is at {offset} and {:?}", sent.offset);
        sent.offset = Some(offset);
    }
}

fn keep_in_memory(config: TopicConfig, volatile: Volatile) -> TopicConfig {
    config
        .durability(Durability::Memory)
        .volatile(volatile)
        .cleanup_policy(CleanupPolicy::Delete)
        .retention(Retention::forever())
        .segment_size(ByteSize::kib(8))
        .max_record_size(ByteSize::kib(8))
}

fn brief(config: &TopicConfig) -> Vec<(&'static str, String)> {
    let default = TopicConfig::new().to_pairs();
    config.to_pairs().into_iter().filter(|pair| !default.contains(pair)).collect()
}
