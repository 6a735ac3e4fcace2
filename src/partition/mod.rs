//! One partition: its segments as one log, with its watermarks, its durability and its recovery.
//!
//! Invariants
//! - `log_start <= last_stable <= high_watermark <= log_end` and `flushed <= log_end` (`watermarks.rs`).
//! - Lock order: write lock, then append lock, then the segment list. No lock is held across a flush.
//! - Nothing here knows of codecs, groups or who leads.
//!
//! ```text
//!             append lock                         write lock
//!   send --> [ open batch | queue of sealed ] --> [ tail of the active segment ] --> flush
//!            in place: the open batch *is* the tail, and the write lock only rolls
//! ```

mod append;
mod append_lock;
mod appender;
mod attendant;
mod batch_in;
mod bounded;
mod budget;
mod checkpoint;
mod chunk;
mod counts;
mod cursor;
mod ending;
mod extent;
mod flush;
mod gathered;
mod idle;
mod large;
mod leadership;
mod log;
mod lookup;
mod manifest;
mod newest_times;
mod open;
mod place;
mod poison;
mod produced;
mod producers;
mod recalled;
mod recover;
mod roll;
mod settings;
mod staging;
mod swap;
mod truncate;
mod waiting;
mod watermarks;

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
#[cfg(all(test, loom))]
mod tests_loom;

pub(crate) use appender::Appended;
pub(crate) use attendant::Attendant;
#[cfg(any(test, all(fuzzing, feature = "testing")))]
pub(crate) use attendant::Unattended;
pub(crate) use batch_in::{FinishedBatch, codec_of};
pub(crate) use budget::Budget;
pub(crate) use checkpoint::RecoveryPoint;
pub(crate) use chunk::{Chunk, ChunkMark, ChunkRecord, ChunkRecords};
pub(crate) use counts::{Passed, ReadCount, Took};
pub(crate) use cursor::{Cursor, ReadLimits};
pub(crate) use extent::{ClosedSegment, ClosedSegments};
pub(crate) use idle::Idle;
pub(crate) use log::Log;
pub(crate) use manifest::PartitionManifest;
pub(crate) use open::{Found, OpenLog, Opening};
pub(crate) use produced::Produced;
pub(crate) use producers::{KnownProducer, sequence_after};
#[cfg(test)]
pub(crate) use producers::{Marker, ProducerTable};
pub use recover::PartitionRecovery;
#[cfg(test)]
pub(crate) use settings::Cleanup;
pub(crate) use settings::LogSettings;
pub(crate) use swap::{CleanableSegment, CleaningGuard, SwapRange, settle_names};
pub(crate) use waiting::Patience;
