//! Readers without a group, of one partition or of a whole topic, at their own pace; and consumers, the
//! members of groups that share topics.
//!
//! Invariants
//! - A reader's position moves only when it hands records out.
//! - Records are bounded chunks that pin what they lend; views borrow from them, and nothing is copied.
//! - Reading takes no lock that a writer holds; a reader that waits is woken by the publication itself.
//!
//! ```text
//!   Log --Cursor--> Chunk --codecs--> Records -- for record in &records --> RecordView --> OwnedRecord
//!   next(): what there is, None at the end       poll(): waits for more       Stream: poll, again and again
//! ```
//!
#![doc = include_str!("../../docs/event-bus.md")]

mod codecs;
mod group;
mod owned;
mod poll;
mod reader;
mod record_view;
mod records;
mod start;
#[cfg(feature = "stream")]
mod stream;
mod topic_reader;
mod undecodable;

#[cfg(test)]
mod tests;

pub(crate) use codecs::Codecs;
pub use group::{Commit, Consumer, Handover, Interrupter, Polls, RebalanceListener};
pub(crate) use group::{Directory, FoundPartition, GroupService, LagSource, Membership};
pub use owned::OwnedRecord;
pub use poll::PollRecords;
pub(crate) use poll::PollSource;
pub use reader::Reader;
pub use record_view::RecordView;
pub use records::{Records, RecordsIter};
pub(crate) use start::resolve;
pub use topic_reader::TopicReader;
pub use undecodable::Undecodable;
pub(crate) use undecodable::{BadRecords, Policy};
