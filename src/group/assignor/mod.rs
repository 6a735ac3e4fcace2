//! Who gets which partitions.
//!
//! ```text
//!   GroupSubscription: topics with their partitions, members with what they want and what they have
//!         |
//!      Assignor: range | round-robin | sticky (the default) | the host's own
//!         v
//!   GroupAssignment: partitions by member
//! ```
//!
//! Invariants
//! - An assignor is a pure function: the same group gives the same answer.
//! - Members come in the order of their instance ids, then of their ids; topics and partitions in theirs.
//! - What an assignor answers is checked: a partition given twice stays with the first, one given to a
//!   member that does not want it, or that does not exist, with nobody.

mod range;
mod round_robin;
mod sticky;
mod subscription;

pub use range::Range;
pub use round_robin::RoundRobin;
pub use sticky::Sticky;
pub use subscription::{GroupAssignment, GroupSubscription, MemberSubscription};

use std::fmt::Debug;
use std::sync::Arc;

use crate::types::TopicPartition;

/// Decides who gets which partitions of the topics that a group reads. Give your own to the group's
/// settings; `millpond::testing::assignor` (feature `testing`) holds what it must keep.
///
/// ```
/// use millpond::group::{Assignor, GroupAssignment, GroupSubscription, MemberSubscription};
/// use millpond::TopicName;
///
/// /// The first member that wants a topic gets all of it; the others stand by.
/// #[derive(Debug)]
/// struct FirstTakesAll;
///
/// impl Assignor for FirstTakesAll {
///     fn name(&self) -> &str {
///         "first-takes-all"
///     }
///
///     fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
///         let mut assignment = GroupAssignment::new(group);
///         for partition in group.partitions() {
///             if let Some(first) = group.subscribers(partition.topic()).first() {
///                 assignment.give(*first, partition);
///             }
///         }
///         assignment
///     }
/// }
///
/// let clicks = TopicName::new("clicks")?;
/// let group = GroupSubscription::new([(clicks.clone(), 3)], [
///     MemberSubscription::new("a").topics([clicks.clone()]),
///     MemberSubscription::new("b").topics([clicks]),
/// ]);
/// let assignment = FirstTakesAll.assign(&group);
/// assert_eq!((assignment.of(0).len(), assignment.of(1).len()), (3, 0));
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "partition.assignment.strategy")]
pub trait Assignor: Send + Sync + Debug {
    /// Its name, by which the members of a group agree on it.
    fn name(&self) -> &str;

    /// The partitions of each member. Called under the lock of the groups: it must not call the broker.
    fn assign(&self, group: &GroupSubscription) -> GroupAssignment;
}

/// The assignor of this name, as far as it can be known before a member has brought it.
pub(crate) fn by_name(name: &str) -> Arc<dyn Assignor> {
    match name {
        "range" => Arc::new(Range),
        "round-robin" => Arc::new(RoundRobin),
        "sticky" => Arc::new(Sticky),
        other => Arc::new(StandIn { name: other.to_owned() }),
    }
}

/// Whether this one stands for one that nobody has brought yet.
pub(crate) fn is_known(name: &str) -> bool {
    matches!(name, "range" | "round-robin" | "sticky")
}

/// Stands for an assignor of the host's own until a member brings it: moves nothing, and gives what nobody has to who
/// has least.
#[derive(Debug)]
struct StandIn {
    name: String,
}

impl Assignor for StandIn {
    fn name(&self) -> &str {
        &self.name
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        let mut assignment = GroupAssignment::new(group);
        let has = |member: &MemberSubscription, partition: &TopicPartition| {
            member.wants(partition.topic()) && member.owned_partitions().binary_search(partition).is_ok()
        };
        let (kept, free): (Vec<_>, Vec<_>) = group
            .partitions()
            .map(|partition| (group.members().iter().position(|member| has(member, &partition)), partition))
            .partition(|(owner, _)| owner.is_some());
        for (owner, partition) in kept {
            assignment.give(owner.unwrap_or_default(), partition);
        }
        for (_, partition) in free {
            let wanted = group.subscribers(partition.topic()).into_iter();
            if let Some(least) = wanted.min_by_key(|place| assignment.of(*place).len()) {
                assignment.give(least, partition);
            }
        }
        assignment
    }
}
