//! Topic by topic, each member a run of consecutive partitions.
//!
//! ```text
//!   t0: 0 1 | 2      t1: 0 1 | 2       two members: equal places of several topics meet in one member
//! ```

use super::{Assignor, GroupAssignment, GroupSubscription};
use crate::types::TopicPartition;

/// Each topic is cut into runs of consecutive partitions, one for each member that wants it; the first members
/// get one more where it does not divide evenly. Topics with equal numbers of partitions are cut alike, so that
/// records with one key meet in one member.
///
/// ```
/// use millpond::group::{Assignor, GroupSubscription, MemberSubscription, Range};
/// use millpond::TopicName;
/// let t = TopicName::new("t")?;
/// let members = ["a", "b"].map(|id| MemberSubscription::new(id).topics([t.clone()]));
/// let assignment = Range.assign(&GroupSubscription::new([(t, 3)], members));
/// assert_eq!(assignment.of(0).iter().map(|tp| tp.partition()).collect::<Vec<_>>(), [0, 1]);
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "RangeAssignor")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written as a value: Range")]
pub struct Range;

impl Assignor for Range {
    fn name(&self) -> &str {
        "range"
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        let mut assignment = GroupAssignment::new(group);
        for (topic, count) in group.topics() {
            let members = group.subscribers(topic);
            let wanted = u32::try_from(members.len()).unwrap_or(u32::MAX);
            let (Some(each), Some(more)) = (count.checked_div(wanted), count.checked_rem(wanted)) else {
                continue;
            };
            let mut next = 0;
            for (place, member) in (0..).zip(members) {
                let end = next + each + u32::from(place < more);
                (next..end).for_each(|n| assignment.give(member, TopicPartition::new(topic.clone(), n)));
                next = end;
            }
        }
        assignment
    }
}
