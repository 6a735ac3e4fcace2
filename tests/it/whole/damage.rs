//! One bit of one file flips, in a copy of the directory.
//!
//! ```text
//!   verify: not corrupt -> opens, and reads as before
//!           corrupt     -> reads as before up to an error; repaired, it opens, and holds a beginning of each partition (perhaps with
//!                          records before it that had been deleted)
//! ```

use std::collections::BTreeMap;

use millpond::broker::{Verdict, repair_in};
use millpond::prelude::*;
use millpond::testing::{SimDisk, SimEnvironment};
use millpond::{ErrorKind, Observer};

use super::log::{Seen, read};
use super::world::{World, open};

/// Offset and record of each partition, for both kinds of readers.
type Contents = BTreeMap<(String, u32, bool), Vec<(u64, usize)>>;

impl World {
    /// Flips a bit in a copy of what an orderly end has left, now and then.
    pub(super) fn damage_a_copy(&mut self, left: &SimDisk) {
        if !self.one_in(3) {
            return;
        }
        let copy = || SimEnvironment::on(left.after_kill(), 1);
        let files: Vec<_> = left
            .files()
            .into_iter()
            .filter(|path| !path.ends_with("millpond.lock") && !path.ends_with("millpond.cells"))
            .map(|path| (left.read_file(&path).unwrap().len() as u64, path))
            .filter(|(len, _)| *len > 0)
            .collect();
        let whole = copy();
        let truth = contents(&open(&whole, self.seed, false).unwrap()).unwrap();
        for _ in 0..2 {
            let (len, path) = &files[self.below(files.len() as u64) as usize];
            let (byte, bit) = (self.below(*len), self.below(8) as u8);
            let is_log = path.extension().is_some_and(|extension| extension == "log");
            if is_log && self.has_gaps() && is_of_base_offset(&left.read_file(path).unwrap(), byte) {
                continue; // under no checksum: one that fits a gap is an offset like any other
            }
            self.say(format!("    in a copy bit {bit} of byte {byte} of {} flips", path.display()));
            let flipped = copy();
            flipped.disk().flip_bit(path, byte, bit).unwrap();
            self.check_flipped(&flipped, &truth);
        }
    }

    /// Logs may be compacted.
    fn has_gaps(&self) -> bool {
        self.topics.values().any(|topic| topic.compacts.is_some())
    }

    fn check_flipped(&self, flipped: &SimEnvironment, truth: &Contents) {
        let report = Observer::open_in(flipped.environment(), "/data").unwrap().verify(|_| {}).unwrap();
        let read = {
            let sim = SimEnvironment::on(flipped.disk().snapshot(), 1);
            open(&sim, self.seed, false).and_then(|broker| contents(&broker))
        };
        match (report.verdict(), read) {
            (_, Ok(read)) => assert_eq!(&read, truth, "{:?}", report.findings()),
            (Verdict::Corrupt, Err(error)) => {
                let known = matches!(error.kind(), ErrorKind::Corrupted | ErrorKind::UnsupportedFormat);
                assert!(known, "{error}: {:?}", report.findings());
            }
            (verdict, Err(error)) => panic!("{verdict:?}, but {error}"),
        }
        repair_in(flipped.environment(), "/data").unwrap();
        let broker = open(flipped, self.seed, false).unwrap();
        let left = contents(&broker).unwrap();
        for ((name, n, committed), records) in truth {
            let left = left.get(&(name.clone(), *n, *committed)).map_or(&[][..], Vec::as_slice);
            // The log start may be that of the manifest's previous generation.
            let Some(&(first, _)) = records.first() else { continue };
            let left = &left[left.partition_point(|&(offset, _)| offset < first)..];
            // Where a marker is cut off, what was committed is not any more, but nothing else comes.
            let part = match committed {
                true => left.iter().all(|record| records.contains(record)),
                false => records.starts_with(left),
            };
            assert!(part, "{name}-{n}, repaired: {left:?} of {records:?}");
        }
        broker.close().wait().unwrap();
        drop(broker);
        let again = Observer::open_in(flipped.environment(), "/data").unwrap().verify(|_| {}).unwrap();
        assert!(again.findings().is_empty(), "repaired and closed: {:?}", again.findings());
    }
}

/// Whether a byte of a log file belongs to the base offset of a batch.
fn is_of_base_offset(log: &[u8], byte: u64) -> bool {
    let mut at = 0;
    while let Some(len) = log.get(at + 8..at + 12) {
        if (at..at + 8).contains(&(byte as usize)) {
            return true;
        }
        at += 12 + u32::from_be_bytes(len.try_into().unwrap()) as usize;
    }
    false
}

/// All that can be read.
fn contents(broker: &Broker) -> millpond::Result<Contents> {
    let mut all = Contents::new();
    for name in broker.topics() {
        let topic = broker.topic(name.as_str())?;
        for partition in topic.partitions()? {
            for isolation in [Isolation::ReadCommitted, Isolation::ReadUncommitted] {
                let seen = read(&partition, partition.log_start_offset().get(), isolation)?;
                let seen = seen.iter().map(|seen: &Seen| (seen.offset, seen.id)).collect();
                let committed = isolation == Isolation::ReadCommitted;
                all.insert((name.to_string(), partition.number(), committed), seen);
            }
        }
    }
    Ok(all)
}
