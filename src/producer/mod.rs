//! Producers: from a record to its place in the log.
//!
//! Invariants
//! - Codecs, partitioners and the caller's iterators run outside every lock.
//! - A `send` that succeeded has its offset; whether it is as durable as the topic promises is told by
//!   its [`Delivery`].
//! - The path of raw records allocates nothing and shares nothing that is written for each of them.
//!
//! ```text
//!   Record --codecs--> bytes --partitioner--> Log::append --------> Appended --> Delivery
//!   Records ---------> bytes --partitioner--> own batch a partition --> append_batch --> BatchDelivery
//! ```

mod acknowledgement;
mod batch_delivery;
mod buffers;
mod delivery;
mod expecting;
#[cfg(test)]
pub(crate) mod fixture;
mod flush;
mod header_list;
mod idempotent;
mod metadata;
#[expect(clippy::module_inception, reason = "one noun per file, and this one is the module's")]
mod producer;
mod ready;
pub(crate) mod schema;
mod send_batch;
mod sequenced;
mod shared;
#[cfg(feature = "stream")]
mod sink;
mod target;
#[cfg(test)]
mod tests;

pub use batch_delivery::BatchDelivery;
pub use delivery::Delivery;
pub use flush::Flush;
pub use idempotent::IdempotentProducer;
pub(crate) use idempotent::{HolderOfName, NamedTarget};
pub use metadata::{BatchMetadata, RecordMetadata};
pub use producer::Producer;
pub(crate) use schema::SchemaHeaders;
pub(crate) use sequenced::{BatchTerms, Membership, NotAdded, ProducerStamp, SequencedBatch};
#[cfg(feature = "stream")]
pub use sink::RecordSink;
pub(crate) use target::{KeptOpen, PartitionSet, ProducerTarget};
