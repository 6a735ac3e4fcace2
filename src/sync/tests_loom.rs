//! Every interleaving (within loom's memory model) of publishing and waiting: no wake-up is lost, and each
//! of the two fences is needed. A lost wake-up leaves a thread asleep for ever, which loom reports as a
//! deadlock.

use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::atomic::{AtomicU64, Ordering};
use super::{Arc, WaitKey, WaitList, block_on, block_on_for, thread};

/// Which of the protocol's fences a model leaves out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mutant {
    None,
    PublisherWithoutFence,
    WaiterWithoutFence,
}

struct Log {
    end: AtomicU64,
    waiters: WaitList,
    mutant: Mutant,
}

impl Log {
    fn new(mutant: Mutant) -> Arc<Log> {
        Arc::new(Log { end: AtomicU64::new(0), waiters: WaitList::new(), mutant })
    }

    fn publish(&self, end: u64) {
        self.end.store(end, Ordering::Release);
        match self.mutant {
            Mutant::PublisherWithoutFence => self.waiters.notify_without_fence(),
            _ => self.waiters.notify_after_publish(),
        }
    }

    /// One poll of a future that waits for the log end to pass `offset`.
    fn poll_past(&self, offset: u64, key: &mut Option<WaitKey>, waker: &Waker) -> Poll<u64> {
        let look = || Some(self.end.load(Ordering::Acquire)).filter(|end| *end > offset);
        if let Some(end) = look() {
            return Poll::Ready(end);
        }
        match self.mutant {
            Mutant::WaiterWithoutFence => self.waiters.register_without_fence(key, waker),
            _ => self.waiters.register(key, waker),
        }
        look().map_or(Poll::Pending, Poll::Ready)
    }

    fn wait_past(&self, offset: u64) -> u64 {
        let mut key = None;
        let end = block_on(&mut poll_fn(|context| self.poll_past(offset, &mut key, context.waker())));
        if let Some(key) = key {
            self.waiters.cancel(key);
        }
        end
    }
}

fn one_publisher_one_waiter(mutant: Mutant) {
    loom::model(move || {
        let log = Log::new(mutant);
        let publisher = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.publish(1))
        };
        assert_eq!(log.wait_past(0), 1);
        publisher.join().unwrap();
        assert!(!log.waiters.has_waiters());
    });
}

#[test]
fn no_wake_up_is_lost() {
    one_publisher_one_waiter(Mutant::None);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_publishers_fence_one_is_lost() {
    one_publisher_one_waiter(Mutant::PublisherWithoutFence);
}

#[test]
#[should_panic(expected = "deadlock")]
fn without_the_waiters_fence_one_is_lost() {
    one_publisher_one_waiter(Mutant::WaiterWithoutFence);
}

#[test]
fn a_waiter_of_two_publications_registers_anew() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let log = Log::new(Mutant::None);
        let publisher = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                log.publish(1);
                log.publish(2);
            })
        };
        let first = log.wait_past(0);
        assert_eq!(log.wait_past(1).max(first), 2);
        publisher.join().unwrap();
    });
}

#[test]
fn all_waiters_are_woken() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let log = Log::new(Mutant::None);
        let waiter = {
            let log = Arc::clone(&log);
            thread::spawn(move || assert_eq!(log.wait_past(0), 1))
        };
        let publisher = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.publish(1))
        };
        assert_eq!(log.wait_past(0), 1);
        waiter.join().unwrap();
        publisher.join().unwrap();
    });
}

#[test]
fn two_publishers_do_not_take_each_others_waiter_away() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let logs = Arc::new((AtomicU64::new(0), WaitList::new()));
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let logs = Arc::clone(&logs);
                thread::spawn(move || {
                    logs.0.fetch_add(1, Ordering::Release);
                    logs.1.notify_after_publish();
                })
            })
            .collect();
        let mut key = None;
        block_on(&mut poll_fn(|context| {
            if logs.0.load(Ordering::Acquire) == 2 {
                return Poll::Ready(());
            }
            logs.1.register(&mut key, context.waker());
            if logs.0.load(Ordering::Acquire) == 2 { Poll::Ready(()) } else { Poll::Pending }
        }));
        for publisher in publishers {
            publisher.join().unwrap();
        }
    });
}

#[test]
fn cancelling_one_waiter_costs_no_other_its_wake_up() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let log = Log::new(Mutant::None);
        let gives_up = {
            let log = Arc::clone(&log);
            thread::spawn(move || {
                let mut key = None;
                let _ = log.poll_past(0, &mut key, Waker::noop());
                if let Some(key) = key {
                    log.waiters.cancel(key);
                }
            })
        };
        let publisher = {
            let log = Arc::clone(&log);
            thread::spawn(move || log.publish(1))
        };
        assert_eq!(log.wait_past(0), 1);
        gives_up.join().unwrap();
        publisher.join().unwrap();
        assert!(!log.waiters.has_waiters());
    });
}

#[test]
fn a_wake_up_between_poll_and_sleep_is_kept() {
    for timeout in [None, Some(Duration::from_secs(1))] {
        loom::model(move || {
            let mut wakes = None;
            let mut woken_once = poll_fn(|context| {
                if wakes.is_some() {
                    return Poll::Ready(());
                }
                let waker = context.waker().clone();
                wakes = Some(thread::spawn(move || waker.wake()));
                Poll::Pending
            });
            match timeout {
                None => block_on(&mut woken_once),
                Some(timeout) => {
                    assert_eq!(block_on_for(&mut woken_once, timeout, &|| Duration::ZERO), Some(()));
                }
            }
            wakes.unwrap().join().unwrap();
        });
    }
}
