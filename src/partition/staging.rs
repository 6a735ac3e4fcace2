//! Batches that wait in memory to be written: sealed ones in a queue, and the one that is open.
//!
//! ```text
//!   queue:  [batch 0..3][batch 4..9]     open: [record 10][record 11]
//!            ^ written next                     ^ next record gets offset 12
//! ```
//!
//! Invariants
//! - Offsets are given here, in order; positions only when a batch is written (compression decides them).
//! - A batch leaves the queue only after it has been written: a full disk loses nothing.

use std::collections::VecDeque;

use super::budget::Budget;
use crate::error::{Error, Result};
use crate::format::batch::{BatchBuilder, BatchHeader, BatchSpec};
use crate::segment::NewRecord;

/// A batch that only waits for its turn.
#[derive(Debug)]
pub(crate) struct StagedBatch {
    /// Offset of its first record.
    pub(crate) base_offset: u64,
    /// How many offsets it takes.
    pub(crate) count: u64,
    /// Bytes taken from the budget for it.
    pub(crate) taken: u64,
    /// When it was sealed, in milliseconds since the epoch.
    pub(crate) sealed_at: i64,
    /// Its records, or its bytes.
    pub(crate) content: StagedContent,
}

/// How far a staged batch is.
#[derive(Debug)]
pub(crate) enum StagedContent {
    /// Records, not yet compressed.
    Records(BatchBuilder),
    /// Final bytes.
    Finished(Vec<u8>, BatchHeader),
}

/// The staged end of a partition.
#[derive(Debug)]
pub(crate) struct Staging {
    open: Option<OpenStaged>,
    queue: VecDeque<StagedBatch>,
    next: u64,
}

#[derive(Debug)]
struct OpenStaged {
    builder: BatchBuilder,
    base_offset: u64,
    opened_at: i64,
    taken: u64,
}

impl Staging {
    /// Nothing staged; the next record gets offset `next`.
    pub(crate) fn new(next: u64) -> Staging {
        Staging { open: None, queue: VecDeque::new(), next }
    }

    /// The offset the next record gets.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next
    }

    /// Nothing waits to be written, nothing is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_none() && self.queue.is_empty()
    }

    /// When the open batch was opened, in milliseconds since the epoch.
    pub(crate) fn opened_at(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.opened_at)
    }

    /// Since when the oldest batch waits here, in milliseconds since the epoch: a sealed one that could not
    /// be written, else the open one.
    pub(crate) fn waiting_since(&self) -> Option<i64> {
        let sealed = self.queue.front().map(|batch| batch.sealed_at);
        sealed.or_else(|| self.open.as_ref().map(|open| open.opened_at))
    }

    /// Sealed batches wait to be written.
    pub(crate) fn has_sealed(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether the open batch must be sealed before a record of `len` bytes is added.
    pub(crate) fn is_full_for(&self, len: u64, batch_size: u64) -> bool {
        self.open.as_ref().is_some_and(|open| open.builder.len() as u64 + len > batch_size)
    }

    /// Adds a record to the open batch (opened with `spec` if there is none); `taken` bytes of the budget
    /// are for it. Answers its offset, and whether it opened the batch.
    pub(crate) fn push(
        &mut self,
        record: &NewRecord<'_>,
        spec: BatchSpec,
        now: i64,
        taken: u64,
        budget: &Budget,
    ) -> (u64, bool) {
        let opened = self.open.is_none();
        let next = self.next;
        let open =
            self.open.get_or_insert_with(|| OpenStaged::new(spec, next, now, budget.take_small_buffer()));
        let timestamp = if spec.attributes.is_log_append_time() { open.opened_at } else { record.timestamp };
        open.builder.append(timestamp, record.key, record.value, record.headers);
        open.taken += taken;
        self.next += 1;
        (next, opened)
    }

    /// Seals the open batch: it takes no more records.
    pub(crate) fn seal(&mut self, now: i64) {
        let Some(open) = self.open.take() else { return };
        self.queue.push_back(StagedBatch {
            base_offset: open.base_offset,
            count: open.builder.count() as u64,
            taken: open.taken,
            sealed_at: now,
            content: StagedContent::Records(open.builder),
        });
    }

    /// Queues a batch that is finished but for its place; the open one is sealed before it.
    pub(crate) fn push_batch(&mut self, bytes: Vec<u8>, header: BatchHeader, now: i64, taken: u64) {
        self.seal(now);
        let count = header.last_offset_delta as u64 + 1;
        let base_offset = header.base_offset as u64;
        self.next = base_offset + count;
        let content = StagedContent::Finished(bytes, header);
        self.queue.push_back(StagedBatch { base_offset, count, taken, sealed_at: now, content });
    }

    /// Takes the oldest sealed batch.
    pub(crate) fn pop(&mut self) -> Option<StagedBatch> {
        self.queue.pop_front()
    }

    /// Takes the oldest sealed batch, if it begins below `end`.
    pub(crate) fn pop_below(&mut self, end: u64) -> Option<StagedBatch> {
        let next = self.queue.front()?;
        if next.base_offset < end { self.queue.pop_front() } else { None }
    }

    /// Puts a batch back that could not be written.
    pub(crate) fn put_back(&mut self, batch: StagedBatch) {
        self.queue.push_front(batch);
    }

    /// Throws away everything staged; answers the bytes it had taken.
    pub(crate) fn discard(&mut self) -> u64 {
        let open = self.open.take().map_or(0, |open| open.taken);
        open + self.queue.drain(..).map(|batch| batch.taken).sum::<u64>()
    }
}

impl OpenStaged {
    fn new(spec: BatchSpec, base_offset: u64, now: i64, buffer: Vec<u8>) -> OpenStaged {
        let mut builder = BatchBuilder::reusing(spec, buffer);
        if spec.attributes.is_log_append_time() {
            builder.set_append_time(now);
        }
        OpenStaged { builder, base_offset, opened_at: now, taken: 0 }
    }
}

impl StagedBatch {
    /// Its memory, once it has been written.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        match self.content {
            StagedContent::Finished(bytes, _) => bytes,
            StagedContent::Records(_) => Vec::new(),
        }
    }

    /// The final bytes, compressed (at `level`) if its builder says so, and their header.
    pub(crate) fn finish(&mut self, level: Option<i32>) -> Result<(&[u8], &BatchHeader)> {
        if let StagedContent::Records(builder) = &mut self.content {
            let unable =
                |e: crate::format::FormatError| Error::unsupported(format!("cannot seal a batch: {e}"));
            let base_offset = self.base_offset as i64;
            let (bytes, header) = builder.finish_with_header(base_offset, level).map_err(unable)?;
            self.content = StagedContent::Finished(bytes, header);
        }
        match &self.content {
            StagedContent::Finished(bytes, header) => Ok((bytes, header)),
            StagedContent::Records(_) => Err(Error::codec("a staged batch has no bytes")),
        }
    }
}
