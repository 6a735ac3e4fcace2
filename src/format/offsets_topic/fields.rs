//! Kafka's field encodings: strings, arrays and tagged fields, in the old and in the flexible form.
//!
//! Invariants: a reader never goes behind its bytes; an array's count is checked against the bytes that
//! are left before anything is allocated; an unsigned varint has at most five bytes.

use crate::format::FormatError;
use crate::format::bytes::array_at;
use crate::types::TopicId;

type Result<T> = std::result::Result<T, FormatError>;

/// Walks over the bytes of one key or value.
#[derive(Debug)]
pub(in crate::format) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(in crate::format) fn of(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, at: 0 }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let found = array_at(self.bytes, self.at).ok_or(FormatError::Truncated)?;
        self.at += N;
        Ok(found)
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        if len > self.left() {
            return Err(FormatError::Truncated);
        }
        let found = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(found)
    }

    pub(in crate::format) fn i8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    pub(in crate::format) fn i16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    pub(in crate::format) fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    pub(in crate::format) fn i64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    pub(in crate::format) fn topic_id(&mut self) -> Result<TopicId> {
        Ok(TopicId::from_bytes(self.fixed()?))
    }

    /// `length i16 | UTF-8`, not null.
    pub(in crate::format) fn string(&mut self) -> Result<&'a str> {
        let length = self.i16()?;
        let bad = |_| FormatError::BadLength { what: "string", length: length.into() };
        let len = usize::try_from(length).map_err(bad)?;
        text(self.take(len)?)
    }

    /// `length + 1 as unsigned varint | UTF-8`, not null.
    pub(in crate::format) fn compact_string(&mut self) -> Result<&'a str> {
        self.nullable_string()?.ok_or(FormatError::BadLength { what: "string", length: -1 })
    }

    /// The same, 0 for null.
    pub(in crate::format) fn nullable_string(&mut self) -> Result<Option<&'a str>> {
        match self.unsigned()? {
            0 => Ok(None),
            length => text(self.take(length as usize - 1)?).map(Some),
        }
    }

    /// The count of a flexible array whose items take at least `least` bytes each.
    pub(in crate::format) fn count(&mut self, least: usize) -> Result<usize> {
        match self.unsigned()? {
            0 => Err(FormatError::BadLength { what: "array", length: -1 }),
            count if (count as usize - 1) > self.left() / least.max(1) => Err(FormatError::Truncated),
            count => Ok(count as usize - 1),
        }
    }

    /// The same, 0 for null.
    pub(in crate::format) fn nullable_count(&mut self, least: usize) -> Result<usize> {
        let count = (self.unsigned()? as usize).saturating_sub(1);
        if count > self.left() / least.max(1) { Err(FormatError::Truncated) } else { Ok(count) }
    }

    /// The count of an old array, -1 for null.
    pub(in crate::format) fn plain_count(&mut self, least: usize) -> Result<usize> {
        let count = usize::try_from(self.i32()?).unwrap_or(0);
        if count > self.left() / least.max(1) { Err(FormatError::Truncated) } else { Ok(count) }
    }

    /// Tagged fields, in the order of their tags; `known` looks at each.
    pub(in crate::format) fn tagged(
        &mut self,
        mut known: impl FnMut(u32, &mut Fields<'a>) -> Result<()>,
    ) -> Result<()> {
        let mut last = None;
        for _ in 0..self.unsigned()? {
            let tag = self.unsigned()?;
            if last.is_some_and(|last| tag <= last) {
                return Err(FormatError::BadCount);
            }
            last = Some(tag);
            let len = self.unsigned()?;
            known(tag, &mut Fields::of(self.take(len as usize)?))?;
        }
        Ok(())
    }

    /// Tagged fields of which none is known.
    pub(in crate::format) fn skip_tagged(&mut self) -> Result<()> {
        self.tagged(|_, _| Ok(()))
    }

    /// Nothing may be left.
    pub(in crate::format) fn end(&self) -> Result<()> {
        if self.left() == 0 { Ok(()) } else { Err(FormatError::Trailing) }
    }

    fn unsigned(&mut self) -> Result<u32> {
        let mut value: u32 = 0;
        for place in 0..5 {
            let [byte] = self.fixed()?;
            let group = u32::from(byte & 0x7f);
            if place == 4 && byte > 0x0f {
                return Err(FormatError::BadVarint);
            }
            value |= group << (7 * place);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FormatError::BadVarint)
    }
}

fn text(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| FormatError::BadUtf8)
}

/// Puts fields one behind the other.
#[derive(Debug, Default)]
pub(in crate::format) struct Writer(Vec<u8>);

impl Writer {
    pub(in crate::format) fn new(version: i16) -> Writer {
        Writer(version.to_be_bytes().to_vec())
    }

    pub(in crate::format) fn i8(mut self, value: i8) -> Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(in crate::format) fn i16(mut self, value: i16) -> Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// A flexible array that is null.
    pub(in crate::format) fn null_array(self) -> Writer {
        self.unsigned(0)
    }

    pub(in crate::format) fn i32(mut self, value: i32) -> Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(in crate::format) fn i64(mut self, value: i64) -> Writer {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    pub(in crate::format) fn topic_id(mut self, id: TopicId) -> Writer {
        self.0.extend_from_slice(id.as_bytes());
        self
    }

    /// `length i16 | UTF-8`. Names of groups, members and topics are far shorter than 32 KiB: they are
    /// checked where they come in. What is longer is cut at a character.
    pub(in crate::format) fn string(mut self, value: &str) -> Writer {
        let value = cut(value, i16::MAX as usize);
        self.0.extend_from_slice(&(value.len() as i16).to_be_bytes());
        self.0.extend_from_slice(value.as_bytes());
        self
    }

    pub(in crate::format) fn compact_string(self, value: &str) -> Writer {
        let value = cut(value, i16::MAX as usize);
        let mut written = self.unsigned(value.len() as u32 + 1);
        written.0.extend_from_slice(value.as_bytes());
        written
    }

    pub(in crate::format) fn nullable_string(self, value: Option<&str>) -> Writer {
        match value {
            Some(value) => self.compact_string(value),
            None => self.unsigned(0),
        }
    }

    /// The count of a flexible array; the items follow.
    pub(in crate::format) fn array<T>(self, items: &[T], each: impl Fn(Writer, &T) -> Writer) -> Writer {
        let counted = self.unsigned(u32::try_from(items.len()).unwrap_or(u32::MAX - 1) + 1);
        items.iter().fold(counted, each)
    }

    /// Tagged fields, in the order of their tags.
    pub(in crate::format) fn tagged(self, fields: &[(u32, Vec<u8>)]) -> Writer {
        fields.iter().fold(self.unsigned(fields.len() as u32), |writer, (tag, bytes)| {
            let mut written = writer.unsigned(*tag).unsigned(bytes.len() as u32);
            written.0.extend_from_slice(bytes);
            written
        })
    }

    pub(in crate::format) fn unsigned(mut self, value: u32) -> Writer {
        let mut left = value;
        while left >= 0x80 {
            self.0.push(left as u8 | 0x80);
            left >>= 7;
        }
        self.0.push(left as u8);
        self
    }

    pub(in crate::format) fn bytes(self) -> Vec<u8> {
        self.0
    }
}

fn cut(value: &str, most: usize) -> &str {
    if value.len() <= most {
        return value;
    }
    let end = (0..=most).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0);
    &value[..end]
}
