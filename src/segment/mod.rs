//! One segment of a partition: its log file, its indexes, and the memory it is read through.
//!
//! Invariants
//! - A segment's name is the first offset it may hold; it ends where the next one begins.
//! - Bytes are read through the map (or by calls, in `ReadMode::Buffered`), only below the published end.
//! - The log file is the truth; the indexes are caches, rebuilt when in doubt.
//!
//! ```text
//!   00000000000000000000.log        batches, one behind the other
//!   00000000000000000000.index      offset    -> position     8 bytes an entry, one each 4 KiB
//!   00000000000000000000.timeindex  timestamp -> offset      12 bytes an entry
//!   00000000000000000000.appended   first and last append time
//! ```

mod append_times;
mod cells;
mod cleaned;
mod files;
mod index;
mod landmarks;
mod large_record;
mod name;
mod on_device;
mod open_batch;
mod open_segment;
mod open_segments;
mod prepare;
mod room;
mod scan;
mod seek;
#[expect(clippy::module_inception, reason = "the noun of the folder has a file of its own")]
mod segment;
mod side_files;
mod stored_index;
mod tail;
mod verified;

#[cfg(all(test, loom))]
mod tests_loom;

pub(crate) use cells::{Cell, FoundCell, TailCells};
pub(crate) use cleaned::{CleanedSegment, WholeSegment};
pub(crate) use files::SegmentFiles;
pub(crate) use index::{IndexLengths, LiveIndex};
pub(crate) use large_record::LargeRecord;
pub(crate) use name::{FileKind, SegmentFileName};
pub(crate) use open_batch::OpenBatch;
pub(crate) use open_segment::OpenSegment;
pub(crate) use open_segments::OpenSegments;
pub(crate) use prepare::{Reach, Way};
pub(crate) use scan::{BatchCheck, Scan, ScannedBatch, Stop};
pub(crate) use segment::{ActiveSettings, BatchAt, Segment};
pub(crate) use tail::{NewRecord, OpenLimits, RestingTail, Tail, TailRoom};

#[cfg(any(test, all(fuzzing, feature = "testing")))]
pub(crate) use self::{append_times::AppendTimes, cells::CellIdentity};
