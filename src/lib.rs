//! millpond: an embeddable streaming log. Kafka's model as a library call.
//!
#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod broker;
pub mod codec;
pub mod config;
pub mod consumer;
pub mod env;
pub mod error;
#[cfg(any(test, all(fuzzing, feature = "testing")))]
#[doc(hidden)]
pub mod fuzzing;
pub mod group;
pub mod prelude;
pub mod producer;
pub mod table;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod topic;
pub mod txn;
pub mod types;

pub(crate) mod cleaner;
pub(crate) mod format;
pub(crate) mod partition;
pub(crate) mod segment;
pub(crate) mod sync;
pub(crate) mod telemetry;

pub use broker::{
    Broker, BrokerBuilder, Group, LogFile, LoggedBatch, LoggedRecord, Observer, Partition, Topic,
};
pub use codec::Record;
pub use error::{Error, ErrorKind, Result};
pub use sync::Operation;
pub use topic::TopicDef;
pub use types::{
    ByteSize, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicName, TopicPartition,
};
