//! lz4: LZ4 frames.
//!
//! ```text
//!   04 22 4d 18 | FLG 60 | BD 40 | header checksum | block ... | end mark 00 00 00 00
//!   block: u32 (little-endian) length, highest bit: stored as it is | bytes
//! ```
//!
//! Invariants: writes one frame of independent blocks of 64 KiB, without checksums, as Kafka does; reads
//! any number of frames with any block size, linked blocks, checksums, content size. A frame without its
//! end mark is an error, which the decoder alone does not tell from a complete one.

use std::io::{self, Read, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{FormatError, compress_error, read_bounded};

pub(super) fn compress(data: &[u8]) -> Result<Vec<u8>, FormatError> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(data).map_err(compress_error)?;
    encoder.finish().map_err(compress_error)
}

pub(super) fn decompress(data: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
    let mut out = Vec::new();
    let mut source = Source { rest: data, ran_dry: false };
    loop {
        // A decoder for each frame: it keeps buffers of the size that its first frame asked for.
        read_bounded(FrameDecoder::new(&mut source), &mut out, limit)?;
        if source.ran_dry {
            return Err(FormatError::Decompress("frame ends early".into()));
        }
        if source.rest.is_empty() {
            return Ok(out);
        }
    }
}

/// The compressed bytes; remembers whether more were asked for than there are.
struct Source<'a> {
    rest: &'a [u8],
    ran_dry: bool,
}

impl Read for Source<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.rest.read(buf)?;
        self.ran_dry |= read == 0 && !buf.is_empty();
        Ok(read)
    }
}
