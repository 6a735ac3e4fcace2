//! Offsets: when they are seen, what is refused, how they end.

use super::*;
use crate::error::{Error, ErrorKind};

#[test]
fn offsets_are_seen_when_written() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let a = desk.join("g", &["t"]);
    let first = desk.commit("g", &a, 1, tp("t", 0), 5).unwrap().unwrap();
    assert_eq!(desk.seen("g", tp("t", 0)), Committed::Absent);
    assert_eq!(desk.coordinator.committed(&group("g"), &tp("t", 0)).1, Some(first));
    let second = desk.commit("g", &a, 1, tp("t", 0), 7).unwrap().unwrap();
    desk.act(|c, _, out| c.written(first, out));
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(5));
    // A late commit of less does nothing, but holds only when what is there holds.
    assert_eq!(desk.commit("g", &a, 1, tp("t", 0), 6).unwrap(), Some(second));
    desk.act(|c, _, out| c.failed(second, out));
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(5));
    assert_eq!(desk.commit("g", &a, 1, tp("t", 0), 5).unwrap(), None, "it holds already");
    let back = CommitEntry { backward: Backward::Allow, ..entry(tp("t", 0), 1, 0) };
    let committer = Committer { member: a, epoch: 1 };
    desk.act(|c, now, out| c.commit(&group("g"), &committer, vec![back], now, out)).unwrap();
    desk.write_all();
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(0), "zero is not absent");
}

#[test]
fn a_request_is_taken_or_refused_as_a_whole() {
    let mut desk = Desk::new(&[("t", 1, 2)]);
    let a = desk.join("g", &["t"]);
    let committer = Committer { member: a.clone(), epoch: 1 };
    let mut check = |wrong: CommitEntry, expected: ErrorKind| {
        let entries = vec![entry(tp("t", 0), 1, 5), wrong];
        let error = desk.act(|c, now, out| c.commit(&group("g"), &committer, entries, now, out)).unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        desk.write_all();
        assert_eq!(desk.seen("g", tp("t", 0)), Committed::Absent);
    };
    check(entry(tp("t", 1), 1, 1001), ErrorKind::InvalidArgument);
    check(entry(tp("t", 1), 9, 5), ErrorKind::TopicNotFound);
    check(entry(tp("u", 0), 1, 5), ErrorKind::TopicNotFound);
    check(entry(tp("t", 2), 1, 5), ErrorKind::PartitionNotFound);
    let long = entry(tp("t", 1), 1, 5);
    let long = CommitEntry { offset: long.offset.metadata(&"x".repeat(4097)), ..long };
    check(long, ErrorKind::InvalidArgument);
    assert_eq!(desk.commit("other", &a, 1, tp("t", 0), 5).unwrap_err().kind(), ErrorKind::Fenced);
}

#[test]
fn offsets_of_a_deleted_topic_go_and_a_new_one_inherits_none() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let a = desk.join("g", &["t"]);
    desk.commit("g", &a, 1, tp("t", 0), 5).unwrap();
    desk.write_all();
    let before = desk.log.clone();
    desk.act(|c, now, out| c.topic_deleted(&topic("t"), now, out));
    assert_eq!(desk.commit("g", &a, 1, tp("t", 0), 6).unwrap_err().kind(), ErrorKind::TopicNotFound);
    let new = KnownTopic { id: id(2), partitions: 1, volatile: false };
    desk.act(|c, now, out| c.topic_changed(&topic("t"), new, now, out));
    assert_eq!(desk.seen("g", tp("t", 0)), Committed::Absent, "even before the tombstone is written");
    desk.write_all();
    assert_eq!(desk.seen("g", tp("t", 0)), Committed::Absent);
    // The process ended before the tombstone was written, and the topic was made anew.
    desk.log = before;
    let mut again = desk.reopened(&[("t", 2, 1)], Duration::ZERO);
    assert_eq!(again.seen("g", tp("t", 0)), Committed::Absent);
    again.write_all();
    assert!(again.coordinator.list().is_empty());
    let third = again.reopened(&[("t", 1, 1)], Duration::ZERO);
    assert_eq!(third.seen("g", tp("t", 0)), Committed::Absent, "the tombstone was written");
}

#[test]
fn damage_is_neither_absence_nor_zero() {
    let mut desk = Desk::new(&[("t", 1, 3)]);
    let a = desk.join("g", &["t"]);
    for partition in 0..2 {
        desk.commit("g", &a, 1, tp("t", partition), 0).unwrap();
    }
    desk.write_all();
    let damaged = desk.log.iter_mut().rfind(|record| {
        matches!(record.key, crate::format::offsets_topic::OffsetsKey::Offset { partition: 1, .. })
    });
    damaged.unwrap().value = Some(vec![0, 4, 1]);
    let mut again = desk.reopened(&[("t", 1, 3)], Duration::ZERO);
    assert_eq!(again.seen_offset("g", tp("t", 0)), Some(0));
    assert!(matches!(again.seen("g", tp("t", 1)), Committed::Corrupt(_)));
    assert_eq!(again.seen("g", tp("t", 2)), Committed::Absent);
    // It is overwritten like any other.
    let b = again.join("g", &["t"]);
    let epoch = again.coordinator.describe(&group("g")).unwrap().epoch();
    again.commit("g", &b, epoch, tp("t", 1), 3).unwrap();
    again.write_all();
    assert_eq!(again.seen_offset("g", tp("t", 1)), Some(3));
    again.coordinator.replay(b"\0", Some(b""));
    assert_eq!(again.coordinator.replayed.unreadable, 1);
}

#[test]
fn offsets_of_dead_groups_expire() {
    let mut desk = Desk::new(&[("t", 1, 1), ("u", 2, 1)]);
    let a = desk.join("g", &["t"]);
    desk.commit("g", &a, 1, tp("t", 0), 5).unwrap();
    desk.write_all();
    for _ in 0..40 {
        desk.pass(Duration::from_secs(86_400));
        desk.coordinator.polled(&group("g"), &a, desk.now.monotonic);
        desk.tick();
    }
    desk.write_all();
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(5), "never while somebody reads");
    desk.leave("g", &a, Leave::ForNow);
    desk.write_all();
    // Restarts do not begin the time anew.
    let mut again = desk.reopened(&[("t", 1, 1), ("u", 2, 1)], Duration::from_secs(86_400) * 4);
    assert_eq!(again.tick(), Some(Duration::from_secs(86_400) * 3));
    let mut again = again.reopened(&[("t", 1, 1), ("u", 2, 1)], Duration::from_secs(86_400) * 3);
    again.tick();
    assert_eq!(again.seen_offset("g", tp("t", 0)), Some(5), "until it is written");
    again.write_all();
    assert!(again.coordinator.list().is_empty());
    let last = again.reopened(&[("t", 1, 1), ("u", 2, 1)], Duration::ZERO);
    assert!(last.coordinator.list().is_empty());
}

#[test]
fn a_group_that_was_alive_when_the_process_died_has_its_time_from_then_on() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let a = desk.join("g", &["t"]);
    desk.commit("g", &a, 1, tp("t", 0), 5).unwrap();
    desk.write_all();
    let mut again = desk.reopened(&[("t", 1, 1)], WEEK * 5);
    again.tick();
    again.write_all();
    assert_eq!(again.seen_offset("g", tp("t", 0)), Some(5));
    assert_eq!(again.tick(), Some(WEEK));
}

#[test]
fn offsets_of_topics_that_are_no_longer_read_expire() {
    let mut desk = Desk::new(&[("t", 1, 1), ("u", 1, 1)]);
    let a = desk.join("g", &["t", "u"]);
    desk.commit("g", &a, 1, tp("t", 0), 5).unwrap();
    desk.commit("g", &a, 1, tp("u", 0), 5).unwrap();
    let b = desk.join("g", &["u"]);
    desk.leave("g", &a, Leave::ForNow);
    desk.write_all();
    desk.pass(WEEK);
    desk.coordinator.polled(&group("g"), &b, desk.now.monotonic);
    desk.tick();
    desk.write_all();
    assert_eq!(desk.seen("g", tp("t", 0)), Committed::Absent);
    assert_eq!(desk.seen_offset("g", tp("u", 0)), Some(5));
}

#[test]
fn nothing_is_pulled_from_under_live_members() {
    let mut desk = Desk::new(&[("t", 1, 1), ("u", 1, 1)]);
    let a = desk.join("g", &["t"]);
    let reset = |desk: &mut Desk, at: TopicPartition, offset: u64| {
        let entries = vec![entry(at, 1, offset)];
        desk.act(|c, now, out| c.reset(&group("g"), entries, now, out)).map(|_| ()).map_err(|e| e.kind())
    };
    assert_eq!(reset(&mut desk, tp("t", 0), 3), Err(ErrorKind::GroupInUse));
    assert_eq!(reset(&mut desk, tp("u", 0), 3), Ok(()), "nobody reads it");
    let delete = |desk: &mut Desk, at| {
        desk.act(|c, _, out| c.delete_offsets(&group("g"), &[at], out)).map(|_| ()).map_err(|e| e.kind())
    };
    assert_eq!(delete(&mut desk, tp("t", 0)), Err(ErrorKind::GroupInUse));
    assert_eq!(delete(&mut desk, tp("u", 0)), Ok(()));
    let group_gone = |desk: &mut Desk| {
        desk.act(|c, now, out| c.delete_group(&group("g"), now, out)).map(|_| ()).map_err(|e| e.kind())
    };
    assert_eq!(group_gone(&mut desk), Err(ErrorKind::GroupInUse));
    desk.commit("g", &a, 1, tp("t", 0), 9).unwrap();
    desk.leave("g", &a, Leave::ForNow);
    assert_eq!(reset(&mut desk, tp("t", 0), 3), Ok(()));
    desk.write_all();
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(3), "a reset goes back");
    assert_eq!(group_gone(&mut desk), Ok(()));
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(3), "until it is written");
    desk.write_all();
    assert_eq!(group_gone(&mut desk), Err(ErrorKind::GroupNotFound));
    assert!(desk.reopened(&[("t", 1, 1)], Duration::ZERO).coordinator.list().is_empty());
}

#[test]
fn a_reset_makes_a_group() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    desk.act(|c, now, out| c.reset(&group("new"), vec![entry(tp("t", 0), 1, 4)], now, out)).unwrap();
    desk.write_all();
    assert_eq!(desk.seen_offset("new", tp("t", 0)), Some(4));
    assert_eq!(desk.reopened(&[("t", 1, 1)], Duration::ZERO).seen_offset("new", tp("t", 0)), Some(4));
}

#[test]
fn offsets_of_a_volatile_topic_hold_at_once_and_are_written_nowhere() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let volatile = KnownTopic { id: id(2), partitions: 2, volatile: true };
    desk.act(|c, now, out| c.topic_changed(&topic("v"), volatile, now, out));
    let a = desk.join("g", &["t", "v"]);
    desk.write_all();
    let committer = Committer { member: a, epoch: 1 };
    let entries = vec![entry(tp("v", 0), 2, 5), entry(tp("t", 0), 1, 7)];
    let write = desk.act(|c, now, out| c.commit(&group("g"), &committer, entries, now, out)).unwrap();
    assert!(write.is_some(), "the other one is written");
    assert_eq!((desk.seen_offset("g", tp("v", 0)), desk.seen_offset("g", tp("t", 0))), (Some(5), None));
    let only = vec![entry(tp("v", 0), 2, 6)];
    assert_eq!(desk.act(|c, now, out| c.commit(&group("g"), &committer, only, now, out)).unwrap(), None);
    desk.write_all();
    assert_eq!((desk.seen_offset("g", tp("v", 0)), desk.seen_offset("g", tp("t", 0))), (Some(6), Some(7)));
    desk.act(|c, now, out| c.topic_deleted(&topic("v"), now, out));
    assert_eq!(desk.seen("g", tp("v", 0)), Committed::Absent);
    desk.write_all();
    let about_v = |record: &&OffsetsRecord| record.key.encode().windows(1).any(|byte| byte == b"v");
    assert_eq!(desk.log.iter().filter(about_v).count(), 0);
}

#[test]
fn the_floor_is_what_every_group_of_the_topic_has_committed() {
    let mut desk = Desk::new(&[]);
    let volatile = KnownTopic { id: id(1), partitions: 1, volatile: true };
    desk.act(|c, now, out| c.topic_changed(&topic("v"), volatile, now, out));
    let floor = |desk: &mut Desk| {
        assert!(desk.coordinator.has_touched());
        let floors = desk.coordinator.take_floors();
        assert_eq!(floors.len(), 1);
        floors[0].1.get()
    };
    let a = desk.join("fast", &["v"]);
    assert_eq!(floor(&mut desk), 0);
    desk.commit("fast", &a, 1, tp("v", 0), 9).unwrap();
    assert_eq!(floor(&mut desk), 9);
    let b = desk.join("slow", &["v"]);
    assert_eq!(floor(&mut desk), 0, "one that has committed nothing needs everything");
    desk.commit("slow", &b, 1, tp("v", 0), 4).unwrap();
    assert_eq!(floor(&mut desk), 4);
    desk.leave("slow", &b, Leave::ForGood);
    assert_eq!(floor(&mut desk), 4, "it may come back");
    desk.act(|c, now, out| c.delete_group(&group("slow"), now, out)).unwrap();
    assert_eq!(floor(&mut desk), 9);
    desk.leave("fast", &a, Leave::ForGood);
    desk.pass(WEEK + WEEK);
    desk.tick();
    assert_eq!(floor(&mut desk), 0, "without groups nothing is done with");
}

impl Desk {
    /// Commits an offset of partition 0 of `t` as part of the transaction whose writes so far are `own`.
    fn transact(&mut self, member: &MemberId, own: &[WriteId], offset: u64) -> Result<Option<WriteId>> {
        let committer = Committer { member: member.clone(), epoch: 1 };
        let entries = vec![entry(tp("t", 0), 1, offset)];
        let begun =
            self.act(|c, now, _| c.commit_in_transaction(&group("g"), &committer, entries, own, now))?;
        Ok(begun.map(|(write, _)| write))
    }

    fn end(&mut self, write: Option<WriteId>, committed: bool) {
        let write = write.unwrap();
        self.act(|c, _, out| if committed { c.written(write, out) } else { c.failed(write, out) });
    }
}

#[test]
fn a_transaction_does_not_count_on_another_one() {
    for first_commits in [false, true] {
        for second_ends_first in [false, true] {
            let mut desk = Desk::new(&[("t", 1, 1)]);
            let a = desk.join("g", &["t"]);
            desk.commit("g", &a, 1, tp("t", 0), 10).unwrap();
            desk.write_all();
            let first = desk.transact(&a, &[], 30).unwrap();
            let lower = desk.transact(&a, &[], 20).unwrap_err();
            assert_eq!(lower.kind(), ErrorKind::Backpressure, "{lower}");
            assert_eq!(desk.transact(&a, &[], 10).unwrap(), None, "it holds already");
            let second = desk.transact(&a, &[], 30).unwrap();
            assert!(second > first);
            let mut ends = [(first, first_commits), (second, true)];
            if second_ends_first {
                ends.reverse();
            }
            ends.into_iter().for_each(|(write, committed)| desk.end(write, committed));
            assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(30));
        }
    }
}

#[test]
fn a_transaction_counts_on_itself() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let a = desk.join("g", &["t"]);
    let first = desk.transact(&a, &[], 30).unwrap();
    let own = [first.unwrap()];
    assert_eq!(desk.transact(&a, &own, 30).unwrap(), None);
    assert_eq!(desk.transact(&a, &own, 20).unwrap(), None, "a late one of less");
    let second = desk.transact(&a, &own, 40).unwrap();
    desk.end(first, true);
    desk.end(second, true);
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(40));
}

#[test]
fn a_transaction_takes_a_later_commit_that_may_be_lost_upon_itself() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let a = desk.join("g", &["t"]);
    let plain = desk.commit("g", &a, 1, tp("t", 0), 30).unwrap();
    let within = desk.transact(&a, &[], 20).unwrap();
    // What was never durable is gone; the transaction is not.
    desk.end(plain, false);
    desk.end(within, true);
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(30));
    assert_eq!(desk.transact(&a, &[], 20).unwrap(), None, "now it holds");
}

#[test]
fn a_commit_that_needs_nothing_waits_for_no_transaction() {
    let mut desk = Desk::new(&[("t", 1, 2)]);
    let a = desk.join("g", &["t"]);
    desk.commit("g", &a, 1, tp("t", 0), 10).unwrap();
    desk.write_all();
    let open = desk.transact(&a, &[], 30).unwrap();
    for held in [5, 10] {
        let entries = vec![entry(tp("t", 1), 1, held), entry(tp("t", 0), 1, held)];
        let committer = Committer { member: a.clone(), epoch: 1 };
        desk.act(|c, now, out| c.commit(&group("g"), &committer, entries, now, out)).unwrap();
        desk.write_all();
        assert_eq!(desk.seen_offset("g", tp("t", 1)), Some(held));
    }
    // Where one of them is in the way nothing of the request is done.
    let entries = vec![entry(tp("t", 1), 1, 50), entry(tp("t", 0), 1, 20)];
    let committer = Committer { member: a, epoch: 1 };
    let refused = desk.act(|c, now, out| c.commit(&group("g"), &committer, entries, now, out)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Backpressure, "{refused}");
    desk.end(open, false);
    desk.write_all();
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(10));
    assert_eq!(desk.seen_offset("g", tp("t", 1)), Some(10));
}

#[test]
fn who_would_wait_for_a_transaction_that_nobody_can_tell_is_told_so() {
    let mut desk = Desk::new(&[("t", 1, 1)]);
    let a = desk.join("g", &["t"]);
    let unknown = desk.transact(&a, &[], 30).unwrap().unwrap();
    desk.transact(&a, &[unknown], 40).unwrap();
    desk.coordinator.hold(unknown, Error::new(ErrorKind::Poisoned, "the disk has failed"));
    assert_eq!(desk.commit("g", &a, 1, tp("t", 0), 20).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(desk.transact(&a, &[], 20).unwrap_err().kind(), ErrorKind::Poisoned);
    assert_eq!(desk.commit("g", &a, 1, tp("t", 0), 35).unwrap_err().kind(), ErrorKind::Backpressure);
    desk.commit("g", &a, 1, tp("t", 0), 40).unwrap();
    desk.write_all();
    assert_eq!(desk.seen_offset("g", tp("t", 0)), Some(40), "what is not below them goes on");
}
