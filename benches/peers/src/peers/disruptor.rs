//! disruptor: a ring of slots in memory, and a reader that spins.

use std::path::Path;
use std::sync::Mutex;

use disruptor::{BusySpin, EventPoller, Polling, Producer, SingleProducerBarrier, build_single_producer};

use crate::Result;
use crate::peer::{Facts, Kind, Log, Peer, Reader, Setup, Writer};
use crate::sink::Sink;

const SLOTS: usize = 16 << 10;

pub struct Disruptor;

type Place<T> = Mutex<Option<Box<T>>>;

struct Open {
    writer: Place<dyn Writer + Send>,
    reader: Place<dyn Reader + Send>,
}

/// A slot has room for the largest record, made when the ring is.
struct Slot(Vec<u8>);

struct Publish<P>(P);

struct Poll(EventPoller<Slot, SingleProducerBarrier>);

impl Peer for Disruptor {
    fn facts(&self) -> Facts {
        Facts {
            name: "disruptor",
            package: "disruptor",
            kind: Kind::Channel,
            keeps: "nothing",
            checks: "none",
            notes: "a ring of slots in memory, one sender; whoever waits spins",
        }
    }

    fn open(&self, _: &Path, setup: &Setup) -> Result<Box<dyn Log>> {
        let size = setup.record;
        let builder = build_single_producer(SLOTS, || Slot(vec![0; size]), BusySpin);
        let (poller, builder) = builder.new_event_poller();
        let producer = builder.build();
        let writer: Box<dyn Writer + Send> = Box::new(Publish(producer));
        let reader: Box<dyn Reader + Send> = Box::new(Poll(poller));
        Ok(Box::new(Open { writer: Mutex::new(Some(writer)), reader: Mutex::new(Some(reader)) }))
    }
}

impl Log for Open {
    fn writer(&self, _: u32) -> Result<Box<dyn Writer + Send + '_>> {
        let mut place = self.writer.lock().map_err(|_| "a thread died")?;
        Ok(place.take().ok_or("one sender only")?)
    }

    fn reader(&self, _: u32) -> Result<Box<dyn Reader + Send + '_>> {
        let mut place = self.reader.lock().map_err(|_| "a thread died")?;
        Ok(place.take().ok_or("one reader only")?)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl<P: Producer<Slot>> Writer for Publish<P> {
    #[inline]
    fn append(&mut self, record: &[u8]) -> Result<()> {
        self.0.publish(|slot| slot.0.copy_from_slice(record));
        Ok(())
    }
}

impl Reader for Poll {
    #[inline]
    fn read(&mut self, sink: &mut Sink<'_>) -> Result<bool> {
        match self.0.poll() {
            Ok(mut events) => {
                for slot in &mut events {
                    sink.see(&slot.0);
                }
                Ok(true)
            }
            Err(Polling::NoEvents | Polling::Shutdown) => Ok(false),
        }
    }
}
