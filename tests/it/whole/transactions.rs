//! Transactions: records in several partitions, and offsets of a group, that hold together or not at all.
//!
//! Other steps run while one is open, other transactions among them.

use std::time::Duration;

use millpond::config::TransactionConfig;
use millpond::prelude::*;
use millpond::{Error, ErrorKind};

use super::groups::Pending;
use super::log::{Id, Source};
use super::sending::{Kind, with_record};
use super::world::World;

const TIMEOUT: Duration = Duration::from_secs(600);

/// What is known of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Committed,
    Aborted,
    /// Its commit was begun, and nobody has told how it ended.
    Unknown,
}

/// A transaction of the model.
#[derive(Clone, Debug)]
pub(super) struct Txn {
    pub(super) state: State,
    pub(super) records: Vec<Id>,
    /// What it commits of groups: group, topic, partition, offset.
    pub(super) offsets: Vec<(String, u64, u32, u64)>,
    begun: i64,
    /// Something of it was refused, by a full disk for example: that aborts it.
    refused: bool,
}

impl World {
    /// A transaction with other steps in between.
    pub(super) fn transaction(&mut self, depth: usize) {
        let which = self.below(3) as usize;
        let kept = self.transactional.remove(&which);
        let opening = self.openings;
        let mut producer = match kept.map_or_else(|| self.transactional_producer(which), Ok) {
            Ok(producer) => producer,
            Err(error) => return self.bear("transactional", &error, &[]),
        };
        let this = self.txns.len();
        self.say(format!("transaction {this} of txn-{which} begins"));
        let mut txn = match producer.begin() {
            Ok(txn) => txn,
            Err(error) => return self.bear("begin", &error, &[ErrorKind::Fenced]),
        };
        let (records, offsets) = (Vec::new(), Vec::new());
        self.txns.push(Txn { state: State::Open, records, offsets, begun: self.now(), refused: false });
        for _ in 0..1 + self.below(6) {
            match self.below(5) {
                0..=2 => self.cut_off_sometimes(|world| world.send_within(this, &mut txn)),
                3 => self.cut_off_sometimes(|world| world.commit_offsets_within(this, &mut txn)),
                _ => self.step(depth + 1),
            }
            if self.openings != opening {
                return;
            }
            self.look();
        }
        if self.one_in(4) {
            self.say(format!("transaction {this} aborts"));
            self.txns[this].state = State::Aborted;
            self.cut_off_sometimes(|_| drop(txn));
        } else {
            self.cut_off_sometimes(|world| world.commit_transaction(this, txn));
        }
        if self.openings == opening && self.one_in(3) {
            self.transactional.insert(which, producer);
        }
    }

    fn transactional_producer(&self, which: usize) -> millpond::Result<TransactionalProducer> {
        let config = TransactionConfig::new().timeout(TIMEOUT);
        self.broker().transactional_builder(format!("txn-{which}")).config(config).build()
    }

    /// An error of a call of a transaction; one that says that it is over must have a reason.
    fn bear_within(&mut self, this: usize, what: &str, error: &Error) {
        let old = self.now() - self.txns[this].begun >= TIMEOUT.as_millis() as i64;
        let over = matches!(error.kind(), ErrorKind::TransactionAborted);
        // What a full disk has refused aborts it.
        let reason = old
            || self.in_trouble()
            || self.txns[this].refused
            || self.txns[this].records.iter().any(|&id| self.records[id].doubtful);
        assert!(!over || reason, "{what}: {error}, for no reason");
        // A topic of the name that was deleted is forgotten with the first error.
        let deleted = [
            ErrorKind::TransactionAborted,
            ErrorKind::Fenced,
            ErrorKind::Closed,
            ErrorKind::PartitionNotFound,
        ];
        self.txns[this].refused = true;
        self.bear(what, error, &deleted);
    }

    fn send_within(&mut self, this: usize, txn: &mut Transaction<'_>) {
        for _ in 0..1 + self.below(8) {
            let Some(number) = self.any_topic() else { return };
            let made = self.make(number, None, Kind::Any, Source::Txn(this));
            let topic = self.topics[&number].topic.clone();
            self.txns[this].records.push(made.id);
            self.say(format!("    {this} sends to {number}-{}: {}", made.partition, made.id));
            if let Err(error) = with_record!(made, |record| txn.send(&topic, record)) {
                self.records[made.id].doubtful = true;
                if self.when_full(number).contains(&error.kind()) {
                    self.say(format!("    {this}: {error}"));
                    continue;
                }
                self.bear_within(this, "send within", &error);
            }
        }
    }

    fn commit_offsets_within(&mut self, this: usize, txn: &mut Transaction<'_>) {
        let Some(at) = self.any_member() else { return };
        let Some(held) = self.members[at].held.take() else { return };
        let ends = held.ends.clone();
        let group = self.members[at].group.clone();
        self.say(format!("    {this} commits for {group}: {ends:?}"));
        let allowed = [ErrorKind::Rebalanced, ErrorKind::Fenced, ErrorKind::Backpressure];
        let sought =
            |world: &World, number, n| world.members[at].places.get(&(number, n)).is_some_and(|p| p.sought);
        for &(number, n, value) in &ends {
            let back = sought(self, number, n);
            self.begin_commit(&group, number, n, Pending { value: Some(value), back, txn: Some(this) });
        }
        match txn.commit_offsets(&self.members[at].consumer, &held.records) {
            Ok(()) => {
                let of_group = ends.into_iter().map(|(number, n, value)| (group.clone(), number, n, value));
                self.txns[this].offsets.extend(of_group);
            }
            Err(error) if error.kind() == ErrorKind::TopicNotFound => {
                assert!(held.ends.iter().any(|(number, ..)| !self.topics.contains_key(number)), "{error}");
            }
            Err(error) if allowed.contains(&error.kind()) => self.bear("commit_offsets", &error, &allowed),
            Err(error) => self.bear_within(this, "commit_offsets", &error),
        }
    }

    fn commit_transaction(&mut self, this: usize, txn: Transaction<'_>) {
        self.txns[this].state = State::Unknown;
        if self.one_in(5) {
            self.say(format!("transaction {this} commits, unwatched"));
            drop(txn.commit());
            return;
        }
        self.say(format!("transaction {this} commits"));
        match txn.commit().wait() {
            Ok(()) => {
                self.txns[this].state = State::Committed;
                for (group, number, n, value) in self.txns[this].offsets.clone() {
                    self.must_be_committed(&group, number, n, value);
                }
            }
            Err(error) => {
                if matches!(error.kind(), ErrorKind::TransactionAborted | ErrorKind::Fenced) {
                    self.txns[this].state = State::Aborted;
                }
                self.bear_within(this, "commit", &error);
            }
        }
    }
}
