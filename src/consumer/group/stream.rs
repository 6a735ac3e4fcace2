//! A consumer as a stream of what it polls.
//!
//! ```text
//!   poll_next: Pending -- waits, which counts as polling -- woken -- counts no more -- poll_next
//! ```
//!
//! Invariant: who was woken and does not poll stalls, although the stream, which nobody drops, seems to wait.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_core::Stream;

use super::consumer::Consumer;
use super::mailbox::Mailbox;
use crate::consumer::poll::PollSource;
use crate::consumer::records::Records;
use crate::env::Clock;
use crate::error::Result;

/// Chunks of records as they come; never ends. Waiting for the next one counts as polling, until the task has been
/// woken. (A wait may be dropped at any time: no record is lost.)
impl<K: Send + Sync, V: Send + Sync> Stream for Consumer<K, V> {
    type Item = Result<Records<K, V>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let woken = Woken {
            mailbox: self.mailbox.clone(),
            clock: self.membership.groups.clock().clone(),
            waker: context.waker().clone(),
        };
        let waker = Waker::from(Arc::new(woken));
        let records = ready!(self.poll_records(&mut Context::from_waker(&waker)));
        self.stop_waiting();
        Poll::Ready(Some(records))
    }
}

/// Wakes the task, which from then on is expected to poll.
struct Woken {
    mailbox: Arc<Mailbox>,
    clock: Arc<dyn Clock>,
    waker: Waker,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.polled(self.clock.monotonic());
        self.mailbox.set_waiting(false);
        self.waker.wake_by_ref();
    }
}
