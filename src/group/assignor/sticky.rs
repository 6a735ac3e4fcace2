//! Balanced, and as few moves as that allows.
//!
//! ```text
//!   keep      every partition stays where it is wanted              a: 0 1 2 3      b: -
//!   deal      those without an owner go to who has least            a: 0 1 2 3      b: 4
//!   improve   while a chain of hand-overs makes it better           a: 0 1 2 -3->   b: 4 3
//! ```
//!
//! An assignment costs `sum over members of (1 + 2 + ... + load)`, which is least where it is balanced, and
//! then one for each partition that leaves an owner. Handing partitions over along a chain of members changes
//! that cost; the cheapest assignment is the one where no chain (and no ring) of hand-overs has a negative
//! price. This is minimum-cost flow by cancelling negative cycles, so the result is not nearly but exactly the
//! least: also where members want different topics.
//!
//! Invariants: each hand-over along a chain takes a partition that its giver holds, so that a chain through
//! different members never takes one twice; each cancelled cycle lowers the cost, so that it ends.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::{Assignor, GroupAssignment, GroupSubscription};
use crate::types::{TopicName, TopicPartition};

/// Loads of members are as equal as what they want allows, and as few partitions as possible leave their owners;
/// a new group looks as if dealt round-robin. The default. Kafka's names for it are `sticky` and
/// `cooperative-sticky`: here partitions are always handed over one by one.
///
/// ```
/// use millpond::group::{Assignor, GroupSubscription, MemberSubscription, Sticky};
/// use millpond::{TopicName, TopicPartition};
/// let t = TopicName::new("t")?;
/// let had = (0..4).map(|partition| TopicPartition::new(t.clone(), partition));
/// let group = GroupSubscription::new([(t.clone(), 4)], [
///     MemberSubscription::new("a").topics([t.clone()]).owned(had),
///     MemberSubscription::new("b").topics([t]),
/// ]);
/// let assignment = Sticky.assign(&group);
/// assert_eq!(assignment.of(0).iter().map(|tp| tp.partition()).collect::<Vec<_>>(), [0, 1]);
/// # Ok::<(), millpond::Error>(())
/// ```
#[doc(alias = "CooperativeStickyAssignor")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written as a value: Sticky")]
pub struct Sticky;

impl Assignor for Sticky {
    fn name(&self) -> &str {
        "sticky"
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        let mut table = Table::new(group);
        if table.all_want_the_same() {
            table.trim_to_quotas();
        }
        table.deal();
        if !table.all_want_the_same() {
            while let Some(chain) = table.find_chain() {
                table.hand_over(&chain);
            }
        }
        table.into_assignment(group)
    }
}

/// All partitions by number, and who has them.
struct Table<'a> {
    topics: Vec<Topic<'a>>,
    members: usize,
    /// By member: the partitions it holds, by class.
    held: Vec<BTreeMap<Class, Vec<usize>>>,
    load: Vec<usize>,
    /// Partitions without a holder, sorted.
    free: Vec<usize>,
    topic_of: Vec<u32>,
    owner_of: Vec<Option<u32>>,
    /// By giver and taker: the price of a hand-over, and which class it takes.
    prices: Vec<Option<(i64, Class)>>,
}

struct Topic<'a> {
    name: &'a TopicName,
    first: usize,
    wanted_by: Vec<usize>,
}

/// Partitions that may go to the same members at the same price: their topic and their first owner.
type Class = (u32, Option<u32>);

/// Giver and taker, one behind the other.
type Chain = Vec<usize>;

impl<'a> Table<'a> {
    fn new(group: &'a GroupSubscription) -> Table<'a> {
        let members = group.members().len();
        let (mut topics, mut topic_of) = (Vec::new(), Vec::new());
        for (number, (name, count)) in (0..).zip(group.topics()) {
            let first = topic_of.len();
            topic_of.resize(first + count as usize, number);
            topics.push(Topic { name, first, wanted_by: group.subscribers(name) });
        }
        let mut table = Table {
            topics,
            members,
            held: vec![BTreeMap::new(); members],
            load: vec![0; members],
            free: Vec::new(),
            owner_of: vec![None; topic_of.len()],
            topic_of,
            prices: Vec::new(),
        };
        table.keep(group);
        table
    }

    /// Every partition stays with its owner; one that two claim has none.
    fn keep(&mut self, group: &GroupSubscription) {
        let mut claims = vec![0_u8; self.topic_of.len()];
        for (place, member) in group.members().iter().enumerate() {
            for owned in member.owned_partitions().iter().filter(|owned| member.wants(owned.topic())) {
                let Some(number) = self.number_of(owned, group) else { continue };
                claims[number] = claims[number].saturating_add(1);
                self.owner_of[number] = u32::try_from(place).ok();
            }
        }
        for (number, claims) in claims.into_iter().enumerate() {
            if claims > 1 {
                self.owner_of[number] = None;
            }
            match self.owner_of[number] {
                Some(owner) => self.put(owner as usize, number),
                None => self.free.push(number),
            }
        }
    }

    fn number_of(&self, tp: &TopicPartition, group: &GroupSubscription) -> Option<usize> {
        let at = self.topics.binary_search_by(|topic| topic.name.cmp(tp.topic())).ok()?;
        let exists = tp.partition() < group.partition_count(tp.topic());
        exists.then(|| self.topics[at].first + tp.partition() as usize)
    }

    fn all_want_the_same(&self) -> bool {
        self.topics.iter().all(|topic| topic.wanted_by.len() == self.members)
    }

    /// Members that have more than their share let go of the rest: with equal wishes nothing else has to move.
    fn trim_to_quotas(&mut self) {
        let Some(least) = self.topic_of.len().checked_div(self.members) else { return };
        let mut more = self.topic_of.len() % self.members;
        for member in 0..self.members {
            let mut quota = least;
            if self.load[member] > least && more > 0 {
                quota += 1;
                more -= 1;
            }
            let mut numbers: Vec<usize> = self.held[member].values().flatten().copied().collect();
            numbers.sort_unstable();
            for number in numbers.into_iter().skip(quota) {
                self.take(member, number);
                self.free.push(number);
            }
        }
        self.free.sort_unstable();
    }

    /// Those without a holder go, one by one, to who has least of those that want them.
    fn deal(&mut self) {
        let free = std::mem::take(&mut self.free);
        if self.all_want_the_same() {
            let mut heap: BinaryHeap<_> =
                self.load.iter().enumerate().map(|(member, load)| Reverse((*load, member))).collect();
            for number in free {
                let Some(Reverse((load, member))) = heap.pop() else { return };
                self.put(member, number);
                heap.push(Reverse((load + 1, member)));
            }
            return;
        }
        for number in free {
            let wanted_by = &self.topics[self.topic_of[number] as usize].wanted_by;
            if let Some(member) = wanted_by.iter().copied().min_by_key(|member| (self.load[*member], *member))
            {
                self.put(member, number);
            }
        }
    }

    fn class_of(&self, number: usize) -> Class {
        (self.topic_of[number], self.owner_of[number])
    }

    fn put(&mut self, member: usize, number: usize) {
        let class = self.class_of(number);
        let numbers = self.held[member].entry(class).or_default();
        let at = numbers.partition_point(|held| *held < number);
        numbers.insert(at, number);
        self.load[member] += 1;
    }

    fn take(&mut self, member: usize, number: usize) {
        let class = self.class_of(number);
        if let Some(numbers) = self.held[member].get_mut(&class) {
            numbers.retain(|held| *held != number);
            if numbers.is_empty() {
                self.held[member].remove(&class);
            }
            self.load[member] -= 1;
        }
    }

    /// What it costs to hand something from `giver` to each other member.
    fn price_row(&mut self, giver: usize) {
        let row = giver * self.members;
        self.prices[row..row + self.members].fill(None);
        for class in self.held[giver].keys() {
            let (topic, owner) = *class;
            let moved = |member: usize| i64::from(owner.is_some_and(|owner| owner as usize != member));
            for taker in self.topics[topic as usize].wanted_by.iter().copied().filter(|taker| *taker != giver)
            {
                let price = moved(taker) - moved(giver);
                let known = &mut self.prices[row + taker];
                if known.is_none_or(|(least, _)| price < least) {
                    *known = Some((price, *class));
                }
            }
        }
    }

    /// A chain of hand-overs, or a ring, that makes the assignment cheaper; `None` where it is the cheapest.
    ///
    /// Bellman and Ford's search: a node more stands for "one less here, one more there", so that a chain is a
    /// ring through it.
    fn find_chain(&mut self) -> Option<Chain> {
        if self.prices.is_empty() {
            self.prices = vec![None; self.members * self.members];
            (0..self.members).for_each(|giver| self.price_row(giver));
        }
        let outside = self.members;
        let nodes = self.members + 1;
        let mut distance = vec![0_i64; nodes];
        let mut parent = vec![usize::MAX; nodes];
        for _ in 0..=nodes {
            let mut changed = false;
            for from in 0..nodes {
                for to in 0..nodes {
                    let Some(price) = self.price(from, to, outside) else { continue };
                    if distance[from] + price < distance[to] {
                        distance[to] = distance[from] + price;
                        parent[to] = from;
                        changed = true;
                    }
                }
            }
            if !changed {
                return None;
            }
            if let Some(ring) = ring_in(&parent) {
                return Some(open_at(ring, outside));
            }
        }
        None
    }

    fn price(&self, from: usize, to: usize, outside: usize) -> Option<i64> {
        // One step of balance outweighs all moves that there could be.
        let step = self.topic_of.len() as i64 + 1;
        match (from == outside, to == outside) {
            (true, true) => None,
            (true, false) => Some(-step * self.load[to] as i64),
            (false, true) => Some(step * (self.load[from] as i64 + 1)),
            (false, false) => self.prices[from * self.members + to].map(|(price, _)| price),
        }
    }

    fn hand_over(&mut self, chain: &Chain) {
        let mut moves = Vec::new();
        for pair in chain.windows(2) {
            let (giver, taker) = (pair[0], pair[1]);
            let Some((_, class)) = self.prices[giver * self.members + taker] else { continue };
            if let Some(number) = self.held[giver].get(&class).and_then(|held| held.last()) {
                moves.push((giver, taker, *number));
            }
        }
        for (giver, taker, number) in moves {
            self.take(giver, number);
            self.put(taker, number);
        }
        for member in chain.iter().copied() {
            self.price_row(member);
        }
    }

    fn into_assignment(self, group: &GroupSubscription) -> GroupAssignment {
        let mut assignment = GroupAssignment::new(group);
        for (member, held) in self.held.into_iter().enumerate() {
            let mut numbers: Vec<usize> = held.into_values().flatten().collect();
            numbers.sort_unstable();
            for number in numbers {
                let topic = &self.topics[self.topic_of[number] as usize];
                let partition = u32::try_from(number - topic.first).unwrap_or(u32::MAX);
                assignment.give(member, TopicPartition::new(topic.name.clone(), partition));
            }
        }
        assignment
    }
}

/// A ring among the parents, in the order of its steps.
fn ring_in(parent: &[usize]) -> Option<Vec<usize>> {
    let mut seen_from = vec![usize::MAX; parent.len()];
    for start in 0..parent.len() {
        let mut at = start;
        while at != usize::MAX && seen_from[at] == usize::MAX {
            seen_from[at] = start;
            at = parent[at];
        }
        if at != usize::MAX && seen_from[at] == start {
            let mut ring = vec![at];
            let mut before = parent[at];
            while before != at {
                ring.push(before);
                before = parent[before];
            }
            ring.reverse();
            return Some(ring);
        }
    }
    None
}

/// A ring through `outside` as the chain between; another ring with its first member again at its end.
fn open_at(mut ring: Vec<usize>, outside: usize) -> Chain {
    match ring.iter().position(|node| *node == outside) {
        Some(at) => {
            ring.rotate_left(at);
            ring.remove(0);
        }
        None => ring.push(ring[0]),
    }
    ring
}
