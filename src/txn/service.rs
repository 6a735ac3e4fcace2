//! The transactions of a broker: the pure coordinator, and its effects carried out.
//!
//! Invariants
//! - Lock order: the taking of ids (or the settling), a session, the coordinator. No flush is waited for under the coordinator's.
//! - Records of one id are appended under its session's lock (or while it is being taken), in their order.
//! - The upkeep does not wait for what another thread is at.
//! - A marker that cannot be appended is tried again until it is; nobody waits for its flush.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::commit::{CommitTask, TransactionCommit};
use super::coordinator::{Coordinator, Effect, Ended, Holder, Now};
use super::description::TransactionDescription;
use super::markers::Marked;
use super::recovery::LeftOpen;
use super::session::{Session, SessionPhase, SessionState};
use crate::consumer::{Consumer, Directory, GroupService, Records};
use crate::env::Clock;
use crate::error::{Error, Result};
use crate::format::batch::{BatchBuilder, BatchSpec};
use crate::format::control::TxnOutcome;
use crate::format::transaction_state::StateKey;
use crate::partition::{FinishedBatch, Log, Patience};
use crate::producer::{BatchTerms, NotAdded};
use crate::segment::NewRecord;
use crate::sync::{Mutex, RwLock};
use crate::types::TopicPartition;

/// A marker that could not be appended, or is not known to be durable, is looked at again after this time.
const RETRY: Duration = Duration::from_millis(100);

/// The transactions of a broker.
pub(crate) struct TxnService {
    pub(super) state: Mutex<State>,
    /// Held while an id is taken, or forgotten.
    pub(super) taking: Mutex<()>,
    /// Held while an undecided transaction is ended: how those end that have a marker already.
    pub(super) settling: Mutex<HashMap<Holder, TxnOutcome>>,
    /// `None` before the first transactional producer, and when the broker is closed.
    pub(super) log: RwLock<Option<Arc<Log>>>,
    pub(super) groups: Arc<GroupService>,
    directory: OnceLock<Weak<dyn Directory>>,
    pub(super) clock: Arc<dyn Clock>,
    max_block: Duration,
    /// Why the topic could not be read when the broker was opened.
    pub(super) damaged: OnceLock<Error>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) coordinator: Coordinator,
    pub(super) sessions: HashMap<String, Arc<Session>>,
    /// Markers that are appended and may not be durable.
    pub(super) markers: Vec<Marked>,
    /// Markers that could not be appended: there was no room, or no file, or the topic was being deleted.
    pub(super) unappended: Vec<(String, TopicPartition, Ended)>,
    /// Left open by an earlier opening, and nobody can tell how they ended.
    pub(super) undecided: Vec<LeftOpen>,
    /// Commits that nobody waits for.
    pub(super) orphans: Vec<Arc<CommitTask>>,
    pub(super) closed: bool,
}

impl TxnService {
    pub(crate) fn new(clock: Arc<dyn Clock>, groups: Arc<GroupService>, max_block: Duration) -> TxnService {
        TxnService {
            state: Mutex::new(State::default()),
            taking: Mutex::new(()),
            settling: Mutex::new(HashMap::new()),
            log: RwLock::new(None),
            groups,
            directory: OnceLock::new(),
            clock,
            max_block,
            damaged: OnceLock::new(),
        }
    }

    /// Where partitions are found from now on.
    pub(crate) fn attach(&self, directory: Weak<dyn Directory>) {
        let _ = self.directory.set(directory);
        self.schedule();
    }

    /// The broker closes: what is open is aborted, what is being committed ends first.
    pub(crate) fn close(&self) {
        let sessions: Vec<_> = {
            let mut state = self.state.lock();
            state.closed = true;
            state.sessions.values().cloned().collect()
        };
        for session in sessions {
            let task = match &session.state.lock().phase {
                SessionPhase::Committing(task) => Some(task.clone()),
                _ => None,
            };
            if let Some(task) = task {
                let _ = task.drive(self);
            }
            let mut inner = session.state.lock();
            self.abort_locked(&session, &mut inner);
            inner.phase = SessionPhase::Over;
        }
        self.append_markers();
    }

    /// The broker is closed: nothing of its directory is held any more.
    pub(crate) fn let_go(&self) {
        let log = self.log.write().take();
        drop(log);
        let state = std::mem::take(&mut *self.state.lock());
        self.state.lock().closed = true;
        drop(state);
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic: self.clock.monotonic(), wall: self.clock.now().millis() }
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.state.lock().closed {
            return Err(Error::closed("the broker"));
        }
        self.damaged.get().map_or(Ok(()), |damage| Err(damage.again()))
    }

    /// The session takes more records. One that the broker's close has ended says so.
    fn check_session(&self, session: &Session, inner: &SessionState) -> Result<()> {
        inner.check_open(&session.id).map_err(|refused| match self.state.lock().closed {
            true => Error::closed("the broker"),
            false => refused,
        })
    }

    /// The topic is there, and can be written to; `make` finds or makes it.
    pub(crate) fn ensure_log(&self, make: impl FnOnce() -> Result<Arc<Log>>) -> Result<()> {
        self.check_open()?;
        if self.log.read().is_none() {
            let log = make()?;
            let mut known = self.log.write();
            self.check_open()?;
            *known = Some(log);
        }
        Ok(())
    }

    pub(super) fn state_log(&self) -> Result<Arc<Log>> {
        self.log.read().clone().ok_or_else(|| Error::closed("the transaction topic"))
    }

    /// Takes an id: who held it before is fenced. Waits until that is durable.
    pub(crate) fn take(
        &self,
        id: &str,
        timeout: Duration,
        fresh: impl FnOnce() -> Result<i64>,
    ) -> Result<Arc<Session>> {
        self.check_open()?;
        let _taking = self.taking.lock();
        let before = self.state.lock().sessions.get(id).cloned();
        if let Some(before) = &before {
            self.finish_commit(before);
        }
        let mut locked = before.as_ref().map(|before| before.state.lock());
        let (holder, effects) = {
            let mut effects = Vec::new();
            let mut state = self.state.lock();
            let holder = state.coordinator.init(id, timeout, self.now(), fresh, &mut effects)?;
            (holder, effects)
        };
        if let Some(inner) = &mut locked {
            self.groups.end_transaction(&std::mem::take(&mut inner.offsets), TxnOutcome::Abort);
            inner.end(holder);
            inner.phase = SessionPhase::Over;
        }
        drop(locked);
        let session = Arc::new(Session::new(id, holder));
        self.state.lock().sessions.insert(id.to_owned(), session.clone());
        let end = self.carry_out(effects)?;
        self.schedule();
        match end {
            Some(end) => self.state_log()?.wait_acked(end).map(|()| session),
            None => Ok(session),
        }
    }

    fn finish_commit(&self, session: &Session) {
        let task = match &session.state.lock().phase {
            SessionPhase::Committing(task) => Some(task.clone()),
            _ => None,
        };
        if let Some(task) = task {
            let _ = task.drive(self);
        }
    }

    /// Begins a transaction, after the commit before it, if that is still on its way.
    pub(crate) fn begin(&self, session: &Session, fresh: impl FnOnce() -> Result<i64>) -> Result<()> {
        self.check_open()?;
        self.finish_commit(session);
        let mut inner = session.state.lock();
        if matches!(inner.phase, SessionPhase::Over) {
            return self.check_session(session, &inner);
        }
        let now = self.now();
        inner.holder = self.state.lock().coordinator.begin(&session.id, inner.holder, now, fresh)?;
        inner.batches.clear();
        inner.phase = SessionPhase::Open;
        drop(inner);
        self.schedule();
        Ok(())
    }

    /// Adds a record to the transaction.
    pub(crate) fn send(
        &self,
        session: &Session,
        log: &Arc<Log>,
        record: &NewRecord<'_>,
        terms: BatchTerms,
    ) -> Result<()> {
        let mut inner = session.state.lock();
        self.check_session(session, &inner)?;
        let touch =
            |holder, tp: &TopicPartition| self.state.lock().coordinator.touch(&session.id, holder, tp);
        match inner.batch(log, terms, record, touch)?.add(record) {
            Ok(_) => Ok(()),
            Err(NotAdded::DoesNotFit(error)) => Err(error),
            Err(NotAdded::NotHandedOver(error)) => {
                // Those before it may be lost, also where a whole batch is too large for what the topic's segments
                // are by now: what is left of the transaction must not hold.
                self.abort_locked(session, &mut inner);
                Err(error)
            }
        }
    }

    /// Adds offsets to the transaction: what these records end with. They hold when it is committed.
    pub(crate) fn commit_offsets<K, V>(
        &self,
        session: &Session,
        consumer: &Consumer<K, V>,
        records: &Records<K, V>,
    ) -> Result<()> {
        let mut inner = session.state.lock();
        self.check_session(session, &inner)?;
        let mut begun = false;
        let own = std::mem::take(&mut inner.offsets);
        let mut append = |log: &Arc<Log>, key: &[u8], value: Option<&[u8]>| {
            begun = true;
            let touch =
                |holder, tp: &TopicPartition| self.state.lock().coordinator.touch(&session.id, holder, tp);
            let timestamp = self.clock.now().millis();
            let record = NewRecord { timestamp, key: Some(key), value, headers: &[] };
            let terms = BatchTerms { compression: None, max_block: self.max_block };
            let batch = inner.batch(log, terms, &record, touch)?;
            batch.add(&record)?;
            // At once, so that the order of commits is that of the log.
            batch.hand_over().map(|_| ())
        };
        let committed = consumer.commit_within(&self.groups, records, &own, &mut append);
        inner.offsets = own;
        match committed {
            Ok(write) => {
                inner.offsets.extend(write);
                Ok(())
            }
            Err(error) => {
                if begun {
                    // A part of the offsets may be in it.
                    self.abort_locked(session, &mut inner);
                }
                Err(error)
            }
        }
    }

    /// Starts to commit.
    pub(crate) fn commit(self: &Arc<Self>, session: &Arc<Session>) -> TransactionCommit {
        let mut inner = session.state.lock();
        let handed_over = self
            .check_session(session, &inner)
            .and_then(|()| inner.batches.iter_mut().try_for_each(|batch| batch.hand_over().map(|_| ())));
        if let Err(error) = handed_over {
            self.abort_locked(session, &mut inner);
            return TransactionCommit::finished(self, Err(error));
        }
        self.collect_markers();
        // Every batch has had a record: the coordinator takes all that is touched for flushed.
        debug_assert!(inner.batches.iter().all(|batch| batch.end() > 0), "touched without a record");
        let logs: Vec<_> = inner.batches.iter().map(|batch| (batch.log().clone(), batch.end())).collect();
        let task = Arc::new(CommitTask::new(session, inner.holder, logs));
        inner.phase = SessionPhase::Committing(task.clone());
        drop(inner);
        task.begin();
        TransactionCommit::on_its_way(self, task)
    }

    /// Aborts the transaction, if one is open.
    pub(crate) fn abort(&self, session: &Session) {
        let mut inner = session.state.lock();
        self.abort_locked(session, &mut inner);
    }

    pub(super) fn abort_locked(&self, session: &Session, inner: &mut SessionState) {
        if !matches!(inner.phase, SessionPhase::Open | SessionPhase::Committing(_)) {
            return;
        }
        let mut effects = Vec::new();
        let now = self.now();
        let aborted = self.state.lock().coordinator.abort(&session.id, inner.holder, now, &mut effects);
        let Some(holder) = aborted else { return };
        let offsets = std::mem::take(&mut inner.offsets);
        // Markers first: what the record says of them holds in either order.
        if self.carry_out(effects).is_err() {
            self.state.lock().coordinator.not_noted(&session.id, holder);
        }
        self.groups.end_transaction(&offsets, TxnOutcome::Abort);
        inner.end(holder);
    }

    /// Carries effects out, in their order; answers the end of the last record.
    pub(super) fn carry_out(&self, effects: Vec<Effect>) -> Result<Option<u64>> {
        let mut end = None;
        for effect in effects {
            match effect {
                Effect::Write { id, state } => {
                    end = Some(self.append_record(&id, Some(&state.encode()), self.patience())?);
                }
                Effect::Forget { id } => end = Some(self.append_record(&id, None, self.patience())?),
                Effect::Mark { id, tp, ended } => {
                    let log = self.find(&tp);
                    self.mark(id, tp, ended, log);
                }
            }
        }
        Ok(end)
    }

    fn append_record(&self, id: &str, value: Option<&[u8]>, patience: Patience<'_>) -> Result<u64> {
        let log = self.state_log()?;
        let mut builder = BatchBuilder::new(BatchSpec::default());
        let now = self.clock.now().millis();
        builder.append(now, Some(&StateKey::encode(id)), value, &[]);
        let mut batch = FinishedBatch::of(&mut builder, None)?;
        let appended = log.append_batch(&mut batch, patience)?;
        Ok(appended.offset + 1)
    }

    pub(super) fn patience(&self) -> Patience<'static> {
        Patience::Until(self.clock.monotonic().saturating_add(self.max_block))
    }

    pub(super) fn find(&self, tp: &TopicPartition) -> Result<Arc<Log>> {
        let directory = self.directory.get().and_then(Weak::upgrade);
        let directory = directory.ok_or_else(|| Error::closed("the broker"))?;
        directory.find(tp).map(|found| found.log)
    }

    /// Does what is due: aborts transactions that are open for too long, ends commits that nobody waits for, appends
    /// markers that could not be appended.
    pub(crate) fn tick(&self) {
        let orphans = std::mem::take(&mut self.state.lock().orphans);
        for task in orphans {
            let ended = task.drive_if_free(self).is_some() && task.result().is_some();
            if !ended {
                // The disk is full, or another thread is at it, perhaps in a flush: again, later.
                self.state.lock().orphans.push(task);
            }
        }
        let overdue: Vec<_> = {
            let state = self.state.lock();
            let session = |(id, holder): (String, Holder)| Some((state.sessions.get(&id)?.clone(), holder));
            state.coordinator.overdue(self.now()).into_iter().filter_map(session).collect()
        };
        for (session, holder) in overdue {
            // Who holds the lock is appending: next time.
            let Some(mut inner) = session.state.try_lock() else { continue };
            if inner.holder != holder {
                continue;
            }
            match &inner.phase {
                SessionPhase::Open => self.abort_locked(&session, &mut inner),
                // Whoever has its operation does not wait for it: readers must not wait for them.
                SessionPhase::Committing(task) => {
                    let task = task.clone();
                    drop(inner);
                    let _ = task.drive_if_free(self);
                }
                SessionPhase::Idle | SessionPhase::Over => {}
            }
        }
        self.note_open();
        self.append_markers();
        self.collect_markers();
        self.schedule();
    }

    /// Writes down which transactions have been open for a while, and which are not any more where that could not be
    /// written, for those who look from outside.
    fn note_open(&self) {
        let unnoted = self.state.lock().coordinator.unnoted(self.now());
        for (id, holder) in unnoted {
            let Some(session) = self.state.lock().sessions.get(&id).cloned() else { continue };
            // Who holds the lock is appending, or ends it: next time.
            let Some(inner) = session.state.try_lock() else { continue };
            if inner.holder != holder || matches!(inner.phase, SessionPhase::Committing(_)) {
                continue;
            }
            let note = self.state.lock().coordinator.note(&id, holder, self.now());
            let Some(Effect::Write { state, .. }) = note else { continue };
            if self.append_record(&id, Some(&state.encode()), Patience::No).is_err() {
                self.state.lock().coordinator.not_noted(&id, holder);
            }
        }
    }

    fn schedule(&self) {
        let now = self.clock.monotonic();
        let (due, retry) = {
            let state = self.state.lock();
            (state.coordinator.next_due(), !state.unappended.is_empty() || !state.orphans.is_empty())
        };
        let retry = retry.then(|| now + RETRY);
        // A transaction that is committed is not aborted by its timeout, but it may stay due for a while.
        let due = due.map(|due| if due <= now { now + RETRY } else { due });
        if let Some(when) = due.into_iter().chain(retry).min() {
            self.wake_at(when);
        }
    }

    pub(super) fn wake_at(&self, when: Duration) {
        if let Some(directory) = self.directory.get().and_then(Weak::upgrade) {
            directory.wake_at(when);
        }
    }

    /// All transactional ids, sorted.
    pub(crate) fn describe(&self) -> Result<Vec<TransactionDescription>> {
        self.check_open()?;
        let now = self.now();
        let state = self.state.lock();
        let described = state.coordinator.all().map(|(id, known)| TransactionDescription::of(id, known, now));
        Ok(described.collect())
    }

    /// Aborts the open transaction of an id, whoever holds it; answers whether one was open.
    pub(crate) fn abort_id(&self, id: &str) -> Result<bool> {
        self.check_open()?;
        let session = self.state.lock().sessions.get(id).cloned();
        let Some(session) = session else { return Ok(false) };
        let mut inner = session.state.lock();
        let open = matches!(inner.phase, SessionPhase::Open);
        if open {
            self.abort_locked(&session, &mut inner);
        }
        Ok(open)
    }
}

impl fmt::Debug for TxnService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.state.lock().sessions.len();
        f.debug_struct("TxnService").field("sessions", &sessions).finish_non_exhaustive()
    }
}
