//! Recovery points of all partitions, and the clean-shutdown mark that holds the last ones.
//!
//! ```text
//!   millpond.points: sealed file, kind 4:                           points
//!   millpond.clean:  sealed file, kind 5:  broker id | openings u64 | points
//!     points:  count u32 | (topic id, 16 bytes | partition u32 | recovery point) ...
//! ```
//!
//! Invariants
//! - A damaged file of points is no error: recovery then starts at the log's start.
//! - A mark counts only for the opening that wrote it: a later one has raised the count of openings.
//! - Points are collected and written under one lock, and so is a truncation: no point collected before
//!   it is written after it.

use std::collections::BTreeMap;
use std::path::Path;

use super::manifest::BrokerManifest;
use super::points_file::take_moved;
use super::small_file::{self, CLEAN, KIND_CLEAN, KIND_POINTS, POINTS};
use crate::env::{FileSystem, Previous, replace_file};
use crate::error::{Error, ErrorKind, Result};
use crate::format::FormatError;
use crate::format::sealed_file::{self, Reader, Writer};
use crate::partition::RecoveryPoint;
use crate::types::TopicId;

const VERSION: u16 = 1;

/// Which partition, whatever its topic is called.
pub(crate) type PartitionKey = (TopicId, u32);

/// Recovery points by partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Points {
    points: BTreeMap<PartitionKey, RecoveryPoint>,
}

impl Points {
    /// The point of one partition.
    pub(crate) fn get(&self, key: PartitionKey) -> Option<&RecoveryPoint> {
        self.points.get(&key)
    }

    /// Sets the point of one partition.
    pub(crate) fn set(&mut self, key: PartitionKey, point: RecoveryPoint) {
        self.points.insert(key, point);
    }

    /// Forgets the point of one partition; answers whether there was one.
    pub(crate) fn forget(&mut self, key: PartitionKey) -> bool {
        self.points.remove(&key).is_some()
    }

    /// Forgets those of a topic; answers whether there were any.
    pub(crate) fn forget_topic(&mut self, topic: TopicId) -> bool {
        let before = self.points.len();
        self.points.retain(|(id, _), _| *id != topic);
        self.points.len() != before
    }

    /// Reads the file; none where it is missing or damaged.
    pub(crate) fn load(files: &dyn FileSystem, dir: &Path) -> Result<Points> {
        match Points::check(files, dir) {
            Err(e) if e.kind() == ErrorKind::Corrupted => Ok(Points::default()),
            points => points,
        }
    }

    /// Reads the file; none where it is missing.
    ///
    /// # Errors
    /// `Corrupted` if it is damaged.
    pub(crate) fn check(files: &dyn FileSystem, dir: &Path) -> Result<Points> {
        let path = dir.join(POINTS);
        let Some(bytes) = small_file::read(files, &path)? else { return Ok(Points::default()) };
        let read = || {
            let (_, payload) = sealed_file::open(KIND_POINTS, VERSION, &bytes)?;
            let mut reader = Reader::new(payload);
            let points = Points::decode(&mut reader)?;
            reader.finish().map(|()| points)
        };
        let mut points = read().map_err(|e| small_file::unreadable(&path, e))?;
        take_moved(&mut points, &bytes, files, dir)?;
        Ok(points)
    }

    /// How many partitions have one.
    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    /// The file's content.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.encode(&mut writer);
        writer.seal(KIND_POINTS, VERSION)
    }

    /// Writes the file durably: what has moved since it was written before counts no more.
    pub(crate) fn store(&self, files: &dyn FileSystem, dir: &Path) -> Result<()> {
        let path = dir.join(POINTS);
        replace_file(files, &path, &self.to_bytes(), Previous::Drop)
            .map_err(|e| Error::io("write the recovery points", &path, e))
    }

    fn encode(&self, writer: &mut Writer) {
        writer.put_count(self.points.len());
        for ((topic, partition), point) in &self.points {
            writer.put_array(*topic.as_bytes()).put_u32(*partition);
            point.encode(writer);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> std::result::Result<Points, FormatError> {
        let mut points = Points::default();
        for _ in 0..reader.get_count(20)? {
            let topic = TopicId::from_bytes(reader.get_array()?);
            let partition = reader.get_u32()?;
            points.set((topic, partition), RecoveryPoint::decode(reader)?);
        }
        Ok(points)
    }
}

/// Writes the clean-shutdown mark durably; everything it names must be on the device.
pub(crate) fn store_clean_mark(
    files: &dyn FileSystem,
    dir: &Path,
    broker: &BrokerManifest,
    points: &Points,
) -> Result<()> {
    let mut writer = Writer::new();
    writer.put_array(broker.id).put_u64(broker.openings);
    points.encode(&mut writer);
    let path = dir.join(CLEAN);
    replace_file(files, &path, &writer.seal(KIND_CLEAN, VERSION), Previous::Drop)
        .map_err(|e| Error::io("write the clean-shutdown mark", &path, e))
}

/// The points of the clean-shutdown mark, if the last opening of this broker left one.
pub(crate) fn load_clean_mark(
    files: &dyn FileSystem,
    dir: &Path,
    broker: &BrokerManifest,
) -> Result<Option<Points>> {
    let Some(bytes) = small_file::read(files, &dir.join(CLEAN))? else { return Ok(None) };
    let read = || {
        let (_, payload) = sealed_file::open(KIND_CLEAN, VERSION, &bytes)?;
        let mut reader = Reader::new(payload);
        let of = (reader.get_array::<16>()?, reader.get_u64()?);
        Ok((of, Points::decode(&mut reader)?))
    };
    // A damaged mark says nothing; then the directory is recovered as after a crash.
    let read: std::result::Result<_, FormatError> = read();
    Ok(read.ok().filter(|(of, _)| *of == (broker.id, broker.openings)).map(|(_, points)| points))
}

/// Removes the clean-shutdown mark durably.
pub(crate) fn remove_clean_mark(files: &dyn FileSystem, dir: &Path) -> Result<()> {
    let path = dir.join(CLEAN);
    match files.remove_file(&path) {
        Ok(()) => files.sync_dir(dir).map_err(|e| Error::io("sync the data directory", dir, e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io("remove the clean-shutdown mark", &path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::SimEnvironment;
    use crate::segment::IndexLengths;

    fn point(offset: u64) -> RecoveryPoint {
        RecoveryPoint {
            offset,
            segment: 0,
            position: 10 * offset,
            indexes: IndexLengths::default(),
            generation: 0,
        }
    }

    #[test]
    fn points_and_marks_read_back() {
        let sim = SimEnvironment::new(4);
        let environment = sim.environment();
        let (files, dir) = (&**environment.files(), Path::new("/data"));
        files.create_dir(dir).unwrap();
        let (a, b) = (TopicId::from_bytes([1; 16]), TopicId::from_bytes([2; 16]));
        let mut points = Points::default();
        points.set((a, 0), point(5));
        points.set((a, 1), point(6));
        points.set((b, 0), point(7));
        points.store(files, dir).unwrap();
        assert_eq!(Points::load(files, dir).unwrap(), points);
        assert!(points.forget_topic(a) && !points.forget_topic(a));
        assert!(points.forget((b, 0)) && points.get((b, 0)).is_none());

        let mut broker = BrokerManifest::new(&**environment.random());
        assert_eq!(load_clean_mark(files, dir, &broker).unwrap(), None);
        points.set((b, 3), point(8));
        store_clean_mark(files, dir, &broker, &points).unwrap();
        assert_eq!(load_clean_mark(files, dir, &broker).unwrap(), Some(points.clone()));
        broker.openings += 1;
        assert_eq!(load_clean_mark(files, dir, &broker).unwrap(), None);
        remove_clean_mark(files, dir).unwrap();
        remove_clean_mark(files, dir).unwrap();
        assert!(!files.exists(&dir.join(CLEAN)).unwrap());

        sim.disk().flip_bit(&dir.join(POINTS), 30, 2).unwrap();
        assert!(Points::check(files, dir).is_err());
        assert_eq!(Points::load(files, dir).unwrap(), Points::default());
    }
}
