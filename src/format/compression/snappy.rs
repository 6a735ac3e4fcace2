//! snappy in the framing of the xerial library, which Kafka's Java client writes; raw snappy, which old
//! clients of other languages wrote, is read too.
//!
//! ```text
//!   82 53 4e 41 50 50 59 00 | version i32 = 1 | compatible with i32 = 1 | chunk ...
//!   chunk: length i32 | raw snappy block of at most 32 KiB of input
//! ```
//!
//! Invariants: a block's claimed size is believed only as far as its compressed bytes can reach (no
//! element of snappy yields more than 64 bytes from 3).

use snap::raw::{Decoder, Encoder, decompress_len};

use super::FormatError;
use crate::format::bytes::array_at;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: i32 = 1;
const STREAM_HEADER_LEN: usize = 16;
const BLOCK_LEN: usize = 32 * 1024;

pub(super) fn compress(data: &[u8]) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::with_capacity(STREAM_HEADER_LEN + data.len() / 2);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    out.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = Encoder::new();
    for block in data.chunks(BLOCK_LEN) {
        let raw = encoder.compress_vec(block).map_err(|e| FormatError::Compress(e.to_string()))?;
        out.extend_from_slice(&(raw.len() as u32).to_be_bytes()); // a block has at most 40 KiB
        out.extend_from_slice(&raw);
    }
    Ok(out)
}

pub(super) fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::new();
    if !data.starts_with(&MAGIC) {
        append_block(data, &mut out, limit)?;
        return Ok(out);
    }
    let mut rest = data;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) {
            rest = skip_stream_header(rest)?;
            continue;
        }
        let length = u32::from_be_bytes(array_at(rest, 0).ok_or_else(cut)?);
        let end = usize::try_from(length).ok().and_then(|len| len.checked_add(4)).ok_or_else(cut)?;
        append_block(rest.get(4..end).ok_or_else(cut)?, &mut out, limit)?;
        rest = &rest[end..];
    }
    Ok(out)
}

/// Streams may follow one another, each with its header.
fn skip_stream_header(rest: &[u8]) -> Result<&[u8], FormatError> {
    let compatible = i32::from_be_bytes(array_at(rest, 12).ok_or_else(cut)?);
    if compatible > VERSION {
        return Err(FormatError::Decompress(format!("snappy stream of version {compatible}")));
    }
    Ok(&rest[STREAM_HEADER_LEN..])
}

fn append_block(raw: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), FormatError> {
    let claimed = decompress_len(raw).map_err(|e| FormatError::Decompress(e.to_string()))?;
    if claimed > limit - out.len() {
        return Err(FormatError::TooLarge { limit });
    }
    if claimed > raw.len().saturating_mul(22) {
        return Err(FormatError::Decompress("block claims more than it can hold".into()));
    }
    let start = out.len();
    out.resize(start + claimed, 0);
    let len = Decoder::new()
        .decompress(raw, &mut out[start..])
        .map_err(|e| FormatError::Decompress(e.to_string()))?;
    out.truncate(start + len);
    Ok(())
}

fn cut() -> FormatError {
    FormatError::Decompress("snappy stream ends early".into())
}
