//! What the offsets topic tells when a broker is opened.
//!
//! ```text
//!   no transaction is open ---------------------------> replay -> opened -> groups answer
//!   the marker of one is missing yet ------ appended ----^  | damaged: groups answer with that error
//!      (groups answer why meanwhile)
//! ```
//!
//! Invariant: groups answer only when every record has been read. What has been committed behind a transaction that
//! is still open would be hidden, and its groups go back.

use std::sync::{Arc, OnceLock};

use super::service::{GroupService, Room};
use crate::config::{CrcCheck, Isolation};
use crate::error::{Error, ErrorKind, Result};
use crate::format::offsets_topic::OFFSETS_TOPIC;
use crate::group::KnownTopic;
use crate::partition::{Cursor, Log, ReadLimits};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::types::{TopicName, TopicPartition};

/// Whether the offsets topic has been read.
#[derive(Default)]
pub(super) struct Opening {
    /// Why it could not be.
    damaged: OnceLock<Error>,
    /// It is unread: a marker is missing.
    waits: AtomicBool,
    unread: Mutex<Option<Arc<Log>>>,
    /// Why a marker could not be appended to it, the last time.
    refused: Mutex<Option<Error>>,
}

impl Opening {
    /// The broker is closed.
    pub(super) fn let_go(&self) {
        let unread = self.unread.lock().take();
        drop(unread);
    }

    fn missing_marker(&self) -> Error {
        let what = "a transaction with offsets has ended, and groups go on when its marker has been appended";
        let refused = self.refused.lock();
        let Some(why) = &*refused else { return Error::new(ErrorKind::Backpressure, what) };
        let kind = match why.kind() {
            // There is no room for what waits to be written as the disk has none for what was accepted before.
            ErrorKind::Backpressure => ErrorKind::StorageFull,
            kind => kind,
        };
        Error::new(kind, what).caused_by(why.again())
    }
}

impl GroupService {
    /// Reads what the offsets topic holds, if there is one, and takes note of the topics there are. Where it
    /// cannot be read, groups answer with that error, and everything else of the broker works.
    pub(crate) fn open(&self, offsets: Option<Arc<Log>>, topics: Vec<(TopicName, KnownTopic)>) {
        if let Some(log) = offsets {
            if is_hidden_in_part(&log) {
                *self.opening.unread.lock() = Some(log);
                self.opening.waits.store(true, Ordering::Release);
            } else if let Err(error) = self.replay(&log) {
                let _ = self.opening.damaged.set(error);
                return;
            } else {
                *self.offsets_log.write() = Some(log);
            }
        }
        self.act(Room::Wait, |coordinator, now, out| coordinator.opened(topics, now, out));
    }

    /// A marker could not be appended to a partition, and is tried again.
    pub(crate) fn marker_refused(&self, tp: &TopicPartition, why: &Error) {
        // Whether it is the one that is to be read shows when all that was left open has been looked at.
        if tp.topic().as_str() == OFFSETS_TOPIC {
            *self.opening.refused.lock() = Some(why.again());
        }
    }

    fn replay(&self, log: &Arc<Log>) -> Result<()> {
        let mut cursor = Cursor::new(log.clone(), log.log_start()).isolated(Isolation::ReadCommitted);
        let limits = ReadLimits { max_bytes: 1 << 20, max_records: u32::MAX, crc: CrcCheck::Once };
        while let Some(chunk) = cursor.read(u64::MAX, &limits)? {
            let mut state = self.state.lock();
            for record in chunk.iter() {
                let record = record?.record;
                state.coordinator.replay(record.key.unwrap_or_default(), record.value);
            }
        }
        Ok(())
    }

    /// All of the offsets topic has been read, or is now.
    pub(super) fn check_read(&self) -> Result<()> {
        if self.opening.waits.load(Ordering::Acquire) {
            self.read_at_last()?;
        }
        self.opening.damaged.get().map_or(Ok(()), |damage| Err(damage.again()))
    }

    #[cold]
    fn read_at_last(&self) -> Result<()> {
        let mut unread = self.opening.unread.lock();
        let Some(log) = &*unread else { return Ok(()) };
        log.check_open()?;
        if is_hidden_in_part(log) {
            return Err(self.opening.missing_marker().in_partition(log.topic_partition()));
        }
        match self.replay(log) {
            Ok(()) => {
                *self.offsets_log.write() = Some(log.clone());
                self.act(Room::Wait, |coordinator, now, out| coordinator.opened([], now, out));
            }
            Err(error) => drop(self.opening.damaged.set(error)),
        }
        *unread = None;
        self.opening.waits.store(false, Ordering::Release);
        Ok(())
    }
}

/// Whether records lie behind a transaction of an earlier opening that will be ended, and is not yet.
fn is_hidden_in_part(log: &Log) -> bool {
    !log.open_transactions().is_empty() && log.check_stuck().is_ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::env::sim::SimEnvironment;

    #[test]
    fn groups_answer_what_keeps_the_marker_from_its_topic() {
        let wait = Duration::from_secs(1);
        let environment = SimEnvironment::new(1).environment();
        let groups = GroupService::new(environment.clock().clone(), 1, wait, wait);
        let partition = |topic: &str| TopicPartition::new(TopicName::new(topic).unwrap(), 0);
        let why = Error::new(ErrorKind::StorageFull, "no room");
        groups.marker_refused(&partition(OFFSETS_TOPIC), &why);
        assert_eq!(groups.opening.missing_marker().kind(), ErrorKind::StorageFull);
        groups.marker_refused(&partition(OFFSETS_TOPIC), &Error::new(ErrorKind::Io, "no file handle"));
        groups.marker_refused(&partition("t"), &why);
        let told = groups.opening.missing_marker();
        assert_eq!(told.kind(), ErrorKind::Io);
        assert!(format!("{told:#}").contains("no file handle"), "{told:#}");
    }
}
