//! Who does the work that many wait for: one leads, the others follow, and whoever is not served by that
//! leads next. The pure part of group commit.
//!
//! ```text
//!   until:  done? -- yes --> return
//!             | no
//!           leader? -- nobody --> done? no: lead; give it up: turn ended, one call wakes all followers --> done?
//!             | somebody
//!           look for a moment, then sleep, until the turn has ended --------------------------------> done?
//! ```
//!
//! Invariants
//! - At most one leads.
//! - Leader, ended turns and followers are of one lock: who follows sleeps before that turn can end, so no end
//!   is missed, and who is woken finds either the work done or the place free.
//! - Who has become the leader looks again before it leads: a turn that has failed meanwhile is not repeated.
//! - A leader that fails gives up the leadership like any other.
//!
//! The followers sleep on one condition variable, not on a waker each: to wake many one after the other took
//! the leader as long as a flush, and the device was idle. (To wake one who wakes the others is slower still.)
//! Before it sleeps a follower yields for about as long as a fast device takes: nothing has to be woken then,
//! and the processor is there for whoever has work (8 threads 28 to 45 k appends/s, 64 threads 100 to 160 k/s).

use std::sync::PoisonError;
use std::time::Duration;

use crate::error::Result;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::monitor::{Condvar, Mutex, MutexGuard};

/// The right to do the work, and who waits for its end.
#[derive(Debug)]
pub(super) struct Leadership {
    turn: Mutex<Turn>,
    /// Turns that are over, whether they went well or badly; changes in the hands of the lock.
    over: AtomicUsize,
    ended: Condvar,
    /// How many follow, for a look without the lock.
    following: AtomicUsize,
    /// How many followed the last turn.
    group: AtomicUsize,
}

/// Whether a turn runs.
#[derive(Debug)]
struct Turn {
    /// Somebody leads.
    runs: bool,
}

/// Until when a follower waits: a time of the clock, and that clock.
pub(super) type Deadline<'a> = Option<(Duration, &'a dyn Fn() -> Duration)>;

impl Leadership {
    /// Nobody leads.
    pub(super) fn new() -> Leadership {
        Leadership {
            turn: Mutex::new(Turn { runs: false }),
            over: AtomicUsize::new(0),
            ended: Condvar::new(),
            following: AtomicUsize::new(0),
            group: AtomicUsize::new(0),
        }
    }

    /// Leads or follows until `done`; whether it was before the deadline.
    pub(super) fn until(
        &self,
        done: impl Fn() -> Result<bool>,
        lead: impl Fn() -> Result<()>,
        deadline: Deadline<'_>,
    ) -> Result<bool> {
        while !done()? {
            match self.lead_or_follow(deadline) {
                // Whoever led until now may have done it, or have failed for all.
                Part::Leads(_leader) if done()? => {}
                Part::Leads(_leader) => lead()?,
                Part::Followed => {}
                Part::TimeIsUp => return done(),
            }
        }
        Ok(true)
    }

    /// Leads once, if nobody does and there is something to do; whether it is `done`.
    pub(super) fn lead_if_free(
        &self,
        done: impl Fn() -> Result<bool>,
        lead: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        if done()? {
            return Ok(true);
        }
        let Some(_leader) = self.become_leader() else { return Ok(false) };
        // Whoever led until now may have done it, or have failed for all.
        if !done()? {
            lead()?;
        }
        done()
    }

    fn become_leader(&self) -> Option<Leader<'_>> {
        let runs = std::mem::replace(&mut self.lock().runs, true);
        (!runs).then_some(Leader { leadership: self })
    }

    /// Wakes the followers in the middle of a turn, to look at the time: for some of them it may be up.
    pub(super) fn stir(&self) {
        // Who has looked at the time and sleeps not yet holds the lock.
        drop(self.lock());
        self.ended.notify_all();
    }

    /// Lets those who followed the last turn come again and follow this one.
    pub(super) fn gather(&self) {
        let expected = self.group.load(Ordering::Relaxed);
        for _ in 0..PATIENCE {
            if self.following.load(Ordering::Relaxed) >= expected {
                return;
            }
            crate::sync::thread::yield_now();
        }
    }

    /// Becomes the leader or, if somebody is, waits until that turn has ended.
    fn lead_or_follow(&self, deadline: Deadline<'_>) -> Part<'_> {
        let mut turn = self.lock();
        if !turn.runs {
            turn.runs = true;
            return Part::Leads(Leader { leadership: self });
        }
        let seen = self.over.load(Ordering::Relaxed);
        self.following.fetch_add(1, Ordering::Relaxed);
        drop(turn);
        if self.look_for_the_end(seen) {
            return Part::Followed;
        }
        turn = self.lock();
        while self.over.load(Ordering::Relaxed) == seen {
            let (again, in_time) = self.sleep(turn, deadline);
            turn = again;
            if !in_time && self.over.load(Ordering::Relaxed) == seen {
                self.following.fetch_sub(1, Ordering::Relaxed);
                return Part::TimeIsUp;
            }
        }
        Part::Followed
    }

    /// Yields for a moment; whether the turn has ended meanwhile.
    fn look_for_the_end(&self, seen: usize) -> bool {
        (0..LOOKS).any(|_| {
            crate::sync::thread::yield_now();
            self.over.load(Ordering::Acquire) != seen
        })
    }

    /// Sleeps once; false when the time is up. A sleep that lasted as long as was left is the end of it also by
    /// a clock that a test moves by hand.
    fn sleep<'a>(
        &'a self,
        turn: MutexGuard<'a, Turn>,
        deadline: Deadline<'_>,
    ) -> (MutexGuard<'a, Turn>, bool) {
        let Some((until, now)) = deadline else {
            return (self.ended.wait(turn).unwrap_or_else(PoisonError::into_inner), true);
        };
        let left = until.saturating_sub(now());
        if left.is_zero() {
            return (turn, false);
        }
        let (turn, slept) = self.ended.wait_timeout(turn, left).unwrap_or_else(PoisonError::into_inner);
        (turn, !slept.timed_out())
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a leader yields to those who may follow. To wait for all of them (a third of a flush) was measured
/// to be worse: both processors fall asleep during the flush, and to wake them takes longer than what is won.
const PATIENCE: u32 = if cfg!(loom) { 4 } else { 64 };

/// How often a follower looks before it sleeps: some 50 to 100 us, a flush of a fast device.
const LOOKS: u32 = if cfg!(loom) { 1 } else { 100 };

/// What somebody did who found the work not done.
enum Part<'a> {
    Leads(Leader<'a>),
    Followed,
    TimeIsUp,
}

/// The leadership; gives it up, and wakes who followed, when dropped.
struct Leader<'a> {
    leadership: &'a Leadership,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        let Leadership { over, ended, following, group, .. } = self.leadership;
        let mut turn = self.leadership.lock();
        turn.runs = false;
        over.fetch_add(1, Ordering::Release);
        group.store(following.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        drop(turn);
        ended.notify_all();
    }
}

#[cfg(all(test, loom))]
impl Leadership {
    /// How many follow.
    pub(super) fn following(&self) -> usize {
        self.following.load(Ordering::Relaxed)
    }

    /// A mutant for loom: looks for a leader, and sleeps later, when that turn may be over.
    pub(super) fn until_with_a_gap(
        &self,
        done: impl Fn() -> Result<bool>,
        lead: impl Fn() -> Result<()>,
    ) -> Result<()> {
        while !done()? {
            let runs = std::mem::replace(&mut self.lock().runs, true);
            if runs {
                drop(self.ended.wait(self.lock()).unwrap_or_else(PoisonError::into_inner));
            } else {
                let _leader = Leader { leadership: self };
                lead()?;
            }
        }
        Ok(())
    }

    /// The turn runs.
    pub(super) fn claim(&self) {
        self.lock().runs = true;
    }

    /// A mutant for loom: wakes the followers of a claimed turn before it has ended.
    pub(super) fn lead_waking_early(&self, lead: impl Fn() -> Result<()>) -> Result<()> {
        lead()?;
        self.ended.notify_all();
        self.lock().runs = false;
        self.over.fetch_add(1, Ordering::Release);
        Ok(())
    }
}
