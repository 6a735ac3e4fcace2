//! The lock of many readers or one writer: parking_lot's, or loom's behind the same calls.
//!
//! Invariant: as of the mutex, a panic under it does not poison it.

#[cfg(loom)]
pub(crate) use self::under_loom::RwLock;
#[cfg(not(loom))]
pub(crate) use parking_lot::RwLock;

#[cfg(loom)]
mod under_loom {
    use std::sync::PoisonError;

    use loom::sync::{RwLockReadGuard, RwLockWriteGuard};

    /// loom's lock with parking_lot's calls.
    #[derive(Debug)]
    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> RwLock<T> {
            RwLock(loom::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().unwrap_or_else(PoisonError::into_inner)
        }

        pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
            self.0.try_read().ok()
        }

        pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
            self.0.try_write().ok()
        }
    }
}
