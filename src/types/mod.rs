//! The ground: numbers and names of the field, each its own type, so that an offset is never
//! mistaken for a position nor an epoch for a count.
//!
//! Invariants: an [`Offset`] fits an `i64` (as on disk); a [`TopicName`] obeys Kafka's rules.

mod byte_size;
mod headers;
mod ids;
mod invalid;
mod offset;
mod timestamp;
mod topic_id;
mod topic_name;

pub use byte_size::ByteSize;
pub use headers::Headers;
pub use ids::{LeaderEpoch, ProducerEpoch, ProducerId};
pub(crate) use invalid::check_plain;
pub use invalid::{InvalidName, InvalidText};
pub use offset::Offset;
pub use timestamp::Timestamp;
pub use topic_id::TopicId;
pub use topic_name::{TopicName, TopicPartition};

#[cfg(test)]
mod tests;
