//! A value that shares its cache lines with nothing else.
//!
//! Invariant: aligned to two lines of 64 bytes, because processors fetch them in pairs.

use std::ops::Deref;

/// Something that one thread changes all the time, beside things that others look at.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct CacheLine<T>(T);

impl<T> CacheLine<T> {
    pub(crate) const fn new(value: T) -> CacheLine<T> {
        CacheLine(value)
    }
}

impl<T> Deref for CacheLine<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
