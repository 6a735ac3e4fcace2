//! The bound of handing something over: one word in one cache line, and a parked thread to wake.
//!
//! A reader that is held up finds only the last word: this is no queue.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use crate::Result;
use crate::payloads::stamp;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

pub struct Handover;

/// A cache line, and its neighbour.
#[repr(align(128))]
#[derive(Default)]
struct Line(AtomicU64);

#[derive(Default)]
struct Shared {
    /// One more than the number of the record.
    word: Line,
    is_parked: AtomicBool,
    reader: Mutex<Option<Thread>>,
}

struct Open(Arc<Shared>);
struct Publish(Arc<Shared>);
struct Receive(Arc<Shared>, u64);

impl Peer for Handover {
    fn facts(&self) -> Facts {
        Facts {
            name: "handover",
            package: "",
            kind: Kind::Bound,
            keeps: "nothing",
            checks: "none",
            notes: "one word in one cache line, park and unpark: what the machine gives",
        }
    }

    fn open(&self, _: &Path, _: &Setup) -> Result<Box<dyn Log>> {
        Ok(Box::new(Open(Arc::default())))
    }
}

impl Log for Open {
    fn writer(&self, _: u32) -> Result<Box<dyn Writer + Send + '_>> {
        Ok(Box::new(Publish(Arc::clone(&self.0))))
    }

    fn reader(&self, _: u32) -> Result<Box<dyn Reader + Send + '_>> {
        Ok(Box::new(Receive(Arc::clone(&self.0), 0)))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Writer for Publish {
    #[inline]
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.0.word.0.store(stamp(record).1 + 1, Ordering::SeqCst);
        if self.0.is_parked.load(Ordering::SeqCst) {
            let reader = self.0.reader.lock().unwrap_or_else(PoisonError::into_inner);
            reader.iter().for_each(Thread::unpark);
        }
        Ok(())
    }
}

impl Reader for Receive {
    #[inline]
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        let word = self.0.word.0.load(Ordering::Acquire);
        if word == self.1 {
            return Ok(false);
        }
        self.1 = word;
        sink.see(&(word - 1).to_be_bytes());
        Ok(true)
    }

    fn wait(&mut self, sink: &mut Sink<'_>) -> Result<()> {
        *self.0.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(std::thread::current());
        while !self.read(sink)? {
            self.0.is_parked.store(true, Ordering::SeqCst);
            if self.0.word.0.load(Ordering::SeqCst) == self.1 {
                std::thread::park();
            }
            self.0.is_parked.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn can_wait(&self) -> bool {
        true
    }
}
