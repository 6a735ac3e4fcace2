//! What is known of the producers of a log, on disk and found again.
//!
//! ```text
//!   checkpoint, roll, close:  state --> candidate --(once the log is durable so far)--> <offset>.snapshot, .txnindex
//!   opening, truncation:      the newest good snapshot, and the batches behind it --> state
//! ```
//!
//! Invariants
//! - A snapshot is a cache: it is written of what is durable only, and made anew from the batches where it is not good.
//! - Lock order: the files, the append lock, the state, the aborted transactions.

use std::sync::Arc;

use super::log::Log;
use super::produced::{State, marker_of};
use super::producers::{AbortedIndex, Candidate, Marker, ProducerFiles, ProducerTable};
use crate::error::Result;
use crate::format::batch::HEADER_LEN;
use crate::format::snapshot;
use crate::segment::{BatchAt, Segment};
use crate::sync::atomic::Ordering;

impl Log {
    /// Brings the producer state to disk as far as the log is durable: up to `flushed`, in the segment `active`.
    pub(super) fn checkpoint_producers(&self, flushed: u64, active: u64) -> Result<()> {
        if !self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        let now = self.environment.clock().now().millis();
        self.trim_aborted();
        let mut files = self.producers.files.lock();
        self.snapshot_roll(&mut files, active, now)?;
        let mut ready = files.candidate.take_if(|candidate| candidate.offset <= flushed);
        let taken = {
            // The append lock, so that offset and state belong together.
            let appender = self.append.lock();
            let next = appender.next_offset();
            let mut state = self.producers.state.lock();
            let changed = std::mem::take(&mut state.changed);
            changed.then(|| self.candidate(&state, next))
        };
        match taken {
            Some(candidate) if candidate.offset <= flushed => ready = Some(candidate),
            Some(candidate) => files.candidate = Some(candidate),
            None => {}
        }
        match ready {
            Some(ready) => files.store(&self.home, &self.bases(), &ready),
            None => Ok(()),
        }
    }

    /// The producer state at the end of a log that is closed, durably.
    pub(super) fn close_producers(&self, end: u64) -> Result<()> {
        if !self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        self.trim_aborted();
        let mut files = self.producers.files.lock();
        if let Some(active) = self.active_segment() {
            self.snapshot_roll(&mut files, active.base(), self.environment.clock().now().millis())?;
        }
        let candidate = self.candidate(&self.producers.state.lock(), end);
        files.store(&self.home, &self.bases(), &candidate)
    }

    /// The segment `base` has been begun since the last time: the state as of there, durably. It is made from the
    /// snapshot before and the batches since, which takes no lock that an append needs; while batches are staged the
    /// state in memory is ahead of the roll anyway. It is a cache: where it cannot be made, there is none.
    fn snapshot_roll(&self, files: &mut ProducerFiles, base: u64, now: i64) -> Result<()> {
        if files.rolled >= base {
            return Ok(());
        }
        files.rolled = base;
        let Some((from, mut table)) = files.before_roll(&self.home, base, now) else { return Ok(()) };
        // No files are closed from here: that flushes, and who holds the write lock may wait for this checkpoint.
        let replayed = self.walk_batches(
            from.max(self.log_start()),
            base,
            || (),
            |segment, batch| {
                if let Some(marker) = self.note_replayed(&mut table, segment, batch, now)? {
                    table.end(&marker, now);
                }
                Ok(())
            },
        );
        if replayed.is_err() {
            return Ok(());
        }
        let mut aborted = self.producers.aborted.read().entries().to_vec();
        aborted.retain(|entry| (entry.last_offset as u64) < base);
        let snapshot = snapshot::encode(&table.entries());
        // Of some it tells what came later: then they have been heard of, too.
        let seen = self.producers.state.lock().table.seen();
        files.store(&self.home, &self.bases(), &Candidate { offset: base, snapshot, aborted, seen })
    }

    fn candidate(&self, state: &State, offset: u64) -> Candidate {
        let snapshot = snapshot::encode(&state.table.entries());
        let aborted = self.producers.aborted.read().entries().to_vec();
        Candidate { offset, snapshot, aborted, seen: state.table.seen() }
    }

    /// Forgets the aborted transactions of which nothing is left. Not under the append lock: it may wait for a manifest.
    pub(super) fn trim_aborted(&self) {
        let bound = self.marks.log_start().max(self.void_below());
        self.producers.aborted.write().drop_below(bound);
    }

    fn bases(&self) -> Vec<u64> {
        self.segments.read().iter().map(|segment| segment.base()).collect()
    }

    /// Finds the producer state again, from the snapshots at these offsets and the log behind them. Before a file is
    /// opened `make_room` may close others.
    pub(super) fn load_producers(&self, snapshots: Vec<u64>, make_room: impl Fn()) -> Result<()> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let now = self.environment.clock().now().millis();
        let end = self.log_end();
        let mut files = self.producers.files.lock();
        files.found(&self.home, snapshots, end)?;
        self.producers.exist.store(true, Ordering::Release);
        let loaded = files.load(&self.home, now);
        files.rolled = self.active_segment().map_or(0, |active| active.base());
        let mut state = self.producers.state.lock();
        let (from, table, aborted) = loaded.unwrap_or((0, ProducerTable::default(), AbortedIndex::default()));
        state.table = table;
        *self.producers.aborted.write() = aborted;
        state.changed = from < end;
        self.walk_batches(from.max(self.log_start()), end, make_room, |segment, batch| {
            self.replay_batch(&mut state, segment, batch, now)
        })?;
        self.marks.set_first_unstable(state.table.first_unstable());
        drop(state);
        self.trim_aborted();
        Ok(())
    }

    /// A truncation has taken records away: the state is that of what is left.
    pub(super) fn reload_producers(&self) -> Result<()> {
        if !self.producers.exist.load(Ordering::Acquire) {
            return Ok(());
        }
        // To close files is to wait for flushes of theirs, which wait for what the truncation holds.
        self.load_producers(super::open::snapshots_in(&self.home)?, || ())
    }

    fn replay_batch(&self, state: &mut State, segment: &Segment, batch: &BatchAt, now: i64) -> Result<()> {
        if let Some(marker) = self.note_replayed(&mut state.table, segment, batch, now)? {
            self.note_end(state, &marker, now);
        }
        Ok(())
    }

    /// Notes a batch of the log in a table; answers the marker that it is.
    fn note_replayed(
        &self,
        table: &mut ProducerTable,
        segment: &Segment,
        batch: &BatchAt,
        now: i64,
    ) -> Result<Option<Marker>> {
        let header = &batch.header;
        if header.producer_id < 0 {
            return Ok(None);
        }
        if !header.attributes.is_control() {
            if header.base_sequence >= 0 {
                table.note(header, now);
            }
            return Ok(None);
        }
        let records = segment.open()?;
        let start = batch.position + HEADER_LEN as u64;
        let bytes = records.read(start, (batch.end() - start) as usize)?;
        Ok(marker_of(header, &bytes))
    }

    /// Every batch from the one that holds `from` up to `to`; `make_room` is called before each segment.
    fn walk_batches(
        &self,
        from: u64,
        to: u64,
        make_room: impl Fn(),
        mut visit: impl FnMut(&Arc<Segment>, &BatchAt) -> Result<()>,
    ) -> Result<()> {
        let gaps = self.manifest.lock().compacted;
        let mut next = from;
        let mut segment = self.segment_for(from);
        while let Some(here) = segment.filter(|_| next < to) {
            make_room();
            let mut position = here.seek(next, gaps)?;
            while let Some(batch) = here.batch_at(position)? {
                if batch.header.base_offset as u64 >= to {
                    return Ok(());
                }
                if batch.header.last_offset() as u64 >= from {
                    visit(&here, &batch)?;
                }
                position = batch.end();
                next = batch.header.last_offset() as u64 + 1;
            }
            self.note_opened();
            segment = self.segment_after(here.base());
            next = segment.as_ref().map_or(next, |segment| next.max(segment.base()));
        }
        Ok(())
    }
}
