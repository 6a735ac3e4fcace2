//! A batch that arrives whole: from a producer with batches of its own, or from a leader.

use crate::config::Compression;
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::batch::{BatchBuilder, BatchHeader, BatchView, Records};
use crate::format::compression::Codec;

/// Who says which offsets a batch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assign {
    /// This partition, as its leader.
    Here,
    /// They are given already.
    Given,
}

/// A finished batch on its way into the log.
#[derive(Debug)]
pub(crate) struct FinishedBatch {
    bytes: Vec<u8>,
    header: BatchHeader,
    assign: Assign,
    /// Each record is known to have a key, or needs none.
    keyed: bool,
}

impl FinishedBatch {
    /// The batch of a builder's records, compressed at `level` (none: the codec's own).
    ///
    /// # Errors
    /// `Codec`, and the builder is as it was; else it is empty.
    pub(crate) fn of(builder: &mut BatchBuilder, level: Option<i32>) -> Result<FinishedBatch> {
        let unable = |error: FormatError| Error::codec(format!("could not build a batch: {error}"));
        let (bytes, header) = builder.finish_with_header(0, level).map_err(unable)?;
        Ok(FinishedBatch { bytes, header, assign: Assign::Here, keyed: false })
    }

    /// A batch that this process has just built, so that its checksum need not be computed again.
    pub(crate) fn built(bytes: Vec<u8>) -> Result<FinishedBatch> {
        let header = BatchHeader::parse(&bytes)
            .map_err(|e| Error::invalid_argument(format!("not a batch that can be appended: {e}")))?;
        debug_assert_eq!(header.total_len(), bytes.len());
        let keyed = header.attributes.is_control();
        Ok(FinishedBatch { bytes, header, assign: Assign::Here, keyed })
    }

    /// A batch whose offsets and epoch are given.
    pub(crate) fn given(bytes: Vec<u8>) -> Result<FinishedBatch> {
        let bad = |why: String| Error::invalid_argument(format!("not a batch that can be appended: {why}"));
        let header = BatchView::parse(&bytes)
            .and_then(|view| view.check_crc().map(|()| view.header))
            .map_err(|e| bad(e.to_string()))?;
        if header.total_len() != bytes.len() {
            return Err(bad(format!("{} bytes where {} were announced", bytes.len(), header.total_len())));
        }
        Ok(FinishedBatch { bytes, header, assign: Assign::Given, keyed: true })
    }

    /// Bytes, the header included.
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// How many offsets it takes.
    pub(crate) fn count(&self) -> u64 {
        self.header.last_offset_delta as u64 + 1
    }

    /// How many offsets a log that ends at `next` goes on by: also by those that are missing before it.
    pub(crate) fn span(&self, next: u64) -> u64 {
        match self.assign {
            Assign::Here => self.count(),
            Assign::Given => (self.header.last_offset() as u64 + 1).saturating_sub(next),
        }
    }

    /// The header.
    pub(crate) fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What follows its header.
    pub(crate) fn records(&self) -> &[u8] {
        self.bytes.get(crate::format::batch::HEADER_LEN..).unwrap_or_default()
    }

    /// The same, whose builder has seen whether each record has a key.
    pub(crate) fn with_keys_seen(self, seen: bool) -> FinishedBatch {
        FinishedBatch { keyed: self.keyed || seen, ..self }
    }

    /// Each record is known to have a key, or needs none: its offset is given, or it is a marker.
    pub(crate) fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// Looks whether each record has a key.
    pub(crate) fn see_keys(&mut self) -> Result<bool> {
        const MAX: usize = 1 << 30;
        let bad = |e: FormatError| Error::invalid_argument(format!("not a batch that can be appended: {e}"));
        let view = BatchView { header: self.header, bytes: &self.bytes };
        let payload = view.decompressed(MAX).map_err(bad)?;
        for record in Records::new(&self.header, &payload) {
            if record.map_err(bad)?.key.is_none() {
                return Ok(false);
            }
        }
        self.keyed = true;
        Ok(true)
    }

    /// Writes offset and epoch into it, unless they were given.
    pub(crate) fn place(&mut self, base_offset: u64, leader_epoch: i32) {
        if self.assign == Assign::Given {
            return;
        }
        BatchHeader::patch_leader(&mut self.bytes, base_offset as i64, leader_epoch);
        self.header.base_offset = base_offset as i64;
        self.header.leader_epoch = leader_epoch;
    }

    /// Takes the bytes out, for which the caller gets other memory.
    pub(crate) fn exchange(&mut self, memory: Vec<u8>) -> (Vec<u8>, BatchHeader) {
        (std::mem::replace(&mut self.bytes, memory), self.header)
    }

    /// Its memory, or that of an earlier batch, once it has been appended.
    pub(crate) fn into_memory(self) -> Vec<u8> {
        self.bytes
    }
}

/// The codec of a setting.
pub(crate) fn codec_of(compression: Compression) -> Codec {
    match compression {
        Compression::None => Codec::None,
        Compression::Gzip { .. } => Codec::Gzip,
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd { .. } => Codec::Zstd,
    }
}
