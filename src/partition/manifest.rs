//! The partition's own small file: what neither the log nor its checkpoints can tell.
//!
//! ```text
//!   millpond.partition: topic id | log start | compacted | truncation (0/1, offset) | generation
//!                       | lowest truncation (0/1, offset) | overlaps
//!                       | since version 2: compacted to | swap of segments (0/1, from, to)
//!                       | since version 3: tombstones gone to
//! ```
//!
//! Invariants
//! - Replaced atomically; the generation before is kept for `repair`, never used silently.
//! - A recorded truncation, and a recorded swap of segments, is repeated at opening until it is cleared.

use std::path::{Path, PathBuf};

use super::swap::SwapRange;
use crate::env::{FileSystem, OpenMode, Previous, read_whole, replace_file};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::sealed_file::{self, Reader, Writer};
use crate::types::TopicId;

/// Kind number of the file.
const KIND: u16 = 0x5041;
const VERSION: u16 = 3;

/// Content of the partition manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionManifest {
    /// The topic this folder belongs to.
    pub(crate) topic_id: TopicId,
    /// Nothing below may be read.
    pub(crate) log_start: u64,
    /// The log was compacted at least once: offsets may have gaps.
    pub(crate) compacted: bool,
    /// A truncation to this offset has begun.
    pub(crate) truncation: Option<u64>,
    /// Truncations so far.
    pub(crate) generation: u32,
    /// The lowest offset ever truncated to: a point from before some truncation holds up to here at most.
    pub(crate) lowest_truncation: Option<u64>,
    /// Offsets of finished truncations whose cut bytes are still in the file before, ascending.
    pub(crate) overlaps: Vec<u64>,
    /// Below this offset every record has been seen by compaction.
    pub(crate) cleaned_to: u64,
    /// Behind the last tombstone that compaction has taken away.
    pub(crate) tombstones_gone: u64,
    /// A compacted segment is to take the place of those in this range.
    pub(crate) swap: Option<SwapRange>,
}

impl PartitionManifest {
    /// The file's name.
    pub(crate) const FILE_NAME: &str = "millpond.partition";

    /// Of a new partition.
    pub(crate) fn new(topic_id: TopicId, log_start: u64) -> PartitionManifest {
        PartitionManifest {
            topic_id,
            log_start,
            compacted: false,
            truncation: None,
            generation: 0,
            lowest_truncation: None,
            overlaps: Vec::new(),
            cleaned_to: 0,
            tombstones_gone: 0,
            swap: None,
        }
    }

    /// Reads the manifest of a partition's folder; `None` if there is none yet.
    pub(crate) fn load(files: &dyn FileSystem, dir: &Path) -> Result<Option<PartitionManifest>> {
        let path = path_in(dir);
        let read = files.open(&path, OpenMode::Read).and_then(|file| read_whole(&*file, 1 << 16));
        if read.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(None);
        }
        let bytes = read.map_err(|e| Error::io("read a manifest", &path, e))?;
        PartitionManifest::decode(&bytes).map(Some).map_err(|why| why.at(&path, 0))
    }

    /// A truncation to `to` is finished: its bytes may still overlap, and no older point counts above it.
    pub(crate) fn truncated(&mut self, to: u64) {
        self.truncation = None;
        self.generation = self.generation.wrapping_add(1);
        self.lowest_truncation = Some(self.lowest_truncation.map_or(to, |lowest| lowest.min(to)));
        self.overlaps.retain(|&overlap| overlap < to);
        self.overlaps.push(to);
        self.cleaned_to = self.cleaned_to.min(to);
        self.tombstones_gone = self.tombstones_gone.min(to);
    }

    /// Writes it durably.
    pub(crate) fn store(&self, files: &dyn FileSystem, dir: &Path) -> Result<()> {
        let path = path_in(dir);
        replace_file(files, &path, &self.encode(), Previous::Keep)
            .map_err(|e| Error::io("write a manifest", &path, e))
    }

    /// Writes it durably as it stands; the generation before stays the one before.
    pub(crate) fn store_again(&self, files: &dyn FileSystem, dir: &Path) -> Result<()> {
        let path = path_in(dir);
        replace_file(files, &path, &self.encode(), Previous::Drop)
            .map_err(|e| Error::io("write a manifest again", &path, e))
    }

    /// The file's bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put_array(*self.topic_id.as_bytes());
        writer.put_u64(self.log_start);
        writer.put_u8(self.compacted.into());
        writer.put_u8(self.truncation.is_some().into());
        writer.put_u64(self.truncation.unwrap_or(0));
        writer.put_u32(self.generation);
        writer.put_u8(self.lowest_truncation.is_some().into());
        writer.put_u64(self.lowest_truncation.unwrap_or(0));
        writer.put_count(self.overlaps.len());
        for &overlap in &self.overlaps {
            writer.put_u64(overlap);
        }
        writer.put_u64(self.cleaned_to);
        writer.put_u8(self.swap.is_some().into());
        let swap = self.swap.unwrap_or(SwapRange { from: 0, to: 0 });
        writer.put_u64(swap.from);
        writer.put_u64(swap.to);
        writer.put_u64(self.tombstones_gone);
        writer.seal(KIND, VERSION)
    }

    fn decode(bytes: &[u8]) -> std::result::Result<PartitionManifest, FormatError> {
        let (version, payload) = sealed_file::open(KIND, VERSION, bytes)?;
        let mut reader = Reader::new(payload);
        let topic_id = TopicId::from_bytes(reader.get_array()?);
        let log_start = reader.get_u64()?;
        let compacted = reader.get_u8()? != 0;
        let truncating = reader.get_u8()? != 0;
        let offset = reader.get_u64()?;
        let generation = reader.get_u32()?;
        let truncated = reader.get_u8()? != 0;
        let lowest = reader.get_u64()?;
        let overlaps =
            (0..reader.get_count(8)?).map(|_| reader.get_u64()).collect::<std::result::Result<_, _>>()?;
        let truncation = truncating.then_some(offset);
        let (mut cleaned_to, mut swap) = (0, None);
        if version >= 2 {
            cleaned_to = reader.get_u64()?;
            let swapping = reader.get_u8()? != 0;
            let range = SwapRange { from: reader.get_u64()?, to: reader.get_u64()? };
            swap = swapping.then_some(range);
        }
        // Before, nobody wrote that down: any below may have gone.
        let tombstones_gone = if version >= 3 { reader.get_u64()? } else { cleaned_to };
        Ok(PartitionManifest {
            topic_id,
            log_start,
            compacted,
            truncation,
            generation,
            lowest_truncation: truncated.then_some(lowest),
            overlaps,
            cleaned_to,
            tombstones_gone,
            swap,
        })
    }
}

fn path_in(dir: &Path) -> PathBuf {
    dir.join(PartitionManifest::FILE_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::make_file;
    use crate::env::sim::SimEnvironment;
    use crate::error::ErrorKind;

    /// Before version 3 nobody wrote down which tombstones have gone, before version 2 nothing was compacted.
    #[test]
    fn older_versions_are_read() {
        let mut manifest = PartitionManifest::new(TopicId::from_bytes([3; 16]), 5);
        (manifest.compacted, manifest.cleaned_to, manifest.tombstones_gone) = (true, 90, 70);
        assert_eq!(PartitionManifest::decode(&manifest.encode()).unwrap(), manifest);
        let bytes = manifest.encode();
        let (_, payload) = sealed_file::open(KIND, VERSION, &bytes).unwrap();
        for (version, left_out, known) in [(2, 8, (90, 90)), (1, 8 + 25, (0, 0))] {
            let older = sealed_file::seal(KIND, version, &payload[..payload.len() - left_out]);
            let read = PartitionManifest::decode(&older).unwrap();
            assert_eq!((read.cleaned_to, read.tombstones_gone), known, "version {version}");
            assert_eq!((read.log_start, read.compacted, read.swap), (5, true, None));
        }
    }

    /// `repair` makes a damaged one anew: one of a newer version is not damaged.
    #[test]
    fn a_newer_version_is_refused_and_no_damage() {
        let sim = SimEnvironment::new(1);
        let files = sim.disk();
        let dir = Path::new("/t-0");
        files.create_dir(dir).unwrap();
        let newer = sealed_file::seal(KIND, VERSION + 1, &[1; 40]);
        make_file(files, &path_in(dir), &newer).unwrap();
        let error = PartitionManifest::load(files, dir).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::UnsupportedFormat, Some(&*path_in(dir))));
        files.flip_bit(&path_in(dir), 20, 3).unwrap();
        assert_eq!(PartitionManifest::load(files, dir).unwrap_err().kind(), ErrorKind::Corrupted);
    }
}
