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

mod assignor;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod conformance;
mod ids;

#[cfg(test)]
mod tests;

pub use assignor::{
    Assignor, GroupAssignment, GroupSubscription, MemberSubscription, Range, RoundRobin, Sticky,
};
pub use ids::{GroupId, InstanceId, MAX_NAME_LEN, MemberId};
