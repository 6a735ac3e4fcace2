//! Waiting without a runtime: locks, lists of wakers, parked threads, operations.
//!
//! Invariants
//! - Everything here is built on the shim below, so that loom runs the production types.
//! - Wakers are cloned, woken and dropped outside every lock: they are the caller's code.
//! - A thread and a task wait in the same way: both leave a `Waker` in a [`WaitList`].
//!
//! ```text
//!   what happened -- notify_after_publish --> WaitList -- Waker --> a task (its executor's waker)
//!                                                         +------> a thread (Parker, under block_on)
//!   Operation<T>: a future with wait() and wait_timeout()
//! ```

mod cache_line;
mod mutex;
mod operation;
mod parker;
mod rwlock;
mod tracked;
mod wait_list;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
#[cfg(all(test, loom))]
mod tests_loom;

pub(crate) use cache_line::CacheLine;
pub(crate) use mutex::{Mutex, MutexGuard};
#[cfg(all(test, not(loom)))]
pub(crate) use operation::Now;
pub use operation::Operation;
pub(crate) use operation::timed_out;
pub(crate) use parker::{block_on, block_on_for};
pub(crate) use rwlock::RwLock;
pub(crate) use tracked::Tracked;
pub(crate) use wait_list::{WaitKey, WaitList};

#[cfg(all(test, loom))]
pub(crate) use loom::sync::Arc;
#[cfg(loom)]
pub(crate) use loom::thread;
#[cfg(all(test, not(loom)))]
pub(crate) use std::sync::Arc;
#[cfg(not(loom))]
pub(crate) use std::thread;

/// Atomics: the standard library's, or loom's under `cfg(loom)`.
pub(crate) mod atomic {
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
    #[cfg(not(loom))]
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}

/// The standard library's mutex and condition variable, one call of which wakes all; or loom's.
pub(crate) mod monitor {
    #[cfg(loom)]
    pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};
    #[cfg(not(loom))]
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
}
