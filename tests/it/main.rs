//! The suite through the public API, one module per promise, and the shape of the repository.

#[cfg(test)]
mod assertions;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod commit_crashes;
#[cfg(test)]
mod compacted_transactions;
#[cfg(test)]
mod compaction;
#[cfg(test)]
mod concurrent;
#[cfg(test)]
mod deleted;
#[cfg(all(test, target_os = "linux"))]
mod device_bytes;
#[cfg(test)]
mod environment;
#[cfg(test)]
mod executors;
#[cfg(test)]
mod expiry;
#[cfg(test)]
mod failed_sync;
#[cfg(test)]
mod for_kafka;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod half_changed;
#[cfg(test)]
mod hosted;
#[cfg(test)]
mod idempotence;
#[cfg(test)]
mod members;
#[cfg(test)]
mod misuse;
#[cfg(test)]
mod model;
#[cfg(test)]
mod names;
#[cfg(test)]
mod observing;
#[cfg(test)]
mod opening;
#[cfg(test)]
mod producer_snapshots;
#[cfg(test)]
mod promises;
#[cfg(test)]
mod retention;
mod scale;
#[cfg(test)]
mod shape;
#[cfg(test)]
mod storm;
#[cfg(test)]
mod storm_found;
#[cfg(test)]
mod table;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod top;
#[cfg(test)]
mod topics;
#[cfg(test)]
mod transaction_ends;
#[cfg(test)]
mod transaction_offsets;
#[cfg(test)]
mod transactions;
#[cfg(test)]
mod undecodable;
#[cfg(test)]
mod unfinished;
#[cfg(test)]
mod volatile;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod welcome;
#[cfg(test)]
mod whole;
#[cfg(test)]
mod whole_found;
