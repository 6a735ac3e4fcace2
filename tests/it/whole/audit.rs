//! Every record of every partition against the model.
//!
//! Invariants: of the known records only those are missing that compaction may take; offsets without a record are
//! markers, one for a transaction; of each source the records are in its order; readers of committed records see
//! exactly those of committed transactions, and plain ones, below the last stable offset.

use std::collections::{BTreeMap, BTreeSet};

use millpond::ErrorKind;
use millpond::prelude::*;

use super::log::{Seen, Source, read};
use super::transactions::State;
use super::world::{Trouble, World};

/// What the two kinds of readers see of a partition.
struct Views {
    number: u64,
    n: usize,
    start: u64,
    stable: u64,
    high: u64,
    all: Vec<Seen>,
    committed: Vec<Seen>,
}

impl World {
    /// Reads everything, and compares.
    pub(super) fn audit(&mut self) {
        let views = self.read_all();
        for view in &views {
            self.take_up_states(view);
        }
        for view in &views {
            self.audit_partition(view);
        }
        if !self.in_trouble() {
            let numbers: Vec<u64> = self.topics.keys().copied().collect();
            numbers.into_iter().for_each(|number| self.audit_tables(number));
        }
    }

    fn read_all(&self) -> Vec<Views> {
        let mut views = Vec::new();
        for (&number, topic) in &self.topics {
            for (n, log) in topic.logs.iter().enumerate() {
                if log.poisoned || topic.topic.describe().partitions()[n].is_poisoned() {
                    continue;
                }
                let partition = topic.partition(n);
                let start = partition.log_start_offset().get();
                let (stable, high) = (partition.last_stable_offset().get(), partition.high_watermark().get());
                let all = read(&partition, start, Isolation::ReadUncommitted).unwrap();
                let committed = match read(&partition, start, Isolation::ReadCommitted) {
                    Ok(committed) => committed,
                    // Whether a transaction is committed shows at the next opening.
                    Err(error) if matches!(self.trouble, Trouble::Broken(_)) => {
                        assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
                        continue;
                    }
                    Err(error) => panic!("{}-{n}: {error}", topic.name),
                };
                // A reader at the end of what is visible asks for more: there may be by now.
                let now = (partition.last_stable_offset().get(), partition.high_watermark().get());
                let poisoned = topic.topic.describe().partitions()[n].is_poisoned();
                if now == (stable, high) && !poisoned {
                    views.push(Views { number, n, start, stable, high, all, committed });
                }
            }
        }
        views
    }

    /// A transaction of which something is seen was committed.
    fn take_up_states(&mut self, view: &Views) {
        for record in &view.committed {
            let Source::Txn(txn) = self.records[record.id].source else { continue };
            let state = &mut self.txns[txn].state;
            let (number, n) = (view.number, view.n);
            assert!(
                matches!(state, State::Committed | State::Unknown),
                "{number}-{n}: {record:?} of transaction {txn}, which is {state:?}"
            );
            *state = State::Committed;
        }
    }

    fn audit_partition(&mut self, view: &Views) {
        let (number, n) = (view.number, view.n);
        let name = format!("{}-{n}", self.topics[&number].name);
        let mut there = BTreeSet::new();
        for record in &view.all {
            assert!(there.insert(record.offset), "{name}: {record:?} twice");
            let log = &self.topics[&number].logs[n];
            assert!(!log.absent.contains(&record.offset), "{name}: {record:?} was gone, and is back");
            self.witness(record, number, n as u32);
        }
        let known: Vec<(u64, usize)> = self.topics[&number].logs[n]
            .known
            .range(view.start..view.high)
            .map(|(&at, &id)| (at, id))
            .collect();
        let missing: Vec<(u64, usize)> =
            known.iter().copied().filter(|(at, _)| !there.contains(at)).collect();
        let later = self.latest_of_keys(view, &known);
        for &(at, id) in &missing {
            assert!(self.may_be_gone(number, at, id, &later), "{name}: record {id} at {at} is gone");
        }
        self.topics.get_mut(&number).unwrap().logs[n].absent.extend(missing.iter().map(|(at, _)| at));
        self.check_tombstones(&name, view, &missing);
        self.check_markers(&name, view, &known);
        self.check_order(&name, &known);
        self.check_committed(&name, view);
        self.check_times(&name, number, n, view.high, &view.all);
    }

    /// The last record of each key that supersedes those before it.
    fn latest_of_keys(&self, view: &Views, known: &[(u64, usize)]) -> BTreeMap<u8, u64> {
        let superseding = known.iter().filter(|(at, id)| *at < view.stable && self.is_committed(*id));
        superseding.filter_map(|(at, id)| Some((self.records[*id].key?, *at))).collect()
    }

    /// Whether compaction may have taken a record.
    fn may_be_gone(&self, number: u64, at: u64, id: usize, later: &BTreeMap<u8, u64>) -> bool {
        let Some(delete_retention) = self.topics[&number].compacts else { return false };
        let sent = &self.records[id];
        let Some(key) = sent.key else { return true };
        let undone = match sent.source {
            Source::Txn(txn) => matches!(self.txns[txn].state, State::Aborted | State::Unknown | State::Open),
            _ => false,
        };
        let old = self.now() - sent.at >= delete_retention.as_millis() as i64;
        undone || later.get(&key).is_some_and(|&later| later > at) || (sent.tombstone && old)
    }

    /// A tombstone goes after what it deletes.
    fn check_tombstones(&self, name: &str, view: &Views, missing: &[(u64, usize)]) {
        for &(at, id) in missing {
            let sent = &self.records[id];
            if !sent.tombstone || !self.is_committed(id) {
                continue;
            }
            let survivor = view
                .committed
                .iter()
                .find(|record| record.offset < at && self.records[record.id].key == sent.key);
            assert!(survivor.is_none(), "{name}: tombstone {id} at {at} is gone before {survivor:?}");
        }
    }

    /// Offsets without a record: one marker for each transaction.
    fn check_markers(&self, name: &str, view: &Views, known: &[(u64, usize)]) {
        // Compaction may have taken records before anybody has seen where they are.
        if self.topics[&view.number].compacts.is_some() {
            return;
        }
        let unknown = (view.high - view.start) as usize - known.len();
        let sent =
            self.records.iter().filter(|sent| (sent.topic, sent.partition as usize) == (view.number, view.n));
        let txns: BTreeSet<usize> = sent
            .filter_map(|sent| match sent.source {
                Source::Txn(txn) => Some(txn),
                _ => None,
            })
            .collect();
        assert!(
            unknown <= txns.len(),
            "{name}: {unknown} offsets without a record, {} transactions",
            txns.len()
        );
    }

    fn check_order(&self, name: &str, known: &[(u64, usize)]) {
        let mut last = BTreeMap::new();
        for &(at, id) in known {
            let (source, place) = match self.records[id].source {
                Source::Named(by, sequence) => (Source::Named(by, 0), sequence as usize),
                source => (source, id),
            };
            let before = last.insert(source, place);
            assert!(
                before.is_none_or(|before| before < place),
                "{name}: {source:?}: {id} at {at} is not in order"
            );
        }
    }

    fn check_committed(&self, name: &str, view: &Views) {
        let expected: Vec<u64> = view
            .all
            .iter()
            .filter(|record| record.offset < view.stable && self.is_committed(record.id))
            .map(|record| record.offset)
            .collect();
        let seen: Vec<u64> = view.committed.iter().map(|record| record.offset).collect();
        assert_eq!(seen, expected, "{name}: what readers of committed records see, below {}", view.stable);
    }
}
