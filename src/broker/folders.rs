//! The folders of partitions, and how they go.
//!
//! ```text
//!   clicks-0                                          a partition
//!   clicks-0.0123456789abcdef0123456789abcdef-delete  on its way out, as Kafka names it
//! ```
//!
//! Invariants
//! - A folder is renamed before anything in it is removed, so that a topic of the same name may be
//!   created at once, and so that no opening mistakes half a partition for a whole one.
//! - Removal may be cut short at any point; the next opening goes on with it.

use std::path::{Path, PathBuf};

use super::manifest::random_id;
use crate::env::{FileSystem, Random};
use crate::error::{Error, Result};
use crate::types::{TopicName, TopicPartition};

const DELETE: &str = "-delete";
/// What a file system allows.
const MAX_NAME: usize = 255;

/// The folder of a partition.
pub(crate) fn folder(dir: &Path, tp: &TopicPartition) -> PathBuf {
    dir.join(tp.to_string())
}

/// Which partition a folder's name stands for.
pub(crate) fn partition_of(name: &str) -> Option<TopicPartition> {
    let (topic, number) = name.rsplit_once('-')?;
    let plain = number == "0" || !number.starts_with('0');
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let number = number.parse().ok().filter(|_| plain && digits)?;
    Some(TopicPartition::new(TopicName::new(topic).ok()?, number))
}

/// Whether a folder is on its way out.
pub(crate) fn is_deleted(name: &str) -> bool {
    let id = name.strip_suffix(DELETE).and_then(|name| name.rsplit_once('.')).map(|(_, id)| id);
    id.is_some_and(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Renames a partition's folder out of the way, if it is there. Durable after a sync of `dir`.
pub(crate) fn mark_deleted(
    files: &dyn FileSystem,
    random: &dyn Random,
    dir: &Path,
    tp: &TopicPartition,
) -> Result<Option<PathBuf>> {
    let from = folder(dir, tp);
    let id = u128::from_be_bytes(random_id(random));
    let suffix = format!(".{id:032x}{DELETE}");
    let mut name = tp.to_string();
    name.truncate(MAX_NAME - suffix.len());
    let to = dir.join(name + &suffix);
    match files.rename(&from, &to) {
        Ok(()) => Ok(Some(to)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("rename a partition's folder", &from, e)),
    }
}

/// Removes a folder and everything in it; one that is gone already is no error.
pub(crate) fn remove(files: &dyn FileSystem, path: &Path) -> Result<()> {
    let entries = match files.list(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("list a folder to remove", path, e)),
    };
    for entry in entries {
        let inner = path.join(&entry.name);
        if entry.is_dir {
            remove(files, &inner)?;
        } else {
            files.remove_file(&inner).map_err(|e| Error::io("remove a file", &inner, e))?;
        }
    }
    files.remove_dir(path).map_err(|e| Error::io("remove a folder", path, e))
}

/// Removes every folder of `dir` that is on its way out.
pub(crate) fn remove_deleted(files: &dyn FileSystem, dir: &Path) -> Result<()> {
    let entries = files.list(dir).map_err(|e| Error::io("list the data directory", dir, e))?;
    for entry in entries.iter().filter(|entry| entry.is_dir && is_deleted(&entry.name)) {
        remove(files, &dir.join(&entry.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::OpenMode;
    use crate::env::sim::SimEnvironment;

    fn tp(topic: &str, partition: u32) -> TopicPartition {
        TopicPartition::new(TopicName::new(topic).unwrap(), partition)
    }

    #[test]
    fn names_are_understood() {
        assert_eq!(partition_of("clicks-0"), Some(tp("clicks", 0)));
        assert_eq!(partition_of("a-1-12"), Some(tp("a-1", 12)));
        for other in ["clicks", "clicks-", "-1", "clicks-01", "clicks-+1", "clicks-99999999999", "no way-1"] {
            assert_eq!(partition_of(other), None, "{other}");
        }
        assert!(is_deleted("clicks-0.0123456789abcdef0123456789abcdef-delete"));
        assert!(!is_deleted("clicks-0.0123-delete") && !is_deleted("clicks-delete"));
    }

    #[test]
    fn folders_go_in_two_steps() {
        let sim = SimEnvironment::new(5);
        let environment = sim.environment();
        let (files, random, dir) = (&**environment.files(), &**environment.random(), Path::new("/data"));
        let long = tp(&"x".repeat(249), 7);
        files.create_dir(&folder(dir, &long)).unwrap();
        files.open(&folder(dir, &long).join("some.log"), OpenMode::CreateNew).unwrap();
        let gone = mark_deleted(files, random, dir, &long).unwrap().unwrap();
        let name = gone.file_name().unwrap().to_str().unwrap();
        assert!(name.len() <= MAX_NAME && is_deleted(name), "{name}");
        assert_eq!(mark_deleted(files, random, dir, &long).unwrap(), None);
        remove_deleted(files, dir).unwrap();
        assert_eq!(files.list(dir).unwrap(), []);
        remove(files, &gone).unwrap();
    }
}
