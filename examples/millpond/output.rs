//! Records as text: tab-separated, or a JSON object a line.
//!
//! ```text
//!   text   partition TAB offset TAB timestamp TAB key TAB value
//!   json   {"partition":0,"offset":7,"timestamp":1700000000000,"key":"alice","value":"/home","headers":[]}
//! ```
//!
//! Invariants: text holds the bytes as they are, and nothing for what is null; JSON loses nothing: what is
//! null is `null`, what is no UTF-8 is `{"base64":"..."}`, headers keep their order and their duplicates.

use std::io::{self, Write};

use clap::ValueEnum;
use millpond::consumer::{OwnedRecord, RecordView};
use millpond::{Offset, Timestamp};

/// How records are printed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// partition, offset, timestamp, key and value, separated by tabs.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is printed of a record.
pub(crate) struct Row<'a, H> {
    partition: u32,
    offset: Offset,
    timestamp: Timestamp,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: H,
}

/// Of a record that is lent by the log.
pub(crate) fn lent<'a>(
    record: &RecordView<'a>,
) -> Row<'a, impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a>> {
    Row {
        partition: record.partition(),
        offset: record.offset(),
        timestamp: record.timestamp(),
        key: record.raw_key(),
        value: record.raw_value(),
        headers: record.headers(),
    }
}

/// Of a record that was copied.
pub(crate) fn copied(record: &OwnedRecord) -> Row<'_, impl Iterator<Item = (&str, Option<&[u8]>)>> {
    Row {
        partition: record.topic_partition().partition(),
        offset: record.offset(),
        timestamp: record.timestamp(),
        key: record.key(),
        value: record.value(),
        headers: record.headers().iter(),
    }
}

impl<'a, H: Iterator<Item = (&'a str, Option<&'a [u8]>)>> Row<'a, H> {
    /// Writes it.
    pub(crate) fn write(self, out: &mut impl Write, format: Format) -> io::Result<()> {
        match format {
            Format::Text => self.write_text(out),
            Format::Json => self.write_json(out),
        }
    }

    fn write_text(self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}\t{}\t{}\t", self.partition, self.offset, self.timestamp)?;
        out.write_all(self.key.unwrap_or_default())?;
        out.write_all(b"\t")?;
        out.write_all(self.value.unwrap_or_default())?;
        out.write_all(b"\n")
    }

    fn write_json(self, out: &mut impl Write) -> io::Result<()> {
        let (partition, offset, timestamp) = (self.partition, self.offset, self.timestamp);
        write!(out, "{{\"partition\":{partition},\"offset\":{offset},\"timestamp\":{timestamp},\"key\":")?;
        write_bytes(out, self.key)?;
        out.write_all(b",\"value\":")?;
        write_bytes(out, self.value)?;
        out.write_all(b",\"headers\":[")?;
        for (n, (name, value)) in self.headers.enumerate() {
            out.write_all(if n == 0 { b"{\"key\":" } else { b",{\"key\":" })?;
            serde_json::to_writer(&mut *out, name)?;
            out.write_all(b",\"value\":")?;
            write_bytes(out, value)?;
            out.write_all(b"}")?;
        }
        out.write_all(b"]}\n")
    }
}

fn write_bytes(out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.write_all(b"null"),
        Some((_, Ok(text))) => Ok(serde_json::to_writer(out, text)?),
        Some((bytes, Err(_))) => write!(out, "{{\"base64\":\"{}\"}}", base64(bytes)),
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4usize {
            let index = word >> (18 - 6 * digit) & 63;
            let used = digit <= group.len();
            text.push(if used { DIGITS[index as usize] as char } else { '=' });
        }
    }
    text
}
