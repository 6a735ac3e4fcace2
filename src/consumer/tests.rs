//! Readers over partitions on a simulated disk.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::*;
use crate::codec::{Raw, Record, U64, Utf8};
use crate::config::{CrcCheck, Durability, ReaderConfig, Start};
use crate::error::{ErrorKind, Result};
use crate::producer::SchemaHeaders;
use crate::producer::fixture::{Fixture, Task, settings, topic};
use crate::types::{ByteSize, Offset, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);

fn reader(fixture: &Fixture, partition: u32) -> Reader {
    range(fixture, partition, 0, None)
}

fn range(fixture: &Fixture, partition: u32, start: u64, until: Option<u64>) -> Reader {
    let log = Arc::clone(fixture.log(partition));
    Reader::new(log, start, until.and_then(Offset::new), &ReaderConfig::new(), Codecs::default())
}

fn topic_reader(fixture: &Fixture, start: Start, config: &ReaderConfig) -> TopicReader {
    let partitions = Arc::clone(&fixture.partitions);
    TopicReader::new(topic(), partitions, start, config, Codecs::default()).unwrap()
}

/// Sends `count` records `p<partition>-<offset>`.
fn fill(fixture: &Fixture, partition: u32, count: u64) {
    let producer = fixture.producer();
    for _ in 0..count {
        let value = format!("p{partition}-{}", fixture.log(partition).appended_end());
        drop(producer.send(Record::new(&value).partition(partition)).unwrap());
    }
}

fn texts(records: &Records) -> Vec<String> {
    let text = |record: RecordView<'_>| String::from_utf8(record.value().unwrap().unwrap().to_vec()).unwrap();
    records.iter().map(text).collect()
}

/// Everything up to the first `None`.
fn drain(mut next: impl FnMut() -> Result<Option<Records>>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(records) = next().unwrap() {
        all.extend(texts(&records));
    }
    all
}

fn expected(partition: u32, offsets: std::ops::Range<u64>) -> Vec<String> {
    offsets.map(|offset| format!("p{partition}-{offset}")).collect()
}

#[test]
fn readers_and_records_may_go_to_other_threads() {
    fn check<T: Send + std::fmt::Debug + Unpin>() {}
    fn check_shared<T: Send + Sync + std::fmt::Debug + Unpin>() {}
    check::<Reader<Utf8, U64>>();
    check::<TopicReader>();
    check::<PollRecords<'_>>();
    check_shared::<Records<Utf8, U64>>();
    check_shared::<RecordView<'_>>();
    check_shared::<RecordsIter<'_>>();
    check_shared::<OwnedRecord>();
}

#[test]
fn a_reader_goes_to_the_end_and_on_from_there() {
    for durability in [Durability::Memory, Durability::Sync] {
        let fixture = Fixture::new(durability, 1);
        let mut reader = reader(&fixture, 0);
        assert!(reader.next().unwrap().is_none());
        fill(&fixture, 0, 20);
        fixture.flush();
        assert_eq!(drain(|| reader.next()), expected(0, 0..20));
        assert_eq!(reader.position().get(), 20);
        fill(&fixture, 0, 5);
        fixture.flush();
        assert_eq!(drain(|| reader.next()), expected(0, 20..25));
    }
}

#[test]
fn a_chunk_says_where_it_ends_and_is_bounded() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let value = vec![b'x'; 50 << 10];
    for _ in 0..10 {
        drop(fixture.producer().send_batch([Record::new(&value), Record::new(&value)]).unwrap());
    }
    let config = ReaderConfig::new().max_bytes(ByteSize::kib(150));
    let mut reader = Reader::<Raw, Raw>::new(fixture.log(0).clone(), 0, None, &config, Codecs::default());
    let mut seen = 0;
    while let Some(records) = reader.next().unwrap() {
        assert!(records.bytes() <= 250 << 10, "{}", records.bytes());
        seen += records.iter().count() as u64;
        assert_eq!(records.next_offset(0).unwrap().get(), seen);
        assert_eq!(records.next_offset(0).unwrap(), reader.position());
        assert_eq!(records.next_offset(1), None);
        assert!(!records.is_empty());
    }
    assert_eq!(seen, 20);
}

#[test]
fn a_range_ends_inside_of_a_batch() {
    let fixture = Fixture::new(Durability::Sync, 1);
    fill(&fixture, 0, 10);
    fixture.flush();
    let mut reader = range(&fixture, 0, 3, Some(7));
    assert_eq!(drain(|| reader.next()), expected(0, 3..7));
    assert_eq!(reader.position().get(), 7);
    let nothing = reader.poll().wait().unwrap();
    assert!(nothing.is_empty(), "there will be nothing to wait for");

    let mut future = range(&fixture, 0, 8, Some(12));
    assert_eq!(drain(|| future.next()), expected(0, 8..10));
    fill(&fixture, 0, 5);
    fixture.flush();
    assert_eq!(drain(|| future.next()), expected(0, 10..12));
}

#[test]
fn every_start_is_found() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let producer = fixture.producer();
    for n in 0..100i64 {
        let record = Record::new("v").timestamp(Timestamp::from_millis(1_000 + n * 10));
        drop(producer.send(record).unwrap());
    }
    let mut reader = reader(&fixture, 0);
    let at = |millis| Start::Timestamp(Timestamp::from_millis(millis));
    let cases = [
        (Start::Latest, 100),
        (Start::Earliest, 0),
        (Start::Last(1), 99),
        (Start::Last(1_000), 0),
        (Start::Last(0), 100),
        (at(0), 0),
        (at(1_500), 50),
        (at(1_501), 51),
        (at(9_999), 100),
    ];
    for (start, offset) in cases {
        reader.seek(start).unwrap();
        assert_eq!(reader.position().get(), offset, "{start}");
    }
    reader.seek(Offset::new(42).unwrap()).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().iter().next().unwrap().offset().get(), 42);

    let before = reader.position();
    let error = reader.seek(Offset::new(101).unwrap()).unwrap_err();
    let ErrorKind::OffsetOutOfRange { requested, earliest, latest } = error.kind() else {
        panic!("{error:?}")
    };
    assert_eq!((requested.get(), earliest.get(), latest.get()), (101, 0, 100));
    assert_eq!(error.topic_partition().unwrap().to_string(), "t-0");
    assert_eq!(reader.position(), before);

    fixture.log(0).delete_records(60).unwrap();
    assert!(reader.seek(Offset::new(59).unwrap()).is_err());
    reader.seek(Start::Earliest).unwrap();
    assert_eq!(reader.position().get(), 60);
    reader.seek(Start::Last(1_000)).unwrap();
    assert_eq!(reader.position().get(), 60);
}

#[test]
fn a_poll_is_woken_by_the_publication() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let mut reader = reader(&fixture, 0);
    let task = Task::new();
    let mut poll = reader.poll();
    assert!(task.poll(&mut poll).is_pending());
    fill(&fixture, 0, 1);
    assert_eq!(task.woken(), 1);
    let Poll::Ready(Ok(records)) = task.poll(&mut poll) else { panic!("still waits") };
    assert_eq!(texts(&records), ["p0-0"]);
    drop(poll);
    assert!(!fixture.log(0).readers().has_waiters());
}

#[test]
fn a_poll_asks_for_what_is_staged() {
    let fixture = Fixture::new(Durability::Sync, 1);
    fill(&fixture, 0, 2);
    let mut reader = reader(&fixture, 0);
    let asked = fixture.asked.flushes();
    let task = Task::new();
    let mut poll = reader.poll();
    assert!(task.poll(&mut poll).is_pending());
    assert!(fixture.asked.flushes() > asked);
    fixture.flush();
    assert!(task.woken() >= 1);
    let Poll::Ready(Ok(records)) = task.poll(&mut poll) else { panic!("still waits") };
    assert_eq!(texts(&records), expected(0, 0..2));
}

#[test]
fn dropping_a_poll_moves_nothing_and_leaves_no_waker() {
    let fixture = Fixture::new(Durability::Memory, 2);
    let mut one = reader(&fixture, 0);
    let mut all = topic_reader(&fixture, Start::Earliest, &ReaderConfig::new());
    let task = Task::new();
    assert!(task.poll(&mut one.poll()).is_pending());
    assert!(task.poll(&mut all.poll()).is_pending());
    for partition in 0..2 {
        assert!(!fixture.log(partition).readers().has_waiters());
    }
    assert!(!fixture.partitions.grown().has_waiters());
    fill(&fixture, 0, 1);
    assert_eq!(task.woken(), 0);
    assert_eq!((one.position(), all.position(0).unwrap()), (Offset::ZERO, Offset::ZERO));
    assert_eq!(drain(|| one.next()), ["p0-0"]);
    assert_eq!(drain(|| all.next()), ["p0-0"]);
}

#[test]
fn a_poll_may_be_waited_out() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let mut reader = reader(&fixture, 0);
    let mut poll = reader.poll();
    assert!(poll.wait_timeout(Duration::from_millis(1)).unwrap().is_empty());
    assert!(poll.wait_timeout(Duration::ZERO).unwrap().is_empty());
    fill(&fixture, 0, 1);
    assert_eq!(texts(&poll.wait_timeout(HOUR).unwrap()), ["p0-0"]);
}

#[test]
fn a_thread_that_waits_is_woken() {
    let fixture = Fixture::new(Durability::Memory, 2);
    std::thread::scope(|scope| {
        let one = scope.spawn(|| texts(&reader(&fixture, 1).poll().wait().unwrap()));
        let all = scope.spawn(|| {
            let mut reader = topic_reader(&fixture, Start::Earliest, &ReaderConfig::new());
            texts(&reader.poll().wait().unwrap())
        });
        while !fixture.log(1).readers().has_waiters() && !one.is_finished() {
            std::thread::yield_now();
        }
        fill(&fixture, 1, 1);
        assert_eq!(one.join().unwrap(), ["p1-0"]);
        assert_eq!(all.join().unwrap(), ["p1-0"]);
    });
}

#[test]
fn a_poll_ends_when_nothing_more_can_come() {
    let fixture = Fixture::new(Durability::Memory, 2);
    fill(&fixture, 0, 1);
    let task = Task::new();
    let mut one = reader(&fixture, 0);
    let mut all = topic_reader(&fixture, Start::Latest, &ReaderConfig::new());
    assert_eq!(texts(&one.poll().wait().unwrap()), ["p0-0"]);
    let (mut one, mut all) = (one.poll(), all.poll());
    assert!(task.poll(&mut one).is_pending());
    assert!(task.poll(&mut all).is_pending());
    fixture.log(0).abandon();
    assert_eq!(task.woken(), 2);
    let Poll::Ready(Err(error)) = task.poll(&mut one) else { panic!("still waits") };
    assert_eq!(error.kind(), ErrorKind::Closed);
    let Poll::Ready(Err(error)) = task.poll(&mut all) else { panic!("still waits") };
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[test]
fn partitions_take_turns() {
    let fixture = Fixture::new(Durability::Memory, 3);
    let value = vec![b'x'; 1000];
    for partition in [0, 2] {
        for _ in 0..20 {
            let batch = [Record::new(&value).partition(partition), Record::new(&value).partition(partition)];
            drop(fixture.producer().send_batch(batch).unwrap());
        }
    }
    let config = ReaderConfig::new().max_records(4);
    let mut reader = topic_reader(&fixture, Start::Earliest, &config);
    let mut seen = [0u64; 3];
    while let Some(records) = reader.next().unwrap() {
        for record in &records {
            assert_eq!(record.offset().get(), seen[record.partition() as usize], "in order");
            seen[record.partition() as usize] += 1;
        }
        assert!(seen[0].abs_diff(seen[2]) <= 8, "{seen:?}");
    }
    assert_eq!(seen, [40, 0, 40]);
    assert_eq!(reader.position(2).unwrap().get(), 40);
    assert_eq!(reader.position(3).unwrap_err().kind(), ErrorKind::PartitionNotFound);
}

#[test]
fn one_chunk_holds_several_partitions() {
    let fixture = Fixture::new(Durability::Memory, 4);
    for partition in 0..4 {
        fill(&fixture, partition, u64::from(partition));
    }
    let mut reader = topic_reader(&fixture, Start::Earliest, &ReaderConfig::new());
    let records = reader.next().unwrap().unwrap();
    assert_eq!(texts(&records), ["p1-0", "p2-0", "p2-1", "p3-0", "p3-1", "p3-2"]);
    let ends: Vec<_> = (0..4).map(|partition| records.next_offset(partition).map(Offset::get)).collect();
    assert_eq!(ends, [None, Some(1), Some(2), Some(3)]);
    assert_eq!(format!("{records:?}"), "{t-1: 0..1, t-2: 0..2, t-3: 0..3}");
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn new_partitions_join_at_their_start_and_wake_who_waits() {
    let fixture = Fixture::new(Durability::Memory, 1);
    fill(&fixture, 0, 3);
    let mut reader = topic_reader(&fixture, Start::Latest, &ReaderConfig::new());
    let task = Task::new();
    let mut poll = reader.poll();
    assert!(task.poll(&mut poll).is_pending());
    fixture.add_partitions(1);
    assert_eq!(task.woken(), 1);
    assert!(task.poll(&mut poll).is_pending());
    fill(&fixture, 1, 2);
    assert!(task.woken() >= 2);
    let Poll::Ready(Ok(records)) = task.poll(&mut poll) else { panic!("still waits") };
    assert_eq!(texts(&records), expected(1, 0..2));
}

#[test]
fn an_error_waits_for_what_was_gathered_before_it() {
    let fixture = Fixture::new(Durability::Memory, 3);
    (0..3).for_each(|partition| fill(&fixture, partition, 3));
    let mut reader = topic_reader(&fixture, Start::Earliest, &ReaderConfig::new());
    fixture.log(1).delete_records(2).unwrap();
    assert_eq!(texts(&reader.next().unwrap().unwrap()), expected(0, 0..3));
    for _ in 0..2 {
        let error = reader.next().unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OffsetOutOfRange { .. }), "{error:?}");
        assert_eq!(error.topic_partition().unwrap().partition(), 1);
    }
    reader.seek(1, Start::Earliest).unwrap();
    assert_eq!(texts(&reader.next().unwrap().unwrap()), ["p1-2", "p2-0", "p2-1", "p2-2"]);
    assert_eq!(reader.seek(9, Start::Earliest).unwrap_err().kind(), ErrorKind::PartitionNotFound);
}

#[test]
fn typed_records_are_decoded_when_asked_and_errors_name_their_place() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let producer = fixture.producer();
    drop(producer.send(Record::new(&7u64.to_be_bytes()).key("seven")).unwrap());
    drop(producer.send(Record::new("not a number").key(b"\xff")).unwrap());
    drop(producer.send(Record::tombstone().key("gone")).unwrap());
    let codecs = Codecs { key: Utf8, value: U64 };
    let mut reader = Reader::new(fixture.log(0).clone(), 0, None, &ReaderConfig::new(), codecs);
    let records = reader.next().unwrap().unwrap();
    let views: Vec<RecordView<'_, Utf8, U64>> = records.iter().collect();
    assert_eq!((views[0].key().unwrap(), views[0].value().unwrap()), ("seven", 7));
    let error = views[1].value().unwrap_err();
    assert_eq!((error.kind(), error.offset().map(Offset::get)), (ErrorKind::Codec, Some(1)));
    assert_eq!(error.topic_partition().unwrap().to_string(), "t-0");
    assert_eq!(views[1].key().unwrap_err().kind(), ErrorKind::Codec);
    assert_eq!(views[1].raw_value(), Some(&b"not a number"[..]));
    assert_eq!(views[2].value().unwrap_err().kind(), ErrorKind::NullValue);
    assert!(views[2].is_tombstone() && !views[0].is_tombstone());
    assert_eq!(views[2].key().unwrap(), "gone");
}

#[test]
fn a_record_of_another_codec_is_an_error_not_garbage() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let producer = fixture.with_schema(U64, SchemaHeaders::new(None, Some(("u64", 0))));
    drop(producer.send(Record::new(&0x6161_6161_6161_6161u64).header("own", "x")).unwrap());

    let codecs = Codecs { key: Raw, value: Utf8 };
    let mut wrong = Reader::new(fixture.log(0).clone(), 0, None, &ReaderConfig::new(), codecs);
    let records = wrong.next().unwrap().unwrap();
    let error = records.iter().next().unwrap().value().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Codec);
    assert_eq!(error.to_string(), "t-0: written by codec u64/0, but read by codec utf8 (offset 0)");

    let codecs = Codecs { key: Raw, value: U64 };
    let mut right = Reader::new(fixture.log(0).clone(), 0, None, &ReaderConfig::new(), codecs);
    let records = right.next().unwrap().unwrap();
    let view = records.iter().next().unwrap();
    assert_eq!(view.value().unwrap(), 0x6161_6161_6161_6161);
    assert_eq!(view.headers().len(), 2);
    assert_eq!(texts(&reader(&fixture, 0).next().unwrap().unwrap()), ["aaaaaaaa"]);
}

#[test]
fn a_damaged_record_is_one_view_and_the_last() {
    let fixture = Fixture::with(settings(Durability::Sync), 1, false);
    fill(&fixture, 0, 5);
    fixture.flush();
    let path = std::path::Path::new("/data/t-0/00000000000000000000.log");
    let bytes = fixture.sim.disk().read_file(path).unwrap();
    let value = bytes.windows(4).position(|window| window == b"p0-2").unwrap();
    // length, attributes, timestamp delta, offset delta, key length, value length, value
    fixture.sim.disk().flip_bit(path, value as u64 - 5, 0).unwrap();

    let config = ReaderConfig::new().crc_check(CrcCheck::Never);
    let mut reader = Reader::<Raw, Raw>::new(fixture.log(0).clone(), 0, None, &config, Codecs::default());
    let records = reader.next().unwrap().unwrap();
    for _ in 0..2 {
        let views: Vec<RecordView<'_>> = records.iter().collect();
        assert_eq!(views.len(), 3);
        assert_eq!(views[1].value().unwrap(), Some(&b"p0-1"[..]));
        let damaged = views[2];
        assert_eq!((damaged.offset().get(), damaged.is_tombstone()), (2, false));
        for error in [damaged.value().unwrap_err(), damaged.key().unwrap_err(), damaged.check().unwrap_err()]
        {
            assert_eq!((error.kind(), error.offset().map(Offset::get)), (ErrorKind::Corrupted, Some(2)));
            assert_eq!(error.topic_partition().unwrap().to_string(), "t-0");
        }
        assert_eq!(damaged.raw_value(), None);
    }
    assert_eq!(records.to_owned_records().unwrap_err().kind(), ErrorKind::Corrupted);

    let config = ReaderConfig::new().crc_check(CrcCheck::Always);
    let mut checked = Reader::<Raw, Raw>::new(fixture.log(0).clone(), 0, None, &config, Codecs::default());
    assert_eq!(checked.next().unwrap_err().kind(), ErrorKind::Corrupted);
    assert_eq!(checked.position(), Offset::ZERO);
}

#[test]
fn copies_outlive_everything() {
    let fixture = Fixture::new(Durability::Memory, 1);
    let record =
        Record::new("v").key("k").header("h", "x").null_header("n").timestamp(Timestamp::from_millis(9));
    drop(fixture.producer().send(record).unwrap());
    let copies = reader(&fixture, 0).next().unwrap().unwrap().to_owned_records().unwrap();
    drop(fixture);
    let copy = &copies[0];
    assert_eq!((copy.key(), copy.value()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!((copy.key_bytes().unwrap(), copy.value_bytes().unwrap()), ("k".into(), "v".into()));
    assert_eq!((copy.offset(), copy.timestamp().millis(), copy.leader_epoch().get()), (Offset::ZERO, 9, 0));
    assert_eq!(copy.topic_partition().to_string(), "t-0");
    let headers: Vec<_> = copy.headers().iter().collect();
    assert_eq!(headers, [("h", Some(&b"x"[..])), ("n", None)]);
}

#[test]
fn records_pin_what_they_lend() {
    let fixture = Fixture::new(Durability::Memory, 1);
    fill(&fixture, 0, 3);
    let records = reader(&fixture, 0).next().unwrap().unwrap();
    fixture.log(0).abandon();
    drop(fixture);
    assert_eq!(texts(&records), expected(0, 0..3));
}

#[cfg(feature = "stream")]
#[test]
fn readers_are_streams_of_chunks() {
    use futures_core::Stream;
    use std::pin::Pin;

    let fixture = Fixture::new(Durability::Memory, 1);
    fill(&fixture, 0, 2);
    let task = Task::new();
    let mut bounded = range(&fixture, 0, 0, Some(3));
    let Poll::Ready(Some(Ok(records))) = Pin::new(&mut bounded).poll_next(&mut task.context()) else {
        panic!("there are records")
    };
    assert_eq!(texts(&records), expected(0, 0..2));
    assert!(Pin::new(&mut bounded).poll_next(&mut task.context()).is_pending());
    fill(&fixture, 0, 2);
    assert_eq!(task.woken(), 1);
    let Poll::Ready(Some(Ok(records))) = Pin::new(&mut bounded).poll_next(&mut task.context()) else {
        panic!("there are records")
    };
    assert_eq!(texts(&records), expected(0, 2..3));
    assert!(matches!(Pin::new(&mut bounded).poll_next(&mut task.context()), Poll::Ready(None)));

    let mut all = topic_reader(&fixture, Start::Latest, &ReaderConfig::new());
    assert!(Pin::new(&mut all).poll_next(&mut task.context()).is_pending());
    assert!(fixture.log(0).readers().has_waiters());
    drop(all);
    assert!(!fixture.log(0).readers().has_waiters());
}
