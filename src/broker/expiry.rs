//! What is known of producers that have not been heard of for long, forgotten.
//!
//! ```text
//!   partitions: producers     producer_expiration           -> memory, snapshots
//!   names, of no partition and of nobody                    -> millpond.producers
//!   transactional ids         transactional_id_expiration   -> a tombstone in __transaction_state
//! ```
//!
//! Invariants
//! - It is looked at some time after an opening, not at once: who comes back with the program is heard of first.
//! - Nothing that is open is forgotten, nor a producer whose name somebody holds.

use std::time::Duration;

use parking_lot::Mutex;

use super::broker::Shared;
use crate::config::BrokerConfig;
use crate::error::Result;

/// The longest time between two looks.
const INTERVAL: Duration = Duration::from_secs(600);

/// When it is looked at next, by the monotonic clock.
#[derive(Debug)]
pub(super) struct Expiry {
    interval: Duration,
    next: Mutex<Duration>,
}

impl Expiry {
    /// Of a broker that is opened now.
    pub(super) fn new(config: &BrokerConfig, now: Duration) -> Expiry {
        let shortest =
            config.producer_expiration_duration().min(config.transactional_id_expiration_duration());
        let interval = INTERVAL.min(shortest);
        Expiry { interval, next: Mutex::new(now.saturating_add(interval)) }
    }

    fn is_due(&self, now: Duration) -> bool {
        let mut next = self.next.lock();
        let due = *next <= now;
        if due {
            *next = now.saturating_add(self.interval);
        }
        due
    }
}

impl Shared {
    /// Forgets what is to be forgotten, if it is time to look.
    pub(super) fn expire_if_due(&self) -> Result<()> {
        if self.expiry.is_due(self.environment.clock().monotonic()) { self.expire() } else { Ok(()) }
    }

    /// Forgets what is to be forgotten; answers the first error when all is done.
    pub(super) fn expire(&self) -> Result<()> {
        let held = self.held_producer_ids();
        let mut first = Ok(());
        for log in self.logs() {
            // One that has failed says so to those who use it.
            if log.check_open().is_err() {
                continue;
            }
            match log.expire_producers(&held) {
                // Its topic is being deleted.
                Err(_) if log.is_closed() => {}
                done => first = first.and(done),
            }
        }
        let names = self.forget_names();
        first.and(names).and(self.txns.expire(self.config.transactional_id_expiration_duration()))
    }
}
