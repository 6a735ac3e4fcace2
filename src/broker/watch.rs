//! Looking at a data directory again and again: each look reads only what is new.
//!
//! ```text
//!   look -> topic manifests -> per partition: on from the last batch seen -> log end
//!        -> offsets topic:     on from the last record seen               -> groups
//!        -> per group's partition: on to what is committed                -> time of the oldest unread record
//! ```
//!
//! Invariants
//! - Takes no lock and writes nothing; the first look at a partition reads its newest segment once.
//! - Whatever a broker changes meanwhile (topics deleted and made again, segments that retention takes) ends in a
//!   second try from the start, then in the error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::description::{PartitionDescription, TopicDescription};
use super::groups::OFFSETS_TOPIC;
use super::lag::PartitionLag;
use super::observed::ObservedRecords;
use super::observed_group::{ObservedGroup, ObservedMember};
use super::observer::Observer;
use crate::error::{Error, ErrorKind, Result};
use crate::group::{Committed, GroupId, InstanceId, MemberId, RecordedGroup, RecordedGroups};
use crate::topic::TopicManifest;
use crate::types::{Offset, Timestamp, TopicId, TopicName, TopicPartition};

/// Looks at a data directory again and again, beside a running broker or not; from
/// [`Observer::watch`](crate::Observer::watch).
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// use millpond::prelude::*;
/// use millpond::Observer;
///
/// let broker = Broker::open(dir.path())?;
/// let clicks = broker.create_topic("clicks", TopicConfig::new())?;
/// let mut watch = Observer::open(dir.path())?.watch();
/// for count in 1..=3 {
///     clicks.producer()?.send(Record::new("/home"))?.wait()?;
///     let sight = watch.look()?;
///     assert_eq!(sight.topics[0].partitions()[0].log_end_offset().get(), count);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Watch {
    observer: Observer,
    ends: BTreeMap<(TopicId, u32), ObservedRecords>,
    offsets: Option<(TopicId, ObservedRecords)>,
    groups: RecordedGroups,
    /// Each stands at the offset that it was asked for last.
    unread: BTreeMap<(GroupId, TopicPartition), (TopicId, Offset, ObservedRecords)>,
}

/// What one look has seen.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Sight {
    /// When, by the environment's wall clock.
    pub at: Timestamp,
    /// Whether a broker has the directory open.
    pub live: bool,
    /// The topics, by name; internal ones, whose names begin with `__`, are left out.
    pub topics: Vec<TopicDescription>,
    /// The groups, by name.
    pub groups: Vec<ObservedGroup>,
    /// Why there are no groups.
    groups_unreadable: Option<Arc<Error>>,
}

impl Sight {
    /// What could not be read and is left out, each once: partitions of topics, of groups' lag, and the topic of
    /// committed offsets, without which there are no groups here. Each error names its partition.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::{Broker, Observer};
    ///
    /// let broker = Broker::open(dir.path())?;
    /// assert!(Observer::open(dir.path())?.watch().look()?.unreadable().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unreadable(&self) -> Vec<&Error> {
        let topics = self.topics.iter().flat_map(TopicDescription::unreadable);
        let groups = self.groups.iter().flat_map(ObservedGroup::unreadable);
        let mut told = BTreeSet::new();
        topics
            .chain(groups)
            .chain(self.groups_unreadable.as_deref())
            .filter(|error| told.insert(format!("{error:#}")))
            .collect()
    }
}

/// A partition's log as it was found.
#[derive(Clone, Copy, Debug)]
struct Extent {
    log_start: u64,
    end: u64,
}

/// All topics there are.
struct Topics<'a> {
    manifests: &'a [TopicManifest],
}

impl Watch {
    pub(super) fn new(observer: Observer) -> Watch {
        Watch {
            observer,
            ends: BTreeMap::new(),
            offsets: None,
            groups: RecordedGroups::default(),
            unread: BTreeMap::new(),
        }
    }

    /// The directory as it is now. What cannot be read of a partition is no error of this call:
    /// [`Sight::unreadable`] tells of it.
    ///
    /// # Errors
    /// `Corrupted`, `UnsupportedFormat` and `Io` where the settings of a topic cannot be read.
    pub fn look(&mut self) -> Result<Sight> {
        let manifests = self.observer.manifests()?;
        let at = self.observer.clock().now();
        let live = self.observer.is_live()?;
        let known = Topics { manifests: &manifests };
        self.forget_gone(&known);
        let mut topics = Vec::new();
        for manifest in manifests.iter().filter(|manifest| !manifest.name.is_internal()) {
            let described = (0..manifest.ready).map(|number| self.describe(manifest, number));
            let described = TopicDescription::new(manifest, described);
            if described.unreadable().is_empty() || self.is_there(manifest.id)? {
                topics.push(described);
            }
        }
        let (groups, groups_unreadable) = match self.look_at_groups(&known, |_| true) {
            Ok(groups) => (groups, None),
            Err(error) => (Vec::new(), Some(Arc::new(error))),
        };
        Ok(Sight { at, live, topics, groups, groups_unreadable })
    }

    /// The names of the groups there are now.
    pub(super) fn names(&mut self) -> Result<Vec<GroupId>> {
        let manifests = self.observer.manifests()?;
        self.read_offsets(&Topics { manifests: &manifests })?;
        Ok(self.groups.iter().map(|(id, _)| id.clone()).collect())
    }

    /// The groups as they are now.
    pub(super) fn groups(&mut self, wanted: impl Fn(&GroupId) -> bool) -> Result<Vec<ObservedGroup>> {
        let manifests = self.observer.manifests()?;
        self.look_at_groups(&Topics { manifests: &manifests }, wanted)
    }

    /// Whether there is still a topic of this id: what one answers that is being deleted just now is no error.
    fn is_there(&self, topic: TopicId) -> Result<bool> {
        Ok(self.observer.manifests()?.iter().any(|manifest| manifest.id == topic))
    }

    fn forget_gone(&mut self, known: &Topics<'_>) {
        self.ends.retain(|(id, _), _| known.name_of(*id).is_some());
        self.unread.retain(|_, (id, _, _)| known.name_of(*id).is_some());
    }

    fn describe(&mut self, topic: &TopicManifest, number: u32) -> Result<PartitionDescription> {
        let described =
            self.extent(topic, number).and_then(|found| self.observer.description(topic, number, found.end));
        described.map_err(|error| error.in_partition(&topic_partition(topic, number)))
    }

    /// Where a partition's log begins and ends.
    fn extent(&mut self, topic: &TopicManifest, number: u32) -> Result<Extent> {
        let key = (topic.id, number);
        let known = self.ends.get_mut(&key).map(ObservedRecords::end);
        let end = match known {
            Some(Ok(end)) => end,
            // What it stood in may be gone.
            Some(Err(_)) | None => {
                let mut records = self.observer.end_of(topic, number)?;
                let end = records.end()?;
                self.ends.insert(key, records);
                end
            }
        };
        let log_start = self.observer.walk(&topic_partition(topic, number))?.manifest().log_start;
        Ok(Extent { log_start, end: end.max(log_start) })
    }

    fn look_at_groups(
        &mut self,
        known: &Topics<'_>,
        wanted: impl Fn(&GroupId) -> bool,
    ) -> Result<Vec<ObservedGroup>> {
        self.read_offsets(known)?;
        let groups = std::mem::take(&mut self.groups);
        let seen = groups.iter().filter(|(id, _)| wanted(id)).map(|(id, group)| self.group(id, group, known));
        let seen = seen.collect::<Result<_>>();
        self.groups = groups;
        seen
    }

    /// Reads on in the offsets topic.
    fn read_offsets(&mut self, known: &Topics<'_>) -> Result<()> {
        // Without its partition it is just being made.
        let of_offsets =
            |manifest: &&TopicManifest| manifest.name.as_str() == OFFSETS_TOPIC && manifest.ready > 0;
        let Some(manifest) = known.manifests.iter().find(of_offsets) else {
            (self.offsets, self.groups) = (None, RecordedGroups::default());
            return Ok(());
        };
        if self.offsets.as_ref().is_none_or(|(id, _)| *id != manifest.id) {
            self.groups = RecordedGroups::default();
            let records = self.observer.records(manifest, 0, ..);
            let records = records.map_err(|error| error.in_partition(&topic_partition(manifest, 0)))?;
            self.offsets = Some((manifest.id, records));
        }
        let Some((_, records)) = &mut self.offsets else { return Ok(()) };
        loop {
            match records.next() {
                Ok(Some(record)) => self.groups.take(record.key().unwrap_or_default(), record.value()),
                Ok(None) => return Ok(()),
                Err(error) => {
                    // The next look begins anew.
                    self.offsets = None;
                    return Err(error.in_partition(&topic_partition(manifest, 0)));
                }
            }
        }
    }

    fn group(&mut self, id: &GroupId, group: &RecordedGroup, known: &Topics<'_>) -> Result<ObservedGroup> {
        let members = observed_members(group, known);
        let mut sources: BTreeMap<TopicPartition, PartitionLag> = BTreeMap::new();
        let mut unreadable = Vec::new();
        for topic in topics_of(group, &members, known) {
            for number in 0..topic.ready {
                let tp = topic_partition(topic, number);
                match self.lag(id, group, topic, number) {
                    Ok(lag) => drop(sources.insert(tp, lag)),
                    Err(error) if self.is_there(topic.id)? => unreadable.push(error.in_partition(&tp)),
                    Err(_) => {}
                }
            }
        }
        for member in &members {
            for tp in &member.assigned {
                if let Some(lag) = sources.get_mut(tp) {
                    lag.owner = Some(member.id.clone());
                }
            }
        }
        let empty_since = group.metadata.as_ref().map_or(-1, |metadata| metadata.empty_since);
        Ok(ObservedGroup {
            id: id.clone(),
            epoch: group.metadata.as_ref().map(|metadata| metadata.epoch),
            empty_since: (empty_since >= 0).then_some(Timestamp::from_millis(empty_since)),
            members,
            lag: sources.into_values().collect(),
            unreadable: unreadable.into(),
        })
    }

    /// An offset of an earlier topic of this name is none.
    fn lag(
        &mut self,
        id: &GroupId,
        group: &RecordedGroup,
        topic: &TopicManifest,
        number: u32,
    ) -> Result<PartitionLag> {
        let tp = &topic_partition(topic, number);
        let committed = match group.offsets.get(tp) {
            Some((of, _)) if !is_of(*of, topic) => None,
            Some((_, Committed::At(offset))) => Some(offset.clone()),
            Some((_, Committed::Corrupt(why))) => {
                let message = format!("the committed offset of group {id} cannot be read: {why}");
                return Err(Error::new(ErrorKind::Corrupted, message).in_partition(tp));
            }
            Some((_, Committed::Absent)) | None => None,
        };
        let extent = self.extent(topic, tp.partition())?;
        let mut lag = PartitionLag {
            partition: tp.clone(),
            committed,
            position: None,
            log_start: Offset::of(extent.log_start),
            end: Offset::of(extent.end),
            last_stable: None,
            owner: None,
            oldest_unread: None,
            now: self.observer.clock().now(),
        };
        if lag.records() > 0 {
            lag.oldest_unread = self.first_timestamp(id, topic, tp, lag.from())?;
        }
        Ok(lag)
    }

    /// The timestamp of the first record at `offset` or behind it.
    fn first_timestamp(
        &mut self,
        group: &GroupId,
        topic: &TopicManifest,
        tp: &TopicPartition,
        offset: Offset,
    ) -> Result<Option<Timestamp>> {
        let key = (group.clone(), tp.clone());
        let known = self.unread.get_mut(&key).filter(|(id, asked, _)| *id == topic.id && *asked <= offset);
        if let Some((_, asked, records)) = known {
            *asked = offset;
            if let Ok(Some(first)) = records.first_from(offset) {
                return Ok(Some(first));
            }
        }
        let mut records = self.observer.records(topic, tp.partition(), offset..)?;
        let first = records.first_from(offset);
        self.unread.insert(key, (topic.id, offset, records));
        first
    }
}

impl Topics<'_> {
    fn name_of(&self, id: TopicId) -> Option<&TopicName> {
        self.manifests.iter().find(|topic| topic.id == id).map(|topic| &topic.name)
    }
}

/// The topics that a group has committed in, or that a static member has partitions of.
fn topics_of<'a>(
    group: &RecordedGroup,
    members: &[ObservedMember],
    known: &Topics<'a>,
) -> Vec<&'a TopicManifest> {
    let read = |topic: &&TopicManifest| {
        let mut committed =
            group.offsets.range(topic_partition(topic, 0)..topic_partition(topic, topic.ready));
        let mut assigned = members.iter().flat_map(|member| &member.assigned);
        committed.any(|(_, (of, _))| is_of(*of, topic)) || assigned.any(|tp| *tp.topic() == topic.name)
    };
    known.manifests.iter().filter(read).collect()
}

/// Old records do not tell.
fn is_of(committed: Option<TopicId>, topic: &TopicManifest) -> bool {
    committed.is_none_or(|id| id == topic.id)
}

fn observed_members(group: &RecordedGroup, known: &Topics<'_>) -> Vec<ObservedMember> {
    let member = |(id, member): (&String, &crate::group::RecordedMember)| {
        let metadata = member.metadata.as_ref()?;
        let instance_id = InstanceId::new(metadata.instance_id.as_deref()?).ok()?;
        let mut assigned = Vec::new();
        for of in member.assigned() {
            if let Some(name) = known.name_of(of.topic) {
                assigned.extend(of.partitions.iter().map(|n| TopicPartition::new(name.clone(), *n)));
            }
        }
        assigned.sort();
        Some(ObservedMember {
            id: MemberId::new(id),
            instance_id,
            client_id: metadata.client_id.clone(),
            away_until: (metadata.expires_at >= 0).then_some(Timestamp::from_millis(metadata.expires_at)),
            assigned,
        })
    };
    group.members.iter().filter_map(member).collect()
}

fn topic_partition(topic: &TopicManifest, number: u32) -> TopicPartition {
    TopicPartition::new(topic.name.clone(), number)
}
