//! What every [`Partitioner`] must do, ours and a host's own.
//!
//! Invariant: the function here panics where a partitioner breaks a rule, and names the rule.

use super::partitioner::Partitioner;

/// Checks the rule that every partitioner keeps: its answer is below the number of partitions, whatever the record, also
/// where several threads ask at once.
///
/// ```
/// millpond::testing::partitioner::partitioner(&millpond::topic::RoundRobin::new());
/// ```
///
/// # Panics
/// Where the rule is broken.
pub fn partitioner(partitioner: &dyn Partitioner) {
    let long = [0xff; 1000];
    let keys: [Option<&[u8]>; 5] = [None, Some(b""), Some(b"a"), Some(b"\0\0\0\0"), Some(&long)];
    let ask = || {
        for partitions in [1, 2, 3, 7, 1000, u32::MAX, 5, 1] {
            for round in 0..50 {
                for key in keys {
                    let len = [0, 1, 100, 1 << 20, usize::MAX][round % 5];
                    let answer = partitioner.partition(key, len, partitions);
                    assert!(
                        answer < partitions,
                        "{partitioner:?} chose {answer} of {partitions}, key {key:?}"
                    );
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(ask));
        ask();
        for thread in threads {
            if let Err(panicked) = thread.join() {
                std::panic::resume_unwind(panicked);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{HashKey, RoundRobin, Sticky};
    use crate::types::ByteSize;

    #[test]
    fn ours_keep_the_rule() {
        partitioner(&HashKey::new(ByteSize::kib(16), 7));
        partitioner(&Sticky::new(ByteSize::kib(16), 7));
        partitioner(&RoundRobin::new());
    }

    #[derive(Debug)]
    struct Beyond;

    impl Partitioner for Beyond {
        fn partition(&self, _key: Option<&[u8]>, value_len: usize, partitions: u32) -> u32 {
            u32::from(value_len > 0) * partitions
        }
    }

    #[test]
    #[should_panic(expected = "chose")]
    fn one_that_points_beyond_is_found() {
        partitioner(&Beyond);
    }
}
