//! Which part of a line is its record's key.
//!
//! Invariants: columns count from 1; the line is split at every delimiter, without regard to quotes; a
//! line that has too few columns has no key, which is an error and never an empty key.

use crate::failure::{Failure, Outcome};

/// A column of lines.
#[derive(Debug)]
pub(crate) struct KeyColumn {
    column: usize,
    delimiter: Vec<u8>,
}

impl KeyColumn {
    /// The column of this number between delimiters; `\t` stands for a tab.
    pub(crate) fn new(column: usize, delimiter: &str) -> Outcome<KeyColumn> {
        let delimiter = delimiter.replace("\\t", "\t").into_bytes();
        if delimiter.is_empty() {
            return Err(Failure::Usage("--delimiter must not be empty".into()));
        }
        Ok(KeyColumn { column, delimiter })
    }

    /// The key in a line.
    pub(crate) fn of<'a>(&self, line: &'a [u8], number: u64) -> Outcome<&'a [u8]> {
        let mut rest = line;
        for column in 1..=self.column {
            let end = find(rest, &self.delimiter);
            if column == self.column {
                return Ok(&rest[..end.unwrap_or(rest.len())]);
            }
            let Some(end) = end else {
                return Err(Failure::failed(format!(
                    "line {number} has {column} columns, so none that is number {}",
                    self.column
                )));
            };
            rest = &rest[end + self.delimiter.len()..];
        }
        Ok(rest)
    }
}

fn find(text: &[u8], delimiter: &[u8]) -> Option<usize> {
    text.windows(delimiter.len()).position(|window| window == delimiter)
}
