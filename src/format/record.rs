//! One record of a batch (magic 2).
//!
//! ```text
//!   length varint | attributes i8 = 0 | timestamp delta varlong | offset delta varint
//!   | key length varint, key | value length varint, value | header count varint | header ...
//!   header: key length varint, key (UTF-8) | value length varint, value
//! ```
//!
//! Lengths of -1 mean null (a header's key is never null); `length` counts what follows it. Headers are
//! a list: duplicates are legal, their order counts.
//! Invariants: a decoded record consumed exactly its length, and its headers are known to be well formed,
//! so that iterating them later cannot fail; nothing is copied and nothing allocated.

use super::FormatError;
use super::varint::{
    get_short, get_varint, get_varlong, put_varint, put_varlong, put_zigzagged, unzigzag32, varint_len,
    varlong_len, zigzag32, zigzag64,
};

/// A header: a key with a value or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeaderRef<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: Option<&'a [u8]>,
}

/// What a record is made of, for writing. Lengths must fit an `i32`: limits are checked above.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordFields<'a> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [HeaderRef<'a>],
}

impl<'a> RecordFields<'a> {
    /// The record with what it takes.
    #[inline(always)]
    pub(crate) fn measure(self) -> MeasuredRecord<'a> {
        let short = self.short();
        let body_len = short.map_or_else(|| self.body_len(), |short| short.body_len());
        MeasuredRecord { fields: self, body_len, short: short.filter(|_| body_len < SHORT as usize / 2) }
    }

    /// What it has before its bytes, if none of it takes more than two bytes, and there are no headers.
    #[inline(always)]
    fn short(&self) -> Option<Short> {
        let timestamp = zigzag64(self.timestamp_delta);
        let offset = zigzag32(self.offset_delta);
        let (key_len, value_len) = (len_of(self.key), len_of(self.value));
        let key = if self.key.is_some() { key_len as u64 * 2 } else { NULL.into() };
        let value = if self.value.is_some() { value_len as u64 * 2 } else { NULL.into() };
        let all = timestamp | u64::from(offset) | key | value;
        if all >= SHORT || !self.headers.is_empty() {
            return None;
        }
        let (timestamp, key, value) = (timestamp as u32, key as u32, value as u32);
        Some(Short { timestamp, offset, key, value, bytes: key_len + value_len })
    }

    /// The bytes that follow the length prefix.
    #[inline]
    pub(crate) fn body_len(&self) -> usize {
        1 + varlong_len(self.timestamp_delta)
            + varint_len(self.offset_delta)
            + nullable_len(self.key)
            + nullable_len(self.value)
            + varint_len(self.headers.len() as i32)
            + self.headers.iter().map(header_len).sum::<usize>()
    }

    /// The bytes of the whole record, its length prefix included.
    #[inline]
    pub(crate) fn encoded_len(&self) -> usize {
        let body = self.body_len();
        varint_len(body as i32) + body
    }

    /// Writes the record to the start of `dst`, which holds at least [`Self::encoded_len`] bytes;
    /// returns the bytes written.
    #[inline]
    pub(crate) fn encode(&self, dst: &mut [u8]) -> usize {
        self.encode_sized(self.body_len(), dst)
    }

    /// Adds to `before` what the record has before its value's bytes, and to `behind` what follows them.
    pub(crate) fn encode_around(&self, before: &mut Vec<u8>, behind: &mut Vec<u8>) {
        let value = self.value.map_or(-1, |value| value.len() as i32);
        let body = self.body_len();
        let rest = varint_len(self.headers.len() as i32) + self.headers.iter().map(header_len).sum::<usize>();
        let start = before.len();
        let len = varint_len(body as i32) + body - rest - value.max(0) as usize;
        before.resize(start + len, 0);
        let dst = &mut before[start..];
        // The byte behind the length is the attributes', 0.
        let mut at = put_varint(dst, body as i32) + 1;
        at += put_varlong(&mut dst[at..], self.timestamp_delta);
        at += put_varint(&mut dst[at..], self.offset_delta);
        at += put_nullable(&mut dst[at..], self.key);
        at += put_varint(&mut dst[at..], value);
        debug_assert_eq!(at, len, "body_len and encode_around disagree");
        let start = behind.len();
        behind.resize(start + rest, 0);
        let dst = &mut behind[start..];
        let mut at = put_varint(dst, self.headers.len() as i32);
        for header in self.headers {
            at += put_nullable(&mut dst[at..], Some(header.key.as_bytes()));
            at += put_nullable(&mut dst[at..], header.value);
        }
    }

    /// Like [`Self::encode`], where the caller already knows the body's length.
    #[inline]
    pub(crate) fn encode_sized(&self, body_len: usize, dst: &mut [u8]) -> usize {
        let mut at = put_varint(dst, body_len as i32);
        let end = at + body_len;
        let dst = &mut dst[..end];
        dst[at] = 0;
        at += 1;
        at += put_varlong(&mut dst[at..], self.timestamp_delta);
        at += put_varint(&mut dst[at..], self.offset_delta);
        at += put_nullable(&mut dst[at..], self.key);
        at += put_nullable(&mut dst[at..], self.value);
        at += put_varint(&mut dst[at..], self.headers.len() as i32);
        for header in self.headers {
            at += put_nullable(&mut dst[at..], Some(header.key.as_bytes()));
            at += put_nullable(&mut dst[at..], header.value);
        }
        debug_assert_eq!(at, end, "body_len and encode disagree");
        at
    }
}

/// Zig-zagged numbers below take two bytes at most.
const SHORT: u64 = 1 << 14;

/// The lengths and deltas of a record as nearly all are, zig-zagged, each below [`SHORT`].
#[derive(Clone, Copy, Debug)]
struct Short {
    timestamp: u32,
    offset: u32,
    key: u32,
    value: u32,
    /// Of key and value together.
    bytes: usize,
}

impl Short {
    #[inline(always)]
    fn body_len(self) -> usize {
        let wide = |z: u32| usize::from(z >= 0x80);
        // The attributes, four numbers, and the count of the headers.
        6 + wide(self.timestamp) + wide(self.offset) + wide(self.key) + wide(self.value) + self.bytes
    }
}

/// A record with what it takes, ready to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MeasuredRecord<'a> {
    fields: RecordFields<'a>,
    body_len: usize,
    short: Option<Short>,
}

impl MeasuredRecord<'_> {
    /// The bytes it takes.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        varint_len(self.body_len as i32) + self.body_len
    }

    /// Its place in its batch.
    #[inline]
    pub(crate) fn offset_delta(&self) -> i32 {
        self.fields.offset_delta
    }

    /// Writes the record over `dst`, which is as long as the record.
    #[inline(always)]
    pub(crate) fn encode(&self, dst: &mut [u8]) {
        match &self.short {
            Some(short) if dst.len() >= 2 * size_of::<u64>() => self.encode_short(short, dst),
            _ => _ = self.fields.encode_sized(self.body_len, dst),
        }
    }

    /// Two stores of a word each for what stands before the first bytes: the second one, and then the bytes, cover
    /// what was stored too much.
    ///
    /// ```text
    ///   length attributes timestamp  . . .
    ///                                offset key [value if there is no key]  . .
    /// ```
    #[inline(always)]
    fn encode_short(&self, short: &Short, dst: &mut [u8]) {
        let front = Packed::of(self.body_len as u32 * 2).then_byte(0).then(short.timestamp);
        front.store(dst, 0);
        let back = Packed::of(short.offset).then(short.key);
        let mut at = front.len;
        match self.fields.key {
            None => {
                let back = back.then(short.value);
                back.store(dst, at);
                at += back.len;
            }
            Some(key) => {
                back.store(dst, at);
                at += back.len;
                dst[at..at + key.len()].copy_from_slice(key);
                at += key.len();
                at += put_zigzagged(&mut dst[at..], short.value);
            }
        }
        if let Some(value) = self.fields.value {
            dst[at..at + value.len()].copy_from_slice(value);
        }
        if let Some(headers) = dst.last_mut() {
            *headers = 0;
        }
    }
}

/// Varints of one or two bytes, the first one in the highest of the bytes used.
#[derive(Clone, Copy)]
struct Packed {
    word: u64,
    len: usize,
}

impl Packed {
    #[inline(always)]
    fn of(z: u32) -> Packed {
        Packed { word: 0, len: 0 }.then(z)
    }

    #[inline(always)]
    fn then(self, z: u32) -> Packed {
        let wide = usize::from(z >= 0x80);
        let two = (z & 0x7f | 0x80) << 8 | z >> 7;
        let bits = if wide == 1 { two } else { z };
        Packed { word: self.word << (8 + 8 * wide) | u64::from(bits), len: self.len + 1 + wide }
    }

    #[inline(always)]
    fn then_byte(self, byte: u8) -> Packed {
        Packed { word: self.word << 8 | u64::from(byte), len: self.len + 1 }
    }

    /// Stores a whole word at `at`, its first bytes these.
    #[inline(always)]
    fn store(self, dst: &mut [u8], at: usize) {
        let word = self.word << (64 - 8 * self.len as u32);
        dst[at..at + size_of::<u64>()].copy_from_slice(&word.to_be_bytes());
    }
}

/// A record that lies somewhere in a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecordRef<'a> {
    pub(crate) timestamp_delta: i64,
    pub(crate) offset_delta: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: HeadersRef<'a>,
}

/// The headers of a record, parsed when they are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeadersRef<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> HeadersRef<'a> {
    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in the order they were given.
    #[inline]
    pub(crate) fn iter(&self) -> Headers<'a> {
        Headers { cursor: Cursor { rest: self.bytes }, left: self.count }
    }
}

impl<'a> IntoIterator for HeadersRef<'a> {
    type Item = HeaderRef<'a>;
    type IntoIter = Headers<'a>;

    fn into_iter(self) -> Headers<'a> {
        self.iter()
    }
}

/// Iterates the headers of a record.
#[derive(Clone, Debug)]
pub(crate) struct Headers<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl<'a> Iterator for Headers<'a> {
    type Item = HeaderRef<'a>;

    fn next(&mut self) -> Option<HeaderRef<'a>> {
        self.left = self.left.checked_sub(1)?;
        // Decoding the record has already read every header once, so none fails here.
        self.cursor.header().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// The record at the start of `src`, and the bytes it takes.
///
/// `Truncated` only where `src` ends before the length that the record announces.
#[inline]
pub(crate) fn decode_record(src: &[u8]) -> Result<(RecordRef<'_>, usize), FormatError> {
    match decode_plain(src) {
        Some(plain) => Ok(plain),
        None => decode_any(src),
    }
}

/// A record as nearly all are: no length above three bytes, no headers. `None` for every other one, and for
/// a wrong one: [`decode_any`] tells which. It makes no error, so that the loop it stands in stays small.
#[inline(always)]
pub(crate) fn decode_plain(src: &[u8]) -> Option<(RecordRef<'_>, usize)> {
    let (body_len, prefix) = get_short(src, 0)?;
    let end = prefix + even_half(body_len)?;
    let record = src.get(..end)?;
    if *record.get(prefix)? != 0 {
        return None;
    }
    let (timestamp_delta, at) = get_short(record, prefix + 1)?;
    let (offset_delta, at) = get_short(record, at)?;
    let (key, at) = plain_bytes(record, at)?;
    let (value, at) = plain_bytes(record, at)?;
    if at + 1 != end || record.get(at) != Some(&0) {
        return None;
    }
    let record = RecordRef {
        timestamp_delta: unzigzag32(timestamp_delta).into(),
        offset_delta: unzigzag32(offset_delta),
        key,
        value,
        headers: HeadersRef::default(),
    };
    Some((record, end))
}

/// Bytes or null, and where they end.
#[inline(always)]
fn plain_bytes(record: &[u8], at: usize) -> Option<(Option<&[u8]>, usize)> {
    let (len, start) = get_short(record, at)?;
    if len == NULL {
        return Some((None, start));
    }
    let end = start + even_half(len)?;
    Some((Some(record.get(start..end)?), end))
}

/// The length -1, zig-zagged.
const NULL: u32 = 1;

/// The value of a zig-zagged length that is not negative.
#[inline]
fn even_half(z: u32) -> Option<usize> {
    (z & 1 == 0).then_some((z >> 1) as usize)
}

#[cold]
#[inline(never)]
fn decode_any(src: &[u8]) -> Result<(RecordRef<'_>, usize), FormatError> {
    let (length, prefix) = get_varint(src)?;
    let Ok(body_len) = usize::try_from(length) else {
        return Err(bad_length("record", length));
    };
    let end = prefix.checked_add(body_len).ok_or(FormatError::Truncated)?;
    let body = src.get(prefix..end).ok_or(FormatError::Truncated)?;
    let record = decode_body(body)?;
    Ok((record, end))
}

#[inline]
fn decode_body(body: &[u8]) -> Result<RecordRef<'_>, FormatError> {
    let mut cursor = Cursor { rest: body };
    cursor.attributes()?;
    let timestamp_delta = cursor.varlong()?;
    let offset_delta = cursor.varint()?;
    let key = cursor.nullable("key")?;
    let value = cursor.nullable("value")?;
    let count = cursor.varint()?;
    let headers = if count == 0 { HeadersRef::default() } else { cursor.headers(count)? };
    if !cursor.rest.is_empty() {
        return Err(FormatError::Trailing);
    }
    Ok(RecordRef { timestamp_delta, offset_delta, key, value, headers })
}

/// Reads what lies inside a record's length; whatever reaches beyond it is wrong, not missing.
#[derive(Clone, Debug)]
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    #[inline]
    fn attributes(&mut self) -> Result<(), FormatError> {
        match *self.rest {
            [0, ref rest @ ..] => {
                self.rest = rest;
                Ok(())
            }
            [bits, ..] => Err(FormatError::BadAttributes(i16::from(bits))),
            [] => Err(bad_length("record", 0)),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, FormatError> {
        let (value, len) = get_varint(self.rest).map_err(|e| self.cut(e))?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    #[inline]
    fn varlong(&mut self) -> Result<i64, FormatError> {
        let (value, len) = get_varlong(self.rest).map_err(|e| self.cut(e))?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    #[inline]
    fn nullable(&mut self, what: &'static str) -> Result<Option<&'a [u8]>, FormatError> {
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(len) => match self.rest.split_at_checked(len) {
                Some((bytes, rest)) => {
                    self.rest = rest;
                    Ok(Some(bytes))
                }
                None => Err(bad_length(what, length)),
            },
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(bad_length(what, length)),
        }
    }

    /// Walks over `count` headers, each of which takes two bytes at least.
    fn headers(&mut self, count: i32) -> Result<HeadersRef<'a>, FormatError> {
        let bytes = self.rest;
        let count = match usize::try_from(count) {
            Ok(n) if n <= bytes.len() / 2 => n,
            _ => return Err(FormatError::BadCount),
        };
        for _ in 0..count {
            self.header()?;
        }
        Ok(HeadersRef { bytes: &bytes[..bytes.len() - self.rest.len()], count })
    }

    fn header(&mut self) -> Result<HeaderRef<'a>, FormatError> {
        let key = self.nullable("header key")?.ok_or_else(|| bad_length("header key", -1))?;
        let key = std::str::from_utf8(key).map_err(|_| FormatError::BadUtf8)?;
        let value = self.nullable("header value")?;
        Ok(HeaderRef { key, value })
    }

    #[cold]
    fn cut(&self, error: FormatError) -> FormatError {
        match error {
            FormatError::Truncated => bad_length("record", self.rest.len() as i32),
            other => other,
        }
    }
}

#[cold]
fn bad_length(what: &'static str, length: i32) -> FormatError {
    FormatError::BadLength { what, length: i64::from(length) }
}

#[inline(always)]
fn len_of(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}

#[inline]
fn nullable_len(bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => varint_len(bytes.len() as i32) + bytes.len(),
        None => 1,
    }
}

fn header_len(header: &HeaderRef<'_>) -> usize {
    nullable_len(Some(header.key.as_bytes())) + nullable_len(header.value)
}

#[inline]
fn put_nullable(dst: &mut [u8], bytes: Option<&[u8]>) -> usize {
    match bytes {
        Some(bytes) => {
            let at = put_varint(dst, bytes.len() as i32);
            dst[at..at + bytes.len()].copy_from_slice(bytes);
            at + bytes.len()
        }
        None => put_varint(dst, -1),
    }
}
