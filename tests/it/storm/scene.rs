//! The broker, its topics, the actors, and who watches that they come to an end.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use millpond::config::{BrokerConfig, CleanupPolicy, Volatile};
use millpond::prelude::*;
use millpond::testing::SeededRandom;

use super::ledger::Book;
use super::{groups, sending, upkeep};

/// Whoever has not ended by then never will.
const PATIENCE: Duration = Duration::from_secs(90);

/// Partitions that everybody knows of; there may be more.
pub(super) const PARTITIONS: u32 = 3;

/// An actor: it goes on until it is stopped, and tells what it was told.
type Act = fn(&Actor) -> Book;

/// How one has come to its end, by name.
type End = (&'static str, thread::Result<Book>);

/// Who takes part, by name.
const CAST: [(&str, Act); 15] = [
    ("plain-1", sending::plain),
    ("plain-2", sending::plain),
    ("named", sending::named),
    ("keyed", sending::keyed),
    ("volatile", sending::volatile),
    ("txn-1", sending::transactional),
    ("txn-2", sending::transactional),
    ("pipe-1", groups::pipeline),
    ("pipe-2", groups::pipeline),
    ("comer", groups::comes_and_goes),
    ("reader", upkeep::reader),
    ("reader-2", upkeep::reader),
    ("admin", upkeep::administrator),
    ("maker", upkeep::makes_and_deletes),
    ("observer", upkeep::observer),
];

/// What they share.
pub(super) struct Scene {
    seed: u64,
    dir: tempfile::TempDir,
    pub(super) broker: Broker,
    stop: Arc<AtomicBool>,
}

/// One thread's view of it.
pub(super) struct Actor {
    pub(super) name: &'static str,
    pub(super) broker: Broker,
    pub(super) path: std::path::PathBuf,
    random: SeededRandom,
    stop: Arc<AtomicBool>,
    /// What it is doing, for whoever finds it hanging.
    doing: Arc<Mutex<String>>,
}

impl Actor {
    pub(super) fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub(super) fn one_in(&self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    /// Says what it does next.
    pub(super) fn now(&self, what: impl Display) {
        *self.doing.lock().unwrap() = what.to_string();
    }

    pub(super) fn topic(&self, name: &str) -> Topic {
        self.broker.topic(name).unwrap()
    }
}

fn open(path: &std::path::Path, few: bool) -> Broker {
    let config = BrokerConfig::new()
        .checkpoint_interval(Duration::from_millis(40))
        .memory_flush_interval(Duration::from_millis(100))
        .compaction_interval(Duration::from_millis(60));
    let config = if few { config.max_open_segments(16) } else { config };
    Broker::builder(path).config(config).open().unwrap()
}

impl Scene {
    pub(super) fn new(seed: u64) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let broker = open(dir.path(), seed % 2 == 0);
        let small = TopicConfig::new()
            .partitions(PARTITIONS)
            .segment_size(ByteSize::kib(64))
            .max_record_size(ByteSize::kib(16))
            .batch_size(ByteSize::kib(4))
            .linger(Duration::from_millis(2));
        let levels = [Durability::Memory, Durability::Interval(Duration::from_millis(20)), Durability::Sync];
        for (name, at) in ["events", "orders", "money", "out"].into_iter().zip(seed..) {
            broker.create_topic(name, small.clone().durability(levels[(at % 3) as usize])).unwrap();
        }
        let compacted = small.clone().cleanup_policy(CleanupPolicy::Compact).min_cleanable_dirty_percent(1);
        broker.create_topic("state", compacted.durability(Durability::Memory)).unwrap();
        let in_memory = small.clone().segment_size(ByteSize::kib(8)).max_record_size(ByteSize::kib(4));
        let bound = ByteSize::kib(128);
        broker.create_topic("bus", in_memory.clone().volatile(Volatile::drop_oldest(bound))).unwrap();
        Scene { seed, dir, broker, stop: Arc::default() }
    }

    /// Lets everybody act for a while, and waits for their ends.
    pub(super) fn run(&self, during: Duration) -> Vec<Book> {
        println!("MILLPOND_SEED={}", self.seed);
        let (ended, ends) = channel();
        let mut all = Vec::new();
        for (&(name, act), number) in CAST.iter().zip(0..) {
            let actor = Actor {
                name,
                broker: self.broker.clone(),
                path: self.dir.path().to_path_buf(),
                random: SeededRandom::new(self.seed * 100 + number),
                stop: self.stop.clone(),
                doing: Arc::default(),
            };
            all.push((name, actor.doing.clone()));
            let ended = ended.clone();
            // Not scoped: one that hangs must not keep the others from being told.
            thread::spawn(move || {
                let book = catch_unwind(AssertUnwindSafe(|| act(&actor)));
                let _ = ended.send((name, book));
            });
        }
        drop(ended);
        let mut done = self.gather(&ends, during, CAST.len());
        self.stop.store(true, Ordering::Relaxed);
        while done.len() < CAST.len() {
            let more = self.gather(&ends, PATIENCE, CAST.len() - done.len());
            if more.is_empty() {
                self.tell_who_hangs(&all, &done);
            }
            done.extend(more);
        }
        let failed = done.iter().find_map(|(name, end)| Some((name, end.as_ref().err()?)));
        if let Some((name, panic)) = failed {
            panic!("{name} has failed, with seed {}: {}", self.seed, text_of(&**panic));
        }
        done.into_iter().filter_map(|(_, end)| end.ok()).collect()
    }

    /// The ends that come within some time, all of them or fewer. Who fails ends all.
    fn gather(&self, ends: &Receiver<End>, within: Duration, most: usize) -> Vec<End> {
        let mut done = Vec::new();
        while done.len() < most {
            let Ok(end) = ends.recv_timeout(within) else { break };
            if end.1.is_err() {
                self.stop.store(true, Ordering::Relaxed);
            }
            done.push(end);
        }
        done
    }

    fn tell_who_hangs(&self, all: &[(&str, Arc<Mutex<String>>)], done: &[End]) -> ! {
        for (name, doing) in all {
            let ended = done.iter().find(|(of, _)| of == name);
            match ended {
                None => println!("{name} hangs: {}", doing.lock().unwrap()),
                Some((_, Err(panic))) => println!("{name} has failed: {}", text_of(&**panic)),
                Some(_) => {}
            }
        }
        panic!("somebody hangs, with seed {}", self.seed);
    }

    /// Compares everything with what was told, before and after an orderly end.
    pub(super) fn judge(self, books: Vec<Book>) {
        let Scene { dir, broker, seed, .. } = self;
        println!("judging seed {seed}");
        groups::drain(&broker);
        let ledger = super::ledger::Ledger::new(books);
        let before = ledger.check(&broker);
        let (closing, closed) = channel();
        let last = broker.clone();
        thread::spawn(move || closing.send(last.close().wait()));
        closed.recv_timeout(PATIENCE).expect("closing comes to an end").unwrap();
        drop(broker);
        let report = millpond::Observer::open(dir.path()).unwrap().verify(|_| {}).unwrap();
        assert!(report.findings().is_empty(), "{:?}", report.findings());
        let broker = open(dir.path(), false);
        let after = ledger.check(&broker);
        assert!(before == after, "what is read after an orderly end is what was read before");
        broker.close().wait().unwrap();
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
