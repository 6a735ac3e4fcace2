//! What a verification found.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::types::{Offset, TopicPartition};

/// How good or bad a finding, or a whole directory, is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Everything is as it was written.
    Clean,
    /// A torn tail, a batch that was open, something begun and not finished: the next opening settles it.
    Unsettled,
    /// Bytes that had been written safely are damaged or missing: see [`repair`](fn@crate::broker::repair).
    Corrupt,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug)]
pub struct Finding {
    pub(super) verdict: Verdict,
    pub(super) topic_partition: Option<TopicPartition>,
    pub(super) path: PathBuf,
    pub(super) position: u64,
    pub(super) why: String,
}

impl Finding {
    /// How bad it is.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The partition concerned, where there is one.
    #[must_use]
    pub fn topic_partition(&self) -> Option<&TopicPartition> {
        self.topic_partition.as_ref()
    }

    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where in the file, in bytes.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Clean => "clean",
            Verdict::Unsettled => "unsettled",
            Verdict::Corrupt => "corrupt",
        };
        write!(f, "{word}: {} at byte {}: {}", self.path.display(), self.position, self.why)
    }
}

/// What was read of one partition.
#[derive(Clone, Debug)]
pub struct VerifiedPartition {
    pub(super) topic_partition: TopicPartition,
    pub(super) log_start: u64,
    pub(super) log_end: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) segments: usize,
}

impl VerifiedPartition {
    /// Topic and partition.
    #[must_use]
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        Offset::of(self.log_start)
    }

    /// The offset behind the last intact batch.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        Offset::of(self.log_end)
    }

    /// Intact batches.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Records in them.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Segments.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments
    }
}

/// What [`Observer::verify`](crate::Observer::verify) found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    pub(super) live: bool,
    pub(super) partitions: Vec<VerifiedPartition>,
    pub(super) findings: Vec<Finding>,
}

impl VerifyReport {
    /// The worst of the findings; `Clean` without any.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Clean)
    }

    /// Whether a broker had the directory open: then its newest, open batches were not looked at.
    #[must_use]
    pub fn was_live(&self) -> bool {
        self.live
    }

    /// What is not as it should be.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What was read of each partition.
    #[must_use]
    pub fn partitions(&self) -> &[VerifiedPartition] {
        &self.partitions
    }
}
