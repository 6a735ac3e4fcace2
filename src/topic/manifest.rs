//! The topic's own small file: what a topic is, in a form that survives versions.
//!
//! ```text
//!   NAME.topic: sealed file, kind 2
//!     state u8 | name | topic id, 16 bytes | ready u32 | key codec | value codec
//!     count u32 | (setting, value) as text ...          codec: 0u8, or 1u8 | name | schema version u32
//! ```
//!
//! Invariants
//! - Replaced atomically; the generation before is kept for `repair`, never used silently.
//! - Partitions below `ready` have their folders durably; the others are made (again) at opening.
//! - A name too long to be followed by a suffix is cut and told apart by the topic's id; the manifest
//!   names its topic, so a file under another topic's name is refused.
//! - Every setting is written out as text, so an unknown one is refused by its name.

use std::path::{Path, PathBuf};

use crate::codec::Codec;
use crate::config::TopicConfig;
use crate::env::{FileSystem, OpenMode, Previous, read_whole, replace_file};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::sealed_file::{self, Reader, Writer};
use crate::types::{TopicId, TopicName};

const KIND: u16 = 2;
const VERSION: u16 = 1;
const SUFFIX: &str = ".topic";
/// No manifest comes near it.
const MAX_LEN: u64 = 1 << 20;
/// Longer names are cut in the file's name; `.topic.previous.tmp` and an id must fit behind, in 255.
const MAX_NAME_IN_FILE: usize = 200;

/// What a codec wrote down about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodecMark {
    /// The codec's name.
    pub(crate) name: String,
    /// The version of its schema.
    pub(crate) schema_version: u32,
}

impl CodecMark {
    /// Of this codec.
    pub(crate) fn of(codec: &impl Codec) -> CodecMark {
        CodecMark { name: codec.name().to_owned(), schema_version: codec.schema_version() }
    }
}

/// In which part of its life a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicLife {
    /// In use.
    Active,
    /// Deleted; what is left of its files goes at the next opening.
    Deleting,
}

/// Content of a topic manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicManifest {
    /// The topic's name.
    pub(crate) name: TopicName,
    /// Tells it from a later one of the same name.
    pub(crate) id: TopicId,
    /// In use, or on its way out.
    pub(crate) life: TopicLife,
    /// So many partitions have their folders durably.
    pub(crate) ready: u32,
    /// What keys are written with; none while nobody has said.
    pub(crate) key_codec: Option<CodecMark>,
    /// What values are written with; none while nobody has said.
    pub(crate) value_codec: Option<CodecMark>,
    /// The settings.
    pub(crate) config: TopicConfig,
}

impl TopicManifest {
    /// Of a topic that has no folders yet.
    pub(crate) fn new(name: TopicName, id: TopicId, config: TopicConfig) -> TopicManifest {
        let life = TopicLife::Active;
        TopicManifest { name, id, life, ready: 0, key_codec: None, value_codec: None, config }
    }

    /// The path of its file.
    pub(crate) fn path(&self, dir: &Path) -> PathBuf {
        dir.join(file_name(&self.name, self.id))
    }

    /// The path of the topic's table snapshot, if it has one.
    pub(crate) fn snapshot_path(&self, dir: &Path) -> PathBuf {
        self.path(dir).with_extension("table")
    }

    /// Every manifest of a data directory, by file name.
    pub(crate) fn list(files: &dyn FileSystem, dir: &Path) -> Result<Vec<PathBuf>> {
        let entries = files.list(dir).map_err(|e| Error::io("list the data directory", dir, e))?;
        let manifests = entries.into_iter().filter(|entry| !entry.is_dir && entry.name.ends_with(SUFFIX));
        Ok(manifests.map(|entry| dir.join(entry.name)).collect())
    }

    /// Reads one file.
    pub(crate) fn load(files: &dyn FileSystem, path: &Path) -> Result<TopicManifest> {
        let read = files.open(path, OpenMode::Read).and_then(|file| read_whole(&*file, MAX_LEN));
        let bytes = read.map_err(|e| Error::io("read a topic's manifest", path, e))?;
        TopicManifest::of_file(path, &bytes)
    }

    /// Understands the content of the file at `path`.
    pub(crate) fn of_file(path: &Path, bytes: &[u8]) -> Result<TopicManifest> {
        let manifest = TopicManifest::decode(bytes).map_err(|why| why.at(path))?;
        let own = file_name(&manifest.name, manifest.id);
        let found = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if found.trim_end_matches(".previous") != own {
            let why = format!("it is the manifest of the topic {}", manifest.name);
            return Err(Error::corrupted(path, 0, why));
        }
        Ok(manifest)
    }

    /// Writes it durably.
    pub(crate) fn store(&self, files: &dyn FileSystem, dir: &Path) -> Result<()> {
        let path = self.path(dir);
        replace_file(files, &path, &self.encode(), Previous::Keep)
            .map_err(|e| Error::io("write a topic's manifest", &path, e))
    }

    /// Removes its files; that they are gone already is no error. Durable after a sync of `dir`.
    pub(crate) fn remove(&self, files: &dyn FileSystem, dir: &Path) -> Result<()> {
        let path = self.path(dir);
        let snapshot = self.snapshot_path(dir);
        for path in [snapshot, crate::env::with_suffix(&path, "previous"), path] {
            match files.remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove a topic's manifest", &path, e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put_u8(match self.life {
            TopicLife::Active => 0,
            TopicLife::Deleting => 1,
        });
        writer.put_str(self.name.as_str()).put_array(*self.id.as_bytes()).put_u32(self.ready);
        put_codec(&mut writer, self.key_codec.as_ref());
        put_codec(&mut writer, self.value_codec.as_ref());
        let pairs = self.config.to_pairs();
        writer.put_count(pairs.len());
        for (name, value) in &pairs {
            writer.put_str(name).put_str(value);
        }
        writer.seal(KIND, VERSION)
    }

    fn decode(bytes: &[u8]) -> std::result::Result<TopicManifest, Unreadable> {
        let (_, payload) = sealed_file::open(KIND, VERSION, bytes)?;
        let mut reader = Reader::new(payload);
        let life = match reader.get_u8()? {
            0 => TopicLife::Active,
            1 => TopicLife::Deleting,
            other => return Err(Unreadable::Damaged(format!("state {other} is unknown"))),
        };
        let name = TopicName::new(reader.get_str()?).map_err(|e| Unreadable::Damaged(e.to_string()))?;
        let id = TopicId::from_bytes(reader.get_array()?);
        let ready = reader.get_u32()?;
        let key_codec = get_codec(&mut reader)?;
        let value_codec = get_codec(&mut reader)?;
        let count = reader.get_count(8)?;
        let mut pairs = Vec::with_capacity(count);
        for _ in 0..count {
            pairs.push((reader.get_str()?, reader.get_str()?));
        }
        reader.finish()?;
        let config = TopicConfig::from_pairs(pairs).map_err(Unreadable::Setting)?;
        if ready > config.partition_count() {
            let why = format!("{ready} partitions are ready of {}", config.partition_count());
            return Err(Unreadable::Damaged(why));
        }
        Ok(TopicManifest { name, id, life, ready, key_codec, value_codec, config })
    }
}

/// Why a file could not be understood.
enum Unreadable {
    Format(FormatError),
    Damaged(String),
    /// A setting that this version does not know, or whose value it does not: the checksum was right.
    Setting(Error),
}

impl From<FormatError> for Unreadable {
    fn from(error: FormatError) -> Unreadable {
        Unreadable::Format(error)
    }
}

impl Unreadable {
    fn at(self, path: &Path) -> Error {
        match self {
            Unreadable::Format(error @ FormatError::NewerVersion { .. }) => {
                Error::unsupported(format!("a topic's manifest: {error}")).at_path(path)
            }
            Unreadable::Format(error) => Error::corrupted(path, 0, error),
            Unreadable::Damaged(why) => Error::corrupted(path, 0, why),
            Unreadable::Setting(error) => {
                Error::unsupported("a topic's settings cannot be used").at_path(path).caused_by(error)
            }
        }
    }
}

fn put_codec(writer: &mut Writer, codec: Option<&CodecMark>) {
    match codec {
        None => {
            writer.put_u8(0);
        }
        Some(mark) => {
            writer.put_u8(1).put_str(&mark.name).put_u32(mark.schema_version);
        }
    }
}

fn get_codec(reader: &mut Reader<'_>) -> std::result::Result<Option<CodecMark>, FormatError> {
    if reader.get_u8()? == 0 {
        return Ok(None);
    }
    let name = reader.get_str()?.to_owned();
    Ok(Some(CodecMark { name, schema_version: reader.get_u32()? }))
}

fn file_name(name: &TopicName, id: TopicId) -> String {
    let name = name.as_str();
    match name.get(..MAX_NAME_IN_FILE) {
        // `~` stands in no topic's name.
        Some(start) if name.len() > MAX_NAME_IN_FILE => format!("{start}~{id}{SUFFIX}"),
        _ => format!("{name}{SUFFIX}"),
    }
}

#[cfg(test)]
mod tests;
