//! Transactional ids that nobody uses any more.
//!
//! Invariants
//! - An id is forgotten only while nobody holds it, takes it, or has a transaction of it to end.
//! - Its tombstone is appended while nobody can take it: records of an id keep their order.

use std::sync::Arc;
use std::time::Duration;

use super::service::{State, TxnService};
use super::undecided::is_gone;
use crate::error::Result;
use crate::partition::Log;

impl TxnService {
    /// Forgets the ids that nobody has used for so long.
    ///
    /// # Errors
    /// Those of appending: what has no tombstone yet is known again after the next opening, and forgotten then.
    pub(crate) fn expire(&self, expiration: Duration) -> Result<()> {
        if self.log.read().is_none() || self.check_open().is_err() {
            return Ok(());
        }
        // Nobody who takes an id is waited for: next time.
        let Some(_taking) = self.taking.try_lock() else { return Ok(()) };
        self.collect_markers();
        self.forget_deleted();
        let expiration = i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX);
        let before = self.now().wall.saturating_sub(expiration);
        let mut effects = Vec::new();
        let gone: Vec<_> = {
            let mut state = self.state.lock();
            let State { coordinator, sessions, .. } = &mut *state;
            // Whoever is about to look at a session has the lock, or a handle of it.
            let held = |id: &str| sessions.get(id).is_some_and(|session| Arc::strong_count(session) > 1);
            let expired = coordinator.expire(before, held, &mut effects);
            expired.iter().filter_map(|id| sessions.remove(id)).collect()
        };
        drop(gone);
        self.carry_out(effects).map(|_| ())
    }

    /// Markers of topics that are deleted will never be durable, and nobody misses them.
    fn forget_deleted(&self) {
        let logs: Vec<_> = self.state.lock().markers.iter().map(|marked| marked.log.clone()).collect();
        let is_gone = |log: &Arc<Log>| {
            log.is_closed()
                && self
                    .find(log.topic_partition())
                    .map_or_else(|e| is_gone(&e), |now| !Arc::ptr_eq(&now, log))
        };
        let gone: Vec<_> = logs.into_iter().filter(is_gone).collect();
        let mut state = self.state.lock();
        let State { coordinator, markers, .. } = &mut *state;
        markers.retain(|marked| {
            let stays = !gone.iter().any(|log| Arc::ptr_eq(log, &marked.log));
            if !stays {
                coordinator.marked(&marked.id, marked.log.topic_partition(), marked.ended);
            }
            stays
        });
    }
}
