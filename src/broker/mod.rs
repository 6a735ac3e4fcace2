//! The broker: where a program begins. Opens a data directory, keeps its topics, hands out their handles,
//! and does the upkeep.
//!
//! Invariants
//! - Threads that outlive a call are started here and nowhere else (`background.rs`), and not at all with
//!   `Background::Manual`.
//! - What an unclean end left is settled while the broker opens, and reported.
//!
//! ```text
//!   Broker --create_topic, topic--> Topic --partition--> Partition --read--> Reader
//!     |                               +----producer----> Producer
//!     +-- Shared: lock, manifests, points, cells, service, threads
//! ```

mod admin;
mod attended;
mod background;
#[expect(clippy::module_inception, reason = "one noun per file, and this one is the module's")]
mod broker;
mod builder;
mod cells;
mod close;
mod compaction;
mod delete;
mod description;
mod exchange;
mod expiry;
#[cfg(feature = "metrics")]
mod facade;
mod flushers;
mod folders;
mod group_builder;
mod groups;
mod idle;
mod lag;
mod log_file;
mod manifest;
mod memory;
mod metrics;
mod observed;
mod observed_group;
mod observed_transactions;
mod observer;
mod open;
mod open_partition;
mod partition;
mod points;
mod points_file;
mod produced;
mod producer_builder;
mod producer_ids;
mod progress;
mod queue;
mod rates;
mod reader_builder;
mod recovery_report;
mod repair;
mod repair_report;
mod retention;
mod service;
mod small_file;
mod subscribe;
mod timers;
mod topic;
mod topic_ref;
mod topic_state;
mod transactional;
mod transactions;
mod unfinished;
mod verify;
mod verify_index;
mod verify_report;
mod walk;
mod watch;

pub use crate::cleaner::{CompactionReport, RetentionReport};
pub use crate::partition::PartitionRecovery;
pub use broker::Broker;
pub use builder::BrokerBuilder;
pub use compaction::{CompactionBuilder, CompactionProgress};
pub use description::{PartitionDescription, TopicDescription};
pub use group_builder::Group;
pub use lag::PartitionLag;
pub use log_file::{LogFile, LoggedBatch, LoggedRecord};
pub use metrics::{GroupMetrics, LagMetrics, Metrics, PartitionMetrics, Timing, TopicMetrics, Traffic};
pub use observed::ObservedRecords;
pub use observed_group::{ObservedGroup, ObservedMember};
pub use observer::Observer;
pub use partition::Partition;
pub use produced::{AbortedTransaction, ProducerDescription};
pub use producer_builder::ProducerBuilder;
pub use progress::Progress;
pub use rates::PartitionRates;
pub use reader_builder::{ReaderBuilder, TopicReaderBuilder};
pub use recovery_report::RecoveryReport;
pub use repair::{repair, repair_in};
pub use repair_report::{RepairAction, RepairReport};
pub use subscribe::Subscribe;
pub use topic::Topic;
pub use topic_ref::TopicRef;
pub use transactional::{Transaction, TransactionalBuilder, TransactionalProducer};
pub use verify_report::{Finding, Verdict, VerifiedPartition, VerifyReport};
pub use watch::{Sight, Watch};
