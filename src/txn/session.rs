//! What a holder of a transactional id has under way.
//!
//! Invariants
//! - Records are appended under the session's lock, and whoever ends its transaction takes that lock first: nothing
//!   is appended behind a marker.
//! - Sequence numbers begin at 0 with each transaction, as its epoch is a new one.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::commit::CommitTask;
use super::coordinator::Holder;
use crate::error::{Error, ErrorKind, Result};
use crate::group::WriteId;
use crate::partition::Log;
use crate::producer::{BatchTerms, Membership, ProducerStamp, SequencedBatch};
use crate::segment::NewRecord;
use crate::sync::Mutex;
use crate::types::TopicPartition;

/// A holder of a transactional id.
pub(crate) struct Session {
    pub(super) id: String,
    pub(super) state: Mutex<SessionState>,
}

/// What it has under way.
pub(super) struct SessionState {
    pub(super) holder: Holder,
    pub(super) phase: SessionPhase,
    pub(super) batches: Batches,
    /// Offsets that hold with the transaction.
    pub(super) offsets: Vec<WriteId>,
}

/// The batches of a transaction, one for each partition.
#[derive(Default)]
pub(super) struct Batches {
    all: Vec<SequencedBatch>,
    /// Where each partition's is.
    places: HashMap<TopicPartition, usize>,
    /// The one that the last record went to: often the next one goes there, too.
    last: usize,
}

pub(super) enum SessionPhase {
    Idle,
    Open,
    /// A commit is on its way.
    Committing(Arc<CommitTask>),
    /// Another one holds the id.
    Over,
}

impl Session {
    pub(super) fn new(id: &str, holder: Holder) -> Session {
        let state = SessionState {
            holder,
            phase: SessionPhase::Idle,
            batches: Batches::default(),
            offsets: Vec::new(),
        };
        Session { id: id.to_owned(), state: Mutex::new(state) }
    }

    /// The transactional id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Producer id and epoch.
    pub(crate) fn stamp(&self) -> ProducerStamp {
        self.state.lock().holder.into()
    }
}

impl SessionState {
    /// The transaction takes more records.
    pub(super) fn check_open(&self, id: &str) -> Result<()> {
        match self.phase {
            SessionPhase::Open => Ok(()),
            SessionPhase::Over => {
                Err(Error::new(ErrorKind::Fenced, format!("another producer has taken over {id}")))
            }
            SessionPhase::Idle | SessionPhase::Committing(_) => {
                let message =
                    format!("the transaction of {id} has ended: it was open for too long, or failed");
                Err(Error::new(ErrorKind::TransactionAborted, message))
            }
        }
    }

    /// The batch for a partition; `touch` is asked before its `first` record, if that fits: a partition counts as
    /// touched only where the commit has records to flush.
    pub(super) fn batch(
        &mut self,
        log: &Arc<Log>,
        terms: BatchTerms,
        first: &NewRecord<'_>,
        touch: impl FnOnce(Holder, &TopicPartition) -> Result<()>,
    ) -> Result<&mut SequencedBatch> {
        let holder = self.holder;
        self.batches.of(log, |tp| {
            let batch = SequencedBatch::new(log, holder.into(), Membership::OfTransaction, 0, terms);
            batch.check(first)?;
            touch(holder, tp)?;
            Ok(batch)
        })
    }

    /// The transaction is over.
    pub(super) fn end(&mut self, holder: Holder) {
        self.holder = holder;
        self.batches.clear();
        self.offsets.clear();
        if !matches!(self.phase, SessionPhase::Over) {
            self.phase = SessionPhase::Idle;
        }
    }
}

impl Batches {
    /// The batch of a partition; `begin` makes it.
    fn of(
        &mut self,
        log: &Arc<Log>,
        begin: impl FnOnce(&TopicPartition) -> Result<SequencedBatch>,
    ) -> Result<&mut SequencedBatch> {
        if !self.all.get(self.last).is_some_and(|last| Arc::ptr_eq(last.log(), log)) {
            self.last = self.place_of(log.topic_partition(), begin)?;
        }
        self.all.get_mut(self.last).ok_or_else(|| Error::closed("the transaction"))
    }

    fn place_of(
        &mut self,
        tp: &TopicPartition,
        begin: impl FnOnce(&TopicPartition) -> Result<SequencedBatch>,
    ) -> Result<usize> {
        if let Some(&place) = self.places.get(tp) {
            return Ok(place);
        }
        self.all.push(begin(tp)?);
        self.places.insert(tp.clone(), self.all.len() - 1);
        Ok(self.all.len() - 1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SequencedBatch> {
        self.all.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SequencedBatch> {
        self.all.iter_mut()
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.places.clear();
        self.last = 0;
    }
}

impl From<Holder> for ProducerStamp {
    fn from(holder: Holder) -> ProducerStamp {
        ProducerStamp { producer_id: holder.producer_id, epoch: holder.epoch }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}
