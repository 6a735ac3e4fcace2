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
    why: OnceLock<String>,
}

impl Poison {
    /// The first failure wins.
    pub(crate) fn set(&self, cause: &Error) {
        let _ = self.why.set(cause.to_string());
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
        let why = self.why.get().map_or("an earlier failure", String::as_str);
        let message = format!("poisoned until the broker is opened again, by: {why}");
        Error::new(ErrorKind::Poisoned, message).in_partition(tp)
    }
}
