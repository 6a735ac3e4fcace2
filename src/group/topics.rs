//! The topics there are, as the coordinator was told.
//!
//! Invariant: a name stands for one topic at a time; its id tells it from an earlier one of the same name.

use std::collections::BTreeMap;

use crate::types::{TopicId, TopicName, TopicPartition};

/// A topic: which one, and how many partitions it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownTopic {
    pub(crate) id: TopicId,
    pub(crate) partitions: u32,
    /// It is in memory only, and so are offsets committed for it.
    pub(crate) volatile: bool,
}

/// Topics by name.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    known: BTreeMap<TopicName, KnownTopic>,
}

impl Topics {
    /// A topic is there, or has other partitions than before.
    pub(crate) fn put(&mut self, name: TopicName, topic: KnownTopic) {
        self.known.insert(name, topic);
    }

    /// A topic is gone.
    pub(crate) fn remove(&mut self, name: &TopicName) -> Option<KnownTopic> {
        self.known.remove(name)
    }

    pub(crate) fn get(&self, name: &TopicName) -> Option<KnownTopic> {
        self.known.get(name).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&TopicName, KnownTopic)> {
        self.known.iter().map(|(name, topic)| (name, *topic))
    }

    /// Whether there is such a partition.
    pub(crate) fn has(&self, tp: &TopicPartition) -> bool {
        self.known.get(tp.topic()).is_some_and(|topic| tp.partition() < topic.partitions)
    }

    /// The name of the topic with this id.
    pub(crate) fn name_of(&self, id: TopicId) -> Option<&TopicName> {
        self.known.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name)
    }
}
