//! Producers over partitions on a simulated disk.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::fixture::{Fixture, Task, settings};
use super::*;
use crate::codec::{Codec, Encode, Raw, Record, U64, Utf8};
use crate::config::{Acks, CrcCheck, Durability, ProducerConfig, TimestampType};
use crate::error::{ErrorKind, Result};
use crate::partition::{Cursor, ReadLimits};
use crate::sync::Operation;
use crate::topic::{Partitioner, RoundRobin};
use crate::types::{Headers, Offset, Timestamp};

const LIMITS: ReadLimits = ReadLimits { max_bytes: u64::MAX, max_records: u32::MAX, crc: CrcCheck::Always };

/// What a partition holds: offset, timestamp, key, value, headers.
type Stored = (u64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Headers);

fn stored(fixture: &Fixture, partition: u32) -> Vec<Stored> {
    let mut cursor = Cursor::new(Arc::clone(fixture.log(partition)), 0);
    let mut all = Vec::new();
    while let Some(chunk) = cursor.read(u64::MAX, &LIMITS).unwrap() {
        for record in chunk.iter() {
            let record = record.unwrap();
            let (key, value) = (record.record.key, record.record.value);
            let headers = record.record.headers.iter().map(|header| (header.key, header.value)).collect();
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            all.push((record.offset, record.timestamp, owned(key), owned(value), headers));
        }
    }
    all
}

fn values(fixture: &Fixture, partition: u32) -> Vec<String> {
    let text = |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap();
    stored(fixture, partition).into_iter().map(|record| text(record.3)).collect()
}

#[test]
fn handles_may_go_to_other_threads_and_tasks() {
    fn check<T: Send + Unpin + std::fmt::Debug>() {}
    fn check_shared<T: Send + Sync + Unpin + Clone>() {}
    check_shared::<Producer>();
    check_shared::<Producer<Utf8, U64>>();
    check::<Delivery>();
    check::<BatchDelivery>();
    check::<Flush>();
    check::<Operation<()>>();
    assert!(size_of::<Delivery>() <= 72, "{} bytes", size_of::<Delivery>());
}

#[test]
fn at_memory_a_delivery_is_settled_at_once() {
    let fixture = Fixture::new(Durability::Memory, 1);
    fixture.sim.clock().set(Timestamp::from_millis(1_000));
    let producer = fixture.producer();
    let mut delivery = producer.send(Record::new("a").key("k")).unwrap();
    assert_eq!((delivery.partition(), delivery.offset()), (0, Some(Offset::ZERO)));
    let task = Task::new();
    let Poll::Ready(Ok(metadata)) = task.poll(&mut delivery) else { panic!("not settled") };
    assert_eq!(metadata.timestamp(), Timestamp::from_millis(1_000));
    assert_eq!(delivery.wait_timeout(Duration::ZERO).unwrap(), metadata);
    assert_eq!(delivery.wait().unwrap(), metadata);

    let given = Record::new("b").timestamp(Timestamp::from_millis(7)).null_header("h");
    assert_eq!(producer.send(given).unwrap().wait().unwrap().timestamp(), Timestamp::from_millis(7));
    let mut headers = Headers::new();
    headers.push("h", None);
    assert_eq!(
        stored(&fixture, 0),
        [
            (0, 1_000, Some(b"k".to_vec()), Some(b"a".to_vec()), Headers::new()),
            (1, 7, None, Some(b"b".to_vec()), headers),
        ]
    );
}

#[test]
fn at_sync_a_task_asks_for_the_flush_and_is_woken_by_it() {
    let fixture = Fixture::new(Durability::Sync, 1);
    let mut delivery = fixture.producer().send(Record::new("a")).unwrap();
    assert_eq!(fixture.log(0).acked_end(), 0);
    let asked = fixture.asked.flushes();
    let task = Task::new();
    assert!(task.poll(&mut delivery).is_pending());
    assert!(fixture.asked.flushes() > asked);
    fixture.flush();
    assert_eq!(task.woken(), 1);
    let Poll::Ready(Ok(metadata)) = task.poll(&mut delivery) else { panic!("not settled") };
    assert_eq!(metadata.offset(), Offset::ZERO);
    assert_eq!(values(&fixture, 0), ["a"]);
}

#[test]
fn at_sync_a_thread_that_waits_flushes_itself() {
    let fixture = Fixture::new(Durability::Sync, 1);
    let producer = fixture.producer();
    let first = producer.send(Record::new("a")).unwrap();
    let mut second = producer.send(Record::new("b")).unwrap();
    assert_eq!(second.wait_timeout(Duration::from_secs(60)).unwrap().offset().get(), 1);
    assert_eq!(fixture.log(0).flushed(), 2);
    assert_eq!(first.wait().unwrap().offset().get(), 0);
}

#[test]
fn without_acks_nobody_waits() {
    let fixture = Fixture::new(Durability::Sync, 1);
    let producer = fixture.typed(Raw, Raw, &ProducerConfig::new().acks(Acks::None));
    assert_eq!(producer.send(Record::new("a")).unwrap().wait().unwrap().offset(), Offset::ZERO);
    let batches = producer.send_batch(["b", "c"].map(Record::new)).unwrap().wait().unwrap();
    assert_eq!(batches[0].base_offset().get(), 1);
    assert_eq!(fixture.log(0).acked_end(), 0);
    producer.flush().wait().unwrap();
    assert_eq!(values(&fixture, 0), ["a", "b", "c"]);
}

#[test]
fn a_dropped_delivery_takes_its_waker_back() {
    let fixture = Fixture::new(Durability::Sync, 1);
    let mut delivery = fixture.producer().send(Record::new("a")).unwrap();
    let task = Task::new();
    assert!(task.poll(&mut delivery).is_pending());
    drop(delivery);
    fixture.flush();
    assert_eq!(task.woken(), 0);
}

#[test]
fn the_partition_is_the_records_wish_else_its_keys() {
    let fixture = Fixture::new(Durability::Memory, 3);
    let producer = fixture.producer();
    let partition = |record| producer.send(record).unwrap().partition();
    assert_eq!(partition(Record::new("v").key("abcd")), 2); // as Kafka's own classes
    assert_eq!(partition(Record::new("v").key("abcd").partition(1)), 1);
    let error = producer.send(Record::new("v").partition(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartitionNotFound);
    assert_eq!(error.to_string(), "topic t has 3 partitions, so there is no partition 3");

    fixture.add_partitions(1);
    assert_eq!(producer.partition_count(), 4);
    assert_eq!(producer.send(Record::new("v").partition(3)).unwrap().partition(), 3);
}

#[test]
fn a_partitioner_of_ones_own_is_asked_and_checked() {
    #[derive(Debug)]
    struct Beyond;
    impl Partitioner for Beyond {
        fn partition(&self, _key: Option<&[u8]>, _value_len: usize, partitions: u32) -> u32 {
            partitions
        }
    }
    let fixture = Fixture::new(Durability::Memory, 2);
    let error = fixture.partitioned(Arc::new(Beyond)).send(Record::new("v")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartitionNotFound);
    let producer = fixture.partitioned(Arc::new(RoundRobin::new()));
    let sent: Vec<u32> = (0..4).map(|_| producer.send(Record::new("v")).unwrap().partition()).collect();
    assert_eq!(sent, [0, 1, 0, 1]);
}

#[test]
fn many_headers_and_those_of_the_schema_are_stored_in_order() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let schema = SchemaHeaders::new(Some(("utf8", 2)), Some(("u64", 0)));
    let producer = fixture.with_schema(U64, schema);
    let names: Vec<String> = (0..10).map(|n| format!("h{n}")).collect();
    for count in [0, 6, 7, 10] {
        let record = names[..count].iter().fold(Record::new(&7u64), |record, name| record.header(name, "x"));
        drop(producer.send(record.clone()).unwrap());
        drop(producer.send_batch([record]).unwrap());
    }
    for (n, record) in stored(&fixture, 0).into_iter().enumerate() {
        let count = [0, 6, 7, 10][n / 2];
        let mut expected: Headers =
            names[..count].iter().map(|name| (name.as_str(), Some(&b"x"[..]))).collect();
        expected.push("millpond.key.codec", Some(b"utf8/2"));
        expected.push("millpond.value.codec", Some(b"u64/0"));
        assert_eq!(record.4, expected, "{count}");
    }
}

#[test]
fn what_a_codec_refuses_is_not_in_the_log() {
    #[derive(Default)]
    struct Never;
    impl Codec for Never {
        type Output<'a> = ();
        fn name(&self) -> &str {
            "never"
        }
        fn decode(&self, _bytes: Option<&[u8]>) -> Result<()> {
            Ok(())
        }
    }
    impl Encode<u8> for Never {
        fn encode<'v>(&self, _value: &'v u8, _buf: &'v mut Vec<u8>) -> Result<&'v [u8]> {
            Err(crate::error::Error::from_codec("never", "no"))
        }
    }
    let fixture = Fixture::new(Durability::Memory, 1);
    let producer = fixture.typed(Raw, Never, &ProducerConfig::new());
    assert_eq!(producer.send(Record::new(&1u8)).unwrap_err().kind(), ErrorKind::Codec);
    assert_eq!(producer.send_batch([Record::new(&1u8)]).unwrap_err().kind(), ErrorKind::Codec);
    let error = producer.send(Record::tombstone()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    drop(producer.send(Record::tombstone().key("k")).unwrap());
    assert_eq!(stored(&fixture, 0).len(), 1);
}

#[test]
fn typed_records_are_encoded_into_buffers_that_come_back() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let producer = fixture.typed(Utf8, U64, &ProducerConfig::new());
    for n in 0..3u64 {
        drop(producer.send(Record::new(&n).key("k")).unwrap());
    }
    let found: Vec<Vec<u8>> = stored(&fixture, 0).into_iter().map(|record| record.3.unwrap()).collect();
    assert_eq!(found, [0u64, 1, 2].map(|n| n.to_be_bytes().to_vec()));
}

#[test]
fn without_room_try_send_says_so_and_send_waits_for_max_block() {
    let fixture = Fixture::new(Durability::Sync, 1);
    let producer = fixture.producer();
    let limit = fixture.budget.limit();
    assert!(fixture.budget.try_take(limit));
    let error = producer.try_send(Record::new("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backpressure);
    let error = producer.send(Record::new("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(error.topic_partition().unwrap().to_string(), "t-0");
    assert_eq!(producer.send_batch([Record::new("a")]).unwrap_err().kind(), ErrorKind::TimedOut);

    let task = Task::new();
    let mut ready = producer.ready();
    assert!(task.poll(&mut ready).is_pending());
    fixture.budget.give_back(1);
    assert_eq!(task.woken(), 1);
    assert!(task.poll(&mut ready).is_pending(), "one byte is no room for the record that was refused");
    fixture.budget.give_back(limit - 1);
    assert!(matches!(task.poll(&mut ready), Poll::Ready(Ok(()))));
    producer.try_send(Record::new("a")).unwrap().wait().unwrap();
    assert_eq!(values(&fixture, 0), ["a"]);
}

#[test]
fn an_overdue_flush_is_waited_for_too() {
    let fixture = Fixture::new(Durability::Interval(Duration::from_millis(100)), 2);
    let producer = fixture.producer();
    let late = || Record::new("a").partition(1);
    drop(producer.try_send(late()).unwrap());
    fixture.sim.clock().advance(Duration::from_millis(200));
    assert_eq!(producer.try_send(late()).unwrap_err().kind(), ErrorKind::Backpressure);
    let task = Task::new();
    let mut ready = producer.ready();
    assert!(task.poll(&mut ready).is_pending());
    fixture.flush();
    assert!(task.woken() >= 1);
    assert!(matches!(task.poll(&mut ready), Poll::Ready(Ok(()))));
    drop(producer.try_send(late()).unwrap());

    fixture.sim.clock().advance(Duration::from_millis(200));
    drop(producer.send(late()).unwrap()); // flushes itself
    assert_eq!(values(&fixture, 1), ["a"; 3]);
}

#[test]
fn closing_stops_all_clones_and_who_waits_for_room() {
    let fixture = Fixture::new(Durability::Sync, 2);
    let producer = fixture.producer();
    let clone = producer.clone();
    let delivery = producer.send(Record::new("a").partition(1)).unwrap();
    let limit = fixture.budget.limit();
    let rest = limit - fixture.budget.used();
    assert!(fixture.budget.try_take(rest));
    let task = Task::new();
    let mut ready = clone.ready();
    assert!(task.poll(&mut ready).is_pending());
    producer.close().wait().unwrap();
    assert_eq!(fixture.log(1).flushed(), 1);
    assert!(task.woken() >= 1);
    let Poll::Ready(Err(error)) = task.poll(&mut ready) else { panic!("still waits") };
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(clone.send(Record::new("b")).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.send_batch([Record::new("b")]).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(delivery.wait().unwrap().offset(), Offset::ZERO);
}

#[test]
fn closing_ends_the_wait_for_an_overdue_flush() {
    let fixture = Fixture::new(Durability::Interval(Duration::from_millis(100)), 1);
    let producer = fixture.producer();
    drop(producer.try_send(Record::new("a")).unwrap());
    fixture.sim.clock().advance(Duration::from_millis(200));
    assert_eq!(producer.try_send(Record::new("a")).unwrap_err().kind(), ErrorKind::Backpressure);
    let task = Task::new();
    let mut ready = producer.ready();
    assert!(task.poll(&mut ready).is_pending());
    drop(producer.clone().close()); // whose flush nobody waits for
    assert!(task.woken() >= 1);
    let Poll::Ready(Err(error)) = task.poll(&mut ready) else { panic!("still waits") };
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn a_flush_covers_every_partition_and_what_is_staged() {
    let fixture = Fixture::new(Durability::Sync, 3);
    let producer = fixture.producer();
    for n in 0..9 {
        drop(producer.send(Record::new("v").partition(n % 3)).unwrap());
    }
    let task = Task::new();
    let asked = fixture.asked.flushes();
    let mut flush = producer.flush();
    assert!(fixture.asked.flushes() > asked, "the call itself asks");
    assert!(task.poll(&mut flush).is_pending());
    fixture.log(0).flush().unwrap();
    assert!(task.poll(&mut flush).is_pending());
    fixture.flush();
    assert!(matches!(task.poll(&mut flush), Poll::Ready(Ok(()))));
    assert!(matches!(task.poll(&mut flush), Poll::Ready(Ok(()))));

    drop(producer.send(Record::new("v").partition(2)).unwrap());
    let mut flush = producer.flush();
    flush.wait_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(fixture.log(2).flushed(), 4);
    producer.flush().wait().unwrap();
}

#[test]
fn a_batch_is_one_for_each_partition_in_the_order_given() {
    for durability in [Durability::Memory, Durability::Sync] {
        let fixture = Fixture::new(durability, 2);
        let producer = fixture.producer();
        let texts: Vec<String> = (0..10).map(|n| format!("v{n}")).collect();
        let records = || texts.iter().enumerate().map(|(n, text)| Record::new(text).partition(n as u32 % 2));
        drop(producer.send(Record::new("first").partition(1)).unwrap());
        let sent = producer.send_batch(records()).unwrap();
        let places: Vec<_> =
            sent.batches().iter().map(|b| (b.partition(), b.base_offset().get(), b.count())).collect();
        assert_eq!(places, [(0, 0, 5), (1, 1, 5)]);
        assert_eq!(sent.batches()[1].last_offset().get(), 5);
        let batches = sent.batches().to_vec();
        assert_eq!(sent.wait().unwrap(), batches);
        assert_eq!(values(&fixture, 0), ["v0", "v2", "v4", "v6", "v8"]);
        assert_eq!(values(&fixture, 1), ["first", "v1", "v3", "v5", "v7", "v9"]);
    }
}

#[test]
fn batches_are_awaited_together() {
    let fixture = Fixture::new(Durability::Sync, 2);
    let records = (0..4).map(|n| Record::new("v").partition(n % 2));
    let mut sent = fixture.producer().send_batch(records).unwrap();
    let task = Task::new();
    assert!(task.poll(&mut sent).is_pending());
    fixture.log(1).flush().unwrap();
    assert!(task.poll(&mut sent).is_pending());
    fixture.flush();
    let Poll::Ready(Ok(batches)) = task.poll(&mut sent) else { panic!("not settled") };
    assert_eq!(batches.len(), 2);
    assert_eq!(sent.wait_timeout(Duration::ZERO).unwrap(), batches);
}

#[test]
fn records_of_a_slow_stream_have_the_time_at_which_their_batch_began() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let value = vec![7; 300 << 10];
    let clock = fixture.sim.clock();
    let began = fixture.log(0).clock().now().millis();
    let records = (0..8).map(|_| {
        clock.advance(Duration::from_secs(60));
        Record::new(&value)
    });
    let batches = fixture.producer().send_batch(records).unwrap().wait().unwrap();
    assert_eq!(batches.iter().map(BatchMetadata::count).collect::<Vec<_>>(), [3, 3, 2]);
    let times: Vec<_> = stored(&fixture, 0).iter().map(|record| (record.1 - began) / 60_000).collect();
    assert_eq!(times, [1, 1, 1, 4, 4, 4, 7, 7]);
}

#[test]
fn a_long_stream_becomes_several_batches() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let value = vec![7; 100 << 10];
    let records = std::iter::repeat_n((), 30).map(|()| Record::new(&value));
    let batches = fixture.producer().send_batch(records).unwrap().wait().unwrap();
    assert_eq!(batches.iter().map(BatchMetadata::count).collect::<Vec<_>>(), [10, 10, 10]);
    assert_eq!(stored(&fixture, 0).len(), 30);

    let mut small = settings(Durability::Memory);
    small.segment_size = 4096;
    let fixture = Fixture::with(small, 1, true);
    let value = [7; 1000];
    let records = std::iter::repeat_n((), 10).map(|()| Record::new(&value));
    let batches = fixture.producer().send_batch(records).unwrap().wait().unwrap();
    assert_eq!(batches.iter().map(BatchMetadata::count).collect::<Vec<_>>(), [3, 3, 3, 1]);
    assert_eq!(stored(&fixture, 0).len(), 10);
}

#[test]
fn an_error_after_the_first_batch_lists_what_was_handed_over() {
    let mut small = settings(Durability::Sync);
    small.max_record_size = 2000;
    small.segment_size = 4096;
    let fixture = Fixture::with(small, 1, true);
    let producer = fixture.producer();
    let (good, bad) = ([1; 1500], [2; 2000]);
    let error = producer.send_batch([Record::new(&good[..]), Record::new(&bad[..])]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::RecordTooLarge { size: 2009.., limit: 2000 }), "{error:?}");
    assert_eq!(fixture.log(0).appended_end(), 0, "nothing was handed over");

    let records = [&good[..], &good, &good, &bad].map(Record::new);
    let sent = producer.send_batch(records).unwrap();
    assert_eq!(sent.batches().len(), 1);
    assert_eq!(sent.batches()[0].count(), 2);
    assert!(matches!(sent.wait().unwrap_err().kind(), ErrorKind::RecordTooLarge { .. }));
    assert_eq!(fixture.log(0).flushed(), 2);
    assert!(producer.send_batch::<&str, crate::codec::NoKey, _>([]).unwrap().wait().unwrap().is_empty());
}

#[test]
fn append_time_stamps_own_batches() {
    let mut stamped = settings(Durability::Memory);
    stamped.timestamp_type = TimestampType::LogAppend;
    let fixture = Fixture::with(stamped, 1, true);
    fixture.sim.clock().set(Timestamp::from_millis(50_000));
    let record = Record::new("v").timestamp(Timestamp::from_millis(7));
    drop(fixture.producer().send_batch([record.clone(), record.clone()]).unwrap());
    let alone = fixture.producer().send(record).unwrap().wait().unwrap();
    assert_eq!(alone.timestamp().millis(), 50_000);
    assert_eq!(stored(&fixture, 0).iter().map(|record| record.1).collect::<Vec<_>>(), [50_000; 3]);
}

#[test]
fn threads_share_a_producer() {
    let fixture = Fixture::new(Durability::Memory, 2);
    let producer = fixture.producer();
    std::thread::scope(|scope| {
        for n in 0..2 {
            let producer = producer.clone();
            scope.spawn(move || {
                for _ in 0..100 {
                    drop(producer.send(Record::new("v").partition(n)).unwrap());
                    drop(producer.send(Record::new("v").partition(1 - n)).unwrap());
                }
            });
        }
    });
    assert_eq!(stored(&fixture, 0).len(), 200);
    assert_eq!(stored(&fixture, 1).len(), 200);
}

#[test]
fn waits_end_when_the_log_is_closed_or_its_disk_fails() {
    let fixture = Fixture::new(Durability::Sync, 1);
    let producer = fixture.producer();
    let mut delivery = producer.send(Record::new("a")).unwrap();
    let task = Task::new();
    assert!(task.poll(&mut delivery).is_pending());
    fixture.log(0).abandon();
    assert_eq!(task.woken(), 1);
    let Poll::Ready(Err(error)) = task.poll(&mut delivery) else { panic!("still waits") };
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert_eq!(delivery.wait().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(producer.send(Record::new("b")).unwrap_err().kind(), ErrorKind::Closed);
}

#[cfg(feature = "stream")]
#[test]
fn a_sink_keeps_one_record_without_room_and_takes_no_other() {
    use futures_sink::Sink;
    use std::pin::Pin;

    let fixture = Fixture::new(Durability::Sync, 1);
    let mut sink = fixture.producer().sink();
    let task = Task::new();
    let limit = fixture.budget.limit();
    assert!(matches!(Pin::new(&mut sink).poll_ready(&mut task.context()), Poll::Ready(Ok(()))));
    assert!(fixture.budget.try_take(limit));
    Pin::new(&mut sink).start_send(Record::new("a")).unwrap();
    assert!(Pin::new(&mut sink).poll_ready(&mut task.context()).is_pending());
    assert!(Pin::new(&mut sink).poll_flush(&mut task.context()).is_pending());
    let error = Pin::new(&mut sink).start_send(Record::new("b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backpressure);

    fixture.budget.give_back(limit);
    assert!(task.woken() >= 1);
    assert!(matches!(Pin::new(&mut sink).poll_ready(&mut task.context()), Poll::Ready(Ok(()))));
    Pin::new(&mut sink).start_send(Record::new("c")).unwrap();
    let mut flushed = std::future::poll_fn(|context| Pin::new(&mut sink).poll_flush(context));
    assert!(task.poll(&mut flushed).is_pending());
    fixture.flush();
    assert!(matches!(task.poll(&mut flushed), Poll::Ready(Ok(()))));
    assert_eq!(values(&fixture, 0), ["a", "c"]);
}

#[cfg(feature = "stream")]
#[test]
fn a_sink_tells_of_a_refused_record_and_goes_on() {
    use futures_sink::Sink;
    use std::pin::Pin;

    let fixture = Fixture::new(Durability::Memory, 1);
    let mut sink = fixture.producer().sink();
    let error = Pin::new(&mut sink).start_send(Record::new("a").partition(7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PartitionNotFound);
    Pin::new(&mut sink).start_send(Record::new("b")).unwrap();
    let task = Task::new();
    assert!(matches!(Pin::new(&mut sink).poll_close(&mut task.context()), Poll::Ready(Ok(()))));
    assert_eq!(values(&fixture, 0), ["b"]);
}
