//! Where reading begins, as an offset of one partition.
//!
//! Invariant: an offset that is answered could be read from when it was asked for.

use std::sync::Arc;

use crate::config::{Isolation, Start};
use crate::error::{Error, Result};
use crate::partition::Log;
use crate::types::Offset;

impl From<Offset> for Start {
    fn from(offset: Offset) -> Start {
        Start::Offset(offset)
    }
}

/// The offset that `start` means in this partition now.
///
/// Errors: `OffsetOutOfRange` for an offset outside the log; those of reading for a timestamp.
pub(crate) fn resolve(log: &Arc<Log>, start: Start, isolation: Isolation) -> Result<u64> {
    let earliest = log.log_start();
    let latest = match isolation {
        Isolation::ReadCommitted => log.last_stable(),
        Isolation::ReadUncommitted => log.high_watermark(),
    };
    match start {
        Start::Earliest => Ok(earliest),
        Start::Latest => Ok(latest),
        Start::Offset(offset) if (earliest..=latest).contains(&offset.get()) => Ok(offset.get()),
        Start::Offset(offset) if offset.get() > latest && offset.get() <= log.appended_end() => {
            Ok(offset.get())
        }
        Start::Offset(offset) => {
            let (earliest, latest) = (Offset::of(earliest), Offset::of(latest));
            Err(Error::out_of_range(log.topic_partition(), offset, earliest, latest))
        }
        Start::Timestamp(timestamp) => {
            let found = log.offset_for_timestamp(timestamp.millis())?;
            Ok(found.map_or(latest, |(offset, _)| offset))
        }
        Start::Last(count) => Ok(latest.saturating_sub(count).max(earliest)),
    }
}
