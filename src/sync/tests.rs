//! Waiting in threads and in tasks: registration, wake-ups, time-outs, nesting.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::atomic::{AtomicU64, AtomicUsize, Ordering};
use super::{Arc, Mutex, Now, Operation, WaitKey, WaitList, block_on, block_on_for, thread};
use crate::error::{Error, ErrorKind};

/// Longer than any test: a wait that reaches it has lost its wake-up.
const LONG: Duration = Duration::from_secs(3_600);

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Counter {
    fn new() -> (Arc<Counter>, Waker) {
        let counter = Arc::new(Counter::default());
        (Arc::clone(&counter), Waker::from(counter))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A log end that is published and waited for.
struct Log {
    end: AtomicU64,
    waiters: WaitList,
}

impl Log {
    fn new() -> Arc<Log> {
        Arc::new(Log { end: AtomicU64::new(0), waiters: WaitList::new() })
    }

    fn publish(&self, end: u64) {
        self.end.store(end, Ordering::Release);
        self.waiters.notify_after_publish();
    }

    fn end_past(self: &Arc<Log>, offset: u64) -> EndPast {
        EndPast { log: Arc::clone(self), offset, key: None }
    }
}

/// Ready with the log end once it lies past `offset`; the way hot operations are written.
struct EndPast {
    log: Arc<Log>,
    offset: u64,
    key: Option<WaitKey>,
}

impl EndPast {
    fn look(&self) -> Option<u64> {
        Some(self.log.end.load(Ordering::Acquire)).filter(|end| *end > self.offset)
    }
}

impl Future for EndPast {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u64> {
        if let Some(end) = self.look() {
            return Poll::Ready(end);
        }
        let this = &mut *self;
        this.log.waiters.register(&mut this.key, context.waker());
        this.look().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for EndPast {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.log.waiters.cancel(key);
        }
    }
}

fn frozen_clock() -> Now {
    Arc::new(|| Duration::ZERO)
}

// -- the shim --

#[test]
fn mutex_gives_its_guard_and_refuses_a_second_one() {
    let mut mutex = Mutex::new(1);
    let mut guard = mutex.lock();
    *guard += 1;
    assert!(mutex.try_lock().is_none());
    drop(guard);
    assert_eq!(mutex.try_lock().map(|guard| *guard), Some(2));
    *mutex.get_mut() += 1;
    assert_eq!(mutex.into_inner(), 3);
}

// -- WaitList --

#[test]
fn waiters_are_counted_and_each_is_woken_once() {
    let list = WaitList::new();
    assert!(!list.has_waiters());
    let counters: Vec<_> = (0..5).map(|_| Counter::new()).collect();
    let mut keys: Vec<Option<WaitKey>> = counters.iter().map(|_| None).collect();
    for ((_, waker), key) in counters.iter().zip(&mut keys) {
        list.register(key, waker);
        assert!(list.has_waiters() && key.is_some());
    }
    list.notify_after_publish();
    assert!(!list.has_waiters());
    list.notify_after_publish();
    list.wake_all();
    assert!(counters.iter().all(|(counter, _)| counter.count() == 1));
}

#[test]
fn registering_again_keeps_the_place_and_takes_the_new_waker() {
    let list = WaitList::new();
    let (old, old_waker) = Counter::new();
    let (new, new_waker) = Counter::new();
    let mut key = None;
    list.register(&mut key, &old_waker);
    list.register(&mut key, &old_waker);
    list.register(&mut key, &new_waker);
    assert_eq!(Arc::strong_count(&old), 2, "the waker that was replaced is dropped");
    list.wake_all();
    assert_eq!((old.count(), new.count()), (0, 1));
}

#[test]
fn a_cancelled_waiter_is_not_woken_and_leaves_no_trace() {
    let list = WaitList::new();
    let (gone, gone_waker) = Counter::new();
    let (stays, stays_waker) = Counter::new();
    let (mut gone_key, mut stays_key) = (None, None);
    list.register(&mut gone_key, &gone_waker);
    list.register(&mut stays_key, &stays_waker);
    list.cancel(gone_key.take().unwrap());
    assert_eq!(Arc::strong_count(&gone), 2, "the waker that was cancelled is dropped");
    assert!(list.has_waiters());
    list.register(&mut gone_key, &gone_waker);
    assert_eq!(
        format!("{gone_key:?}"),
        "Some(WaitKey { round: 0, slot: 0 })",
        "the free place is used again"
    );
    list.cancel(gone_key.take().unwrap());
    list.cancel(stays_key.take().unwrap());
    assert!(!list.has_waiters());
    list.wake_all();
    assert_eq!((gone.count(), stays.count()), (0, 0));
}

#[test]
fn a_key_of_an_ended_round_is_void() {
    let list = WaitList::new();
    let (early, early_waker) = Counter::new();
    let (late, late_waker) = Counter::new();
    let (mut early_key, mut late_key) = (None, None);
    list.register(&mut early_key, &early_waker);
    list.wake_all();
    list.register(&mut late_key, &late_waker);
    list.cancel(early_key.take().unwrap());
    assert!(list.has_waiters(), "a void key cancels nobody else");

    list.register(&mut early_key, &early_waker);
    list.wake_all();
    list.register(&mut late_key, &late_waker);
    list.register(&mut early_key, &early_waker);
    list.wake_all();
    assert_eq!((early.count(), late.count()), (3, 2));
}

/// A waker that calls back into its list, as an executor may when it drops a woken task.
struct Reentrant {
    list: Arc<WaitList>,
    key: Mutex<Option<WaitKey>>,
}

impl Reentrant {
    fn call_back(&self) {
        let (_, waker) = Counter::new();
        let mut key = self.key.lock().take();
        self.list.register(&mut key, &waker);
        if let Some(key) = key {
            self.list.cancel(key);
        }
    }
}

impl Wake for Reentrant {
    fn wake(self: Arc<Self>) {
        self.call_back();
    }
}

impl Drop for Reentrant {
    fn drop(&mut self) {
        self.call_back();
    }
}

#[test]
fn wakers_run_outside_the_lock() {
    let list = Arc::new(WaitList::new());
    let reentrant = || Waker::from(Arc::new(Reentrant { list: Arc::clone(&list), key: Mutex::new(None) }));
    let mut key = None;
    list.register(&mut key, &reentrant());
    list.register(&mut key, &reentrant()); // drops the one before
    list.wake_all();
    list.register(&mut key, &reentrant());
    list.cancel(key.take().unwrap()); // drops it
    assert!(!list.has_waiters());
}

// -- threads --

#[test]
fn a_ready_future_is_not_waited_for() {
    assert_eq!(block_on(&mut std::future::ready(3)), 3);
    let no_clock = || -> Duration { panic!("the clock is not asked") };
    assert_eq!(block_on_for(&mut std::future::ready(4), Duration::ZERO, &no_clock), Some(4));
}

#[test]
fn every_publication_wakes_the_thread_that_waits_for_it() {
    let (ping, pong) = (Log::new(), Log::new());
    let rounds = if cfg!(miri) { 20 } else { 5_000 };
    let echo = {
        let (ping, pong) = (Arc::clone(&ping), Arc::clone(&pong));
        thread::spawn(move || {
            for round in 0..rounds {
                assert_eq!(block_on(&mut ping.end_past(round)), round + 1);
                pong.publish(round + 1);
            }
        })
    };
    for round in 0..rounds {
        ping.publish(round + 1);
        let answer = block_on_for(&mut pong.end_past(round), LONG, &|| Duration::ZERO);
        assert_eq!(answer, Some(round + 1));
    }
    echo.join().unwrap();
    assert!(!ping.waiters.has_waiters() && !pong.waiters.has_waiters());
}

#[test]
fn time_is_up_by_the_clock() {
    // Each look at the clock finds it a second later, and each poll wakes: so only the clock can end this.
    let seconds = AtomicU64::new(0);
    let now = || Duration::from_secs(seconds.fetch_add(1, Ordering::Relaxed));
    let mut polls = 0;
    let mut busy = poll_fn(|context| {
        polls += 1;
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    assert_eq!(block_on_for(&mut busy, Duration::from_secs(10), &now), None);
    assert_eq!(seconds.load(Ordering::Relaxed), 11);
    assert_eq!(polls, 11, "once at the start, then once for each second");
}

#[test]
fn time_is_up_after_one_uninterrupted_sleep_though_the_clock_stands_still() {
    let log = Log::new();
    let mut waiting = log.end_past(0);
    assert_eq!(block_on_for(&mut waiting, Duration::from_millis(2), &|| Duration::ZERO), None);
    assert_eq!(block_on_for(&mut waiting, Duration::ZERO, &|| Duration::ZERO), None);
    log.publish(1);
    assert_eq!(block_on_for(&mut waiting, Duration::ZERO, &|| Duration::ZERO), Some(1));
}

#[test]
fn the_longest_time_is_no_overflow() {
    let log = Log::new();
    let publisher = {
        let log = Arc::clone(&log);
        thread::spawn(move || log.publish(1))
    };
    assert_eq!(block_on_for(&mut log.end_past(0), Duration::MAX, &|| Duration::MAX), Some(1));
    publisher.join().unwrap();
}

#[test]
fn a_wait_within_a_poll_does_not_swallow_the_outer_wake_up() {
    let mut polls = 0;
    let mut outer = poll_fn(|context| {
        polls += 1;
        if polls == 2 {
            return Poll::Ready(polls);
        }
        context.waker().wake_by_ref(); // the outer event happens while the inner wait goes on
        let mut inner_polls = 0;
        block_on(&mut poll_fn(|context| {
            inner_polls += 1;
            context.waker().wake_by_ref();
            if inner_polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        }));
        Poll::Pending
    });
    assert_eq!(block_on(&mut outer), 2);
}

#[test]
fn a_waker_of_an_earlier_wait_only_causes_one_more_poll() {
    let mut left_behind = None;
    block_on(&mut poll_fn(|context| {
        left_behind = Some(context.waker().clone());
        Poll::Ready(())
    }));
    left_behind.unwrap().wake();
    let log = Log::new();
    assert_eq!(block_on_for(&mut log.end_past(0), Duration::from_millis(1), &|| Duration::ZERO), None);
}

// -- tasks --

/// An executor in a thread: polls the tasks whose numbers come through a channel.
struct TaskWaker {
    task: usize,
    woken: mpsc::Sender<usize>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let _ = self.woken.send(self.task);
    }
}

fn run_all(mut tasks: Vec<Pin<Box<dyn Future<Output = u64> + Send>>>) -> Vec<u64> {
    let (woken, wake_ups) = mpsc::channel();
    let mut results = vec![None; tasks.len()];
    let mut ready: VecDeque<usize> = (0..tasks.len()).collect();
    while results.contains(&None) {
        let task = ready.pop_front().unwrap_or_else(|| wake_ups.recv().expect("run_all holds a sender"));
        if results[task].is_none() {
            let waker = Waker::from(Arc::new(TaskWaker { task, woken: woken.clone() }));
            if let Poll::Ready(result) = tasks[task].as_mut().poll(&mut Context::from_waker(&waker)) {
                results[task] = Some(result);
            }
        }
    }
    results.into_iter().flatten().collect()
}

#[test]
fn threads_and_tasks_wait_for_the_same_log() {
    let log = Log::new();
    let records = if cfg!(miri) { 20 } else { 2_000 };
    let read_all = |log: Arc<Log>| async move {
        let (mut position, mut chunks) = (0, 0);
        while position < records {
            position = log.end_past(position).await;
            chunks += 1;
        }
        assert!(chunks >= 1);
        position
    };
    let tasks = vec![Box::pin(read_all(Arc::clone(&log))) as _, Box::pin(read_all(Arc::clone(&log))) as _];
    let executor = thread::spawn(move || run_all(tasks));
    let reader = {
        let reading = read_all(Arc::clone(&log));
        thread::spawn(move || block_on(&mut pin!(reading)))
    };
    for end in 1..=records {
        log.publish(end);
    }
    assert_eq!(reader.join().unwrap(), records);
    assert_eq!(executor.join().unwrap(), [records, records]);
    assert!(!log.waiters.has_waiters());
}

// -- Operation --

fn flushed_past(log: &Arc<Log>, offset: u64) -> Operation<u64> {
    let mut end_past = log.end_past(offset);
    Operation::new(frozen_clock(), move |context| Pin::new(&mut end_past).poll(context).map(Ok))
}

#[test]
fn an_operation_that_timed_out_can_be_waited_for_again() {
    let log = Log::new();
    let mut operation = flushed_past(&log, 0);
    let error = operation.wait_timeout(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.is_retriable());
    log.publish(5);
    assert_eq!(operation.wait().unwrap(), 5);
}

#[test]
fn dropping_an_operation_stops_waiting() {
    let log = Log::new();
    let mut operation = flushed_past(&log, 0);
    assert!(operation.wait_timeout(Duration::ZERO).is_err());
    assert!(log.waiters.has_waiters());
    drop(operation);
    assert!(!log.waiters.has_waiters());
}

#[test]
fn the_result_is_given_once() {
    let log = Log::new();
    log.publish(1);
    let mut operation = flushed_past(&log, 0);
    assert_eq!(operation.wait_timeout(LONG).unwrap(), 1);
    assert_eq!(Arc::strong_count(&log), 1, "what it watched is let go with the result");
    assert_eq!(format!("{operation:?}"), "Operation { result_given: true, .. }");
    assert_eq!(operation.wait().unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn operations_await_fail_and_move_between_threads() {
    fn is_send_and_unpin<T: Send + Unpin>(operation: T) -> T {
        operation
    }
    let log = Log::new();
    let operation = is_send_and_unpin(flushed_past(&log, 1));
    let task = thread::spawn(move || run_all(vec![Box::pin(async move { operation.await.unwrap() })]));
    log.publish(2);
    assert_eq!(task.join().unwrap(), [2]);

    let failed = Operation::<()>::finished(Err(Error::closed("the topic")));
    assert_eq!(failed.wait().unwrap_err().kind(), ErrorKind::Closed);
}
