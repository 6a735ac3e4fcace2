//! The markers that end a transaction in each of its partitions.
//!
//! ```text
//!   mark -> appended ----------> markers, until the device has it ----> the coordinator forgets the partition
//!      |`-> refused for now ---> unappended, tried again by the upkeep
//!      `--> nothing is open there, or the partition is gone ----------> the same at once
//! ```
//!
//! Invariant: nobody waits for the flush of a marker.

use std::sync::Arc;

use super::coordinator::Ended;
use super::service::{State, TxnService};
use crate::error::{ErrorKind, Result};
use crate::format::control::EndTxnMarker;
use crate::partition::Log;
use crate::types::TopicPartition;

/// A marker that is appended.
pub(super) struct Marked {
    pub(super) id: String,
    pub(super) ended: Ended,
    pub(super) log: Arc<Log>,
    pub(super) end: u64,
}

impl TxnService {
    pub(super) fn mark(&self, id: String, tp: TopicPartition, ended: Ended, log: Result<Arc<Log>>) {
        let marked = log.and_then(|log| self.append_marker(&log, ended).map(|end| (log, end)));
        let mut state = self.state.lock();
        match marked {
            Ok((log, Some(end))) => state.markers.push(Marked { id, ended, log, end }),
            // Nothing of it is open there.
            Ok((_, None)) => state.coordinator.marked(&id, &tp, ended),
            Err(error) => match error.kind() {
                // The partition is gone, or has seen another end of it.
                ErrorKind::TopicNotFound | ErrorKind::PartitionNotFound | ErrorKind::Fenced => {
                    state.coordinator.marked(&id, &tp, ended);
                }
                // The next opening does it, as the records say.
                ErrorKind::Poisoned => {}
                ErrorKind::Closed if state.closed => {}
                // No room; a file that could not be opened again, which is tried anew; or a topic that has been deleted
                // since it was found, which shows when it is looked for again.
                _ => {
                    self.groups.marker_refused(&tp, &error);
                    state.unappended.push((id, tp, ended));
                }
            },
        }
    }

    /// Answers the marker's end; `None` where nothing of it is open.
    pub(super) fn append_marker(&self, log: &Log, ended: Ended) -> Result<Option<u64>> {
        let marker = EndTxnMarker {
            outcome: ended.outcome,
            producer_id: ended.holder.producer_id,
            producer_epoch: ended.holder.epoch,
            coordinator_epoch: self.log.read().as_ref().map_or(0, |log| log.leader_epoch().max(0)),
            timestamp: self.clock.now().millis(),
        };
        log.end_transaction(&marker, self.patience())
    }

    /// Appends the markers that could not be appended.
    pub(super) fn append_markers(&self) {
        let unappended = std::mem::take(&mut self.state.lock().unappended);
        for (id, tp, ended) in unappended {
            let log = self.find(&tp);
            self.mark(id, tp, ended, log);
        }
    }

    /// Takes note of markers that are durable by now.
    pub(super) fn collect_markers(&self) {
        let mut state = self.state.lock();
        let State { coordinator, markers, .. } = &mut *state;
        markers.retain(|marked| {
            let durable = marked.log.flushed() >= marked.end;
            if durable {
                coordinator.marked(&marked.id, marked.log.topic_partition(), marked.ended);
            }
            !durable
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::coordinator::Effect;
    use super::*;
    use crate::consumer::{Directory, FoundPartition, GroupService};
    use crate::env::sim::SimEnvironment;
    use crate::error::Error;
    use crate::types::TopicName;

    /// Where every topic has been deleted.
    struct Nothing;

    impl Directory for Nothing {
        fn find(&self, tp: &TopicPartition) -> Result<FoundPartition> {
            Err(Error::new(ErrorKind::TopicNotFound, format!("there is no topic {}", tp.topic())))
        }

        fn wake_at(&self, _: Duration) {}
    }

    #[test]
    fn a_topic_that_is_deleted_under_its_marker_is_waited_for_no_longer() {
        let wait = Duration::from_secs(1);
        let environment = SimEnvironment::new(1).environment();
        let clock = environment.clock();
        let groups = Arc::new(GroupService::new(clock.clone(), 1, wait, wait));
        let service = TxnService::new(clock.clone(), groups, wait);
        let directory: Arc<dyn Directory> = Arc::new(Nothing);
        service.attach(Arc::downgrade(&directory));
        let tp = TopicPartition::new(TopicName::new("t").unwrap(), 0);
        let mut effects = Vec::new();
        let now = service.now();
        {
            let coordinator = &mut service.state.lock().coordinator;
            let holder = coordinator.init("one", wait, now, || Ok(7), &mut Vec::new()).unwrap();
            let holder = coordinator.begin("one", holder, now, || Ok(8)).unwrap();
            coordinator.touch("one", holder, &tp).unwrap();
            assert!(coordinator.commit("one", holder, now, &mut Vec::new()).unwrap());
            coordinator.decided("one", holder, &mut effects);
        }
        let unmarked = || service.state.lock().coordinator.unmarked().len();
        for effect in effects {
            // It was found, and closed before the marker came.
            let Effect::Mark { id, tp, ended } = effect else { continue };
            service.mark(id, tp, ended, Err(Error::closed("the partition")));
        }
        assert_eq!(unmarked(), 1);
        service.tick();
        assert_eq!(unmarked(), 0);
    }
}
