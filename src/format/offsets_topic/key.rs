//! Keys of the offsets topic: what a record is about.

use super::fields::{Fields, Writer};
use crate::format::FormatError;

/// What a record of the offsets topic is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum OffsetsKey {
    /// Types 0 and 1: the committed offset of a group in a partition.
    Offset { group: String, topic: String, partition: u32 },
    /// Type 3: a group and its epoch.
    Group { group: String },
    /// Type 5: a member and what it asks for.
    Member { group: String, member: String },
    /// Type 6: the epoch of a group's target assignment.
    Target { group: String },
    /// Type 7: a member's part of the target assignment.
    MemberTarget { group: String, member: String },
    /// Type 8: what a member has.
    Current { group: String, member: String },
    /// Another type, of Kafka's or of a later millpond: left alone.
    Other(i16),
}

const OFFSET: i16 = 1;
const GROUP: i16 = 3;
const MEMBER: i16 = 5;
const TARGET: i16 = 6;
const MEMBER_TARGET: i16 = 7;
const CURRENT: i16 = 8;

impl OffsetsKey {
    /// The bytes; those of [`OffsetsKey::Other`] are not kept, so that it has none but its type.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let writer = match self {
            OffsetsKey::Offset { group, topic, partition } => {
                let partition = i32::try_from(*partition).unwrap_or(i32::MAX);
                Writer::new(OFFSET).string(group).string(topic).i32(partition)
            }
            OffsetsKey::Group { group } => Writer::new(GROUP).string(group),
            OffsetsKey::Member { group, member } => Writer::new(MEMBER).string(group).string(member),
            OffsetsKey::Target { group } => Writer::new(TARGET).string(group),
            OffsetsKey::MemberTarget { group, member } => {
                Writer::new(MEMBER_TARGET).string(group).string(member)
            }
            OffsetsKey::Current { group, member } => Writer::new(CURRENT).string(group).string(member),
            OffsetsKey::Other(kind) => Writer::new(*kind),
        };
        writer.bytes()
    }

    /// The key in these bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<OffsetsKey, FormatError> {
        let mut fields = Fields::of(bytes);
        let kind = fields.i16()?;
        let mut string = || fields.string().map(str::to_owned);
        let key = match kind {
            0 | OFFSET => {
                let (group, topic) = (string()?, string()?);
                let partition = fields.i32()?;
                let partition = u32::try_from(partition).map_err(|_| FormatError::BadCount)?;
                OffsetsKey::Offset { group, topic, partition }
            }
            GROUP => OffsetsKey::Group { group: string()? },
            MEMBER => OffsetsKey::Member { group: string()?, member: string()? },
            TARGET => OffsetsKey::Target { group: string()? },
            MEMBER_TARGET => OffsetsKey::MemberTarget { group: string()?, member: string()? },
            CURRENT => OffsetsKey::Current { group: string()?, member: string()? },
            other => return Ok(OffsetsKey::Other(other)),
        };
        fields.end()?;
        Ok(key)
    }
}
