//! Where the latest record of each key is: a hash table of fixed size.
//!
//! ```text
//!   slot, 24 bytes:  fingerprint of the key, 128 bits | offset, 64 bits        (probed one by one)
//! ```
//!
//! Invariants
//! - It never grows: one that is full says so, and the round ends before the record that did not fit.
//! - At least one slot in ten stays empty, so that a search ends.

use super::siphash::SipHash;

/// Bytes of a slot.
const SLOT: u64 = 24;
/// No record has this offset.
const EMPTY: u64 = u64::MAX;
/// The fewest slots.
const LEAST: u64 = 16;

#[derive(Clone, Copy)]
struct Slot {
    high: u64,
    low: u64,
    offset: u64,
}

/// Latest offset by key.
pub(crate) struct OffsetMap {
    hash: SipHash,
    slots: Vec<Slot>,
    used: usize,
    most: usize,
}

impl OffsetMap {
    /// An empty map for `keys` keys, of at most `memory` bytes.
    pub(crate) fn new(keys: u64, memory: u64, hash: SipHash) -> OffsetMap {
        let wanted = keys.saturating_add(keys / 8).saturating_add(2);
        let slots = wanted.min(memory / SLOT).max(LEAST) as usize;
        let empty = Slot { high: 0, low: 0, offset: EMPTY };
        OffsetMap { hash, slots: vec![empty; slots], used: 0, most: slots - slots.div_ceil(10) }
    }

    /// Notes that the record at `offset`, which is greater than all before, has this key; `false` if there is no
    /// room for one more key.
    pub(crate) fn put(&mut self, key: &[u8], offset: u64) -> bool {
        let (at, fingerprint) = self.find(key);
        let full = self.used >= self.most;
        let Some(slot) = self.slots.get_mut(at) else { return false };
        if slot.offset == EMPTY {
            if full {
                return false;
            }
            self.used += 1;
        }
        *slot = Slot { high: fingerprint.0, low: fingerprint.1, offset };
        true
    }

    /// The offset of the latest record with this key, if there is one.
    pub(crate) fn latest(&self, key: &[u8]) -> Option<u64> {
        let slot = self.slots.get(self.find(key).0)?;
        (slot.offset != EMPTY).then_some(slot.offset)
    }

    /// Keys in it.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.slots.len() as u64 * SLOT
    }

    /// The slot of a key, or the empty one where it belongs; and its fingerprint.
    fn find(&self, key: &[u8]) -> (usize, (u64, u64)) {
        let fingerprint = self.hash.of(key);
        let (high, low) = ((fingerprint >> 64) as u64, fingerprint as u64);
        let len = self.slots.len();
        let mut at = (u128::from(high).wrapping_mul(len as u128) >> 64) as usize;
        while let Some(slot) = self.slots.get(at) {
            if slot.offset == EMPTY || (slot.high, slot.low) == (high, low) {
                break;
            }
            at = if at + 1 == len { 0 } else { at + 1 };
        }
        (at, (high, low))
    }
}

impl std::fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffsetMap").field("keys", &self.used).field("most", &self.most).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_offset_counts_and_a_full_map_says_so() {
        let mut map = OffsetMap::new(u64::MAX, 20 * SLOT, SipHash::new(1, 2));
        assert_eq!(map.bytes(), 480);
        let keys: Vec<[u8; 1]> = (0..18).map(|i| [i]).collect();
        for round in 0..3 {
            for (i, key) in keys.iter().enumerate() {
                assert!(map.put(key, round * 100 + i as u64));
            }
        }
        assert_eq!(map.len(), 18);
        assert!(!map.put(b"one more", 400), "full");
        assert!(map.put(&[3], 401), "known keys go on");
        assert_eq!((map.latest(&[3]), map.latest(&[4])), (Some(401), Some(204)));
        assert_eq!(map.latest(b"one more"), None);
    }

    #[test]
    fn it_takes_no_more_than_its_keys_need() {
        assert!(OffsetMap::new(100, 1 << 30, SipHash::new(1, 2)).bytes() < 3000);
        let mut small = OffsetMap::new(0, 0, SipHash::new(1, 2));
        assert!(small.put(b"there is always room for some", 1));
    }
}
