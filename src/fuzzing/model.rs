//! What a partition must hold: a list of values, and how much of it is safe.

use super::machine::Seen;

/// The log as a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// All records from offset 0 on, also those that delete-records took away.
    pub(super) records: Vec<Seen>,
    pub(super) log_start: u64,
}

/// How much of the log must, and how much may be there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Bounds {
    /// Those of a crash at some point between two moments.
    pub(super) fn join(self, other: Bounds) -> Bounds {
        Bounds { least: self.least.min(other.least), most: self.most.max(other.most) }
    }
}

impl Model {
    /// The offset behind the last record.
    pub(super) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    /// A record got this offset.
    pub(super) fn push(&mut self, seen: Seen) {
        assert_eq!(seen.offset, self.end(), "offsets are given in order, once");
        self.records.push(seen);
    }

    /// Everything from `offset` on is gone.
    pub(super) fn truncate(&mut self, offset: u64) {
        assert!(offset <= self.end());
        self.records.truncate(offset as usize);
    }

    /// The records from `from` to `to`.
    pub(super) fn slice(&self, from: u64, to: u64) -> &[Seen] {
        &self.records[from as usize..to.max(from) as usize]
    }

    /// The same log at another moment, if that one held more.
    pub(super) fn longer<'a>(&'a self, other: &'a Model) -> &'a Model {
        if other.end() > self.end() { other } else { self }
    }
}
