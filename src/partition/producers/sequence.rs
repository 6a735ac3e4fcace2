//! Sequence numbers: they count a producer's records in a partition, from 0, and begin again at 0 after the
//! greatest.
//!
//! Invariant: never negative.

/// The greatest one.
const GREATEST: i64 = i32::MAX as i64;

/// The sequence number `count` records after `sequence`.
pub(crate) fn sequence_after(sequence: i32, count: u64) -> i32 {
    let size = GREATEST as u64 + 1;
    let sum = (sequence.max(0) as u64 + count % size) % size;
    // Below 2^31 by the remainder.
    sum as i32
}

/// How many records lie between two sequence numbers, going forward from the first.
pub(crate) fn sequences_between(from: i32, to: i32) -> u64 {
    (i64::from(to) - i64::from(from)).rem_euclid(GREATEST + 1) as u64
}
