//! Searches by time over many segments: right whatever the order of timestamps, and without looking at each segment.

use super::harness::*;
use crate::config::Durability;
use crate::partition::Found;

/// Times that rise, fall back for a while, and jump ahead for a moment.
fn time(n: u64) -> i64 {
    let n = n as i64;
    10_000 + n * 10 - if n % 300 < 90 { 1_500 } else { 0 } + if n % 500 == 7 { 2_000 } else { 0 }
}

fn assert_agrees(p: &Opened, times: &[(u64, i64)]) {
    for t in (8_000..24_000).step_by(97).chain([i64::MIN, i64::MAX]) {
        let expected = times.iter().copied().find(|&(_, time)| time >= t);
        assert_eq!(p.log.offset_for_timestamp(t).unwrap(), expected, "{t}");
    }
}

#[test]
fn the_first_as_new_is_found_whatever_the_order() {
    for level in [Durability::Memory, Durability::Sync] {
        let machine = Machine::new(settings(level));
        let p = machine.open(Found::New).unwrap();
        let mut times: Vec<(u64, i64)> = Vec::new();
        let send = |p: &Opened, times: &mut Vec<(u64, i64)>, shift: i64| {
            let next = p.log.appended_end();
            assert_eq!(p.send_at(&value_of(next), time(next) + shift), next);
            times.push((next, time(next) + shift));
        };
        for n in 0..1_500 {
            send(&p, &mut times, 0);
            if n % 250 == 0 {
                p.log.flush().unwrap();
                assert_agrees(&p, &times);
            }
        }
        p.log.flush().unwrap();
        assert!(p.log.segment_count() > 7);
        assert_agrees(&p, &times);
        // Old ones go: one of those had the greatest timestamp for long.
        p.log.delete_records(520).unwrap();
        times.retain(|&(offset, _)| offset >= 520);
        assert_agrees(&p, &times);
        // A truncation into the middle, to the start of a segment, and other records in their place.
        let base = p.log.segments.read()[5].base();
        for to in [1_200, base] {
            let end = p.log.truncate(to).unwrap();
            times.retain(|&(offset, _)| offset < end);
            assert_agrees(&p, &times);
            for _ in 0..300 {
                send(&p, &mut times, 900);
            }
            p.log.flush().unwrap();
            assert_agrees(&p, &times);
        }
        let point = p.log.close().unwrap();
        drop(p);
        assert_agrees(&machine.open(Found::Clean(point)).unwrap(), &times);
    }
}

#[test]
fn a_search_opens_the_one_segment_that_it_needs() {
    let machine = Machine::new(settings(Durability::Sync));
    let p = machine.open(Found::New).unwrap();
    for n in 0..1_500 {
        p.send_at(&value_of(n), n as i64);
    }
    p.log.flush().unwrap();
    assert!(p.log.segment_count() > 7);
    assert_eq!(p.log.offset_for_timestamp(1_499).unwrap(), Some((1_499, 1_499)), "it comes by all of them");
    for t in [0, 70, 700, 1_200] {
        p.close_files().unwrap();
        assert_eq!(p.open_files(), 0);
        assert_eq!(p.log.offset_for_timestamp(t).unwrap(), Some((t as u64, t)));
        assert!(p.open_files() <= 3, "more than a log and its indexes: {} for {t}", p.open_files());
    }
}
