//! Reading everything, and telling a torn tail from damage.
//!
//! ```text
//!                      recovery point
//!   | batch | batch | batch | batch | batch | ? ? ?
//!     not intact: corrupt   |   not intact: unsettled (the next opening cuts or seals it)
//! ```
//!
//! Invariants
//! - Nothing is written.
//! - What damages one partition does not keep the others from being read.
//! - Beside a live broker the newest segment's end, and files that go while they are looked at, are no
//!   findings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::observed::{describes, open_batch_bytes};
use super::observer::{load_epochs, points_of};
use super::points::Points;
use super::progress::Progress;
use super::small_file::{BROKER, POINTS};
use super::verify_index::IndexCheck;
use super::verify_report::{Finding, Verdict, VerifiedPartition, VerifyReport};
use super::walk::{Walk, WalkStop, denied_by};
use super::{cells, folders, unfinished};
use crate::env::FileSystem;
use crate::error::{Error, ErrorKind, Result};
use crate::format::leader_epochs::LeaderEpochs;
use crate::partition::{PartitionManifest, RecoveryPoint};
use crate::segment::{FileKind, FoundCell, ScannedBatch};
use crate::topic::{TopicLife, TopicManifest};
use crate::types::{TopicId, TopicPartition};

/// Tell of progress once in so many bytes.
const PROGRESS_STEP: u64 = 4 << 20;

/// One verification.
pub(super) struct Verification<'a> {
    files: &'a Arc<dyn FileSystem>,
    dir: &'a Path,
    progress: &'a mut dyn FnMut(&Progress),
    points: Points,
    /// The directory was closed in order.
    closed: bool,
    cells: Vec<FoundCell>,
    report: VerifyReport,
    done: usize,
    total: usize,
}

/// A partition that is being read.
struct Subject {
    tp: TopicPartition,
    topic_id: TopicId,
    point: Option<RecoveryPoint>,
    epochs: Option<LeaderEpochs>,
}

/// So often a partition is looked at that is open, and in which something seems to be wrong.
const LOOKS: u32 = 5;

impl<'a> Verification<'a> {
    pub(super) fn new(
        files: &'a Arc<dyn FileSystem>,
        dir: &'a Path,
        live: bool,
        progress: &'a mut dyn FnMut(&Progress),
    ) -> Verification<'a> {
        let report = VerifyReport { live, ..VerifyReport::default() };
        let (points, cells) = (Points::default(), Vec::new());
        Verification { files, dir, progress, points, closed: false, cells, report, done: 0, total: 0 }
    }

    /// Reads everything.
    pub(super) fn run(mut self) -> Result<VerifyReport> {
        self.check_own_files()?;
        (self.points, self.closed) = points_of(&**self.files, self.dir)?;
        self.cells = cells::found(&**self.files, self.dir)?;
        let topics = self.load_topics()?;
        self.total = topics.iter().map(|topic| topic.ready as usize).sum();
        self.check_folders(&topics)?;
        for topic in &topics {
            self.topic(topic)?;
        }
        Ok(self.report)
    }

    fn check_own_files(&mut self) -> Result<()> {
        let files = &**self.files;
        let broker = self.dir.join(BROKER);
        match super::manifest::BrokerManifest::load(files, self.dir) {
            Ok(Some(_)) => {}
            Ok(None) => self.found(Verdict::Corrupt, None, &broker, 0, "the broker's manifest is missing"),
            Err(e) => self.found_error(Verdict::Corrupt, None, &broker, e)?,
        }
        if let Err(e) = Points::check(files, self.dir) {
            // Costs the next opening time, if it needs the points at all.
            self.found_error(Verdict::Unsettled, None, &self.dir.join(POINTS), e)?;
        }
        Ok(())
    }

    fn load_topics(&mut self) -> Result<Vec<TopicManifest>> {
        let mut topics = Vec::new();
        for path in TopicManifest::list(&**self.files, self.dir)? {
            match TopicManifest::load(&**self.files, &path) {
                Ok(topic) => topics.push(topic),
                Err(e) => self.found_error(Verdict::Corrupt, None, &path, e)?,
            }
        }
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// Folders of partitions whose topic nobody knows.
    fn check_folders(&mut self, topics: &[TopicManifest]) -> Result<()> {
        let list =
            self.files.list(self.dir).map_err(|e| Error::io("list the data directory", self.dir, e))?;
        for tp in
            list.iter().filter(|entry| entry.is_dir).filter_map(|entry| folders::partition_of(&entry.name))
        {
            let known = topics.iter().any(|topic| topic.name == *tp.topic());
            if !known && !self.report.live {
                let why = "a partition's folder, but there is no readable manifest of its topic";
                let path = folders::folder(self.dir, &tp);
                self.found(Verdict::Corrupt, Some(&tp), &path, 0, why);
            }
        }
        Ok(())
    }

    fn topic(&mut self, topic: &TopicManifest) -> Result<()> {
        let path = topic.path(self.dir);
        if topic.life == TopicLife::Deleting {
            self.found(Verdict::Unsettled, None, &path, 0, "the topic's deletion is not finished");
            return Ok(());
        }
        if topic.ready < topic.config.partition_count() && !self.report.live {
            self.found(Verdict::Unsettled, None, &path, 0, "the creation of partitions is not finished");
        }
        let before = self.report.findings.len();
        for number in 0..topic.ready {
            let tp = TopicPartition::new(topic.name.clone(), number);
            self.look_at(topic, &tp)?;
            self.done += 1;
        }
        if self.report.live && self.report.findings.len() > before && self.is_gone(topic, &path) {
            self.report.findings.truncate(before);
        }
        Ok(())
    }

    /// Looks at a partition; where a broker has it open, and may have exchanged files between two looks, more than once
    /// before anything is wrong.
    fn look_at(&mut self, topic: &TopicManifest, tp: &TopicPartition) -> Result<()> {
        let (findings, partitions) = (self.report.findings.len(), self.report.partitions.len());
        for left in (0..LOOKS).rev() {
            if let Err(e) = self.partition(topic, tp) {
                let folder = folders::folder(self.dir, tp);
                self.found_error(Verdict::Corrupt, Some(tp), &folder, e)?;
            }
            if left == 0 || !self.report.live || self.report.findings.len() == findings {
                break;
            }
            self.report.findings.truncate(findings);
            self.report.partitions.truncate(partitions);
        }
        Ok(())
    }

    /// The broker that has the directory open has deleted the topic meanwhile.
    fn is_gone(&self, topic: &TopicManifest, path: &Path) -> bool {
        let files = &**self.files;
        match TopicManifest::load(files, path) {
            Ok(now) => now.id != topic.id || now.life == TopicLife::Deleting,
            Err(_) => files.exists(path).is_ok_and(|there| !there),
        }
    }

    fn partition(&mut self, topic: &TopicManifest, tp: &TopicPartition) -> Result<()> {
        let folder = folders::folder(self.dir, tp);
        if !self.files.exists(&folder).map_err(|e| Error::io("look for a folder", &folder, e))? {
            self.found(Verdict::Corrupt, Some(tp), &folder, 0, "the partition's folder is missing");
            return Ok(());
        }
        let Some(walk) = Walk::new(self.files, &folder)? else {
            self.found(Verdict::Corrupt, Some(tp), &folder, 0, "the partition's manifest is missing");
            return Ok(());
        };
        if walk.manifest().topic_id != topic.id {
            self.found(
                Verdict::Corrupt,
                Some(tp),
                &folder,
                0,
                "the folder belongs to another topic of this name",
            );
            return Ok(());
        }
        if walk.manifest().truncation.is_some() && !self.report.live {
            self.found(Verdict::Unsettled, Some(tp), &folder, 0, "a truncation is not finished");
        }
        if !self.report.live {
            self.check_unfinished(tp, &folder, walk.manifest())?;
        }
        let generation = walk.manifest().generation;
        let point = self.points.get((topic.id, tp.partition())).copied();
        let subject = Subject {
            tp: tp.clone(),
            topic_id: topic.id,
            point: point.filter(|point| point.generation == generation),
            epochs: load_epochs(&**self.files, &folder)?,
        };
        self.walk(&subject, walk)
    }

    /// What was begun in the folder and not finished.
    fn check_unfinished(
        &mut self,
        tp: &TopicPartition,
        folder: &Path,
        manifest: &PartitionManifest,
    ) -> Result<()> {
        let files = self.files.clone();
        match unfinished::exchange(&*files, folder, manifest)? {
            Some(Ok(what)) => self.found(Verdict::Unsettled, Some(tp), folder, 0, what),
            Some(Err(missing)) => self.found(Verdict::Corrupt, Some(tp), folder, 0, missing),
            None => {}
        }
        for (path, what) in unfinished::left_in(&*files, folder, manifest)? {
            self.found(Verdict::Unsettled, Some(tp), &path, 0, what);
        }
        Ok(())
    }

    fn walk(&mut self, subject: &Subject, mut walk: Walk) -> Result<()> {
        let bytes_total = walk.size()?;
        let mut seen = VerifiedPartition {
            topic_partition: subject.tp.clone(),
            log_start: walk.manifest().log_start,
            log_end: 0,
            batches: 0,
            records: 0,
            bytes: 0,
            segments: walk.bases().len(),
        };
        let mut index = IndexCheck::new(self.files, subject.point, self.closed);
        let mut told = 0;
        let stop = loop {
            match walk.next()? {
                Ok(batch) => {
                    let segment = walk.segment();
                    self.check_epoch(subject, &walk, segment, &batch);
                    self.check_point(subject, &walk, segment, &batch);
                    index.batch(&walk, segment, &batch);
                    seen.batches += 1;
                    seen.records += u64::from(batch.header.records_count.unsigned_abs());
                    seen.bytes += batch.bytes.len() as u64;
                    if seen.bytes >= told {
                        told = seen.bytes + PROGRESS_STEP;
                        self.tell(subject, seen.bytes, bytes_total);
                    }
                }
                Err(stop) => break stop,
            }
        };
        self.tell(subject, seen.bytes, bytes_total);
        seen.log_end = stop.offset;
        self.report.partitions.push(seen);
        for (path, position, why) in index.finish(&walk) {
            self.found(Verdict::Corrupt, Some(&subject.tp), &path, position, why);
        }
        self.judge_end(subject, &walk, stop)
    }

    /// What the end of a walk means.
    fn judge_end(&mut self, subject: &Subject, walk: &Walk, stop: WalkStop) -> Result<()> {
        let path = walk.path(FileKind::Log, stop.segment);
        let tp = Some(&subject.tp);
        if let Some(point) = subject.point.as_ref().filter(|point| stop.is_below(point)) {
            let ended = format!("the log ends here, below its recovery point, offset {}", point.offset);
            self.found(Verdict::Corrupt, tp, &path, stop.position, stop.why.unwrap_or(ended));
            return Ok(());
        }
        if self.closed {
            if let Some(why) = stop.why {
                self.found(Verdict::Corrupt, tp, &path, stop.position, why);
            } else if stop.file_len > stop.position {
                let why = "the file is longer than it was when the broker was closed";
                self.found(Verdict::Unsettled, tp, &path, stop.position, why);
            }
            return Ok(());
        }
        let Some(why) = stop.why else { return Ok(()) };
        if self.report.live && stop.last {
            return Ok(());
        }
        let cell = self
            .cells
            .iter()
            .find(|cell| describes(cell, subject.topic_id, &subject.tp, stop.segment, stop.offset));
        let open = match cell {
            Some(cell) => open_batch_bytes(walk, cell, stop.position)?,
            None => None,
        };
        let why = match open {
            Some(bytes) => format!("an open batch of {} bytes, which the next opening seals", bytes.len()),
            None => format!("a torn tail, which the next opening cuts: {why}"),
        };
        self.found(Verdict::Unsettled, tp, &path, stop.position, why);
        Ok(())
    }

    /// Below the recovery point the checkpoint of leader epochs and the batches agree.
    fn check_epoch(&mut self, subject: &Subject, walk: &Walk, segment: u64, batch: &ScannedBatch) {
        let header = &batch.header;
        let below = subject.point.is_some_and(|point| (header.base_offset as u64) < point.offset);
        let known = subject.epochs.as_ref().and_then(|epochs| epochs.epoch_at(header.base_offset));
        let Some(known) = known.filter(|known| below && *known != header.leader_epoch) else { return };
        let why = format!(
            "the batch at offset {} has the leader epoch {}, the checkpoint says {known}",
            header.base_offset, header.leader_epoch
        );
        let path = walk.path(FileKind::Log, segment);
        self.found(Verdict::Corrupt, Some(&subject.tp), &path, batch.position, why);
    }

    /// Below the recovery point there are only offsets below its own.
    fn check_point(&mut self, subject: &Subject, walk: &Walk, segment: u64, batch: &ScannedBatch) {
        let denied = subject.point.and_then(|point| denied_by(&point, segment, batch));
        if let Some(why) = denied {
            let path = walk.path(FileKind::Log, segment);
            self.found(Verdict::Corrupt, Some(&subject.tp), &path, batch.position, why);
        }
    }

    fn tell(&mut self, subject: &Subject, bytes_done: u64, bytes_total: u64) {
        (self.progress)(&Progress {
            partition: subject.tp.clone(),
            bytes_done,
            bytes_total: bytes_total.max(bytes_done),
            partitions_done: self.done,
            partitions_total: self.total,
        });
    }

    fn found(
        &mut self,
        verdict: Verdict,
        tp: Option<&TopicPartition>,
        path: &Path,
        position: u64,
        why: impl Into<String>,
    ) {
        let (path, why) = (path.to_path_buf(), why.into());
        self.report.findings.push(Finding { verdict, topic_partition: tp.cloned(), path, position, why });
    }

    /// An error met on the way: a finding if it is about what was read, else an error still.
    fn found_error(
        &mut self,
        verdict: Verdict,
        tp: Option<&TopicPartition>,
        path: &Path,
        error: Error,
    ) -> Result<()> {
        let path: PathBuf = error.path().unwrap_or(path).to_path_buf();
        let gone = || self.files.exists(&path).is_ok_and(|there| !there);
        match error.kind() {
            ErrorKind::Corrupted => {
                self.found(verdict, tp, &path, 0, format!("{error:#}"));
                Ok(())
            }
            // Deleted under our eyes.
            ErrorKind::Io if self.report.live && gone() => Ok(()),
            _ => Err(error),
        }
    }
}
