//! Kafka's signed varints: zig-zag, then seven bits a byte, least significant group first.
//!
//! ```text
//!   value   0  -1   1  -2  ...   63  -64     64
//!   zigzag  0   1   2   3       126  127    128
//!   bytes  00  01  02  03        7e   7f  80 01     high bit: one more byte follows
//! ```
//!
//! Invariants: at most 5 bytes for 32 bits and 10 for 64; a longer one, or one whose last byte holds
//! bits that do not fit, is an error. One-byte values, by far the most common, take a short path.

use super::FormatError;

/// The longest varint of 32 bits.
pub(crate) const MAX_VARINT_LEN: usize = 5;
/// The longest varint of 64 bits.
pub(crate) const MAX_VARLONG_LEN: usize = 10;

/// Bytes that `v` takes.
#[inline]
pub(crate) fn varint_len(v: i32) -> usize {
    let z = zigzag32(v);
    if z < 0x80 { 1 } else { groups_of(32 - z.leading_zeros() as usize) }
}

/// Bytes that `v` takes.
#[inline]
pub(crate) fn varlong_len(v: i64) -> usize {
    let z = zigzag64(v);
    if z < 0x80 { 1 } else { groups_of(64 - z.leading_zeros() as usize) }
}

/// Groups of seven that `bits` (1 to 64) fill: a division by 7 as a multiplication, exact in this range.
#[inline]
fn groups_of(bits: usize) -> usize {
    (bits * 9 + 64) / 64
}

/// Writes `v` to the start of `dst`, which must be long enough; returns the bytes written.
#[inline]
pub(crate) fn put_varint(dst: &mut [u8], v: i32) -> usize {
    put_zigzagged(dst, zigzag32(v))
}

/// Writes what has been zig-zagged already.
#[inline]
pub(super) fn put_zigzagged(dst: &mut [u8], z: u32) -> usize {
    if z < 0x80 {
        dst[0] = z as u8;
        return 1;
    }
    if z < 0x4000 {
        dst[..2].copy_from_slice(&[z as u8 | 0x80, (z >> 7) as u8]);
        return 2;
    }
    put_groups(dst, u64::from(z))
}

/// Writes `v` to the start of `dst`, which must be long enough; returns the bytes written.
#[inline]
pub(crate) fn put_varlong(dst: &mut [u8], v: i64) -> usize {
    let z = zigzag64(v);
    if z < 0x80 {
        dst[0] = z as u8;
        return 1;
    }
    put_groups(dst, z)
}

/// The varint at the start of `src`, and the bytes it takes.
#[inline]
pub(crate) fn get_varint(src: &[u8]) -> Result<(i32, usize), FormatError> {
    match *src {
        [a, ..] if a < 0x80 => Ok((unzigzag32(u32::from(a)), 1)),
        [a, b, ..] if b < 0x80 => Ok((unzigzag32(u32::from(a & 0x7f) | u32::from(b) << 7), 2)),
        _ => get_long_varint(src),
    }
}

/// The varint of 64 bits at the start of `src`, and the bytes it takes.
#[inline]
pub(crate) fn get_varlong(src: &[u8]) -> Result<(i64, usize), FormatError> {
    match *src {
        [a, ..] if a < 0x80 => Ok((unzigzag64(u64::from(a)), 1)),
        _ => get_groups(src, MAX_VARLONG_LEN, 1).map(|(z, len)| (unzigzag64(z), len)),
    }
}

/// The zig-zagged varint of at most three bytes at `at`, and where it ends; `None` for a longer one.
#[inline(always)]
pub(crate) fn get_short(src: &[u8], at: usize) -> Option<(u32, usize)> {
    let first = u32::from(*src.get(at)?);
    if first < 0x80 {
        return Some((first, at + 1));
    }
    let second = u32::from(*src.get(at + 1)?);
    let two = first & 0x7f | (second & 0x7f) << 7;
    if second < 0x80 {
        return Some((two, at + 2));
    }
    let third = u32::from(*src.get(at + 2)?);
    (third < 0x80).then_some((two | third << 14, at + 3))
}

fn get_long_varint(src: &[u8]) -> Result<(i32, usize), FormatError> {
    let (z, len) = get_groups(src, MAX_VARINT_LEN, 0x0f)?;
    Ok((unzigzag32(z as u32), len))
}

fn put_groups(dst: &mut [u8], mut z: u64) -> usize {
    let mut at = 0;
    while z >= 0x80 {
        dst[at] = z as u8 | 0x80;
        z >>= 7;
        at += 1;
    }
    dst[at] = z as u8;
    at + 1
}

/// Groups of seven bits, at most `max_len` of them, the last of which is at most `last`.
fn get_groups(src: &[u8], max_len: usize, last: u8) -> Result<(u64, usize), FormatError> {
    let mut z = 0u64;
    for (i, &byte) in src.iter().take(max_len).enumerate() {
        if i + 1 == max_len && byte > last {
            return Err(FormatError::BadVarint);
        }
        z |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Ok((z, i + 1));
        }
    }
    Err(FormatError::Truncated)
}

#[inline]
pub(super) fn zigzag32(v: i32) -> u32 {
    ((v << 1) ^ (v >> 31)) as u32
}

#[inline]
pub(super) fn zigzag64(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

#[inline]
pub(crate) fn unzigzag32(z: u32) -> i32 {
    (z >> 1) as i32 ^ -((z & 1) as i32)
}

#[inline]
fn unzigzag64(z: u64) -> i64 {
    (z >> 1) as i64 ^ -((z & 1) as i64)
}
