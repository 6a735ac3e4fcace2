//! Compaction: of each key the latest record stays.
//!
//! ```text
//!   round:  | already compacted     | new ....... | what is too young, unstable, or in the active segment
//!           log start     cleaned_to          end
//!           headers: survey ------------------------------------------------------------------------->
//!                                   keys -> offset map (may be full before the end: another round follows)
//!           groups of segments, oldest first: filtered into one segment each, swapped, durably
//! ```
//!
//! Invariants
//! - Offsets never change; the records above the round's end, and every key's latest one, are always there.
//! - A group is in place, durably, before the next is begun: a tombstone goes only after what it has deleted.
//! - Whatever fails, the log holds the same latest records as before; what was half written is thrown away.

use std::sync::Arc;

use super::filter::{MAX_DECOMPRESSED, Rules, Verdict};
use super::offset_map::OffsetMap;
use super::pace::Pace;
use super::plan::{groups, span_of_groups};
use super::report::CompactionReport;
use super::siphash::SipHash;
use super::survey::{Survey, control_type, survey};
use super::transactions::Transactions;
use crate::error::{Error, Result};
use crate::format::batch::{BatchHeader, BatchView, Records};
use crate::partition::{CleanableSegment, CleaningGuard, Log, LogSettings};
use crate::segment::{BatchCheck, CleanedSegment, OpenSegment, Scan, ScannedBatch, Stop};

/// One log's compaction.
pub(crate) struct Compaction<'a> {
    /// The log.
    pub(crate) log: &'a Arc<Log>,
    /// The most memory for offsets of keys, in bytes.
    pub(crate) memory: u64,
    /// Holds it back, or ends it.
    pub(crate) pace: &'a dyn Pace,
    /// Hears how many bytes of how many have been worked through in this round.
    pub(crate) progress: &'a dyn Fn(u64, u64),
}

/// What one round works on.
struct Round<'a> {
    compaction: &'a Compaction<'a>,
    guard: &'a CleaningGuard<'a>,
    sources: Vec<CleanableSegment>,
    total: u64,
    done: u64,
    report: CompactionReport,
}

impl Compaction<'_> {
    /// Compacts all that may be compacted now; the caller holds the log for it.
    pub(crate) fn run(&self, guard: &CleaningGuard<'_>) -> Result<CompactionReport> {
        let mut report = CompactionReport::default();
        let Some(bound) = super::plan::sources(self.log)?.last().map(|last| last.end_offset) else {
            return Ok(report);
        };
        loop {
            let Some((round, whole)) = self.round(guard, bound)? else { return Ok(report) };
            report.add(&round);
            if whole {
                return Ok(report);
            }
        }
    }

    /// One round, up to `bound` at most, and whether it got there; `None` if the segments have changed under it.
    fn round(&self, guard: &CleaningGuard<'_>, bound: u64) -> Result<Option<(CompactionReport, bool)>> {
        let mut sources = super::plan::sources(self.log)?;
        sources.retain(|source| source.end_offset <= bound);
        let Some(end) = sources.last().map(|last| last.end_offset) else { return Ok(None) };
        let first_dirty = self.log.cleaned_to().max(self.log.log_start());
        let bytes = |source: &CleanableSegment| source.bytes;
        let dirty: u64 = sources.iter().filter(|s| s.end_offset > first_dirty).map(bytes).sum();
        let total = dirty + sources.iter().map(bytes).sum::<u64>();
        let survey = survey(self.log, first_dirty, end)?;
        let stable = survey.first_open.map_or(end, |open| open.min(end));
        let report = CompactionReport::default();
        let mut round = Round { compaction: self, guard, sources, total, done: 0, report };
        let (map, end) = round.map_keys(&survey, first_dirty, stable)?;
        round.report.keys = map.len() as u64;
        let settings = self.log.settings();
        let rules = Rules {
            map: &map,
            end,
            settled: first_dirty,
            now: self.log.clock().now().millis(),
            delete_retention: i64::try_from(settings.cleanup.delete_retention.as_millis())
                .unwrap_or(i64::MAX),
            producers: &survey.producers,
        };
        if !round.rewrite(&rules, &survey, &settings)? {
            return Ok(None);
        }
        self.log.set_cleaned_to(end)?;
        round.report.rounds = 1;
        Ok(Some((round.report, end >= stable)))
    }
}

impl Round<'_> {
    /// The latest offset of each key among the records from `from` on; answers where the map ends, too.
    fn map_keys(&mut self, survey: &Survey, from: u64, end: u64) -> Result<(OffsetMap, u64)> {
        let random = self.compaction.log.random();
        let hash = SipHash::new(random.next_u64(), random.next_u64());
        let mut map = OffsetMap::new(survey.dirty_records, self.compaction.memory, hash);
        let mut transactions = Transactions::new(&survey.aborted);
        let dirty: Vec<_> = self.sources.iter().filter(|s| s.end_offset > from).cloned().collect();
        for source in dirty {
            let (mut scan, _open) = self.scan_of(&source)?;
            while let Some(batch) = self.next_batch(&mut scan, &source)? {
                let header = &batch.header;
                let skipped = header.attributes.is_control() || transactions.is_void(header);
                if header.base_offset as u64 >= end {
                    return Ok((map, end));
                }
                if skipped || (header.last_offset() as u64) < from {
                    continue;
                }
                if let Some(full_at) = map_batch(&mut map, &batch, from).map_err(at(&source, &batch))? {
                    return Ok((map, full_at));
                }
            }
        }
        Ok((map, end))
    }

    /// Writes every group of segments anew; `false` if segments have changed meanwhile.
    fn rewrite(&mut self, rules: &Rules<'_>, survey: &Survey, settings: &LogSettings) -> Result<bool> {
        let mut transactions = Transactions::new(&survey.aborted);
        let sources: Vec<_> = self.sources.iter().filter(|s| s.segment.base() < rules.end).cloned().collect();
        for group in groups(&sources, settings.segment_size, span_of_groups(settings)) {
            if !self.rewrite_group(group, rules, &mut transactions)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rewrite_group(
        &mut self,
        group: &[CleanableSegment],
        rules: &Rules<'_>,
        transactions: &mut Transactions<'_>,
    ) -> Result<bool> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(true) };
        let log = self.compaction.log;
        let base = first.segment.base();
        let replaced = log.begin_cleaned(base).and_then(|mut cleaned| {
            let changed = self.filter_group(group, rules, transactions, &mut cleaned)?;
            let (changed, tombstones_gone) = changed.map_or((false, 0), |gone| (true, gone));
            self.report.bytes_after += cleaned.len();
            self.report.segments_after += 1;
            if !changed && group.len() == 1 {
                drop(cleaned);
                return log.discard_cleaned(base).map(|()| true);
            }
            let times = (first.first_append, last.last_append);
            log.replace(self.guard, group, cleaned.finish(times.0, times.1)?, tombstones_gone)
        });
        if replaced.is_err() {
            // The error counts; what is left over is overwritten, or thrown away at the next opening.
            let _ = log.discard_undecided(base);
        }
        replaced
    }

    /// Answers, if anything is different from the sources, behind which offset no tombstone has gone.
    fn filter_group(
        &mut self,
        group: &[CleanableSegment],
        rules: &Rules<'_>,
        transactions: &mut Transactions<'_>,
        cleaned: &mut CleanedSegment,
    ) -> Result<Option<u64>> {
        let mut changed = None;
        let mut left: u64 = group.iter().map(|source| source.bytes).sum();
        for source in group {
            self.report.segments_before += 1;
            self.report.bytes_before += source.bytes;
            let (mut scan, _open) = self.scan_of(source)?;
            while let Some(batch) = self.next_batch(&mut scan, source)? {
                left = left.saturating_sub(batch.bytes.len() as u64);
                let void = is_void(transactions, &batch).map_err(at(source, &batch))?;
                let view = BatchView { header: batch.header, bytes: &batch.bytes };
                let mut verdict = rules.judge(&view, void).map_err(at(source, &batch))?;
                if let Verdict::Rewrite(bytes) = &verdict {
                    // A stamp makes deltas longer: not where the file could become too long.
                    let grown = bytes.len() > batch.bytes.len();
                    if grown && bytes.len() as u64 + left > cleaned.room() {
                        verdict = Verdict::Keep;
                    }
                }
                if verdict != Verdict::Keep {
                    changed = changed.max(Some(rules.tombstones_gone(&batch.header)));
                }
                self.take(&batch, verdict, cleaned).map_err(|e| e.in_partition(self.tp()))?;
            }
        }
        Ok(changed)
    }

    fn take(&mut self, batch: &ScannedBatch, verdict: Verdict, cleaned: &mut CleanedSegment) -> Result<()> {
        self.report.records_before += batch.header.records_count as u64;
        match verdict {
            Verdict::Drop => Ok(()),
            Verdict::Keep => {
                self.report.records_after += batch.header.records_count as u64;
                cleaned.push(&batch.bytes, &batch.header)
            }
            Verdict::Rewrite(bytes) => {
                let header = BatchHeader::parse(&bytes)
                    .map_err(|e| Error::invalid_argument(format!("a compacted batch: {e}")))?;
                self.report.records_after += header.records_count as u64;
                cleaned.push(&bytes, &header)
            }
        }
    }

    /// A walk over a source, whose files stay open for as long as the second part is held.
    fn scan_of(&self, source: &CleanableSegment) -> Result<(Scan, Arc<OpenSegment>)> {
        let check = BatchCheck { next_offset: source.segment.base(), gaps: true, leader_epoch: i32::MIN };
        let open = self.compaction.log.open_to_clean(&source.segment)?;
        Ok((Scan::new(open.file().clone(), 0, source.bytes, check), open))
    }

    /// The next batch of a source, whole and checked; `None` at its end.
    fn next_batch(&mut self, scan: &mut Scan, source: &CleanableSegment) -> Result<Option<ScannedBatch>> {
        let failed = |e| Error::io("read a segment", &source.segment.log_path(), e).in_partition(self.tp());
        match scan.next().map_err(failed)? {
            Ok(batch) => {
                let len = batch.bytes.len() as u64;
                self.compaction.pace.spend(len)?;
                self.done += len;
                (self.compaction.progress)(self.done, self.total);
                Ok(Some(batch))
            }
            Err(Stop::End) => Ok(None),
            Err(Stop::Zeros) => Err(source.segment.corrupted(scan.position(), "zeros instead of a batch")),
            Err(Stop::Bad(why)) => Err(source.segment.corrupted(scan.position(), why)),
        }
    }

    fn tp(&self) -> &crate::types::TopicPartition {
        self.compaction.log.topic_partition()
    }
}

/// Notes the keys of a batch from offset `from` on; answers the offset of the first record that did not fit.
fn map_batch(
    map: &mut OffsetMap,
    batch: &ScannedBatch,
    from: u64,
) -> std::result::Result<Option<u64>, crate::format::FormatError> {
    let header = &batch.header;
    let view = BatchView { header: *header, bytes: &batch.bytes };
    let payload = view.decompressed(MAX_DECOMPRESSED)?;
    for record in Records::new(header, &payload) {
        let record = record?;
        let offset = header.offset_of(record.offset_delta) as u64;
        let Some(key) = record.key.filter(|_| offset >= from) else { continue };
        if !map.put(key, offset) {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

fn is_void(
    transactions: &mut Transactions<'_>,
    batch: &ScannedBatch,
) -> std::result::Result<bool, crate::format::FormatError> {
    if !batch.header.attributes.is_control() {
        return Ok(transactions.is_void(&batch.header));
    }
    let kind = control_type(&batch.bytes)?;
    Ok(transactions.is_spent(&batch.header, kind))
}

/// An error of a batch of `source`.
fn at<'a>(
    source: &'a CleanableSegment,
    batch: &'a ScannedBatch,
) -> impl Fn(crate::format::FormatError) -> Error + 'a {
    move |e| e.at(&source.segment.log_path(), batch.position)
}
