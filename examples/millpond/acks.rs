//! Reports acknowledgements as they come, while the stream of records goes on.
//!
//! ```text
//!   sender --push--> inbox --take--> one queue per partition --poll the oldest--> "acked P O"
//!      ^                                                              |
//!      +------------------------- room -------------------------------+
//! ```
//!
//! Invariants
//! - A delivery is a future, so one thread watches all partitions: a slow one holds up no other's lines.
//! - Within a partition acknowledgements come in the order of the offsets, so only the oldest is asked.
//! - No more than [`MOST`] deliveries are held; the sender waits for room.
//! - A line is one write, and is written as soon as its record is acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};

use millpond::producer::Delivery;

use crate::failure::{Failure, Outcome};

/// The most deliveries held.
const MOST: usize = 1 << 16;

/// Where acknowledgements are written.
pub(crate) type Sink = Box<dyn Write + Send>;

/// A thread that writes acknowledgements.
#[derive(Debug)]
pub(crate) struct Acks {
    shared: Arc<Shared>,
    thread: JoinHandle<Outcome<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    new: Vec<Delivery>,
    /// Those in `new` and those that the thread holds.
    held: usize,
    /// Nothing more comes.
    closed: bool,
    /// The thread has stopped.
    gone: bool,
}

impl Acks {
    /// Starts the thread.
    pub(crate) fn start(sink: Sink) -> Outcome<Acks> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        let watch = move || {
            let result = own.watch(sink);
            own.leave();
            result
        };
        let thread = thread::Builder::new().name("acks".into()).spawn(watch);
        let thread = thread.map_err(|e| Failure::failed(format!("could not start a thread: {e}")))?;
        Ok(Acks { shared, thread })
    }

    /// Hands over a delivery; answers whether anybody still writes.
    pub(crate) fn push(&self, delivery: Delivery) -> bool {
        let inbox = self.shared.inbox();
        let full = |inbox: &mut Inbox| inbox.held >= MOST && !inbox.gone;
        let mut inbox = self.shared.room.wait_while(inbox, full).unwrap_or_else(PoisonError::into_inner);
        if inbox.gone {
            return false;
        }
        inbox.held += 1;
        inbox.new.push(delivery);
        drop(inbox);
        self.thread.thread().unpark();
        true
    }

    /// Waits until all that were handed over have been acknowledged and written.
    pub(crate) fn finish(self) -> Outcome<()> {
        self.shared.inbox().closed = true;
        self.thread.thread().unpark();
        let failed = |_| Failure::failed("the thread that writes acknowledgements failed");
        self.thread.join().map_err(failed)?
    }
}

impl Shared {
    fn watch(&self, mut sink: Sink) -> Outcome<()> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        let mut queues: BTreeMap<u32, VecDeque<Delivery>> = BTreeMap::new();
        loop {
            let closed = self.take(&mut queues);
            let mut written = 0;
            for queue in queues.values_mut() {
                written += report(queue, &mut context, &mut sink)?;
            }
            queues.retain(|_, queue| !queue.is_empty());
            if closed && queues.is_empty() {
                return Ok(());
            }
            if written == 0 {
                // A delivery that comes, and one that is acknowledged, ends this at once or has done so.
                thread::park();
            } else {
                self.give_room(written);
            }
        }
    }

    /// Sorts what has come by partition; answers whether nothing more will.
    fn take(&self, queues: &mut BTreeMap<u32, VecDeque<Delivery>>) -> bool {
        let mut inbox = self.inbox();
        let new = std::mem::take(&mut inbox.new);
        let closed = inbox.closed;
        drop(inbox);
        for delivery in new {
            queues.entry(delivery.partition()).or_default().push_back(delivery);
        }
        closed
    }

    fn give_room(&self, count: usize) {
        self.inbox().held -= count;
        self.room.notify_one();
    }

    fn leave(&self) {
        self.inbox().gone = true;
        self.room.notify_one();
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a line for each delivery at the front that has been acknowledged.
fn report(queue: &mut VecDeque<Delivery>, context: &mut Context<'_>, sink: &mut Sink) -> Outcome<usize> {
    let mut written = 0;
    while let Some(oldest) = queue.front_mut() {
        let Poll::Ready(stored) = Pin::new(oldest).poll(context) else { break };
        let stored = stored?;
        let line = format!("acked {} {}\n", stored.partition(), stored.offset());
        let done = sink.write_all(line.as_bytes()).and_then(|()| sink.flush());
        done.map_err(|e| Failure::failed(format!("could not write an acknowledgement: {e}")))?;
        queue.pop_front();
        written += 1;
    }
    Ok(written)
}

/// Wakes the thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
