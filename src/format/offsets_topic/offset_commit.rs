//! A committed offset: the next one to read, and where it was said.
//!
//! ```text
//!   v0    offset i64 | metadata | commit timestamp i64                 v1 has an expiry behind it
//!   v3    offset i64 | leader epoch i32 | metadata | commit timestamp i64
//!   v4    the same, flexible; tag 0: topic id (16 bytes)               what is written here
//! ```
//!
//! Invariants: the offset is not negative; a topic id of zeros is none.

use super::fields::{Fields, Writer};
use crate::format::FormatError;
use crate::types::TopicId;

/// The value of a committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetCommit {
    /// The next offset to read.
    pub(crate) offset: i64,
    /// Of the last record read; -1 unknown.
    pub(crate) leader_epoch: i32,
    /// What the committer adds.
    pub(crate) metadata: String,
    /// When it was committed, milliseconds.
    pub(crate) commit_timestamp: i64,
    /// Of which topic of this name; not known of versions before 4.
    pub(crate) topic_id: Option<TopicId>,
}

const VERSION: i16 = 4;
const TOPIC_ID: u32 = 0;
const NO_ID: TopicId = TopicId::from_bytes([0; 16]);

impl OffsetCommit {
    /// The bytes, version 4.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let id = self.topic_id.filter(|id| *id != NO_ID);
        let tagged: Vec<_> = id.iter().map(|id| (TOPIC_ID, id.as_bytes().to_vec())).collect();
        let writer = Writer::new(VERSION).i64(self.offset).i32(self.leader_epoch);
        writer.compact_string(&self.metadata).i64(self.commit_timestamp).tagged(&tagged).bytes()
    }

    /// The value in these bytes, of any version that Kafka wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<OffsetCommit, FormatError> {
        let mut fields = Fields::of(bytes);
        let version = fields.i16()?;
        match version {
            0..=VERSION => {}
            later if later > VERSION => {
                return Err(FormatError::NewerVersion { found: later as u16, known: VERSION as u16 });
            }
            never => return Err(FormatError::BadVersion(never.into())),
        }
        let offset = fields.i64()?;
        if offset < 0 {
            return Err(FormatError::BadOffset(offset));
        }
        let leader_epoch = if version >= 3 { fields.i32()? } else { -1 };
        let metadata = if version >= 4 { fields.compact_string()? } else { fields.string()? };
        let commit_timestamp = fields.i64()?;
        if version == 1 {
            fields.i64()?;
        }
        let mut topic_id = None;
        if version >= 4 {
            fields.tagged(|tag, field| {
                if tag == TOPIC_ID {
                    topic_id = Some(field.topic_id()?).filter(|id| *id != NO_ID);
                }
                Ok(())
            })?;
        }
        fields.end()?;
        Ok(OffsetCommit { offset, leader_epoch, metadata: metadata.to_owned(), commit_timestamp, topic_id })
    }
}
