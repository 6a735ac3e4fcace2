//! After a failed write or sync nothing more is believed.
//!
//! Invariant: once poisoned, a partition acknowledges nothing and lends nothing above its flushed offset
//! until the broker is opened again; a failed sync is never tried twice (the second would answer OK while
//! the data is gone).

use std::sync::OnceLock;

use crate::error::{Error, ErrorKind};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::types::TopicPartition;

/// Whether, and by what, a partition is poisoned.
#[derive(Debug, Default)]
pub(crate) struct Poison {
    set: AtomicBool,
    why: OnceLock<Error>,
}

impl Poison {
    /// The first failure wins.
    pub(crate) fn set(&self, cause: &Error) {
        let _ = self.why.set(cause.again());
        self.set.store(true, Ordering::Release);
    }

    /// Whether it is set.
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// An error, if it is set.
    #[inline]
    pub(crate) fn check(&self, tp: &TopicPartition) -> Result<(), Error> {
        if self.is_set() { Err(self.error(tp)) } else { Ok(()) }
    }

    #[cold]
    fn error(&self, tp: &TopicPartition) -> Error {
        let error =
            Error::new(ErrorKind::Poisoned, "poisoned until the broker is opened again").in_partition(tp);
        match self.why.get() {
            Some(why) => error.caused_by(why.again()),
            None => error,
        }
    }
}
