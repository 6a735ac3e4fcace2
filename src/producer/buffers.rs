//! Buffers for what codecs write, and memory for batches, used again.
//!
//! Invariants
//! - Codecs that lend their value's own bytes never cost more here than one load: no buffer is fetched
//!   before a codec has written to one, whether or not batches are built, too.
//! - What is kept is bounded in number and in size.

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// The most buffers kept: about as many as threads that send at once.
const KEPT: usize = 16;
/// A buffer that grew beyond this many bytes is not kept.
const KEPT_SIZE: usize = 1 << 20;

/// A key's and a value's bytes.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Buffers {
    /// Whether a codec has ever written to one of them.
    #[inline(always)]
    fn were_used(&self) -> bool {
        self.key.capacity() | self.value.capacity() != 0
    }
}

/// Buffers that go back when this is dropped.
pub(super) struct LentBuffers<'p> {
    pool: &'p BufferPool,
    buffers: Buffers,
}

/// Buffers that nobody uses right now.
#[derive(Debug)]
pub(super) struct BufferPool {
    /// Whether a codec has ever written to a buffer.
    written: AtomicBool,
    spare: Mutex<Vec<Buffers>>,
    batches: Mutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    pub(super) fn new() -> BufferPool {
        BufferPool {
            written: AtomicBool::new(false),
            spare: Mutex::new(Vec::new()),
            batches: Mutex::new(Vec::new()),
        }
    }

    /// Buffers, for as long as what is answered lives.
    #[inline]
    pub(super) fn lend(&self) -> LentBuffers<'_> {
        LentBuffers { pool: self, buffers: self.take() }
    }

    /// Memory for a batch.
    pub(super) fn take_for_batch(&self) -> Vec<u8> {
        self.batches.try_lock().and_then(|mut batches| batches.pop()).unwrap_or_default()
    }

    /// Keeps the memory of a batch for the next one.
    pub(super) fn keep_of_batch(&self, memory: Vec<u8>) {
        if !(1..=KEPT_SIZE).contains(&memory.capacity()) {
            return;
        }
        if let Some(mut batches) = self.batches.try_lock() {
            if batches.len() < KEPT {
                batches.push(memory);
            }
        }
    }

    /// Buffers, empty or not.
    #[inline]
    fn take(&self) -> Buffers {
        if self.written.load(Ordering::Relaxed) { self.take_spare() } else { Buffers::default() }
    }

    fn take_spare(&self) -> Buffers {
        self.spare.try_lock().and_then(|mut spare| spare.pop()).unwrap_or_default()
    }

    fn keep(&self, buffers: Buffers) {
        if buffers.key.capacity().max(buffers.value.capacity()) > KEPT_SIZE {
            return;
        }
        if !self.written.load(Ordering::Relaxed) {
            self.written.store(true, Ordering::Relaxed);
        }
        if let Some(mut spare) = self.spare.try_lock() {
            if spare.len() < KEPT {
                spare.push(buffers);
            }
        }
    }
}

impl LentBuffers<'_> {
    #[inline]
    pub(super) fn buffers(&mut self) -> &mut Buffers {
        &mut self.buffers
    }
}

impl Drop for LentBuffers<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.buffers.were_used() {
            self.pool.keep(std::mem::take(&mut self.buffers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_was_written_to_comes_back() {
        let pool = BufferPool::new();
        drop(pool.lend());
        assert!(pool.spare.lock().is_empty(), "nothing was written: nothing is kept");

        pool.lend().buffers().value.extend_from_slice(&[7; 1000]);
        let mut first = pool.lend();
        assert!(first.buffers().value.capacity() >= 1000);
        assert_eq!(pool.lend().buffers().value.capacity(), 0);
    }

    #[test]
    fn memory_of_batches_is_not_looked_for_by_single_records() {
        let pool = BufferPool::new();
        pool.keep_of_batch(pool.take_for_batch());
        assert!(pool.batches.lock().is_empty(), "there was none");
        pool.keep_of_batch(Vec::with_capacity(1000));
        assert!(!pool.written.load(Ordering::Relaxed), "no codec has written");
        assert!(pool.take_for_batch().capacity() >= 1000);
        assert_eq!(pool.take_for_batch().capacity(), 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let pool = BufferPool::new();
        for _ in 0..100 {
            pool.keep(Buffers { key: Vec::with_capacity(8), ..Buffers::default() });
            pool.keep_of_batch(Vec::with_capacity(8));
        }
        assert_eq!((pool.spare.lock().len(), pool.batches.lock().len()), (KEPT, KEPT));
        pool.spare.lock().clear();
        pool.batches.lock().clear();
        pool.keep(Buffers { value: Vec::with_capacity(KEPT_SIZE + 1), ..Buffers::default() });
        pool.keep_of_batch(Vec::with_capacity(KEPT_SIZE + 1));
        assert!(pool.spare.lock().is_empty() && pool.batches.lock().is_empty());
    }
}
