//! A member of a group.
//!
//! ```text
//!   poll:  mail (assigned, revoked, lost) -> commit, if that is automatic -> records, fair between partitions
//!                                                                         `-> none: wait for either
//! ```
//!
//! Invariants
//! - Mail is read in `poll`, before records are handed out: what was revoked is handed out no more.
//! - Positions move only with records that are handed out, or by `seek`.
//! - Dropped, it leaves; what was not committed is read again by whoever goes on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::commit::Commit;
use super::interrupter::Interrupter;
use super::listener::RebalanceListener;
use super::mailbox::Mailbox;
use super::place::Place;
use super::service::{GroupService, Room};
use super::transacted::AppendOffset;
use crate::codec::Raw;
use crate::config::{GroupConfig, Start};
use crate::consumer::codecs::Codecs;
use crate::consumer::poll::PollRecords;
use crate::consumer::records::{ReadBy, Records};
use crate::consumer::start::resolve;
use crate::consumer::undecodable::BadRecords;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{
    Backward, CommitEntry, Committed, Committer, GroupId, JoinRequest, Leave, MemberId, OffsetAndMetadata,
    WriteId,
};
use crate::producer::KeptOpen;
use crate::sync::WaitKey;
use crate::telemetry;
use crate::types::{Offset, TopicName, TopicPartition};

/// Reads, together with the other members of its group, one topic, several, or all whose names match a pattern.
/// Each partition is read by one member at a time; where the group has come to is committed.
///
/// Made by [`Group::join`](crate::broker::Group::join). Dropping it leaves the group.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("orders", TopicConfig::new().partitions(3))?;
/// topic.producer()?.send_batch(["tea", "jam"].map(Record::new))?.wait()?;
///
/// let mut consumer = broker.group("billing")?.join("orders")?;
/// let mut seen = 0;
/// while seen < 2 {
///     let records = consumer.poll().wait()?;
///     for record in &records {
///         println!("{} {:?}", record.topic_partition(), record.value()?);
///         seen += 1;
///     }
///     consumer.commit(&records).wait()?; // after processing: at least once
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "KafkaConsumer")]
pub struct Consumer<K = Raw, V = Raw> {
    pub(super) membership: Membership,
    pub(super) member: MemberId,
    /// The same, as records remember it.
    pub(super) reader: ReadBy,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) epoch: i32,
    pub(super) places: Vec<Place>,
    /// The partition that is asked first.
    pub(super) turn: usize,
    pub(super) codecs: Arc<Codecs<K, V>>,
    pub(super) waiting: Option<WaitKey>,
    pub(super) last_commit: Duration,
    /// When a poll that does not wait went the long way last.
    pub(super) looked: Option<(Duration, u32)>,
    /// It was put out, and could not join again yet.
    pub(super) out: bool,
    left: bool,
}

/// What a consumer joins by, and joins again by.
pub(crate) struct Membership {
    pub(crate) groups: Arc<GroupService>,
    pub(crate) group: GroupId,
    pub(crate) request: JoinRequest,
    pub(crate) config: GroupConfig,
    pub(crate) listener: Option<Box<dyn RebalanceListener>>,
    /// What becomes of records that cannot be decoded.
    pub(crate) undecodable: Arc<BadRecords>,
    /// What stays open for as long as the consumer lives.
    pub(crate) kept_open: KeptOpen,
}

impl<K, V> Consumer<K, V> {
    /// Joins the group.
    pub(crate) fn join(membership: Membership, codecs: Codecs<K, V>) -> Result<Consumer<K, V>> {
        let last_commit = membership.groups.now().monotonic;
        let mailbox = Arc::new(Mailbox::new(last_commit));
        let member = membership.groups.join(
            &membership.group,
            membership.request.clone(),
            membership.config.offset_reset_kind(),
            &mailbox,
        )?;
        telemetry::rebalance("joined", &membership.group, &member, &[]);
        Ok(Consumer {
            reader: ReadBy::member(&membership.group, &member),
            membership,
            member,
            mailbox,
            epoch: 0,
            places: Vec::new(),
            turn: 0,
            codecs: Arc::new(codecs),
            waiting: None,
            last_commit,
            looked: None,
            out: false,
            left: false,
        })
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &GroupId {
        &self.membership.group
    }

    /// Its id in the group; another one after it was put out and came back.
    #[must_use]
    pub fn member_id(&self) -> &MemberId {
        &self.member
    }

    /// The partitions that it has, as far as `poll` has heard, sorted.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        let mut mine: Vec<_> = self.places.iter().map(|place| place.topic_partition().clone()).collect();
        mine.sort();
        mine
    }

    /// The next records, once there are any: `.wait()`, `.wait_timeout(..)` or `.await`. Partitions take turns.
    /// Here, too, partitions come and go, and the listener is told.
    ///
    /// A member that was put out, because it did not poll in time, loses its partitions and joins again.
    ///
    /// # Errors
    /// Told by the operation: `NoOffset` and `OffsetOutOfRange` where the settings say so
    /// ([`seek`](Consumer::seek) to go on); `Corrupted` for a damaged batch or committed offset; `Closed` when
    /// the broker is, or when all topics that it joined for have been deleted (one that is made anew under its name
    /// is read again); else those of reading. Positions stay.
    pub fn poll(&mut self) -> PollRecords<'_, K, V>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        PollRecords::new(self)
    }

    /// Commits what these records end with: all up to them has been processed. What was committed before and is
    /// further stays.
    ///
    /// # Errors
    /// Told by the operation: see [`Commit::wait`]. `InvalidArgument` for records of a reader without a group, or of
    /// another group.
    pub fn commit(&self, records: &Records<K, V>) -> Commit {
        match self.entries_of(records) {
            Ok((epoch, entries)) => self.send_commit(epoch, entries),
            Err(error) => self.finished(Err(error)),
        }
    }

    /// Commits what these records end with as part of a transaction, whose writes so far are `own`.
    pub(crate) fn commit_within(
        &self,
        groups: &Arc<GroupService>,
        records: &Records<K, V>,
        own: &[WriteId],
        append: &mut AppendOffset<'_>,
    ) -> Result<Option<WriteId>> {
        if !Arc::ptr_eq(groups, &self.membership.groups) {
            return Err(Error::invalid_argument("the consumer belongs to another broker"));
        }
        let (epoch, entries) = self.entries_of(records)?;
        let committer = Committer { member: self.member.clone(), epoch };
        groups.commit_within(self.group(), &committer, entries, own, append)
    }

    /// Commits the positions of all its partitions: everything that was handed out has been processed.
    ///
    /// # Errors
    /// Told by the operation: see [`Commit::wait`].
    pub fn commit_all(&self) -> Commit {
        let entries = self.places.iter().filter_map(Place::position_entry).collect();
        self.send_commit(self.epoch, entries)
    }

    /// Commits an offset (the next one to read) of one of its partitions, with a text if you like.
    ///
    /// # Errors
    /// Told by the operation: see [`Commit::wait`]. `Rebalanced` if the partition is not its own.
    pub fn commit_offset(&self, partition: &TopicPartition, offset: OffsetAndMetadata) -> Commit {
        let Some(place) = self.place(partition) else { return self.finished(Err(self.not_mine(partition))) };
        let goes_back = CommitEntry { backward: Backward::Allow, ..place.entry(offset) };
        self.send_commit(self.epoch, vec![goes_back])
    }

    /// What the group has committed in a partition; `None` if it has committed nothing.
    ///
    /// # Errors
    /// `Corrupted` if its record cannot be read.
    pub fn committed(&self, partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>> {
        let group = self.group();
        let (committed, _) =
            self.membership.groups.look(|coordinator| coordinator.committed(group, partition));
        match committed {
            Committed::At(offset) => Ok(Some(offset)),
            Committed::Absent => Ok(None),
            Committed::Corrupt(why) => Err(Error::new(ErrorKind::Corrupted, why).in_partition(partition)),
        }
    }

    /// The offset that is read next in a partition of its own; `None` before the first `poll` after it was
    /// assigned.
    ///
    /// # Errors
    /// `Rebalanced` if the partition is not its own.
    pub fn position(&self, partition: &TopicPartition) -> Result<Option<Offset>> {
        self.place(partition).map(Place::position).ok_or_else(|| self.not_mine(partition))
    }

    /// How many records a partition of its own holds that were not handed out; before its first `poll` of the
    /// partition, from where the group has come to.
    ///
    /// # Errors
    /// `Rebalanced` if the partition is not its own; `Corrupted` if what is committed cannot be read.
    pub fn lag(&self, partition: &TopicPartition) -> Result<u64> {
        let place = self.place(partition).ok_or_else(|| self.not_mine(partition))?;
        let position = match place.position() {
            Some(position) => position,
            None => self.committed(partition)?.map_or(Offset::ZERO, |committed| committed.offset()),
        };
        Ok(place.cursor.end().saturating_sub(position.get().max(place.log().log_start())))
    }

    /// Goes on from somewhere else in a partition of its own: an [`Offset`], or any [`Start`]. Nothing is
    /// committed by this, but the next commit may go back.
    ///
    /// # Errors
    /// `Rebalanced` if the partition is not its own; `OffsetOutOfRange` for an offset that the log does not hold;
    /// those of reading, for a timestamp. The position stays.
    pub fn seek(&mut self, partition: &TopicPartition, to: impl Into<Start>) -> Result<()> {
        let Some(at) = self.place_index(partition) else { return Err(self.not_mine(partition)) };
        let place = &mut self.places[at];
        let offset = resolve(place.log(), to.into(), place.cursor.isolation())?;
        place.go_to(offset);
        place.sought = true;
        Ok(())
    }

    /// Hands out nothing of these partitions until they are resumed. They stay its own.
    ///
    /// # Errors
    /// `Rebalanced` if one is not its own.
    pub fn pause<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.set_paused(partitions, Flow::Paused)
    }

    /// Hands out records of these partitions again.
    ///
    /// # Errors
    /// `Rebalanced` if one is not its own.
    pub fn resume<'a>(&mut self, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Result<()> {
        self.set_paused(partitions, Flow::Running)
    }

    fn set_paused<'a>(
        &mut self,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        flow: Flow,
    ) -> Result<()> {
        for partition in partitions {
            let Some(at) = self.place_index(partition) else { return Err(self.not_mine(partition)) };
            self.places[at].paused = flow == Flow::Paused;
        }
        Ok(())
    }

    /// The partitions that are paused.
    #[must_use]
    pub fn paused(&self) -> Vec<TopicPartition> {
        let paused = self.places.iter().filter(|place| place.paused);
        paused.map(|place| place.topic_partition().clone()).collect()
    }

    /// What another thread interrupts its `poll` with.
    ///
    /// ```
    /// use millpond::prelude::*;
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// broker.create_topic("orders", TopicConfig::new())?;
    /// let mut consumer = broker.group("billing")?.join("orders")?;
    /// let interrupter = consumer.interrupter();
    /// let other = std::thread::spawn(move || interrupter.interrupt());
    /// assert!(consumer.poll().wait()?.is_empty());
    /// # other.join().expect("it ends");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "wakeup")]
    #[must_use]
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::of(&self.mailbox)
    }

    /// Leaves the group, after a last commit if that is automatic, and what a
    /// [`RebalanceListener`] commits, which is told that the partitions are revoked: waiting tells what became of it.
    /// A static member leaves for as long as its session timeout.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::config::GroupConfig;
    /// use millpond::prelude::*;
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// let orders = broker.create_topic("orders", TopicConfig::new())?;
    /// orders.producer()?.send(Record::new("tea"))?.wait()?;
    /// let automatic = GroupConfig::new().auto_commit_interval(Duration::from_secs(60));
    /// let mut consumer = broker.group("billing")?.config(automatic).join("orders")?;
    /// assert_eq!(consumer.poll().wait()?.iter().count(), 1);
    /// consumer.close().wait()?; // in a task: .await
    /// assert_eq!(broker.group("billing")?.lag()?[0].records(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Told by the operation, those of the commit: see [`Commit::wait`]. It has left all the same. Of partitions that
    /// are others' by now, or gone with their topics, nothing is committed, and nothing told.
    pub fn close(mut self) -> Commit {
        let committed = self.hand_over_all();
        self.leave(Leave::ForNow, Room::Wait);
        committed
    }

    /// Leaves the group for good, also as a static member: its partitions go to others at once. Else as
    /// [`close`](Consumer::close).
    pub fn unsubscribe(mut self) {
        drop(self.hand_over_all());
        self.leave(Leave::ForGood, Room::Wait);
    }

    fn leave(&mut self, how: Leave, room: Room) {
        if !self.left {
            self.left = true;
            self.stop();
            self.membership.groups.leave(&self.membership.group, &self.member, how, room);
            self.tell("left", &[]);
        }
    }

    pub(super) fn place(&self, partition: &TopicPartition) -> Option<&Place> {
        self.places.iter().find(|place| place.topic_partition() == partition)
    }

    fn place_index(&self, partition: &TopicPartition) -> Option<usize> {
        self.places.iter().position(|place| place.topic_partition() == partition)
    }

    #[cold]
    fn not_mine(&self, partition: &TopicPartition) -> Error {
        let message =
            format!("the partition is not assigned to member {} of group {}", self.member, self.group());
        Error::new(ErrorKind::Rebalanced, message).in_partition(partition)
    }

    /// The topics that it reads, as far as `poll` has heard.
    #[must_use]
    pub fn topics(&self) -> Vec<TopicName> {
        let mut topics = BTreeMap::new();
        for place in &self.places {
            topics.insert(place.topic_partition().topic().clone(), ());
        }
        topics.into_keys().collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Running,
    Paused,
}

impl<K, V> Drop for Consumer<K, V> {
    fn drop(&mut self) {
        self.leave(Leave::ForNow, Room::Later);
    }
}

impl<K, V> fmt::Debug for Consumer<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("group", self.group())
            .field("member", &self.member)
            .field("assignment", &format_args!("{:?}", self.assignment()))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = &self.kept_open;
        f.debug_struct("Membership").field("group", &self.group).finish_non_exhaustive()
    }
}
