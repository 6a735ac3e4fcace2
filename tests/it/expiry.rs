//! Producers, names and transactional ids that nobody has used for long are forgotten: in memory, on disk, across
//! openings; and nothing that is still needed.

use std::path::Path;
use std::time::Duration;

use millpond::ErrorKind;
use millpond::config::{Background, BrokerConfig, CleanupPolicy, TransactionConfig};
use millpond::prelude::*;
use millpond::testing::{SimDisk, SimEnvironment};

const DAY: Duration = Duration::from_secs(86_400);
const MINUTES: Duration = Duration::from_secs(11 * 60);

fn settings() -> BrokerConfig {
    BrokerConfig::new().background(Background::Manual).max_block(Duration::from_millis(50))
}

fn open_with(sim: &SimEnvironment, config: BrokerConfig) -> Broker {
    Broker::builder("/data").environment(sim.environment()).config(config).open().unwrap()
}

fn open(sim: &SimEnvironment) -> Broker {
    open_with(sim, settings())
}

fn topic(broker: &Broker) -> Topic {
    broker.create_topic("t", TopicConfig::new().segment_size(ByteSize::mib(1))).unwrap()
}

fn pass(sim: &SimEnvironment, broker: &Broker, time: Duration) {
    sim.clock().advance(time);
    broker.tick().unwrap();
}

/// The same disk, opened again at a later time.
fn later(sim: &SimEnvironment, disk: SimDisk, time: Duration) -> SimEnvironment {
    let now = millpond::env::Clock::now(sim.clock());
    let next = SimEnvironment::on(disk, 7);
    next.clock().set(now);
    next.clock().advance(time);
    next
}

fn known(broker: &Broker) -> Vec<i64> {
    let partition = broker.topic("t").unwrap().partition(0).unwrap();
    partition.producers().iter().map(|one| one.producer_id().get()).collect()
}

fn send(broker: &Broker, name: &str) -> i64 {
    let producer = broker.topic("t").unwrap().idempotent_producer(name).unwrap();
    producer.send([Record::new("x")]).unwrap().wait().unwrap();
    producer.producer_id().get()
}

#[test]
fn a_name_is_forgotten_when_nobody_has_heard_of_it_for_a_week() {
    let mut sim = SimEnvironment::new(1);
    let mut broker = open(&sim);
    topic(&broker);
    let (silent, lively) = (send(&broker, "silent"), send(&broker, "lively"));
    for _ in 0..3 {
        // Days pass while the broker is closed, and hours while it is open.
        broker.close().wait().unwrap();
        sim = later(&sim, sim.disk().snapshot(), 2 * DAY);
        broker = open(&sim);
        pass(&sim, &broker, DAY / 12);
        assert_eq!(known(&broker), [silent, lively]);
        assert_eq!(send(&broker, "lively"), lively);
    }
    for disk in [sim.disk().after_kill(), sim.disk().after_power_cut_losing_everything()] {
        let sim = later(&sim, disk, DAY);
        let broker = open(&sim);
        // Whoever comes back with the program has time to be heard of.
        pass(&sim, &broker, Duration::from_secs(60));
        assert_eq!(known(&broker), [silent, lively]);
        pass(&sim, &broker, MINUTES);
        assert_eq!(known(&broker), [lively]);
        // Nothing is appended meanwhile: it is forgotten on the disk as well.
        let sim = later(&sim, sim.disk().after_power_cut_losing_everything(), Duration::ZERO);
        let broker = open(&sim);
        assert_eq!(known(&broker), [lively]);
        assert_ne!(send(&broker, "silent"), silent, "the name was kept");
        assert_eq!(send(&broker, "lively"), lively);
    }
}

#[test]
fn programs_that_run_shortly_forget_when_they_close() {
    let mut sim = SimEnvironment::new(1);
    drop(topic(&open(&sim)));
    let mut ids = std::collections::BTreeSet::new();
    for night in 0..30 {
        let broker = open(&sim);
        assert!(ids.insert(send(&broker, &format!("import of night {night}"))));
        assert!(known(&broker).len() <= 9, "{:?} in night {night}", known(&broker));
        pass(&sim, &broker, Duration::from_secs(5));
        broker.close().wait().unwrap();
        drop(broker);
        sim = later(&sim, sim.disk().snapshot(), DAY);
    }
    let names = sim.disk().read_file(Path::new("/data/millpond.producers")).unwrap();
    assert!(names.len() < 9 * 32, "{} bytes of names", names.len());
}

#[test]
fn nothing_is_forgotten_while_its_transaction_is_open() {
    let second = Duration::from_secs(1);
    let config = || {
        let soon = settings().producer_expiration(second).transactional_id_expiration(second);
        soon.max_transaction_timeout(DAY).compaction_interval(second)
    };
    let sim = SimEnvironment::new(1);
    let broker = open_with(&sim, config());
    let topic = topic(&broker);
    let patient = TransactionConfig::new().timeout(DAY);
    let mut producer = broker.transactional_builder("one").config(patient).build().unwrap();
    let mut txn = producer.begin().unwrap();
    let large = "x".repeat(600_000);
    (0..3).for_each(|_| txn.send(&topic, Record::new(&large)).unwrap());
    topic.producer().unwrap().flush().wait().unwrap();
    let named = topic.idempotent_producer("named").unwrap();
    named.send([Record::new("x")]).unwrap().wait().unwrap();
    assert_eq!(known(&broker).len(), 2);
    (0..5).for_each(|_| pass(&sim, &broker, 2 * second));
    let held = named.producer_id();
    assert_eq!(known(&broker).len(), 2, "nor one whose name is held");
    drop(named);
    (0..5).for_each(|_| pass(&sim, &broker, 2 * second));
    assert_eq!(known(&broker), [txn.producer_id().get()]);
    assert_eq!(broker.transactions().unwrap().len(), 1);
    txn.commit().wait().unwrap();
    // Its producer lives.
    (0..5).for_each(|_| pass(&sim, &broker, 2 * second));
    assert!(known(&broker).is_empty());
    assert_eq!(broker.transactions().unwrap().len(), 1);
    let mut txn = producer.begin().unwrap();
    txn.send(&topic, Record::new("y")).unwrap();
    txn.commit().wait().unwrap();
    drop(producer);
    (0..5).for_each(|_| pass(&sim, &broker, 2 * second));
    assert!(broker.transactions().unwrap().is_empty());
    // The name has gone with it.
    assert_ne!(topic.idempotent_producer("named").unwrap().producer_id(), held);
}

#[test]
fn who_takes_a_name_and_sends_nothing_is_heard_of() {
    let mut sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let lines = topic(&broker).idempotent_producer("import").unwrap();
    lines.send((0..500).map(|_| Record::new("x"))).unwrap().wait().unwrap();
    drop(lines);
    broker.close().wait().unwrap();
    let reopened = |sim: &mut SimEnvironment, disk: SimDisk, time: Duration| {
        *sim = later(sim, disk, time);
        open(sim)
    };
    let asked = |broker: &Broker| {
        let import = broker.topic("t").unwrap().idempotent_producer("import").unwrap();
        import.last_acknowledged(0).unwrap()
    };
    // It looks, finds nothing new, and ends; the third time it is killed, and something else runs for long.
    for end in 0..3 {
        let disk = sim.disk().snapshot();
        let broker = reopened(&mut sim, disk, 8 * DAY);
        assert_eq!(asked(&broker), Some(499), "{end}");
        match end {
            0 => broker.close().wait().unwrap(),
            1 => {
                pass(&sim, &broker, MINUTES);
                broker.close().wait().unwrap();
            }
            _ => {
                let disk = sim.disk().after_power_cut_losing_everything();
                let broker = reopened(&mut sim, disk, DAY);
                pass(&sim, &broker, MINUTES);
                assert_eq!(asked(&broker), Some(499));
                broker.close().wait().unwrap();
            }
        }
    }
    // Held for a month without a word, and let go just before the end.
    let disk = sim.disk().snapshot();
    let broker = reopened(&mut sim, disk, DAY);
    let import = broker.topic("t").unwrap().idempotent_producer("import").unwrap();
    (0..30).for_each(|_| pass(&sim, &broker, DAY));
    drop(import);
    let disk = sim.disk().after_power_cut_losing_everything();
    broker.close().wait().unwrap();
    let broker = reopened(&mut sim, disk, DAY);
    pass(&sim, &broker, MINUTES);
    assert_eq!(asked(&broker), Some(499));
}

/// Who keeps a name without sending is remembered, and by the log, too: what else tells of producers are caches.
#[test]
fn compaction_keeps_by_what_a_silent_producer_is_known() {
    let mut sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config = TopicConfig::new().segment_size(ByteSize::kib(16)).cleanup_policy(CleanupPolicy::Compact);
    let topic = broker.create_topic("t", config).unwrap();
    let silent = topic.idempotent_producer("silent").unwrap();
    let send =
        |value: &str| topic.producer().unwrap().send(Record::new(value).key("k")).unwrap().wait().unwrap();
    silent.send_at(0, 0, [Record::new("0").key("k"), Record::new("1").key("k")]).unwrap().wait().unwrap();
    send("newer");
    for _ in 0..10 {
        pass(&sim, &broker, DAY);
    }
    send("newest");
    topic.compact().unwrap().wait().unwrap();
    assert_eq!(known(&broker), [silent.producer_id().get()]);
    drop(silent);
    broker.close().wait().unwrap();
    drop((topic, broker));
    let disk = sim.disk().snapshot();
    for file in disk.files() {
        let name = file.to_string_lossy();
        if name.contains("/t-0/") && (name.ends_with(".snapshot") || name.ends_with("millpond.aborted")) {
            disk.flip_bit(&file, 9, 1).unwrap();
        }
    }
    sim = later(&sim, disk, Duration::ZERO);
    let broker = open(&sim);
    let topic = broker.topic("t").unwrap();
    let again: millpond::producer::IdempotentProducer = topic.idempotent_producer("silent").unwrap();
    assert_eq!(again.last_acknowledged(0).unwrap(), Some(1));
}

#[test]
fn a_clock_that_is_wrong_for_a_while_forgets_nobody() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    topic(&broker);
    let (one, two) = (send(&broker, "one"), send(&broker, "two"));
    let right = millpond::env::Clock::now(sim.clock());
    broker.close().wait().unwrap();
    // A board that has lost its time.
    let board = SimEnvironment::on(sim.disk().snapshot(), 7);
    board.clock().set(Timestamp::from_millis(0));
    let broker = open(&board);
    assert_eq!(send(&broker, "one"), one);
    pass(&board, &broker, MINUTES);
    board.clock().set(right.saturating_add(DAY));
    pass(&board, &broker, MINUTES);
    assert_eq!(known(&broker), [one, two]);
    broker.close().wait().unwrap();
    // From then on time counts as ever.
    let sim = later(&board, board.disk().snapshot(), 7 * DAY);
    let broker = open(&sim);
    pass(&sim, &broker, MINUTES);
    assert!(known(&broker).is_empty());
}

fn states(broker: &Broker) -> Vec<(Vec<u8>, bool)> {
    let topic = broker.topic("__transaction_state").unwrap();
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut found = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        let entry = |record: millpond::consumer::RecordView<'_>| {
            (record.key().unwrap().unwrap().to_vec(), record.is_tombstone())
        };
        found.extend(records.iter().map(entry));
    }
    found
}

#[test]
fn a_transactional_id_that_is_forgotten_leaves_a_tombstone() {
    let mut sim = SimEnvironment::new(1);
    let mut broker = open(&sim);
    topic(&broker);
    let transact = |broker: &Broker, id: &str| {
        let mut producer = broker.transactional(id).unwrap();
        let mut txn = producer.begin().unwrap();
        txn.send("t", Record::new("x")).unwrap();
        let producer_id = txn.producer_id().get();
        txn.commit().wait().unwrap();
        producer_id
    };
    let first = transact(&broker, "old");
    transact(&broker, "young");
    broker.close().wait().unwrap();
    sim = later(&sim, sim.disk().snapshot(), 5 * DAY);
    broker = open(&sim);
    transact(&broker, "young");
    pass(&sim, &broker, DAY);
    assert_eq!(broker.transactions().unwrap().len(), 2);
    pass(&sim, &broker, 2 * DAY);
    pass(&sim, &broker, Duration::from_secs(1));
    let ids = |broker: &Broker| -> Vec<String> {
        broker.transactions().unwrap().iter().map(|one| one.id().to_owned()).collect()
    };
    assert_eq!(ids(&broker), ["young"]);
    let (key, is_tombstone) = states(&broker).pop().unwrap();
    assert!(is_tombstone && key.ends_with(b"old"));
    broker.close().wait().unwrap();
    sim = later(&sim, sim.disk().snapshot(), Duration::ZERO);
    broker = open(&sim);
    assert_eq!(ids(&broker), ["young"]);
    // Compaction drops it, and then the tombstone.
    let topic = broker.topic("__transaction_state").unwrap();
    assert_eq!(topic.config().cleanup_policy_kind(), CleanupPolicy::Compact);
    for _ in 0..2 {
        topic.compact().unwrap().wait().unwrap();
        sim.clock().advance(2 * DAY);
    }
    assert!(states(&broker).iter().all(|(key, _)| key.ends_with(b"young")));
    // Who takes it again is another producer, and is told apart from the one before.
    assert_ne!(transact(&broker, "old"), first);
    let partition = broker.topic("t").unwrap().partition(0).unwrap();
    assert_eq!(partition.last_stable_offset(), partition.high_watermark());
    assert_eq!(partition.aborted_transactions(), []);
}

#[test]
fn a_deleted_topic_keeps_no_transactional_id() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    topic(&broker);
    let memory = TopicConfig::new().segment_size(ByteSize::mib(1)).durability(Durability::Memory);
    broker.create_topic("gone", memory).unwrap();
    let mut producer = broker.transactional("one").unwrap();
    let mut txn = producer.begin().unwrap();
    txn.send("t", Record::new("x")).unwrap();
    txn.send("gone", Record::new("x")).unwrap();
    txn.commit().wait().unwrap();
    // Its marker was not durable yet.
    broker.delete_topic("gone").unwrap();
    drop(producer);
    pass(&sim, &broker, Duration::from_secs(60));
    pass(&sim, &broker, 8 * DAY);
    assert!(broker.transactions().unwrap().is_empty());
}

#[test]
fn expirations_are_validated() {
    let short = Duration::from_millis(999);
    for config in [settings().producer_expiration(short), settings().transactional_id_expiration(short)] {
        let sim = SimEnvironment::new(1);
        let refused = Broker::builder("/data").environment(sim.environment()).config(config).open();
        assert_eq!(refused.map(|_| ()).unwrap_err().kind(), ErrorKind::InvalidConfig);
    }
}
