//! Waiting for room, after a record has been refused.
//!
//! Invariants
//! - Who waits registers with both, the memory's list and the overdue flush's, and looks again then.
//! - Closing the producer wakes who waits.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::shared::Shared;
use crate::error::Result;
use crate::partition::Log;
use crate::sync::atomic::Ordering;
use crate::sync::{Operation, WaitKey};

/// Waits until the record that `shared` has refused last would find room.
pub(super) fn ready<K, V>(shared: &Arc<Shared<K, V>>) -> Operation<()>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    let refused_by = shared.refused_by.load(Ordering::Relaxed);
    let Some(log) = shared.target.partitions.get(refused_by).cloned() else {
        return Operation::finished(shared.check_open());
    };
    let clock = Arc::clone(log.clock());
    let mut room = RoomWait { shared: Arc::clone(shared), log, room: None, flush: None };
    Operation::new(Arc::new(move || clock.monotonic()), move |context| room.poll(context))
}

/// Waits until nothing stands in the way of the record that was refused: memory, or a flush that is overdue.
struct RoomWait<K, V> {
    shared: Arc<Shared<K, V>>,
    log: Arc<Log>,
    room: Option<WaitKey>,
    flush: Option<WaitKey>,
}

impl<K, V> RoomWait<K, V> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.has_room() {
            self.log.budget().waiters().register(&mut self.room, context.waker());
            // Closing the producer wakes the same list.
            self.shared.check_open()?;
            if !self.has_room() {
                return Poll::Pending;
            }
        }
        let on_time = self.log.poll_on_time(context, &mut self.flush);
        // Looked at after the registration: closing the producer wakes that list, too.
        self.shared.check_open()?;
        on_time.map(Ok)
    }

    fn has_room(&self) -> bool {
        let needed = self.shared.refused.load(Ordering::Relaxed);
        // The log's own error is told by the next `try_send`.
        self.log.may_have_room(needed) || self.log.check_open().is_err()
    }
}

impl<K, V> Drop for RoomWait<K, V> {
    fn drop(&mut self) {
        if let Some(key) = self.room.take() {
            self.log.budget().waiters().cancel(key);
        }
        if let Some(key) = self.flush.take() {
            self.log.cancel_acked(key);
        }
    }
}
