//! Static members: they come back and find what they had.

use super::*;
use crate::error::ErrorKind;

#[test]
fn a_static_member_comes_back_without_a_rebalance() {
    let mut desk = Desk::new(&[("t", 1, 4)]);
    let a = desk.join_static("g", &["t"], "one");
    let b = desk.join_static("g", &["t"], "two");
    desk.act(|c, now, out| c.released(&group("g"), &a, 1, now, out));
    let before = desk.coordinator.describe(&group("g")).unwrap();
    desk.leave("g", &a, Leave::ForNow);
    desk.told();
    assert_eq!(desk.commit("g", &a, 2, tp("t", 0), 5).unwrap_err().kind(), ErrorKind::Fenced, "it has left");
    desk.pass(Duration::from_secs(44));
    desk.tick();
    assert_eq!(desk.told(), [], "nothing happens while it is away");
    let again = desk.join_static("g", &["t"], "one");
    assert_ne!(again, a);
    let partitions = vec![tp("t", 0), tp("t", 1)];
    assert_eq!(desk.told(), [(again.clone(), Change::Assigned { epoch: 2, partitions })]);
    assert_eq!(desk.coordinator.describe(&group("g")).unwrap().epoch(), before.epoch());
    assert_eq!(desk.commit("g", &a, 2, tp("t", 0), 5).unwrap_err().kind(), ErrorKind::Fenced, "the old one");
    desk.commit("g", &again, 2, tp("t", 0), 5).unwrap();
    // Away for too long: the other one gets them.
    desk.leave("g", &again, Leave::ForNow);
    desk.pass(Duration::from_secs(45));
    desk.told();
    desk.tick();
    let partitions = vec![tp("t", 0), tp("t", 1)];
    assert_eq!(desk.told(), [(b, Change::Assigned { epoch: 3, partitions })]);
}

#[test]
fn a_static_member_that_leaves_for_good_is_not_waited_for() {
    let mut desk = Desk::new(&[("t", 1, 2)]);
    let a = desk.join_static("g", &["t"], "one");
    let b = desk.join("g", &["t"]);
    desk.leave("g", &a, Leave::ForGood);
    assert_eq!(desk.owner("g", tp("t", 0)), Some(b));
}

#[test]
fn who_is_away_lets_go_at_once() {
    let mut desk = Desk::new(&[("t", 1, 2)]);
    let a = desk.join_static("g", &["t"], "one");
    desk.leave("g", &a, Leave::ForNow);
    let b = desk.join("g", &["t"]);
    assert_eq!(desk.owner("g", tp("t", 1)), Some(b));
    let a = desk.join_static("g", &["t"], "one");
    assert_eq!(desk.owner("g", tp("t", 0)), Some(a));
}

#[test]
fn static_members_are_found_again_after_a_restart() {
    let topics = [("t", 1, 4)];
    let mut desk = Desk::new(&topics);
    let a = desk.join_static("g", &["t"], "one");
    desk.join("g", &["t"]); // dies with the process
    desk.act(|c, now, out| c.released(&group("g"), &a, 1, now, out));
    desk.write_all();
    let mut again = desk.reopened(&topics, Duration::from_secs(10));
    again.told();
    let description = again.coordinator.describe(&group("g")).unwrap();
    assert_eq!(description.members().len(), 1);
    assert!(!description.members()[0].is_live());
    let epoch = description.epoch();
    let back = again.join_static("g", &["t"], "one");
    let told = again.told();
    assert!(
        matches!(&told[0], (id, Change::Assigned { partitions, .. }) if *id == back && partitions.len() == 4)
    );
    assert_eq!(again.coordinator.describe(&group("g")).unwrap().epoch(), epoch);
    again.write_all();
    // It was there when this process ended: it has its time from then on, and only once.
    let mut third = again.reopened(&topics, Duration::from_secs(1_000));
    third.write_all();
    assert_eq!(third.coordinator.describe(&group("g")).unwrap().members().len(), 1);
    let mut fourth = third.reopened(&topics, Duration::from_secs(44));
    fourth.write_all();
    assert_eq!(fourth.coordinator.list().len(), 1);
    let mut fifth = fourth.reopened(&topics, Duration::from_secs(1));
    fifth.write_all();
    assert!(fifth.coordinator.list().is_empty(), "given up, and nothing else is left");
}

#[test]
fn partitions_added_before_a_restart_find_an_owner() {
    let mut desk = Desk::new(&[("t", 1, 2)]);
    desk.join_static("g", &["t"], "one");
    desk.write_all();
    let again = desk.reopened(&[("t", 1, 3)], Duration::ZERO);
    assert!(again.owner("g", tp("t", 2)).is_some());
    // A topic made anew is another one.
    let anew = desk.reopened(&[("t", 2, 2)], Duration::ZERO);
    assert!(anew.owner("g", tp("t", 1)).is_some());
}
