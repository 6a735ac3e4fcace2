//! The plainest frame that can be checked: what the raw loops write.
//!
//! ```text
//!   record:  | length u32 | crc32c u32 | bytes |
//!   batch:   | length u32, highest bit set | crc32c u32 | (length u32, bytes) ... |
//!   end:     | 0 |
//! ```

use crate::Result;
use crate::sink::Sink;

/// Bytes before what a frame holds.
pub const HEADER: usize = 8;
const BATCH: u32 = 1 << 31;

/// Encodes a batch as one frame.
pub fn encode_batch(into: &mut Vec<u8>, batch: &[&[u8]]) {
    into.clear();
    into.resize(HEADER, 0);
    for record in batch {
        into.extend_from_slice(&(record.len() as u32).to_be_bytes());
        into.extend_from_slice(record);
    }
    let crc = crc32c::crc32c(&into[HEADER..]);
    let len = (into.len() - HEADER) as u32;
    into[..4].copy_from_slice(&(len | BATCH).to_be_bytes());
    into[4..8].copy_from_slice(&crc.to_be_bytes());
}

/// Encodes the header of a record.
#[inline]
pub fn header(record: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&(record.len() as u32).to_be_bytes());
    header[4..].copy_from_slice(&crc32c::crc32c(record).to_be_bytes());
    header
}

/// Reads whole frames until there are no more; answers the bytes they took.
pub fn read_frames(bytes: &[u8], sink: &mut Sink<'_>) -> Result<usize> {
    let mut at = 0;
    while let Some((frame, after)) = frame(&bytes[at..])? {
        at += after;
        match frame {
            Frame::Record(record) => sink.see(record),
            Frame::Batch(mut rest) => {
                while let Some((len, after)) = rest.split_first_chunk::<4>() {
                    let (record, after) = after.split_at(u32::from_be_bytes(*len) as usize);
                    sink.see(record);
                    rest = after;
                }
            }
        }
    }
    Ok(at)
}

enum Frame<'a> {
    Record(&'a [u8]),
    Batch(&'a [u8]),
}

/// The frame at the front and its size; none if it is not there as a whole.
#[inline]
fn frame(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
    let (len, crc) = header.split_at(4);
    let word = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).unwrap_or_default();
    let (len, crc) = (word(len), word(crc));
    let size = (len & !BATCH) as usize;
    let Some(body) = rest.get(..size) else { return Ok(None) };
    if size == 0 {
        return Ok(None);
    }
    if crc32c::crc32c(body) != crc {
        return Err("a frame with a wrong checksum".into());
    }
    let frame = if len & BATCH == 0 { Frame::Record(body) } else { Frame::Batch(body) };
    Ok(Some((frame, HEADER + size)))
}
