//! One member whose records are processed by several threads.
//!
//! ```text
//!   dispatch: mail -> records -> lanes -> commit below the lowest unfinished record, from time to time
//!   revoked:  nothing more of it is given out -> what is being processed ends -> commit -> let go
//!   lost:     forgotten at once; nothing of it is committed
//!   the end:  what is being processed ends -> positions go back to the lowest unfinished -> commit
//! ```
//!
//! Invariants
//! - Nothing is committed above a record that is not finished.
//! - Records with the same key (of a partition) are processed in order, each after the one before is finished.
//! - A partition is let go only when none of its records is being processed.
//! - The threads end with the call.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::Builder;
use std::time::Duration;

use super::commit::{Commit, is_of_others};
use super::consumer::Consumer;
use super::lanes::{Item, LaneId, Lowest, TrackId};
use super::pool::{Pool, Processed, StopsAtEnd, Work};
use crate::consumer::record_view::RecordView;
use crate::consumer::records::{Part, Records};
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Change, CommitEntry};
use crate::sync::{WaitKey, block_on, block_on_for};
use crate::types::{Offset, TopicPartition};

/// How often commits are made where the settings do not say.
const COMMIT_INTERVAL: Duration = Duration::from_millis(100);
/// More threads are refused.
const MAX_THREADS: usize = 1024;

impl<K, V> Consumer<K, V>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// Processes records in `threads` threads at once, until it is interrupted or something fails. Records with
    /// the same key of a partition are processed in order, each after the one before is done; all others, those
    /// without a key among them, at once and in any order.
    ///
    /// Offsets are committed from time to time (at the interval of
    /// [`auto_commit_interval`](crate::config::GroupConfig::auto_commit_interval), or every 100 ms) and at the
    /// end, never above a record that is not done: at least once. What was done above such a record when it ended,
    /// or when the partition went to another member, is processed again. From the lowest one that is not done, no more
    /// than about [`max_records`](crate::config::GroupConfig::max_records) are read ahead; where that is reached,
    /// and nothing gets done for `max_poll_interval`, the member is put out of the group.
    ///
    /// A partition that is revoked is let go when what is being processed of it is done, and that is committed.
    /// Of one that is lost nothing is committed.
    ///
    /// Where the closure answers the error of [`RecordView::value`] or [`RecordView::key`], the record counts as done
    /// if [`Group::undecodable`](crate::broker::Group::undecodable) says that it is passed over.
    ///
    /// [`Interrupter::interrupt`](crate::consumer::Interrupter::interrupt) ends it: what is being processed is
    /// waited for, what is not yet begun is left. Called again, or polled, the consumer goes on at the lowest
    /// record that was not done.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use std::sync::Mutex;
    /// use millpond::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// let topic = broker.create_topic("orders", TopicConfig::new().partitions(3))?;
    /// let orders = ["tea", "jam", "tea"].map(|what| Record::new("1").key(what));
    /// topic.producer()?.send_batch(orders)?.wait()?;
    ///
    /// let mut consumer = broker.group("billing")?.join("orders")?;
    /// let interrupter = consumer.interrupter();
    /// let counts = Mutex::new(HashMap::new());
    /// consumer.for_each_concurrent(4, |record| {
    ///     let mut counts = counts.lock().expect("nobody panics");
    ///     *counts.entry(record.key()?.map(<[u8]>::to_vec)).or_insert(0) += 1;
    ///     if counts.values().sum::<u32>() == 3 {
    ///         interrupter.interrupt();
    ///     }
    ///     Ok(())
    /// })?;
    /// assert_eq!(counts.into_inner().expect("nobody panics")[&Some(b"tea".to_vec())], 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Processing` if the closure fails or panics, with partition, offset and what it answered: the other
    /// threads finish what they are at, and what is done below the failed record is committed. `InvalidArgument`
    /// for no threads, or more than 1,024; `Io` if they cannot be started; those of [`poll`](Consumer::poll),
    /// after what was read before has been processed; those of writing offsets.
    pub fn for_each_concurrent<F>(&mut self, threads: usize, process: F) -> Result<()>
    where
        F: Fn(RecordView<'_, K, V>) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>
            + Sync,
    {
        if !(1..=MAX_THREADS).contains(&threads) {
            let message = format!("{threads} threads: there must be 1 to {MAX_THREADS}");
            return Err(Error::invalid_argument(message));
        }
        let pool = Pool::new();
        let undecodable = self.membership.undecodable.clone();
        let process = |record: RecordView<'_, K, V>| match process(record) {
            Err(error) => undecodable.excuse(&record, error),
            Ok(()) => Ok(()),
        };
        let process: &(dyn Fn(RecordView<'_, K, V>) -> Processed + Sync) = &process;
        std::thread::scope(|scope| {
            let _stops = StopsAtEnd(&pool);
            for _ in 0..threads {
                let worker = Builder::new().name("millpond-worker".to_owned());
                let spawned = worker.spawn_scoped(scope, || pool.work(process));
                spawned.map_err(|error| {
                    Error::new(ErrorKind::Io, "could not start a thread").caused_by(error)
                })?;
            }
            Dispatcher::new(self, &pool).run()
        })
    }
}

/// The thread that has the consumer.
struct Dispatcher<'a, K, V> {
    consumer: &'a mut Consumer<K, V>,
    pool: &'a Pool<K, V>,
    held: HashMap<TopicPartition, Held>,
    /// What is to be let go when nothing of it is being processed.
    leaving: Option<(u64, Vec<TopicPartition>)>,
    waiting: Option<WaitKey>,
    commit: Option<Commit>,
    committed_at: Duration,
    interval: Duration,
    most: usize,
    /// Records processed when it last looked.
    finished: u64,
}

/// A partition of which records are given out.
#[derive(Clone, Copy, Debug)]
struct Held {
    track: TrackId,
    /// Where it began: the group had come to here.
    begun: u64,
    /// Nothing is to be committed up to here.
    committed: u64,
}

enum Step<K, V> {
    Records(Box<Records<K, V>>),
    Interrupted,
}

/// What becomes of records that are not yet begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// They are left.
    Left,
    /// They are processed.
    Processed,
}

impl<'a, K, V> Dispatcher<'a, K, V>
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    fn new(consumer: &'a mut Consumer<K, V>, pool: &'a Pool<K, V>) -> Dispatcher<'a, K, V> {
        let config = &consumer.membership.config;
        let interval = config.auto_commit_interval_duration().unwrap_or(COMMIT_INTERVAL);
        let most = usize::try_from(config.max_record_count()).unwrap_or(usize::MAX);
        Dispatcher {
            committed_at: consumer.membership.groups.now().monotonic,
            consumer,
            pool,
            held: HashMap::new(),
            leaving: None,
            waiting: None,
            commit: None,
            interval,
            most,
            finished: 0,
        }
    }

    fn run(mut self) -> Result<()> {
        let dispatched = self.dispatch();
        let rest = match &dispatched {
            Err(error) if error.kind() != ErrorKind::Processing => Rest::Processed,
            Ok(()) | Err(_) => Rest::Left,
        };
        let ended = self.end(rest);
        self.consumer.stop();
        // A record that was not processed is told before what came of it.
        dispatched.and(ended)
    }

    fn dispatch(&mut self) -> Result<()> {
        loop {
            match self.next_step()? {
                Some(Step::Records(records)) => self.give_out(*records)?,
                Some(Step::Interrupted) => return Ok(()),
                None => {}
            }
            self.commit_if_due()?;
        }
    }

    /// Waits until there is something to do; not longer than until the next commit.
    fn next_step(&mut self) -> Result<Option<Step<K, V>>> {
        let clock = self.consumer.membership.groups.clock().clone();
        let now = || clock.monotonic();
        let interval = self.interval;
        let has_work = self.commit.is_some() || self.pool.lock().lanes.tracked() > 0;
        let wait_for_it = has_work || self.has_uncommitted();
        let mut step = std::future::poll_fn(|context| self.poll_step(context));
        match wait_for_it {
            true => block_on_for(&mut step, interval, &now).transpose(),
            false => block_on(&mut step).map(Some),
        }
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Result<Step<K, V>>> {
        self.consumer.mailbox.set_waiting(false);
        if let Some(step) = self.ready()? {
            return Poll::Ready(Ok(step));
        }
        self.pool.progress().register(&mut self.waiting, context.waker());
        self.consumer.register_for_mail(context);
        if self.has_room() {
            self.consumer.register(context);
        }
        if let Some(step) = self.ready()? {
            return Poll::Ready(Ok(step));
        }
        self.consumer.membership.groups.check_open()?;
        if self.has_room() {
            // Partitions may have come with the last mail.
            self.consumer.register(context);
            self.consumer.check_places()?;
            self.consumer.mailbox.set_waiting(true);
        }
        Poll::Pending
    }

    /// What there is to do now.
    fn ready(&mut self) -> Result<Option<Step<K, V>>> {
        loop {
            if let Some(failure) = self.pool.lock().take_failure() {
                return Err(failure);
            }
            if self.consumer.mailbox.take_interrupt() {
                return Ok(Some(Step::Interrupted));
            }
            self.read_mail()?;
            self.let_go();
            if !self.has_room() {
                return Ok(None);
            }
            match self.consumer.fetch() {
                // A partition that has just been lost answers with an error that nobody need see.
                Err(_) if self.consumer.mailbox.has_mail() => {}
                fetched => {
                    return fetched.map(|records| records.map(|records| Step::Records(Box::new(records))));
                }
            }
        }
    }

    /// Whether more may be read. Who reads, or sees something done, counts as polling.
    fn has_room(&mut self) -> bool {
        let most = self.most;
        let mut state = self.pool.lock();
        let (has_room, finished) = (state.lanes.tracked() < most, state.finished);
        state.wanted = (!has_room).then_some(most / 2);
        drop(state);
        if has_room || finished != self.finished {
            self.finished = finished;
            self.consumer.mailbox.polled(self.consumer.membership.groups.clock().monotonic());
        }
        has_room
    }

    fn give_out(&mut self, records: Records<K, V>) -> Result<()> {
        let records = Arc::new(records);
        let mut given = Ok(());
        for (number, part) in records.parts().enumerate() {
            let track = self.track(part);
            let lane = lane_hasher(part.topic_partition());
            let mut items = Vec::with_capacity(part.count_hint() as usize);
            given = records.locate(number, part, |at, view| {
                let lane = view.raw_key().map(|key| {
                    let mut hasher = lane.clone();
                    key.hash(&mut hasher);
                    LaneId(hasher.finish())
                });
                let work = Work { records: records.clone(), at };
                let item = Item { track, offset: view.offset().get(), lane, work };
                items.push((item, view.leader_epoch().get()));
            });
            let mut state = self.pool.lock();
            for (item, leader_epoch) in items {
                state.lanes.add(item, leader_epoch);
            }
            if given.is_err() {
                break;
            }
            let end = Lowest { offset: part.next_offset().get(), leader_epoch: part.leader_epoch() };
            state.lanes.read_up_to(track, end);
        }
        self.pool.wake_workers();
        given
    }

    fn track(&mut self, part: &Part) -> TrackId {
        let held = self.held.entry(part.topic_partition().clone()).or_insert_with(|| {
            let lowest = Lowest { offset: part.from(), leader_epoch: part.leader_epoch() };
            let track = self.pool.lock().lanes.begin(lowest);
            Held { track, begun: lowest.offset, committed: lowest.offset }
        });
        held.track
    }

    fn read_mail(&mut self) -> Result<()> {
        self.consumer.join_again_if_out()?;
        while let Some(change) = self.consumer.mailbox.take() {
            match &change {
                Change::Revoke { revocation, partitions } => {
                    self.leave(*revocation, partitions);
                    continue;
                }
                Change::Lost { partitions } => self.forget(partitions),
                Change::Fenced => {
                    let all: Vec<TopicPartition> = self.held.keys().cloned().collect();
                    self.forget(&all);
                    self.leaving = None;
                }
                Change::Assigned { .. } => {}
            }
            self.consumer.hear(change)?;
        }
        Ok(())
    }

    /// Nothing more of these partitions is given out.
    fn leave(&mut self, revocation: u64, partitions: &[TopicPartition]) {
        self.consumer.set_leaving(partitions);
        let tracks: Vec<TrackId> =
            partitions.iter().filter_map(|tp| Some(self.held.get(tp)?.track)).collect();
        let mut state = self.pool.lock();
        tracks.iter().for_each(|track| state.lanes.end(*track));
        state.leaving = tracks;
        drop(state);
        self.leaving = Some((revocation, partitions.to_vec()));
    }

    /// Lets go of what is to go, if nothing of it is being processed.
    fn let_go(&mut self) {
        if self.leaving.is_none() || !self.pool.lock().has_left() {
            return;
        }
        let Some((revocation, partitions)) = self.leaving.take() else { return };
        let mut entries = Vec::new();
        for tp in &partitions {
            self.go_back(tp);
            entries.extend(self.entry(tp));
        }
        if !entries.is_empty() {
            drop(self.consumer.send_commit(self.consumer.epoch, entries));
        }
        self.forget(&partitions);
        self.consumer.revoked(revocation, &partitions);
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        let mut state = self.pool.lock();
        for held in partitions.iter().filter_map(|tp| self.held.remove(tp)) {
            state.lanes.remove(held.track);
            state.leaving.retain(|track| *track != held.track);
        }
    }

    /// The position is where the lowest unfinished record stands.
    fn go_back(&mut self, tp: &TopicPartition) {
        let Some(lowest) = self.lowest(tp) else { return };
        if let Some(place) = self.consumer.places.iter_mut().find(|place| place.topic_partition() == tp) {
            place.go_to(lowest.offset);
        }
    }

    fn lowest(&self, tp: &TopicPartition) -> Option<Lowest> {
        self.pool.lock().lanes.lowest(self.held.get(tp)?.track)
    }

    /// What is to be committed of a partition, if there is anything new.
    fn entry(&self, tp: &TopicPartition) -> Option<CommitEntry> {
        let (lowest, held) = (self.lowest(tp)?, self.held.get(tp)?);
        if lowest.offset <= held.committed {
            return None;
        }
        let place = self.consumer.place(tp)?;
        Some(place.entry(place.read_up_to(Offset::of(lowest.offset), lowest.leader_epoch)))
    }

    fn has_uncommitted(&self) -> bool {
        let state = self.pool.lock();
        let is_new =
            |held: &Held| state.lanes.lowest(held.track).is_some_and(|lowest| lowest.offset > held.committed);
        self.held.values().any(is_new)
    }

    /// Commits what is done, at the interval, unless the last commit is still on its way.
    fn commit_if_due(&mut self) -> Result<()> {
        if let Some(mut commit) = self.commit.take() {
            match commit.wait_timeout(Duration::ZERO) {
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    self.commit = Some(commit);
                    return Ok(());
                }
                ended => self.hear_of_commit(ended)?,
            }
        }
        let now = self.consumer.membership.groups.clock().monotonic();
        if now.saturating_sub(self.committed_at) < self.interval {
            return Ok(());
        }
        self.committed_at = now;
        let entries: Vec<CommitEntry> = self.held.keys().filter_map(|tp| self.entry(tp)).collect();
        if entries.is_empty() {
            return Ok(());
        }
        for entry in &entries {
            if let Some(held) = self.held.get_mut(&entry.tp) {
                held.committed = entry.offset.offset().get();
            }
        }
        self.commit = Some(self.consumer.send_commit(self.consumer.epoch, entries));
        Ok(())
    }

    /// Waits for what is being processed, commits what is done, and leaves the positions there.
    fn end(&mut self, rest: Rest) -> Result<()> {
        if rest == Rest::Left {
            self.pool.stop();
        }
        block_on(&mut std::future::poll_fn(|context| {
            self.pool.progress().register(&mut self.waiting, context.waker());
            let state = self.pool.lock();
            if state.lanes.is_idle() || (state.has_failed() && rest == Rest::Processed) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        if rest == Rest::Processed {
            return self.end(Rest::Left);
        }
        if let Some(key) = self.waiting.take() {
            self.pool.progress().cancel(key);
        }
        if let Some(commit) = self.commit.take() {
            let ended = commit.wait();
            self.hear_of_commit(ended)?;
        }
        let failure = self.pool.lock().take_failure();
        let partitions: Vec<TopicPartition> = self.held.keys().cloned().collect();
        let mut commits = Vec::new();
        for tp in &partitions {
            self.go_back(tp);
            // One by one: where one partition has been lost meanwhile, the others' hold all the same.
            let entry = self.entry(tp).into_iter().collect::<Vec<_>>();
            if !entry.is_empty() {
                commits.push(self.consumer.send_commit(self.consumer.epoch, entry));
            }
        }
        self.let_go();
        let committed = commits.into_iter().map(Commit::wait).filter(|ended| !is_of_others(ended));
        let committed = committed.fold(Ok(()), Result::and);
        failure.map_or(committed, Err)
    }

    /// A commit has ended. One that was refused for one partition has not been made for the others either.
    fn hear_of_commit(&mut self, ended: Result<()>) -> Result<()> {
        if !is_of_others(&ended) {
            return ended;
        }
        self.held.values_mut().for_each(|held| held.committed = held.begun);
        Ok(())
    }
}

/// Keys of different partitions are different keys.
fn lane_hasher(tp: &TopicPartition) -> DefaultHasher {
    let mut hasher = DefaultHasher::new();
    tp.hash(&mut hasher);
    hasher
}
