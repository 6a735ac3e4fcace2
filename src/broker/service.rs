//! The work that waits to be done in the background, whoever does it.
//!
//! ```text
//!   Attended --ask------------> jobs     --> flusher threads --+
//!            --ask_to_prepare-> prepare  --> preparer thread --+--> the partitions
//!            --set_timer------> timers   --> timer thread ---> jobs, clean
//!                               clean    --> cleaner thread --> the logs that are due
//!                                                  |
//!   once per checkpoint interval ------------------+-------> jobs (Checkpoint)
//!
//!   Background::Manual: run_due() does all of it in the caller's thread
//! ```
//!
//! Invariants
//! - The timer thread never does I/O, so no partition's linger waits for another one's disk.
//! - After `stop` nothing is queued and every thread leaves after the job in its hands.
//! - Errors of a partition stay with the partition (it poisons itself, or tells its next caller); here
//!   they end in `run_due`'s answer or nowhere.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::attended::Attended;
use super::flushers::Flushers;
use super::queue::Queue;
use super::timers::Timers;
use crate::config::BrokerConfig;
use crate::env::Clock;
use crate::error::Result;
use crate::telemetry;

/// What a flusher does.
#[derive(Debug)]
pub(crate) enum Job {
    /// Somebody waits for what is staged in this partition.
    Flush(Arc<Attended>),
    /// A timer of this partition has fired.
    Tick(Arc<Attended>),
    /// Recovery points are to be written down.
    Checkpoint,
    /// That of this partition, at once.
    Point(Arc<Attended>),
    /// Files of segments are to be closed.
    CloseIdle,
    /// Something is due in the consumer groups.
    Groups,
    /// Logs are to be looked through for one to compact.
    Clean,
    /// Retention has left something that may go now.
    Retain,
}

/// What the broker itself has to do now and then.
pub(crate) trait Upkeep: Send + Sync {
    /// Collects recovery points and writes them down.
    fn checkpoint(&self) -> Result<()>;

    /// As `checkpoint`, of one partition.
    fn checkpoint_one(&self, whose: Arc<Attended>) -> Result<()>;

    /// Closes the files of segments that were used longest ago, if too many are open.
    fn close_idle(&self) -> Result<()>;

    /// Does what is due in the consumer groups.
    fn tick_groups(&self);

    /// Compacts the logs that are due.
    fn compact_due(&self) -> Result<()>;

    /// Deletes as much as may go now of what retention does not keep.
    fn retain_due(&self) -> Result<()>;
}

/// Queues and timers of one broker.
pub(crate) struct Service {
    clock: Arc<dyn Clock>,
    paces_retention: bool,
    jobs: Flushers,
    prepare: Queue<Arc<Attended>>,
    clean: Queue<()>,
    /// Set once it has been stopped; who is held back waits here.
    stopped: Mutex<bool>,
    stop_set: Condvar,
    /// Partitions that have been flushed since the last checkpoint; none once stopped.
    flushed: Mutex<Option<Vec<Arc<Attended>>>>,
    timers: Mutex<Timers>,
    timer_set: Condvar,
    upkeep: OnceLock<Weak<dyn Upkeep>>,
    checkpoint_asked: AtomicBool,
    retain_asked: AtomicBool,
    close_asked: AtomicBool,
    numbers: AtomicU64,
}

impl Service {
    /// Nothing to do yet, at the intervals of these settings.
    pub(crate) fn new(clock: Arc<dyn Clock>, config: &BrokerConfig) -> Arc<Service> {
        Arc::new(Service {
            timers: Mutex::new(Timers::new(clock.monotonic(), config)),
            clock,
            paces_retention: config.retention_rate_bytes().is_some(),
            jobs: Flushers::new(),
            prepare: Queue::new(),
            clean: Queue::new(),
            stopped: Mutex::new(false),
            stop_set: Condvar::new(),
            flushed: Mutex::new(Some(Vec::new())),
            timer_set: Condvar::new(),
            upkeep: OnceLock::new(),
            checkpoint_asked: AtomicBool::new(false),
            retain_asked: AtomicBool::new(false),
            close_asked: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
        })
    }

    /// Whose recovery points are written down.
    pub(crate) fn serve(&self, upkeep: Weak<dyn Upkeep>) {
        let _ = self.upkeep.set(upkeep);
    }

    /// The monotonic clock.
    pub(super) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Leaves a job for the flushers.
    pub(super) fn ask(&self, job: Job) {
        self.jobs.put(job);
    }

    /// Leaves it to the flushers to close files.
    pub(super) fn ask_to_close(&self) {
        if !self.close_asked.load(Ordering::Relaxed) && !self.close_asked.swap(true, Ordering::AcqRel) {
            self.ask(Job::CloseIdle);
        }
    }

    /// Closes files in this thread.
    pub(super) fn close_idle(&self) -> Result<()> {
        self.upkeep().map_or(Ok(()), |upkeep| upkeep.close_idle())
    }

    /// A partition has been flushed: its recovery point may move.
    pub(super) fn note_flushed(&self, whose: Arc<Attended>) {
        if let Some(flushed) = &mut *self.flushed.lock() {
            flushed.push(whose);
        }
    }

    /// The partitions that have been flushed since this was asked last.
    pub(super) fn take_flushed(&self) -> Vec<Arc<Attended>> {
        self.flushed.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Leaves a partition for the preparer.
    pub(super) fn ask_to_prepare(&self, whose: Arc<Attended>) {
        self.prepare.put(whose);
    }

    /// A number for one more partition.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sets the timer of a partition to this time, unless it fires earlier anyway.
    pub(super) fn set_timer(&self, nanos: u64, whose: Arc<Attended>) {
        let earliest = self.timers.lock().set(nanos, whose);
        if earliest {
            self.timer_set.notify_one();
        }
    }

    /// Something is due in the consumer groups at this time.
    pub(super) fn groups_due_at(&self, when: Duration) {
        self.set_earlier(when, |timers| &mut timers.next_groups);
    }

    /// Whether segments are deleted no faster than at a rate.
    pub(super) fn paces_retention(&self) -> bool {
        self.paces_retention
    }

    /// A partition has something to delete: that is looked at now, unless a look is set already. The one that is set
    /// waits for what has been deleted before.
    pub(super) fn ask_to_retain(&self) {
        let waits = self.timers.lock().is_retain_set() || self.retain_asked.load(Ordering::Acquire);
        if !waits {
            self.retain_at(self.now());
        }
    }

    /// Retention may go on at this time, if not earlier.
    pub(super) fn retain_at(&self, when: Duration) {
        self.set_earlier(when, |timers| &mut timers.next_retain);
    }

    fn set_earlier(&self, when: Duration, which: impl Fn(&mut Timers) -> &mut Option<Duration>) {
        let earliest = self.timers.lock().set_earlier(when, which);
        if earliest {
            self.timer_set.notify_one();
        }
    }

    /// Nothing more is done; does not wait for what is being done.
    pub(crate) fn stop(&self) {
        let left = self.timers.lock().stop();
        drop(left);
        // They hold the service.
        let flushed = self.flushed.lock().take();
        drop(flushed);
        self.timer_set.notify_all();
        self.jobs.close();
        self.prepare.close();
        self.clean.close();
        *self.stopped.lock() = true;
        self.stop_set.notify_all();
    }

    /// Waits for so long, or until everything stops; answers whether it does.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.lock();
        let until = self.now().saturating_add(time);
        loop {
            let left = until.saturating_sub(self.now());
            if *stopped || left.is_zero() {
                return *stopped;
            }
            self.stop_set.wait_for(&mut stopped, left);
        }
    }

    /// The cleaner's life.
    pub(super) fn clean_until_stopped(&self) {
        while self.clean.wait_for_next().is_some() {
            let _ = self.compact_due();
        }
    }

    fn upkeep(&self) -> Option<Arc<dyn Upkeep>> {
        self.upkeep.get().and_then(Weak::upgrade)
    }

    fn compact_due(&self) -> Result<()> {
        self.upkeep().map_or(Ok(()), |upkeep| upkeep.compact_due())
    }

    /// Who does the jobs, where threads do.
    pub(super) fn flushers(&self) -> &Flushers {
        &self.jobs
    }

    /// A flusher does a job: nobody waits for the answer.
    pub(super) fn run_or_tell(&self, job: Job) {
        if let Err(error) = self.run(job) {
            telemetry::background_failed(&error);
        }
    }

    /// The preparer's life.
    pub(super) fn prepare_until_stopped(&self) {
        while let Some(whose) = self.prepare.wait_for_next() {
            if let Err(error) = whose.prepare() {
                telemetry::background_failed(&error);
            }
        }
    }

    /// The timer's life.
    pub(super) fn keep_time_until_stopped(&self) {
        let mut timers = self.timers.lock();
        while !timers.is_stopped() {
            let now = self.now();
            let fired = timers.fire(now);
            if fired.is_empty() {
                // A clock that ticks coarsely may still show the time before when the wait is over.
                let wait = timers.next_due().saturating_sub(now).max(Duration::from_millis(1));
                self.timer_set.wait_for(&mut timers, wait);
                continue;
            }
            parking_lot::MutexGuard::unlocked(&mut timers, || {
                for job in fired {
                    self.ask_fired(job);
                }
            });
        }
    }

    /// Does everything that is asked for or due, and what follows from it, in this thread. The first
    /// error is answered when all is done.
    pub(crate) fn run_due(&self) -> Result<()> {
        let mut first = Ok(());
        let mut note = |done: Result<()>| {
            if first.is_ok() {
                first = done;
            }
        };
        let now = self.now();
        // One pass per timer set meanwhile; a partition that asks again and again must not hold us.
        for _ in 0..64 {
            let fired = self.timers.lock().fire(now);
            fired.into_iter().for_each(|job| self.ask_fired(job));
            let (jobs, prepare, clean) = (self.jobs.take(), self.prepare.take(), self.clean.take());
            if jobs.is_empty() && prepare.is_empty() && clean.is_empty() {
                break;
            }
            prepare.into_iter().for_each(|whose| note(whose.prepare()));
            jobs.into_iter().for_each(|job| note(self.run(job)));
            if !clean.is_empty() {
                note(self.compact_due());
            }
        }
        first
    }

    /// When the next timer fires.
    pub(crate) fn next_due(&self) -> Duration {
        self.timers.lock().next_due()
    }

    fn ask_fired(&self, job: Job) {
        let wanted = match &job {
            Job::Clean => {
                self.clean.put(());
                false
            }
            Job::Checkpoint => !self.checkpoint_asked.swap(true, Ordering::AcqRel),
            Job::Retain => !self.retain_asked.swap(true, Ordering::AcqRel),
            Job::Flush(_) | Job::Tick(_) | Job::Point(_) | Job::CloseIdle | Job::Groups => true,
        };
        if wanted {
            self.ask(job);
        }
    }

    fn run(&self, job: Job) -> Result<()> {
        match job {
            Job::Flush(whose) => whose.flush(),
            Job::Tick(whose) => whose.tick(),
            Job::Point(whose) => self.upkeep().map_or(Ok(()), |upkeep| upkeep.checkpoint_one(whose)),
            Job::Checkpoint => {
                let upkeep = self.upkeep();
                let done = upkeep.map_or(Ok(()), |upkeep| upkeep.checkpoint());
                self.checkpoint_asked.store(false, Ordering::Release);
                done
            }
            Job::Clean => self.compact_due(),
            Job::Retain => {
                // Who asks while it runs is served again.
                self.retain_asked.store(false, Ordering::Release);
                self.upkeep().map_or(Ok(()), |upkeep| upkeep.retain_due())
            }
            Job::CloseIdle => {
                self.close_asked.store(false, Ordering::Release);
                self.close_idle()
            }
            Job::Groups => {
                if let Some(upkeep) = self.upkeep() {
                    upkeep.tick_groups();
                }
                Ok(())
            }
        }
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("stopped", &self.timers.lock().is_stopped()).finish_non_exhaustive()
    }
}

/// For tests: is told by name what is to be done, and does nothing else.
#[cfg(test)]
pub(super) struct Told<F>(pub(super) F);

#[cfg(test)]
impl<F: Fn(&'static str) + Send + Sync> Told<F> {
    fn tell(&self, what: &'static str) -> Result<()> {
        self.0(what);
        Ok(())
    }
}

#[cfg(test)]
impl<F: Fn(&'static str) + Send + Sync> Upkeep for Told<F> {
    fn checkpoint(&self) -> Result<()> {
        self.tell("checkpoint")
    }

    fn checkpoint_one(&self, _: Arc<Attended>) -> Result<()> {
        self.tell("checkpoint_one")
    }

    fn close_idle(&self) -> Result<()> {
        self.tell("close_idle")
    }

    fn tick_groups(&self) {
        self.0("groups");
    }

    fn compact_due(&self) -> Result<()> {
        self.tell("compact")
    }

    fn retain_due(&self) -> Result<()> {
        self.tell("retain")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::SimEnvironment;

    #[test]
    fn retention_is_asked_for_once_and_waits_for_its_time() {
        let sim = SimEnvironment::new(1);
        let service = Service::new(sim.environment().clock().clone(), &BrokerConfig::new());
        let looks = Arc::new(AtomicU64::new(0));
        let counted = looks.clone();
        let upkeep: Arc<dyn Upkeep> = Arc::new(Told(move |what| {
            counted.fetch_add(u64::from(what == "retain"), Ordering::Relaxed);
        }));
        service.serve(Arc::downgrade(&upkeep));
        let looks = || {
            service.run_due().unwrap();
            looks.swap(0, Ordering::Relaxed)
        };
        (0..5).for_each(|_| service.ask_to_retain());
        assert_eq!(looks(), 1);
        // Its timer has fired, and nobody has come to it yet.
        service.ask_fired(Job::Retain);
        service.ask_fired(Job::Retain);
        service.ask_to_retain();
        assert_eq!(looks(), 1);
        // What is left waits for its time, whoever has something to delete meanwhile.
        service.retain_at(service.now() + Duration::from_secs(3));
        service.ask_to_retain();
        assert_eq!(looks(), 0);
        sim.clock().advance(Duration::from_secs(3));
        assert_eq!(looks(), 1);
    }
}
