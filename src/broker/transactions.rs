//! Transactions as the broker begins them, and as administrators see them.

use std::sync::Arc;

use super::broker::Broker;
use super::groups::offsets_topic_config;
use super::transactional::{TransactionalBuilder, TransactionalProducer};
use crate::error::{Error, Result};
use crate::format::control::TxnOutcome;
use crate::partition::Log;
use crate::txn::{TransactionDescription, UndecidedTransaction};
use crate::types::TopicName;

/// The internal topic that holds what becomes of transactions.
pub(super) const TRANSACTIONS_TOPIC: &str = "__transaction_state";

impl Broker {
    /// A producer whose records hold together or not at all, in whatever partitions they are. The id survives
    /// restarts: a newer holder of it fences the older, and what that had open is aborted.
    ///
    /// ```
    /// use millpond::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// let orders = broker.create_topic("orders", TopicConfig::new())?;
    /// let invoices = broker.create_topic("invoices", TopicConfig::new())?;
    /// orders.producer()?.send(Record::new("tea"))?.wait()?;
    ///
    /// let mut consumer = broker.group("billing")?.join("orders")?;
    /// let mut producer = broker.transactional("billing-1")?;
    /// let records = consumer.poll().wait()?;
    /// let mut txn = producer.begin()?;
    /// for record in &records {
    ///     txn.send("invoices", Record::new(record.value()?.unwrap_or_default()))?;
    /// }
    /// txn.commit_offsets(&consumer, &records)?;
    /// txn.commit().wait()?;                             // the invoices, and how far the group has come: exactly once
    /// # assert_eq!(invoices.partition(0)?.last_stable_offset().get(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` for an id that is empty, longer than 249 bytes or has control characters; `Corrupted` if the
    /// topic of transactions cannot be read; `Poisoned` while it is not known whether the id's last transaction was
    /// committed; `Io`, `StorageFull`, `Closed`.
    #[doc(alias = "transactional.id")]
    pub fn transactional(&self, id: impl AsRef<str>) -> Result<TransactionalProducer> {
        self.transactional_builder(id).build()
    }

    /// The same, with settings of your own.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use millpond::config::TransactionConfig;
    /// use millpond::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// broker.create_topic("invoices", TopicConfig::new())?;
    /// let patient = TransactionConfig::new().timeout(Duration::from_secs(600));
    /// let mut producer = broker.transactional_builder("billing-1").config(patient).build()?;
    /// let mut txn = producer.begin()?;
    /// txn.send("invoices", Record::new("12 pieces"))?;
    /// txn.commit().wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn transactional_builder(&self, id: impl AsRef<str>) -> TransactionalBuilder {
        TransactionalBuilder::new(self.clone(), id.as_ref())
    }

    /// All transactional ids, sorted, with what each has under way.
    ///
    /// ```
    /// use millpond::prelude::*;
    /// use millpond::txn::TransactionState;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// broker.create_topic("a", TopicConfig::new())?;
    /// let mut producer = broker.transactional("mover")?;
    /// let mut txn = producer.begin()?;
    /// txn.send("a", Record::new("x"))?;
    /// let known = &broker.transactions()?[0];
    /// assert_eq!((known.id(), known.state()), ("mover", TransactionState::Open));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupted` if the topic of transactions cannot be read; `Closed`.
    pub fn transactions(&self) -> Result<Vec<TransactionDescription>> {
        self.shared.txns.describe()
    }

    /// Aborts the open transaction of an id, whoever holds it; answers whether one was open. Its holder is told
    /// `TransactionAborted` with its next call, and may begin another one.
    ///
    /// ```
    /// use millpond::ErrorKind;
    /// use millpond::prelude::*;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// let broker = Broker::open(dir.path())?;
    /// broker.create_topic("a", TopicConfig::new())?;
    /// let mut producer = broker.transactional("mover")?;
    /// let mut txn = producer.begin()?;
    /// txn.send("a", Record::new("x"))?;
    /// assert!(broker.abort_transaction("mover")?);
    /// let told = txn.commit().wait().unwrap_err();
    /// assert_eq!(told.kind(), ErrorKind::TransactionAborted);
    /// assert!(!broker.abort_transaction("mover")?);          // nothing is open any more
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`transactions`](Broker::transactions).
    pub fn abort_transaction(&self, id: impl AsRef<str>) -> Result<bool> {
        self.shared.txns.abort_id(id.as_ref())
    }

    /// The transactions that an earlier opening has left open, of which damage in the topic of transactions hides how
    /// they ended: they may have been committed, so nothing but [`commit_undecided`](Broker::commit_undecided) or
    /// [`abort_undecided`](Broker::abort_undecided) ends them. Until then readers of committed records that come to
    /// one are told `Corrupted`, and everything else of the broker works.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let broker = millpond::Broker::open(dir.path())?;
    /// for undecided in broker.undecided_transactions() {
    ///     println!("producer {} in {:?}", undecided.producer_id(), undecided.partitions());
    ///     broker.abort_undecided(&undecided)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn undecided_transactions(&self) -> Vec<UndecidedTransaction> {
        self.shared.txns.undecided()
    }

    /// Commits an undecided transaction in all its partitions, durably.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// let broker = millpond::Broker::open(dir.path())?;
    /// // Where the application knows from elsewhere that it had committed.
    /// for undecided in broker.undecided_transactions() {
    ///     broker.commit_undecided(&undecided)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` if it is not undecided, or a call that failed half way has begun to abort it; those of
    /// appending and flushing: what was ended before stays so, and the same call again ends the rest. After a crash in
    /// between make the same call, too: the next opening knows what is still open, not what was chosen.
    pub fn commit_undecided(&self, transaction: &UndecidedTransaction) -> Result<()> {
        self.shared.closing.check_open()?;
        self.shared.txns.settle(transaction, TxnOutcome::Commit)
    }

    /// Aborts an undecided transaction in all its partitions, durably.
    ///
    /// # Errors
    /// As [`commit_undecided`](Broker::commit_undecided).
    pub fn abort_undecided(&self, transaction: &UndecidedTransaction) -> Result<()> {
        self.shared.closing.check_open()?;
        self.shared.txns.settle(transaction, TxnOutcome::Abort)
    }

    /// The log of the transaction topic, which is made if there is none.
    pub(super) fn transactions_log(&self) -> Result<Arc<Log>> {
        let name = TopicName::new(TRANSACTIONS_TOPIC).map_err(Error::from)?;
        let known = self.shared.topics.read().find(&name);
        if let Some(topic) = known {
            return topic.partition(0);
        }
        let _admin = self.begin_admin()?;
        let known = self.shared.topics.read().find(&name);
        match known {
            Some(topic) => topic.partition(0),
            None => self.create(name, offsets_topic_config(), None)?.partition(0),
        }
    }
}
