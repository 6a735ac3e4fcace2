//! When something is due in the background: in a partition, or in the broker as a whole.
//!
//! Invariant: a partition has one timer at most, and knows when that fires; where none is set it says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::attended::{Attended, NEVER};
use super::service::Job;
use crate::config::BrokerConfig;

/// The timers of one broker.
pub(super) struct Timers {
    /// By time in nanoseconds, then by the partition's number: one for each partition at most.
    partitions: BTreeMap<(u64, u64), Arc<Attended>>,
    checkpoint_interval: Duration,
    next_checkpoint: Duration,
    clean_interval: Duration,
    next_clean: Duration,
    /// When something is due in the consumer groups.
    pub(super) next_groups: Option<Duration>,
    /// When retention looks again at what may go.
    pub(super) next_retain: Option<Duration>,
    stopped: bool,
}

impl Timers {
    /// The first of each interval of these settings begins now.
    pub(super) fn new(now: Duration, config: &BrokerConfig) -> Timers {
        let checkpoint_interval = config.checkpoint_interval_duration();
        let clean_interval = config.compaction_interval_duration();
        Timers {
            partitions: BTreeMap::new(),
            checkpoint_interval,
            next_checkpoint: now + checkpoint_interval,
            clean_interval,
            next_clean: now + clean_interval,
            next_groups: None,
            next_retain: None,
            stopped: false,
        }
    }

    /// Sets the timer of a partition, unless it fires earlier anyway; answers whether it is the first to fire now.
    pub(super) fn set(&mut self, nanos: u64, whose: Arc<Attended>) -> bool {
        if self.stopped || whose.due() <= nanos {
            return false;
        }
        self.partitions.remove(&(whose.due(), whose.number()));
        whose.set_due(nanos);
        self.partitions.insert((nanos, whose.number()), whose);
        self.partitions.first_key_value().is_some_and(|((first, _), _)| *first == nanos)
    }

    /// Sets one of the broker's, unless it fires earlier anyway; answers whether it is the first to fire now.
    pub(super) fn set_earlier(
        &mut self,
        when: Duration,
        which: impl Fn(&mut Timers) -> &mut Option<Duration>,
    ) -> bool {
        let next = which(self);
        if next.is_some_and(|due| due <= when) {
            return false;
        }
        *next = Some(when);
        self.next_due() == when
    }

    /// Nothing fires any more; answers the partitions that had a timer, to be dropped without the lock.
    pub(super) fn stop(&mut self) -> BTreeMap<(u64, u64), Arc<Attended>> {
        self.stopped = true;
        std::mem::take(&mut self.partitions)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether retention looks again at a time that is set.
    pub(super) fn is_retain_set(&self) -> bool {
        self.next_retain.is_some()
    }

    /// Takes out what is due.
    pub(super) fn fire(&mut self, now: Duration) -> Vec<Job> {
        let mut fired = Vec::new();
        while let Some(first) = self.partitions.first_entry() {
            if Duration::from_nanos(first.key().0) > now {
                break;
            }
            let whose = first.remove();
            whose.set_due(NEVER);
            fired.push(Job::Tick(whose));
        }
        if self.next_checkpoint <= now {
            self.next_checkpoint = now + self.checkpoint_interval;
            fired.push(Job::Checkpoint);
        }
        if self.next_clean <= now {
            self.next_clean = now + self.clean_interval;
            fired.push(Job::Clean);
        }
        if self.next_groups.is_some_and(|due| due <= now) {
            self.next_groups = None;
            fired.push(Job::Groups);
        }
        if self.next_retain.is_some_and(|due| due <= now) {
            self.next_retain = None;
            fired.push(Job::Retain);
        }
        fired
    }

    /// When the next one fires.
    pub(super) fn next_due(&self) -> Duration {
        let timer = self.partitions.first_key_value().map(|((nanos, _), _)| Duration::from_nanos(*nanos));
        let others =
            [Some(self.next_checkpoint), Some(self.next_clean), self.next_groups, self.next_retain, timer];
        others.into_iter().flatten().min().unwrap_or(self.next_checkpoint)
    }
}
