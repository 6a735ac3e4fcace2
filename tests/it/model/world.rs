//! A broker and its model, side by side.
//!
//! Invariants that hold after every step, for every partition:
//! - `log_start <= high_watermark <= log_end <=` what was sent, `flushed <= log_end`; at `Sync` nothing
//!   above `flushed` is visible; neither mark falls (but by a truncation or a crash);
//! - what is read is what was sent, offset by offset, without a gap.
//!
//! And after a crash: a prefix; as long as the marks before it promised; in a higher leader epoch.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, ReadMode, ReaderConfig, TimestampType};
use millpond::env::Clock;
use millpond::prelude::*;
use millpond::testing::SimEnvironment;
use millpond::topic::{HashKey, Partitioner};
use millpond::{ErrorKind, TopicId};

use super::{CODECS, End, From, LEVELS, Shape, Step, TopicShape};

const NAMES: [&str; 3] = ["clicks", "orders-0", "a.b_c"];
const LINGER: Duration = Duration::from_millis(50);
const LAZY: Duration = Duration::from_millis(900);

/// A record as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sent {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A partition of the model.
#[derive(Debug, Default)]
struct Log {
    start: u64,
    /// By offset, from 0.
    sent: Vec<Sent>,
    /// When each was handed over, in milliseconds.
    sent_at: Vec<i64>,
    /// The high watermark and the flushed offset as last seen.
    acked: u64,
    flushed: u64,
    epoch: i32,
}

/// A topic, and its model.
struct Modelled {
    topic: Topic,
    producer: Producer,
    id: TopicId,
    config: TopicConfig,
    logs: Vec<Log>,
}

/// A reader, and where it must be.
struct Follower {
    reader: Reader,
    topic: String,
    partition: usize,
    position: u64,
}

/// Records that somebody still looks at.
struct Held {
    records: Records,
    expected: Vec<(u64, Sent)>,
}

/// A broker on a simulated disk, and what it must show.
pub(crate) struct World {
    sim: SimEnvironment,
    seed: u64,
    openings: u64,
    broker: Option<Broker>,
    topics: BTreeMap<String, Modelled>,
    follower: Option<Follower>,
    held: Vec<Held>,
    counter: u64,
}

impl World {
    /// An empty directory. One seed in eight has a disk whose maps are not stored through.
    pub(crate) fn new(seed: u64) -> World {
        let sim = SimEnvironment::new(seed);
        if seed % 8 == 0 {
            sim.disk().distrust_mapped_stores();
        }
        let broker = Some(open(&sim, seed));
        let topics = BTreeMap::new();
        World { sim, seed, openings: 1, broker, topics, follower: None, held: Vec::new(), counter: 0 }
    }

    /// Does one step in both, and compares.
    pub(crate) fn step(&mut self, step: &Step) {
        let bears_a_full_disk = matches!(
            step,
            Step::Send(..)
                | Step::SendMany(..)
                | Step::SendBatch(..)
                | Step::Flush(_)
                | Step::FollowNext(_)
                | Step::Lookup(..)
        );
        if !bears_a_full_disk {
            self.sim.disk().set_capacity(None);
        }
        match step {
            Step::CreateTopic(shape) => self.create(shape),
            Step::DeleteTopic(topic) => self.delete(*topic),
            Step::AddPartitions(topic) => self.add_partitions(*topic),
            Step::AlterTopic(topic, level, codec) => self.alter(*topic, *level, *codec),
            Step::Send(topic, shape, wait) => self.send(*topic, shape, *wait),
            Step::SendMany(topic, count, shape) => {
                for _ in 0..*count {
                    self.send(*topic, shape, false);
                }
            }
            Step::SendBatch(topic, count, shape) => self.send_batch(*topic, *count, shape),
            Step::Flush(topic) => self.flush(*topic),
            Step::Tick(millis) => self.tick(*millis),
            Step::Lookup(topic, partition, at) => self.look_up(*topic, *partition, *at),
            Step::ReadTopic(topic, from) => self.read_topic(*topic, *from),
            Step::Follow(topic, partition, from, most) => self.follow(*topic, *partition, *from, *most),
            Step::FollowNext(hold) => self.follow_next(*hold),
            Step::FollowSeek(from) => self.follow_seek(*from),
            Step::DeleteRecords(topic, partition, at) => self.delete_records(*topic, *partition, *at),
            Step::Truncate(topic, partition, at) => self.truncate(*topic, *partition, *at),
            Step::DiskFull(pages) => {
                let used = self.sim.disk().used();
                self.sim.disk().set_capacity(Some(used + u64::from(*pages) * 4_096));
            }
            Step::Reopen(end) => self.reopen(*end),
        }
        self.observe();
    }

    fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("a world has a broker between steps")
    }

    fn now(&self) -> i64 {
        self.sim.clock().now().millis()
    }

    /// The topic that a number picks of those there are.
    fn pick(&mut self, number: u8) -> Option<&mut Modelled> {
        let at = usize::from(number) % self.topics.len().max(1);
        self.topics.values_mut().nth(at)
    }

    fn create(&mut self, shape: &TopicShape) {
        let name = NAMES.iter().find(|name| !self.topics.contains_key(**name));
        let config = TopicConfig::new()
            .partitions(shape.partitions)
            .durability(LEVELS[shape.durability])
            .compression(CODECS[shape.compression])
            .linger(LINGER)
            .batch_size(ByteSize::kib(2))
            .segment_size(ByteSize::kib(8))
            .index_interval(ByteSize::bytes(shape.index_interval))
            .timestamp_type(match shape.log_append_time {
                true => TimestampType::LogAppend,
                false => TimestampType::Create,
            });
        let Some(name) = name else {
            let error = self.broker().create_topic(NAMES[0], config).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TopicExists);
            return;
        };
        let topic = self.broker().create_topic(name, config.clone()).unwrap();
        let logs = (0..shape.partitions).map(|_| Log::default()).collect();
        let producer = topic.producer().unwrap();
        let modelled = Modelled { id: topic.id(), topic, producer, config, logs };
        self.topics.insert((*name).to_owned(), modelled);
    }

    fn delete(&mut self, number: u8) {
        let Some(picked) = self.pick(number) else {
            assert_eq!(self.broker().delete_topic("nobody").unwrap_err().kind(), ErrorKind::TopicNotFound);
            return;
        };
        let name = picked.topic.name().to_string();
        self.broker().delete_topic(&name).unwrap();
        let gone = self.topics.remove(&name).expect("it was picked");
        assert_eq!(gone.producer.send(Record::new("late")).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(gone.topic.partition(0).unwrap_err().kind(), ErrorKind::Closed);
        if self.follower.as_ref().is_some_and(|follower| follower.topic == name) {
            self.follower = None;
        }
    }

    fn add_partitions(&mut self, number: u8) {
        let Some(picked) = self.pick(number) else { return };
        let total = picked.logs.len() as u32 + 1;
        let name = picked.topic.name().to_string();
        picked.logs.push(Log::default());
        picked.config = picked.config.clone().partitions(total);
        self.broker().add_partitions(&name, total).unwrap();
    }

    fn alter(&mut self, number: u8, level: usize, codec: usize) {
        let Some(picked) = self.pick(number) else { return };
        let name = picked.topic.name().to_string();
        let config = picked.config.clone().durability(LEVELS[level]).compression(CODECS[codec]);
        picked.config = config.clone();
        self.broker().alter_topic(&name, config).unwrap();
    }

    /// A record of this shape, with bytes that no other has.
    fn make(&mut self, shape: &Shape, keyed: bool) -> Sent {
        self.counter += 1;
        let counter = self.counter;
        let value = shape.len.map(|len| {
            let mut value = format!("{counter}:").into_bytes();
            value.extend((value.len()..usize::from(len)).map(|i| (i as u64 * counter % 251) as u8));
            value
        });
        let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
        let headers = match shape.headers {
            0 | 1 => Vec::new(),
            2 => vec![header("trace", Some(b"7f")), header("trace", None), header("trace", Some(b""))],
            _ => (0..12).map(|_| header("", Some(&counter.to_be_bytes()))).collect(),
        };
        Sent {
            timestamp: shape.timestamp.unwrap_or_else(|| self.now()),
            key: shape.key.filter(|_| keyed).map(|key| vec![key; usize::from(key)]),
            value,
            headers,
        }
    }

    fn send(&mut self, number: u8, shape: &Shape, wait: bool) {
        let mut sent = self.make(shape, true);
        let now = self.now();
        let Some(picked) = self.pick(number) else { return };
        let to = shape.partition;
        let producer = &picked.producer;
        let answer = match (&sent.key, &sent.value) {
            (Some(key), Some(value)) => producer.send(dress(Record::new(value).key(key), &sent, shape)),
            (None, Some(value)) => producer.send(dress(Record::new(value), &sent, shape)),
            (Some(key), None) => producer.send(dress(Record::tombstone().key(key), &sent, shape)),
            (None, None) => {
                let error = producer.send(dress(Record::tombstone(), &sent, shape)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "a tombstone without a key");
                return;
            }
        };
        let count = picked.logs.len() as u32;
        let delivery = match answer {
            Ok(delivery) => delivery,
            Err(error) if error.kind() == ErrorKind::PartitionNotFound => {
                assert!(to.is_some_and(|to| to >= count), "{error}");
                return;
            }
            Err(error) => return assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
        };
        let partition = delivery.partition();
        match (to, &sent.key) {
            (Some(to), _) => assert_eq!(partition, to),
            (None, Some(key)) if count > 1 => assert_eq!(partition, partition_of(key, count)),
            (None, _) => assert!(partition < count),
        }
        let log = &mut picked.logs[partition as usize];
        let offset = log.sent.len() as u64;
        assert_eq!(delivery.offset().map(Offset::get), Some(offset), "offsets are dense");
        let append_time = picked.config.timestamp_kind() == TimestampType::LogAppend;
        let reads_clock = append_time || shape.timestamp.is_none();
        if reads_clock {
            sent.timestamp = now;
        }
        log.sent.push(sent);
        log.sent_at.push(now);
        if !wait {
            return;
        }
        match delivery.wait() {
            Ok(metadata) => {
                assert_eq!((metadata.partition(), metadata.offset().get()), (partition, offset));
                let read = picked.topic.partition(partition).unwrap();
                assert!(read.high_watermark().get() > offset, "acknowledged is visible");
                if append_time {
                    // Stamped when its batch was opened, which is at most a linger ago.
                    let stamped = metadata.timestamp().millis();
                    assert!((now - stamped) as u128 <= LINGER.as_millis() && stamped <= now);
                    let mut reader = read.read(Offset::new(offset).expect("small")..).unwrap();
                    let records = reader.next().unwrap().expect("it is visible");
                    let record = records.iter().next().expect("a chunk has records");
                    assert_eq!(record.timestamp(), metadata.timestamp(), "the stamp is the one that is read");
                } else {
                    assert_eq!(metadata.timestamp().millis(), log.sent[offset as usize].timestamp);
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
        }
    }

    fn send_batch(&mut self, number: u8, count: u8, shape: &Shape) {
        let shape = Shape { len: Some(shape.len.unwrap_or(7)), ..shape.clone() };
        let keyed = shape.key.is_some() && shape.partition.is_none();
        let mut made: Vec<Sent> = Vec::new();
        for n in 0..count {
            let key = shape.key.map(|key| (key + n) % 8);
            made.push(self.make(&Shape { key, ..shape.clone() }, keyed));
        }
        let now = self.now();
        let Some(picked) = self.pick(number) else { return };
        let partitions = picked.logs.len() as u32;
        let to = if keyed { None } else { Some(shape.partition.unwrap_or(0) % partitions) };
        let shape = Shape { partition: to, ..shape };
        let value = |sent: &'_ Sent| sent.value.clone().unwrap_or_default();
        let values: Vec<Vec<u8>> = made.iter().map(value).collect();
        let pairs = made.iter().zip(&values);
        let answer = if keyed {
            let keys: Vec<Vec<u8>> = made.iter().map(|sent| sent.key.clone().unwrap_or_default()).collect();
            let records = pairs.zip(&keys);
            picked.producer.send_batch(
                records.map(|((sent, value), key)| dress(Record::new(value).key(key), sent, &shape)),
            )
        } else {
            picked.producer.send_batch(pairs.map(|(sent, value)| dress(Record::new(value), sent, &shape)))
        };
        let append_time = picked.config.timestamp_kind() == TimestampType::LogAppend;
        let mut delivery = match answer {
            Ok(delivery) => delivery,
            Err(error) => return assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
        };
        let mut by_partition: BTreeMap<u32, std::collections::VecDeque<Sent>> = BTreeMap::new();
        for mut sent in made {
            let single = partitions == 1;
            let hashed = || sent.key.as_ref().map_or(0, |key| partition_of(key, partitions));
            let partition = if single { 0 } else { to.unwrap_or_else(hashed) };
            if append_time || shape.timestamp.is_none() {
                sent.timestamp = now;
            }
            by_partition.entry(partition).or_default().push_back(sent);
        }
        for batch in delivery.batches() {
            let log = &mut picked.logs[batch.partition() as usize];
            assert_eq!(batch.base_offset().get(), log.sent.len() as u64, "offsets are dense");
            let waiting = by_partition.get_mut(&batch.partition()).expect("its records were for it");
            for _ in 0..batch.count() {
                log.sent.push(waiting.pop_front().expect("no more than were given"));
                log.sent_at.push(now);
            }
            assert_eq!(batch.last_offset().get() + 1, log.sent.len() as u64);
        }
        if count % 2 == 0 {
            return; // nobody waits: the linger decides
        }
        match delivery.wait_timeout(Duration::from_secs(5)) {
            Ok(batches) => {
                let all: u32 = batches.iter().map(|batch| batch.count()).sum();
                assert_eq!(all, u32::from(count));
                for batch in batches {
                    let partition = picked.topic.partition(batch.partition()).unwrap();
                    assert!(partition.high_watermark() > batch.last_offset(), "acknowledged is visible");
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
        }
    }

    fn flush(&mut self, number: u8) {
        let Some(picked) = self.pick(number) else { return };
        match picked.producer.flush().wait() {
            Ok(()) => {
                for (n, log) in (0..).zip(&picked.logs) {
                    let partition = picked.topic.partition(n).unwrap();
                    assert_eq!(partition.high_watermark().get(), log.sent.len() as u64, "flushed is visible");
                }
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}"),
        }
    }

    fn tick(&mut self, millis: u16) {
        self.sim.clock().advance(Duration::from_millis(millis.into()));
        self.broker().tick().unwrap();
        let now = self.now();
        for (name, modelled) in &self.topics {
            let promise = match modelled.config.durability_level() {
                Durability::Sync => LINGER,
                Durability::Interval(d) => d,
                _ => LAZY,
            };
            for (n, log) in (0..).zip(&modelled.logs) {
                let partition = modelled.topic.partition(n).unwrap();
                let due = |after: Duration| {
                    log.sent_at.iter().take_while(|&&at| now - at >= after.as_millis() as i64).count() as u64
                };
                let acked = partition.high_watermark().get();
                assert!(acked >= due(LINGER), "{name}-{n}: {acked} where the linger has passed for more");
                let flushed = partition.flushed_offset().get();
                assert!(
                    flushed >= due(promise),
                    "{name}-{n}: {flushed}, but {promise:?} have passed for more"
                );
            }
        }
    }

    fn look_up(&mut self, number: u8, partition: u8, at: i64) {
        let Some(picked) = self.pick(number) else { return };
        let n = usize::from(partition) % picked.logs.len();
        let partition = picked.topic.partition(n as u32).unwrap();
        let visible = partition.high_watermark().get();
        let expected = picked.logs[n].first_at(at, visible);
        let found = partition.offset_for_timestamp(Timestamp::from_millis(at)).unwrap();
        let found = found.map(|(offset, at)| (offset.get(), at.millis()));
        if picked.config.timestamp_kind() == TimestampType::Create {
            assert_eq!(found, expected, "at {at}");
        }
    }

    fn read_topic(&mut self, number: u8, from: From) {
        let Some(picked) = self.pick(number) else { return };
        let marks: Vec<u64> = (0..picked.logs.len())
            .map(|n| picked.topic.partition(n as u32).unwrap().high_watermark().get())
            .collect();
        let start = match from {
            // An offset that all partitions have is rare: partitions are read on their own, too.
            From::Offset(_) => Start::Earliest,
            from => start_of(from, 0),
        };
        let mut reader = picked.topic.read(start).unwrap();
        let mut next: Vec<u64> = picked
            .logs
            .iter()
            .zip(&marks)
            .map(|(log, &visible)| log.resolve(start, visible).expect("no offset was named"))
            .collect();
        let stamped = picked.config.timestamp_kind() == TimestampType::LogAppend;
        if stamped && matches!(start, Start::Timestamp(_)) {
            return;
        }
        while let Some(records) = reader.next().unwrap() {
            for record in &records {
                let n = record.partition() as usize;
                assert_eq!(record.offset().get(), next[n]);
                assert_eq!(seen(&record, stamped), picked.logs[n].sent_as(next[n], stamped));
                next[n] += 1;
            }
        }
        assert_eq!(next, marks, "everything visible was read");
    }

    fn follow(&mut self, number: u8, partition: u8, from: From, most: u8) {
        let Some(picked) = self.pick(number) else { return };
        let n = usize::from(partition) % picked.logs.len();
        let partition = picked.topic.partition(n as u32).unwrap();
        let start = start_of(from, picked.logs[n].sent.len() as u64);
        let expected = picked.logs[n].resolve(start, partition.high_watermark().get());
        let config =
            ReaderConfig::new().max_records(most.into()).max_bytes(ByteSize::kib(1 + u64::from(most)));
        let built = partition.reader_builder().config(config).start(start).build();
        if let Some(error) = built.as_ref().err().filter(|_| expected.is_none()) {
            assert!(matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }), "{error}");
            return;
        }
        let reader = built.unwrap();
        let position = reader.position().get();
        let stamped = picked.config.timestamp_kind() == TimestampType::LogAppend;
        if !(stamped && matches!(start, Start::Timestamp(_))) {
            assert_eq!(Some(position), expected, "{start}");
        }
        let topic = picked.topic.name().to_string();
        self.follower = Some(Follower { reader, topic, partition: n, position });
    }

    fn follow_next(&mut self, hold: bool) {
        let Some(follower) = &mut self.follower else { return };
        let modelled = &self.topics[&follower.topic];
        let log = &modelled.logs[follower.partition];
        let stamped = modelled.config.timestamp_kind() == TimestampType::LogAppend;
        let partition = modelled.topic.partition(follower.partition as u32).unwrap();
        let visible = partition.high_watermark().get();
        let from = follower.position;
        match follower.reader.next() {
            Ok(Some(records)) => {
                assert!(from >= log.start, "the start was at {}", log.start);
                let mut expected = Vec::new();
                for record in &records {
                    let offset = follower.position;
                    assert_eq!(record.offset().get(), offset);
                    assert!(offset < visible, "offset {offset} lies above the high watermark {visible}");
                    assert_eq!(seen(&record, stamped), log.sent_as(offset, stamped));
                    expected.push((offset, seen(&record, false)));
                    follower.position += 1;
                }
                assert!(follower.position > from, "a chunk has records");
                if hold && self.held.len() < 3 {
                    self.held.push(Held { records, expected });
                }
            }
            Ok(None) => assert!(from >= visible, "{from}: there is more, up to {visible}"),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }), "{error}");
                assert!(from < log.start || from > log.sent.len() as u64, "{from}: {error}");
            }
        }
        assert_eq!(follower.reader.position().get(), follower.position);
    }

    fn follow_seek(&mut self, from: From) {
        let Some(follower) = &mut self.follower else { return };
        let modelled = &self.topics[&follower.topic];
        let log = &modelled.logs[follower.partition];
        let partition = modelled.topic.partition(follower.partition as u32).unwrap();
        let start = start_of(from, log.sent.len() as u64);
        let expected = log.resolve(start, partition.high_watermark().get());
        match follower.reader.seek(start) {
            Ok(()) => {
                let stamped = modelled.config.timestamp_kind() == TimestampType::LogAppend;
                let position = follower.reader.position().get();
                if !(stamped && matches!(start, Start::Timestamp(_))) {
                    assert_eq!(Some(position), expected, "{start}");
                }
                follower.position = position;
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }), "{error}");
                assert_eq!(expected, None, "{start}");
            }
        }
    }

    fn delete_records(&mut self, number: u8, partition: u8, at: u16) {
        let Some(picked) = self.pick(number) else { return };
        let n = usize::from(partition) % picked.logs.len();
        let log = &mut picked.logs[n];
        let partition = picked.topic.partition(n as u32).unwrap();
        let visible = partition.high_watermark().get();
        let before = u64::from(at) % (log.sent.len() as u64 + 2);
        match partition.delete_records(Offset::new(before).expect("small")) {
            Ok(start) => {
                assert_eq!(start.get(), before.max(log.start));
                log.start = start.get();
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }), "{error}");
                assert!(before > visible, "{error}");
            }
        }
    }

    fn truncate(&mut self, number: u8, partition: u8, at: u16) {
        let Some(picked) = self.pick(number) else { return };
        let n = usize::from(partition) % picked.logs.len();
        let log = &mut picked.logs[n];
        let partition = picked.topic.partition(n as u32).unwrap();
        let to = u64::from(at) % (log.sent.len() as u64 + 2);
        match partition.truncate(Offset::new(to).expect("small")) {
            Ok(end) => {
                let end = end.get();
                assert!(end >= log.start && end <= to.min(log.sent.len() as u64), "{end} for {to}");
                log.cut(end);
            }
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }), "{error}");
                assert!(to < log.start, "{error}");
            }
        }
    }

    /// Ends the broker, and opens another on what is left.
    fn reopen(&mut self, end: End) {
        self.check_held();
        let names: Vec<String> = self.topics.keys().cloned().collect();
        if matches!(end, End::Close) {
            self.broker().close().wait().unwrap();
            assert_eq!(
                self.broker().create_topic("late", TopicConfig::new()).unwrap_err().kind(),
                ErrorKind::Closed
            );
        }
        let old = std::mem::take(&mut self.topics);
        let (models, handles): (Vec<_>, Vec<_>) = old
            .into_values()
            .map(|modelled| {
                let Modelled { topic, producer, id, config, logs } = modelled;
                ((id, config, logs), (topic, producer))
            })
            .unzip();
        let disk = self.sim.disk();
        self.openings += 1;
        let seed = self.seed.wrapping_add(self.openings);
        let left = match end {
            End::Close | End::Drop => None,
            End::Kill => Some(disk.after_kill()),
            End::PowerCut(seed) | End::PowerCutTwice(seed) => {
                Some(disk.after_power_cut(&millpond::testing::SeededRandom::new(seed)))
            }
            End::PowerCutLosingEverything => Some(disk.after_power_cut_losing_everything()),
            End::PowerCutKeepingEverything => Some(disk.after_power_cut_keeping_everything()),
        };
        // Views of an ended broker hold its lock; on a copy of the disk they may go on.
        if left.is_none() {
            self.held.clear();
        }
        self.follower = None;
        drop(handles);
        self.broker = None;
        if let Some(disk) = left {
            self.sim = SimEnvironment::on(disk, seed);
        }
        if let End::PowerCutTwice(seed) = end {
            self.cut_in_recovery(seed);
        }
        let broker = open(&self.sim, seed);
        let clean = matches!(end, End::Close) || names.is_empty();
        assert_eq!(broker.recovery().was_clean(), clean, "{end:?}");
        let found: Vec<String> = broker.topics().into_iter().map(String::from).collect();
        assert_eq!(found, names, "{end:?}");
        for (name, (id, config, mut logs)) in names.into_iter().zip(models) {
            let topic = broker.topic(name.as_str()).unwrap();
            assert_eq!((topic.id(), topic.config()), (id, config.clone()), "{end:?}");
            for (n, log) in (0..).zip(&mut logs) {
                log.survive(&topic.partition(n).unwrap(), end, config.durability_level());
            }
            let producer = topic.producer().unwrap();
            self.topics.insert(name, Modelled { topic, producer, id, config, logs });
        }
        self.broker = Some(broker);
        self.read_everything();
    }

    /// Lets the power fail once more while the next opening is under way.
    fn cut_in_recovery(&mut self, seed: u64) {
        self.sim.disk().snapshot_every_call(2_000);
        drop(open(&self.sim, seed));
        let mut snapshots = self.sim.disk().take_snapshots();
        if !snapshots.is_empty() {
            let chosen = snapshots.swap_remove((seed % snapshots.len() as u64) as usize);
            let left = chosen.after_power_cut(&millpond::testing::SeededRandom::new(!seed));
            self.sim = SimEnvironment::on(left, seed);
        }
    }

    /// The marks of every partition.
    fn observe(&mut self) {
        for (name, modelled) in &mut self.topics {
            assert_eq!(modelled.topic.partition_count() as usize, modelled.logs.len());
            let level = modelled.config.durability_level();
            for (n, log) in (0..).zip(&mut modelled.logs) {
                let partition = modelled.topic.partition(n).unwrap();
                let flushed = partition.flushed_offset().get();
                let visible = partition.high_watermark().get();
                let end = partition.log_end_offset().get();
                let sent = log.sent.len() as u64;
                assert_eq!(partition.log_start_offset().get(), log.start, "{name}-{n}");
                assert!(log.start <= visible && visible <= end && end <= sent, "{name}-{n}");
                assert!(flushed <= end, "{name}-{n}");
                assert!(visible >= log.acked, "{name}-{n}: the high watermark fell");
                assert!(flushed >= log.flushed, "{name}-{n}: the flushed offset fell");
                if level == Durability::Sync {
                    assert!(visible <= flushed, "{name}-{n}: visible before it is on the device");
                }
                (log.acked, log.flushed) = (visible, flushed);
                let epoch = partition.leader_epoch().get();
                assert!(
                    epoch >= log.epoch,
                    "{name}-{n}: the leader epoch fell to {epoch} from {}",
                    log.epoch
                );
                log.epoch = epoch;
            }
        }
    }

    /// Every record of every partition.
    fn read_everything(&mut self) {
        for modelled in self.topics.values() {
            let stamped = modelled.config.timestamp_kind() == TimestampType::LogAppend;
            for (n, log) in (0..).zip(&modelled.logs) {
                let partition = modelled.topic.partition(n).unwrap();
                let mut reader = partition.read(..).unwrap();
                let (mut next, mut epoch) = (log.start, 0);
                while let Some(records) = reader.next().unwrap() {
                    for record in &records {
                        assert_eq!(record.offset().get(), next);
                        assert_eq!(seen(&record, stamped), log.sent_as(next, stamped));
                        assert!(record.leader_epoch().get() >= epoch, "epochs do not fall");
                        epoch = record.leader_epoch().get();
                        next += 1;
                    }
                }
                assert_eq!(next, partition.high_watermark().get(), "everything visible was read");
                assert!(epoch <= partition.leader_epoch().get());
            }
        }
    }

    /// What is looked at stays what it was.
    fn check_held(&self) {
        for held in &self.held {
            let again: Vec<_> =
                held.records.iter().map(|record| (record.offset().get(), seen(&record, false))).collect();
            assert_eq!(again, held.expected);
        }
    }
}

impl Log {
    fn cut(&mut self, end: u64) {
        self.sent.truncate(end as usize);
        self.sent_at.truncate(end as usize);
        self.acked = self.acked.min(end);
        self.flushed = self.flushed.min(end);
    }

    /// After a reopening: what is left is a prefix, as long as promised.
    fn survive(&mut self, partition: &Partition, end: End, level: Durability) {
        let sent = self.sent.len() as u64;
        let promised = match end {
            End::Close => sent,
            // What waits in memory is handed to the page cache, but for what nobody was promised.
            End::Drop if level != Durability::Sync => sent,
            End::Drop | End::Kill => self.acked,
            _ => self.flushed,
        };
        let left = partition.log_end_offset().get();
        let name = partition.topic_partition();
        assert!(left >= promised, "{name}, {end:?} at {level}: {promised} were promised, {left} are left");
        assert!(left <= sent, "{name}, {end:?}: {left} are left of {sent}");
        assert_eq!(partition.flushed_offset().get(), left, "{name}: an opening makes all of it durable");
        let epoch = partition.leader_epoch().get();
        match end {
            End::Close => assert_eq!(epoch, self.epoch, "{name}"),
            _ => assert!(epoch > self.epoch, "{name}, {end:?}: the leader epoch stayed at {epoch}"),
        }
        self.cut(left);
    }

    /// The offset that a start means; `None` if it is out of range.
    fn resolve(&self, start: Start, visible: u64) -> Option<u64> {
        match start {
            Start::Earliest => Some(self.start),
            Start::Latest => Some(visible),
            Start::Offset(offset) => {
                let offset = offset.get();
                (offset >= self.start && offset <= self.sent.len() as u64).then_some(offset)
            }
            Start::Timestamp(at) => {
                Some(self.first_at(at.millis(), visible).map_or(visible, |(offset, _)| offset))
            }
            Start::Last(count) => Some(visible.saturating_sub(count).max(self.start)),
            other => panic!("a start that the model does not know: {other}"),
        }
    }

    /// The first visible record that is not older.
    fn first_at(&self, at: i64, visible: u64) -> Option<(u64, i64)> {
        let stamped = |offset: u64| (offset, self.sent[offset as usize].timestamp);
        (self.start..visible).map(stamped).find(|&(_, timestamp)| timestamp >= at)
    }

    fn sent_as(&self, offset: u64, stamped: bool) -> Sent {
        let mut sent = self.sent[offset as usize].clone();
        if stamped {
            sent.timestamp = 0;
        }
        sent
    }
}

/// A record as it is read; without its timestamp where the broker stamped it.
fn seen(record: &millpond::consumer::RecordView<'_>, stamped: bool) -> Sent {
    Sent {
        timestamp: if stamped { 0 } else { record.timestamp().millis() },
        key: record.key().unwrap().map(<[u8]>::to_vec),
        value: record.value().unwrap().map(<[u8]>::to_vec),
        headers: record.headers().map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect(),
    }
}

/// The record with the headers, timestamp and partition that it shall have.
fn dress<'a, V, K>(mut record: Record<'a, V, K>, sent: &'a Sent, shape: &Shape) -> Record<'a, V, K> {
    for (name, value) in &sent.headers {
        record = match value {
            Some(value) => record.header(name, value),
            None => record.null_header(name),
        };
    }
    if shape.timestamp.is_some() {
        record = record.timestamp(Timestamp::from_millis(sent.timestamp));
    }
    match shape.partition {
        Some(partition) => record.partition(partition),
        None => record,
    }
}

fn partition_of(key: &[u8], partitions: u32) -> u32 {
    HashKey::new(ByteSize::kib(1), 0).partition(Some(key), 0, partitions)
}

fn start_of(from: From, sent: u64) -> Start {
    match from {
        From::Earliest => Start::Earliest,
        From::Latest => Start::Latest,
        From::Offset(at) => Start::Offset(Offset::new(u64::from(at) % (sent + 2)).expect("small")),
        From::Timestamp(at) => Start::Timestamp(Timestamp::from_millis(at)),
        From::Last(count) => Start::Last(count.into()),
    }
}

/// A broker whose upkeep happens in `tick`; every third opening reads by calls.
fn open(sim: &SimEnvironment, seed: u64) -> Broker {
    let read_mode = if seed % 3 == 0 { ReadMode::Buffered } else { ReadMode::Mapped };
    let config = BrokerConfig::new()
        .background(Background::Manual)
        .memory_flush_interval(LAZY)
        .checkpoint_interval(Duration::from_millis(500))
        .read_mode(read_mode);
    Broker::builder(Path::new("/data")).environment(sim.environment()).config(config).open().unwrap()
}
