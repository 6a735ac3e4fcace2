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
use super::varint::{get_varint, get_varlong, put_varint, put_varlong, varint_len, varlong_len};

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

impl RecordFields<'_> {
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

/// A record that lies somewhere in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// As [`decode_record`], for loops over many records: inlined, and whatever is rare (long varints, headers)
/// behind calls that answer in few words, so that the record itself stays in registers. `None` where
/// `decode_record` has an error to tell.
#[inline(always)]
pub(crate) fn decode_record_in_loop(src: &[u8]) -> Option<(RecordRef<'_>, usize)> {
    let (length, rest) = quick_varint(src)?;
    let (body, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    let [0, body @ ..] = body else { return None };
    let (timestamp_delta, body) = match *body {
        [a, ref rest @ ..] if a < 0x80 => (i64::from(unzigzag(a.into())), rest),
        _ => long_varlong(body)?,
    };
    let (offset_delta, body) = quick_varint(body)?;
    let (key, body) = quick_nullable(body)?;
    let (value, body) = quick_nullable(body)?;
    let headers = match *body {
        [0] => HeadersRef::default(),
        _ => all_headers(body)?,
    };
    Some((RecordRef { timestamp_delta, offset_delta, key, value, headers }, src.len() - behind.len()))
}

/// A varint, and what follows it.
#[inline(always)]
fn quick_varint(src: &[u8]) -> Option<(i32, &[u8])> {
    match *src {
        [a, ref rest @ ..] if a < 0x80 => Some((unzigzag(a.into()), rest)),
        [a, b, ref rest @ ..] if b < 0x80 => Some((unzigzag(u32::from(a & 0x7f) | u32::from(b) << 7), rest)),
        _ => long_varint(src),
    }
}

#[inline(always)]
fn unzigzag(z: u32) -> i32 {
    (z >> 1) as i32 ^ -((z & 1) as i32)
}

#[inline(always)]
fn quick_nullable(src: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = quick_varint(src)?;
    if length == -1 {
        return Some((None, rest));
    }
    let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(bytes), rest))
}

#[inline(never)]
fn long_varint(src: &[u8]) -> Option<(i32, &[u8])> {
    let (value, len) = get_varint(src).ok()?;
    Some((value, src.get(len..)?))
}

#[inline(never)]
fn long_varlong(src: &[u8]) -> Option<(i64, &[u8])> {
    let (value, len) = get_varlong(src).ok()?;
    Some((value, src.get(len..)?))
}

/// The headers that end a record, with their count before them.
#[inline(never)]
fn all_headers(src: &[u8]) -> Option<HeadersRef<'_>> {
    let mut cursor = Cursor { rest: src };
    let count = cursor.varint().ok()?;
    let headers = cursor.headers(count).ok()?;
    cursor.rest.is_empty().then_some(headers)
}

/// The record at the start of `src`, and the bytes it takes.
///
/// `Truncated` only where `src` ends before the length that the record announces.
#[inline]
pub(crate) fn decode_record(src: &[u8]) -> Result<(RecordRef<'_>, usize), FormatError> {
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
