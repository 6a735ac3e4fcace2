//! Transactional ids as an observer sees them: what the last record of each says.
//!
//! Invariant: nothing is written, and nothing is believed that a partition's log says: what has ended there and is not
//! said here has ended.

use std::collections::BTreeMap;

use super::observer::Observer;
use super::transactions::TRANSACTIONS_TOPIC;
use crate::error::{Error, ErrorKind, Result};
use crate::format::transaction_state::{StateKey, TxnState};
use crate::txn::TransactionDescription;

impl Observer {
    /// All transactional ids, sorted, with what is written down of each. A transaction is written down when it has been
    /// open for a second, with the partitions it has records for; what a program had open that was killed is open until
    /// the next opening.
    ///
    /// ```
    /// # let dir = tempfile::tempdir()?;
    /// use millpond::Observer;
    /// use millpond::prelude::*;
    /// use millpond::txn::TransactionState;
    ///
    /// let broker = Broker::open(dir.path())?;
    /// let orders = broker.create_topic("orders", TopicConfig::new())?;
    /// let mut producer = broker.transactional("mover")?;
    /// let mut txn = producer.begin()?;
    /// txn.send(&orders, Record::new("tea"))?;
    /// txn.commit().wait()?;
    ///
    /// let known = Observer::open(dir.path())?.transactions()?;          // beside the running broker
    /// assert_eq!((known[0].id(), known[0].state()), ("mover", TransactionState::Committed));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `Corrupted` for damage in the topic of transactions; `UnsupportedFormat`, `Io`.
    pub fn transactions(&self) -> Result<Vec<TransactionDescription>> {
        let mut records = match self.read(TRANSACTIONS_TOPIC, 0, ..) {
            Ok(records) => records,
            Err(e) if matches!(e.kind(), ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound) => {
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        let mut last = BTreeMap::new();
        while let Some(record) = records.next()? {
            let unreadable = |e: crate::format::FormatError| {
                let message = format!("a record of the topic of transactions cannot be read: {e}");
                let error = Error::new(ErrorKind::Corrupted, message);
                error.in_partition(record.topic_partition()).at_offset(record.offset())
            };
            let StateKey::Id(id) = StateKey::decode(record.key().unwrap_or_default()).map_err(unreadable)?
            else {
                continue;
            };
            match record.value() {
                Some(value) => drop(last.insert(id, TxnState::decode(value).map_err(unreadable)?)),
                None => drop(last.remove(&id)),
            }
        }
        let now = self.clock().now().millis();
        Ok(last.into_iter().map(|(id, state)| TransactionDescription::recorded(id, &state, now)).collect())
    }
}
