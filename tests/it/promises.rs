//! Promises of the documents that no other test holds, each looked at from outside.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, ProducerConfig, TimestampType};
use millpond::env::Environment;
use millpond::prelude::*;
use millpond::producer::IdempotentProducer;
use millpond::testing::SimEnvironment;
use millpond::{BrokerBuilder, ErrorKind};

use crate::hosted::{Host, Hosted};

fn manual() -> BrokerConfig {
    BrokerConfig::new().background(Background::Manual)
}

fn simulated(sim: &SimEnvironment) -> BrokerBuilder {
    Broker::builder("/data").environment(sim.environment()).config(manual())
}

fn values(topic: &Topic) -> Vec<String> {
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut seen = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap()).into_owned();
        seen.extend(records.iter().map(|record| text(record.value().unwrap())));
    }
    seen
}

type Meanwhile = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Simulated files: something happens while the next sync of a log runs.
type Busy = Hosted<DuringSync>;

#[derive(Default)]
struct DuringSync(Meanwhile);

impl Host for DuringSync {
    fn syncing(&self, path: &Path) {
        if path.extension().is_some_and(|extension| extension == "log") {
            let call = self.0.lock().unwrap().take();
            if let Some(call) = call {
                call();
            }
        }
    }
}

impl std::fmt::Debug for DuringSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DuringSync").finish_non_exhaustive()
    }
}

fn busy_files(sim: &SimEnvironment) -> Busy {
    Hosted::over(sim.environment().files(), DuringSync::default())
}

impl Busy {
    fn broker(&self, sim: &SimEnvironment) -> Broker {
        let own = sim.environment();
        let environment = Environment::new(Arc::new(self.clone()), own.clock().clone(), own.random().clone());
        Broker::builder("/data").environment(environment).config(manual()).open().unwrap()
    }

    fn during_the_next_sync(&self, call: impl FnOnce() + Send + 'static) {
        *self.host.0.lock().unwrap() = Some(Box::new(call));
    }

    fn is_idle(&self) -> bool {
        self.host.0.lock().unwrap().is_none()
    }
}

/// `Interval(d)`: no acknowledged record stays unflushed for longer than `d`. A flush that takes long counts with
/// what it was begun for, not with what came since.
#[test]
fn a_flush_that_takes_longer_than_the_interval_holds_appends_back() {
    let sim = SimEnvironment::new(1);
    let busy = busy_files(&sim);
    let broker = busy.broker(&sim);
    let level = Durability::Interval(Duration::from_millis(100));
    let topic = broker.create_topic("t", TopicConfig::new().durability(level)).unwrap();
    let producer = topic.producer().unwrap();
    producer.try_send(Record::new("first")).unwrap().wait().unwrap();
    sim.clock().advance(Duration::from_millis(60));

    let (clock, sender) = (sim.clock().clone(), producer.clone());
    let refused = Arc::new(Mutex::new(None));
    let answer = refused.clone();
    busy.during_the_next_sync(move || {
        clock.advance(Duration::from_millis(30));
        sender.try_send(Record::new("in time")).unwrap().wait().unwrap();
        // The first record is 101 ms old, and not on the device.
        clock.advance(Duration::from_millis(11));
        *answer.lock().unwrap() = Some(sender.try_send(Record::new("late")).map_err(|e| e.kind()).err());
    });
    broker.tick().unwrap();
    assert!(busy.is_idle());
    assert_eq!(*refused.lock().unwrap(), Some(Some(ErrorKind::Backpressure)));
    producer.try_send(Record::new("after")).unwrap().wait().unwrap();
    assert_eq!(values(&topic), ["first", "in time", "after"]);
}

/// `send` waits for an overdue flush no longer than for anything else: for `max_block`.
#[test]
fn a_send_waits_for_a_flush_no_longer_than_max_block() {
    let sim = SimEnvironment::new(1);
    let busy = busy_files(&sim);
    let broker = busy.broker(&sim);
    let level = Durability::Interval(Duration::from_millis(100));
    let topic = broker.create_topic("t", TopicConfig::new().durability(level)).unwrap();
    let hasty = ProducerConfig::new().max_block(Duration::from_millis(20));
    let producer = topic.producer_builder().config(hasty).build().unwrap();
    drop(producer.send(Record::new("first")).unwrap());
    sim.clock().advance(Duration::from_millis(60));
    let (clock, sender) = (sim.clock().clone(), producer.clone());
    let answer = Arc::new(Mutex::new(None));
    let told = answer.clone();
    busy.during_the_next_sync(move || {
        clock.advance(Duration::from_millis(41));
        *told.lock().unwrap() = sender.send(Record::new("late")).map_err(|e| e.kind()).err();
    });
    broker.tick().unwrap();
    assert_eq!(*answer.lock().unwrap(), Some(ErrorKind::TimedOut));
    drop(producer.send(Record::new("after")).unwrap());
    assert_eq!(values(&topic), ["first", "after"]);
}

/// Nor longer than its producer is open, whatever the device is at.
#[test]
fn a_send_behind_a_flush_hears_that_its_producer_is_closed() {
    let sim = SimEnvironment::new(1);
    let busy = busy_files(&sim);
    let broker = busy.broker(&sim);
    let level = Durability::Interval(Duration::from_millis(100));
    let topic = broker.create_topic("t", TopicConfig::new().durability(level)).unwrap();
    let patient = ProducerConfig::new().max_block(Duration::from_secs(60));
    let producer = topic.producer_builder().config(patient).build().unwrap();
    drop(producer.send(Record::new("first")).unwrap());
    sim.clock().advance(Duration::from_millis(60));
    let (clock, sender) = (sim.clock().clone(), producer.clone());
    let answer = Arc::new(Mutex::new(None));
    let told = answer.clone();
    busy.during_the_next_sync(move || {
        clock.advance(Duration::from_millis(41));
        let (tell, hear) = std::sync::mpsc::channel();
        let late = sender.clone();
        let thread = std::thread::spawn(move || tell.send(late.send(Record::new("late")).map(drop)).unwrap());
        assert!(hear.recv_timeout(Duration::from_millis(20)).is_err(), "it waits");
        drop(sender.close());
        if let Ok(answer) = hear.recv_timeout(Duration::from_secs(10)) {
            *told.lock().unwrap() = answer.map_err(|e| e.kind()).err();
            thread.join().unwrap();
        }
    });
    broker.tick().unwrap();
    assert_eq!(*answer.lock().unwrap(), Some(ErrorKind::Closed), "while the flush runs");
    assert_eq!(values(&topic), ["first"]);
}

/// A wall clock that is set back by hours makes nobody wait for hours.
#[test]
fn a_clock_that_is_set_back_puts_no_flush_off() {
    for level in [Durability::Interval(Duration::from_millis(100)), Durability::Sync] {
        let sim = SimEnvironment::new(1);
        let broker = simulated(&sim).open().unwrap();
        let topic = broker.create_topic("t", TopicConfig::new().durability(level)).unwrap();
        drop(topic.producer().unwrap().send(Record::new("a")).unwrap());
        sim.clock().set(Timestamp::from_millis(1_704_060_000_000));
        sim.clock().advance(Duration::from_millis(60));
        broker.tick().unwrap();
        assert_eq!(topic.partition(0).unwrap().flushed_offset().get(), 1, "{level}");
    }
}

/// `Memory`: flushed at each roll, and every 30 s.
#[test]
fn at_memory_a_closed_segment_is_flushed_without_waiting_for_the_timer() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim).open().unwrap();
    let config = TopicConfig::new().durability(Durability::Memory).segment_size(ByteSize::kib(16));
    let topic = broker.create_topic("t", config.max_record_size(ByteSize::kib(8))).unwrap();
    let producer = topic.producer().unwrap();
    let partition = topic.partition(0).unwrap();
    while topic.describe().partitions()[0].segment_count() < 2 {
        drop(producer.send(Record::new(&[b'x'; 1000])).unwrap());
    }
    let closed = partition.log_end_offset().get() - 1;
    broker.tick().unwrap();
    assert!(partition.flushed_offset().get() >= closed, "flushed {} of {closed}", partition.flushed_offset());
}

/// A change of settings closes the open batch first: also that of a sender who sends meanwhile.
#[cfg(all(feature = "gzip", feature = "zstd"))]
#[test]
fn the_open_batch_is_closed_before_its_codec_changes() {
    use millpond::config::Compression;
    for level in [Durability::Sync, Durability::Memory] {
        let sim = SimEnvironment::new(1);
        let busy = busy_files(&sim);
        let broker = busy.broker(&sim);
        let config = TopicConfig::new().durability(level).compression(Compression::Gzip { level: Some(1) });
        let topic = broker.create_topic("t", config.clone()).unwrap();
        let producer = topic.producer().unwrap();
        drop(producer.send(Record::new("before")).unwrap());
        let sender = producer.clone();
        busy.during_the_next_sync(move || drop(sender.send(Record::new("meanwhile")).unwrap()));
        broker.alter_topic("t", config.compression(Compression::Zstd { level: Some(19) })).unwrap();
        assert!(busy.is_idle());
        producer.send(Record::new("after")).unwrap().wait().unwrap();
        assert_eq!(values(&topic), ["before", "meanwhile", "after"], "{level}");
    }
}

/// What a delivery says of a record's timestamp is what a reader sees, also across a change of who stamps it.
#[test]
fn the_open_batch_is_closed_before_its_clock_changes() {
    let kinds = [TimestampType::Create, TimestampType::LogAppend];
    for (from, to) in [(kinds[0], kinds[1]), (kinds[1], kinds[0])] {
        for level in [Durability::Sync, Durability::Memory] {
            let sim = SimEnvironment::new(1);
            let busy = busy_files(&sim);
            let broker = busy.broker(&sim);
            let config = TopicConfig::new().durability(level).timestamp_type(from);
            let topic = broker.create_topic("t", config.clone()).unwrap();
            let producer = topic.producer().unwrap();
            let told = Arc::new(Mutex::new(Vec::new()));
            let send = {
                let told = told.clone();
                move |value: &'static str| {
                    let record = Record::new(value).timestamp(Timestamp::from_millis(7));
                    told.lock().unwrap().push(producer.send(record).unwrap());
                }
            };
            send("before");
            let during = send.clone();
            busy.during_the_next_sync(move || during("meanwhile"));
            broker.alter_topic("t", config.timestamp_type(to)).unwrap();
            send("after");
            let deliveries = std::mem::take(&mut *told.lock().unwrap());
            let told: Vec<i64> =
                deliveries.into_iter().map(|d| d.wait().unwrap().timestamp().millis()).collect();
            let mut reader = topic.partition(0).unwrap().read(..).unwrap();
            let mut seen = Vec::new();
            while let Some(records) = reader.next().unwrap() {
                seen.extend(records.iter().map(|record| record.timestamp().millis()));
            }
            assert_eq!(seen, told, "{from} to {to}, {level}");
        }
    }
}

/// Sends from two threads without a pause for as long as `meanwhile` takes.
#[cfg(feature = "zstd")]
fn under_steady_traffic(topic: &Topic, meanwhile: impl FnOnce()) {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut word = 88_172_645_463_325_252_u64;
    let noise = std::iter::repeat_with(|| {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word as u8
    });
    let noise: Vec<u8> = noise.take(16 << 10).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let producer = topic.producer().unwrap();
            scope.spawn(|| {
                let producer = producer;
                while !stop.load(Ordering::Relaxed) {
                    drop(producer.send(Record::new(&noise)).unwrap());
                }
            });
        }
        meanwhile();
        stop.store(true, Ordering::Relaxed);
    });
}

/// Whoever waits is served, and settings change, also while others send more than can be compressed: what is staged
/// when they come is all that they wait for.
#[cfg(feature = "zstd")]
#[test]
fn a_flush_and_a_change_of_settings_end_under_steady_traffic() {
    use millpond::config::Compression;
    let dir = tempfile::tempdir().unwrap();
    let small = BrokerConfig::new().buffer_memory(ByteSize::mib(1)).max_block(Duration::from_secs(60));
    let broker = Broker::builder(dir.path()).config(small).open().unwrap();
    let compressed = TopicConfig::new().compression(Compression::Zstd { level: Some(9) });
    let memory = TopicConfig::new().durability(Durability::Memory);
    let topic = broker.create_topic("t", compressed.clone()).unwrap();
    under_steady_traffic(&topic, || {
        let producer = topic.producer().unwrap();
        for _ in 0..3 {
            producer.send(Record::new("x")).unwrap().wait().unwrap();
            producer.flush().wait().unwrap();
        }
        for config in [&memory, &compressed, &memory, &compressed] {
            broker.alter_topic("t", config.clone()).unwrap();
            let mut delivery = producer.send(Record::new("x")).unwrap();
            delivery.wait_timeout(Duration::from_secs(30)).unwrap();
        }
    });
}

/// Dropping a producer hands over what it staged, also if it was the last handle of its broker.
#[test]
fn what_was_sent_is_there_after_the_last_handle_is_dropped() {
    for level in [Durability::Sync, Durability::Memory, Durability::Interval(Duration::from_secs(1))] {
        let sim = SimEnvironment::new(1);
        let broker = simulated(&sim).open().unwrap();
        let topic = broker.create_topic("t", TopicConfig::new().durability(level)).unwrap();
        let producer = topic.producer().unwrap();
        drop(producer.send(Record::new("a")).unwrap());
        drop((broker, topic, producer));
        let broker = simulated(&sim).open().unwrap();
        assert_eq!(values(&broker.topic("t").unwrap()), ["a"], "{level}");
    }
}

/// A delivery tells its error as often as one asks.
#[test]
fn a_batch_that_was_handed_over_in_part_never_passes_for_whole() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim).open().unwrap();
    let config = TopicConfig::new().durability(Durability::Memory);
    let topic = broker.create_topic("t", config.max_record_size(ByteSize::kib(64))).unwrap();
    let producer = topic.producer().unwrap();
    let small = vec![b'x'; 60_000];
    let large = vec![b'x'; 70_000];
    let records = (0..30).map(|_| Record::new(&small)).chain([Record::new(&large)]);
    let mut delivery = producer.send_batch(records).unwrap();
    assert!(!delivery.batches().is_empty());
    for _ in 0..3 {
        let error = delivery.wait_timeout(Duration::ZERO).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::RecordTooLarge { .. }), "{error}");
    }
    assert!(delivery.wait().is_err());
}

/// Producers with batches of their own may choose how these are compressed.
#[cfg(all(feature = "gzip", feature = "lz4"))]
#[test]
fn batches_of_a_producers_own_are_compressed_as_it_says() {
    use millpond::config::{Compression, TransactionConfig};
    let text = "compressible ".repeat(20);
    for (of_topic, own) in [(Compression::None, Compression::Lz4), (Compression::Lz4, Compression::None)] {
        for level in [Durability::Sync, Durability::Memory] {
            let sim = SimEnvironment::new(1);
            let broker = simulated(&sim).open().unwrap();
            let config = TopicConfig::new().durability(level).compression(of_topic);
            let topic = broker.create_topic("t", config).unwrap();
            let settings = ProducerConfig::new().compression(own);
            let producer = topic.producer_builder().config(settings.clone()).build().unwrap();
            producer.send_batch([Record::new(&text), Record::new(&text)]).unwrap().wait().unwrap();
            let named = topic.producer_builder().config(settings).build_idempotent("import").unwrap();
            named.send([Record::new(&text)]).unwrap().wait().unwrap();
            let settings = TransactionConfig::new().compression(own);
            let mut transactional = broker.transactional_builder("id").config(settings).build().unwrap();
            let mut transaction = transactional.begin().unwrap();
            transaction.send("t", Record::new(&text)).unwrap();
            transaction.commit().wait().unwrap();
            producer.send(Record::new(&text)).unwrap().wait().unwrap();
            assert_eq!(values(&topic), vec![text.clone(); 5]);
            broker.close().wait().unwrap();

            let path = Path::new("/data/t-0/00000000000000000000.log");
            let bytes = sim.disk().read_file(path).unwrap();
            let (mut at, mut codecs) = (0, Vec::new());
            while at < bytes.len() {
                let field = |from: usize| &bytes[at + from..];
                codecs.push(field(21)[1] & 7);
                at += 12 + u32::from_be_bytes(*field(8).first_chunk().unwrap()) as usize;
            }
            let id = |codec: Compression| if codec == Compression::Lz4 { 3 } else { 0 };
            let marker = 0;
            assert_eq!(codecs, [id(own), id(own), id(own), marker, id(of_topic)], "{of_topic}, {level}");
        }
    }
}

/// A producer with a name goes by the settings that its topic has when it sends.
#[test]
fn a_named_producer_follows_its_topics_settings() {
    let sim = SimEnvironment::new(1);
    let broker = simulated(&sim).open().unwrap();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let named = topic.idempotent_producer("import").unwrap();
    let send =
        || named.send([Record::new("x").timestamp(Timestamp::from_millis(7))]).unwrap().wait().unwrap();
    send();
    let stamped = TopicConfig::new().timestamp_type(TimestampType::LogAppend);
    broker.alter_topic("t", stamped.max_record_size(ByteSize::kib(1))).unwrap();
    send();
    let error = named.send([Record::new(&vec![0; 2000])]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RecordTooLarge { limit: 1024, .. }), "{error}");
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut times = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        times.extend(records.iter().map(|record| record.timestamp()));
    }
    assert_eq!(times.len(), 2);
    assert_eq!((times[0].millis(), times[1].millis() > 7), (7, true));
}

/// Any number may stand for an offset or a time: where it makes no sense there is an error, or nothing.
#[test]
fn offsets_and_times_at_the_ends_of_their_ranges() {
    let times = [i64::MIN, -1, 0, 5, i64::MAX, i64::MIN, 7, -1];
    for level in [Durability::Sync, Durability::Memory] {
        for killed in [false, true] {
            let sim = SimEnvironment::new(1);
            let broker = simulated(&sim).open().unwrap();
            let config = TopicConfig::new().durability(level).segment_size(ByteSize::kib(1));
            let topic = broker.create_topic("t", config).unwrap();
            let producer = topic.producer().unwrap();
            let value = [b'x'; 300];
            for time in times {
                let record = Record::new(&value).timestamp(Timestamp::from_millis(time));
                producer.send(record).unwrap().wait().unwrap();
            }
            assert!(topic.describe().partitions()[0].segment_count() > 1);
            if !killed {
                broker.close().wait().unwrap();
            }
            let after = SimEnvironment::on(sim.disk().after_kill(), 2);
            drop((broker, topic, producer));
            let sim = if killed { after } else { sim };
            let broker = simulated(&sim).open().unwrap();
            let partition = broker.topic("t").unwrap().partition(0).unwrap();
            for asked in [i64::MIN, -2, -1, 0, 1, 5, 6, 7, 8, i64::MAX] {
                let first = times.iter().position(|&time| time >= asked).unwrap();
                let found = partition.offset_for_timestamp(Timestamp::from_millis(asked)).unwrap();
                let (offset, at) = found.unwrap();
                assert_eq!(
                    (offset.get(), at.millis()),
                    (first as u64, times[first]),
                    "{asked} {level} {killed}"
                );
            }
            let all = |mut reader: Reader| {
                let mut count = 0;
                while let Some(records) = reader.next().unwrap() {
                    count += records.iter().inspect(|record| record.check().unwrap()).count();
                }
                count
            };
            let at = |offset: u64| Offset::try_from(offset).unwrap();
            assert_eq!(all(partition.read(..=Offset::MAX).unwrap()), 8);
            assert_eq!(all(partition.read(at(3)..at(3)).unwrap()), 0);
            assert_eq!(all(partition.read(at(5)..at(2)).unwrap()), 0);
            assert_eq!(all(partition.read(at(2)..at(5)).unwrap()), 3);
            assert_eq!(all(partition.read(at(8)..).unwrap()), 0);
            for beyond in [9, u64::from(u32::MAX), Offset::MAX.get()] {
                let error = partition.read(at(beyond)..).unwrap_err();
                assert!(matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }), "{error}");
            }
            assert_eq!(all(partition.reader(Start::Last(u64::MAX)).unwrap()), 8);
            assert_eq!(all(partition.reader(Start::Last(0)).unwrap()), 0);
            assert_eq!(all(partition.reader(Start::Timestamp(Timestamp::from_millis(i64::MIN))).unwrap()), 8);
            assert!(partition.delete_records(Offset::MAX).is_err());
            assert!(partition.truncate(Offset::MAX).is_ok_and(|end| end.get() == 8));
        }
    }
}

/// `max_record_size` is the batch that a record needs for itself, to the byte, however it is sent.
#[test]
fn a_record_that_just_fits_is_taken_and_one_byte_more_is_not() {
    for (level, limit) in
        [(Durability::Sync, 5_000), (Durability::Memory, 5_000), (Durability::Memory, 16 << 10)]
    {
        let sim = SimEnvironment::new(1);
        let broker = simulated(&sim).open().unwrap();
        let config = TopicConfig::new().durability(level).segment_size(ByteSize::kib(16));
        let topic = broker.create_topic("t", config.max_record_size(ByteSize::bytes(limit))).unwrap();
        let producer = topic.producer().unwrap();
        // A batch's header, and of the record: length, attributes, two deltas, no key, length of the value, no headers.
        let of_length = if limit < 8_192 { 2 } else { 3 };
        let fits = limit as usize - 61 - (of_length + 1 + 1 + 1 + 1 + of_length + 1);
        let (fitting, larger, small) = (vec![b'x'; fits], vec![b'x'; fits + 1], vec![b'x']);
        producer.send(Record::new(&fitting)).unwrap().wait().unwrap();
        producer.send_batch([Record::new(&fitting)]).unwrap().wait().unwrap();
        for error in [
            producer.send(Record::new(&larger)).unwrap_err(),
            producer.send_batch([Record::new(&larger)]).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::RecordTooLarge { size: limit + 1, limit }, "{level}");
        }
        assert_eq!(values(&topic).len(), 2);
        // Nor does it matter what comes before it in a batch: it would take more there.
        let behind = || {
            let times = [Timestamp::from_millis(0), Timestamp::from_millis(1 << 40)];
            [Record::new(&small).timestamp(times[0]), Record::new(&fitting).timestamp(times[1])]
        };
        producer.send_batch(behind()).unwrap().wait().unwrap();
        let named: IdempotentProducer = topic.idempotent_producer("named").unwrap();
        named.send(behind()).unwrap().wait().unwrap();
        assert_eq!(values(&topic).len(), 6);
    }
}
