//! The mutex: parking_lot's, or loom's behind the same calls.
//!
//! Invariant: `lock()` gives the guard itself. A panic under a lock does not poison it, so nothing may be
//! left half changed across a call that can panic.

#[cfg(loom)]
pub(crate) use self::under_loom::{Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

#[cfg(loom)]
mod under_loom {
    use std::sync::{PoisonError, TryLockError};

    pub(crate) use loom::sync::MutexGuard;

    /// loom's mutex with parking_lot's calls.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Mutex<T> {
            Mutex(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            match self.0.try_lock() {
                Ok(guard) => Some(guard),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }
}
