//! A log on a simulated disk, with batches made by hand, beside what it must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cleaner::pace::Unhurried;
use crate::cleaner::{Compaction, CompactionReport, Pace};
use crate::config::{CleanupPolicy, Compression, CrcCheck, Durability, TopicConfig};
use crate::env::FileSystem;
use crate::env::sim::{SimDisk, SimEnvironment};
use crate::error::Result;
use crate::format::batch::{Attributes, BatchBuilder, BatchHeader, BatchSpec};
use crate::format::control::{EndTxnMarker, TxnOutcome};
use crate::partition::{
    Budget, Cursor, FinishedBatch, Found, Log, LogSettings, Opening, Patience, ReadLimits, RecoveryPoint,
    Unattended,
};
use crate::segment::OpenSegments;
use crate::types::{ByteSize, TopicId, TopicName, TopicPartition};

pub(super) const RETENTION_MS: i64 = 1_000;

/// A record that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) key: u8,
    pub(super) value: Option<String>,
}

/// A batch that was appended.
#[derive(Clone, Debug)]
pub(super) struct SentBatch {
    pub(super) base: u64,
    pub(super) producer: i64,
    pub(super) transactional: bool,
    pub(super) marker: Option<TxnOutcome>,
    pub(super) records: Vec<Sent>,
    /// When its tombstones may go, once a pass has said so.
    pub(super) horizon: Option<i64>,
}

impl SentBatch {
    pub(super) fn end(&self) -> u64 {
        self.base + self.records.len().max(1) as u64
    }
}

/// The log and its past.
pub(super) struct World {
    pub(super) sim: SimEnvironment,
    pub(super) settings: LogSettings,
    pub(super) log: Option<Arc<Log>>,
    pub(super) point: Option<RecoveryPoint>,
    pub(super) batches: Vec<SentBatch>,
    pub(super) open: BTreeMap<i64, u64>,
    pub(super) sequences: BTreeMap<i64, i32>,
    pub(super) memory: u64,
}

pub(super) fn settings() -> LogSettings {
    let config = TopicConfig::new()
        .cleanup_policy(CleanupPolicy::Compact)
        .delete_retention(Duration::from_millis(RETENTION_MS as u64))
        .durability(Durability::Sync)
        .compression(Compression::None)
        .index_interval(ByteSize::bytes(256))
        .segment_size(ByteSize::bytes(1500))
        .batch_size(ByteSize::bytes(1024));
    LogSettings::of(&config, false, Duration::from_secs(30), Duration::from_secs(86_400))
}

impl World {
    pub(super) fn new() -> World {
        let sim = SimEnvironment::on(SimDisk::new(), 1);
        sim.disk().create_dir(Path::new("/data")).unwrap();
        sim.disk().sync_dir(Path::new("/")).unwrap();
        let mut world = World {
            sim,
            settings: settings(),
            log: None,
            point: None,
            batches: Vec::new(),
            open: BTreeMap::new(),
            sequences: BTreeMap::new(),
            memory: 1 << 20,
        };
        world.open_as(Found::New).unwrap();
        world.sim.disk().sync_dir(Path::new("/data")).unwrap();
        world
    }

    /// The same past over another disk.
    pub(super) fn on(&self, disk: SimDisk) -> World {
        World {
            sim: SimEnvironment::on(disk, 3),
            settings: self.settings.clone(),
            log: None,
            point: self.point,
            batches: self.batches.clone(),
            open: self.open.clone(),
            sequences: self.sequences.clone(),
            memory: self.memory,
        }
    }

    pub(super) fn open_as(&mut self, state: Found) -> Result<()> {
        let pin = self.sim.disk().lock(Path::new("/data/lock")).unwrap();
        let opening = Opening {
            tp: TopicPartition::new(TopicName::new("t").unwrap(), 0),
            topic_id: TopicId::from_bytes([9; 16]),
            dir: PathBuf::from("/data/t-0"),
            environment: &self.sim.environment(),
            settings: self.settings.clone(),
            map: true,
            crc_check: CrcCheck::Once,
            pin: Arc::from(pin),
            open_segments: OpenSegments::new(64),
            budget: Arc::new(Budget::new(1 << 20)),
            attendant: Arc::new(Unattended),
            state,
            cell: None,
            found_cells: &[],
            progress: &|_| {},
        };
        self.log = Some(opening.open()?.log);
        Ok(())
    }

    pub(super) fn reopen_after_crash(&mut self) -> Result<()> {
        self.log = None;
        self.open_as(Found::Unclean(self.point))?;
        // Nobody goes on with what was open: the model neither.
        Ok(())
    }

    pub(super) fn log(&self) -> &Arc<Log> {
        self.log.as_ref().unwrap()
    }

    pub(super) fn now(&self) -> i64 {
        self.log().clock().now().millis()
    }

    /// Appends a batch of `records`; `producer` is -1 for none.
    pub(super) fn send(&mut self, producer: i64, transactional: bool, records: Vec<Sent>) {
        let attributes = match transactional {
            true => Attributes::NONE.with_transactional(),
            false => Attributes::NONE,
        };
        let sequence = self.sequences.get(&producer).copied().unwrap_or(0);
        let identified = producer >= 0;
        let mut builder = BatchBuilder::new(BatchSpec {
            attributes,
            leader_epoch: 0,
            producer_id: producer,
            producer_epoch: if identified { 0 } else { -1 },
            base_sequence: if identified { sequence } else { -1 },
        });
        let now = self.now();
        for (i, record) in records.iter().enumerate() {
            let key = [b'k', record.key];
            builder.append(now + i as i64, Some(&key), record.value.as_deref().map(str::as_bytes), &[]);
        }
        if identified {
            self.sequences.insert(producer, sequence + records.len() as i32);
        }
        let base = self.append(builder.finish(0, None).unwrap());
        if transactional {
            self.open.entry(producer).or_insert(base);
        }
        let sent = SentBatch { base, producer, transactional, marker: None, records, horizon: None };
        self.batches.push(sent);
    }

    /// Ends a producer's transaction, if one is open.
    pub(super) fn end(&mut self, producer: i64, outcome: TxnOutcome) {
        if self.open.remove(&producer).is_none() {
            return;
        }
        let marker = EndTxnMarker {
            outcome,
            producer_id: producer,
            producer_epoch: 0,
            coordinator_epoch: 0,
            timestamp: self.now(),
        };
        let base = self.append(marker.to_batch(0, 0).unwrap());
        let (records, marker) = (Vec::new(), Some(outcome));
        let sent = SentBatch { base, producer, transactional: true, marker, records, horizon: None };
        self.batches.push(sent);
    }

    fn append(&self, bytes: Vec<u8>) -> u64 {
        let mut batch = FinishedBatch::built(bytes).unwrap();
        let offset = self.log().append_batch(&mut batch, Patience::No).unwrap().offset;
        self.log().flush().unwrap();
        offset
    }

    /// Brings the recovery point to the end, as the broker does before a compaction.
    pub(super) fn checkpoint(&mut self) {
        self.log().flush().unwrap();
        if let Some(point) = self.log().checkpoint().unwrap() {
            self.point = Some(point);
            self.log().point_stored(point.segment);
        }
    }

    /// Makes everything so far ready to be compacted.
    pub(super) fn settle(&mut self) {
        self.log().roll_for_compaction().unwrap();
        self.checkpoint();
    }

    pub(super) fn compact(&self) -> Result<CompactionReport> {
        self.compact_at(&Unhurried)
    }

    pub(super) fn compact_at(&self, pace: &dyn Pace) -> Result<CompactionReport> {
        let guard = self.log().wait_to_clean();
        let compaction = Compaction { log: self.log(), memory: self.memory, pace, progress: &|_, _| {} };
        compaction.run(&guard)
    }

    /// Compacts, and notes in the model what the pass has stamped.
    pub(super) fn compact_and_note(&mut self) {
        let now = self.now();
        self.compact().unwrap();
        let end = self.log().cleaned_to();
        let survivors = self.survivors(now);
        for batch in &mut self.batches {
            let base = batch.base;
            let stamps = batch.records.iter().enumerate().any(|(i, record)| {
                let offset = base + i as u64;
                record.value.is_none() && offset < end && survivors.contains_key(&offset)
            });
            if stamps && batch.horizon.is_none() {
                batch.horizon = Some(now + RETENTION_MS);
            }
        }
    }

    /// The base offsets of the batches whose data was aborted.
    fn aborted(&self) -> BTreeSet<u64> {
        let mut outcome: BTreeMap<i64, TxnOutcome> = BTreeMap::new();
        let mut aborted = BTreeSet::new();
        for batch in self.batches.iter().rev() {
            if let Some(marker) = batch.marker {
                outcome.insert(batch.producer, marker);
            } else if batch.transactional && outcome.get(&batch.producer) == Some(&TxnOutcome::Abort) {
                aborted.insert(batch.base);
            }
        }
        // Of those still open nothing is known: their markers would be among the batches.
        for (producer, first) in &self.open {
            let of_open = |b: &&SentBatch| b.producer == *producer && b.base >= *first;
            self.batches.iter().filter(of_open).for_each(|batch| {
                aborted.remove(&batch.base);
            });
        }
        aborted
    }

    /// The records that the rules name, after a compaction at `now` that went up to where the log says it did.
    pub(super) fn survivors(&self, now: i64) -> BTreeMap<u64, Sent> {
        let cleaned_to = self.log().cleaned_to();
        let aborted = self.aborted();
        let mut latest: BTreeMap<u8, u64> = BTreeMap::new();
        for (offset, sent, batch) in self.sent() {
            if offset < cleaned_to && !aborted.contains(&batch.base) {
                latest.insert(sent.key, offset);
            }
        }
        let stays = |offset: u64, sent: &Sent, batch: &SentBatch| {
            if offset >= cleaned_to {
                return batch.base >= cleaned_to || !aborted.contains(&batch.base);
            }
            let gone = sent.value.is_none() && batch.horizon.is_some_and(|horizon| horizon <= now);
            !aborted.contains(&batch.base) && latest.get(&sent.key) == Some(&offset) && !gone
        };
        let kept = self.sent().filter(|(offset, sent, batch)| stays(*offset, sent, batch));
        kept.map(|(offset, sent, _)| (offset, sent.clone())).collect()
    }

    /// Every record ever sent.
    pub(super) fn sent(&self) -> impl Iterator<Item = (u64, &Sent, &SentBatch)> {
        self.batches.iter().flat_map(|batch| {
            let numbered = batch.records.iter().enumerate();
            numbered.map(move |(i, sent)| (batch.base + i as u64, sent, batch))
        })
    }

    /// Every record that a reader from the start sees.
    pub(super) fn read(&self) -> Result<BTreeMap<u64, Sent>> {
        let mut cursor = Cursor::new(self.log().clone(), self.log().log_start());
        let limits = ReadLimits { max_bytes: 1000, max_records: 100, crc: CrcCheck::Once };
        let mut seen = BTreeMap::new();
        while let Some(chunk) = cursor.read(u64::MAX, &limits)? {
            for record in chunk.iter() {
                let record = record?;
                let key = record.record.key.unwrap_or_default();
                let value = record.record.value.map(|v| String::from_utf8(v.to_vec()).unwrap());
                let before = seen.insert(record.offset, Sent { key: key[1], value });
                assert!(before.is_none(), "offset {} twice", record.offset);
            }
        }
        assert_eq!(cursor.next_offset(), self.log().high_watermark());
        Ok(seen)
    }

    /// Every batch header in the files, oldest first.
    pub(super) fn headers(&self) -> Vec<BatchHeader> {
        let mut headers = Vec::new();
        for segment in self.log().all_segments() {
            let mut position = 0;
            let files = segment.open().unwrap();
            while let Some(batch) = segment.batch_in(&files, position).unwrap() {
                headers.push(batch.header);
                position = batch.end();
            }
        }
        headers
    }

    /// What holds at every moment, whatever has been interrupted: nothing invented, nothing above the compacted
    /// part missing, every key's latest record there (or, of a tombstone that may go, nothing older).
    pub(super) fn check_safe(&self) {
        let (seen, now) = (self.read().unwrap(), self.now());
        let sent: BTreeMap<u64, (&Sent, &SentBatch)> =
            self.sent().map(|(offset, sent, batch)| (offset, (sent, batch))).collect();
        for (offset, record) in &seen {
            assert_eq!(sent.get(offset).map(|(sent, _)| *sent), Some(record), "invented at {offset}");
        }
        let aborted = self.aborted();
        let void = |offset: &u64| aborted.contains(&sent[offset].1.base);
        let mut latest: BTreeMap<u8, u64> = BTreeMap::new();
        for (&offset, (record, batch)) in &sent {
            if !aborted.contains(&batch.base) {
                latest.insert(record.key, offset);
            }
        }
        for (key, offset) in latest {
            let (record, batch) = sent[&offset];
            let older = seen.iter().find(|(at, seen)| **at < offset && seen.key == key && !void(at));
            let may_go = record.value.is_none() && batch.horizon.is_none_or(|horizon| horizon <= now);
            let there = seen.contains_key(&offset);
            assert!(there || may_go, "the latest of key {key}, at {offset}, is gone");
            assert!(there || older.is_none(), "key {key} is back, from {older:?}");
        }
        self.check_producers();
    }

    /// The last data batch of each producer is there, with or without records.
    fn check_producers(&self) {
        let headers = self.headers();
        for producer in 1..=3 {
            let data = |b: &&SentBatch| b.producer == producer && b.marker.is_none();
            let Some(last) = self.batches.iter().rev().find(data) else { continue };
            let kept =
                headers.iter().find(|h| h.producer_id == producer && h.next_offset() as u64 == last.end());
            let kept = kept.unwrap_or_else(|| panic!("the last batch of producer {producer} is gone"));
            assert_eq!(kept.base_offset as u64, last.base);
            assert_eq!(kept.last_sequence() + 1, self.sequences[&producer]);
        }
    }

    /// The surviving records are exactly those that the rules name.
    pub(super) fn check_exact(&self, now: i64) {
        assert_eq!(self.read().unwrap(), self.survivors(now));
        self.check_markers();
    }

    /// A transaction whose data is there has its marker.
    fn check_markers(&self) {
        let (seen, headers) = (self.read().unwrap(), self.headers());
        for batch in self.batches.iter().filter(|batch| batch.transactional && batch.marker.is_none()) {
            let there = (batch.base..batch.end()).any(|offset| seen.contains_key(&offset));
            let ends =
                |b: &&SentBatch| b.base > batch.base && b.producer == batch.producer && b.marker.is_some();
            if let (true, Some(marker)) = (there, self.batches.iter().find(ends)) {
                let found =
                    headers.iter().any(|h| h.base_offset as u64 == marker.base && h.records_count == 1);
                assert!(found, "the marker at {} is gone before its data", marker.base);
            }
        }
    }
}
