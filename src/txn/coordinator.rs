//! The coordinator of transactions: who holds each id, what is open, what has been decided.
//!
//! ```text
//!            init                begin, touch            commit               record durable
//!   (none) ------> Idle(epoch) ---------------> Open ------------> Deciding ----------------> Idle(epoch + 1)
//!                     ^                           | abort, timeout     | not appended: Open     markers: commit
//!                     |                           v                    | unknown: Unknown, until the next opening
//!                     +------ Idle(epoch + 1), markers: abort <--------+
//! ```
//!
//! Invariants
//! - A call that answers an error has changed nothing; effects are carried out in their order.
//! - Only a durable record decides a commit, and what is decided is never decided otherwise.
//! - A transaction that is open for a while is noted in a record, for those who look from outside; whatever has been
//!   noted gets another record when it ends. Nothing is decided by that.
//! - `unmarked` holds every partition whose marker may not be durable yet; the commits among them are in every
//!   record of their id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::control::TxnOutcome;
use crate::format::transaction_state::{CommittedEarlier, OfTopic, TxnState, TxnStatus};
use crate::types::{TopicName, TopicPartition};

/// Who has a transactional id, as batches say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Holder {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// How the transaction of a holder ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) holder: Holder,
    pub(crate) outcome: TxnOutcome,
}

/// What the coordinator wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Append this record of an id.
    Write { id: String, state: TxnState },
    /// Append a tombstone: nothing is known of the id any more.
    Forget { id: String },
    /// Append this marker; then say `marked` once it is durable.
    Mark { id: String, tp: TopicPartition, ended: Ended },
}

/// Now, by both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) monotonic: Duration,
    /// Milliseconds.
    pub(crate) wall: i64,
}

/// Where an id stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No transaction is open; how the last one ended.
    Idle(Option<TxnOutcome>),
    /// One is, since this point of the monotonic clock.
    Open { since: Duration },
    /// Its commit record is on its way; since when the transaction was open.
    Deciding { since: Duration },
    /// Whether its commit record is durable shows at the next opening.
    Unknown,
}

/// One transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transactional {
    pub(crate) holder: Holder,
    pub(crate) timeout: Duration,
    pub(crate) phase: Phase,
    /// When the transaction began, by the wall clock, milliseconds.
    pub(crate) started: i64,
    pub(crate) partitions: BTreeSet<TopicPartition>,
    /// How many of them its last record names; 0 where none says that it is open. Of one that has ended: not 0 where the
    /// last record still says that it is open.
    pub(super) noted: usize,
    /// Partitions whose markers of these holders may not be durable.
    pub(crate) unmarked: BTreeMap<(TopicPartition, Holder), TxnOutcome>,
    /// When it was last used, by the wall clock, milliseconds.
    pub(super) used_at: i64,
    /// Offset of its last record that the opening has read.
    pub(super) read_at: u64,
}

/// All transactional ids of a broker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Coordinator {
    pub(super) ids: BTreeMap<String, Transactional>,
    /// When open transactions were last looked at, by the monotonic clock: all at once, however many there are.
    looked_at: Duration,
}

/// Above it an id goes on with another producer id, so that a marker can still be one above.
const GREATEST_EPOCH: i16 = i16::MAX - 1;

/// A transaction that is open for so long is noted: most are over by then, and cost no record.
const NOTED_AFTER: Duration = Duration::from_secs(1);

impl Coordinator {
    /// What is known of an id.
    #[cfg(test)]
    pub(crate) fn get(&self, id: &str) -> Option<&Transactional> {
        self.ids.get(id)
    }

    /// All ids.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Transactional)> {
        self.ids.iter()
    }

    /// Somebody takes an id: whoever held it is fenced, and what it had open is aborted.
    ///
    /// # Errors
    /// `Backpressure` while a commit of the holder before is on its way; `Poisoned` if it cannot be known;
    /// those of `fresh`, which gives out producer ids.
    pub(crate) fn init(
        &mut self,
        id: &str,
        timeout: Duration,
        now: Now,
        fresh: impl FnOnce() -> Result<i64>,
        out: &mut Vec<Effect>,
    ) -> Result<Holder> {
        let known = self.ids.get(id);
        if let Some(known) = known {
            known.check_decided(id)?;
        }
        let last = known.map(|known| known.holder).filter(|last| last.epoch < GREATEST_EPOCH);
        let next = match last {
            Some(last) => Holder { epoch: last.epoch + 1, ..last },
            None => Holder { producer_id: fresh()?, epoch: 0 },
        };
        if let Some(known) = self.ids.get_mut(id) {
            if matches!(known.phase, Phase::Open { .. }) {
                known.close(id, TxnOutcome::Abort, out);
            }
        }
        let fresh = || Transactional {
            holder: next,
            timeout,
            phase: Phase::Idle(None),
            started: -1,
            partitions: BTreeSet::new(),
            noted: 0,
            unmarked: BTreeMap::new(),
            used_at: now.wall,
            read_at: 0,
        };
        let known = self.ids.entry(id.to_owned()).or_insert_with(fresh);
        // Closing what was open has raised the epoch by one already; the new holder's is above that.
        let epoch = if known.holder.producer_id == next.producer_id {
            known.holder.epoch.max(next.epoch)
        } else {
            next.epoch
        };
        known.holder = Holder { epoch, ..next };
        known.noted = 0;
        (known.timeout, known.phase, known.used_at) = (timeout, Phase::Idle(None), now.wall);
        let holder = known.holder;
        out.push(known.write(id, TxnStatus::Empty, now));
        Ok(holder)
    }

    /// The holder begins a transaction; answers as whom: another producer where the epochs of the last one are
    /// used up.
    ///
    /// # Errors
    /// `Fenced`; `InvalidArgument` if one is open; `Backpressure`, `Poisoned` as for [`init`](Coordinator::init);
    /// those of `fresh`.
    pub(crate) fn begin(
        &mut self,
        id: &str,
        holder: Holder,
        now: Now,
        fresh: impl FnOnce() -> Result<i64>,
    ) -> Result<Holder> {
        let known = self.held(id, holder)?;
        match known.phase {
            Phase::Idle(_) => {}
            Phase::Open { .. } => return Err(Error::invalid_argument("a transaction is open already")),
            Phase::Deciding { .. } | Phase::Unknown => known.check_decided(id)?,
        }
        if known.holder.epoch >= GREATEST_EPOCH {
            known.holder = Holder { producer_id: fresh()?, epoch: 0 };
        }
        known.phase = Phase::Open { since: now.monotonic };
        (known.started, known.used_at) = (now.wall, now.wall);
        known.noted = 0;
        known.partitions.clear();
        Ok(known.holder)
    }

    /// The transaction has records in a partition from now on: what it commits with has flushed them.
    ///
    /// # Errors
    /// `Fenced`, `TransactionAborted`.
    pub(crate) fn touch(&mut self, id: &str, holder: Holder, tp: &TopicPartition) -> Result<()> {
        let known = self.open(id, holder)?;
        if !known.partitions.contains(tp) {
            known.partitions.insert(tp.clone());
        }
        Ok(())
    }

    /// The holder commits: everything the transaction has appended is durable. Answers whether there is anything to
    /// decide; then the effect is the commit record, and `decided` or `undecided` follows.
    ///
    /// # Errors
    /// `Fenced`, `TransactionAborted`.
    pub(crate) fn commit(
        &mut self,
        id: &str,
        holder: Holder,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<bool> {
        let known = self.open(id, holder)?;
        known.used_at = now.wall;
        if known.partitions.is_empty() {
            known.phase = Phase::Idle(Some(TxnOutcome::Commit));
            return Ok(false);
        }
        let since = known.since().unwrap_or(now.monotonic);
        known.phase = Phase::Deciding { since };
        out.push(known.write(id, TxnStatus::PrepareCommit, now));
        Ok(true)
    }

    /// Transactions that are open for a while, and of which no record tells all; and those that have ended while their
    /// last record says that they are open: for each `note` is due.
    pub(crate) fn unnoted(&mut self, now: Now) -> Vec<(String, Holder)> {
        if now.monotonic < self.looked_at.saturating_add(NOTED_AFTER) {
            return Vec::new();
        }
        let due = |known: &Transactional| {
            let long = known.look_due(self.looked_at).is_some_and(|due| due <= now.monotonic);
            long && (known.is_idle() || known.partitions.len() > known.noted)
        };
        let unnoted = self.ids.iter().filter(|(_, known)| due(known));
        let unnoted = unnoted.map(|(id, known)| (id.clone(), known.holder)).collect();
        self.looked_at = now.monotonic;
        unnoted
    }

    /// The record that tells how the transaction of a holder stands, if there is something to tell; it is to be appended
    /// before any other one of the id, and `not_noted` follows if that fails.
    pub(crate) fn note(&mut self, id: &str, holder: Holder, now: Now) -> Option<Effect> {
        let known = self.held(id, holder).ok()?;
        let status = match known.phase {
            Phase::Open { .. } => TxnStatus::Ongoing,
            Phase::Idle(_) if known.noted > 0 => TxnStatus::CompleteAbort,
            Phase::Idle(_) | Phase::Deciding { .. } | Phase::Unknown => return None,
        };
        known.noted = known.partitions.len();
        Some(known.write(id, status, now))
    }

    /// The record of the open transaction was not appended; or that it was aborted was not, and is noted later.
    pub(crate) fn not_noted(&mut self, id: &str, holder: Holder) {
        if let Ok(known) = self.held(id, holder) {
            known.noted = usize::from(known.is_idle());
        }
    }

    /// The commit record is durable: the transaction is committed. Answers the holder from now on.
    pub(crate) fn decided(&mut self, id: &str, holder: Holder, out: &mut Vec<Effect>) -> Option<Holder> {
        let known = self.ids.get_mut(id).filter(|known| known.holder == holder)?;
        if !matches!(known.phase, Phase::Deciding { .. }) {
            return None;
        }
        known.close(id, TxnOutcome::Commit, out);
        Some(known.holder)
    }

    /// The commit record was not appended: the transaction is open again, to be aborted.
    pub(crate) fn undecided(&mut self, id: &str, holder: Holder, now: Now) {
        let known = self.ids.get_mut(id).filter(|known| known.holder == holder);
        if let Some(known) = known.filter(|known| matches!(known.phase, Phase::Deciding { .. })) {
            known.phase = Phase::Open { since: now.monotonic };
        }
    }

    /// The commit record was appended, and may or may not be durable.
    pub(crate) fn unknown(&mut self, id: &str, holder: Holder) {
        let known = self.ids.get_mut(id).filter(|known| known.holder == holder);
        if let Some(known) = known.filter(|known| matches!(known.phase, Phase::Deciding { .. })) {
            known.phase = Phase::Unknown;
        }
    }

    /// The transaction of a holder is aborted, if it is open; answers the holder from now on.
    pub(crate) fn abort(
        &mut self,
        id: &str,
        holder: Holder,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Option<Holder> {
        let known = self.ids.get_mut(id).filter(|known| known.holder == holder)?;
        if !matches!(known.phase, Phase::Open { .. }) {
            return None;
        }
        let touched = !known.partitions.is_empty();
        known.used_at = now.wall;
        known.close(id, TxnOutcome::Abort, out);
        if touched {
            // Nobody waits for it: without it the next opening aborts all the same.
            out.push(known.write(id, TxnStatus::CompleteAbort, now));
        }
        Some(known.holder)
    }

    /// Forgets the ids that have not been used since `before` (by the wall clock, milliseconds), but none that is `held`,
    /// has a transaction that has not ended, or has a marker that may be missing after a crash. One that was used by a
    /// clock that was ahead is kept until the clock has come there, and as long again. Answers which.
    pub(crate) fn expire(
        &mut self,
        before: i64,
        held: impl Fn(&str) -> bool,
        out: &mut Vec<Effect>,
    ) -> Vec<String> {
        let over = |known: &Transactional| {
            matches!(known.phase, Phase::Idle(_)) && known.unmarked.is_empty() && known.used_at < before
        };
        let expired = self.ids.iter().filter(|(id, known)| over(known) && !held(id));
        let expired: Vec<String> = expired.map(|(id, _)| id.clone()).collect();
        for id in &expired {
            self.ids.remove(id);
            out.push(Effect::Forget { id: id.clone() });
        }
        expired
    }

    /// The transactions whose time is over: to be aborted, or, where their commit has begun, to be taken to its end.
    pub(crate) fn overdue(&self, now: Now) -> Vec<(String, Holder)> {
        let due = |known: &Transactional| known.due().is_some_and(|due| due <= now.monotonic);
        let overdue = self.ids.iter().filter(|(_, known)| due(known));
        overdue.map(|(id, known)| (id.clone(), known.holder)).collect()
    }

    /// When the next transaction's time is over, or it is to be looked at, by the monotonic clock.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let dues = |known: &Transactional| [known.due(), known.look_due(self.looked_at)];
        self.ids.values().flat_map(dues).flatten().min()
    }

    /// A marker is durable, or its partition is gone.
    pub(crate) fn marked(&mut self, id: &str, tp: &TopicPartition, ended: Ended) {
        let Some(known) = self.ids.get_mut(id) else { return };
        let key = (tp.clone(), ended.holder);
        if known.unmarked.get(&key) == Some(&ended.outcome) {
            known.unmarked.remove(&key);
        }
    }

    /// Every marker that may not be durable.
    #[cfg(test)]
    pub(crate) fn unmarked(&self) -> Vec<(String, TopicPartition, Ended)> {
        let of_id = |(id, known): (&String, &Transactional)| {
            let of = |((tp, holder), outcome): (&(TopicPartition, Holder), &TxnOutcome)| {
                (id.clone(), tp.clone(), Ended { holder: *holder, outcome: *outcome })
            };
            known.unmarked.iter().map(of).collect::<Vec<_>>()
        };
        self.ids.iter().flat_map(of_id).collect()
    }

    fn held(&mut self, id: &str, holder: Holder) -> Result<&mut Transactional> {
        let fenced = || Error::new(ErrorKind::Fenced, format!("another producer has taken over {id}"));
        self.ids.get_mut(id).filter(|known| known.holder == holder).ok_or_else(fenced)
    }

    fn open(&mut self, id: &str, holder: Holder) -> Result<&mut Transactional> {
        let known = self.held(id, holder)?;
        if matches!(known.phase, Phase::Open { .. }) {
            return Ok(known);
        }
        let message = format!("the transaction of {id} is not open any more");
        Err(Error::new(ErrorKind::TransactionAborted, message))
    }
}

impl Transactional {
    fn check_decided(&self, id: &str) -> Result<()> {
        match self.phase {
            Phase::Idle(_) | Phase::Open { .. } => Ok(()),
            Phase::Deciding { .. } => {
                let message = format!("a commit of {id} is on its way: try again when it has ended");
                Err(Error::new(ErrorKind::Backpressure, message))
            }
            Phase::Unknown => {
                let message = format!("whether {id} has committed shows when the broker is opened again");
                Err(Error::new(ErrorKind::Poisoned, message))
            }
        }
    }

    fn due(&self) -> Option<Duration> {
        self.since().map(|since| since.saturating_add(self.timeout))
    }

    /// When it is looked at next for what there is to note; the last look at all was then.
    fn look_due(&self, looked_at: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Open { since } => Some(since.max(looked_at).saturating_add(NOTED_AFTER)),
            Phase::Idle(_) if self.noted > 0 => Some(looked_at.saturating_add(NOTED_AFTER)),
            Phase::Idle(_) | Phase::Deciding { .. } | Phase::Unknown => None,
        }
    }

    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle(_))
    }

    fn since(&self) -> Option<Duration> {
        match self.phase {
            Phase::Open { since } | Phase::Deciding { since } => Some(since),
            Phase::Idle(_) | Phase::Unknown => None,
        }
    }

    /// The transaction has ended so: markers go everywhere, and the epoch rises.
    fn close(&mut self, id: &str, outcome: TxnOutcome, out: &mut Vec<Effect>) {
        let ended = Ended { holder: self.holder, outcome };
        for tp in std::mem::take(&mut self.partitions) {
            if outcome == TxnOutcome::Commit {
                // The flush of its data has covered this producer's markers before it. Those of an earlier producer of
                // the id may not have been appended yet: no partition waits for them with another one's records.
                let producer_id = self.holder.producer_id;
                self.unmarked.retain(|(marked, of), _| *marked != tp || of.producer_id != producer_id);
            }
            self.unmarked.insert((tp.clone(), self.holder), outcome);
            out.push(Effect::Mark { id: id.to_owned(), tp, ended });
        }
        self.noted = 0;
        self.phase = Phase::Idle(Some(outcome));
        self.holder.epoch = self.holder.epoch.saturating_add(1);
    }

    /// The record that tells where the id stands.
    pub(super) fn write(&self, id: &str, status: TxnStatus, now: Now) -> Effect {
        // Where this transaction has records (`touch` comes with the first that fits), they lie behind the older
        // markers of the same producer, and its commit is recorded when they are flushed: so are those markers. While
        // it is open nothing is flushed yet.
        let flushed = status != TxnStatus::Ongoing;
        let covered = |tp: &TopicPartition, of: &Holder| {
            flushed && of.producer_id == self.holder.producer_id && self.partitions.contains(tp)
        };
        let committed = self
            .unmarked
            .iter()
            .filter(|((tp, of), outcome)| **outcome == TxnOutcome::Commit && !covered(tp, of));
        let mut earlier: BTreeMap<Holder, BTreeSet<TopicPartition>> = BTreeMap::new();
        for ((tp, holder), _) in committed {
            earlier.entry(*holder).or_default().insert(tp.clone());
        }
        let earlier = earlier.into_iter().map(|(holder, partitions)| CommittedEarlier {
            producer_id: holder.producer_id,
            epoch: holder.epoch,
            partitions: by_topic(&partitions),
        });
        // An aborted transaction's record names the epoch that has ended.
        let epoch = match status {
            TxnStatus::CompleteAbort => self.holder.epoch - 1,
            _ => self.holder.epoch,
        };
        let state = TxnState {
            producer_id: self.holder.producer_id,
            epoch,
            timeout_ms: i32::try_from(self.timeout.as_millis()).unwrap_or(i32::MAX),
            status,
            partitions: by_topic(&self.partitions),
            updated: now.wall,
            started: if status == TxnStatus::Empty { -1 } else { self.started },
            earlier: earlier.collect(),
        };
        Effect::Write { id: id.to_owned(), state }
    }
}

fn by_topic(partitions: &BTreeSet<TopicPartition>) -> Vec<OfTopic> {
    let mut found: Vec<OfTopic> = Vec::new();
    for tp in partitions {
        match found.last_mut().filter(|(topic, _)| topic == tp.topic().as_str()) {
            Some((_, numbers)) => numbers.push(tp.partition()),
            None => found.push((tp.topic().to_string(), vec![tp.partition()])),
        }
    }
    found
}

/// The partitions that a record names; names that are none are passed over.
pub(super) fn partitions_of(topics: &[OfTopic]) -> impl Iterator<Item = TopicPartition> + '_ {
    let named = topics.iter().filter_map(|(name, numbers)| Some((TopicName::new(name).ok()?, numbers)));
    named.flat_map(|(name, numbers)| {
        numbers.iter().map(move |number| TopicPartition::new(name.clone(), *number))
    })
}
