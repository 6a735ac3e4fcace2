//! The broker's manifest: who owns the data directory, and what must never be given twice.
//!
//! ```text
//!   millpond.broker: sealed file, kind 1
//!     directory format u16 | broker id, 16 bytes | openings u64 | next producer id u64
//! ```
//!
//! Invariants
//! - Written before anything else of an opening, so that each opening has a number of its own.
//! - The generation before is kept for `repair` and never used silently: it would hand out producer ids
//!   twice.
//! - A directory of a newer format is refused before anything in it is touched.

use std::path::Path;

use super::small_file::{self, BROKER, KIND_BROKER};
use crate::env::{FileSystem, Previous, Random, replace_file};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::sealed_file::{self, Reader, Writer};

/// The format of the directory as a whole.
const DIRECTORY_FORMAT: u16 = 1;
const VERSION: u16 = 1;

/// Content of the broker's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerManifest {
    /// Names this directory.
    pub(crate) id: [u8; 16],
    /// How often the directory has been opened.
    pub(crate) openings: u64,
    /// Producer ids below have been given out.
    pub(crate) next_producer_id: u64,
}

impl BrokerManifest {
    /// Of a new directory.
    pub(crate) fn new(random: &dyn Random) -> BrokerManifest {
        BrokerManifest { id: random_id(random), openings: 0, next_producer_id: 0 }
    }

    /// Reads it; `None` if there is none.
    pub(crate) fn load(files: &dyn FileSystem, dir: &Path) -> Result<Option<BrokerManifest>> {
        let path = dir.join(BROKER);
        match small_file::read(files, &path)? {
            None => Ok(None),
            Some(bytes) => BrokerManifest::of_file(&path, &bytes).map(Some),
        }
    }

    /// Understands the content of the file at `path`.
    pub(crate) fn of_file(path: &Path, bytes: &[u8]) -> Result<BrokerManifest> {
        let (format, manifest) = decode(bytes).map_err(|e| small_file::unreadable(path, e))?;
        if format != DIRECTORY_FORMAT {
            let message = format!("the directory has format {format}, this version knows {DIRECTORY_FORMAT}");
            return Err(Error::unsupported(message).at_path(path));
        }
        Ok(manifest)
    }

    /// Writes it durably.
    pub(crate) fn store(&self, files: &dyn FileSystem, dir: &Path) -> Result<()> {
        let path = dir.join(BROKER);
        replace_file(files, &path, &self.encode(), Previous::Keep)
            .map_err(|e| Error::io("write the broker's manifest", &path, e))
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put_u16(DIRECTORY_FORMAT).put_array(self.id);
        writer.put_u64(self.openings).put_u64(self.next_producer_id);
        writer.seal(KIND_BROKER, VERSION)
    }
}

fn decode(bytes: &[u8]) -> std::result::Result<(u16, BrokerManifest), FormatError> {
    let (_, payload) = sealed_file::open(KIND_BROKER, VERSION, bytes)?;
    let mut reader = Reader::new(payload);
    let format = reader.get_u16()?;
    let id = reader.get_array()?;
    let manifest = BrokerManifest { id, openings: reader.get_u64()?, next_producer_id: reader.get_u64()? };
    reader.finish()?;
    Ok((format, manifest))
}

/// 16 random bytes.
pub(crate) fn random_id(random: &dyn Random) -> [u8; 16] {
    let (first, second) = (random.next_u64(), random.next_u64());
    ((u128::from(first) << 64) | u128::from(second)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::sim::SimEnvironment;
    use crate::error::ErrorKind;

    #[test]
    fn a_manifest_reads_back_and_damage_is_named() {
        let sim = SimEnvironment::new(3);
        let environment = sim.environment();
        let (files, dir) = (&**environment.files(), Path::new("/data"));
        files.create_dir(dir).unwrap();
        assert_eq!(BrokerManifest::load(files, dir).unwrap(), None);
        let mut manifest = BrokerManifest::new(&**environment.random());
        manifest.openings = 7;
        manifest.store(files, dir).unwrap();
        assert_eq!(BrokerManifest::load(files, dir).unwrap(), Some(manifest.clone()));

        let path = dir.join(BROKER);
        let mut bytes = manifest.encode();
        bytes[20] ^= 4;
        assert_eq!(BrokerManifest::of_file(&path, &bytes).unwrap_err().kind(), ErrorKind::Corrupted);
        let mut writer = Writer::new();
        writer.put_u16(DIRECTORY_FORMAT + 1).put_array([0; 16]).put_u64(0).put_u64(0);
        let newer = BrokerManifest::of_file(&path, &writer.seal(KIND_BROKER, VERSION)).unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::UnsupportedFormat);
    }
}
