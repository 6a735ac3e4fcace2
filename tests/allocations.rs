//! Nothing is allocated per record, neither on the way in nor on the way out.
//!
//! A test binary of its own, because it counts in the global allocator. Only the thread that measures is
//! counted: what the background does is not on the path of a record.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use millpond::prelude::*;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
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
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
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
    let dir = tempfile::tempdir().expect("this works");
    let broker = Broker::open(dir.path()).expect("this works");
    let topic =
        broker.create_topic("records", TopicConfig::new().durability(durability)).expect("this works");
    (dir, broker, topic)
}

fn send(producer: &Producer, count: u64) {
    let value = [0x5a_u8; 100];
    for _ in 0..count {
        drop(producer.send(Record::new(&value).key(b"key")).expect("this works"));
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
