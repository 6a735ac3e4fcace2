//! An environment of the host's own: files that do no more than they must, a clock that goes where it likes,
//! randomness that is none.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig};
use millpond::env::{
    Clock, DirEntry, DirLock, Environment, File, FileSystem, OpenMode, Random, Region, conformance,
};
use millpond::prelude::*;

/// The real files, by way of a host that reads and writes a few bytes at a time, is interrupted now and then,
/// and may have no maps.
#[derive(Debug)]
struct Stingy {
    inner: Arc<dyn FileSystem>,
    maps: bool,
    calls: Arc<AtomicU64>,
}

#[derive(Debug)]
struct StingyFile {
    inner: Arc<dyn File>,
    maps: bool,
    calls: Arc<AtomicU64>,
}

impl Stingy {
    fn new(maps: bool) -> Stingy {
        Stingy { inner: Environment::system().files().clone(), maps, calls: Arc::default() }
    }
}

impl StingyFile {
    /// How many of `len` bytes this call takes; every seventh call is interrupted.
    fn some_of(&self, len: usize) -> io::Result<usize> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if call % 7 == 3 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        Ok(len.min(1 + (call as usize * 31) % 97))
    }
}

impl FileSystem for Stingy {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(StingyFile { inner, maps: self.maps, calls: self.calls.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.inner.lock(path)
    }

    fn trusts_mapped_stores(&self, dir: &Path) -> bool {
        self.maps && self.inner.trusts_mapped_stores(dir)
    }
}

impl File for StingyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let some = self.some_of(buf.len())?;
        self.inner.read_at(&mut buf[..some], position)
    }

    fn write_at(&self, buf: &[u8], position: u64) -> io::Result<usize> {
        let some = self.some_of(buf.len())?;
        self.inner.write_at(&buf[..some], position)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.inner.set_size(size)
    }

    fn allocate(&self, position: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(position, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn map(&self, len: usize) -> io::Result<Region> {
        if self.maps { self.inner.map(len) } else { Err(io::ErrorKind::Unsupported.into()) }
    }

    fn modified(&self) -> io::Result<Timestamp> {
        self.inner.modified()
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
        let files = Arc::new(Stingy::new(maps));
        let system = Environment::system();
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
                Err(error) if error.kind() == millpond::ErrorKind::Locked => std::thread::yield_now(),
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
    struct Lax(Stingy);
    impl FileSystem for Lax {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.0.create_dir(path)
        }
        fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
            let mode = if mode == OpenMode::Read { OpenMode::ReadWrite } else { mode };
            self.0.inner.open(path, mode)
        }
        fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
            self.0.list(dir)
        }
        fn exists(&self, path: &Path) -> io::Result<bool> {
            self.0.exists(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn remove_file(&self, path: &Path) -> io::Result<()> {
            self.0.remove_file(path)
        }
        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            self.0.remove_dir(path)
        }
        fn sync_dir(&self, dir: &Path) -> io::Result<()> {
            self.0.sync_dir(dir)
        }
        fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
            self.0.lock(path)
        }
        fn trusts_mapped_stores(&self, dir: &Path) -> bool {
            self.0.trusts_mapped_stores(dir)
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let _ = conformance::file_system(&Lax(Stingy::new(true)), dir.path());
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
