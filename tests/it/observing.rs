//! Looking from outside: beside a broker, after a crash, at damage; and repairing it.

use std::path::{Path, PathBuf};

use millpond::broker::{Verdict, repair_in};
use millpond::config::{Background, BrokerConfig};
use millpond::prelude::*;
use millpond::testing::{SimDisk, SimEnvironment};
use millpond::{BrokerBuilder, ErrorKind, Observer};

fn simulated(sim: &SimEnvironment) -> BrokerBuilder {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual)
}

fn observer(sim: &SimEnvironment) -> Observer {
    Observer::open_in(sim.environment(), "/data").unwrap()
}

fn verdict(sim: &SimEnvironment) -> Verdict {
    observer(sim).verify(|_| ()).unwrap().verdict()
}

fn send(topic: &Topic, numbers: std::ops::Range<u32>) {
    let producer = topic.producer().unwrap();
    for n in numbers {
        producer.send(Record::new(&format!("{n}")).key("k")).unwrap().wait().unwrap();
    }
}

fn values(topic: &Topic) -> millpond::Result<Vec<String>> {
    let mut reader = topic.partition(0)?.read(..)?;
    let mut seen = Vec::new();
    while let Some(records) = reader.next()? {
        for record in &records {
            seen.push(String::from_utf8_lossy(record.value()?.unwrap_or_default()).into_owned());
        }
    }
    Ok(seen)
}

fn observed(observer: &Observer, topic: &str) -> Vec<String> {
    all_of(observer, topic).unwrap()
}

fn all_of(observer: &Observer, topic: &str) -> millpond::Result<Vec<String>> {
    let mut records = observer.read(topic, 0, ..)?;
    let mut seen = Vec::new();
    while let Some(record) = records.next()? {
        assert_eq!(record.offset().get(), seen.len() as u64);
        assert_eq!(record.key(), Some(&b"k"[..]));
        seen.push(String::from_utf8_lossy(record.value().unwrap()).into_owned());
    }
    Ok(seen)
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// A broker that was closed, with a topic `t` of 40 records in several segments and batches.
fn closed() -> SimEnvironment {
    let sim = SimEnvironment::new(31);
    let broker = simulated(&sim).open().unwrap();
    let config = TopicConfig::new().segment_size(ByteSize::kib(1)).index_interval(ByteSize::bytes(0));
    send(&broker.create_topic("t", config).unwrap(), 0..40);
    broker.close().wait().unwrap();
    sim
}

#[test]
fn an_observer_sees_what_a_live_broker_publishes() {
    for durability in [Durability::Memory, Durability::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::open(dir.path()).unwrap();
        let topic = broker.create_topic("t", TopicConfig::new().durability(durability)).unwrap();
        let observer = Observer::open(dir.path()).unwrap();
        assert!(observer.is_live().unwrap());
        let mut records = observer.read("t", 0, ..).unwrap();
        assert!(records.next().unwrap().is_none());
        for n in 0..100_u64 {
            send(&topic, n as u32..n as u32 + 1);
            let record = records.next().unwrap().unwrap_or_else(|| panic!("{durability}: {n}"));
            assert_eq!((record.offset().get(), record.value()), (n, Some(n.to_string().as_bytes())));
            assert!(records.next().unwrap().is_none());
        }
        assert_eq!(observed(&observer, "t"), numbers(0..100));
        let five = Offset::new(5).unwrap();
        let mut some = observer.read("t", 0, five..=five).unwrap();
        assert_eq!(some.next().unwrap().unwrap().offset(), five);
        assert!(some.next().unwrap().is_none());
        let report = observer.verify(|_| ()).unwrap();
        assert!(report.was_live());
        assert_eq!(report.verdict(), Verdict::Clean, "{:?}", report.findings());
        let description = observer.describe("t").unwrap();
        assert_eq!(description.config(), &topic.config());
        assert_eq!(description.id(), topic.id());
        assert_eq!(observer.read("t", 1, ..).unwrap_err().kind(), ErrorKind::PartitionNotFound);
        assert_eq!(observer.read("u", 0, ..).unwrap_err().kind(), ErrorKind::TopicNotFound);
        drop(topic);
        broker.close().wait().unwrap();
        assert!(!observer.is_live().unwrap());
    }
}

#[test]
fn an_observer_needs_a_data_directory_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Observer::open(dir.path()).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Observer::open(dir.path().join("none")).unwrap_err().kind(), ErrorKind::Io);
    let sim = closed();
    let before = sim.disk().image_hash();
    let observer = observer(&sim);
    assert_eq!(observed(&observer, "t"), numbers(0..40));
    assert_eq!(observer.describe("t").unwrap().partitions()[0].log_end_offset().get(), 40);
    let mut calls = 0;
    let report = observer.verify(|progress| calls += usize::from(progress.bytes_total() > 0)).unwrap();
    assert_eq!(report.verdict(), Verdict::Clean, "{:?}", report.findings());
    assert_eq!(report.partitions()[0].records(), 40);
    assert!(report.partitions()[0].segments() > 1 && calls > 0);
    assert_eq!(sim.disk().image_hash(), before);
}

#[test]
fn a_kill_leaves_an_open_batch_that_one_opening_settles() {
    let sim = SimEnvironment::new(32);
    let broker = simulated(&sim).open().unwrap();
    let topic = broker.create_topic("t", TopicConfig::new().durability(Durability::Memory)).unwrap();
    send(&topic, 0..10);
    let killed = SimEnvironment::on(sim.disk().after_kill(), 1);
    let report = observer(&killed).verify(|_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Unsettled);
    assert!(report.findings()[0].why().contains("open batch"), "{}", report.findings()[0]);
    assert_eq!(observed(&observer(&killed), "t"), numbers(0..10));
    drop(simulated(&killed).open().unwrap());
    assert_eq!(verdict(&killed), Verdict::Clean);
}

#[test]
fn a_torn_tail_is_unsettled_and_damage_below_the_point_is_corrupt() {
    let sim = SimEnvironment::new(33);
    let broker = simulated(&sim).open().unwrap();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    send(&topic, 0..10);
    sim.clock().advance(std::time::Duration::from_secs(2));
    broker.tick().unwrap();
    send(&topic, 10..20);
    let log = Path::new("/data/t-0/00000000000000000000.log");
    let end = {
        let bytes = sim.disk().read_file(log).unwrap();
        bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64
    };
    let crashed = || SimEnvironment::on(sim.disk().after_kill(), 1);
    let torn = crashed();
    torn.disk().flip_bit(log, end, 0).unwrap();
    let report = observer(&torn).verify(|_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Unsettled, "{:?}", report.findings());
    assert_eq!(report.findings()[0].path(), log);
    assert_eq!(observed(&observer(&torn), "t"), numbers(0..19));
    drop(simulated(&torn).open().unwrap());
    assert_eq!(verdict(&torn), Verdict::Clean);

    let rotten = crashed();
    rotten.disk().flip_bit(log, 70, 0).unwrap();
    let report = observer(&rotten).verify(|_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Corrupt, "{:?}", report.findings());
    assert_eq!(report.findings()[0].path(), log);
    assert!(report.findings()[0].position() <= 70);
    // Nor does anybody else take it for the end of the log.
    let described = observer(&rotten).describe("t").unwrap();
    let read = all_of(&observer(&rotten), "t").map(|_| ()).unwrap_err();
    for error in [&described.unreadable()[0], &read] {
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupted, Some(log)));
    }
    assert!(described.partitions().is_empty());
}

/// After each bit flip: what verify calls clean reads back whole; what it calls corrupt can be repaired, and
/// then opens, verifies, and holds a beginning of what was written.
#[test]
fn whatever_bit_flips_is_harmless_or_found_and_repairable() {
    let sim = closed();
    let all = numbers(0..40);
    let (mut flips, mut clean, mut corrupt) = (0, 0, 0);
    for path in sim.disk().files() {
        let skipped = ["millpond.lock", "millpond.cells"].iter().any(|name| path.ends_with(name));
        let len = sim.disk().read_file(&path).unwrap().len() as u64;
        // Every byte of the first files, and every seventh of the long ones.
        let step = if len > 400 { 7 } else { 1 };
        for byte in (0..if skipped { 0 } else { len }).step_by(step) {
            flips += 1;
            let at = format!("{} byte {byte}", path.display());
            let flipped = SimEnvironment::on(sim.disk().snapshot(), byte);
            flipped.disk().flip_bit(&path, byte, (byte % 8) as u8).unwrap();
            match check_flipped(&flipped, &all, &at) {
                Verdict::Clean => clean += 1,
                Verdict::Corrupt => corrupt += 1,
                _ => {}
            }
        }
    }
    assert!(flips > 1_000 && clean < flips / 2 && corrupt > flips / 3, "{flips} {clean} {corrupt}");
}

fn check_flipped(flipped: &SimEnvironment, all: &[String], at: &str) -> Verdict {
    let found = Observer::open_in(flipped.environment(), "/data")
        .and_then(|observer| observer.verify(|_| ()))
        .unwrap_or_else(|error| panic!("{at}: {error}"));
    let fresh = |disk: SimDisk| SimEnvironment::on(disk, 1);
    let seen = Observer::open_in(flipped.environment(), "/data").and_then(|observer| all_of(&observer, "t"));
    assert!(seen.as_ref().map_or(true, |seen| seen == all), "{at}: {seen:?} from outside");
    let copy = fresh(flipped.disk().snapshot());
    let read = simulated(&copy).open().and_then(|broker| values(&broker.topic("t")?));
    match (found.verdict(), read) {
        (Verdict::Corrupt, read) => {
            // A reader may not have come by the damage, but never reads anything else.
            assert!(read.as_ref().map_or(true, |read| read == all), "{at}: {read:?}");
        }
        (_, Ok(read)) => assert_eq!(read, all, "{at}: {:?}", found.findings()),
        (verdict, Err(error)) => panic!("{at}: {verdict:?}, but: {error}"),
    }
    repair_in(flipped.environment(), "/data").unwrap_or_else(|error| panic!("{at}: {error}"));
    let broker = simulated(flipped).open().unwrap_or_else(|error| panic!("{at}, repaired: {error}"));
    let topic = broker.topic("t").unwrap_or_else(|error| panic!("{at}, repaired: {error}"));
    let read = values(&topic).unwrap_or_else(|error| panic!("{at}, repaired: {error}"));
    assert!(all.starts_with(&read), "{at}: {read:?}");
    send(&topic, 100..101);
    broker.close().wait().unwrap();
    drop((broker, topic));
    let again = observer(flipped).verify(|_| ()).unwrap();
    assert_eq!(again.verdict(), Verdict::Clean, "{at}: {:?}", again.findings());
    found.verdict()
}

#[test]
fn files_cut_short_or_gone_are_found_and_repaired() {
    let sim = closed();
    let all = numbers(0..40);
    let logs: Vec<PathBuf> =
        sim.disk().files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    assert!(logs.len() > 2);
    for path in &logs {
        let len = sim.disk().read_file(path).unwrap().len() as u64;
        for size in (0..len).step_by(13) {
            let cut = SimEnvironment::on(sim.disk().snapshot(), size);
            cut.disk().truncate_file(path, size).unwrap();
            let at = format!("{} cut at {size}", path.display());
            assert_eq!(verdict(&cut), Verdict::Corrupt, "{at}");
            check_flipped(&cut, &all, &at);
        }
    }
    for name in ["millpond.broker", "t-0/millpond.partition", "t.topic"] {
        let gone = SimEnvironment::on(sim.disk().snapshot(), 1);
        gone.environment().files().remove_file(&Path::new("/data").join(name)).unwrap();
        assert_eq!(check_flipped(&gone, &all, name), Verdict::Corrupt, "{name}");
    }
}

#[test]
fn repair_needs_the_directory_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let _broker = Broker::open(dir.path()).unwrap();
    assert_eq!(millpond::broker::repair(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
}
