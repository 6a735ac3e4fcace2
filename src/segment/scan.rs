//! Walking over a segment's batches with calls (never through a map), as recovery and `verify` do.
//!
//! Invariants
//! - Reads in large pieces, whatever the batches' sizes; memory is bounded by one batch.
//! - A walk stops at the first byte that is not a plausible, continuous, intact batch, and says why.
//! - What the CRC does not cover (base offset, length, leader epoch) is checked by continuity: in a log
//!   that was never compacted each batch starts at the end of the one before; the epoch never falls.

use std::sync::Arc;

use super::segment::BatchAt;
use crate::env::{File, read_exact_at};
use crate::format::FormatError;
use crate::format::batch::{BatchHeader, BatchView, HEADER_LEN};

/// What each batch must agree with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchCheck {
    /// The first offset that may come; the exact one unless gaps are allowed.
    pub(crate) next_offset: u64,
    /// Offsets may be missing between batches: the log was compacted.
    pub(crate) gaps: bool,
    /// The epoch never falls below.
    pub(crate) leader_epoch: i32,
}

/// A batch met on the way.
#[derive(Clone, Debug)]
pub(crate) struct ScannedBatch {
    /// Where it starts.
    pub(crate) position: u64,
    /// Its header.
    pub(crate) header: BatchHeader,
    /// All of its bytes.
    pub(crate) bytes: Vec<u8>,
}

/// Why a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At the end given.
    End,
    /// At bytes that are no good batch.
    Bad(String),
    /// At zeros up to the end: room that was prepared and never used.
    Zeros,
}

/// A walk over `[position, end)` of a log file.
#[derive(Debug)]
pub(crate) struct Scan {
    file: Arc<dyn File>,
    position: u64,
    end: u64,
    check: BatchCheck,
    piece: Vec<u8>,
    piece_at: u64,
}

/// Read at once.
const PIECE: u64 = 256 << 10;

impl Scan {
    /// A walk from `position` to `end`.
    pub(crate) fn new(file: Arc<dyn File>, position: u64, end: u64, check: BatchCheck) -> Scan {
        Scan { file, position, end, check, piece: Vec::new(), piece_at: position }
    }

    /// Where the walk is.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What the next batch must agree with.
    pub(crate) fn check(&self) -> BatchCheck {
        self.check
    }

    /// The next batch, or why there is none.
    pub(crate) fn next(&mut self) -> std::io::Result<Result<ScannedBatch, Stop>> {
        let at = match self.pass()? {
            Ok(at) => at,
            Err(stop) => return Ok(Err(stop)),
        };
        let bytes = self.held(at.position, at.header.total_len() as u64).to_vec();
        Ok(Ok(ScannedBatch { position: at.position, header: at.header, bytes }))
    }

    /// As [`next`](Self::next), without a copy of the batch: [`passed_bytes`](Self::passed_bytes) are its bytes.
    pub(crate) fn pass(&mut self) -> std::io::Result<Result<BatchAt, Stop>> {
        loop {
            match self.step() {
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof && self.has_become_shorter()? => {}
                step => return step,
            }
        }
    }

    /// Whoever writes the file gives back room that it has not used, also while somebody else looks at it.
    fn has_become_shorter(&mut self) -> std::io::Result<bool> {
        let size = self.file.size()?;
        let shorter = size < self.end;
        if shorter {
            self.end = size.max(self.position);
            self.piece.clear();
        }
        Ok(shorter)
    }

    fn step(&mut self) -> std::io::Result<Result<BatchAt, Stop>> {
        if self.position >= self.end {
            return Ok(Err(Stop::End));
        }
        let header = match self.header()? {
            Ok(header) => header,
            Err(why) => return self.stop(why),
        };
        let intact =
            BatchView::parse(self.bytes(header.total_len() as u64)?).and_then(|view| view.check_crc());
        if let Err(e) = intact {
            return Ok(Err(Stop::Bad(e.to_string())));
        }
        let batch = BatchAt { position: self.position, header };
        self.position = batch.end();
        self.check.next_offset = header.last_offset() as u64 + 1;
        self.check.leader_epoch = self.check.leader_epoch.max(header.leader_epoch);
        Ok(Ok(batch))
    }

    /// The bytes of the batch that was passed last.
    pub(crate) fn passed_bytes(&self, batch: &BatchAt) -> &[u8] {
        self.held(batch.position, batch.header.total_len() as u64)
    }

    fn stop(&mut self, why: String) -> std::io::Result<Result<BatchAt, Stop>> {
        if self.only_zeros()? { Ok(Err(Stop::Zeros)) } else { Ok(Err(Stop::Bad(why))) }
    }

    fn header(&mut self) -> std::io::Result<Result<BatchHeader, String>> {
        if self.end - self.position < HEADER_LEN as u64 {
            return Ok(Err("the file ends inside a batch header".into()));
        }
        let (left, check) = (self.end - self.position, self.check);
        let parsed = BatchHeader::parse(self.bytes(HEADER_LEN as u64)?);
        Ok(parsed.map_err(|e: FormatError| e.to_string()).and_then(|header| plausible(header, left, check)))
    }

    /// `len` bytes from the position on; the caller knows that they are there.
    fn bytes(&mut self, len: u64) -> std::io::Result<&[u8]> {
        let held =
            self.piece_at <= self.position && self.position + len <= self.piece_at + self.piece.len() as u64;
        if !held {
            let want = len.max(PIECE).min(self.end - self.position);
            self.piece.resize(usize::try_from(want).map_err(|_| std::io::ErrorKind::InvalidData)?, 0);
            self.piece_at = self.position;
            read_exact_at(&*self.file, &mut self.piece, self.position)?;
        }
        Ok(self.held(self.position, len))
    }

    /// Bytes that have been read.
    fn held(&self, position: u64, len: u64) -> &[u8] {
        let start = (position - self.piece_at) as usize;
        self.piece.get(start..start + len as usize).unwrap_or_default()
    }

    /// Whether only zeros follow; what was allocated and never written is not even read.
    fn only_zeros(&mut self) -> std::io::Result<bool> {
        let mut buf = vec![0; PIECE as usize];
        for data in self.file.data_in(self.position..self.end)? {
            let mut at = data.start;
            while at < data.end {
                let want = buf.len().min((data.end - at) as usize);
                read_exact_at(&*self.file, &mut buf[..want], at)?;
                if !is_zero(&buf[..want]) {
                    return Ok(false);
                }
                at += want as u64;
            }
        }
        Ok(true)
    }
}

/// Whether all bytes are zero, looked at in blocks as large as vector registers like.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(256).all(|block| block.iter().fold(0, |all, &byte| all | byte) == 0)
}

fn plausible(header: BatchHeader, left: u64, check: BatchCheck) -> Result<BatchHeader, String> {
    let base = header.base_offset as u64;
    if header.total_len() as u64 > left {
        return Err(format!("a batch of {} bytes does not fit the {left} that are left", header.total_len()));
    }
    if base < check.next_offset || (!check.gaps && base != check.next_offset) {
        return Err(format!("base offset {base} where {} was expected", check.next_offset));
    }
    if header.leader_epoch < check.leader_epoch {
        return Err(format!("leader epoch {} after {}", header.leader_epoch, check.leader_epoch));
    }
    Ok(header)
}
