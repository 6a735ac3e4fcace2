//! Plain bytes whose accesses loom checks: a read that no order puts after the write it sees, or a write
//! while somebody reads, ends the model. Outside of loom there is nothing here, and it costs nothing.
//!
//! Invariant: every slice that is made of tracked memory, and every copy into or out of it, is told.

use std::ops::Range;

/// Longer memory is not checked: each byte costs loom an object.
#[cfg(loom)]
const MOST: usize = 1024;

/// What loom knows of some memory.
#[derive(Debug)]
pub(crate) struct Tracked {
    #[cfg(loom)]
    bytes: Vec<loom::cell::UnsafeCell<()>>,
}

impl Tracked {
    /// Memory of `len` bytes that nobody has touched.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn new(_len: usize) -> Tracked {
        Tracked {}
    }

    /// The bytes are read.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn read(&self, _range: Range<usize>) {}

    /// The bytes are written.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn write(&self, _range: Range<usize>) {}
}

#[cfg(loom)]
impl Tracked {
    pub(crate) fn new(len: usize) -> Tracked {
        let tracked = if len <= MOST { len } else { 0 };
        Tracked { bytes: (0..tracked).map(|_| loom::cell::UnsafeCell::new(())).collect() }
    }

    pub(crate) fn read(&self, range: Range<usize>) {
        for byte in self.bytes.get(range).into_iter().flatten() {
            byte.with(|_| ());
        }
    }

    pub(crate) fn write(&self, range: Range<usize>) {
        for byte in self.bytes.get(range).into_iter().flatten() {
            byte.with_mut(|_| ());
        }
    }
}
