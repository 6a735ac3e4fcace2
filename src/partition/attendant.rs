//! Who looks after a partition in the background.

use std::fmt::Debug;
use std::time::Duration;

/// The partition asks for service; the broker's threads (or a test, by hand) give it.
pub(crate) trait Attendant: Debug + Send + Sync {
    /// Somebody waits: seal, write and flush as soon as possible.
    fn flush_soon(&self);

    /// More has been brought to the device: the recovery point may move. So many bytes of the log lie above the
    /// last one now.
    fn flushed(&self, above_point: u64);

    /// The writer nears the end of the prepared room.
    fn prepare_soon(&self);

    /// More files are open than should be: those used longest ago are to be closed.
    fn close_idle_soon(&self);

    /// So many files are open that this thread closes some before it opens another one. It holds no lock of a
    /// partition.
    fn close_idle_now(&self);

    /// Something is due at this point of the monotonic clock.
    fn due_at(&self, when: Duration);
}

/// Nobody: the partition is driven by its callers alone.
#[cfg(any(test, all(fuzzing, feature = "testing")))]
#[derive(Debug)]
pub(crate) struct Unattended;

#[cfg(any(test, all(fuzzing, feature = "testing")))]
impl Attendant for Unattended {
    fn flush_soon(&self) {}

    fn flushed(&self, _above_point: u64) {}

    fn prepare_soon(&self) {}

    fn close_idle_soon(&self) {}

    fn close_idle_now(&self) {}

    fn due_at(&self, _when: Duration) {}
}
