//! Compaction on request and in the background.
//!
//! ```text
//!   request:    roll -> flush -> recovery point stored -> rounds             in a thread of its own
//!   background: points stored -> the dirtiest log that is due -> rounds      in the cleaner's thread, held back
//! ```
//!
//! Invariants
//! - Nothing is compacted that is not below a recovery point on the device: a point is stored first.
//! - A compaction ends within a batch when the broker closes or the topic is deleted.

use std::cell::Cell;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;

use super::background::in_own_thread;
use super::broker::Shared;
use super::service::{Service, Upkeep};
use super::topic::Topic;
use crate::cleaner::{Compaction, CompactionReport, Pace, is_due};
use crate::config::Background;
use crate::error::{Error, Result};
use crate::partition::Log;
use crate::sync::{Operation, WaitKey, WaitList};
use crate::types::TopicPartition;

/// How far a compaction is.
#[derive(Clone, Debug)]
pub struct CompactionProgress {
    partition: TopicPartition,
    bytes_done: u64,
    bytes_total: u64,
}

impl CompactionProgress {
    /// The partition that is being compacted.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Bytes worked through in this round: new ones once for their keys, then all.
    #[must_use]
    pub fn bytes_done(&self) -> u64 {
        self.bytes_done
    }

    /// Bytes to work through in this round.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes_total
    }
}

type OnProgress = Arc<dyn Fn(&CompactionProgress) + Send + Sync>;

/// A compaction that is about to be started: by [`Topic::compaction`].
#[must_use = "nothing is compacted before it is started"]
pub struct CompactionBuilder {
    shared: Arc<Shared>,
    logs: Vec<Arc<Log>>,
    on_progress: Option<OnProgress>,
}

impl CompactionBuilder {
    /// Calls `told` now and then with how far it is, from the thread that compacts.
    pub fn on_progress(
        mut self,
        told: impl Fn(&CompactionProgress) + Send + Sync + 'static,
    ) -> CompactionBuilder {
        self.on_progress = Some(Arc::new(told));
        self
    }

    /// Starts it, in a thread of its own (or here, with `Background::Manual`); partitions are compacted one after
    /// the other.
    ///
    /// # Errors
    /// Of the operation: `Corrupted` for damage that was found, `StorageFull` and `Io`: then the log holds what it
    /// held; `Closed` if the broker closes or the topic is deleted meanwhile.
    pub fn start(self) -> Operation<CompactionReport> {
        let clock = self.shared.environment.clock().clone();
        let running = Arc::new(Running { done: Mutex::new(None), ended: WaitList::new() });
        let (mine, threads) = (running.clone(), self.shared.config.background_kind());
        let work = move || {
            let result = self.run().map_err(|e| self.explain(e));
            *mine.done.lock() = Some(result);
            mine.ended.notify_after_publish();
        };
        match threads {
            Background::Manual => work(),
            Background::Threads => in_own_thread("millpond-compact", work),
        }
        let mut watch = Watch { running, key: None };
        Operation::new(Arc::new(move || clock.monotonic()), move |context| watch.poll(context))
    }

    fn run(&self) -> Result<CompactionReport> {
        let mut report = CompactionReport::default();
        for log in &self.logs {
            log.roll_for_compaction()?;
        }
        self.shared.checkpoint()?;
        for log in &self.logs {
            let pace = Throttle::new(&self.shared.service, log, None);
            let guard = log.wait_to_clean();
            // Of a deleted topic the folder may be another one's.
            log.check_open()?;
            let tp = log.topic_partition();
            let told = |done, total| self.tell(tp, done, total);
            let memory = self.shared.config.compaction_memory_bytes();
            let compaction = Compaction { log, memory, pace: &pace, progress: &told };
            report.join(&compaction.run(&guard)?);
        }
        Ok(report)
    }

    /// Whatever fails once the topic is deleted, or the broker closed, fails for that reason.
    fn explain(&self, error: Error) -> Error {
        match self.logs.iter().find(|log| log.is_closed()) {
            Some(log) => Error::closed("the partition").in_partition(log.topic_partition()).caused_by(error),
            None => error,
        }
    }

    fn tell(&self, tp: &TopicPartition, bytes_done: u64, bytes_total: u64) {
        if let Some(told) = &self.on_progress {
            told(&CompactionProgress { partition: tp.clone(), bytes_done, bytes_total });
        }
    }
}

impl fmt::Debug for CompactionBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompactionBuilder").field("partitions", &self.logs.len()).finish_non_exhaustive()
    }
}

impl<K, V> Topic<K, V> {
    /// Compacts all partitions now: of each key the latest record stays, if it is older than
    /// `min_compaction_lag`. The topic's `cleanup_policy` must say so; by itself it is done in the background, when
    /// enough is new.
    ///
    /// Readers go on meanwhile, and so do producers. What a reader has not read yet may be gone afterwards, except
    /// for each key's latest record; offsets do not change.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::config::CleanupPolicy;
    /// use millpond::prelude::*;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let config = TopicConfig::new().cleanup_policy(CleanupPolicy::Compact);
    /// let prices = broker.create_topic("prices", config)?;
    /// let producer = prices.producer()?;
    /// for price in ["2.10", "2.15", "1.95"] {
    ///     producer.send(Record::new(price).key("tea"))?.wait()?;
    /// }
    /// prices.compact()?.wait()?;
    /// let mut reader = prices.partition(0)?.read(..)?;
    /// let records = reader.next()?.expect("the latest one is there");
    /// let left: Vec<_> = records.iter().map(|record| record.offset().get()).collect();
    /// assert_eq!(left, [2]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` if the topic is not compacted by its settings; `Closed`. Those of the operation: see
    /// [`CompactionBuilder::start`](crate::broker::CompactionBuilder::start).
    pub fn compact(&self) -> Result<Operation<CompactionReport>> {
        self.compaction().map(CompactionBuilder::start)
    }

    /// A compaction of all partitions that tells how far it is.
    ///
    /// # Errors
    /// As [`compact`](Topic::compact).
    pub fn compaction(&self) -> Result<CompactionBuilder> {
        self.check()?;
        let policy = self.config().cleanup_policy_kind();
        if !policy.compacts() {
            let why = format!("topic {} is not compacted: its cleanup_policy is {policy}", self.name());
            return Err(Error::invalid_argument(why));
        }
        let logs = self.state.partitions().iter().cloned().collect();
        Ok(CompactionBuilder { shared: self.shared.clone(), logs, on_progress: None })
    }
}

/// A compaction in another thread.
struct Running {
    done: Mutex<Option<Result<CompactionReport>>>,
    ended: WaitList,
}

struct Watch {
    running: Arc<Running>,
    key: Option<WaitKey>,
}

impl Watch {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<CompactionReport>> {
        if let Some(done) = self.running.done.lock().take() {
            return Poll::Ready(done);
        }
        self.running.ended.register(&mut self.key, context.waker());
        self.running.done.lock().take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.running.ended.cancel(key);
        }
    }
}

/// Holds a compaction to a rate, and ends it where it must end.
struct Throttle<'a> {
    service: &'a Service,
    log: &'a Log,
    /// Bytes in a second.
    rate: Option<u64>,
    since: Duration,
    spent: AtomicU64,
    unchecked: AtomicU64,
}

/// Bytes between two looks at whether to go on.
const LOOK: u64 = 256 << 10;

impl<'a> Throttle<'a> {
    fn new(service: &'a Service, log: &'a Log, rate: Option<u64>) -> Throttle<'a> {
        let none = || AtomicU64::new(0);
        Throttle { service, log, rate, since: service.now(), spent: none(), unchecked: none() }
    }
}

impl Pace for Throttle<'_> {
    fn spend(&self, bytes: u64) -> Result<()> {
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let unchecked = self.unchecked.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let look = self.rate.map_or(LOOK, |rate| LOOK.min(rate / 16));
        if unchecked < look {
            return Ok(());
        }
        self.unchecked.store(0, Ordering::Relaxed);
        if self.log.is_closed() {
            return Err(Error::closed("the partition").in_partition(self.log.topic_partition()));
        }
        let due = self.rate.map_or(Duration::ZERO, |rate| {
            Duration::from_nanos((u128::from(spent) * 1_000_000_000 / u128::from(rate.max(1))) as u64)
        });
        let ahead = due.saturating_sub(self.service.now().saturating_sub(self.since));
        if self.service.pause(ahead) {
            return Err(Error::closed("the broker"));
        }
        Ok(())
    }
}

impl Shared {
    /// Forgets producers that are gone, does what retention over several partitions asks for, then compacts what is due, the dirtiest first.
    pub(super) fn compact_due(&self) -> Result<()> {
        if self.closing.check_open().is_err() {
            return Ok(());
        }
        let expired = self.expire_if_due();
        let retained = self.retain_in_background().and(expired);
        let compacted = |log: &Arc<Log>| log.settings().cleanup.policy.compacts();
        let logs: Vec<_> = self.logs().into_iter().filter(compacted).collect();
        if logs.is_empty() {
            return retained;
        }
        let mut first = retained.and(self.checkpoint());
        let mut due = Vec::new();
        for log in logs {
            match is_due(&log) {
                Ok(Some(dirtiness)) => due.push((dirtiness, log)),
                Ok(None) => {}
                Err(e) => first = first.and(Err(e)),
            }
        }
        due.sort_by_key(|(dirtiness, _)| Reverse(*dirtiness));
        let rate = match self.config.background_kind() {
            Background::Threads => self.config.compaction_rate_bytes(),
            // Nobody waits in the host's thread.
            Background::Manual => None,
        };
        let next_look = Cell::new(self.service.now());
        for (_, log) in due {
            let Some(guard) = log.try_clean().filter(|_| !log.is_closed()) else { continue };
            let pace = Throttle::new(&self.service, &log, rate);
            let memory = self.config.compaction_memory_bytes();
            let meanwhile = |_, _| self.retain_meanwhile(&next_look);
            let compaction = Compaction { log: &log, memory, pace: &pace, progress: &meanwhile };
            if let Err(e) = compaction.run(&guard) {
                first = first.and(Err(e));
            }
        }
        first
    }

    /// A compaction may take hours, at its rate: what retention asks for does not wait for its end.
    fn retain_meanwhile(&self, next_look: &Cell<Duration>) {
        let now = self.service.now();
        if now >= next_look.get() {
            next_look.set(now.saturating_add(self.config.compaction_interval_duration()));
            // What fails here fails again, and is told, when the compaction has ended.
            let _ = self.retain_in_background();
        }
    }
}
