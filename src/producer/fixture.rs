//! A topic on a simulated disk for the tests of producers and readers: no threads, time moved by hand.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{PartitionSet, Producer, ProducerTarget, SchemaHeaders};
use crate::codec::Raw;
use crate::config::{
    Compression, CrcCheck, Durability, Partitioning, ProducerConfig, Retention, TimestampType,
};
use crate::env::sim::SimEnvironment;
use crate::env::{DirLock, FileSystem};
use crate::partition::{Attendant, Budget, Found, Log, LogSettings, Opening};
use crate::segment::OpenSegments;
use crate::topic::{Partitioner, built_in};
use crate::types::{ByteSize, TopicId, TopicName, TopicPartition};

/// A topic `t`.
pub(crate) struct Fixture {
    pub(crate) sim: SimEnvironment,
    pub(crate) partitions: Arc<PartitionSet>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) asked: Arc<Asked>,
    settings: LogSettings,
    map: bool,
    pin: Arc<dyn DirLock>,
}

/// Counts what the partitions ask for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    flushes: AtomicUsize,
}

impl Asked {
    pub(crate) fn flushes(&self) -> usize {
        self.flushes.load(Ordering::SeqCst)
    }
}

impl Attendant for Asked {
    fn flush_soon(&self) {
        self.flushes.fetch_add(1, Ordering::SeqCst);
    }

    fn flushed(&self, _above_point: u64) {}

    fn prepare_soon(&self) {}

    fn close_idle_soon(&self) {}

    fn close_idle_now(&self) {}

    fn due_at(&self, _when: Duration) {}
}

pub(crate) fn settings(durability: Durability) -> LogSettings {
    LogSettings {
        durability,
        compression: Compression::None,
        batch_size: 64 << 10,
        linger: Duration::from_millis(5),
        max_record_size: 1 << 20,
        large_value: usize::MAX,
        segment_size: 4 << 20,
        segment_age: Duration::from_secs(3600),
        index_interval: 4096,
        index_size: 1 << 20,
        timestamp_type: TimestampType::Create,
        in_place: true,
        lazy_flush: Duration::from_secs(30),
        producer_expiration: Duration::from_secs(86_400),
        retention: Retention::forever(),
        keep_unread: None,
        cleanup: crate::partition::Cleanup::default(),
    }
}

impl Fixture {
    /// A topic of this level, with so many partitions.
    pub(crate) fn new(durability: Durability, partitions: u32) -> Fixture {
        Fixture::with(settings(durability), partitions, true)
    }

    pub(crate) fn with(settings: LogSettings, partitions: u32, map: bool) -> Fixture {
        let sim = SimEnvironment::new(3);
        sim.disk().create_dir(Path::new("/data")).unwrap();
        sim.disk().sync_dir(Path::new("/")).unwrap();
        let pin = Arc::from(sim.disk().lock(Path::new("/data/lock")).unwrap());
        let fixture = Fixture {
            sim,
            partitions: Arc::new(PartitionSet::new([])),
            budget: Arc::new(Budget::new(1 << 20)),
            asked: Arc::new(Asked::default()),
            settings,
            map,
            pin,
        };
        fixture.add_partitions(partitions);
        fixture
    }

    pub(crate) fn add_partitions(&self, count: u32) {
        for _ in 0..count {
            self.partitions.add([self.open(self.partitions.count())]);
        }
    }

    fn open(&self, partition: u32) -> Arc<Log> {
        let opening = Opening {
            tp: TopicPartition::new(topic(), partition),
            topic_id: TopicId::from_bytes([1; 16]),
            dir: format!("/data/t-{partition}").into(),
            environment: &self.sim.environment(),
            settings: self.settings.clone(),
            map: self.map,
            crc_check: CrcCheck::Once,
            pin: Arc::clone(&self.pin),
            open_segments: OpenSegments::new(64),
            budget: Arc::clone(&self.budget),
            attendant: Arc::clone(&self.asked) as Arc<dyn Attendant>,
            state: Found::New,
            cell: None,
            found_cells: &[],
            progress: &|_| {},
        };
        opening.open().unwrap().log
    }

    pub(crate) fn log(&self, partition: u32) -> &Arc<Log> {
        self.partitions.get(partition).unwrap()
    }

    /// What the broker's threads would do.
    pub(crate) fn flush(&self) {
        for log in self.partitions.iter() {
            log.flush().unwrap();
        }
    }

    pub(crate) fn target(&self) -> ProducerTarget {
        ProducerTarget {
            topic: topic(),
            partitions: Arc::clone(&self.partitions),
            max_block: Duration::from_millis(1),
            kept_open: None,
            schema: None,
        }
    }

    pub(crate) fn producer(&self) -> Producer {
        self.typed(Raw, Raw, &ProducerConfig::new())
    }

    pub(crate) fn typed<K, V>(&self, key: K, value: V, config: &ProducerConfig) -> Producer<K, V> {
        Producer::new(self.target(), config, hash_key(), key, value)
    }

    pub(crate) fn with_schema<V>(&self, value: V, schema: SchemaHeaders) -> Producer<Raw, V> {
        let target = ProducerTarget { schema: Some(Arc::new(schema)), ..self.target() };
        Producer::new(target, &ProducerConfig::new(), hash_key(), Raw, value)
    }

    pub(crate) fn partitioned(&self, partitioner: Arc<dyn Partitioner>) -> Producer {
        Producer::new(self.target(), &ProducerConfig::new(), partitioner, Raw, Raw)
    }
}

pub(crate) fn topic() -> TopicName {
    TopicName::new("t").unwrap()
}

fn hash_key() -> Arc<dyn Partitioner> {
    built_in(Partitioning::HashKey, ByteSize::kib(64), 5)
}

/// A task that is polled by hand.
pub(crate) struct Task {
    woken: Arc<Woken>,
    waker: Waker,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Task {
    pub(crate) fn new() -> Task {
        let woken = Arc::new(Woken::default());
        Task { waker: Waker::from(Arc::clone(&woken)), woken }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    pub(crate) fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        std::pin::Pin::new(future).poll(&mut self.context())
    }

    /// How often it was woken so far.
    pub(crate) fn woken(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }
}
