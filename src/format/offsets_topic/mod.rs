//! Records of `__consumer_offsets`: committed offsets, and what must outlive a process of a group.
//!
//! ```text
//!   key    type i16 | group string | topic string, partition i32      0, 1   committed offset
//!                                  |                                  3, 6   group epoch, target epoch
//!                                  | member string                    5, 7, 8   member, target, current
//!   value  version i16 | fields                                       null: a tombstone
//!
//!   strings of keys, and of offset values up to version 3:  length i16 | UTF-8
//!   all other values are flexible:  length + 1 as unsigned varint | UTF-8;  arrays alike;  tagged fields last
//! ```
//!
//! What Kafka has no field for stands in tagged fields with numbers far above Kafka's own
//! ([`OWN_TAGS`]): its readers skip them.
//!
//! Invariants: what is encoded is decoded again as the same value; unknown tagged fields are skipped;
//! types of records that we do not use decode as [`OffsetsKey::Other`] and are left alone; counts never
//! make us allocate more than the bytes at hand could hold.

pub(in crate::format) mod fields;
mod key;
mod membership;
mod offset_commit;

#[cfg(test)]
mod tests;

pub(crate) use key::OffsetsKey;
pub(crate) use membership::{
    CurrentAssignment, GroupMetadata, MemberMetadata, MemberState, TargetAssignment, TargetMetadata,
    TopicPartitions,
};
pub(crate) use offset_commit::OffsetCommit;

/// The topic of these records.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The first tag of the fields that are millpond's own.
pub(crate) const OWN_TAGS: u32 = 0x4d50;
