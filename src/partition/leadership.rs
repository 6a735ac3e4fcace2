//! Who does the work that many wait for: one leads, the others follow, and whoever is not served by that
//! leads next. The pure part of group commit.
//!
//! ```text
//!   until:  done? -- yes --> return
//!             | no: note how many turns have ended
//!           leader? -- nobody --> done? no: lead; give it up: turn ended, wake the followers --> done?
//!             | somebody
//!           sleep until a turn has ended since the note, or done -----------------> done?
//! ```
//!
//! Invariants
//! - At most one leads.
//! - The turn counts as ended, and the followers are woken, only after the leadership is free: who is woken
//!   finds either the work done or the place free.
//! - Who has become the leader looks again before it leads: a turn that has failed meanwhile is not repeated.
//! - A leader that fails gives up the leadership like any other.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::Result;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Mutex, WaitKey, WaitList};

/// The right to do the work, and who waits for its end.
#[derive(Debug)]
pub(super) struct Leadership {
    pub(super) leading: Mutex<bool>,
    /// Counts turns that have ended, whether well or badly.
    pub(super) ended: AtomicU64,
    pub(super) followers: WaitList,
    /// How many followed the last turn.
    group: AtomicUsize,
}

impl Leadership {
    /// Nobody leads.
    pub(super) fn new() -> Leadership {
        Leadership {
            leading: Mutex::new(false),
            ended: AtomicU64::new(0),
            followers: WaitList::new(),
            group: AtomicUsize::new(0),
        }
    }

    /// Leads or follows until `done`. `sleep` waits for the end of somebody else's turn, or gives up.
    pub(super) fn until<D: Fn() -> Result<bool>>(
        &self,
        done: D,
        lead: impl Fn() -> Result<()>,
        sleep: impl Fn(&mut TurnEnded<'_, D>) -> Result<()>,
    ) -> Result<()> {
        while !done()? {
            let seen = self.ended.load(Ordering::Acquire);
            match self.try_lead() {
                // Whoever led until now may have done it, or have failed for all.
                Some(_leader) if done()? => {}
                Some(_leader) => lead()?,
                None => sleep(&mut TurnEnded { leadership: self, seen, done: &done, key: None })?,
            }
        }
        Ok(())
    }

    /// Lets those who followed the last turn come again and follow this one.
    pub(super) fn gather(&self) {
        let expected = self.group.load(Ordering::Relaxed);
        for _ in 0..PATIENCE {
            if self.followers.len() >= expected {
                return;
            }
            crate::sync::thread::yield_now();
        }
    }

    /// Becomes the leader, unless somebody is.
    fn try_lead(&self) -> Option<Leader<'_>> {
        let mut leading = self.leading.lock();
        if *leading {
            return None;
        }
        *leading = true;
        Some(Leader { leadership: self })
    }
}

/// How often a leader yields to those who may follow: far less than a flush takes, if none comes.
const PATIENCE: u32 = 64;

/// The leadership; gives it up, and wakes who followed, when dropped.
struct Leader<'a> {
    leadership: &'a Leadership,
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.leadership.group.store(self.leadership.followers.len(), Ordering::Relaxed);
        *self.leadership.leading.lock() = false;
        self.leadership.ended.fetch_add(1, Ordering::AcqRel);
        self.leadership.followers.notify_after_publish();
    }
}

/// The end of the turn that runs now, or of the wait for it.
pub(super) struct TurnEnded<'a, D: Fn() -> Result<bool>> {
    leadership: &'a Leadership,
    seen: u64,
    done: &'a D,
    key: Option<WaitKey>,
}

impl<D: Fn() -> Result<bool>> TurnEnded<'_, D> {
    fn is_over(&self) -> bool {
        self.leadership.ended.load(Ordering::Acquire) != self.seen || (self.done)().unwrap_or(true)
    }
}

impl<D: Fn() -> Result<bool>> Future for TurnEnded<'_, D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_over() {
            return Poll::Ready(());
        }
        let this = &mut *self;
        this.leadership.followers.register(&mut this.key, cx.waker());
        if this.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<D: Fn() -> Result<bool>> Drop for TurnEnded<'_, D> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.leadership.followers.cancel(key);
        }
    }
}
