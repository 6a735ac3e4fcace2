//! Kafka's murmur2: which partition a key belongs to.
//!
//! ```text
//!   h = seed xor length;  each 4 bytes:  h = h * M  xor  mix(word);  1-3 bytes left: h = (h xor them) * M
//!   partition = (h & 0x7fffffff) mod partitions
//! ```
//!
//! Invariants: the same key lands in the same partition as with Kafka's Java client.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;

/// The hash of `data`.
pub(crate) fn murmur2(data: &[u8]) -> i32 {
    // Kafka's lengths are 32 bits.
    let mut h = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = little_endian(word).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        h = (h ^ little_endian(tail)).wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)) as i32
}

/// The partition, below `partitions`, of a record with this key; 0 where there are no partitions.
pub(crate) fn partition_for_key(key: &[u8], partitions: u32) -> u32 {
    let positive = (murmur2(key) & i32::MAX) as u32;
    positive.checked_rem(partitions).unwrap_or(0)
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u32::from(byte))
}
