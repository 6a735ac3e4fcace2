//! Groups: assignors by Kafka's vectors and by brute force, the coordinator by hand and by simulation.

mod assignors;
mod hand_over;
mod offsets;
mod restart;
mod simulation;
mod speed;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::group::{
    Assignor, Backward, Change, Coming, CommitEntry, Committed, Committer, Coordinator, Effect, GroupId,
    InstanceId, JoinRequest, KnownTopic, Leave, MemberId, Now, OffsetAndMetadata, OffsetsRecord, Sticky,
    Subscription, WriteId,
};
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicName, TopicPartition};

const WEEK: Duration = Duration::from_secs(7 * 86_400);

fn topic(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn tp(name: &str, partition: u32) -> TopicPartition {
    TopicPartition::new(topic(name), partition)
}

fn id(byte: u8) -> TopicId {
    TopicId::from_bytes([byte; 16])
}

fn group(name: &str) -> GroupId {
    GroupId::new(name).unwrap()
}

/// A coordinator, the time, and what it wanted done since it was looked at.
struct Desk {
    coordinator: Coordinator,
    now: Now,
    told: Vec<(MemberId, Change)>,
    writes: Vec<(WriteId, Vec<OffsetsRecord>)>,
    /// The offsets topic, as far as it was written.
    log: Vec<OffsetsRecord>,
}

impl Desk {
    fn new(topics: &[(&str, u8, u32)]) -> Desk {
        let now = Now { monotonic: Duration::ZERO, wall: Timestamp::from_millis(1_000_000) };
        let coordinator = Coordinator::new(7, WEEK);
        let mut desk = Desk { coordinator, now, told: Vec::new(), writes: Vec::new(), log: Vec::new() };
        let topics = topics.iter().map(|(name, byte, partitions)| {
            (topic(name), KnownTopic { id: id(*byte), partitions: *partitions, volatile: false })
        });
        let topics: Vec<_> = topics.collect();
        desk.act(|coordinator, now, out| coordinator.opened(topics, now, out));
        desk
    }

    fn act<T>(&mut self, call: impl FnOnce(&mut Coordinator, Now, &mut Vec<Effect>) -> T) -> T {
        let mut out = Vec::new();
        let answer = call(&mut self.coordinator, self.now, &mut out);
        for effect in out {
            match effect {
                Effect::Write { id, records } => self.writes.push((id, records)),
                Effect::Tell { member, change, .. } => self.told.push((member, change)),
            }
        }
        self.coordinator.check();
        answer
    }

    fn pass(&mut self, time: Duration) {
        self.now.monotonic += time;
        self.now.wall = self.now.wall.saturating_add(time);
    }

    fn request(topics: &[&str]) -> JoinRequest {
        JoinRequest {
            coming: Coming::New,
            client_id: "consumer".into(),
            instance_id: None,
            subscription: Subscription::to(topics.iter().map(|name| topic(name))),
            assignor: Arc::new(Sticky) as Arc<dyn Assignor>,
            max_poll_interval: Duration::from_secs(300),
            session_timeout: Duration::from_secs(45),
        }
    }

    fn join(&mut self, name: &str, topics: &[&str]) -> MemberId {
        self.join_as(name, Desk::request(topics)).unwrap()
    }

    fn join_static(&mut self, name: &str, topics: &[&str], instance: &str) -> MemberId {
        let instance_id = Some(InstanceId::new(instance).unwrap());
        self.join_as(name, JoinRequest { instance_id, ..Desk::request(topics) }).unwrap()
    }

    fn join_as(&mut self, name: &str, request: JoinRequest) -> Result<MemberId> {
        self.act(|coordinator, now, out| coordinator.join(&group(name), request, now, out))
    }

    fn leave(&mut self, name: &str, member: &MemberId, how: Leave) {
        self.act(|coordinator, now, out| coordinator.leave(&group(name), member, how, now, out));
    }

    fn tick(&mut self) -> Option<Duration> {
        self.act(|coordinator, now, out| coordinator.tick(now, out))
    }

    /// Commits this offset of partition 0 or another one, of the topic with the id 1, as if polled at `epoch`.
    fn commit(
        &mut self,
        name: &str,
        member: &MemberId,
        epoch: i32,
        at: TopicPartition,
        offset: u64,
    ) -> Result<Option<WriteId>> {
        let entry = entry(at, 1, offset);
        let committer = Committer { member: member.clone(), epoch };
        self.act(|coordinator, now, out| coordinator.commit(&group(name), &committer, vec![entry], now, out))
    }

    /// All writes under way have succeeded.
    fn write_all(&mut self) {
        while !self.writes.is_empty() {
            for (id, records) in std::mem::take(&mut self.writes) {
                self.log.extend(records);
                self.act(|coordinator, _, out| coordinator.written(id, out));
            }
        }
    }

    fn seen(&self, name: &str, at: TopicPartition) -> Committed {
        self.coordinator.committed(&group(name), &at).0
    }

    fn seen_offset(&self, name: &str, at: TopicPartition) -> Option<u64> {
        match self.seen(name, at) {
            Committed::At(offset) => Some(offset.offset().get()),
            Committed::Absent => None,
            Committed::Corrupt(why) => panic!("{why}"),
        }
    }

    /// What was told since the last look, members by their last letters.
    fn told(&mut self) -> Vec<(MemberId, Change)> {
        std::mem::take(&mut self.told)
    }

    /// The process ends without a word and another one opens the log; time goes on.
    fn reopened(&self, topics: &[(&str, u8, u32)], later: Duration) -> Desk {
        let mut desk = Desk {
            coordinator: Coordinator::new(8, WEEK),
            now: Now { monotonic: Duration::ZERO, wall: self.now.wall.saturating_add(later) },
            told: Vec::new(),
            writes: Vec::new(),
            log: self.log.clone(),
        };
        for record in &desk.log {
            desk.coordinator.replay(&record.key.encode(), record.value.as_deref());
        }
        let topics: Vec<_> = topics
            .iter()
            .map(|(name, byte, partitions)| {
                (topic(name), KnownTopic { id: id(*byte), partitions: *partitions, volatile: false })
            })
            .collect();
        desk.act(|coordinator, now, out| coordinator.opened(topics, now, out));
        desk
    }

    fn owner(&self, name: &str, at: TopicPartition) -> Option<MemberId> {
        self.coordinator.owner(&group(name), &at)
    }
}

fn entry(at: TopicPartition, topic_byte: u8, offset: u64) -> CommitEntry {
    CommitEntry {
        tp: at,
        topic_id: id(topic_byte),
        offset: OffsetAndMetadata::new(Offset::of(offset)).leader_epoch(LeaderEpoch::new(3)),
        log_end: Offset::of(1000),
        backward: Backward::Ignore,
    }
}

impl Coordinator {
    /// The invariants that hold between calls.
    fn check(&self) {
        for group in self.groups.values() {
            let mut held = 0;
            for member in group.members.values() {
                for tp in member.held() {
                    assert_eq!(group.owners.get(tp), Some(&member.id), "{tp} in {}", group.id);
                    held += 1;
                }
                assert!(member.assigned.keys().all(|tp| !member.revoking.contains_key(tp)));
                assert!(member.assigned.values().all(|since| *since <= member.epoch));
                assert!(member.epoch <= group.epoch);
                assert!(member.is_live() || member.revoking.is_empty());
            }
            assert_eq!(held, group.owners.len(), "owners that hold nothing in {}", group.id);
            assert!(!(group.members.is_empty() && group.offsets.is_empty()), "{} should be gone", group.id);
        }
    }
}
