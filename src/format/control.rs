//! Control records: what the log says about itself. Applications never see them, but they take offsets.
//!
//! ```text
//!   key    version i16 = 0 | type i16      0 abort, 1 commit, 2 leader change, 3 snapshot header,
//!                                          4 snapshot footer, 5 kraft version, 6 kraft voters
//!   value  of abort and commit: version i16 = 0 | coordinator epoch i32
//! ```
//!
//! Invariants: an unknown type is no error (it is skipped); later versions only add fields, so bytes
//! behind the known ones are ignored; a marker's batch is transactional and control, holds one record,
//! and has no sequence.

use super::FormatError;
use super::batch::{Attributes, BatchBuilder, BatchSpec};
use super::bytes::array_at;

const KEY_VERSION: i16 = 0;
const MARKER_VERSION: i16 = 0;

/// What a control record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlType {
    /// The producer's open transaction in this partition is void.
    Abort,
    /// The producer's open transaction in this partition holds.
    Commit,
    /// A metadata quorum elected a leader.
    LeaderChange,
    /// A metadata snapshot begins.
    SnapshotHeader,
    /// A metadata snapshot ends.
    SnapshotFooter,
    /// The version of the metadata quorum's protocol.
    KraftVersion,
    /// The voters of the metadata quorum.
    KraftVoters,
    /// None that we know; skipped.
    Unknown(i16),
}

impl ControlType {
    /// The number on disk.
    pub(crate) fn id(self) -> i16 {
        match self {
            ControlType::Abort => 0,
            ControlType::Commit => 1,
            ControlType::LeaderChange => 2,
            ControlType::SnapshotHeader => 3,
            ControlType::SnapshotFooter => 4,
            ControlType::KraftVersion => 5,
            ControlType::KraftVoters => 6,
            ControlType::Unknown(id) => id,
        }
    }

    /// The type with this number.
    pub(crate) fn from_id(id: i16) -> ControlType {
        match id {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            2 => ControlType::LeaderChange,
            3 => ControlType::SnapshotHeader,
            4 => ControlType::SnapshotFooter,
            5 => ControlType::KraftVersion,
            6 => ControlType::KraftVoters,
            other => ControlType::Unknown(other),
        }
    }

    /// The type that a control record's key names.
    pub(crate) fn parse_key(key: &[u8]) -> Result<ControlType, FormatError> {
        let version = i16::from_be_bytes(array_at(key, 0).ok_or_else(|| short("control key", key))?);
        if version < KEY_VERSION {
            return Err(FormatError::BadVersion(i64::from(version)));
        }
        let id = i16::from_be_bytes(array_at(key, 2).ok_or_else(|| short("control key", key))?);
        Ok(ControlType::from_id(id))
    }

    /// The key of a control record of this type.
    pub(crate) fn key(self) -> [u8; 4] {
        let ([a, b], [c, d]) = (KEY_VERSION.to_be_bytes(), self.id().to_be_bytes());
        [a, b, c, d]
    }
}

/// How a transaction ended in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxnOutcome {
    /// Its records are void.
    Abort,
    /// Its records hold.
    Commit,
}

/// The end of a producer's transaction, and where the marker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndTxnMarker {
    pub(crate) outcome: TxnOutcome,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    /// Fences markers of an older coordinator.
    pub(crate) coordinator_epoch: i32,
    /// Milliseconds.
    pub(crate) timestamp: i64,
}

impl EndTxnMarker {
    /// The batch of this marker: 78 bytes, one offset.
    pub(crate) fn to_batch(self, base_offset: i64, leader_epoch: i32) -> Result<Vec<u8>, FormatError> {
        let control = match self.outcome {
            TxnOutcome::Abort => ControlType::Abort,
            TxnOutcome::Commit => ControlType::Commit,
        };
        let mut builder = BatchBuilder::new(BatchSpec {
            attributes: Attributes::NONE.with_transactional().with_control(),
            leader_epoch,
            producer_id: self.producer_id,
            producer_epoch: self.producer_epoch,
            base_sequence: -1,
        });
        builder.append(
            self.timestamp,
            Some(&control.key()),
            Some(&marker_value(self.coordinator_epoch)),
            &[],
        );
        builder.finish(base_offset, None)
    }
}

/// The value of an abort or commit record.
pub(crate) fn marker_value(coordinator_epoch: i32) -> [u8; 6] {
    let ([a, b], [c, d, e, f]) = (MARKER_VERSION.to_be_bytes(), coordinator_epoch.to_be_bytes());
    [a, b, c, d, e, f]
}

/// The coordinator epoch in the value of an abort or commit record.
pub(crate) fn parse_marker_value(value: &[u8]) -> Result<i32, FormatError> {
    let version = i16::from_be_bytes(array_at(value, 0).ok_or_else(|| short("marker", value))?);
    if version < MARKER_VERSION {
        return Err(FormatError::BadVersion(i64::from(version)));
    }
    Ok(i32::from_be_bytes(array_at(value, 2).ok_or_else(|| short("marker", value))?))
}

fn short(what: &'static str, bytes: &[u8]) -> FormatError {
    FormatError::BadLength { what, length: bytes.len() as i64 }
}
