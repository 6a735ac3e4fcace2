//! All partitions dealt out in a circle.

use super::{Assignor, GroupAssignment, GroupSubscription};

/// All partitions, sorted, are dealt out one by one in a circle; members that do not want a topic are passed
/// over. Every change of the group may move every partition.
///
/// ```
/// use millpond::group::{Assignor, GroupSubscription, MemberSubscription, RoundRobin};
/// use millpond::TopicName;
/// let t = TopicName::new("t")?;
/// let members = ["a", "b"].map(|id| MemberSubscription::new(id).topics([t.clone()]));
/// let assignment = RoundRobin.assign(&GroupSubscription::new([(t, 3)], members));
/// assert_eq!(assignment.of(0).iter().map(|tp| tp.partition()).collect::<Vec<_>>(), [0, 2]);
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "RoundRobinAssignor")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written as a value: RoundRobin")]
pub struct RoundRobin;

impl Assignor for RoundRobin {
    fn name(&self) -> &str {
        "round-robin"
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        let mut assignment = GroupAssignment::new(group);
        let members = group.members();
        let mut next = 0;
        for partition in group.partitions() {
            let circle = (0..members.len()).map(|step| (next + step) % members.len());
            let Some(taker) = circle.into_iter().find(|place| members[*place].wants(partition.topic()))
            else {
                continue;
            };
            next = (taker + 1) % members.len();
            assignment.give(taker, partition);
        }
        assignment
    }
}
