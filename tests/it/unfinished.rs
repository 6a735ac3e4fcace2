//! A compaction cut off at any call of the disk: what is left is named, read through, and finished or thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millpond::broker::{Verdict, repair_in};
use millpond::config::{Background, BrokerConfig, CleanupPolicy};
use millpond::prelude::*;
use millpond::testing::{SimDisk, SimEnvironment};
use millpond::{BrokerBuilder, Observer};

const KEYS: u32 = 13;
const COUNT: u32 = 120;

fn simulated(sim: &SimEnvironment) -> BrokerBuilder {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual)
}

/// What each kill during a compaction leaves.
fn cut_off() -> Vec<SimDisk> {
    let sim = SimEnvironment::new(51);
    let broker = simulated(&sim).open().unwrap();
    let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact).segment_size(ByteSize::kib(1));
    let topic = broker.create_topic("t", config).unwrap();
    let producer = topic.producer().unwrap();
    for n in 0..COUNT {
        let (key, value) = (format!("{}", n % KEYS), format!("{n}"));
        producer.send(Record::new(&value).key(&key)).unwrap().wait().unwrap();
    }
    sim.disk().snapshot_every_call(10_000);
    topic.compact().unwrap().wait().unwrap();
    let states = sim.disk().take_snapshots();
    let mut seen = BTreeSet::new();
    let images = states.iter().map(|state| state.after_kill());
    images.filter(|image| seen.insert(image.image_hash())).collect()
}

fn expected() -> BTreeMap<String, String> {
    (0..COUNT).map(|n| (format!("{}", n % KEYS), format!("{n}"))).collect()
}

/// The latest value of each key, as somebody outside sees it.
fn observed(observer: &Observer) -> BTreeMap<String, String> {
    let mut records = observer.read("t", 0, ..).unwrap();
    let (mut seen, mut next) = (BTreeMap::new(), 0);
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap()).into_owned();
    while let Some(record) = records.next().unwrap() {
        assert!(record.offset().get() >= next, "twice");
        next = record.offset().get() + 1;
        seen.insert(text(record.key()), text(record.value()));
    }
    seen
}

fn names(sim: &SimEnvironment) -> Vec<String> {
    let entries = sim.environment().files().list(Path::new("/data/t-0")).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}

const ENDINGS: [&str; 5] = [".deleted", ".cleaned", ".swap", ".entering", ".tmp"];

/// What is said of them, sorted.
const WORDS: [&str; 6] = [
    "a compaction that did not end",
    "a segment on its way out",
    "not decided on",
    "were being exchanged",
    "whole and recorded",
    "written to replace another",
];

fn is_left(name: &str) -> bool {
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[test]
fn what_a_compaction_leaves_is_named_read_through_and_settled() {
    let mut told = BTreeSet::new();
    let images = cut_off();
    assert!(images.len() > 40, "{}", images.len());
    for (at, image) in images.into_iter().enumerate() {
        let sim = SimEnvironment::on(image, 1);
        let observer = Observer::open_in(sim.environment(), "/data").unwrap();
        assert_eq!(observed(&observer), expected(), "state {at}: {:?}", names(&sim));
        let report = observer.verify(|_| ()).unwrap();
        assert_ne!(report.verdict(), Verdict::Corrupt, "state {at}: {:?}", report.findings());
        let found: Vec<String> = report.findings().iter().map(|finding| finding.to_string()).collect();
        for ending in ENDINGS {
            let there = names(&sim).iter().any(|name| name.ends_with(ending));
            let named =
                report.findings().iter().any(|finding| finding.path().to_string_lossy().ends_with(ending));
            assert_eq!(there, named, "state {at}: {ending} in {found:?}");
        }
        let says = |word: &&str| report.findings().iter().any(|finding| finding.why().contains(*word));
        told.extend(WORDS.iter().copied().filter(says));
        // The opening does what was said.
        let broker = simulated(&sim).open().unwrap();
        assert!(!names(&sim).iter().any(|name| is_left(name)), "state {at}: {:?}", names(&sim));
        assert_eq!(observed(&observer), expected(), "state {at}");
        broker.close().wait().unwrap();
        drop(broker);
        assert_eq!(observer.verify(|_| ()).unwrap().verdict(), Verdict::Clean, "state {at}");
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), WORDS);
}

#[test]
fn repair_finishes_an_exchange_and_drops_nothing() {
    let mut finished = 0;
    for (at, image) in cut_off().into_iter().enumerate() {
        let sim = SimEnvironment::on(image, 1);
        // Something else is damaged: else there is nothing to repair.
        sim.disk().flip_bit(Path::new("/data/millpond.broker"), 20, 0).unwrap();
        let report = repair_in(sim.environment(), "/data").unwrap();
        finished += report.actions().iter().filter(|did| did.what().contains("what was begun")).count();
        let observer = Observer::open_in(sim.environment(), "/data").unwrap();
        assert_eq!(observed(&observer), expected(), "state {at}: {report:?}");
        drop(simulated(&sim).open().unwrap());
        assert_eq!(observed(&observer), expected(), "state {at}, opened: {report:?}");
    }
    assert!(finished > 5, "{finished}");
}

/// The record of the exchange is lost, wherever it stood: what the compacted segment alone has is not.
#[test]
fn repair_without_the_manifest_keeps_what_only_the_compacted_segment_has() {
    let (mut taken, mut left) = (0, 0);
    for (at, image) in cut_off().into_iter().enumerate() {
        let sim = SimEnvironment::on(image, 1);
        sim.disk().flip_bit(Path::new("/data/t-0/millpond.partition"), 20, 0).unwrap();
        let before = names(&sim);
        let report = repair_in(sim.environment(), "/data").unwrap();
        let says = |what: &str| report.actions().iter().filter(|did| did.what().contains(what)).count();
        taken += says("begun to leave for it");
        left += says("was compacted from are there");
        assert_eq!(report.bytes_dropped(), 0, "state {at}: {report:?}");
        let observer = Observer::open_in(sim.environment(), "/data").unwrap();
        assert_eq!(observed(&observer), expected(), "state {at}: {before:?} {report:?}");
        drop(simulated(&sim).open().unwrap());
        assert_eq!(observed(&observer), expected(), "state {at}, opened: {before:?} {report:?}");
    }
    assert!(taken > 5 && left > 1, "{taken} {left}");
}

#[test]
fn a_compacted_segment_that_is_missing_is_damage() {
    let recorded = |report: &millpond::broker::VerifyReport| {
        report.findings().iter().any(|finding| finding.why().contains("whole and recorded"))
    };
    let mut seen = 0;
    for image in cut_off() {
        let sim = SimEnvironment::on(image, 1);
        let observer = Observer::open_in(sim.environment(), "/data").unwrap();
        let report = observer.verify(|_| ()).unwrap();
        let files = sim.environment().files().clone();
        let log = names(&sim).into_iter().find(|name| name.ends_with(".log.swap"));
        let Some(log) = log.filter(|_| recorded(&report)) else { continue };
        let plain = log.strip_suffix(".swap").unwrap();
        if names(&sim).iter().any(|name| name == plain) {
            continue;
        }
        files.remove_file(&Path::new("/data/t-0").join(&log)).unwrap();
        let report = observer.verify(|_| ()).unwrap();
        assert_eq!(report.verdict(), Verdict::Corrupt);
        let told = report.findings().iter().any(|finding| finding.why().contains("is missing"));
        assert!(told, "{:?}", report.findings());
        seen += 1;
    }
    assert!(seen > 0);
}
