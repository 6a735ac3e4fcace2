//! A transactional producer, and its transactions.
//!
//! Invariants
//! - One transaction at a time: it borrows its producer.
//! - Dropped, a transaction is aborted; nothing waits for the disk then.
//! - What is known of a topic that has been deleted is forgotten before the next transaction sends there.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::broker::Broker;
use super::groups::offsets_log;
use super::producer_ids::check_name;
use super::topic_ref::TopicRef;
use super::topic_state::TopicState;
use crate::codec::{EncodeKey, EncodeValue, Record};
use crate::config::{Compression, TransactionConfig};
use crate::consumer::{Consumer, Records};
use crate::error::{Error, ErrorKind, Result};
use crate::producer::{BatchTerms, Producer};
use crate::txn::{Session, TransactionCommit};
use crate::types::{ProducerEpoch, ProducerId};

/// Makes a transactional producer; begun by [`Broker::transactional_builder`].
///
/// ```
/// use std::time::Duration;
/// use millpond::config::TransactionConfig;
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let config = TransactionConfig::new().timeout(Duration::from_secs(5));
/// let producer = broker.transactional_builder("billing-1").config(config).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "no producer is made before build()"]
#[derive(Debug)]
pub struct TransactionalBuilder {
    broker: Broker,
    id: String,
    config: TransactionConfig,
}

impl TransactionalBuilder {
    pub(super) fn new(broker: Broker, id: &str) -> TransactionalBuilder {
        TransactionalBuilder { broker, id: id.to_owned(), config: TransactionConfig::new() }
    }

    /// The producer's settings.
    pub fn config(mut self, config: TransactionConfig) -> TransactionalBuilder {
        self.config = config;
        self
    }

    /// Makes the producer.
    ///
    /// # Errors
    /// `InvalidConfig` names the setting; else as [`Broker::transactional`].
    pub fn build(self) -> Result<TransactionalProducer> {
        let TransactionalBuilder { broker, id, config } = self;
        let shared = &broker.shared;
        shared.closing.check_open()?;
        check_name(&id)?;
        config.validate_within(shared.config.max_transaction_timeout_duration())?;
        shared.txns.ensure_log(|| broker.transactions_log())?;
        let session = shared.txns.take(&id, config.timeout_duration(), || shared.fresh_producer_id())?;
        let compression = config.compression_type();
        Ok(TransactionalProducer { broker, session, compression, producers: HashMap::new(), last: None })
    }
}

/// Sends records that hold together or not at all: from [`Broker::transactional`].
pub struct TransactionalProducer {
    broker: Broker,
    session: Arc<Session>,
    /// Of its batches, in place of the topics'.
    compression: Option<Compression>,
    /// By topic and codecs: what encodes its records and chooses their partitions.
    producers: HashMap<Arc<str>, HashMap<TypeId, Known>>,
    /// The one of the last record: often the next one is for the same topic.
    last: Option<Known>,
}

/// A producer of some codecs.
#[derive(Clone)]
struct Known {
    topic: Arc<str>,
    codecs: TypeId,
    producer: Arc<dyn Any + Send + Sync>,
    state: Arc<TopicState>,
}

impl TransactionalProducer {
    /// The transactional id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.session.id()
    }

    /// Begins a transaction. A commit of the last one that is still on its way is waited for.
    ///
    /// # Errors
    /// `Fenced` if another producer has taken over the id; `Poisoned` if it is not known whether the last
    /// transaction was committed; `Closed`.
    pub fn begin(&mut self) -> Result<Transaction<'_>> {
        let shared = &self.broker.shared;
        shared.txns.begin(&self.session, || shared.fresh_producer_id())?;
        self.last = None;
        Ok(Transaction { producer: self, ended: false })
    }

    /// What encodes the records for this topic; `known` from here on.
    fn know<R: TopicRef>(&mut self, topic: &R) -> Result<()> {
        // Before a name is looked up: the other broker may have a topic of the same one.
        topic.check_of(&self.broker)?;
        let codecs = TypeId::of::<(R::Key, R::Value)>();
        let is_last = |last: &Known| last.codecs == codecs && *last.topic == *topic.text();
        if self.last.as_ref().is_some_and(is_last) {
            return Ok(());
        }
        let known = self.producers.get(topic.text()).and_then(|of_topic| of_topic.get(&codecs));
        let known = match known.filter(|known| known.state.check_alive().is_ok()) {
            Some(known) => known.clone(),
            None => {
                let found = topic.open_in(&self.broker)?;
                let (producer, state) = (Arc::new(found.producer()?), found.state);
                let known = Known { topic: topic.text().into(), codecs, producer, state };
                let of_topic = self.producers.entry(known.topic.clone()).or_default();
                of_topic.insert(codecs, known.clone());
                known
            }
        };
        self.last = Some(known);
        Ok(())
    }

    /// The topic is no more.
    fn forget(&mut self, topic: &str) {
        self.last = None;
        self.producers.remove(topic);
    }
}

/// Records in any partitions, and offsets of a group, that hold together or not at all. Dropped, it is aborted.
///
/// ```
/// use millpond::prelude::*;
///
/// # let dir = tempfile::tempdir()?;
/// let broker = Broker::open(dir.path())?;
/// let topic = broker.create_topic("a", TopicConfig::new())?;
/// let mut producer = broker.transactional("mover")?;
/// let mut txn = producer.begin()?;
/// txn.send("a", Record::new("never seen"))?;
/// txn.abort();
///
/// let mut txn = producer.begin()?;
/// txn.send(&topic, Record::new("seen"))?;
/// txn.commit().wait()?;
///
/// let mut consumer = broker.group("readers")?.join("a")?;
/// let records = consumer.poll().wait()?;
/// let values: Vec<_> = records.iter().map(|record| record.value()).collect::<Result<_, _>>()?;
/// assert_eq!(values, [Some(&b"seen"[..])]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a transaction that is dropped is aborted"]
pub struct Transaction<'p> {
    producer: &'p mut TransactionalProducer,
    ended: bool,
}

impl Transaction<'_> {
    /// Sends a record as part of the transaction. It waits in memory until its batch is full, or the transaction is
    /// committed.
    ///
    /// # Errors
    /// `TransactionAborted` if it was open for longer than its timeout; `Fenced` if another producer has taken over
    /// the id; `TopicNotFound` and those of opening the topic; `InvalidArgument` for a topic of another broker; else as [`Producer::send`]. After another error than
    /// these the transaction may have been aborted: the next call tells.
    pub fn send<R, RV, RK>(&mut self, topic: R, record: Record<'_, RV, RK>) -> Result<()>
    where
        R: TopicRef,
        RV: EncodeValue<R::Value>,
        RK: EncodeKey<R::Key>,
    {
        self.producer.know(&topic)?;
        let &TransactionalProducer { ref broker, ref session, compression, ref last, .. } = &*self.producer;
        let known = last.as_ref().and_then(|last| last.producer.downcast_ref());
        let producer: &Producer<R::Key, R::Value> = known.ok_or_else(|| Error::closed("the topic"))?;
        let (txns, terms) = (&broker.shared.txns, BatchTerms { compression, ..producer.terms() });
        let sent = producer.lend(&record, |log, record| txns.send(session, log, record, terms));
        let gone = |error: &Error| matches!(error.kind(), ErrorKind::Closed | ErrorKind::PartitionNotFound);
        if sent.as_ref().is_err_and(gone) {
            // The topic was deleted; there may be another one of the name, with more partitions.
            self.producer.forget(topic.text());
        }
        sent
    }

    /// Commits, with the transaction, what these records end with: all up to them has been processed.
    ///
    /// # Errors
    /// Those of [`Consumer::commit`]; `TransactionAborted`, `Fenced`; `InvalidArgument` for a consumer of another
    /// broker.
    #[doc(alias = "send_offsets_to_transaction")]
    pub fn commit_offsets<K, V>(&mut self, consumer: &Consumer<K, V>, records: &Records<K, V>) -> Result<()> {
        let shared = &self.producer.broker.shared;
        shared.groups.ensure_offsets_topic(|| offsets_log(&self.producer.broker))?;
        shared.txns.commit_offsets(&self.producer.session, consumer, records)
    }

    /// Commits: everything of it holds from now on, or nothing. Waiting tells; the call has started it.
    pub fn commit(mut self) -> TransactionCommit {
        self.ended = true;
        self.producer.broker.shared.txns.commit(&self.producer.session)
    }

    /// Aborts: nothing of it is seen by readers of committed records.
    pub fn abort(self) {
        drop(self);
    }

    /// The producer id by which the log knows it.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId::new(self.producer.session.stamp().producer_id)
    }

    /// The epoch of this transaction.
    #[must_use]
    pub fn epoch(&self) -> ProducerEpoch {
        ProducerEpoch::new(self.producer.session.stamp().epoch)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.producer.broker.shared.txns.abort(&self.producer.session);
        }
    }
}

impl fmt::Debug for TransactionalProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionalProducer").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("producer", &self.producer).finish_non_exhaustive()
    }
}
