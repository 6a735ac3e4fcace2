//! Nothing is deleted unless asked; then whole segments leave at the start of the log.

use std::time::Duration;

use millpond::config::{Background, BrokerConfig, Durability, Retention};
use millpond::prelude::*;
use millpond::testing::SimEnvironment;

fn broker(machine: &SimEnvironment) -> Broker {
    let config = BrokerConfig::new().background(Background::Manual);
    Broker::builder("/pond").environment(machine.environment()).config(config).open().unwrap()
}

fn fill(broker: &Broker, retention: Retention) -> Topic {
    let config =
        TopicConfig::new().durability(Durability::Memory).segment_size(ByteSize::kib(4)).retention(retention);
    let topic = broker.create_topic("t", config).unwrap();
    let producer = topic.producer().unwrap();
    for _ in 0..200 {
        drop(producer.send(Record::new(&[7u8; 100])).unwrap());
    }
    topic
}

#[test]
fn for_ever_by_default() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let topic = fill(&broker, Retention::forever());
    machine.clock().advance(Duration::from_secs(10 * 365 * 86_400));
    broker.tick().unwrap();
    assert_eq!(topic.partition(0).unwrap().log_start_offset(), Offset::ZERO);
}

#[test]
fn by_age_without_traffic() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let topic = fill(&broker, Retention::age(Duration::from_secs(3600)));
    let partition = topic.partition(0).unwrap();
    machine.clock().advance(Duration::from_secs(3599));
    broker.tick().unwrap();
    assert_eq!(partition.log_start_offset(), Offset::ZERO);
    machine.clock().advance(Duration::from_secs(2));
    broker.tick().unwrap();
    assert!(partition.log_start_offset() > Offset::new(100).unwrap());
    assert_eq!(partition.log_end_offset(), Offset::new(200).unwrap());
}

#[test]
fn by_size_keeps_at_least_the_limit() {
    let machine = SimEnvironment::new(1);
    let broker = broker(&machine);
    let topic = fill(&broker, Retention::size(ByteSize::kib(10)));
    machine.clock().advance(Duration::from_secs(60));
    broker.tick().unwrap();
    let partition = topic.partition(0).unwrap();
    let kept = 200 - partition.log_start_offset().get();
    assert!((90..150).contains(&kept), "{kept} records of about 110 bytes kept");
}
