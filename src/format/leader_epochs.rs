//! Which leader wrote what: the epochs of a partition with their first offsets, and the text file
//! `leader-epoch-checkpoint` that keeps them.
//!
//! ```text
//!   0               version
//!   2               entries
//!   0 0             epoch 0 begins at offset 0
//!   5 1200          epoch 5 begins at offset 1200
//! ```
//!
//! Invariants: epochs and start offsets are not negative, and both strictly increase. A file that says
//! anything else is refused as a whole; an empty file holds no entries.

use std::fmt::Write;

use super::FormatError;

const VERSION: &str = "0";

/// The epochs of a partition, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeaderEpochs {
    entries: Vec<(i32, i64)>,
}

impl LeaderEpochs {
    /// No epoch yet.
    pub(crate) fn new() -> LeaderEpochs {
        LeaderEpochs::default()
    }

    /// Epochs and their start offsets, oldest first.
    pub(crate) fn entries(&self) -> &[(i32, i64)] {
        &self.entries
    }

    /// The content of a checkpoint file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<LeaderEpochs, FormatError> {
        if bytes.is_empty() {
            return Ok(LeaderEpochs::new());
        }
        let bad = |line, why| FormatError::BadLine { line, why };
        let text = std::str::from_utf8(bytes).map_err(|_| bad(1, "not utf-8"))?;
        // Without its last newline, the last number may have lost digits.
        let text = text.strip_suffix('\n').ok_or(bad(text.lines().count(), "no newline at the end"))?;
        let mut lines = text.split('\n');
        if lines.next() != Some(VERSION) {
            return Err(bad(1, "unknown version"));
        }
        let count: usize = lines.next().and_then(number).ok_or(bad(2, "not a count"))?;
        let mut epochs = LeaderEpochs::new();
        for (i, line) in lines.enumerate() {
            let entry = line.split_once(' ').and_then(|(e, s)| Some((number::<i32>(e)?, number::<i64>(s)?)));
            let (epoch, start) = entry.ok_or(bad(i + 3, "not an epoch and an offset"))?;
            if epochs.latest().is_some_and(|(e, s)| epoch <= e || start <= s) {
                return Err(bad(i + 3, "out of order"));
            }
            epochs.entries.push((epoch, start));
        }
        if epochs.entries.len() != count {
            return Err(bad(2, "not the count of the lines that follow"));
        }
        Ok(epochs)
    }

    /// The content of the checkpoint file.
    pub(crate) fn print(&self) -> String {
        let mut text = format!("{VERSION}\n{}\n", self.entries.len());
        for (epoch, start) in &self.entries {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{epoch} {start}");
        }
        text
    }

    /// The latest epoch and its start offset.
    pub(crate) fn latest(&self) -> Option<(i32, i64)> {
        self.entries.last().copied()
    }

    /// The epoch in which the record at `offset` was written.
    pub(crate) fn epoch_at(&self, offset: i64) -> Option<i32> {
        let after = self.entries.partition_point(|&(_, start)| start <= offset);
        after.checked_sub(1).map(|at| self.entries[at].0)
    }

    /// Notes that `epoch` begins at `start`; entries that this contradicts go. Returns whether anything
    /// changed: a known epoch does not, nor does an unknown (negative) one.
    pub(crate) fn assign(&mut self, epoch: i32, start: i64) -> bool {
        if epoch < 0 || start < 0 {
            return false;
        }
        if self.latest().is_some_and(|(e, s)| e == epoch && s <= start) {
            return false;
        }
        while self.latest().is_some_and(|(e, s)| e >= epoch || s >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        true
    }

    /// Where the log of somebody whose last epoch is `epoch` ends in ours: the greatest epoch of ours
    /// that is not above it (or `epoch` itself, if ours all are), and the offset where the next begins.
    /// `None` where nothing can be said.
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        let (latest, _) = self.latest()?;
        if epoch < 0 || epoch > latest {
            return None;
        }
        if epoch == latest {
            return Some((epoch, log_end));
        }
        let after = self.entries.partition_point(|&(e, _)| e <= epoch);
        let floor = after.checked_sub(1).map_or(epoch, |at| self.entries[at].0);
        self.entries.get(after).map(|&(_, start)| (floor, start))
    }

    /// Forgets epochs that begin at `offset` or later, as the log now ends there. Returns whether
    /// anything changed.
    pub(crate) fn truncate_from_end(&mut self, offset: i64) -> bool {
        let keep = self.entries.partition_point(|&(_, start)| start < offset);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// The log is cut at `offset`: epochs that begin there or later are forgotten but for the latest, which
    /// goes on from there, so that no epoch is given twice. Returns whether anything changed.
    pub(crate) fn cut_at(&mut self, offset: i64) -> bool {
        let latest = self.latest();
        let changed = self.truncate_from_end(offset);
        if let Some((epoch, _)) = latest.filter(|_| changed) {
            self.assign(epoch, offset);
        }
        changed
    }

    /// Forgets what lies below `offset`, as the log now begins there: the epoch that reaches over it
    /// begins there too. Returns whether anything changed.
    pub(crate) fn truncate_from_start(&mut self, offset: i64) -> bool {
        let dropped = self.entries.partition_point(|&(_, start)| start <= offset);
        let Some(last) = dropped.checked_sub(1) else { return false };
        let changed = last > 0 || self.entries[last].1 != offset;
        self.entries.drain(..last);
        self.entries[0].1 = offset;
        changed
    }
}

/// Digits and nothing else.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}
