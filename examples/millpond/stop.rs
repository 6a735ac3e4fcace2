//! The end that somebody asks for: Ctrl-C, or a worker that can go no further.
//!
//! Invariant: it is asked for once and never taken back; whoever waits in a `poll` is woken.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use millpond::consumer::Interrupter;

use crate::failure::{Failure, Outcome};

/// Whether to go on.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    asked: AtomicBool,
    waiting: Mutex<Vec<Interrupter>>,
}

impl Stop {
    /// Asked for by Ctrl-C from now on.
    pub(crate) fn on_interrupt() -> Outcome<Arc<Stop>> {
        let stop = Arc::new(Stop::default());
        let told = Arc::clone(&stop);
        ctrlc::set_handler(move || told.ask())
            .map_err(|error| Failure::failed(format!("could not listen for Ctrl-C: {error}")))?;
        Ok(stop)
    }

    /// Asks everybody to come to an end.
    pub(crate) fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().for_each(Interrupter::interrupt);
    }

    /// Whether somebody has asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Wakes this one, too, when it is asked for.
    pub(crate) fn wakes(&self, interrupter: Interrupter) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(interrupter);
    }
}
