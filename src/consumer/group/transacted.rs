//! Offsets that are committed with a transaction.
//!
//! ```text
//!   commit_within -> records of the offsets topic, in the transaction --> end_transaction: they hold, or are forgotten
//!                                                                    `-> hold_transaction: nobody knows, until the
//!                                                                                          next opening
//! ```
//!
//! Invariant: they are appended in the order of all commits, so that numbers rise in the log.

use std::sync::Arc;

use super::service::{GroupService, Room};
use super::writing::Ticket;
use crate::error::{Error, Result};
use crate::format::control::TxnOutcome;
use crate::group::{CommitEntry, Committer, GroupId, WriteId};
use crate::partition::Log;

/// Takes a record of the offsets topic into a transaction: its log, key and value.
pub(super) type AppendOffset<'a> = dyn FnMut(&Arc<Log>, &[u8], Option<&[u8]>) -> Result<()> + 'a;

impl GroupService {
    /// Offsets that are committed with a transaction: `append` takes them into it, in the order of all commits.
    /// Answers what [`end_transaction`](Self::end_transaction) is to be told; `own` is what it has answered before.
    pub(super) fn commit_within(
        &self,
        group: &GroupId,
        committer: &Committer,
        entries: Vec<CommitEntry>,
        own: &[WriteId],
        append: &mut AppendOffset<'_>,
    ) -> Result<Option<WriteId>> {
        self.check_open()?;
        let log = self.offsets_log().ok_or_else(|| Error::closed("the offsets topic"))?;
        let (appending, begun) = loop {
            self.act(Room::Wait, |_, _, _| ());
            let appending = self.appending.lock();
            let now = self.now();
            let mut state = self.state.lock();
            // Else somebody has come in between, and takes its turn behind this lock: numbers must rise in the log.
            if state.outbox.is_empty() {
                let begun = state.coordinator.commit_in_transaction(group, committer, entries, own, now)?;
                if let Some((id, _)) = &begun {
                    state.tickets.insert(*id, Arc::new(Ticket::of_transaction()));
                }
                break (appending, begun);
            }
        };
        let Some((id, records)) = begun else { return Ok(None) };
        let mut each = records.iter();
        let appended =
            each.try_for_each(|record| append(&log, &record.key.encode(), record.value.as_deref()));
        drop(appending);
        match appended {
            Ok(()) => Ok(Some(id)),
            Err(error) => {
                self.end_transaction(&[id], TxnOutcome::Abort);
                Err(error)
            }
        }
    }

    /// Nobody will say before the next opening how the transaction has ended that these commits were part of: who is
    /// given their partitions, or commits less there, is told why, instead of waiting.
    pub(crate) fn hold_transaction(&self, writes: &[WriteId], why: &Error) {
        if writes.is_empty() {
            return;
        }
        let members = {
            let mut state = self.state.lock();
            writes.iter().for_each(|id| state.coordinator.hold(*id, why.again()));
            let tickets = writes.iter().filter_map(|id| state.tickets.get(id));
            tickets.for_each(|ticket| ticket.set(Err(why.again())));
            state.members()
        };
        members.iter().for_each(|mailbox| mailbox.wake());
    }

    /// The transaction has ended that these commits were part of.
    pub(crate) fn end_transaction(&self, writes: &[WriteId], outcome: TxnOutcome) {
        if writes.is_empty() {
            return;
        }
        let members = self.state.lock().members();
        self.act(Room::Later, |coordinator, _, out| {
            for id in writes {
                match outcome {
                    TxnOutcome::Commit => coordinator.written(*id, out),
                    TxnOutcome::Abort => coordinator.failed(*id, out),
                }
            }
        });
        {
            let mut state = self.state.lock();
            writes.iter().for_each(|id| drop(state.tickets.remove(id)));
        }
        // Who has been given a partition may have waited for this.
        members.iter().for_each(|mailbox| mailbox.wake());
    }
}
