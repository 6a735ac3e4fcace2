//! What every [`Assignor`] must do, ours and a host's own.
//!
//! Invariant: a function here panics where an assignor breaks a rule, and names the rule and the group.

use std::collections::BTreeMap;

use super::assignor::{Assignor, GroupAssignment, GroupSubscription, MemberSubscription};
use super::ids::InstanceId;
use crate::types::{TopicName, TopicPartition};

/// Checks the rules that every assignor keeps, on many groups: each partition goes to one member that wants it,
/// unless nobody does; the same group gets the same answer; members that have partitions of topics that are gone
/// do no harm.
///
/// ```
/// millpond::testing::assignor::assignor(&millpond::group::RoundRobin);
/// ```
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn assignor(assignor: &dyn Assignor) {
    assert!(!assignor.name().is_empty(), "an assignor has a name");
    for seed in 0..GROUPS {
        let group = drawn_group(seed);
        let assignment = assignor.assign(&group);
        check_complete(&group, &assignment);
        assert_eq!(assignment, assignor.assign(&group), "the same group gets the same answer: {group:?}");
    }
}

/// Checks that an assignor also balances, that nothing moves in a group that has not changed, and that those who
/// stay keep what they have when a member leaves: what the sticky one promises. Only groups whose members want
/// the same topics are looked at.
///
/// ```
/// millpond::testing::assignor::sticky_assignor(&millpond::group::Sticky);
/// ```
///
/// # Panics
/// Where a rule is broken; the message says which.
pub fn sticky_assignor(assignor: &dyn Assignor) {
    for seed in 0..GROUPS {
        let group = with_equal_wishes(&drawn_group(seed));
        let assignment = assignor.assign(&group);
        check_complete(&group, &assignment);
        let loads: Vec<usize> = (0..group.members().len()).map(|place| assignment.of(place).len()).collect();
        let (least, most) = (loads.iter().min(), loads.iter().max());
        if let (Some(least), Some(most)) = (least, most) {
            assert!(most - least <= 1, "loads differ by at most one: {loads:?} in {group:?}");
        }
        let settled = after(&group, &assignment);
        check_kept(&settled, &assignor.assign(&settled));
        if let Some((_, stay)) = settled.members().split_first() {
            let topics = settled.topics().map(|(name, count)| (name.clone(), count));
            let left = GroupSubscription::new(topics, stay.to_vec());
            check_kept(&left, &assignor.assign(&left));
        }
    }
}

/// Every member keeps what it has.
fn check_kept(group: &GroupSubscription, assignment: &GroupAssignment) {
    for (place, member) in group.members().iter().enumerate() {
        for owned in member.owned_partitions() {
            let kept = assignment.of(place).contains(owned);
            assert!(kept, "{owned} moves away from {} for no reason in {group:?}", member.member_id());
        }
    }
}

/// Each partition that somebody wants is with exactly one member, who wants it; no other is with anybody.
///
/// # Panics
/// Where that is not so.
pub(crate) fn check_complete(group: &GroupSubscription, assignment: &GroupAssignment) {
    let mut holders: BTreeMap<TopicPartition, usize> = BTreeMap::new();
    for (place, member) in group.members().iter().enumerate() {
        for partition in assignment.of(place) {
            let (topic, count) = (partition.topic(), group.partition_count(partition.topic()));
            assert!(member.wants(topic), "{} gets {partition}, which it does not want", member.member_id());
            assert!(partition.partition() < count, "there is no {partition}");
            let other = holders.insert(partition.clone(), place);
            assert_eq!(other, None, "{partition} is given twice in {group:?}");
        }
    }
    for partition in group.partitions() {
        let wanted = !group.subscribers(partition.topic()).is_empty();
        assert_eq!(holders.contains_key(&partition), wanted, "{partition} is with nobody in {group:?}");
    }
}

/// How many groups are looked at.
const GROUPS: u64 = 300;

/// Equal draws from equal seeds.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound.max(1)
    }
}

/// A small group, different for each seed; the first ones are the odd cases.
fn drawn_group(seed: u64) -> GroupSubscription {
    let mut draws = Draws(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1);
    let topics: Vec<(TopicName, u32)> = (0..draws.below(5))
        .filter_map(|n| Some((TopicName::new(&format!("t{n}")).ok()?, draws.below(9) as u32)))
        .collect();
    let gone = TopicName::new("gone").ok();
    let mut unowned: Vec<TopicPartition> = topics
        .iter()
        .flat_map(|(name, count)| (0..count + 1).map(|n| TopicPartition::new(name.clone(), n)))
        .chain(gone.clone().map(|gone| TopicPartition::new(gone, 0)))
        .collect();
    let members = (0..draws.below(7)).map(|n| {
        let wanted = topics.iter().map(|(name, _)| name.clone()).filter(|_| draws.below(4) > 0);
        let mut member = MemberSubscription::new(&format!("m{n}")).topics(wanted.chain(gone.clone()));
        if draws.below(3) == 0 {
            if let Ok(instance) = InstanceId::new(&format!("i{}", 9 - n)) {
                member = member.instance_id(instance);
            }
        }
        let takes = draws.below(6) as usize;
        let had: Vec<TopicPartition> = (0..takes.min(unowned.len()))
            .map(|_| unowned.remove(draws.below(unowned.len() as u64) as usize))
            .collect();
        member.owned(had)
    });
    let members: Vec<MemberSubscription> = members.collect();
    GroupSubscription::new(topics, members)
}

/// The same group, each of whose members wants all topics.
fn with_equal_wishes(group: &GroupSubscription) -> GroupSubscription {
    let topics: Vec<(TopicName, u32)> = group.topics().map(|(name, count)| (name.clone(), count)).collect();
    let names = topics.iter().map(|(name, _)| name.clone());
    let members: Vec<MemberSubscription> =
        group.members().iter().map(|member| member.clone().topics(names.clone())).collect();
    GroupSubscription::new(topics, members)
}

/// The same group after the assignment has come about.
fn after(group: &GroupSubscription, assignment: &GroupAssignment) -> GroupSubscription {
    let topics = group.topics().map(|(name, count)| (name.clone(), count));
    let members = group.members().iter().enumerate();
    let members: Vec<MemberSubscription> =
        members.map(|(place, member)| member.clone().owned(assignment.of(place).iter().cloned())).collect();
    GroupSubscription::new(topics, members)
}
