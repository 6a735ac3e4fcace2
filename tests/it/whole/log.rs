//! A partition of the model, and what readers see of the real one.
//!
//! Invariants: an offset that was told, or seen, stays the record's; below the high watermark only compaction takes
//! single records away, and never brings one back.

use std::collections::{BTreeMap, BTreeSet};

use millpond::config::ReaderConfig;
use millpond::prelude::*;

/// A record is its place in the list of all that were ever sent.
pub(super) type Id = usize;

/// Who sent a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Plain,
    /// A producer with a name, and the number of the record.
    Named(usize, u64),
    /// A transaction.
    Txn(usize),
}

/// A record that was sent, or tried to.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) topic: u64,
    pub(super) partition: u32,
    pub(super) key: Option<u8>,
    pub(super) tombstone: bool,
    pub(super) source: Source,
    pub(super) at: i64,
    /// The timestamp that it was given, if any.
    pub(super) stamp: Option<i64>,
    /// The one that it is stored with, once that is known: it stays.
    pub(super) stored: Option<i64>,
    pub(super) padding: usize,
    /// Where it is, once that is known.
    pub(super) offset: Option<u64>,
    /// Its send has failed, perhaps half-way: it may be missing.
    pub(super) doubtful: bool,
    /// A crash has taken it: it never comes back.
    pub(super) lost: bool,
}

/// Where a partition stood when it was last looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) start: u64,
    pub(super) high: u64,
    pub(super) flushed: u64,
    pub(super) end: u64,
    pub(super) epoch: i32,
}

/// A partition of the model.
#[derive(Clone, Debug, Default)]
pub(super) struct LogModel {
    pub(super) known: BTreeMap<u64, Id>,
    /// Of those, the ones that compaction has taken.
    pub(super) absent: BTreeSet<u64>,
    /// Below this everything readable is known.
    pub(super) read_to: u64,
    pub(super) marks: Marks,
    pub(super) poisoned: bool,
    /// Deleting the records below was asked for, and has failed: it may have been done, or not.
    pub(super) asked_start: u64,
}

/// A record as it is read.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) offset: u64,
    pub(super) timestamp: i64,
    pub(super) id: Id,
    pub(super) key: Option<Vec<u8>>,
    pub(super) tombstone: bool,
    pub(super) len: usize,
}

impl LogModel {
    /// A crash has left the log to this offset.
    pub(super) fn cut(&mut self, end: u64, records: &mut [Sent]) {
        for (_, id) in self.known.split_off(&end) {
            records[id].offset = None;
            records[id].lost = true;
        }
        self.absent.split_off(&end);
        self.read_to = self.read_to.min(end);
        self.marks.high = self.marks.high.min(end);
        self.marks.flushed = self.marks.flushed.min(end);
    }
}

/// The bytes of a key.
pub(super) fn key_bytes(key: u8) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

/// The bytes of a value.
pub(super) fn value_bytes(id: Id, padding: usize) -> Vec<u8> {
    let mut value = format!("{id}:").into_bytes();
    value.extend((0..padding).map(|i| (i.wrapping_mul(id | 1) % 251) as u8));
    value
}

/// What a reader of this isolation sees, from an offset on.
pub(super) fn read(partition: &Partition, from: u64, isolation: Isolation) -> millpond::Result<Vec<Seen>> {
    let config = ReaderConfig::new().isolation(isolation).max_records(7);
    let start = Start::Offset(Offset::new(from).unwrap());
    let mut reader = partition.reader_builder().config(config).start(start).build()?;
    let mut seen = Vec::new();
    while let Some(records) = reader.next()? {
        for record in &records {
            seen.push(Seen::of(&record));
        }
    }
    Ok(seen)
}

impl Seen {
    pub(super) fn of(record: &millpond::consumer::RecordView<'_>) -> Seen {
        let value = record.value().unwrap();
        let text = match value {
            Some(value) => value.split(|&byte| byte == b':').next().unwrap().to_vec(),
            None => record.headers().next().expect("a tombstone names itself").1.unwrap().to_vec(),
        };
        Seen {
            offset: record.offset().get(),
            timestamp: record.timestamp().millis(),
            id: String::from_utf8(text).unwrap().parse().unwrap(),
            key: record.key().unwrap().map(<[u8]>::to_vec),
            tombstone: value.is_none(),
            len: value.map_or(0, <[u8]>::len),
        }
    }

    /// The record is what was sent.
    pub(super) fn check(&self, sent: &Sent, topic: u64, partition: u32) {
        assert_eq!((sent.topic, sent.partition), (topic, partition), "{self:?} came elsewhere");
        assert_eq!(self.key, sent.key.map(key_bytes), "{self:?}: the key");
        assert_eq!(self.tombstone, sent.tombstone, "{self:?}: the value");
        if !sent.tombstone {
            assert_eq!(self.len, value_bytes(self.id, sent.padding).len(), "{self:?}: the value");
        }
        assert!(!sent.lost, "{self:?} was lost in a crash, and is back");
        assert!(sent.offset.is_none_or(|offset| offset == self.offset), "{self:?} is at {:?}", sent.offset);
        assert!(sent.stored.is_none_or(|time| time == self.timestamp), "{self:?} was of {:?}", sent.stored);
    }
}
