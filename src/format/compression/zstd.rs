//! zstd: Zstandard frames, no dictionary.
//!
//! Invariants: writes one frame; reads any number of them, and nothing else behind them. A frame may ask
//! for a window of at most 128 MiB (the library's own bound, which every level up to 22 keeps to).

use zstd::stream::read::Decoder;

use super::{FormatError, compress_error, read_bounded};

/// Kafka's default level.
const DEFAULT_LEVEL: i32 = 3;

pub(super) fn compress(level: Option<i32>, data: &[u8]) -> Result<Vec<u8>, FormatError> {
    zstd::bulk::compress(data, level.unwrap_or(DEFAULT_LEVEL)).map_err(compress_error)
}

pub(super) fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
    let decoder = Decoder::with_buffer(data).map_err(|e| FormatError::Decompress(e.to_string()))?;
    let mut out = Vec::new();
    read_bounded(decoder, &mut out, limit)?;
    Ok(out)
}
