//! Lines of a stream, one at a time.
//!
//! Invariants: a line is handed out without its end (`\n` or `\r\n`); no more than one line is held, and
//! of that no more than the limit; a last line without an end counts.

use std::io::{self, BufRead, Read};

/// What reading a line can run into.
#[derive(Debug)]
pub(crate) enum LineError {
    /// The stream failed.
    Read(io::Error),
    /// The line is longer than the limit, in bytes.
    TooLong(u64),
}

/// Lines of a stream.
#[derive(Debug)]
pub(crate) struct Lines<R> {
    input: R,
    limit: u64,
    line: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input`, none of which may be longer than `limit` bytes.
    pub(crate) fn new(input: R, limit: u64) -> Lines<R> {
        Lines { input, limit, line: Vec::new(), number: 0 }
    }

    /// The number of the line handed out last; the first is 1.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The next line, and how many bytes it took from the stream.
    pub(crate) fn next(&mut self) -> Result<Option<(&[u8], u64)>, LineError> {
        self.line.clear();
        self.number += 1;
        // Room for `\r\n`, so that a line of exactly the limit passes.
        let most = self.limit.saturating_add(2);
        let taken = self.input.by_ref().take(most).read_until(b'\n', &mut self.line);
        let taken = taken.map_err(LineError::Read)? as u64;
        if taken == 0 {
            return Ok(None);
        }
        let line = without_end(&self.line);
        if line.len() as u64 > self.limit {
            return Err(LineError::TooLong(self.limit));
        }
        Ok(Some((line, taken)))
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let Some(line) = line.strip_suffix(b"\n") else { return line };
    line.strip_suffix(b"\r").unwrap_or(line)
}
