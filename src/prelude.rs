//! What most programs use, in one line: `use millpond::prelude::*;`.
//!
//! ```
//! # let dir = tempfile::tempdir()?;
//! use millpond::prelude::*;
//!
//! let broker = Broker::open(dir.path())?;
//! let clicks = broker.create_topic("clicks", TopicConfig::new().durability(Durability::Memory))?;
//! clicks.producer()?.send(Record::new("/home"))?.wait()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "bincode")]
pub use crate::codec::Bincode;
#[cfg(feature = "json")]
pub use crate::codec::Json;
pub use crate::{
    broker::{Broker, Partition, Topic, Transaction, TransactionalProducer},
    codec::{Raw, Record, Utf8},
    config::{Acks, BrokerConfig, Durability, GroupConfig, Isolation, Retention, Start, TopicConfig},
    consumer::{Consumer, Reader, Records, TopicReader},
    error::ErrorKind,
    producer::Producer,
    table::Table,
    topic::TopicDef,
    types::{ByteSize, Offset, Timestamp, TopicPartition},
};
