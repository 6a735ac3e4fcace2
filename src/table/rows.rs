//! The rows of a table, as bytes.
//!
//! Invariant: a row is the latest record of its key that has been applied; what is applied twice changes nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The latest value of a key, and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) partition: u32,
    pub(super) offset: u64,
    /// Milliseconds since the epoch.
    pub(super) timestamp: i64,
    pub(super) value: Box<[u8]>,
}

/// Rows by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows {
    by_key: HashMap<Box<[u8]>, Row>,
}

impl Rows {
    /// Empty, with room for so many.
    pub(super) fn with_capacity(rows: usize) -> Rows {
        Rows { by_key: HashMap::with_capacity(rows) }
    }

    /// The row of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&Row> {
        self.by_key.get(key)
    }

    /// The row of a key, with the key as the table has it.
    pub(super) fn get_entry(&self, key: &[u8]) -> Option<(&[u8], &Row)> {
        self.by_key.get_key_value(key).map(|(key, row)| (&**key, row))
    }

    /// Every row, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Row)> {
        self.by_key.iter().map(|(key, row)| (&**key, row))
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Puts a row, unless a later one of its partition is there.
    pub(super) fn put(&mut self, key: &[u8], row: Row) {
        match self.by_key.entry(key.into()) {
            Entry::Occupied(mut there) => {
                if there.get().partition != row.partition || there.get().offset < row.offset {
                    there.insert(row);
                }
            }
            Entry::Vacant(free) => {
                free.insert(row);
            }
        }
    }

    /// A tombstone: removes the row of a key; answers whether there was one.
    pub(super) fn remove(&mut self, key: &[u8], partition: u32, offset: u64) -> bool {
        let later = |row: &Row| row.partition == partition && row.offset > offset;
        if self.by_key.get(key).is_none_or(later) {
            return false;
        }
        self.by_key.remove(key).is_some()
    }

    /// Removes the rows of a partition that are not among those that are there; answers their keys.
    pub(super) fn take_missing(&mut self, partition: u32, there: &Rows) -> Vec<Box<[u8]>> {
        let is_there = |key: &[u8], row: &Row| there.get(key).is_some_and(|found| found.offset == row.offset);
        self.take(partition, |key, row| !is_there(key, row))
    }

    /// Retention has taken everything of a partition below `start` away; answers the keys that had a value there.
    pub(super) fn take_below(&mut self, partition: u32, start: u64) -> Vec<Box<[u8]>> {
        self.take(partition, |_, row| row.offset < start)
    }

    fn take(&mut self, partition: u32, goes: impl Fn(&[u8], &Row) -> bool) -> Vec<Box<[u8]>> {
        let mut taken = Vec::new();
        self.by_key.retain(|key, row| {
            let stays = row.partition != partition || !goes(key, row);
            if !stays {
                taken.push(key.clone());
            }
            stays
        });
        taken
    }
}
