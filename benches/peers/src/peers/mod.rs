//! Everything that is measured, one file each.

mod commitlog;
mod khata;
mod millpond;
mod raw_file;
mod raw_frame;
mod raw_map;
mod yaque;

use std::path::{Path, PathBuf};

use crate::Result;
use crate::peer::Peer;

/// All of them, in the order of the tables: ours, the durable ones, the ring, the channels, the bounds.
pub fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(millpond::Millpond),
        Box::new(khata::Khata),
        Box::new(commitlog::Commitlog),
        Box::new(yaque::Yaque),
        Box::new(raw_map::RawMap),
        Box::new(raw_file::RawFile),
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
