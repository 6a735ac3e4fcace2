//! The topics of a broker, by name.
//!
//! Invariant: a name stands for one topic at a time; what a topic is made of is the broker's business.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::types::TopicName;

/// Topics by name, in the order of their names.
#[derive(Debug)]
pub(crate) struct Registry<T> {
    topics: BTreeMap<TopicName, Arc<T>>,
}

impl<T> Registry<T> {
    /// Of no topics.
    pub(crate) fn new() -> Registry<T> {
        Registry { topics: BTreeMap::new() }
    }

    /// The topic of this name.
    ///
    /// # Errors
    /// `TopicNotFound`.
    pub(crate) fn get(&self, name: &TopicName) -> Result<Arc<T>> {
        self.find(name)
            .ok_or_else(|| Error::new(ErrorKind::TopicNotFound, format!("there is no topic {name}")))
    }

    /// The topic of this name, if there is one.
    pub(crate) fn find(&self, name: &TopicName) -> Option<Arc<T>> {
        self.topics.get(name).cloned()
    }

    /// Refuses a name that is taken.
    ///
    /// # Errors
    /// `TopicExists`.
    pub(crate) fn check_free(&self, name: &TopicName) -> Result<()> {
        if self.topics.contains_key(name) {
            return Err(Error::new(ErrorKind::TopicExists, format!("there is already a topic {name}")));
        }
        Ok(())
    }

    /// Adds a topic.
    ///
    /// # Errors
    /// `TopicExists`.
    pub(crate) fn insert(&mut self, name: TopicName, topic: Arc<T>) -> Result<()> {
        self.check_free(&name)?;
        self.topics.insert(name, topic);
        Ok(())
    }

    /// Takes a topic away.
    pub(crate) fn remove(&mut self, name: &TopicName) -> Option<Arc<T>> {
        self.topics.remove(name)
    }

    /// The names, sorted.
    pub(crate) fn names(&self) -> Vec<TopicName> {
        self.topics.keys().cloned().collect()
    }

    /// The topics, sorted by name.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.topics.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_topic() {
        let name = |text: &str| TopicName::new(text).unwrap();
        let mut registry = Registry::new();
        registry.insert(name("b"), Arc::new(1)).unwrap();
        registry.insert(name("a"), Arc::new(2)).unwrap();
        assert_eq!(registry.insert(name("a"), Arc::new(3)).unwrap_err().kind(), ErrorKind::TopicExists);
        assert_eq!(registry.names(), [name("a"), name("b")]);
        assert_eq!(*registry.get(&name("a")).unwrap(), 2);
        assert_eq!(registry.get(&name("c")).unwrap_err().kind(), ErrorKind::TopicNotFound);
        assert_eq!(registry.remove(&name("a")).as_deref(), Some(&2));
        assert_eq!(registry.all().len(), 1);
    }
}
