//! Names of a segment's files: the base offset in 20 digits, then what the file holds.
//!
//! ```text
//!   00000000000000001234.log
//!   00000000000000001234.log.deleted     on its way out
//! ```

use std::path::{Path, PathBuf};

/// What a file of a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileKind {
    /// Batches.
    Log,
    /// Offset index.
    OffsetIndex,
    /// Time index.
    TimeIndex,
    /// Aborted transactions.
    TxnIndex,
    /// Producer state.
    Snapshot,
    /// First and last append time (our own).
    AppendTimes,
}

impl FileKind {
    /// Every kind.
    pub(crate) const ALL: [FileKind; 6] = [
        FileKind::Log,
        FileKind::OffsetIndex,
        FileKind::TimeIndex,
        FileKind::TxnIndex,
        FileKind::Snapshot,
        FileKind::AppendTimes,
    ];

    fn suffix(self) -> &'static str {
        match self {
            FileKind::Log => "log",
            FileKind::OffsetIndex => "index",
            FileKind::TimeIndex => "timeindex",
            FileKind::TxnIndex => "txnindex",
            FileKind::Snapshot => "snapshot",
            FileKind::AppendTimes => "appended",
        }
    }

    /// The path of the file of this kind of the segment with this base offset.
    pub(crate) fn path(self, dir: &Path, base: u64) -> PathBuf {
        dir.join(format!("{base:020}.{}", self.suffix()))
    }
}

/// A file name of a partition's folder, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentFileName {
    /// A file of the segment with this base offset.
    Live(u64, FileKind),
    /// The log of the segment with this base offset, while a recovery enters it anew.
    Entering(u64),
    /// A file that waits to be unlinked, or that an interrupted operation left behind.
    Leftover,
    /// A file of a compacted segment with this base offset: whole, and waiting for its place.
    Swap(u64, FileKind),
    /// Not a segment's.
    Other,
}

impl SegmentFileName {
    /// Understands a name.
    pub(crate) fn parse(name: &str) -> SegmentFileName {
        if name.ends_with(".deleted") || name.ends_with(".cleaned") || name.ends_with(".tmp") {
            return SegmentFileName::Leftover;
        }
        if let Some(log) = name.strip_suffix(".entering") {
            return match SegmentFileName::parse(log) {
                SegmentFileName::Live(base, FileKind::Log) => SegmentFileName::Entering(base),
                _ => SegmentFileName::Other,
            };
        }
        let (name, waits) = name.strip_suffix(".swap").map_or((name, false), |name| (name, true));
        let Some((digits, suffix)) = name.split_once('.') else { return SegmentFileName::Other };
        let kind = FileKind::ALL.into_iter().find(|kind| kind.suffix() == suffix);
        let numeric = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        match (kind, digits.parse::<u64>()) {
            (Some(kind), Ok(base)) if numeric && i64::try_from(base).is_ok() => match waits {
                true => SegmentFileName::Swap(base, kind),
                false => SegmentFileName::Live(base, kind),
            },
            _ => SegmentFileName::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood() {
        let check =
            |name: &str, expected: SegmentFileName| assert_eq!(SegmentFileName::parse(name), expected);
        check("00000000000000001234.log", SegmentFileName::Live(1234, FileKind::Log));
        check("00000000000000000000.timeindex", SegmentFileName::Live(0, FileKind::TimeIndex));
        check("00000000000000001234.log.deleted", SegmentFileName::Leftover);
        check("00000000000000001234.log.entering", SegmentFileName::Entering(1234));
        check("00000000000000001234.index.entering", SegmentFileName::Other);
        check("00000000000000001234.log.cleaned", SegmentFileName::Leftover);
        check("00000000000000001234.log.swap", SegmentFileName::Swap(1234, FileKind::Log));
        check("99999999999999999999.log", SegmentFileName::Other);
        check("1234.log", SegmentFileName::Other);
        check("leader-epoch-checkpoint", SegmentFileName::Other);
        check("+0000000000000001234.log", SegmentFileName::Other);
        let path = FileKind::OffsetIndex.path(Path::new("d"), 7);
        assert_eq!(path, Path::new("d/00000000000000000007.index"));
    }
}
