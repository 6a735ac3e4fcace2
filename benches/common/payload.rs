//! Random payloads, so that neither a device that compresses nor a cache of zeros flatters a figure.
//!
//! Invariant: record `n` is buffer `n % 1024` with `n` in its first eight bytes, so that whoever reads the
//! records back can tell count, order and every byte.

/// How many different buffers there are.
const BUFFERS: usize = 1024;

/// The payloads of one size.
pub(crate) struct Payloads {
    buffers: Vec<Vec<u8>>,
    /// Sum of the words of each buffer, but for the stamp.
    sums: Vec<u64>,
}

impl Payloads {
    /// Payloads of `size` bytes, eight at least; the same ones every time.
    pub(crate) fn new(size: usize) -> Payloads {
        assert!(size >= 8);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 24) as u8
        };
        let buffers: Vec<Vec<u8>> =
            (0..BUFFERS).map(|_| (0..size).map(|_| random()).collect::<Vec<u8>>()).collect();
        let sums = buffers.iter().map(|buffer| sum_of_words(&buffer[8..])).collect();
        Payloads { buffers, sums }
    }

    /// The payload of record `n`.
    #[inline]
    pub(crate) fn stamped(&mut self, n: u64) -> &[u8] {
        let buffer = &mut self.buffers[n as usize % BUFFERS];
        buffer[..8].copy_from_slice(&n.to_be_bytes());
        buffer
    }

    /// The payloads of records `first..first + 100`, or as many as `into` has places.
    pub(crate) fn batch(&mut self, first: u64, count: usize) -> impl Iterator<Item = &[u8]> {
        assert!(count <= BUFFERS);
        for n in first..first + count as u64 {
            self.stamped(n);
        }
        (first..first + count as u64).map(|n| self.buffers[n as usize % BUFFERS].as_slice())
    }

    /// What the words of the records `0..count` add up to, without their stamps.
    pub(crate) fn sum(&self, count: u64) -> u64 {
        (0..count).fold(0, |sum: u64, n| sum.wrapping_add(self.sums[n as usize % BUFFERS]))
    }
}

/// The stamp of a payload.
#[inline]
pub(crate) fn stamp(payload: &[u8]) -> u64 {
    payload.get(..8).and_then(|bytes| bytes.try_into().ok()).map_or(u64::MAX, u64::from_be_bytes)
}

/// The sum of all bytes, taken as words of eight (in the machine's order: it must cost as little as it can).
/// What is left over at the end is summed as the last eight bytes.
#[inline]
#[expect(clippy::host_endian_bytes, reason = "only sums are compared, on one machine")]
pub(crate) fn sum_of_words(bytes: &[u8]) -> u64 {
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
