//! SipHash-2-4 with 128 bits: a key's fingerprint in the offset map.
//!
//! Two keys with the same fingerprint would be taken for one, and the older record of one of them be lost. The
//! hash is keyed with 128 random bits for each pass, so that nobody can look for such keys beforehand and no
//! pair of keys meets twice; among 2^32 keys the chance of any meeting is below 2^-64.

/// A keyed hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SipHash {
    k0: u64,
    k1: u64,
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl SipHash {
    /// With this key.
    pub(crate) fn new(k0: u64, k1: u64) -> SipHash {
        SipHash { k0, k1 }
    }

    /// The fingerprint of `bytes`.
    pub(crate) fn of(self, bytes: &[u8]) -> u128 {
        let mut state = State {
            v0: self.k0 ^ 0x736f_6d65_7073_6575,
            v1: self.k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: self.k0 ^ 0x6c79_6765_6e65_7261,
            v3: self.k1 ^ 0x7465_6462_7974_6573,
        };
        let (words, rest) = bytes.split_at(bytes.len() & !7);
        for word in words.chunks_exact(8) {
            state.word(first_byte_lowest(word));
        }
        state.word(first_byte_lowest(rest) | (bytes.len() as u64) << 56);
        state.v2 ^= 0xee;
        let first = state.finish();
        state.v1 ^= 0xdd;
        u128::from(first) << 64 | u128::from(state.finish())
    }
}

impl State {
    #[inline]
    fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    #[inline]
    fn finish(&mut self) -> u64 {
        (0..4).for_each(|_| self.round());
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

/// At most eight bytes as a number, the first one its lowest byte.
#[inline]
fn first_byte_lowest(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(word).swap_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first of the reference implementation's vectors: key 00 01 .. 0f, input 00 01 .. (n - 1).
    #[test]
    fn fingerprints_are_those_of_the_reference() {
        let hash = SipHash::new(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        let words = |n: u8| {
            let input: Vec<u8> = (0..n).collect();
            let hash = hash.of(&input);
            [(hash >> 64) as u64, hash as u64].map(u64::swap_bytes)
        };
        assert_eq!(words(0), [0xa381_7f04_ba25_a8e6, 0x6df6_7214_c755_0293]);
        assert_eq!(words(1), [0xda87_c1d8_6b99_af44, 0x3476_5911_9b22_fc45]);
    }

    #[test]
    fn every_length_and_key_counts() {
        let (a, b) = (SipHash::new(1, 2), SipHash::new(1, 3));
        let mut seen = std::collections::HashSet::new();
        for len in 0..100 {
            let zeros = vec![0; len];
            assert!(seen.insert(a.of(&zeros)) && seen.insert(b.of(&zeros)), "{len}");
        }
    }
}
