//! How a partition is chosen for a record that names none.
//!
//! Invariants: the answer is below the number of partitions (0 if there are none); keyed records go
//! where Kafka's own clients send them; no locks, so that producers share one partitioner.
//!
//! ```text
//!   Sticky, one word:   | partition (32 bits) | bytes sent to it (32 bits) |
//!                         stays until the bytes reach a batch, then another, at random
//! ```

use std::fmt::Debug;
use std::sync::Arc;

use crate::config::Partitioning;
use crate::format::partition_for_key;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::types::ByteSize;

/// Chooses the partitions of records that name none. Give your own to a producer's builder:
///
/// ```
/// use millpond::topic::Partitioner;
///
/// /// Records whose key begins with `!` go to partition 0, which somebody watches.
/// #[derive(Debug)]
/// struct UrgentFirst;
///
/// impl Partitioner for UrgentFirst {
///     fn partition(&self, key: Option<&[u8]>, _value_len: usize, partitions: u32) -> u32 {
///         match key {
///             Some([b'!', ..]) => 0,
///             _ => partitions - 1,
///         }
///     }
/// }
///
/// assert_eq!(UrgentFirst.partition(Some(b"!fire"), 4, 3), 0);
/// assert_eq!(UrgentFirst.partition(Some(b"tea"), 3, 3), 2);
/// ```
pub trait Partitioner: Send + Sync + Debug {
    /// The partition of a record with this key and this length of value, of `partitions`, which is above
    /// 0. Called for each record, never under a lock. An answer of `partitions` or more fails the `send`.
    fn partition(&self, key: Option<&[u8]>, value_len: usize, partitions: u32) -> u32;
}

/// The partitioner of a setting; `random` seeds it, and `batch_size` is the topic's.
pub(crate) fn built_in(kind: Partitioning, batch_size: ByteSize, random: u64) -> Arc<dyn Partitioner> {
    match kind {
        Partitioning::HashKey => Arc::new(HashKey::new(batch_size, random)),
        Partitioning::Sticky => Arc::new(Sticky::new(batch_size, random)),
        Partitioning::RoundRobin => Arc::new(RoundRobin::new()),
    }
}

/// Records of one key go to one partition, by Kafka's murmur2 (an empty key is a key); records without a
/// key as [`Sticky`]. The default.
///
/// ```
/// use millpond::ByteSize;
/// use millpond::topic::{HashKey, Partitioner};
/// let partitioner = HashKey::new(ByteSize::kib(64), 7);
/// // As Kafka's Java client: murmur2("foobar") & 0x7fffffff is 1357151166.
/// assert_eq!(partitioner.partition(Some(b"foobar"), 100, 1000), 166);
/// ```
#[derive(Debug)]
pub struct HashKey {
    keyless: Sticky,
}

impl HashKey {
    /// Records without a key stay on a partition for `batch_size` bytes; `random` tells producers apart.
    #[must_use]
    pub fn new(batch_size: ByteSize, random: u64) -> HashKey {
        HashKey { keyless: Sticky::new(batch_size, random) }
    }
}

impl Partitioner for HashKey {
    fn partition(&self, key: Option<&[u8]>, value_len: usize, partitions: u32) -> u32 {
        match key {
            Some(key) if partitions > 0 => partition_for_key(key, partitions),
            _ => self.keyless.partition(key, value_len, partitions),
        }
    }
}

/// Records go to one partition until they fill a batch there, then to another: full batches, and all
/// partitions get their share. Keys do not matter.
///
/// ```
/// use millpond::ByteSize;
/// use millpond::topic::{Partitioner, Sticky};
/// let partitioner = Sticky::new(ByteSize::kib(1), 7);
/// let first = partitioner.partition(None, 600, 3);
/// assert_eq!(partitioner.partition(None, 600, 3), first); // 1,200 bytes: now full
/// assert_ne!(partitioner.partition(None, 600, 3), first);
/// ```
#[derive(Debug)]
pub struct Sticky {
    /// The partition above, the bytes sent to it below.
    current: AtomicU64,
    /// Rises by a draw; scrambled, it is the next random number.
    draws: AtomicU64,
    batch_size: u32,
}

impl Sticky {
    /// Stays on a partition for `batch_size` bytes; `random` decides the order of the partitions.
    #[must_use]
    pub fn new(batch_size: ByteSize, random: u64) -> Sticky {
        let batch_size = u32::try_from(batch_size.as_u64()).unwrap_or(u32::MAX);
        let first = (scramble(random) >> 32) as u32;
        Sticky { current: AtomicU64::new(pack(first, 0)), draws: AtomicU64::new(random), batch_size }
    }

    /// Any partition but `current`.
    fn another(&self, current: u32, partitions: u32) -> u32 {
        if partitions < 2 {
            return 0;
        }
        let draw = scramble(self.draws.fetch_add(1, Ordering::Relaxed).wrapping_add(1));
        let step = 1 + draw % u64::from(partitions - 1);
        ((u64::from(current) + step) % u64::from(partitions)) as u32
    }
}

impl Partitioner for Sticky {
    fn partition(&self, _key: Option<&[u8]>, value_len: usize, partitions: u32) -> u32 {
        if partitions == 0 {
            return 0;
        }
        // An empty value takes room too; were it free, a stream of them would never move on.
        let len = u32::try_from(value_len).unwrap_or(u32::MAX).max(1);
        let mut word = self.current.load(Ordering::Relaxed);
        loop {
            let (partition, sent) = unpack(word);
            let (partition, sent) = if sent < self.batch_size {
                (partition % partitions, sent)
            } else {
                (self.another(partition % partitions, partitions), 0)
            };
            let next = pack(partition, sent.saturating_add(len));
            match self.current.compare_exchange_weak(word, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return partition,
                Err(found) => word = found,
            }
        }
    }
}

/// Each record goes to the partition after the last one's. Keys do not matter.
///
/// ```
/// use millpond::topic::{Partitioner, RoundRobin};
/// let partitioner = RoundRobin::new();
/// let chosen: Vec<u32> = (0..4).map(|_| partitioner.partition(None, 0, 3)).collect();
/// assert_eq!(chosen, [0, 1, 2, 0]);
/// ```
#[derive(Debug, Default)]
pub struct RoundRobin {
    sent: AtomicU64,
}

impl RoundRobin {
    /// Begins at partition 0.
    #[must_use]
    pub fn new() -> RoundRobin {
        RoundRobin::default()
    }
}

impl Partitioner for RoundRobin {
    fn partition(&self, _key: Option<&[u8]>, _value_len: usize, partitions: u32) -> u32 {
        let turn = self.sent.fetch_add(1, Ordering::Relaxed);
        (turn % u64::from(partitions.max(1))) as u32
    }
}

fn pack(partition: u32, sent: u32) -> u64 {
    (u64::from(partition) << 32) | u64::from(sent)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

/// SplitMix64's output function: neighbouring numbers become unrelated ones.
fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: ByteSize = ByteSize::kib(1);

    /// From Kafka's own classes: the key, then its partition of 3, 12 and 1,000.
    #[test]
    fn keys_go_where_kafka_sends_them() {
        let cases: [(&[u8], [u32; 3]); 7] = [
            (b"", [0, 9, 681]),
            (b"a", [1, 4, 524]),
            (b"ab", [2, 2, 434]),
            (b"abc", [0, 3, 107]),
            (b"abcd", [2, 8, 100]),
            (b"21", [0, 0, 340]),
            (b"foobar", [0, 6, 166]),
        ];
        let partitioner = HashKey::new(KIB, 0);
        for (key, expected) in cases {
            let found = [3, 12, 1000].map(|partitions| partitioner.partition(Some(key), 10, partitions));
            assert_eq!(found, expected, "{key:?}");
        }
    }

    #[test]
    fn keyless_records_fill_a_batch_and_move_on() {
        for partitioner in [built_in(Partitioning::HashKey, KIB, 42), built_in(Partitioning::Sticky, KIB, 42)]
        {
            let chosen: Vec<u32> = (0..400).map(|_| partitioner.partition(None, 256, 5)).collect();
            let batches: Vec<&[u32]> = chosen.chunks(4).collect();
            for batch in &batches {
                assert!(batch.iter().all(|partition| *partition == batch[0]), "{batch:?}");
            }
            for pair in batches.windows(2) {
                assert_ne!(pair[0][0], pair[1][0], "a full batch is followed by another partition's");
            }
            for partition in 0..5 {
                let share = batches.iter().filter(|batch| batch[0] == partition).count();
                assert!((8..=40).contains(&share), "partition {partition} got {share} of 100 batches");
            }
        }
    }

    #[test]
    fn sticky_ignores_keys_and_differs_by_seed() {
        let run = |random| {
            let partitioner = Sticky::new(KIB, random);
            (0u32..64).map(|n| partitioner.partition(Some(&n.to_be_bytes()), 1024, 7)).collect::<Vec<u32>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn empty_values_move_on_too() {
        let partitioner = Sticky::new(ByteSize::bytes(10), 3);
        let first = partitioner.partition(None, 0, 2);
        assert!((0..10).any(|_| partitioner.partition(None, 0, 2) != first));
    }

    #[test]
    fn answers_stay_below_the_number_of_partitions_as_it_changes() {
        for kind in [Partitioning::HashKey, Partitioning::Sticky, Partitioning::RoundRobin] {
            let partitioner = built_in(kind, ByteSize::bytes(u64::MAX), u64::MAX);
            for partitions in [1, 7, 3, 1, u32::MAX, 2] {
                for key in [None, Some(&b"k"[..])] {
                    assert!(partitioner.partition(key, usize::MAX, partitions) < partitions);
                }
            }
            assert_eq!(partitioner.partition(None, 1, 0), 0);
            assert_eq!(partitioner.partition(Some(b"k"), 1, 0), 0);
        }
    }

    #[test]
    fn threads_share_one_round_robin_fairly() {
        let partitioner = RoundRobin::new();
        let counts: Vec<u32> = std::thread::scope(|scope| {
            let take = || (0..300).map(|_| partitioner.partition(None, 1, 3)).collect::<Vec<u32>>();
            let threads: Vec<_> = (0..2).map(|_| scope.spawn(take)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for partition in 0..3 {
            assert_eq!(counts.iter().filter(|chosen| **chosen == partition).count(), 200);
        }
    }
}
