//! What another thread does in the middle of a flush, a truncation or a change of settings: where they look at the clock
//! it comes in between.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::harness::{Machine, Opened, settings};
use crate::config::Durability;
use crate::env::sim::ManualClock;
use crate::env::{Clock, Environment};
use crate::partition::{Attendant, Found, LogSettings};
use crate::segment::OpenSegments;
use crate::types::Timestamp;

const INTERVAL: Duration = Duration::from_millis(100);

/// A clock during one of whose looks something is done.
struct Interrupting {
    clock: ManualClock,
    /// How many looks come before, and what is done.
    next: Mutex<Option<(u32, Meanwhile)>>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

impl Interrupting {
    fn after_looks(&self, looks: u32, meanwhile: impl FnOnce() + Send + 'static) {
        *self.next.lock().unwrap() = Some((looks, Box::new(meanwhile)));
    }

    fn is_idle(&self) -> bool {
        self.next.lock().unwrap().is_none()
    }
}

impl Clock for Interrupting {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        let due = {
            let mut next = self.next.lock().unwrap();
            next.iter_mut().for_each(|(looks, _)| *looks = looks.wrapping_sub(1));
            next.take_if(|(looks, _)| *looks == u32::MAX)
        };
        due.into_iter().for_each(|(_, meanwhile)| meanwhile());
        self.clock.monotonic()
    }
}

impl fmt::Debug for Interrupting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clock.fmt(f)
    }
}

fn open(in_place: bool) -> (Arc<Opened>, Arc<Interrupting>) {
    let machine = Machine::new(at(Durability::Interval(INTERVAL), in_place));
    let clock = Arc::new(Interrupting { clock: machine.disk().clock().clone(), next: Mutex::new(None) });
    let parts = machine.environment.environment();
    let environment = Environment::new(parts.files().clone(), clock.clone(), parts.random().clone());
    (Arc::new(machine.open_in(&environment, Found::New).unwrap()), clock)
}

fn at(level: Durability, in_place: bool) -> LogSettings {
    LogSettings { in_place, ..settings(level) }
}

/// What comes when a flush has begun, and before it has looked how far it reaches, is covered by it: nobody waits for
/// another one, which would find nothing to do.
#[test]
fn what_a_flush_has_covered_by_the_way_is_never_overdue() {
    for in_place in [true, false] {
        let (opened, clock) = open(in_place);
        opened.send_many(1);
        let other = opened.clone();
        clock.after_looks(0, move || other.send_many(1));
        opened.log.flush().unwrap();
        assert!(clock.is_idle());
        assert_eq!(opened.log.flushed(), 2, "in place: {in_place}");
        clock.clock.advance(INTERVAL * 3);
        opened.send_many(1);
        opened.log.seal_and_write().unwrap();
        opened.assert_holds(0, 3);
    }
}

/// Nor does anybody wait for a flush of what a truncation has taken away.
#[test]
fn what_a_truncation_takes_away_is_never_overdue() {
    for in_place in [true, false] {
        let (opened, clock) = open(in_place);
        opened.send_many(1);
        opened.log.flush().unwrap();
        opened.send_many(1);
        let other = opened.clone();
        // When the flush at its beginning is done.
        clock.after_looks(1, move || other.send_many(1));
        opened.log.truncate(1).unwrap();
        assert!(clock.is_idle());
        clock.clock.advance(INTERVAL * 3);
        opened.send_many(1);
        opened.log.seal_and_write().unwrap();
        opened.assert_holds(0, 2);
    }
}

/// From the first record on that finds the level `Sync`, nobody is told of one that is not on the device.
#[test]
fn a_level_holds_from_the_first_record_that_finds_it() {
    for in_place in [true, false] {
        let mut met = 0;
        for looks in 0.. {
            let (opened, clock) = open(in_place);
            opened.send_many(1);
            let (other, raised) = (opened.clone(), Arc::new(AtomicBool::new(false)));
            let seen = raised.clone();
            clock.after_looks(looks, move || {
                let log = &other.log;
                let free = log.writer.try_lock().is_some();
                if free && log.settings().durability == Durability::Sync {
                    other.send_many(1);
                    log.seal_and_write().unwrap();
                    let (told, flushed) = (log.acked_end(), log.flushed());
                    assert!(told <= flushed, "{told} with {flushed} on the device");
                    seen.store(true, Ordering::Relaxed);
                }
            });
            opened.log.change_settings(at(Durability::Sync, in_place)).unwrap();
            if !clock.is_idle() {
                break;
            }
            met += u32::from(raised.load(Ordering::Relaxed));
        }
        assert!(met > 0, "nothing came in between");
    }
}

/// An attendant that does something when it hears of too many open files, once.
#[derive(Default)]
struct Crowded(Mutex<Option<Meanwhile>>);

impl fmt::Debug for Crowded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crowded")
    }
}

impl Attendant for Crowded {
    fn flush_soon(&self) {}

    fn flushed(&self, _above_point: u64) {}

    fn prepare_soon(&self) {}

    fn close_idle_soon(&self) {
        let next = self.0.lock().unwrap().take();
        next.into_iter().for_each(|meanwhile| meanwhile());
    }

    fn close_idle_now(&self) {}

    fn due_at(&self, _when: Duration) {}
}

/// Of two senders that meet a full segment, one comes too late: it does not cut the next segment, in which others have
/// begun to build.
#[test]
fn a_second_roll_does_not_cut_the_segment_that_the_first_has_begun() {
    let crowded = Arc::new(Crowded::default());
    let machine = Machine::new(at(Durability::Interval(INTERVAL), true));
    let machine = Machine { open_segments: OpenSegments::new(0), attendant: crowded.clone(), ..machine };
    let opened = Arc::new(machine.open(Found::New).unwrap());
    opened.send_many(1);
    opened.log.roll(0).unwrap();
    // Between the new tail and the end of the roll, if there is a second one.
    let other = opened.clone();
    *crowded.0.lock().unwrap() = Some(Box::new(move || other.send_many(3)));
    opened.log.roll(0).unwrap();
    let not_yet = crowded.0.lock().unwrap().take();
    not_yet.into_iter().for_each(|meanwhile| meanwhile());
    // Nor is the next segment rolled, however late somebody comes who has met the first.
    opened.log.roll(0).unwrap();
    assert_eq!(opened.log.segment_count(), 2);
    opened.log.flush().unwrap();
    opened.assert_holds(0, 4);
    machine.killed().open(Found::Unclean(None)).unwrap().assert_holds(0, 4);
}
