//! The file of recovery points, and behind it the points that have moved since it was written: with thousands
//! of partitions few move each second, and only those are written.
//!
//! ```text
//!   millpond.points:  all points, replaced as a whole                         (points.rs)
//!   millpond.moved:   [ base | key | point | crc ] [ base | key | point | crc ] ...   76 bytes each
//!                       base: checksum and length of the millpond.points that these points moved from
//! ```
//!
//! Invariants
//! - A moved point counts only behind the very file of points that it names: replacing that file takes all
//!   moved points back, so that a truncation lowers points with one durable write.
//! - What is behind the first damaged or foreign point counts for nothing: a lower point is always good.
//! - After a failed write or sync all points are written anew, to files of their own.

use std::path::Path;
use std::sync::Arc;

use super::points::{PartitionKey, Points};
use super::small_file::{self, MOVED};
use crate::env::{File, FileSystem, OpenMode, sync_data, sync_dir, write_all_at};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::checksum::crc32c;
use crate::format::sealed_file::{Reader, Writer};
use crate::partition::RecoveryPoint;
use crate::types::TopicId;

/// Bytes of one moved point.
const ENTRY: usize = 76;
/// So many points may have moved before all are written anew, should there be fewer.
const MIN_MOVED: usize = 1000;

/// Which file of points: its checksum and its length.
type Base = u64;

/// The points of an open broker, and their files.
#[derive(Debug)]
pub(crate) struct PointsFile {
    points: Points,
    moved: Option<Moved>,
}

/// Where the next moved point goes.
#[derive(Debug)]
struct Moved {
    file: Arc<dyn File>,
    base: Base,
    count: usize,
}

impl PointsFile {
    /// These points, as the last opening left them.
    pub(crate) fn new(points: Points) -> PointsFile {
        PointsFile { points, moved: None }
    }

    /// The points.
    pub(crate) fn points(&self) -> &Points {
        &self.points
    }

    /// The points, to be changed and then stored.
    pub(crate) fn points_mut(&mut self) -> &mut Points {
        &mut self.points
    }

    /// Writes all points durably.
    pub(crate) fn store(&mut self, files: &dyn FileSystem, dir: &Path) -> Result<()> {
        self.moved = None;
        self.points.store(files, dir)
    }

    /// Takes these points over and writes them durably, with all others if that is due.
    pub(crate) fn store_moved(
        &mut self,
        moved: &[(PartitionKey, RecoveryPoint)],
        files: &dyn FileSystem,
        dir: &Path,
    ) -> Result<()> {
        for &(key, point) in moved {
            self.points.set(key, point);
        }
        if moved.is_empty() {
            return Ok(());
        }
        // Out of its place: after a failure it does not come back.
        if let Some(mut place) = self.moved.take() {
            if place.count + moved.len() <= self.points.len().max(MIN_MOVED) {
                place.write(moved).map_err(|e| failed(dir, e))?;
                self.moved = Some(place);
                return Ok(());
            }
        }
        self.points.store(files, dir)?;
        self.moved = Some(Moved::begin(files, dir, base_of(&self.points.to_bytes()))?);
        Ok(())
    }
}

impl Moved {
    /// No point has moved since the file of points `base` was written.
    fn begin(files: &dyn FileSystem, dir: &Path, base: Base) -> Result<Moved> {
        let path = dir.join(MOVED);
        match files.remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(dir, e)),
            _ => {}
        }
        let file = files.open(&path, OpenMode::CreateNew).map_err(|e| failed(dir, e))?;
        sync_dir(files, dir).map_err(|e| failed(dir, e))?;
        Ok(Moved { file, base, count: 0 })
    }

    fn write(&mut self, moved: &[(PartitionKey, RecoveryPoint)]) -> std::io::Result<()> {
        let mut bytes = Vec::with_capacity(moved.len() * ENTRY);
        for (key, point) in moved {
            bytes.extend_from_slice(&encode(self.base, *key, point));
        }
        write_all_at(&*self.file, &bytes, (self.count * ENTRY) as u64)?;
        sync_data(&*self.file)?;
        self.count += moved.len();
        Ok(())
    }
}

/// Takes over what has moved since the file of points with this content was written.
pub(super) fn take_moved(
    points: &mut Points,
    content: &[u8],
    files: &dyn FileSystem,
    dir: &Path,
) -> Result<()> {
    let Some(bytes) = small_file::read(files, &dir.join(MOVED))? else { return Ok(()) };
    let base = base_of(content);
    for entry in bytes.chunks_exact(ENTRY) {
        let Ok((of, key, point)) = decode(entry) else { break };
        if of != base {
            break;
        }
        points.set(key, point);
    }
    Ok(())
}

fn base_of(content: &[u8]) -> Base {
    u64::from(crc32c(content)) << 32 | content.len() as u64
}

fn encode(base: Base, (topic, partition): PartitionKey, point: &RecoveryPoint) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put_u64(base).put_array(*topic.as_bytes()).put_u32(partition);
    point.encode(&mut writer);
    let crc = crc32c(writer.as_bytes());
    writer.put_u32(crc);
    writer.as_bytes().to_vec()
}

fn decode(entry: &[u8]) -> std::result::Result<(Base, PartitionKey, RecoveryPoint), FormatError> {
    let (body, _) = entry.split_at_checked(ENTRY - 4).ok_or(FormatError::Truncated)?;
    let computed = crc32c(body);
    let mut reader = Reader::new(entry);
    let base = reader.get_u64()?;
    let key = (TopicId::from_bytes(reader.get_array()?), reader.get_u32()?);
    let point = RecoveryPoint::decode(&mut reader)?;
    let stored = reader.get_u32()?;
    if stored == computed { Ok((base, key, point)) } else { Err(FormatError::BadCrc { stored, computed }) }
}

fn failed(dir: &Path, e: std::io::Error) -> Error {
    Error::io("write the recovery points that have moved", &dir.join(MOVED), e)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::small_file::POINTS;
    use crate::env::sim::{Failure, Fault, Op, SimEnvironment};
    use crate::segment::IndexLengths;

    const TOPIC: [u8; 16] = [7; 16];

    fn key(partition: u32) -> PartitionKey {
        (TopicId::from_bytes(TOPIC), partition)
    }

    fn point(offset: u64) -> RecoveryPoint {
        let indexes = IndexLengths { offsets: 8, times: 12 };
        RecoveryPoint { offset, segment: 0, position: 10 * offset, indexes, generation: 1 }
    }

    fn sim() -> SimEnvironment {
        let sim = SimEnvironment::new(4);
        sim.disk().create_dir(Path::new("/data")).unwrap();
        sim.disk().sync_dir(Path::new("/")).unwrap();
        sim
    }

    fn offsets(sim: &SimEnvironment) -> Vec<u64> {
        let points = Points::load(sim.disk(), Path::new("/data")).unwrap();
        (0..3).map_while(|n| points.get(key(n)).map(|point| point.offset)).collect()
    }

    #[test]
    fn an_entry_has_its_length() {
        let bytes = encode(9, key(3), &point(5));
        assert_eq!(bytes.len(), ENTRY);
        assert_eq!(decode(&bytes), Ok((9, key(3), point(5))));
        for bit in 0..ENTRY * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn moved_points_count_behind_their_file_only() {
        let (sim, dir) = (sim(), Path::new("/data"));
        let files = sim.disk();
        let mut file = PointsFile::new(Points::default());
        file.store_moved(&[(key(0), point(5)), (key(1), point(6))], files, dir).unwrap();
        assert_eq!(offsets(&sim), [5, 6]);
        let replaced = files.read_file(&dir.join(POINTS)).unwrap();
        let calls = files.calls();
        file.store_moved(&[(key(1), point(8))], files, dir).unwrap();
        assert_eq!(files.calls() - calls, 2, "a write and a sync");
        file.store_moved(&[(key(2), point(9)), (key(1), point(10))], files, dir).unwrap();
        assert_eq!(files.read_file(&dir.join(POINTS)).unwrap(), replaced);
        assert_eq!(offsets(&sim), [5, 10, 9]);
        let cut = SimEnvironment::on(files.after_power_cut_losing_everything(), 1);
        assert_eq!(offsets(&cut), [5, 10, 9]);

        // A torn one ends them.
        files.flip_bit(&dir.join(MOVED), ENTRY as u64 + 30, 1).unwrap();
        assert_eq!(offsets(&sim), [5, 8]);
        // Replacing the file takes all of them back.
        file.points_mut().forget(key(1));
        file.store(files, dir).unwrap();
        assert_eq!(offsets(&sim), [5]);
        // A damaged file of points says nothing, whatever has moved since.
        files.flip_bit(&dir.join(POINTS), 30, 2).unwrap();
        assert_eq!(offsets(&sim), [] as [u64; 0]);
    }

    #[test]
    fn all_are_written_anew_when_many_have_moved() {
        let (sim, dir) = (sim(), Path::new("/data"));
        let files = sim.disk();
        let mut file = PointsFile::new(Points::default());
        for offset in 0..2 * MIN_MOVED as u64 + 10 {
            file.store_moved(&[(key(0), point(offset))], files, dir).unwrap();
        }
        assert!(files.size_of(&dir.join(MOVED)).unwrap() <= (MIN_MOVED * ENTRY) as u64);
        assert_eq!(offsets(&sim), [2 * MIN_MOVED as u64 + 9]);
    }

    #[test]
    fn after_a_failure_files_of_their_own_are_written() {
        for op in [Op::Write, Op::Sync] {
            let (sim, dir) = (sim(), Path::new("/data"));
            let files = sim.disk();
            let mut file = PointsFile::new(Points::default());
            file.store_moved(&[(key(0), point(1))], files, dir).unwrap();
            file.store_moved(&[(key(0), point(2))], files, dir).unwrap();
            files.inject(Failure::nth(1, Fault::Io).only(op));
            assert!(file.store_moved(&[(key(0), point(3))], files, dir).is_err());
            file.store_moved(&[(key(1), point(4))], files, dir).unwrap();
            assert_eq!(offsets(&sim), [3, 4], "the point that could not be written is among all of them");
            let cut = SimEnvironment::on(files.after_power_cut_losing_everything(), 1);
            assert_eq!(offsets(&cut), [3, 4]);
        }
    }
}
