//! Assignors: Kafka's own answers, and what brute force finds.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::Value;

use crate::group::conformance::{self, check_complete};
use crate::group::{
    Assignor, GroupAssignment, GroupSubscription, InstanceId, MemberSubscription, Range, RoundRobin, Sticky,
};
use crate::types::{TopicName, TopicPartition};

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

/// Read from its folder's name: `t0-2`.
fn partition(text: &str) -> TopicPartition {
    let (name, number) = text.rsplit_once('-').unwrap();
    TopicPartition::new(topic(name), number.parse().unwrap())
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn group_of(vector: &Value) -> GroupSubscription {
    let topics = vector["topics"].as_object().unwrap();
    let topics = topics.iter().map(|(name, count)| (topic(name), count.as_u64().unwrap() as u32));
    let members = vector["members"].as_object().unwrap().iter().map(|(id, member)| {
        let wanted = texts(&member["topics"]).iter().map(|name| topic(name)).collect::<Vec<_>>();
        let owned = texts(&member["owned"]).iter().map(|text| partition(text)).collect::<Vec<_>>();
        MemberSubscription::new(id).topics(wanted).owned(owned)
    });
    GroupSubscription::new(topics, members.collect::<Vec<_>>())
}

/// What may be given at once: not what others still have.
fn without_owned_by_others(
    group: &GroupSubscription,
    place: usize,
    given: &[TopicPartition],
) -> Vec<TopicPartition> {
    let others: Vec<&MemberSubscription> = group
        .members()
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != place)
        .map(|(_, member)| member)
        .collect();
    let held = |tp: &TopicPartition| others.iter().any(|member| member.owned_partitions().contains(tp));
    given.iter().filter(|tp| !held(tp)).cloned().collect()
}

#[test]
fn kafkas_vectors_hold() {
    let vectors: Value = serde_json::from_str(include_str!("../../../tests/vectors/assignors.json")).unwrap();
    let mut seen = 0;
    for vector in vectors["vectors"].as_array().unwrap() {
        let name = vector["assignor"].as_str().unwrap();
        let assignor: &dyn Assignor = match name {
            "range" => &Range,
            "roundrobin" => &RoundRobin,
            "sticky" | "cooperative-sticky" => &Sticky,
            other => panic!("{other}"),
        };
        let group = group_of(vector);
        let assignment = assignor.assign(&group);
        check_complete(&group, &assignment);
        for (place, member) in group.members().iter().enumerate() {
            let mut given = assignment.of(place).to_vec();
            if name == "cooperative-sticky" {
                given = without_owned_by_others(&group, place, &given);
            }
            let given: BTreeSet<String> = given.iter().map(ToString::to_string).collect();
            let expected = texts(&vector["assignment"][member.member_id().as_str()]).into_iter().collect();
            assert_eq!(given, expected, "{name}, {}: {}", vector["note"], member.member_id());
        }
        seen += 1;
    }
    assert_eq!(seen, 15);
}

#[test]
fn all_assignors_keep_the_rules() {
    for assignor in [&Range as &dyn Assignor, &RoundRobin, &Sticky] {
        conformance::assignor(assignor);
    }
    conformance::sticky_assignor(&Sticky);
}

#[test]
fn static_members_come_first_by_their_names() {
    let t = topic("t");
    let member = |id: &str| MemberSubscription::new(id).topics([t.clone()]);
    let instance = |id: &str| InstanceId::new(id).unwrap();
    let members =
        [member("a"), member("b").instance_id(instance("y")), member("c").instance_id(instance("x"))];
    let group = GroupSubscription::new([(t, 1)], members);
    let order: Vec<&str> = group.members().iter().map(|member| member.member_id().as_str()).collect();
    assert_eq!(order, ["c", "b", "a"]);
}

#[derive(Debug)]
struct Broken(u8);

impl Assignor for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        let mut assignment = GroupAssignment::new(group);
        for tp in group.partitions() {
            match self.0 {
                0 => assignment.give(0, tp),
                1 => (0..2).for_each(|member| assignment.give(member, tp.clone())),
                _ => {}
            }
        }
        assignment
    }
}

#[test]
fn the_suite_finds_what_is_wrong() {
    for kind in 0..3 {
        let found = std::panic::catch_unwind(|| conformance::assignor(&Broken(kind)));
        assert!(found.is_err(), "kind {kind}");
    }
    assert!(std::panic::catch_unwind(|| conformance::sticky_assignor(&RoundRobin)).is_err(), "not sticky");
    assert!(std::panic::catch_unwind(|| conformance::sticky_assignor(&Range)).is_err(), "not balanced");
}

/// Balance first (sum of squares), then partitions that leave an owner who still wants them.
type Price = (usize, usize);

fn price_of(group: &GroupSubscription, holder_of: &BTreeMap<TopicPartition, usize>) -> Price {
    let mut loads = vec![0; group.members().len()];
    holder_of.values().for_each(|holder| loads[*holder] += 1);
    (loads.iter().map(|load| load * load).sum(), moves(group, holder_of))
}

fn moves(group: &GroupSubscription, holder_of: &BTreeMap<TopicPartition, usize>) -> usize {
    let mut count = 0;
    for (place, member) in group.members().iter().enumerate() {
        let kept = member.owned_partitions().iter().filter(|tp| member.wants(tp.topic()));
        count += kept.filter(|tp| holder_of.get(tp).is_some_and(|holder| *holder != place)).count();
    }
    count
}

fn holders(group: &GroupSubscription, assignment: &GroupAssignment) -> BTreeMap<TopicPartition, usize> {
    let of = |place| assignment.of(place).iter().map(move |tp| (tp.clone(), place));
    (0..group.members().len()).flat_map(of).collect()
}

fn least_price(
    group: &GroupSubscription,
    left: &[TopicPartition],
    holder_of: &mut BTreeMap<TopicPartition, usize>,
) -> Price {
    let Some((first, rest)) = left.split_first() else { return price_of(group, holder_of) };
    let mut least = (usize::MAX, usize::MAX);
    for member in group.subscribers(first.topic()) {
        holder_of.insert(first.clone(), member);
        least = least.min(least_price(group, rest, holder_of));
    }
    holder_of.remove(first);
    if least.0 == usize::MAX { least_price(group, rest, holder_of) } else { least }
}

/// Groups of these sizes; a member wants each topic with odds of three in four (or all), and partitions have
/// owners that may no longer want them.
fn groups(members: usize, topics: usize, partitions: u32) -> impl Strategy<Value = GroupSubscription> {
    let counts = prop::collection::vec(0..=partitions, 1..=topics);
    (counts, 1..=members, any::<bool>(), any::<u64>()).prop_map(|(counts, members, equal, seed)| {
        let mut state = seed | 1;
        let mut below = move |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        let topics: Vec<_> =
            counts.iter().enumerate().map(|(n, count)| (topic(&format!("t{n}")), *count)).collect();
        let mut owned = vec![Vec::new(); members + 1];
        for (name, count) in &topics {
            for n in 0..*count {
                owned[below(members as u64 + 1) as usize].push(TopicPartition::new(name.clone(), n));
            }
        }
        let members: Vec<_> = (0..members)
            .map(|n| {
                let wanted: Vec<_> =
                    topics.iter().map(|(name, _)| name.clone()).filter(|_| equal || below(4) > 0).collect();
                MemberSubscription::new(&format!("m{n:04}")).topics(wanted).owned(owned[n].clone())
            })
            .collect();
        GroupSubscription::new(topics, members)
    })
}

/// With equal wishes, no assignment with these loads can do with fewer moves: who has more than the share that
/// comes closest must give the difference away.
fn bound_of_moves(group: &GroupSubscription, assignment: &GroupAssignment) -> usize {
    let members = group.members().iter();
    let mut owned: Vec<usize> = members
        .map(|member| member.owned_partitions().iter().filter(|tp| member.wants(tp.topic())).count())
        .collect();
    let mut loads: Vec<usize> = (0..owned.len()).map(|place| assignment.of(place).len()).collect();
    owned.sort_unstable();
    loads.sort_unstable();
    owned.iter().zip(loads).map(|(owned, load)| owned.saturating_sub(load)).sum()
}

/// The certificate of the cheapest assignment: no chain and no ring of hand-overs has a negative price. Computed
/// from the answer alone, by Floyd and Warshall.
fn check_no_chain_helps(group: &GroupSubscription, holder_of: &BTreeMap<TopicPartition, usize>) {
    const FAR: i64 = i64::MAX / 4;
    let count = group.members().len();
    let step = 1 + holder_of.len() as i64;
    let mut loads = vec![0; count];
    holder_of.values().for_each(|holder| loads[*holder] += 1);
    let mut price = vec![vec![FAR; count + 1]; count + 1];
    for member in 0..count {
        price[count][member] = -step * loads[member];
        price[member][count] = step * (loads[member] + 1);
    }
    for (tp, giver) in holder_of {
        let owner =
            group.members().iter().position(|m| m.owned_partitions().contains(tp) && m.wants(tp.topic()));
        let moved = |member: usize| i64::from(owner.is_some_and(|owner| owner != member));
        for taker in group.subscribers(tp.topic()).into_iter().filter(|taker| taker != giver) {
            let known = &mut price[*giver][taker];
            *known = (*known).min(moved(taker) - moved(*giver));
        }
    }
    for middle in 0..=count {
        for from in 0..=count {
            for to in 0..=count {
                price[from][to] = price[from][to].min(price[from][middle] + price[middle][to]);
            }
        }
    }
    for (node, row) in price.iter().enumerate() {
        assert!(row[node] >= 0, "a ring through {node} has the price {}", row[node]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn sticky_is_as_good_as_brute_force(group in groups(3, 3, 3)) {
        let assignment = Sticky.assign(&group);
        check_complete(&group, &assignment);
        let partitions: Vec<_> = group.partitions().collect();
        let least = least_price(&group, &partitions, &mut BTreeMap::new());
        prop_assert_eq!(price_of(&group, &holders(&group, &assignment)), least);
    }

    #[test]
    fn four_members_too(group in groups(4, 2, 3)) {
        let assignment = Sticky.assign(&group);
        let partitions: Vec<_> = group.partitions().collect();
        let least = least_price(&group, &partitions, &mut BTreeMap::new());
        prop_assert_eq!(price_of(&group, &holders(&group, &assignment)), least);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn large_groups_move_little(group in groups(40, 6, 64)) {
        let assignment = Sticky.assign(&group);
        check_complete(&group, &assignment);
        let holder_of = holders(&group, &assignment);
        check_no_chain_helps(&group, &holder_of);
        let first = group.members()[0].subscribed_topics();
        if group.members().iter().all(|member| member.subscribed_topics() == first) {
            prop_assert_eq!(moves(&group, &holder_of), bound_of_moves(&group, &assignment));
        }
        // Going on from there, nothing moves.
        let members: Vec<_> = group.members().iter().enumerate()
            .map(|(place, member)| member.clone().owned(assignment.of(place).iter().cloned())).collect();
        let settled = GroupSubscription::new(group.topics().map(|(t, n)| (t.clone(), n)), members);
        prop_assert_eq!(moves(&settled, &holders(&settled, &Sticky.assign(&settled))), 0);
    }
}
