//! A failed sync is believed by nobody: the page cache shows bytes that the device does not have, and the
//! next sync answers that all is well.

use std::time::Duration;

use millpond::ErrorKind;
use millpond::config::{Background, BrokerConfig};
use millpond::prelude::*;
use millpond::testing::{Failure, Fault, Op, SimEnvironment};

fn open(sim: &SimEnvironment) -> Broker {
    let manual = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/data").environment(sim.environment()).config(manual).open().unwrap()
}

fn seen(topic: &Topic) -> Vec<String> {
    let mut reader = topic.partition(0).unwrap().read(..).unwrap();
    let mut seen = Vec::new();
    while let Some(records) = reader.next().unwrap() {
        let text =
            |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap()).trim_end_matches('x').to_owned();
        seen.extend(records.iter().map(|record| text(record.value().unwrap())));
    }
    seen
}

/// What an opening serves is on the device, whatever the cache had to say for it.
#[test]
fn what_is_served_after_a_failed_sync_survives_a_power_cut() {
    // The cut of a torn tail makes the last page dirty again, and with it durable: there must be others.
    let pages = "x".repeat(9_000);
    for durability in [Durability::Sync, Durability::Interval(Duration::from_millis(100))] {
        // With an interval other files are synced in between.
        for nth in 1..if durability == Durability::Sync { 4 } else { 2 } {
            let sim = SimEnvironment::new(nth);
            let broker = open(&sim);
            let topic = broker.create_topic("t", TopicConfig::new().durability(durability)).unwrap();
            let producer = topic.producer().unwrap();
            producer.send(Record::new("kept")).unwrap().wait().unwrap();
            sim.clock().advance(Duration::from_millis(200));
            broker.tick().unwrap();
            sim.disk().inject(Failure::nth(nth, Fault::Io).only(Op::Sync));
            let failed = (0..4).any(|n| {
                let sent =
                    producer.send(Record::new(&format!("{n}{pages}"))).and_then(|delivery| delivery.wait());
                sim.clock().advance(Duration::from_millis(200));
                let ticked = broker.tick();
                let failed = topic.describe().partitions()[0].is_poisoned();
                assert_eq!(failed, sent.is_err() || ticked.is_err());
                failed
            });
            assert!(failed, "{durability}: the {nth}th sync failed");
            let partition = topic.partition(0).unwrap();
            assert!(partition.flushed_offset() < partition.log_end_offset());
            sim.disk().stop_failing();
            let error = producer.send(Record::new("late")).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
            let syncs = sim.disk().calls_of(Op::Sync);
            assert_eq!(producer.flush().wait().unwrap_err().kind(), ErrorKind::Poisoned);
            assert_eq!(sim.disk().calls_of(Op::Sync), syncs, "it is not tried again");
            assert_eq!(seen(&topic).first().map(String::as_str), Some("kept"), "what is durable is lent");

            // The process ends; the cache still shows all of it.
            let after = SimEnvironment::on(sim.disk().after_kill(), 10 + nth);
            let again = open(&after);
            let served = seen(&again.topic("t").unwrap());
            assert!(served.len() > 1, "{durability}: the cache was there: {served:?}");
            // And now the power: what was served must be served again.
            let dark = SimEnvironment::on(after.disk().after_power_cut_losing_everything(), 20 + nth);
            assert_eq!(seen(&open(&dark).topic("t").unwrap()), served, "{durability}, sync {nth}");
        }
    }
}

/// What the operating system has said, at the end of the chain of sources.
fn said(error: &millpond::Error) -> Option<i32> {
    let mut last: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error)
}

#[test]
fn whoever_is_told_of_it_is_told_what_the_system_said() {
    const EIO: Option<i32> = if cfg!(unix) { Some(5) } else { None };
    let sim = SimEnvironment::new(1);
    let broker = open(&sim);
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let producer = topic.producer().unwrap();
    producer.send(Record::new("kept")).unwrap().wait().unwrap();
    sim.disk().inject(Failure::nth(1, Fault::Io).only(Op::Sync));
    drop(producer.send(Record::new("lost")).unwrap());
    let first = producer.flush().wait().unwrap_err();
    sim.disk().stop_failing();
    assert_eq!((first.kind(), said(&first)), (ErrorKind::Io, EIO), "{first}");

    let again = [producer.flush().wait().unwrap_err(), producer.send(Record::new("late")).unwrap_err()];
    for error in again {
        assert_eq!((error.kind(), said(&error)), (ErrorKind::Poisoned, EIO), "{error}");
        let source = std::error::Error::source(&error).unwrap().downcast_ref::<millpond::Error>();
        assert_eq!(source.map(millpond::Error::kind), Some(ErrorKind::Io));
        assert_eq!(error.to_string().matches("could not sync").count(), 0, "its source says so: {error}");
        assert_eq!(format!("{error:#}").matches("could not sync").count(), 1, "told once: {error:#}");
        assert_eq!(source.and_then(|source| source.path()), first.path());
    }
    for _ in 0..2 {
        let error = broker.close().wait().unwrap_err();
        assert_eq!((error.kind(), said(&error)), (ErrorKind::Poisoned, EIO), "{error}");
        assert_eq!(error.topic_partition().unwrap().to_string(), "t-0");
    }
}
