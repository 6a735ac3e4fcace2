//! What many threads at once (`storm`) have found from outside, each as small as it goes: a broker goes on at the very
//! moment when somebody looks.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use millpond::Observer;
use millpond::config::{Background, BrokerConfig};
use millpond::env::{DirEntry, DirLock, Environment, File, FileSystem, OpenMode};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

fn open(sim: &SimEnvironment) -> Broker {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
}

type Meanwhile = Box<dyn FnOnce() + Send>;

/// Files during one of whose listings, or openings, something is done.
struct Interrupting {
    files: Arc<dyn FileSystem>,
    /// Which listing of this folder, or opening of this file, it is, and what is done before.
    next: Mutex<Option<(&'static str, u32, Meanwhile)>>,
}

impl fmt::Debug for Interrupting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl Interrupting {
    /// An observer, and what is done when it comes by a path for the so many-th time.
    fn observer(
        sim: &SimEnvironment,
        path: &'static str,
        looks: u32,
        meanwhile: impl FnOnce() + Send + 'static,
    ) -> Observer {
        let environment = sim.environment();
        let next = Mutex::new(Some((path, looks, Box::new(meanwhile) as Meanwhile)));
        let files = Arc::new(Interrupting { files: environment.files().clone(), next });
        let (clock, random) = (environment.clock().clone(), environment.random().clone());
        Observer::open_in(Environment::new(files, clock, random), "/data").unwrap()
    }

    fn interrupt(&self, path: &Path) {
        let due = {
            let mut next = self.next.lock().unwrap();
            next.iter_mut().filter(|(of, ..)| path.ends_with(of)).for_each(|(_, left, _)| *left -= 1);
            next.take_if(|(_, left, _)| *left == 0)
        };
        due.into_iter().for_each(|(_, _, meanwhile)| meanwhile());
    }
}

impl FileSystem for Interrupting {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.files.create_dir(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.interrupt(path);
        self.files.open(path, mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.interrupt(dir);
        self.files.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.files.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.files.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.files.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.files.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.files.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.files.lock(path)
    }

    fn trusts_mapped_stores(&self, dir: &Path) -> bool {
        self.files.trusts_mapped_stores(dir)
    }
}

/// Whoever looks from outside while a segment is closed, and the next one begun, sees no damage: what was read of it may be
/// from before its last batches.
#[test]
fn a_segment_that_is_closed_under_an_observer_is_no_damage() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config = TopicConfig::new().durability(Durability::Memory).segment_size(ByteSize::kib(16));
    let topic = broker.create_topic("t", config.max_record_size(ByteSize::kib(8))).unwrap();
    let producer = topic.producer().unwrap();
    let send = move |count| {
        for _ in 0..count {
            drop(producer.send(Record::new(&[b'x'; 1_000])).unwrap());
        }
        producer.flush().wait().unwrap();
    };
    send(3);
    for looks in 1..4 {
        let send = send.clone();
        let observer = Interrupting::observer(&sim, "t-0", looks, move || send(40));
        let end = observer.describe("t").unwrap().partitions()[0].log_end_offset();
        assert!(end.get() >= 3);
        assert!(observer.verify(|_| {}).unwrap().findings().is_empty());
    }
}

/// A topic that its broker deletes while somebody looks at another one is no damage.
#[test]
fn a_topic_that_is_deleted_while_somebody_verifies_is_no_damage() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    broker.create_topic("a", TopicConfig::new()).unwrap();
    broker.create_topic("b", TopicConfig::new()).unwrap();
    let observer = Observer::open_in(sim.environment(), "/data").unwrap();
    let report = observer
        .verify(|_| {
            if broker.topics().len() == 2 {
                broker.delete_topic("b").unwrap();
            }
        })
        .unwrap();
    assert!(broker.topics().len() == 1 && report.was_live());
    assert!(report.findings().is_empty(), "{:?}", report.findings());
}

/// Segments that are deleted while somebody reads from outside are passed over, as records that are deleted before.
#[test]
fn segments_that_go_under_an_observer_are_passed_over() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let config = TopicConfig::new().durability(Durability::Memory).segment_size(ByteSize::kib(16));
    let topic = broker.create_topic("t", config.max_record_size(ByteSize::kib(8))).unwrap();
    let producer = topic.producer().unwrap();
    for _ in 0..100 {
        drop(producer.send(Record::new(&[b'x'; 1_000])).unwrap());
    }
    producer.flush().wait().unwrap();
    let partition = topic.partition(0).unwrap();
    let first = "t-0/00000000000000000000.log";
    let delete = move || {
        partition.delete_records(Offset::new(70).unwrap()).unwrap();
    };
    let observer = Interrupting::observer(&sim, first, 1, delete);
    let mut records = observer.read("t", 0, ..).unwrap();
    let mut offsets = Vec::new();
    while let Some(record) = records.next().unwrap() {
        offsets.push(record.offset().get());
    }
    assert_eq!(offsets, (70..100).collect::<Vec<_>>());
}
