//! millpond's own small files (manifests, recovery points): a payload that is whole and of the right
//! kind, or is refused.
//!
//! ```text
//!   'MPND' | kind u16 | version u16 | length u32 | payload | crc u32 (CRC-32C of everything before)
//! ```
//!
//! Invariants: the checksum is looked at before kind and version, so that damage is never mistaken for a
//! newer version; nothing follows the checksum; a [`Reader`] never reads past its end, and a count that
//! it gives is one that the bytes left can hold.

use super::FormatError;
use super::bytes::{array_at, field};
use super::checksum::crc32c;

const MAGIC: [u8; 4] = *b"MPND";
const PAYLOAD_AT: usize = 12;
const CRC_LEN: usize = 4;

/// The content of a file of this kind and version. The payload is far below 4 GiB.
pub(crate) fn seal(kind: u16, version: u16, payload: &[u8]) -> Vec<u8> {
    debug_assert!(u32::try_from(payload.len()).is_ok(), "a sealed file is small");
    let mut out = Vec::with_capacity(PAYLOAD_AT + payload.len() + CRC_LEN);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&version.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    let crc = crc32c(&out);
    out.extend_from_slice(&crc.to_be_bytes());
    out
}

/// Version and payload of a file that should be of this kind and at most of `max_version`.
pub(crate) fn open(kind: u16, max_version: u16, bytes: &[u8]) -> Result<(u16, &[u8]), FormatError> {
    let magic: [u8; 4] = array_at(bytes, 0).ok_or(FormatError::Truncated)?;
    if magic != MAGIC {
        return Err(FormatError::NotA("millpond file"));
    }
    let length = u32::from_be_bytes(array_at(bytes, 8).ok_or(FormatError::Truncated)?);
    let payload_end = usize::try_from(length)
        .ok()
        .and_then(|len| len.checked_add(PAYLOAD_AT))
        .ok_or(FormatError::Truncated)?;
    let stored = u32::from_be_bytes(array_at(bytes, payload_end).ok_or(FormatError::Truncated)?);
    let computed = crc32c(&bytes[..payload_end]);
    if stored != computed {
        return Err(FormatError::BadCrc { stored, computed });
    }
    if bytes.len() > payload_end + CRC_LEN {
        return Err(FormatError::Trailing);
    }
    if u16::from_be_bytes(field(bytes, 4)) != kind {
        return Err(FormatError::NotA("file of this kind"));
    }
    let found = u16::from_be_bytes(field(bytes, 6));
    if found > max_version {
        return Err(FormatError::NewerVersion { found, known: max_version });
    }
    Ok((found, &bytes[PAYLOAD_AT..payload_end]))
}

/// Puts a payload together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty payload.
    pub(crate) fn new() -> Writer {
        Writer::default()
    }

    /// The payload so far.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content of a file with this payload.
    pub(crate) fn seal(&self, kind: u16, version: u16) -> Vec<u8> {
        seal(kind, version, &self.bytes)
    }

    pub(crate) fn put_u8(&mut self, value: u8) -> &mut Writer {
        self.put_array([value])
    }

    pub(crate) fn put_u16(&mut self, value: u16) -> &mut Writer {
        self.put_array(value.to_be_bytes())
    }

    pub(crate) fn put_u32(&mut self, value: u32) -> &mut Writer {
        self.put_array(value.to_be_bytes())
    }

    pub(crate) fn put_u64(&mut self, value: u64) -> &mut Writer {
        self.put_array(value.to_be_bytes())
    }

    pub(crate) fn put_i32(&mut self, value: i32) -> &mut Writer {
        self.put_array(value.to_be_bytes())
    }

    pub(crate) fn put_i64(&mut self, value: i64) -> &mut Writer {
        self.put_array(value.to_be_bytes())
    }

    /// Bytes whose length the reader knows.
    pub(crate) fn put_array<const N: usize>(&mut self, value: [u8; N]) -> &mut Writer {
        self.bytes.extend_from_slice(&value);
        self
    }

    /// Their length as u32, then the bytes.
    pub(crate) fn put_bytes(&mut self, value: &[u8]) -> &mut Writer {
        debug_assert!(u32::try_from(value.len()).is_ok(), "a sealed file is small");
        self.put_u32(value.len() as u32);
        self.bytes.extend_from_slice(value);
        self
    }

    /// Like [`Self::put_bytes`].
    pub(crate) fn put_str(&mut self, value: &str) -> &mut Writer {
        self.put_bytes(value.as_bytes())
    }

    /// How many items follow, as u32.
    pub(crate) fn put_count(&mut self, count: usize) -> &mut Writer {
        debug_assert!(u32::try_from(count).is_ok(), "a sealed file is small");
        self.put_u32(count as u32)
    }
}

/// Takes a payload apart.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `payload`.
    pub(crate) fn new(payload: &'a [u8]) -> Reader<'a> {
        Reader { rest: payload }
    }

    /// Bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Refuses a payload that goes on.
    pub(crate) fn finish(self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FormatError::Trailing) }
    }

    pub(crate) fn get_u8(&mut self) -> Result<u8, FormatError> {
        self.get_array().map(u8::from_be_bytes)
    }

    pub(crate) fn get_u16(&mut self) -> Result<u16, FormatError> {
        self.get_array().map(u16::from_be_bytes)
    }

    pub(crate) fn get_u32(&mut self) -> Result<u32, FormatError> {
        self.get_array().map(u32::from_be_bytes)
    }

    pub(crate) fn get_u64(&mut self) -> Result<u64, FormatError> {
        self.get_array().map(u64::from_be_bytes)
    }

    pub(crate) fn get_i32(&mut self) -> Result<i32, FormatError> {
        self.get_array().map(i32::from_be_bytes)
    }

    pub(crate) fn get_i64(&mut self) -> Result<i64, FormatError> {
        self.get_array().map(i64::from_be_bytes)
    }

    pub(crate) fn get_array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(FormatError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(crate) fn get_bytes(&mut self) -> Result<&'a [u8], FormatError> {
        let length = usize::try_from(self.get_u32()?).map_err(|_| FormatError::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(FormatError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn get_str(&mut self) -> Result<&'a str, FormatError> {
        std::str::from_utf8(self.get_bytes()?).map_err(|_| FormatError::BadUtf8)
    }

    /// How many items follow, of at least `item_len` bytes each; `BadCount` where they cannot be there,
    /// so that memory may be reserved for them.
    pub(crate) fn get_count(&mut self, item_len: usize) -> Result<usize, FormatError> {
        let count = usize::try_from(self.get_u32()?).map_err(|_| FormatError::BadCount)?;
        match count.checked_mul(item_len.max(1)) {
            Some(len) if len <= self.rest.len() => Ok(count),
            _ => Err(FormatError::BadCount),
        }
    }
}
