//! The producer table by itself: sequences, epochs, transactions, and what is aborted.

use proptest::prelude::*;

use super::sequence::{sequence_after, sequences_between};
use super::{AbortedIndex, Admission, Marker, ProducerTable, Refusal};
use crate::format::batch::{Attributes, BatchHeader};
use crate::format::control::TxnOutcome;
use crate::format::index::TxnEntry;

const PLAIN: Attributes = Attributes::NONE;
const TXN: Attributes = Attributes::NONE.with_transactional();

fn batch(id: i64, epoch: i16, sequence: i32, count: i32, attributes: Attributes) -> BatchHeader {
    BatchHeader {
        base_offset: 0,
        batch_length: 49,
        leader_epoch: 0,
        magic: 2,
        crc: 0,
        attributes,
        last_offset_delta: count - 1,
        base_timestamp: 0,
        max_timestamp: 1000 + i64::from(sequence),
        producer_id: id,
        producer_epoch: epoch,
        base_sequence: sequence,
        records_count: count,
    }
}

/// A log of which only the producers matter.
#[derive(Default)]
struct Pond {
    table: ProducerTable,
    aborted: AbortedIndex,
    end: u64,
}

impl Pond {
    fn send(&mut self, header: BatchHeader) -> Result<u64, Refusal> {
        match self.table.admit(&header)? {
            Admission::Known { offset, .. } => Ok(offset),
            Admission::New { .. } => {
                let base = self.end;
                self.table.note(&BatchHeader { base_offset: base as i64, ..header }, 0);
                self.end += header.last_offset_delta as u64 + 1;
                Ok(base)
            }
        }
    }

    fn end(&mut self, id: i64, epoch: i16, outcome: TxnOutcome) -> Result<(), Refusal> {
        self.table.admit_marker(id, epoch)?;
        let marker = Marker { producer_id: id, epoch, outcome, coordinator_epoch: 3, offset: self.end };
        self.end += 1;
        if let Some(entry) = self.table.end(&marker, 0) {
            self.aborted.push(entry);
        }
        Ok(())
    }
}

#[test]
fn a_repeated_batch_is_answered_with_the_first_ones_offset() {
    let mut pond = Pond::default();
    for n in 0..7 {
        assert_eq!(pond.send(batch(1, 0, n * 10, 10, PLAIN)), Ok(n as u64 * 10));
    }
    for n in 2..7 {
        assert_eq!(pond.send(batch(1, 0, n * 10, 10, PLAIN)), Ok(n as u64 * 10), "the last five");
    }
    assert_eq!(pond.end, 70);
    let refused = |offset| Err(Refusal::Duplicate { offset, expected: 70 });
    assert_eq!(pond.send(batch(1, 0, 10, 10, PLAIN)), refused(None), "older than the last five");
    assert_eq!(pond.send(batch(1, 0, 45, 5, PLAIN)), refused(Some(45)), "in the log, not as this batch");
    assert_eq!(pond.send(batch(1, 0, 65, 10, PLAIN)), refused(None), "partly in the log");
}

#[test]
fn a_gap_is_refused() {
    let mut pond = Pond::default();
    pond.send(batch(1, 0, 0, 10, PLAIN)).unwrap();
    assert_eq!(pond.send(batch(1, 0, 11, 1, PLAIN)), Err(Refusal::OutOfOrder { expected: 10 }));
    assert_eq!(pond.send(batch(1, 1, 10, 1, PLAIN)), Err(Refusal::OutOfOrder { expected: 0 }));
    assert_eq!(pond.send(batch(1, 0, 10, 1, PLAIN)), Ok(10));
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(2_147_483_646, 3), 1);
    assert_eq!(sequence_after(i32::MAX, 1), 0);
    assert_eq!(sequences_between(i32::MAX, 1), 2);
    let mut pond = Pond::default();
    // Kafka's vector: base 2147483646 and four records end with 2 (its delta counts from the base: 1, 2).
    pond.send(batch(1, 0, 2_147_483_646, 4, PLAIN)).unwrap();
    assert_eq!(pond.table.get(1).unwrap().last_sequence(), Some(1));
    assert_eq!(pond.send(batch(1, 0, 2_147_483_646, 4, PLAIN)), Ok(0));
    assert_eq!(pond.send(batch(1, 0, 2, 1, PLAIN)), Ok(4));
    assert_eq!(pond.table.get(1).unwrap().offset_of(0), Some(2));
}

#[test]
fn an_older_epoch_is_fenced() {
    let mut pond = Pond::default();
    pond.send(batch(1, 5, 0, 1, PLAIN)).unwrap();
    pond.send(batch(1, 6, 0, 1, PLAIN)).unwrap();
    assert_eq!(pond.send(batch(1, 5, 1, 1, PLAIN)), Err(Refusal::Fenced { known: 6 }));
}

#[test]
fn an_unknown_producer_begins_anywhere() {
    // Systems.md row 16: its state expired, or was never here.
    let mut pond = Pond::default();
    assert_eq!(pond.send(batch(1, 3, 977, 1, PLAIN)), Ok(0));
    assert!(pond.table.expire(1));
    assert_eq!(pond.send(batch(1, 3, 5, 1, PLAIN)), Ok(1));
}

#[test]
fn idle_producers_expire_but_none_with_an_open_transaction() {
    let mut pond = Pond::default();
    pond.send(batch(1, 0, 0, 1, PLAIN)).unwrap();
    pond.send(batch(2, 0, 0, 1, TXN)).unwrap();
    assert!(!pond.table.expire(0));
    assert!(pond.table.expire(1));
    assert_eq!(pond.table.all().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_marker_ends_only_the_transaction_of_its_epoch() {
    // Systems.md row 12; what Jepsen found in Kafka's protocol.
    let mut pond = Pond::default();
    pond.send(batch(1, 4, 0, 2, TXN)).unwrap();
    assert_eq!(pond.end(1, 3, TxnOutcome::Commit), Err(Refusal::Fenced { known: 4 }));
    assert_eq!(pond.end(1, 5, TxnOutcome::Commit), Err(Refusal::OtherTransaction));
    assert_eq!(pond.table.first_unstable(), Some(0));
    pond.end(1, 4, TxnOutcome::Commit).unwrap();
    assert_eq!(pond.table.first_unstable(), None);
    // A late record of the transaction that has ended opens none that nobody would end.
    assert_eq!(pond.send(batch(1, 4, 2, 1, TXN)), Err(Refusal::Fenced { known: 5 }));
    pond.send(batch(1, 5, 0, 1, TXN)).unwrap();
    assert_eq!(pond.end(1, 4, TxnOutcome::Abort), Err(Refusal::Fenced { known: 5 }));
    assert_eq!(pond.table.first_unstable(), Some(3));
}

#[test]
fn a_marker_without_a_transaction_changes_nothing_for_readers() {
    let mut pond = Pond::default();
    pond.send(batch(1, 0, 0, 1, TXN)).unwrap();
    pond.end(9, 2, TxnOutcome::Abort).unwrap();
    assert_eq!(pond.table.first_unstable(), Some(0));
    assert!(pond.aborted.entries().is_empty());
}

#[test]
fn a_transaction_takes_no_batches_of_others() {
    let mut pond = Pond::default();
    pond.send(batch(1, 0, 0, 1, TXN)).unwrap();
    assert_eq!(pond.send(batch(1, 0, 1, 1, PLAIN)), Err(Refusal::OtherTransaction));
    assert_eq!(pond.send(batch(1, 1, 0, 1, TXN)), Err(Refusal::OtherTransaction));
    assert_eq!(pond.send(batch(1, 0, 1, 1, TXN)), Ok(1));
}

#[test]
fn aborted_transactions_have_kafkas_entries() {
    let mut pond = Pond::default();
    pond.send(batch(1, 0, 0, 10, TXN)).unwrap();
    pond.send(batch(2, 0, 0, 5, TXN)).unwrap();
    pond.end(1, 0, TxnOutcome::Abort).unwrap();
    pond.end(2, 0, TxnOutcome::Abort).unwrap();
    let entry = |producer_id, first_offset, last_offset, last_stable_offset| TxnEntry {
        producer_id,
        first_offset,
        last_offset,
        last_stable_offset,
    };
    assert_eq!(pond.aborted.entries(), [entry(1, 0, 15, 10), entry(2, 10, 16, 17)]);
}

#[test]
fn a_snapshot_tells_all_but_older_batches() {
    let mut pond = Pond::default();
    pond.send(batch(1, 0, 0, 10, PLAIN)).unwrap();
    pond.send(batch(1, 0, 10, 10, PLAIN)).unwrap();
    pond.send(batch(2, 7, 0, 3, TXN)).unwrap();
    pond.end(3, 1, TxnOutcome::Commit).unwrap();
    let entries = pond.table.entries();
    let table = ProducerTable::of_entries(&entries, 0).unwrap();
    assert_eq!(table.entries(), entries);
    assert_eq!(table.first_unstable(), Some(20));
    let mut again = Pond { table, ..pond };
    assert_eq!(again.send(batch(1, 0, 10, 10, PLAIN)), Ok(10));
    let older = Refusal::Duplicate { offset: None, expected: 20 };
    assert_eq!(again.send(batch(1, 0, 0, 10, PLAIN)), Err(older));
    assert_eq!(again.send(batch(2, 7, 3, 1, TXN)), Ok(24));
}

#[derive(Clone, Debug)]
enum Act {
    Send(i64, i32),
    Commit(i64),
    Abort(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let id = 0..5i64;
    prop_oneof![
        4 => (id.clone(), 1..4i32).prop_map(|(id, count)| Act::Send(id, count)),
        1 => id.clone().prop_map(Act::Commit),
        1 => id.prop_map(Act::Abort),
    ]
}

proptest! {
    /// Every offset below the last stable one is known as aborted exactly if its transaction was.
    #[test]
    fn what_is_aborted_is_found(acts in prop::collection::vec(act(), 1..80)) {
        let mut pond = Pond::default();
        let mut epochs = [0i16; 5];
        let mut sequences = [0i32; 5];
        // Of each offset: whose, and the number of the transaction; of each of these, whether it was aborted.
        let mut owners: Vec<Option<(i64, i16)>> = Vec::new();
        let mut fates = std::collections::HashMap::new();
        for act in acts {
            match act {
                Act::Send(id, count) => {
                    let (epoch, sequence) = (epochs[id as usize], &mut sequences[id as usize]);
                    pond.send(batch(id, epoch, *sequence, count, TXN)).unwrap();
                    *sequence += count;
                    owners.extend((0..count).map(|_| Some((id, epoch))));
                }
                Act::Commit(id) | Act::Abort(id) => {
                    let aborts = matches!(act, Act::Abort(_));
                    let outcome = if aborts { TxnOutcome::Abort } else { TxnOutcome::Commit };
                    let epoch = &mut epochs[id as usize];
                    pond.end(id, *epoch, outcome).unwrap();
                    fates.insert((id, *epoch), aborts);
                    *epoch += 1;
                    sequences[id as usize] = 0;
                    owners.push(None);
                }
            }
            let stable = pond.table.first_unstable().unwrap_or(pond.end);
            let mut clear = 0;
            for offset in 0..stable {
                let owner = owners[offset as usize];
                let expected = owner.is_some_and(|owner| fates.get(&owner).copied().expect("it is stable"));
                let id = owner.map_or(-1, |(id, _)| id);
                prop_assert_eq!(pond.aborted.holds(id, offset), expected, "offset {}", offset);
                // As a reader asks: only where it does not know.
                if offset >= clear {
                    clear = pond.aborted.clear_until(offset, stable);
                }
                prop_assert!(!expected || offset >= clear, "offset {} passes for clear", offset);
            }
        }
    }
}
