//! gzip: RFC 1952 members.
//!
//! Invariants: writes one member; reads any number of them, and nothing else behind them.

use std::io::Write;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{FormatError, compress_error, read_bounded};

pub(super) fn compress(level: Option<i32>, data: &[u8]) -> Result<Vec<u8>, FormatError> {
    // -1 is Kafka's word for the codec's own default.
    let level = level.and_then(|l| u32::try_from(l).ok()).map_or_else(Compression::default, Compression::new);
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(data).map_err(compress_error)?;
    encoder.finish().map_err(compress_error)
}

pub(super) fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::new();
    read_bounded(MultiGzDecoder::new(data), &mut out, limit)?;
    Ok(out)
}
