//! An environment of the host's own: files that do no more than they must, a clock that goes where it likes,
//! randomness that is none.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig};
use millpond::env::{Clock, Environment, OpenMode, Random, conformance};
use millpond::prelude::*;

use crate::hosted::{Host, Hosted};

/// A host that reads and writes a few bytes at a time, is interrupted now and then, and may have no maps.
#[derive(Debug)]
struct Stingy {
    maps: bool,
    calls: AtomicU64,
}

impl Host for Stingy {
    /// Every seventh call is interrupted.
    fn takes(&self, len: usize) -> io::Result<usize> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call % 7 == 3 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(len.min(1 + (call as usize * 31) % 97))
    }

    fn maps(&self) -> bool {
        self.maps
    }

    fn has_all_calls(&self) -> bool {
        false
    }
}

/// Wall-clock time that jumps to and fro by hours with each look; monotonic time that stands still.
#[derive(Debug, Default)]
struct Jumping(AtomicI64);

impl Clock for Jumping {
    fn now(&self) -> Timestamp {
        let look = self.0.fetch_add(1, Ordering::Relaxed);
        Timestamp::from_millis(1_700_000_000_000 + (look * 7_919 % 100 - 50) * 3_600_000)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// Always the same.
#[derive(Debug)]
struct Constant;

impl Random for Constant {
    fn next_u64(&self) -> u64 {
        4
    }
}

fn fill_and_check(broker: &Broker, level: Durability) {
    let config = TopicConfig::new()
        .durability(level)
        .partitions(2)
        .segment_size(ByteSize::kib(16))
        .batch_size(ByteSize::kib(2));
    let topic = broker.create_topic(format!("at-{level}").replace(':', "."), config).unwrap();
    let producer = topic.producer().unwrap();
    for n in 0..300u32 {
        drop(producer.send(Record::new(&format!("value {n}")).key(&n.to_be_bytes())).unwrap());
    }
    producer.flush().wait().unwrap();
    assert_eq!(count(&topic), 300);
}

fn count(topic: &Topic) -> usize {
    let mut reader = topic.read(Start::Earliest).unwrap();
    let mut seen = 0;
    while let Some(records) = reader.next().unwrap() {
        seen += records.iter().map(|record| record.check().unwrap()).count();
    }
    seen
}

const LEVELS: [Durability; 3] =
    [Durability::Sync, Durability::Memory, Durability::Interval(Duration::from_millis(50))];

#[test]
fn a_host_that_does_little_at_a_time_is_enough() {
    for maps in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let system = Environment::system();
        let files = Arc::new(Hosted::over(system.files(), Stingy { maps, calls: AtomicU64::new(0) }));
        let environment = Environment::new(files, system.clock().clone(), system.random().clone());
        let data = dir.path().join("data");
        let open = || Broker::builder(&data).environment(environment.clone()).open();
        let broker = open().unwrap();
        LEVELS.iter().for_each(|&level| fill_and_check(&broker, level));
        broker.close().wait().unwrap();
        drop(broker);
        // And by the system's own files: a file is a file.
        let broker = Broker::open(&data).unwrap();
        assert!(broker.recovery().was_clean());
        for name in broker.topics() {
            assert_eq!(count(&broker.topic(name.as_str()).unwrap()), 300);
        }
        drop(broker);
        let broker = loop {
            match open() {
                Err(error) if error.kind() == ErrorKind::Locked => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        assert!(!broker.recovery().was_clean());
        for name in broker.topics() {
            assert_eq!(count(&broker.topic(name.as_str()).unwrap()), 300, "maps: {maps}");
        }
    }
}

#[test]
fn the_suite_for_hosts_accepts_the_real_files() {
    let dir = tempfile::tempdir().unwrap();
    conformance::file_system(&**Environment::system().files(), dir.path()).unwrap();
}

#[test]
#[should_panic(expected = "opened for reading")]
fn the_suite_for_hosts_notices_one_that_writes_where_it_must_not() {
    #[derive(Debug)]
    struct Lax;
    impl Host for Lax {
        fn mode(&self, asked: OpenMode) -> OpenMode {
            if asked == OpenMode::Read { OpenMode::ReadWrite } else { asked }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let _ = conformance::file_system(&Hosted::over(Environment::system().files(), Lax), dir.path());
}

#[test]
fn a_clock_and_a_randomness_that_cannot_be_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let files = Environment::system().files().clone();
    let environment = Environment::new(files, Arc::new(Jumping::default()), Arc::new(Constant));
    let manual = BrokerConfig::new().background(Background::Manual);
    let open = || {
        Broker::builder(dir.path()).environment(environment.clone()).config(manual.clone()).open().unwrap()
    };
    let broker = open();
    LEVELS.iter().for_each(|&level| fill_and_check(&broker, level));
    for _ in 0..20 {
        broker.tick().unwrap();
    }
    drop(broker);
    let broker = open();
    for name in broker.topics() {
        let topic = broker.topic(name.as_str()).unwrap();
        assert_eq!(count(&topic), 300);
        for n in 0..2 {
            let partition = topic.partition(n).unwrap();
            let found = partition.offset_for_timestamp(Timestamp::from_millis(1_700_000_000_000)).unwrap();
            assert!(found.is_some_and(|(_, at)| at.millis() >= 1_700_000_000_000));
        }
    }
    broker.close().wait().unwrap();
}
