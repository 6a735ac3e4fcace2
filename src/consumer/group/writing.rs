//! Records on their way to the offsets topic.
//!
//! ```text
//!   act --> outbox --one at a time--> appended (end offset known) --acknowledged--> written
//!                                  `--> failed
//! ```
//!
//! Invariants: writes are appended in the order of their ids; one that fails is told before a later one holds.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, Result};
use crate::format::batch::{BatchBuilder, BatchSpec};
use crate::group::{OffsetsRecord, WriteId};
use crate::partition::{FinishedBatch, Log, Patience};

/// How far a write has come.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    appended: OnceLock<Result<u64>>,
    of_transaction: bool,
}

impl Ticket {
    /// Of offsets that hold when their transaction is committed.
    pub(super) fn of_transaction() -> Ticket {
        Ticket { appended: OnceLock::new(), of_transaction: true }
    }

    /// Whether its end is that of a transaction, which wakes every member. Only an error is set then: why it will not
    /// be known.
    pub(super) fn is_of_transaction(&self) -> bool {
        self.of_transaction
    }

    /// The offset below which the log must be acknowledged; `None` before it is appended.
    pub(super) fn end(&self) -> Option<Result<u64>> {
        self.appended.get().map(|appended| match appended {
            Ok(end) => Ok(*end),
            Err(error) => Err(error.again()),
        })
    }

    pub(super) fn set(&self, appended: Result<u64>) {
        let _ = self.appended.set(appended);
    }
}

/// A write that waits to be appended.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: WriteId,
    pub(super) records: Vec<OffsetsRecord>,
    pub(super) ticket: Arc<Ticket>,
}

/// A batch of the offsets topic grows to this many bytes.
const BATCH_BYTES: usize = 256 << 10;

/// Appends these writes; answers for how many, and the error that ended it.
pub(super) fn append_all(log: &Log, writes: &[Outgoing], patience: Patience<'_>) -> (usize, Option<Error>) {
    let mut builder = BatchBuilder::new(BatchSpec::default());
    let now = log.clock().now().millis();
    let mut done = 0;
    for (count, write) in (1..).zip(writes) {
        for record in &write.records {
            builder.append(now, Some(&record.key.encode()), record.value.as_deref(), &[]);
        }
        if builder.len() < BATCH_BYTES && count < writes.len() {
            continue;
        }
        match append(log, &mut builder, patience) {
            Ok(end) => {
                writes[done..count].iter().for_each(|write| write.ticket.set(Ok(end)));
                done = count;
            }
            Err(error) => return (done, Some(error)),
        }
    }
    (done, None)
}

fn append(log: &Log, builder: &mut BatchBuilder, patience: Patience<'_>) -> Result<u64> {
    if builder.is_empty() {
        return Ok(log.acked_end());
    }
    let built = FinishedBatch::of(builder, None);
    builder.clear();
    let mut batch = built?;
    let count = batch.count();
    let appended = log.append_batch(&mut batch, patience)?;
    Ok(appended.offset + count)
}
