//! Everything that is measured, one file each.

mod channel;
mod commitlog;
mod disruptor;
mod fjall;
mod handover;
mod kafko;
mod khata;
mod logdb;
mod millpond;
mod mrecordlog;
mod okaywal;
mod raft_engine;
mod raw_file;
mod raw_frame;
mod raw_map;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod walrus;
mod writeahead;
mod yaque;

use std::path::{Path, PathBuf};

use crate::Result;
use crate::peer::Peer;

/// All of them, in the order of the tables: ours, the durable ones, the ring, the channels, the bounds.
pub fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(millpond::Millpond),
        Box::new(millpond::Topics),
        Box::new(khata::Khata),
        Box::new(commitlog::Commitlog),
        Box::new(yaque::Yaque),
        Box::new(mrecordlog::Mrecordlog),
        Box::new(raft_engine::RaftEngine),
        Box::new(okaywal::Okaywal),
        Box::new(writeahead::Writeahead),
        Box::new(walrus::Walrus),
        Box::new(kafko::Kafko),
        Box::new(fjall::Fjall),
        Box::new(redb::Redb),
        #[cfg(feature = "rocksdb")]
        Box::new(rocksdb::Rocksdb),
        Box::new(logdb::Logdb),
        Box::new(channel::Crossbeam),
        Box::new(channel::Broadcast),
        Box::new(disruptor::Disruptor),
        Box::new(raw_map::RawMap),
        Box::new(raw_file::RawFile),
        Box::new(handover::Handover),
    ]
}

/// The folder of one of several logs.
fn folder(dir: &Path, log: u32) -> Result<PathBuf> {
    let folder = dir.join(format!("log-{log}"));
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// The number of a record as a key that sorts by it.
fn key(log: u32, record: &[u8]) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&log.to_be_bytes());
    key[4..].copy_from_slice(&record[..8]);
    key
}
