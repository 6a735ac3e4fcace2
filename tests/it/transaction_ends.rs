//! Readers of committed records wait for no transaction longer than it may take: held operations, failed disks,
//! damage of the topic that says how transactions have ended.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use millpond::config::{Background, BrokerConfig, ReaderConfig, TransactionConfig};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

fn open(sim: &SimEnvironment) -> Broker {
    try_open(sim).unwrap()
}

fn try_open(sim: &SimEnvironment) -> millpond::Result<Broker> {
    let config = BrokerConfig::new().background(Background::Manual).max_block(Duration::from_millis(50));
    Broker::builder("/data").environment(sim.environment()).config(config).open()
}

fn by_committed(topic: &Topic, partition: u32) -> millpond::Result<Vec<String>> {
    let config = ReaderConfig::new().isolation(Isolation::ReadCommitted);
    let mut reader = topic.partition(partition)?.reader_builder().config(config).build()?;
    let mut seen = Vec::new();
    while let Some(records) = reader.next()? {
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap()).into_owned();
        seen.extend(records.iter().map(|record| text(record.value().unwrap())));
    }
    Ok(seen)
}

#[test]
fn a_commit_that_is_held_and_never_looked_at_again_ends_in_its_time() {
    for polls in 0..2 {
        let sim = SimEnvironment::new(1);
        let broker = open(&sim);
        let config = TopicConfig::new().partitions(3).segment_size(ByteSize::mib(1));
        let topic = broker.create_topic("t", config).unwrap();
        let timeout = TransactionConfig::new().timeout(Duration::from_secs(5));
        let mut producer = broker.transactional_builder("one").config(timeout).build().unwrap();
        let mut txn = producer.begin().unwrap();
        for partition in 0..3 {
            txn.send("t", Record::new("x").partition(partition)).unwrap();
        }
        let mut held = pin!(txn.commit());
        for _ in 0..polls {
            assert!(held.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            broker.tick().unwrap();
        }
        sim.clock().advance(Duration::from_secs(6));
        broker.tick().unwrap();
        for partition in 0..3 {
            assert_eq!(by_committed(&topic, partition).unwrap(), ["x"], "{polls} polls");
        }
        let now = held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(now, std::task::Poll::Ready(Ok(()))));
    }
}
