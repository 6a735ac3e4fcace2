//! The groups of a broker, kept by the pure coordinator and written down in the offsets topic.
//!
//! Invariants
//! - One lock guards the coordinator; logs are appended to outside of it, under another one that keeps the
//!   order of writes.
//! - Before the coordinator is asked it is told which writes hold by now.
//! - Members are woken after the locks are free.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use super::mailbox::Mailbox;
use super::opening::Opening;
use super::writing::{Outgoing, Ticket, append_all};
use crate::config::OffsetReset;
use crate::env::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{
    Backward, CommitEntry, Coordinator, Effect, GroupId, JoinRequest, Leave, MemberId, Now,
    OffsetAndMetadata, Subscription, WriteId,
};
use crate::partition::{Log, Patience};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, RwLock};
use crate::types::{LeaderEpoch, Offset, TopicId, TopicPartition};

/// A partition of the broker.
#[derive(Clone, Debug)]
pub(crate) struct FoundPartition {
    pub(crate) topic_id: TopicId,
    pub(crate) log: Arc<Log>,
}

impl FoundPartition {
    /// An offset of it that a group begins at.
    fn entry_at(&self, offset: u64) -> CommitEntry {
        let epoch = LeaderEpoch::new(self.log.epoch_before(offset));
        CommitEntry {
            tp: self.log.topic_partition().clone(),
            topic_id: self.topic_id,
            offset: OffsetAndMetadata::new(Offset::of(offset)).leader_epoch(epoch),
            log_end: GroupService::log_end(&self.log),
            backward: Backward::Ignore,
        }
    }
}

/// Where partitions are found: the broker.
pub(crate) trait Directory: Send + Sync {
    /// A partition.
    ///
    /// # Errors
    /// `TopicNotFound`, `PartitionNotFound`.
    fn find(&self, tp: &TopicPartition) -> Result<FoundPartition>;

    /// Something is due at this point of the monotonic clock.
    fn wake_at(&self, when: Duration);
}

/// The groups of a broker.
pub(crate) struct GroupService {
    pub(super) state: Mutex<State>,
    /// Held while records are appended, so that they keep their order.
    pub(super) appending: Mutex<()>,
    /// Held while volatile partitions are told what of them may go, so that they hear the latest last.
    releasing: Mutex<()>,
    /// `None` before the first group, and when the broker is closed.
    pub(super) offsets_log: RwLock<Option<Arc<Log>>>,
    directory: OnceLock<Weak<dyn Directory>>,
    clock: Arc<dyn Clock>,
    max_block: Duration,
    closed: AtomicBool,
    /// Whether the offsets topic could be read when the broker was opened.
    pub(super) opening: Opening,
}

pub(super) struct State {
    pub(super) coordinator: Coordinator,
    pub(super) mailboxes: HashMap<MemberId, (GroupId, Arc<Mailbox>)>,
    pub(super) outbox: VecDeque<Outgoing>,
    /// Appended, in order.
    in_flight: VecDeque<(WriteId, u64)>,
    /// Of all writes that do not hold yet.
    pub(super) tickets: HashMap<WriteId, Arc<Ticket>>,
    due: Option<Duration>,
}

/// What a call to the coordinator leaves to be done without the lock.
#[derive(Default)]
struct Aftermath {
    woken: Vec<Arc<Mailbox>>,
    has_writes: bool,
    /// What volatile partitions may let go has changed.
    has_floors: bool,
}

/// How long a call may wait for room in the offsets topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// As long as a `send` would.
    Wait,
    /// Not at all: the records go with the next ones.
    Later,
}

impl GroupService {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        nonce: u64,
        retention: Duration,
        max_block: Duration,
    ) -> GroupService {
        let state = State {
            coordinator: Coordinator::new(nonce, retention),
            mailboxes: HashMap::new(),
            outbox: VecDeque::new(),
            in_flight: VecDeque::new(),
            tickets: HashMap::new(),
            due: None,
        };
        GroupService {
            state: Mutex::new(state),
            appending: Mutex::new(()),
            releasing: Mutex::new(()),
            offsets_log: RwLock::new(None),
            directory: OnceLock::new(),
            clock,
            max_block,
            closed: AtomicBool::new(false),
            opening: Opening::default(),
        }
    }

    /// Where partitions are found from now on.
    pub(crate) fn attach(&self, directory: Weak<dyn Directory>) {
        let _ = self.directory.set(directory);
        self.schedule();
    }

    /// The broker closes: who waits is woken, and finds it closed.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let members = self.state.lock().members();
        members.iter().for_each(|mailbox| mailbox.wake());
    }

    /// The broker is closed: nothing of its directory is held any more.
    pub(crate) fn let_go(&self) {
        self.opening.let_go();
        let log = self.offsets_log.write().take();
        drop(log);
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::closed("the broker"));
        }
        self.check_read()
    }

    pub(super) fn directory(&self) -> Result<Arc<dyn Directory>> {
        let directory = self.directory.get().and_then(Weak::upgrade);
        directory.ok_or_else(|| Error::closed("the broker"))
    }

    /// The offsets topic is there, and can be written to; `make` finds or makes it. Before the first member joins
    /// and the first offset is set: later calls find it.
    ///
    /// # Errors
    /// Those of `make`; `Closed`.
    pub(crate) fn ensure_offsets_topic(&self, make: impl FnOnce() -> Result<Arc<Log>>) -> Result<()> {
        self.check_open()?;
        if self.offsets_log.read().is_none() {
            let log = make()?;
            let mut known = self.offsets_log.write();
            // What is set after the broker has let go would keep its directory.
            self.check_open()?;
            *known = Some(log);
        }
        Ok(())
    }

    pub(super) fn now(&self) -> Now {
        Now { monotonic: self.clock.monotonic(), wall: self.clock.now() }
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Asks the coordinator, and carries out what it wants done.
    pub(super) fn act<T>(
        &self,
        room: Room,
        call: impl FnOnce(&mut Coordinator, Now, &mut Vec<Effect>) -> T,
    ) -> T {
        let now = self.now();
        let mut after = Aftermath::default();
        let answer = {
            let mut state = self.state.lock();
            self.settle(&mut state, &mut after);
            let mut out = Vec::new();
            let answer = call(&mut state.coordinator, now, &mut out);
            state.carry_out(out, &mut after);
            after.has_writes = !state.outbox.is_empty();
            answer
        };
        self.finish(after, room);
        answer
    }

    /// Asks the coordinator something; what it has been told to write down is seen as far as it holds.
    pub(super) fn look<T>(&self, call: impl FnOnce(&Coordinator) -> T) -> T {
        let mut after = Aftermath::default();
        let answer = {
            let mut state = self.state.lock();
            self.settle(&mut state, &mut after);
            call(&state.coordinator)
        };
        self.finish(after, Room::Later);
        answer
    }

    fn finish(&self, after: Aftermath, room: Room) {
        if after.has_writes {
            self.append_with(room);
        }
        if after.has_floors {
            self.tell_floors();
        }
        after.woken.iter().for_each(|mailbox| mailbox.wake());
    }

    /// Tells the coordinator which writes hold by now.
    fn settle(&self, state: &mut State, after: &mut Aftermath) {
        if state.in_flight.is_empty() {
            return;
        }
        let Some(log) = self.offsets_log() else { return };
        let acked = log.acked_end();
        while let Some((id, _)) = state.in_flight.front().copied().filter(|(_, end)| *end <= acked) {
            state.in_flight.pop_front();
            state.tickets.remove(&id);
            let mut out = Vec::new();
            state.coordinator.written(id, &mut out);
            state.carry_out(out, after);
        }
        if log.is_poisoned() {
            // What is not acknowledged by now never will be.
            for (id, _) in std::mem::take(&mut state.in_flight) {
                state.tickets.remove(&id);
                let mut out = Vec::new();
                state.coordinator.failed(id, &mut out);
                state.carry_out(out, after);
            }
        }
    }

    /// Appends what waits to be appended.
    pub(super) fn append_outbox(&self) {
        self.append_with(Room::Wait);
    }

    fn append_with(&self, room: Room) {
        let _appending = match room {
            Room::Wait => self.appending.lock(),
            Room::Later => match self.appending.try_lock() {
                Some(appending) => appending,
                None => return,
            },
        };
        let writes: Vec<Outgoing> = self.state.lock().outbox.drain(..).collect();
        if writes.is_empty() {
            return;
        }
        let patience = match room {
            Room::Wait => Patience::Until(self.clock.monotonic().saturating_add(self.max_block)),
            Room::Later => Patience::No,
        };
        let (done, error) = match self.offsets_log() {
            Some(log) => append_all(&log, &writes, patience),
            None => (0, Some(Error::closed("the offsets topic"))),
        };
        let mut after = Aftermath::default();
        let mut state = self.state.lock();
        for write in &writes[..done] {
            if let Some(Ok(end)) = write.ticket.end() {
                state.in_flight.push_back((write.id, end));
            }
        }
        if let Some(error) = error {
            let later = room == Room::Later && error.kind() == ErrorKind::Backpressure;
            for write in writes.into_iter().skip(done).rev() {
                if later {
                    state.outbox.push_front(write);
                    continue;
                }
                write.ticket.set(Err(error.again()));
                state.tickets.remove(&write.id);
                let mut out = Vec::new();
                state.coordinator.failed(write.id, &mut out);
                state.carry_out(out, &mut after);
            }
        }
        drop(state);
        after.woken.iter().for_each(|mailbox| mailbox.wake());
    }

    /// Tells volatile partitions what their groups have done with.
    fn tell_floors(&self) {
        let Ok(directory) = self.directory() else { return };
        let _latest_last = self.releasing.lock();
        let floors = self.state.lock().coordinator.take_floors();
        for (tp, floor) in floors {
            // One that is gone has nothing to let go.
            if let Ok(found) = directory.find(&tp) {
                found.log.release(floor.get());
            }
        }
    }

    /// The ticket of a write that does not hold yet; `None` if it holds.
    pub(super) fn ticket(&self, id: WriteId) -> Option<Arc<Ticket>> {
        self.state.lock().tickets.get(&id).cloned()
    }

    /// The log of the offsets topic, if it is there.
    pub(super) fn offsets_log(&self) -> Option<Arc<Log>> {
        self.offsets_log.read().clone()
    }

    /// Asks the coordinator for a write, and answers what tells how far it has come; `None` if it holds already.
    pub(super) fn act_and_write(
        &self,
        call: impl FnOnce(&mut Coordinator, Now, &mut Vec<Effect>) -> Result<Option<WriteId>>,
    ) -> Result<Option<Arc<Ticket>>> {
        let now = self.now();
        let mut after = Aftermath::default();
        let ticket = {
            let mut state = self.state.lock();
            self.settle(&mut state, &mut after);
            let mut out = Vec::new();
            let write = call(&mut state.coordinator, now, &mut out);
            state.carry_out(out, &mut after);
            // A write that fails is forgotten at once: its ticket remembers.
            write.map(|write| write.and_then(|id| state.tickets.get(&id).cloned()))
        };
        self.finish(after, Room::Wait);
        ticket
    }

    /// Waits in this thread until a write holds.
    pub(super) fn wait_for(&self, ticket: Option<Arc<Ticket>>) -> Result<()> {
        let (Some(ticket), Some(log)) = (ticket, self.offsets_log()) else { return Ok(()) };
        ticket.end().map_or(Ok(()), |end| log.wait_acked(end?))
    }

    /// A member joins; what it is told comes into this mailbox.
    pub(super) fn join(
        &self,
        group: &GroupId,
        request: JoinRequest,
        reset: OffsetReset,
        mailbox: &Arc<Mailbox>,
    ) -> Result<MemberId> {
        self.check_open()?;
        let ends = match reset {
            OffsetReset::Latest => self.ends_of(&request.subscription)?,
            OffsetReset::Earliest | OffsetReset::Fail => Vec::new(),
        };
        let now = self.now();
        mailbox.polled(now.monotonic);
        let mut after = Aftermath::default();
        let joined = {
            let mut state = self.state.lock();
            self.settle(&mut state, &mut after);
            let mut out = Vec::new();
            let new = state.coordinator.not_yet_read(group, &request.subscription, ends);
            let joined = state.coordinator.join(group, request, now, &mut out);
            if let Ok(member) = &joined {
                state.coordinator.begin_at(group, new, now, &mut out);
                state.mailboxes.insert(member.clone(), (group.clone(), mailbox.clone()));
            }
            state.carry_out(out, &mut after);
            joined
        };
        self.finish(after, Room::Wait);
        self.schedule();
        joined
    }

    /// Where the partitions of these topics end now.
    fn ends_of(&self, wanted: &Subscription) -> Result<Vec<CommitEntry>> {
        let directory = self.directory()?;
        let partitions = self.look(|coordinator| coordinator.partitions_of(wanted));
        // What is deleted meanwhile is not read.
        let found = partitions.into_iter().filter_map(|tp| directory.find(&tp).ok());
        Ok(found.map(|found| found.entry_at(found.log.high_watermark())).collect())
    }

    pub(super) fn leave(&self, group: &GroupId, member: &MemberId, how: Leave, room: Room) {
        self.act(room, |coordinator, now, out| coordinator.leave(group, member, how, now, out));
        self.state.lock().mailboxes.remove(member);
        self.schedule();
    }

    pub(super) fn released(&self, group: &GroupId, member: &MemberId, revocation: u64) {
        self.act(Room::Wait, |coordinator, now, out| {
            coordinator.released(group, member, revocation, now, out)
        });
        self.schedule();
    }

    /// Does what is due.
    pub(crate) fn tick(&self) {
        let _ = self.check_read();
        let now = self.now();
        self.act(Room::Later, |_, _, _| ());
        let polls: Vec<(GroupId, MemberId, Duration)> = {
            let state = self.state.lock();
            let polls = state.mailboxes.iter();
            polls
                .map(|(id, (group, mailbox))| (group.clone(), id.clone(), mailbox.last_poll(now.monotonic)))
                .collect()
        };
        // At the same moment: who waits polled just now, however long this thread has been kept from going on.
        self.act(Room::Later, |coordinator, _, out| {
            for (group, member, at) in &polls {
                coordinator.polled(group, member, *at);
            }
            coordinator.tick(now, out)
        });
        self.state.lock().due = None;
        self.schedule();
    }

    /// Sees to it that the broker comes back when something is due.
    pub(super) fn schedule(&self) {
        let now = self.now();
        let wake = {
            let mut state = self.state.lock();
            let next = state.coordinator.next_tick(now);
            let earlier = next.filter(|next| state.due.is_none_or(|due| *next < due));
            state.due = earlier.or(state.due);
            earlier
        };
        if let (Some(when), Ok(directory)) = (wake, self.directory()) {
            directory.wake_at(when);
        }
    }

    /// The end of what can be committed of a partition.
    pub(super) fn log_end(log: &Log) -> Offset {
        Offset::of(log.log_end())
    }
}

impl State {
    /// The mailboxes of all members.
    pub(super) fn members(&self) -> Vec<Arc<Mailbox>> {
        self.mailboxes.values().map(|(_, mailbox)| mailbox.clone()).collect()
    }

    fn carry_out(&mut self, out: Vec<Effect>, after: &mut Aftermath) {
        for effect in out {
            match effect {
                Effect::Write { id, records } => {
                    let ticket = Arc::new(Ticket::default());
                    self.tickets.insert(id, ticket.clone());
                    self.outbox.push_back(Outgoing { id, records, ticket });
                    after.has_writes = true;
                }
                Effect::Tell { member, change, .. } => {
                    if let Some((_, mailbox)) = self.mailboxes.get(&member) {
                        mailbox.put(change);
                        after.woken.push(mailbox.clone());
                    }
                }
            }
        }
        after.has_floors |= self.coordinator.has_touched();
    }
}

impl fmt::Debug for GroupService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.state.lock().mailboxes.len();
        f.debug_struct("GroupService").field("members", &members).finish_non_exhaustive()
    }
}
