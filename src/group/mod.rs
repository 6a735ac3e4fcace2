//! Consumer groups: who reads which partitions, and how far each group has come. Pure: no files, no clock,
//! no threads.
//!
//! ```text
//!   events and time --> Coordinator --> effects
//!     join, leave, polled, let go         assign, revoke, lost       to members
//!     topics made, grown, deleted         write these records        to the offsets topic
//!     commit, written, reset              committed                  to who waits
//! ```
//!
//! Invariants
//! - A partition belongs to one member at a time: it is given only after its former owner has let it go or
//!   has been put out of the group.
//! - A commit of who does not own the partition any more is refused.
//! - A committed offset is seen when its record is as durable as the offsets topic promises, not before.
#![doc = ""]
#![doc = include_str!("../../docs/groups.md")]
#![allow(
    dead_code,
    unused_imports,
    reason = "the coordinator is complete; the layers above use what they need"
)]

mod assignor;
mod committing;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
mod coordinator;
mod description;
mod effect;
mod floors;
#[expect(clippy::module_inception, reason = "one noun per file, and this one is the module's")]
mod group;
mod ids;
mod joining;
mod member;
mod observed;
mod offsets;
mod replay;
mod saving;
mod subscription;
mod topics;

#[cfg(test)]
mod tests;

pub use assignor::{
    Assignor, GroupAssignment, GroupSubscription, MemberSubscription, Range, RoundRobin, Sticky,
};
pub(crate) use committing::{Backward, CommitEntry, Committer};
pub(crate) use coordinator::Coordinator;
pub use description::{GroupDescription, GroupState, MemberDescription};
pub(crate) use effect::{Change, Effect, Now, OffsetsRecord, WriteId};
pub(crate) use ids::check_client_id;
pub use ids::{GroupId, InstanceId, MAX_NAME_LEN, MemberId};
pub(crate) use joining::{Coming, JoinRequest, Leave};
pub(crate) use observed::{RecordedGroup, RecordedGroups, RecordedMember};
pub(crate) use offsets::Committed;
pub use offsets::OffsetAndMetadata;
pub(crate) use subscription::Subscription;
pub use subscription::TopicPattern;
pub(crate) use topics::KnownTopic;
