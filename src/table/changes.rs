//! What has changed in a table, and waiting for it.
//!
//! Invariant: a change is in the table before it is told.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::table::Table;
use crate::codec::{Codec, Raw};
use crate::consumer::PollSource;
use crate::error::Result;
use crate::sync::{block_on, block_on_for};
use crate::types::Offset;

/// A key got a value, or lost it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub(super) key: Box<[u8]>,
    pub(super) partition: u32,
    pub(super) offset: Offset,
    pub(super) deleted: bool,
}

impl Change {
    /// The key's bytes.
    #[must_use]
    pub fn raw_key(&self) -> &[u8] {
        &self.key
    }

    /// Whether the key has no value any more.
    #[must_use]
    pub fn is_deletion(&self) -> bool {
        self.deleted
    }

    /// The partition of the record that says so.
    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The offset of the record that says so. Where none does, as retention has deleted the value, or compaction the
    /// tombstone before the table came to it: where the table has read to.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.offset
    }
}

/// Changes, in the order of each partition's log; a key may occur several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    all: Vec<Change>,
}

impl Changes {
    pub(super) fn push(&mut self, change: Change) {
        self.all.push(change);
    }

    /// These keys have lost their values, and no record says so.
    pub(super) fn push_gone(&mut self, keys: Vec<Box<[u8]>>, partition: u32, read_to: Offset) {
        let gone = |key| Change { key, partition, offset: read_to, deleted: true };
        self.all.extend(keys.into_iter().map(gone));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether nothing has changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Change> {
        self.all.iter()
    }
}

impl<'a> IntoIterator for &'a Changes {
    type Item = &'a Change;
    type IntoIter = std::slice::Iter<'a, Change>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The next changes of a table, once there are any: wait for them in a thread, or await them in a task.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # use millpond::prelude::*;
/// # let broker = Broker::open(dir.path())?;
/// use std::time::Duration;
/// let topic = broker.create_topic("prices", TopicConfig::new())?;
/// let mut prices = topic.table()?;
/// assert!(prices.poll().wait_timeout(Duration::from_millis(1))?.is_empty());
/// topic.producer()?.send(Record::new("2.10").key("tea"))?.wait()?;
/// let changes = prices.poll().wait()?;
/// assert_eq!(changes.iter().next().map(|change| change.raw_key()), Some(&b"tea"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "changes are handed out only to who waits for them"]
pub struct PollChanges<'a, K = Raw, V = Raw> {
    table: &'a mut Table<K, V>,
}

impl<'a, K: Codec, V: Codec> PollChanges<'a, K, V> {
    pub(super) fn new(table: &'a mut Table<K, V>) -> PollChanges<'a, K, V> {
        PollChanges { table }
    }

    /// Waits in this thread until something has changed.
    ///
    /// # Errors
    /// `Closed` or `Poisoned` if nothing more can come; else those of [`Table::update`].
    pub fn wait(mut self) -> Result<Changes> {
        block_on(&mut self)
    }

    /// Waits in this thread until something has changed, for at most `timeout`; empty if nothing has.
    ///
    /// # Errors
    /// As [`wait`](PollChanges::wait); that time has passed is no error.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Changes> {
        let clock = self.table.reader.clock();
        let now = || clock.as_ref().map_or(Duration::ZERO, |clock| clock.monotonic());
        block_on_for(self, timeout, &now).unwrap_or_else(|| Ok(Changes::default()))
    }
}

impl<K: Codec, V: Codec> Future for PollChanges<'_, K, V> {
    type Output = Result<Changes>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<Changes>> {
        let table = &mut *self.table;
        let mut changes = Changes::default();
        while changes.is_empty() {
            match table.reader.poll_records(context) {
                Poll::Ready(Ok(records)) => {
                    table.apply(&records, &mut changes)?;
                    table.keep_up(&mut changes)?;
                }
                Poll::Ready(Err(error)) => table.skip_deleted(error)?,
                Poll::Pending => {
                    // What came may have been nothing but deletions, and gone.
                    table.keep_up(&mut changes)?;
                    if changes.is_empty() {
                        return Poll::Pending;
                    }
                }
            }
        }
        Poll::Ready(Ok(changes))
    }
}

impl<K, V> Drop for PollChanges<'_, K, V> {
    fn drop(&mut self) {
        self.table.reader.stop_waiting();
    }
}

impl<K, V> fmt::Debug for PollChanges<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollChanges").finish_non_exhaustive()
    }
}
