//! A partition of a consumer, and where it stands in it.
//!
//! ```text
//!   assigned -- what is committed is known --> reading at an offset
//!       |-- a commit of the former owner is still on its way: wait for it
//!       `-- whether it holds shows at the next opening only: tell so
//! ```
//!
//! Invariants: reading begins where the group has committed, or as the settings say, never elsewhere; a position
//! moves only with records that are handed out, or by `seek`.

use std::sync::Arc;

use super::service::{FoundPartition, GroupService};
use crate::config::{Isolation, OffsetReset};
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Backward, CommitEntry, Committed, GroupId, OffsetAndMetadata};
use crate::partition::{Cursor, Log};
use crate::sync::WaitKey;
use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

/// A partition and the place in it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) topic_id: TopicId,
    pub(super) cursor: Cursor,
    pub(super) started: bool,
    pub(super) paused: bool,
    /// It is about to be let go: nothing more of it is handed out.
    pub(super) leaving: bool,
    /// The position went back on purpose: what is committed may, too.
    pub(super) sought: bool,
    /// Of the record before the position; -1 where that is not known.
    pub(super) leader_epoch: i32,
    /// Waits for records.
    pub(super) waiting: Option<WaitKey>,
    /// Waits for a commit of the former owner: the end of its write.
    pub(super) pending: Option<u64>,
    pub(super) pending_key: Option<WaitKey>,
}

/// How a place was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// Reading can go on.
    Reading,
    /// A commit must hold first.
    NotYet,
    /// Records that the group had read are gone: it went back.
    Truncated { committed: Offset, resumed: Offset },
}

impl Place {
    pub(super) fn new(found: FoundPartition, isolation: Isolation) -> Place {
        Place {
            topic_id: found.topic_id,
            cursor: Cursor::counted(found.log, 0).isolated(isolation),
            started: false,
            paused: false,
            leaving: false,
            sought: false,
            leader_epoch: -1,
            waiting: None,
            pending: None,
            pending_key: None,
        }
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        self.cursor.log()
    }

    pub(super) fn topic_partition(&self) -> &TopicPartition {
        self.log().topic_partition()
    }

    /// Where it stands; `None` before that is known.
    pub(super) fn position(&self) -> Option<Offset> {
        self.started.then(|| Offset::of(self.cursor.next_offset()))
    }

    /// Goes where the group has come to.
    pub(super) fn begin(
        &mut self,
        groups: &GroupService,
        group: &GroupId,
        reset: OffsetReset,
    ) -> Result<Begun> {
        if self.started {
            return Ok(Begun::Reading);
        }
        let committed = loop {
            let (committed, pending) =
                groups.look(|coordinator| coordinator.committed(group, self.topic_partition()));
            let Some(write) = pending else { break committed };
            // Without a ticket the write has ended since: what is committed is another thing now.
            if let Some(ticket) = groups.ticket(write) {
                if ticket.is_of_transaction() {
                    self.pending = None;
                    if let Some(Err(unknown)) = ticket.end() {
                        return Err(unknown.in_partition(self.topic_partition()));
                    }
                    return Ok(Begun::NotYet);
                }
                if ticket.end().is_none() {
                    groups.append_outbox();
                }
                if let Some(Ok(end)) = ticket.end() {
                    self.pending = Some(end);
                    return Ok(Begun::NotYet);
                }
            }
        };
        self.pending = None;
        let (offset, begun) = match committed {
            Committed::Corrupt(why) => {
                let message = format!("the committed offset of group {group} cannot be read: {why}");
                return Err(Error::new(ErrorKind::Corrupted, message).in_partition(self.topic_partition()));
            }
            // A group that begins at the latest records has committed them when it first joined: this partition
            // has come since.
            Committed::Absent if reset == OffsetReset::Latest => (self.log().log_start(), Begun::Reading),
            Committed::Absent => (self.reset_to(group, None, reset)?, Begun::Reading),
            Committed::At(at) => {
                let (offset, begun) = self.go_on_from(&at, group, reset)?;
                if offset == at.offset().get() && at.epoch() != LeaderEpoch::NONE {
                    // Also where the log has forgotten what was before it.
                    self.cursor.seek(offset);
                    (self.leader_epoch, self.started) = (at.epoch().get(), true);
                    return Ok(begun);
                }
                (offset, begun)
            }
        };
        self.go_to(offset);
        Ok(begun)
    }

    /// Goes somewhere, and finds out which leader wrote what lies before: it is committed with the position.
    pub(super) fn go_to(&mut self, offset: u64) {
        self.cursor.seek(offset);
        self.leader_epoch = self.log().epoch_before(offset);
        (self.started, self.pending) = (true, None);
    }

    /// The offset to go on from. Where the log was cut below it and went on otherwise, the two part at the end of
    /// the committed epoch.
    fn go_on_from(
        &self,
        at: &OffsetAndMetadata,
        group: &GroupId,
        reset: OffsetReset,
    ) -> Result<(u64, Begun)> {
        let (log, offset) = (self.log(), at.offset().get());
        let parted =
            log.end_offset_for_epoch(at.epoch().get()).map(|(_, end)| end).filter(|end| *end < offset);
        if let Some(end) = parted {
            let resumed = end.max(log.log_start());
            let begun = Begun::Truncated { committed: at.offset(), resumed: Offset::of(resumed) };
            return Ok((resumed, begun));
        }
        if offset < log.log_start() || offset > log.log_end() {
            return Ok((self.reset_to(group, Some(at.offset()), reset)?, Begun::Reading));
        }
        Ok((offset, Begun::Reading))
    }

    fn reset_to(&self, group: &GroupId, committed: Option<Offset>, reset: OffsetReset) -> Result<u64> {
        let (earliest, latest) = (self.log().log_start(), self.cursor.end());
        match (reset, committed) {
            (OffsetReset::Earliest, _) => Ok(earliest),
            (OffsetReset::Latest, _) => Ok(latest),
            (OffsetReset::Fail, None) => {
                let message = format!("group {group} has committed no offset: seek, or reset the group");
                Err(Error::new(ErrorKind::NoOffset, message).in_partition(self.topic_partition()))
            }
            (OffsetReset::Fail, Some(requested)) => {
                let (earliest, latest) = (Offset::of(earliest), Offset::of(latest));
                let kind = ErrorKind::OffsetOutOfRange { requested, earliest, latest };
                let message = format!(
                    "the log begins at offset {earliest} and ends before {latest}: not where group {group} has committed"
                );
                Err(Error::new(kind, message).in_partition(self.topic_partition()).at_offset(requested))
            }
        }
    }

    /// What stood at the position is gone.
    pub(super) fn out_of_range(&mut self, error: Error, reset: OffsetReset) -> Result<()> {
        let offset = match reset {
            OffsetReset::Earliest => self.log().log_start(),
            OffsetReset::Latest => self.cursor.end(),
            OffsetReset::Fail => return Err(error),
        };
        self.go_to(offset);
        Ok(())
    }

    /// An offset of this partition, as it is committed: with the epoch of the record before it, without which nobody
    /// notices that a power cut has taken that back.
    pub(super) fn entry(&self, mut offset: OffsetAndMetadata) -> CommitEntry {
        if offset.epoch() == LeaderEpoch::NONE {
            let epoch = self.log().epoch_before(offset.offset().get());
            offset = offset.leader_epoch(LeaderEpoch::new(epoch));
        }
        CommitEntry {
            tp: self.topic_partition().clone(),
            topic_id: self.topic_id,
            offset,
            log_end: GroupService::log_end(self.log()),
            backward: if self.sought { Backward::Allow } else { Backward::Ignore },
        }
    }

    /// The position, as it is committed.
    pub(super) fn position_entry(&self) -> Option<CommitEntry> {
        Some(self.entry(self.read_up_to(self.position()?, self.leader_epoch)))
    }

    /// Where records end that were read, the last of which has this leader epoch. What was passed over behind it may
    /// have a later one: an opening that ended transactions has written their markers.
    pub(super) fn read_up_to(&self, offset: Offset, leader_epoch: i32) -> OffsetAndMetadata {
        let leader_epoch = self.log().epoch_before(offset.get()).max(leader_epoch);
        OffsetAndMetadata::new(offset).leader_epoch(LeaderEpoch::new(leader_epoch))
    }

    pub(super) fn stop_waiting(&mut self, groups: &GroupService) {
        if let Some(key) = self.waiting.take() {
            self.log().readers().cancel(key);
        }
        if let (Some(key), Some(log)) = (self.pending_key.take(), groups.offsets_log()) {
            log.cancel_acked(key);
        }
    }
}
