//! Partitions change hands one by one.

use super::*;
use crate::error::ErrorKind;
use crate::group::{GroupState, Range, TopicPattern};

fn assigned(epoch: i32, partitions: &[TopicPartition]) -> Change {
    Change::Assigned { epoch, partitions: partitions.to_vec() }
}

#[test]
fn a_partition_is_given_after_it_was_let_go() {
    let mut desk = Desk::new(&[("t", 1, 4)]);
    let a = desk.join("g", &["t"]);
    let all: Vec<_> = (0..4).map(|n| tp("t", n)).collect();
    assert_eq!(desk.told(), [(a.clone(), assigned(1, &all))]);
    let b = desk.join("g", &["t"]);
    let moving = vec![tp("t", 2), tp("t", 3)];
    assert_eq!(
        desk.told(),
        [
            (a.clone(), Change::Revoke { revocation: 1, partitions: moving.clone() }),
            (b.clone(), assigned(2, &[])),
        ]
    );
    assert_eq!(desk.owner("g", tp("t", 2)), Some(a.clone()), "until it lets go");
    assert_eq!(desk.coordinator.describe(&group("g")).unwrap().state(), GroupState::Reconciling);
    // What it has not let go it may still commit.
    desk.commit("g", &a, 1, tp("t", 2), 5).unwrap();
    desk.act(|c, now, out| c.released(&group("g"), &a, 7, now, out));
    assert_eq!(desk.told(), [], "an answer to another question");
    desk.act(|c, now, out| c.released(&group("g"), &a, 1, now, out));
    assert_eq!(desk.told(), [(a.clone(), assigned(2, &[])), (b.clone(), assigned(2, &moving))]);
    let error = desk.commit("g", &a, 1, tp("t", 2), 6).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rebalanced);
    desk.commit("g", &b, 2, tp("t", 2), 6).unwrap();
    desk.commit("g", &a, 1, tp("t", 0), 6).unwrap(); // kept all the time
    let description = desk.coordinator.describe(&group("g")).unwrap();
    assert_eq!((description.state(), description.rebalances()), (GroupState::Stable, 2));
    assert_eq!(description.moved_partitions(), 2);
}

#[test]
fn records_polled_before_a_partition_went_and_came_back_are_not_committed() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let a = desk.join("g", &["t"]);
    desk.pass(Duration::from_secs(299));
    let b = desk.join_static("g", &["t"], "a-static-one"); // it sorts first, but has nothing
    desk.coordinator.polled(&group("g"), &b, desk.now.monotonic);
    assert_eq!(desk.owner("g", tp("t", 0)), Some(a.clone()));
    desk.pass(Duration::from_secs(2));
    desk.tick();
    assert_eq!(desk.owner("g", tp("t", 0)), Some(b.clone()));
    assert!(desk.told().contains(&(a.clone(), Change::Fenced)));
    assert_eq!(desk.commit("g", &a, 1, tp("t", 0), 5).unwrap_err().kind(), ErrorKind::Fenced);
    // Another one comes and goes; b has the partition since epoch 3.
    assert_eq!(desk.commit("g", &b, 2, tp("t", 0), 5).unwrap_err().kind(), ErrorKind::Rebalanced);
    desk.commit("g", &b, 3, tp("t", 0), 5).unwrap();
    assert_eq!(desk.commit("g", &b, 9, tp("t", 0), 5).unwrap_err().kind(), ErrorKind::Rebalanced);
}

#[test]
fn who_does_not_let_go_in_time_is_put_out() {
    let mut desk = Desk::new(&[("t", 1, 2)]);
    let a = desk.join("g", &["t"]);
    let b = desk.join("g", &["t"]);
    desk.pass(Duration::from_secs(200));
    for member in [&a, &b] {
        desk.coordinator.polled(&group("g"), member, desk.now.monotonic);
    }
    assert_eq!(desk.tick(), Some(Duration::from_secs(300)));
    desk.pass(Duration::from_secs(100));
    desk.told();
    desk.tick();
    let told = desk.told();
    assert_eq!(told[0], (a, Change::Fenced));
    assert_eq!(told[1], (b, assigned(3, &[tp("t", 0), tp("t", 1)])));
}

#[test]
fn leaving_frees_at_once() {
    let mut desk = Desk::new(&[("t", 1, 2)]);
    let a = desk.join("g", &["t"]);
    let b = desk.join("g", &["t"]);
    desk.told();
    desk.leave("g", &a, Leave::ForNow);
    assert_eq!(desk.told(), [(b.clone(), assigned(3, &[tp("t", 0), tp("t", 1)]))]);
    desk.leave("g", &a, Leave::ForNow); // again: nothing
    desk.leave("g", &b, Leave::ForNow);
    assert_eq!(desk.coordinator.describe(&group("g")).unwrap_err().kind(), ErrorKind::GroupNotFound);
}

#[test]
fn topics_come_grow_and_go() {
    let mut desk = Desk::new(&[("orders.eu", 1, 1)]);
    let subscription = Subscription::matching(TopicPattern::new("orders.*").unwrap());
    let a = desk.join_as("g", JoinRequest { subscription, ..Desk::request(&[]) }).unwrap();
    assert_eq!(desk.told(), [(a.clone(), assigned(1, &[tp("orders.eu", 0)]))]);
    let us = KnownTopic { id: id(2), partitions: 1, volatile: false };
    desk.act(|c, now, out| c.topic_changed(&topic("orders.us"), us, now, out));
    assert_eq!(desk.told(), [(a.clone(), assigned(2, &[tp("orders.us", 0)]))]);
    let grown = KnownTopic { id: id(2), partitions: 2, volatile: false };
    desk.act(|c, now, out| c.topic_changed(&topic("orders.us"), grown, now, out));
    assert_eq!(desk.told(), [(a.clone(), assigned(3, &[tp("orders.us", 1)]))]);
    desk.act(|c, now, out| c.topic_changed(&topic("invoices"), us, now, out));
    assert_eq!(desk.told(), []);
    desk.act(|c, now, out| c.topic_deleted(&topic("orders.us"), now, out));
    let lost = vec![tp("orders.us", 0), tp("orders.us", 1)];
    assert_eq!(desk.told(), [(a.clone(), Change::Lost { partitions: lost }), (a, assigned(4, &[]))]);
}

#[test]
fn a_topic_that_goes_while_it_is_let_go() {
    let mut desk = Desk::new(&[("t", 1, 2), ("u", 2, 2)]);
    let a = desk.join("g", &["t", "u"]);
    let b = desk.join("g", &["t", "u"]);
    desk.told();
    desk.act(|c, now, out| c.topic_deleted(&topic("u"), now, out));
    let new = KnownTopic { id: id(3), partitions: 2, volatile: false };
    desk.act(|c, now, out| c.topic_changed(&topic("u"), new, now, out));
    // Whatever the answers, nobody owns twice, and in the end all is shared.
    for revocation in 1..6 {
        for member in [&a, &b] {
            desk.act(|c, now, out| c.released(&group("g"), member, revocation, now, out));
        }
    }
    let description = desk.coordinator.describe(&group("g")).unwrap();
    assert_eq!(description.state(), GroupState::Stable);
    assert!(description.members().iter().all(|member| member.assigned().len() == 2));
}

#[test]
fn bad_joins_are_refused() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let refused = |desk: &mut Desk, request: JoinRequest| desk.join_as("g", request).unwrap_err().kind();
    assert_eq!(refused(&mut desk, Desk::request(&[])), ErrorKind::InvalidArgument);
    assert_eq!(refused(&mut desk, Desk::request(&["missing"])), ErrorKind::TopicNotFound);
    assert!(desk.coordinator.list().is_empty(), "a refused join makes no group");
    desk.join_static("g", &["t"], "one");
    let instance_id = Some(InstanceId::new("one").unwrap());
    assert_eq!(
        refused(&mut desk, JoinRequest { instance_id, ..Desk::request(&["t"]) }),
        ErrorKind::GroupInUse
    );
    let range = JoinRequest { assignor: Arc::new(Range), ..Desk::request(&["t"]) };
    assert_eq!(refused(&mut desk, range), ErrorKind::InvalidArgument);
}

#[derive(Debug)]
struct AllToAll;

impl Assignor for AllToAll {
    fn name(&self) -> &str {
        "all-to-all"
    }

    fn assign(&self, group: &crate::group::GroupSubscription) -> crate::group::GroupAssignment {
        let mut assignment = crate::group::GroupAssignment::new(group);
        for member in 0..group.members().len() + 1 {
            group.partitions().for_each(|tp| assignment.give(member, tp));
            assignment.give(member, tp("nowhere", 0));
        }
        assignment
    }
}

#[test]
fn a_broken_assignor_breaks_nothing() {
    let mut desk = Desk::new(&[("t", 1, 2)]);
    for _ in 0..3 {
        desk.join_as("g", JoinRequest { assignor: Arc::new(AllToAll), ..Desk::request(&["t"]) }).unwrap();
    }
    let description = desk.coordinator.describe(&group("g")).unwrap();
    assert!(description.assignor_complaint().is_some());
    assert_eq!(description.members().iter().map(|member| member.assigned().len()).sum::<usize>(), 2);
}
