//! Producer ids, never given twice, and the names that some of them have.
//!
//! ```text
//!   millpond.broker      ids below this one have been given, in blocks
//!   millpond.producers   sealed file, kind 6: count u32 | (name | id)*
//! ```
//!
//! Invariants
//! - A block is written down, durably, before an id of it is given; what is left of it at the end is never used.
//! - A name is written down, durably, with its id before either is used; it keeps it until every partition has
//!   forgotten that id.
//! - A damaged file of names is an error: a name must not get another id silently.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::broker::Shared;
use super::manifest::BrokerManifest;
use super::small_file::{self, KIND_PRODUCERS, PRODUCERS};
use crate::env::{Previous, replace_file};
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::sealed_file::{self, Reader, Writer};
use crate::producer::HolderOfName;
use crate::types::{TopicId, check_plain};

/// Ids that are written down at once.
const BLOCK: u64 = 1000;
/// The longest name, in bytes.
const MAX_NAME: usize = 249;
const VERSION: u16 = 1;

/// Who gives ids, and names.
#[derive(Debug)]
pub(super) struct Producers {
    ids: Mutex<Ids>,
    names: Mutex<Names>,
}

/// The ids that are left of a block.
#[derive(Debug)]
struct Ids {
    manifest: BrokerManifest,
    next: u64,
}

impl Producers {
    /// Of a broker with this manifest.
    pub(super) fn new(manifest: &BrokerManifest) -> Producers {
        let ids = Ids { manifest: manifest.clone(), next: manifest.next_producer_id };
        Producers { ids: Mutex::new(ids), names: Mutex::new(Names::default()) }
    }
}

/// Names and who holds them.
#[derive(Debug, Default)]
struct Names {
    /// `None` before the file has been read.
    ids: Option<BTreeMap<String, i64>>,
    holders: HashMap<(String, TopicId), Weak<HolderOfName>>,
}

/// A name of a producer, or a transactional id, must be one. What an older version has written down under another
/// name is read, and can be ended, all the same.
pub(super) fn check_name(name: &str) -> Result<()> {
    check_plain("the producer's name", name, MAX_NAME).map_err(Error::invalid_argument)
}

impl Shared {
    /// An id that no producer has had.
    pub(super) fn fresh_producer_id(&self) -> Result<i64> {
        let mut ids = self.producers.ids.lock();
        if ids.next >= ids.manifest.next_producer_id {
            let next_producer_id = ids.manifest.next_producer_id.saturating_add(BLOCK);
            let manifest = BrokerManifest { next_producer_id, ..ids.manifest.clone() };
            manifest.store(self.files(), &self.dir)?;
            ids.manifest = manifest;
        }
        let id = ids.next;
        ids.next += 1;
        i64::try_from(id).map_err(|_| Error::unsupported("all producer ids have been given"))
    }

    /// Takes a name for a topic: who held it before is fenced.
    pub(super) fn take_name(&self, name: &str, topic: TopicId) -> Result<Arc<HolderOfName>> {
        check_name(name)?;
        let mut names = self.producers.names.lock();
        let id = self.id_of_name(&mut names, name)?;
        let holder = Arc::new(HolderOfName::new(name, id));
        names.holders.retain(|_, holder| holder.strong_count() > 0);
        let before = names.holders.insert((name.to_owned(), topic), Arc::downgrade(&holder));
        if let Some(before) = before.and_then(|before| before.upgrade()) {
            before.fence();
        }
        Ok(holder)
    }

    /// The ids of the names that somebody holds.
    pub(super) fn held_producer_ids(&self) -> HashSet<i64> {
        let names = self.producers.names.lock();
        names.holders.values().filter_map(Weak::upgrade).map(|holder| holder.producer_id()).collect()
    }

    fn id_of_name(&self, names: &mut Names, name: &str) -> Result<i64> {
        let mut ids = self.known_names(names)?;
        if let Some(id) = ids.get(name).copied() {
            names.ids = Some(ids);
            return Ok(id);
        }
        let id = self.fresh_producer_id()?;
        ids.insert(name.to_owned(), id);
        self.store_names(names, ids).map(|()| id)
    }

    fn known_names(&self, names: &Names) -> Result<BTreeMap<String, i64>> {
        if let Some(ids) = &names.ids {
            return Ok(ids.clone());
        }
        let path = self.dir.join(PRODUCERS);
        match small_file::read(self.files(), &path)? {
            Some(bytes) => decode(&bytes).map_err(|e| small_file::unreadable(&path, e)),
            None => Ok(BTreeMap::new()),
        }
    }

    fn store_names(&self, names: &mut Names, ids: BTreeMap<String, i64>) -> Result<()> {
        let path = self.dir.join(PRODUCERS);
        replace_file(self.files(), &path, &encode(&ids), Previous::Keep)
            .map_err(|e| Error::io("write down a producer's name", &path, e))?;
        names.ids = Some(ids);
        Ok(())
    }

    /// Forgets the names that nobody holds and no partition remembers: under another id they mean the same.
    pub(super) fn forget_names(&self) -> Result<()> {
        let mut names = self.producers.names.lock();
        // Damage is told to who asks for a name.
        let Some(mut ids) = self.known_names(&names).ok().filter(|ids| !ids.is_empty()) else {
            return Ok(());
        };
        // Who holds a name may send with it; nobody gets one meanwhile.
        names.holders.retain(|_, holder| holder.strong_count() > 0);
        let mut remembered = HashSet::new();
        self.logs().iter().for_each(|log| log.producer_ids(&mut remembered));
        let held: HashSet<&String> = names.holders.keys().map(|(name, _)| name).collect();
        let count = ids.len();
        ids.retain(|name, id| held.contains(name) || remembered.contains(id));
        drop(held);
        if ids.len() == count { Ok(()) } else { self.store_names(&mut names, ids) }
    }
}

fn encode(ids: &BTreeMap<String, i64>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.put_count(ids.len());
    for (name, id) in ids {
        writer.put_str(name).put_i64(*id);
    }
    writer.seal(KIND_PRODUCERS, VERSION)
}

fn decode(bytes: &[u8]) -> std::result::Result<BTreeMap<String, i64>, FormatError> {
    let (_, payload) = sealed_file::open(KIND_PRODUCERS, VERSION, bytes)?;
    let mut reader = Reader::new(payload);
    let count = reader.get_count(12)?;
    let mut ids = BTreeMap::new();
    for _ in 0..count {
        let name = reader.get_str()?.to_owned();
        ids.insert(name, reader.get_i64()?);
    }
    reader.finish()?;
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_an_older_version_took_are_read() {
        let odd = ["two\nlines".to_owned(), "x".repeat(300)];
        let ids: BTreeMap<String, i64> = odd.into_iter().zip(1..).collect();
        assert_eq!(decode(&encode(&ids)).unwrap(), ids);
        for name in ids.keys().map(String::as_str).chain(["", "bell\u{7}", "\u{85}"]) {
            let error = check_name(name).unwrap_err().to_string();
            assert!(error.len() < 200 && !error.chars().any(char::is_control), "{error}");
        }
        for name in ["a", "billing 1", "r\u{e9}sum\u{e9}", &"x".repeat(MAX_NAME)] {
            check_name(name).unwrap();
        }
    }
}
