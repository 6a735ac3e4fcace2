//! Groups and members, as KIP-848 writes them.
//!
//! ```text
//!   Group         epoch i32                                            own tag 0: empty since, i64
//!   Member        instance?, rack?, client, host, topics[], pattern?,  own tag 0: expires at, i64
//!                 rebalance timeout i32, assignor?                     own tag 1: session timeout ms, i64
//!   Target        epoch i32
//!   MemberTarget  [topic id, [partition i32]]
//!   Current       epoch i32, previous i32, state i8, assigned, pending: [topic id, [partition i32]; tag 0: epochs]
//! ```
//!
//! Invariants: all are version 0 and flexible; a time of -1 is none; partitions are not negative.

use super::OWN_TAGS;
use super::fields::{Fields, Writer};
use crate::format::FormatError;
use crate::types::TopicId;

type Result<T> = std::result::Result<T, FormatError>;

const VERSION: i16 = 0;
const EMPTY_SINCE: u32 = OWN_TAGS;
const EXPIRES_AT: u32 = OWN_TAGS;
const SESSION_TIMEOUT: u32 = OWN_TAGS + 1;
const ASSIGNMENT_EPOCHS: u32 = 0;

/// Type 3: a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupMetadata {
    pub(crate) epoch: i32,
    /// Since when it has no members, milliseconds; -1 while it has some.
    pub(crate) empty_since: i64,
}

impl GroupMetadata {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Writer::new(VERSION).i32(self.epoch).tagged(&times(&[(EMPTY_SINCE, self.empty_since)])).bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<GroupMetadata> {
        let mut fields = version_0(bytes)?;
        let mut group = GroupMetadata { epoch: fields.i32()?, empty_since: -1 };
        fields.tagged(|tag, field| {
            if tag == EMPTY_SINCE {
                group.empty_since = field.i64()?;
            }
            Ok(())
        })?;
        fields.end()?;
        Ok(group)
    }
}

/// Type 5: a member and what it asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberMetadata {
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) topics: Vec<String>,
    pub(crate) pattern: Option<String>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) assignor: Option<String>,
    /// When a static member that has left is given up, milliseconds; -1 while it is there.
    pub(crate) expires_at: i64,
    /// How long it may be away, milliseconds; -1 unknown.
    pub(crate) session_timeout_ms: i64,
}

impl MemberMetadata {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Writer::new(VERSION)
            .nullable_string(self.instance_id.as_deref())
            .nullable_string(self.rack_id.as_deref())
            .compact_string(&self.client_id)
            .compact_string(&self.client_host)
            .array(&self.topics, |writer, topic| writer.compact_string(topic))
            .nullable_string(self.pattern.as_deref())
            .i32(self.rebalance_timeout_ms)
            .nullable_string(self.assignor.as_deref())
            .tagged(&times(&[(EXPIRES_AT, self.expires_at), (SESSION_TIMEOUT, self.session_timeout_ms)]))
            .bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<MemberMetadata> {
        let mut fields = version_0(bytes)?;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let mut member = MemberMetadata {
            instance_id: owned(fields.nullable_string()?),
            rack_id: owned(fields.nullable_string()?),
            client_id: fields.compact_string()?.to_owned(),
            client_host: fields.compact_string()?.to_owned(),
            topics: topics(&mut fields)?,
            pattern: owned(fields.nullable_string()?),
            rebalance_timeout_ms: fields.i32()?,
            assignor: owned(fields.nullable_string()?),
            expires_at: -1,
            session_timeout_ms: -1,
        };
        fields.tagged(|tag, field| {
            match tag {
                EXPIRES_AT => member.expires_at = field.i64()?,
                SESSION_TIMEOUT => member.session_timeout_ms = field.i64()?,
                _ => {}
            }
            Ok(())
        })?;
        fields.end()?;
        Ok(member)
    }
}

fn topics(fields: &mut Fields<'_>) -> Result<Vec<String>> {
    let count = fields.count(1)?;
    (0..count).map(|_| fields.compact_string().map(str::to_owned)).collect()
}

/// Type 6: the epoch of a target assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetMetadata {
    pub(crate) epoch: i32,
}

impl TargetMetadata {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Writer::new(VERSION).i32(self.epoch).tagged(&[]).bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<TargetMetadata> {
        let mut fields = version_0(bytes)?;
        let epoch = fields.i32()?;
        fields.skip_tagged()?;
        fields.end()?;
        Ok(TargetMetadata { epoch })
    }
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicPartitions {
    pub(crate) topic: TopicId,
    pub(crate) partitions: Vec<u32>,
    /// The member epoch at which each was assigned; empty where that is not said.
    pub(crate) epochs: Vec<i32>,
}

/// Type 7: a member's part of the target assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetAssignment {
    pub(crate) partitions: Vec<TopicPartitions>,
}

impl TargetAssignment {
    pub(crate) fn encode(&self) -> Vec<u8> {
        Writer::new(VERSION).array(&self.partitions, write_partitions).tagged(&[]).bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<TargetAssignment> {
        let mut fields = version_0(bytes)?;
        let partitions = read_partitions(&mut fields)?;
        fields.skip_tagged()?;
        fields.end()?;
        Ok(TargetAssignment { partitions })
    }
}

/// How far a member has come towards its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has what the target gives it.
    Stable,
    /// It has to let go of some first.
    UnrevokedPartitions,
    /// It waits for some that others still hold.
    UnreleasedPartitions,
}

/// Type 8: what a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CurrentAssignment {
    pub(crate) epoch: i32,
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Vec<TopicPartitions>,
    pub(crate) pending_revocation: Vec<TopicPartitions>,
}

impl CurrentAssignment {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let state = match self.state {
            MemberState::Stable => 0,
            MemberState::UnrevokedPartitions => 1,
            MemberState::UnreleasedPartitions => 2,
        };
        Writer::new(VERSION)
            .i32(self.epoch)
            .i32(self.previous_epoch)
            .i8(state)
            .array(&self.assigned, write_partitions)
            .array(&self.pending_revocation, write_partitions)
            .tagged(&[])
            .bytes()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<CurrentAssignment> {
        let mut fields = version_0(bytes)?;
        let (epoch, previous_epoch) = (fields.i32()?, fields.i32()?);
        let state = match fields.i8()? {
            0 => MemberState::Stable,
            1 => MemberState::UnrevokedPartitions,
            2 => MemberState::UnreleasedPartitions,
            other => return Err(FormatError::BadVersion(other.into())),
        };
        let assigned = read_partitions(&mut fields)?;
        let pending_revocation = read_partitions(&mut fields)?;
        fields.skip_tagged()?;
        fields.end()?;
        Ok(CurrentAssignment { epoch, previous_epoch, state, assigned, pending_revocation })
    }
}

fn write_partitions(writer: Writer, of: &TopicPartitions) -> Writer {
    let number = |writer: Writer, partition: &u32| writer.i32(i32::try_from(*partition).unwrap_or(i32::MAX));
    let mut tagged = Vec::new();
    if !of.epochs.is_empty() {
        let epochs = Writer::default().array(&of.epochs, |writer, epoch| writer.i32(*epoch));
        tagged.push((ASSIGNMENT_EPOCHS, epochs.bytes()));
    }
    writer.topic_id(of.topic).array(&of.partitions, number).tagged(&tagged)
}

fn read_partitions(fields: &mut Fields<'_>) -> Result<Vec<TopicPartitions>> {
    let count = fields.count(18)?;
    (0..count).map(|_| read_topic(fields)).collect()
}

fn read_topic(fields: &mut Fields<'_>) -> Result<TopicPartitions> {
    let topic = fields.topic_id()?;
    let count = fields.count(4)?;
    let number = |partition: i32| u32::try_from(partition).map_err(|_| FormatError::BadCount);
    let partitions = (0..count).map(|_| fields.i32().and_then(number)).collect::<Result<Vec<u32>>>()?;
    let mut epochs = Vec::new();
    fields.tagged(|tag, field| {
        if tag == ASSIGNMENT_EPOCHS {
            let count = field.count(4)?;
            epochs = (0..count).map(|_| field.i32()).collect::<Result<Vec<i32>>>()?;
        }
        Ok(())
    })?;
    if !epochs.is_empty() && epochs.len() != partitions.len() {
        return Err(FormatError::BadCount);
    }
    Ok(TopicPartitions { topic, partitions, epochs })
}

fn version_0(bytes: &[u8]) -> Result<Fields<'_>> {
    let mut fields = Fields::of(bytes);
    match fields.i16()? {
        VERSION => Ok(fields),
        later if later > VERSION => {
            Err(FormatError::NewerVersion { found: later as u16, known: VERSION as u16 })
        }
        never => Err(FormatError::BadVersion(never.into())),
    }
}

/// Tagged fields that are times: those that are given.
fn times(fields: &[(u32, i64)]) -> Vec<(u32, Vec<u8>)> {
    let given = fields.iter().filter(|(_, time)| *time >= 0);
    given.map(|(tag, time)| (*tag, time.to_be_bytes().to_vec())).collect()
}
