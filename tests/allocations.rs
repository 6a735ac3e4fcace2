//! Nothing is allocated per record, neither on the way in nor on the way out; and a volatile topic takes no more
//! memory than its bound.
//!
//! A test binary of its own, because it counts in the global allocator. Only the thread that measures is
//! counted: what the background does is not on the path of a record.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use millpond::config::Volatile;
use millpond::prelude::*;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Bytes that all threads have allocated and not freed.
static LIVE: AtomicI64 = AtomicI64::new(0);

fn hold(bytes: usize) {
    LIVE.fetch_add(bytes as i64, Ordering::Relaxed);
}

fn free(bytes: usize) {
    LIVE.fetch_sub(bytes as i64, Ordering::Relaxed);
}

/// The system's allocator, counting.
struct Counting;

fn count() {
    // A thread that ends has no counter any more, and is not the one that measures.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is left to the system's allocator; the counter neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        hold(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        free(layout.size());
        hold(size);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        free(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RECORDS: u64 = 20_000;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

fn topic(durability: Durability) -> (tempfile::TempDir, Broker, Topic) {
    let dir = tempfile::tempdir().expect("a directory");
    let broker = Broker::open(dir.path()).expect("a broker");
    let settings = TopicConfig::new().durability(durability);
    let topic = broker.create_topic("records", settings).expect("a topic");
    (dir, broker, topic)
}

fn send(producer: &Producer, count: u64) {
    let value = [0x5a_u8; 100];
    for _ in 0..count {
        drop(producer.send(Record::new(&value).key(b"key")).expect("sent"));
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7_u64)))), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn sending_allocates_per_batch_at_most() {
    let (_dir, _broker, topic) = topic(Durability::Memory);
    let producer = topic.producer().unwrap();
    send(&producer, RECORDS);
    let batches = RECORDS * 115 / (64 << 10) + 1;
    let found = allocations(|| send(&producer, RECORDS));
    assert!(found <= batches, "{found} allocations for {RECORDS} records in about {batches} batches");
}

#[test]
fn sending_and_waiting_allocates_no_more() {
    let (_dir, _broker, topic) = topic(Durability::Memory);
    let producer = topic.producer().unwrap();
    send(&producer, RECORDS);
    let found = allocations(|| {
        for _ in 0..RECORDS {
            producer.send(Record::new("value")).unwrap().wait().unwrap();
        }
    });
    assert!(found <= RECORDS / 500, "{found} allocations for {RECORDS} records");
}

#[test]
fn staging_allocates_a_few_times_per_batch() {
    let (_dir, _broker, topic) = topic(Durability::Sync);
    let producer = topic.producer().unwrap();
    send(&producer, RECORDS);
    let batches = RECORDS * 115 / (64 << 10) + 1;
    let found = allocations(|| send(&producer, RECORDS));
    assert!(found <= batches * 8, "{found} allocations for {RECORDS} records in about {batches} batches");
}

#[test]
fn sending_batches_allocates_a_few_times_per_batch() {
    const BATCH: u64 = 100;
    let (_dir, _broker, topic) = topic(Durability::Memory);
    let producer = topic.producer().unwrap();
    let value = [0x5a_u8; 100];
    let send = |count: u64| {
        for _ in 0..count / BATCH {
            let records = std::iter::repeat_n(&value, BATCH as usize).map(Record::new);
            drop(producer.send_batch(records).unwrap());
        }
    };
    send(RECORDS);
    let found = allocations(|| send(RECORDS));
    assert!(found <= RECORDS / BATCH * 8, "{found} allocations for {} batches", RECORDS / BATCH);
}

#[test]
fn reading_allocates_per_chunk_at_most() {
    let (_dir, _broker, topic) = topic(Durability::Memory);
    send(&topic.producer().unwrap(), RECORDS);
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut read = || {
        reader.seek(Offset::ZERO).unwrap();
        let (mut count, mut bytes) = (0, 0);
        while let Some(records) = reader.next().unwrap() {
            for record in &records {
                count += 1;
                bytes += record.value().unwrap().map_or(0, <[u8]>::len);
            }
        }
        assert_eq!((count, bytes as u64), (RECORDS, RECORDS * 100));
    };
    read();
    let found = allocations(read);
    assert!(found <= RECORDS / 500, "{found} allocations for {RECORDS} records");
}

/// In both ways of a full topic: what it takes in all, indexes and files of its own included, and what it leaves.
#[test]
fn a_volatile_topic_takes_no_more_memory_than_its_bound() {
    const BOUND: i64 = 4 << 20;
    /// What other tests of this process, and the background, may hold meanwhile.
    const SLACK: i64 = 3 << 20;
    let dir = tempfile::tempdir().unwrap();
    let bound = ByteSize::bytes(BOUND as u64);
    for volatile in [Volatile::drop_oldest(bound), Volatile::senders_wait(bound)] {
        let broker = Broker::open(dir.path()).unwrap();
        let before = LIVE.load(Ordering::Relaxed);
        let topic = broker.create_topic("bus", TopicConfig::new().volatile(volatile)).unwrap();
        let producer = topic.producer().unwrap();
        let partition = topic.partition(0).unwrap();
        let mut most = 0;
        for _ in 0..1_000 {
            for _ in 0..1_000 {
                if producer.try_send(Record::new(&[7u8; 20])).is_err() {
                    // Half of what is there goes, so that there is room.
                    let (start, end) = (partition.log_start_offset().get(), partition.log_end_offset().get());
                    partition.delete_records(Offset::new((start + end) / 2).unwrap()).unwrap();
                }
            }
            most = most.max(LIVE.load(Ordering::Relaxed) - before);
        }
        assert!(most > BOUND / 2 && most <= BOUND + SLACK, "{most} bytes, {volatile}");
        broker.delete_topic("bus").unwrap();
        // The background may still be at it.
        broker.close().wait().unwrap();
        drop((topic, producer, partition, broker));
        let left = LIVE.load(Ordering::Relaxed) - before;
        assert!(left <= SLACK, "{left} bytes, {volatile}");
    }
}
