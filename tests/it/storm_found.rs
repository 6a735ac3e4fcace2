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

/// Files during one of whose listings something is done.
struct Interrupting {
    files: Arc<dyn FileSystem>,
    /// How many listings of this folder come before, and what is done.
    next: Mutex<Option<(&'static str, u32, Meanwhile)>>,
}

impl fmt::Debug for Interrupting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl FileSystem for Interrupting {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.files.create_dir(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.files.open(path, mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let due = {
            let mut next = self.next.lock().unwrap();
            next.iter_mut().filter(|(of, ..)| dir.ends_with(of)).for_each(|(_, left, _)| *left -= 1);
            next.take_if(|(_, left, _)| *left == 0)
        };
        due.into_iter().for_each(|(_, _, meanwhile)| meanwhile());
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
    let environment = sim.environment();
    for looks in 1..4 {
        let send = send.clone();
        let next = Mutex::new(Some(("t-0", looks, Box::new(move || send(40)) as Meanwhile)));
        let files = Arc::new(Interrupting { files: environment.files().clone(), next });
        let (clock, random) = (environment.clock().clone(), environment.random().clone());
        let observer = Observer::open_in(Environment::new(files, clock, random), "/data").unwrap();
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
