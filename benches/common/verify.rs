//! Reads everything back: count, order and the sum of all words must be those that were sent.

use millpond::prelude::*;

use super::Result;
use super::payload::{Payloads, stamp, sum_of_words};

/// Checks that partition `number` of `topic` holds the records `0..count`, in order.
pub(crate) fn partition(topic: &Topic, number: u32, count: u64, payloads: &Payloads) -> Result<()> {
    let mut reader = topic.partition(number)?.read(..)?;
    let mut check = Check::new();
    while let Some(records) = reader.next()? {
        for record in &records {
            check.see(record.value()?.unwrap_or_default())?;
        }
    }
    check.finish(count, payloads)
}

/// Counts and sums what comes by.
#[derive(Default)]
pub(crate) struct Check {
    seen: u64,
    sum: u64,
}

impl Check {
    /// Nothing seen yet.
    pub(crate) fn new() -> Check {
        Check::default()
    }

    /// The next payload.
    #[inline]
    pub(crate) fn see(&mut self, payload: &[u8]) -> Result<()> {
        if stamp(payload) != self.seen {
            return Err(format!("record {} carries the stamp {}", self.seen, stamp(payload)).into());
        }
        self.seen += 1;
        self.sum = self.sum.wrapping_add(sum_of_words(&payload[8..]));
        Ok(())
    }

    /// How many have been seen.
    pub(crate) fn seen(&self) -> u64 {
        self.seen
    }

    /// They were the records `0..count`.
    pub(crate) fn finish(&self, count: u64, payloads: &Payloads) -> Result<()> {
        if self.seen != count {
            return Err(format!("{} records read back, {count} were sent", self.seen).into());
        }
        if self.sum != payloads.sum(count) {
            return Err("the bytes read back are not those that were sent".into());
        }
        Ok(())
    }
}
