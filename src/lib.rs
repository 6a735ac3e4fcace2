//! millpond: an embeddable streaming log. Kafka's model as a library call.
#![deny(unsafe_code)]

pub mod codec;
pub mod config;
pub mod error;
pub mod types;

pub(crate) mod format;
pub(crate) mod sync;

pub use error::{Error, ErrorKind, Result};
pub use sync::Operation;
pub use types::{
    ByteSize, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicName, TopicPartition,
};
