//! What the coordinator wants done, and the times that it is told.
//!
//! Invariants
//! - Effects are carried out in their order: records are appended in the order of their `WriteId`s, and a
//!   member hears of changes in the order in which they were made.
//! - A write that has been answered for with `written` holds; one that failed is answered with `failed`.

use std::time::Duration;

use super::ids::{GroupId, MemberId};
use crate::format::offsets_topic::OffsetsKey;
use crate::types::{Timestamp, TopicPartition};

/// Now, by both clocks: one that never goes back, and one that restarts survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) monotonic: Duration,
    pub(crate) wall: Timestamp,
}

/// Names a write to the offsets topic; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WriteId(pub(crate) u64);

/// A record for the offsets topic; without a value it is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetsRecord {
    pub(crate) key: OffsetsKey,
    pub(crate) value: Option<Vec<u8>>,
}

/// What the coordinator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Append these records together; then say `written` or `failed`.
    Write { id: WriteId, records: Vec<OffsetsRecord> },
    /// Tell a member.
    Tell { group: GroupId, member: MemberId, change: Change },
}

/// What a member is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Its epoch is this now, and these partitions are its own, beside those that it has.
    Assigned { epoch: i32, partitions: Vec<TopicPartition> },
    /// Let these go, commit what is to be committed, then say `released` with this number.
    Revoke { revocation: u64, partitions: Vec<TopicPartition> },
    /// These are gone: nothing of them can be committed any more.
    Lost { partitions: Vec<TopicPartition> },
    /// It is no member any more; all its partitions belong to others.
    Fenced,
}
