//! What is written: random records, prepared ahead, each stamped with its writer and number.
//!
//! ```text
//!   | writer 16 bits | number 48 bits | random bytes ...
//! ```
//!
//! Invariants
//! - Record `n` is buffer `n % count` with its stamp, so that whoever reads the records back can tell
//!   count, order and every byte.
//! - Nothing random is made while something is measured.
//! - Lines of a real file carry no stamp: they are compared byte by byte instead.

use std::ops::Range;

/// How many different buffers there are, if they are small.
const MOST_BUFFERS: usize = 1024;
/// What they take together, at most.
const MOST_BYTES: usize = 128 << 20;
/// Bits of the number in a stamp.
const NUMBER_BITS: u32 = 48;

/// The records of one writer.
#[derive(Clone)]
pub struct Payloads {
    buffers: Vec<Vec<u8>>,
    /// Sum of the words of each buffer, but for the stamp.
    sums: Vec<u64>,
    writer: u64,
    stamped: bool,
}

impl Payloads {
    /// Random records of `size` bytes, eight at least; the same ones every time.
    pub fn new(size: usize) -> Payloads {
        assert!(size >= 8);
        let count = (MOST_BYTES / size).clamp(2, MOST_BUFFERS);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let buffers: Vec<Vec<u8>> = (0..count).map(|_| random(&mut state, size)).collect();
        let sums = buffers.iter().map(|buffer| sum_of_words(&buffer[8..])).collect();
        Payloads { buffers, sums, writer: 0, stamped: true }
    }

    /// The lines of a text.
    pub fn lines(text: &str) -> Payloads {
        let buffers: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
        Payloads { buffers, sums: Vec::new(), writer: 0, stamped: false }
    }

    /// The same records, as another writer sends them.
    pub fn of_writer(&self, writer: u64) -> Payloads {
        Payloads { writer, ..self.clone() }
    }

    /// The record `n`.
    #[inline]
    pub fn record(&mut self, n: u64) -> &[u8] {
        let count = self.buffers.len() as u64;
        let buffer = &mut self.buffers[(n % count) as usize];
        if self.stamped {
            buffer[..8].copy_from_slice(&(self.writer << NUMBER_BITS | n).to_be_bytes());
        }
        buffer
    }

    /// The records of a range, no more than there are buffers.
    pub fn batch(&mut self, range: Range<u64>) -> Vec<&[u8]> {
        let count = self.buffers.len() as u64;
        assert!(range.end - range.start <= count);
        for n in range.clone() {
            self.record(n);
        }
        range.map(|n| self.buffers[(n % count) as usize].as_slice()).collect()
    }

    /// How many different ones there are: a batch has no more.
    pub fn count(&self) -> u64 {
        self.buffers.len() as u64
    }

    /// What the words of the records `0..count` add up to, without their stamps.
    pub fn sum(&self, count: u64) -> u64 {
        let all = self.sums.iter().fold(0_u64, |sum, one| sum.wrapping_add(*one));
        let (rounds, rest) = (count / self.count(), count % self.count());
        let rest = self.sums[..rest as usize].iter().fold(0_u64, |sum, one| sum.wrapping_add(*one));
        all.wrapping_mul(rounds).wrapping_add(rest)
    }

    /// Whether records carry a stamp.
    pub fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// Whether these are the bytes of record `n`; only for records without a stamp.
    pub fn is_record(&self, n: u64, payload: &[u8]) -> bool {
        self.buffers[(n % self.count()) as usize] == payload
    }

    /// Bytes of the records `0..count`.
    pub fn bytes(&self, count: u64) -> u64 {
        let of = |buffers: &[Vec<u8>]| buffers.iter().map(|buffer| buffer.len() as u64).sum::<u64>();
        let (rounds, rest) = (count / self.count(), count % self.count());
        of(&self.buffers) * rounds + of(&self.buffers[..rest as usize])
    }
}

fn random(state: &mut u64, size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Writer and number of a record.
#[inline]
pub fn stamp(payload: &[u8]) -> (u64, u64) {
    let stamp = payload.first_chunk::<8>().map_or(u64::MAX, |bytes| u64::from_be_bytes(*bytes));
    (stamp >> NUMBER_BITS, stamp & ((1 << NUMBER_BITS) - 1))
}

/// The sum of all bytes, taken as words of eight (in the machine's order: it must cost as little as it can).
/// What is left over at the end is summed as the last eight bytes.
#[inline]
pub fn sum_of_words(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let mut sum = 0_u64;
    for word in &mut words {
        let mut whole = [0; 8];
        whole.copy_from_slice(word);
        sum = sum.wrapping_add(u64::from_ne_bytes(whole));
    }
    match bytes.last_chunk::<8>() {
        Some(last) if !words.remainder().is_empty() => sum.wrapping_add(u64::from_ne_bytes(*last)),
        Some(_) => sum,
        None => bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    }
}
