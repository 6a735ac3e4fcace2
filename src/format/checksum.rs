//! CRC-32C (Castagnoli), and the checksum of two joined pieces from the checksums of the pieces.
//!
//! ```text
//!   crc(A || B) = crc(A) * x^(8 * len(B))  +  crc(B)      in GF(2)[x] mod P
//! ```
//!
//! A checksum is a polynomial whose coefficient of x^0 is the highest bit ("reflected"). The power of x
//! is put together from one table entry per byte of `len(B)`, so that a batch of up to 64 KiB costs two
//! multiplications and one of 16 MiB three. The crate's own combine squares matrices instead and takes
//! over ten microseconds: too much for every sealed batch.

/// Castagnoli's polynomial without its x^32, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1, reflected.
const ONE: u32 = 1 << 31;
/// `POWERS[i][b]` is x^(8 * b * 256^i) mod P: what `b` in byte `i` of a length contributes.
static POWERS: [[u32; 256]; 8] = powers();

/// The checksum of `data`.
#[inline]
pub(crate) fn crc32c(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
}

/// The checksum of what `crc` covers followed by `data`.
#[inline]
pub(crate) fn crc32c_append(crc: u32, data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc, data)
}

/// The checksum of A followed by B, where B has `len_b` bytes.
pub(crate) fn crc32c_combine(crc_a: u32, crc_b: u32, len_b: u64) -> u32 {
    let mut shifted = crc_a;
    for (i, &byte) in len_b.to_be_bytes().iter().rev().enumerate() {
        if byte != 0 {
            shifted = multiply(shifted, POWERS[i][usize::from(byte)]);
        }
    }
    shifted ^ crc_b
}

/// The product of two reflected polynomials mod P, without a branch that depends on them.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut bit = 32;
    while bit > 0 {
        bit -= 1;
        product ^= b & 0u32.wrapping_sub((a >> bit) & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(b & 1));
    }
    product
}

const fn powers() -> [[u32; 256]; 8] {
    let mut table = [[ONE; 256]; 8];
    let mut unit = ONE >> 8; // x^8: what one byte shifts by
    let mut i = 0;
    while i < 8 {
        let mut b = 1;
        while b < 256 {
            table[i][b] = multiply(table[i][b - 1], unit);
            b += 1;
        }
        unit = multiply(table[i][255], unit);
        i += 1;
    }
    table
}
