//! A queue that threads wait at.
//!
//! Invariant: closed, it holds nothing and takes nothing, and nobody waits at it.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// A queue that threads wait at.
pub(super) struct Queue<T> {
    inside: Mutex<Inside<T>>,
    arrived: Condvar,
}

struct Inside<T> {
    items: VecDeque<T>,
    closed: bool,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Queue<T> {
        Queue {
            inside: Mutex::new(Inside { items: VecDeque::new(), closed: false }),
            arrived: Condvar::new(),
        }
    }

    pub(super) fn put(&self, item: T) {
        let mut inside = self.inside.lock();
        if inside.closed {
            return;
        }
        inside.items.push_back(item);
        drop(inside);
        self.arrived.notify_one();
    }

    /// The next item; `None` once the queue is closed.
    pub(super) fn wait_for_next(&self) -> Option<T> {
        let mut inside = self.inside.lock();
        loop {
            if inside.closed {
                return None;
            }
            if let Some(item) = inside.items.pop_front() {
                return Some(item);
            }
            self.arrived.wait(&mut inside);
        }
    }

    pub(super) fn take(&self) -> VecDeque<T> {
        std::mem::take(&mut self.inside.lock().items)
    }

    pub(super) fn close(&self) {
        let left = {
            let mut inside = self.inside.lock();
            inside.closed = true;
            std::mem::take(&mut inside.items)
        };
        drop(left);
        self.arrived.notify_all();
    }
}
