//! Producers with names: what they send is in the log once, across restarts, kills and power cuts; and appends that
//! expect an offset.

use millpond::ErrorKind;
use millpond::config::{Background, BrokerConfig};
use millpond::prelude::*;
use millpond::producer::IdempotentProducer;
use millpond::testing::{SeededRandom, SimEnvironment};

fn open(sim: &SimEnvironment) -> Broker {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
}

fn topic(broker: &Broker, durability: Durability) -> Topic {
    let config = TopicConfig::new().durability(durability).segment_size(ByteSize::mib(1));
    broker.create_topic("t", config).unwrap()
}

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

fn values(topic: &Topic) -> Vec<String> {
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut seen = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap()).into_owned();
        seen.extend(records.iter().map(|record| text(record.value().unwrap())));
    }
    seen
}

fn number(n: u64) -> String {
    n.to_string()
}

/// Sends the records of these numbers, each with its own.
fn send(producer: &IdempotentProducer, numbers: std::ops::Range<u64>) -> millpond::Result<()> {
    let texts: Vec<String> = numbers.clone().map(number).collect();
    producer.send_at(0, numbers.start, texts.iter().map(Record::new))?.wait().map(drop)
}

#[test]
fn what_is_sent_again_is_refused() {
    for durability in [Durability::Memory, Durability::Sync] {
        let sim = SimEnvironment::new(1);
        let broker = open(&sim);
        let topic = topic(&broker, durability);
        let producer = topic.idempotent_producer("importer").unwrap();
        assert_eq!(producer.last_acknowledged(0).unwrap(), None);
        for n in 0..10 {
            send(&producer, n * 10..n * 10 + 10).unwrap();
        }
        let refused = |numbers: std::ops::Range<u64>| send(&producer, numbers).unwrap_err().kind();
        let duplicate = |offset| ErrorKind::Duplicate { offset, next_sequence: 100 };
        assert_eq!(refused(90..100), duplicate(Some(offset(90))));
        assert_eq!(refused(73..78), duplicate(Some(offset(73))), "by range, not by batch");
        assert_eq!(refused(10..20), duplicate(None), "beyond what is remembered");
        assert_eq!(refused(95..105), duplicate(None), "a part of it");
        assert_eq!(refused(101..102), ErrorKind::OutOfOrderSequence { expected: 100 });
        assert_eq!(producer.last_acknowledged(0).unwrap(), Some(99));
        producer.send([Record::new("100")]).unwrap().wait().unwrap();
        assert_eq!(values(&topic), (0..=100).map(number).collect::<Vec<_>>());
    }
}

/// Who is told that a record is in the log does not send it again: it must be there after a power cut, too.
#[test]
fn what_is_refused_as_a_duplicate_is_durable() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = topic(&broker, Durability::Sync);
    let producer = topic.idempotent_producer("importer").unwrap();
    send(&producer, 0..1).unwrap();
    drop(producer.send_at(0, 1, [Record::new("nobody waits")]).unwrap());
    let again = producer.send_at(0, 1, [Record::new("nobody waits")]).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Duplicate { offset: Some(offset(1)), next_sequence: 2 });
    let after = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 2);
    let topic: Topic = open(&after).topic("t").unwrap();
    assert_eq!(topic.idempotent_producer("importer").unwrap().last_acknowledged(0).unwrap(), Some(1));
}

#[test]
fn a_name_survives_restarts_and_ids_are_never_given_twice() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let logged = topic(&broker, Durability::Sync);
    let first = logged.idempotent_producer("importer").unwrap();
    send(&first, 0..5).unwrap();
    let (id, other) = (first.producer_id(), logged.idempotent_producer("other").unwrap().producer_id());
    assert_ne!(id, other);
    drop((first, logged));
    broker.close().wait().unwrap();
    let broker = open(&sim);
    let logged = broker.topic("t").unwrap();
    let again = logged.idempotent_producer("importer").unwrap();
    assert_eq!((again.producer_id(), again.last_acknowledged(0).unwrap()), (id, Some(4)));
    let known = ErrorKind::Duplicate { offset: Some(offset(0)), next_sequence: 5 };
    assert_eq!(send(&again, 0..5).unwrap_err().kind(), known);
    send(&again, 5..6).unwrap();
    // A power cut takes no id back.
    drop(again);
    let after = SimEnvironment::on(sim.disk().after_power_cut_losing_everything(), 2);
    let broker = open(&after);
    let newest = broker.topic("t").unwrap().idempotent_producer("newest").unwrap().producer_id();
    assert!(newest > id && newest > other);
}

#[test]
fn a_newer_producer_of_a_name_fences_the_older() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = topic(&broker, Durability::Memory);
    let older = topic.idempotent_producer("importer").unwrap();
    send(&older, 0..1).unwrap();
    let newer = topic.idempotent_producer("importer").unwrap();
    assert_eq!(send(&older, 1..2).unwrap_err().kind(), ErrorKind::Fenced);
    send(&newer, 1..2).unwrap();
    assert_eq!(values(&topic), ["0", "1"]);
}

#[test]
fn numbers_go_on_beyond_an_epoch() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = topic(&broker, Durability::Memory);
    let producer = topic.idempotent_producer("importer").unwrap();
    let end = 1u64 << 31;
    // The partition knows nothing of the producer: it may begin anywhere.
    send(&producer, end - 3..end + 4).unwrap();
    assert_eq!(producer.last_acknowledged(0).unwrap(), Some(end + 3));
    assert_eq!(topic.partition(0).unwrap().producers()[0].epoch().get(), 1);
    let refused = send(&producer, end - 3..end).unwrap_err().kind();
    assert_eq!(refused, ErrorKind::Duplicate { offset: None, next_sequence: end + 4 });
    send(&producer, end + 4..end + 5).unwrap();
    assert_eq!(values(&topic).len(), 8);
    let greatest = send(&producer, u64::MAX - 1..u64::MAX).unwrap_err();
    assert_eq!(greatest.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn idle_producers_are_forgotten() {
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = topic(&broker, Durability::Sync);
    let producer = topic.idempotent_producer("importer").unwrap();
    send(&producer, 0..3).unwrap();
    sim.clock().advance(std::time::Duration::from_secs(8 * 86_400));
    topic.producer().unwrap().send(Record::new("x")).unwrap().wait().unwrap();
    let tick = || {
        for _ in 0..3 {
            broker.tick().unwrap();
            sim.clock().advance(std::time::Duration::from_secs(2));
        }
        topic.partition(0).unwrap().producers().len()
    };
    assert_eq!(tick(), 1, "somebody has its name");
    drop(producer);
    sim.clock().advance(std::time::Duration::from_secs(8 * 86_400));
    assert_eq!(tick(), 0);
    // Unknown is recoverable: it goes on wherever it is.
    send(&topic.idempotent_producer("importer").unwrap(), 3..4).unwrap();
}

/// Sends numbers, and after each crash what was not acknowledged again: nothing is lost, nothing is twice.
#[test]
fn retries_across_crashes_write_nothing_twice() {
    for seed in 0..150 {
        let durability = [Durability::Memory, Durability::Sync][seed as usize % 2];
        let mut sim = SimEnvironment::new(seed);
        drop(topic(&open(&sim), durability));
        let mut lost_power = false;
        for round in 0..5u64 {
            let broker = open(&sim);
            let topic = broker.topic("t").unwrap();
            let producer = topic.idempotent_producer("importer").unwrap();
            let known = producer.last_acknowledged(0).unwrap().map_or(0, |last| last + 1);
            let have = values(&topic);
            assert_eq!(have, (0..known).map(number).collect::<Vec<_>>(), "seed {seed}, round {round}");
            // Retried from too early: what is there is refused, each record of it.
            let mut next = known.saturating_sub(3);
            while next < (round + 1) * 20 {
                let count = 1 + (next * 7 + seed) % 4;
                match send(&producer, next..next + count) {
                    Ok(()) => next += count,
                    Err(error) => match error.kind() {
                        ErrorKind::Duplicate { next_sequence, .. } => next = next_sequence,
                        _ => panic!("seed {seed}: {error}"),
                    },
                }
                if next % 11 == 3 {
                    sim.clock().advance(std::time::Duration::from_millis(1_100));
                    broker.tick().unwrap();
                }
            }
            assert_eq!(values(&topic), (0..next).map(number).collect::<Vec<_>>());
            let disk = match (seed + round) % 4 {
                0 => sim.disk().after_kill(),
                1 => sim.disk().after_power_cut_losing_everything(),
                2 => sim.disk().after_power_cut(&SeededRandom::new(seed)),
                _ => {
                    drop((producer, topic));
                    broker.close().wait().unwrap();
                    sim.disk().snapshot()
                }
            };
            lost_power |= (seed + round) % 4 == 1;
            sim = SimEnvironment::on(disk, seed * 10 + round);
        }
        assert!(lost_power || seed > 0);
    }
}

#[test]
fn an_append_that_expects_an_offset_is_refused_with_the_actual_one() {
    for durability in [Durability::Memory, Durability::Sync] {
        let sim = SimEnvironment::new(1);
        let broker = open(&sim);
        let topic = topic(&broker, durability);
        let partition = topic.partition(0).unwrap();
        let first = partition.append_expecting(Offset::ZERO, ["a", "b"].map(Record::new)).unwrap();
        assert_eq!(first.batches()[0].last_offset(), offset(1));
        // What is staged counts, too.
        let refused = partition.append_expecting(offset(1), [Record::new("late")]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnexpectedOffset { actual: offset(2) });
        topic.producer().unwrap().send(Record::new("c")).unwrap().wait().unwrap();
        let refused = partition.append_expecting(offset(9), [Record::new("early")]).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnexpectedOffset { actual: offset(3) });
        partition.append_expecting(offset(3), [Record::new("d")]).unwrap().wait().unwrap();
        assert_eq!(values(&topic), ["a", "b", "c", "d"]);
    }
}

#[test]
fn what_is_expected_is_looked_at_also_without_records() {
    const NONE: [Record<'static, &'static str>; 0] = [];
    for durability in [Durability::Memory, Durability::Sync] {
        let sim = SimEnvironment::new(1);
        let broker = open(&sim);
        let topic = topic(&broker, durability);
        let (partition, producer) = (topic.partition(0).unwrap(), topic.producer().unwrap());
        assert_eq!(partition.append_expecting(Offset::ZERO, NONE).unwrap().wait().unwrap(), []);
        drop(producer.send(Record::new("staged, or in the map")).unwrap());
        let refused = partition.append_expecting(Offset::ZERO, NONE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::UnexpectedOffset { actual: offset(1) });
        assert_eq!(partition.append_expecting(offset(1), NONE).unwrap().wait().unwrap(), []);

        assert_eq!(producer.send_batch(NONE).unwrap().wait().unwrap(), []);
        let named = topic.idempotent_producer("one").unwrap();
        assert_eq!(named.send(NONE).unwrap().wait().unwrap(), []);
        assert_eq!(named.send_at(0, 0, NONE).unwrap().wait().unwrap(), []);
        named.send_at(0, 0, ["a", "b"].map(Record::new)).unwrap().wait().unwrap();
        assert_eq!(named.send_at(0, 2, NONE).unwrap().wait().unwrap(), []);
        let missing = named.send_at(0, 3, NONE).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::OutOfOrderSequence { expected: 2 });
        assert_eq!(partition.log_end_offset(), offset(3), "nothing of all this was appended");

        producer.close().wait().unwrap();
        assert_eq!(producer.send_batch(NONE).unwrap_err().kind(), ErrorKind::Closed);
        broker.close().wait().unwrap();
        assert_eq!(partition.append_expecting(offset(3), NONE).unwrap_err().kind(), ErrorKind::Closed);
    }
}

/// Of any number of writers that expect the same offset one succeeds.
#[test]
fn of_writers_in_conflict_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = topic(&broker, Durability::Memory);
    let writers: Vec<_> = (0..4)
        .map(|writer: u64| {
            let partition = topic.partition(0).unwrap();
            std::thread::spawn(move || {
                let mut expected = Offset::ZERO;
                for n in 0..200 {
                    let text = format!("{writer}-{n}");
                    while let Err(error) = partition.append_expecting(expected, [Record::new(&text)]) {
                        match error.kind() {
                            ErrorKind::UnexpectedOffset { actual } => expected = actual,
                            _ => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let mut seen = values(&topic);
    assert_eq!(seen.len(), 800);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 800);
}
