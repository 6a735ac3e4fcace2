//! A member of a group.
//!
//! ```text
//!              target differs, something to let go
//!   Stable ---------------------------------------> UnrevokedPartitions -- released --+
//!     ^  ^                                                                            |
//!     |  +--- all free ---- take what is free <---------------------------------------+
//!     |                         | some still held by others
//!     +-- they let go -- UnreleasedPartitions
//! ```
//!
//! Invariants
//! - `assigned` and `revoking` have no partition in common, and the group's owners say the same.
//! - A member takes nothing new before it has let go of what it must.
//! - Who is away holds partitions for the time of its coming back, and lets go at once when asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::ids::{InstanceId, MemberId};
use super::subscription::Subscription;
use crate::format::offsets_topic::MemberState;
use crate::types::{Timestamp, TopicPartition};

/// A member, as the coordinator sees it.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: MemberId,
    pub(crate) instance_id: Option<InstanceId>,
    pub(crate) client_id: String,
    pub(crate) subscription: Subscription,
    pub(crate) presence: Presence,
    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    /// What it is to have.
    pub(crate) target: BTreeSet<TopicPartition>,
    /// What it has, each with the member epoch at which it was assigned.
    pub(crate) assigned: BTreeMap<TopicPartition, i32>,
    /// What it is letting go, each with the member epoch at which it was assigned.
    pub(crate) revoking: BTreeMap<TopicPartition, i32>,
    /// Counts what it was asked to let go, so that a late answer is not taken for one to a later question.
    pub(crate) revocation: u64,
    pub(crate) max_poll_interval: Duration,
    pub(crate) session_timeout: Duration,
}

/// Whether a member is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It polls.
    Live {
        /// When it did last, by the monotonic clock.
        last_poll: Duration,
        /// When it must have let go of what it is asked for.
        revoke_by: Option<Duration>,
    },
    /// A static member that will come back until then, by the wall clock.
    Away {
        /// When it is given up.
        expires_at: Timestamp,
    },
}

impl Member {
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.presence, Presence::Live { .. })
    }

    /// How far it has come towards its target.
    pub(crate) fn state(&self) -> MemberState {
        if !self.revoking.is_empty() {
            MemberState::UnrevokedPartitions
        } else if self.target.iter().any(|tp| !self.assigned.contains_key(tp)) {
            MemberState::UnreleasedPartitions
        } else {
            MemberState::Stable
        }
    }

    /// When it is put out of the group for not polling or not letting go, if it goes on like that.
    pub(crate) fn fenced_at(&self) -> Option<Duration> {
        match self.presence {
            Presence::Live { last_poll, revoke_by } => {
                let stalled = last_poll.saturating_add(self.max_poll_interval);
                Some(revoke_by.map_or(stalled, |by| by.min(stalled)))
            }
            Presence::Away { .. } => None,
        }
    }

    /// The epoch at which a partition became its own, if it has it still.
    pub(crate) fn epoch_of(&self, tp: &TopicPartition) -> Option<i32> {
        self.assigned.get(tp).or_else(|| self.revoking.get(tp)).copied()
    }

    /// All partitions that it holds.
    pub(crate) fn held(&self) -> impl Iterator<Item = &TopicPartition> {
        self.assigned.keys().chain(self.revoking.keys())
    }
}
