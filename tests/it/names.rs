//! Names that are none are refused where they come in, whatever they are the name of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use millpond::Observer;
use millpond::group::{Assignor, GroupAssignment, GroupSubscription, Range};
use millpond::prelude::*;

/// Every file, with its length.
fn files_of(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files_of(&path)),
            false => drop(found.insert(path.clone(), path.metadata().unwrap().len())),
        }
    }
    found
}

/// An assignor of the host's own, by whatever name.
#[derive(Debug)]
struct Named(String);

impl Assignor for Named {
    fn name(&self) -> &str {
        &self.0
    }

    fn assign(&self, group: &GroupSubscription) -> GroupAssignment {
        Range.assign(group)
    }
}

#[test]
fn names_of_groups_members_and_producers() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let topic = broker.create_topic("t", TopicConfig::new()).unwrap();
    let group = || broker.group("g").unwrap();
    group().join("t").unwrap().close().wait().unwrap();
    let before = files_of(dir.path());
    for name in ["", "two\nlines", "nul\0", "escape\u{1b}[31m", &"x".repeat(256), &"x".repeat(1 << 20)] {
        let observer = Observer::open(dir.path()).unwrap();
        let refused = [
            broker.group(name).map(drop),
            observer.group(name).map(drop),
            group().client_id(name).map(drop),
            group().instance_id(name).map(drop),
            group().assignor(Named(name.to_owned())).join("t").map(drop),
            topic.idempotent_producer(name).map(drop),
            broker.transactional(name).map(drop),
        ];
        for error in refused.map(Result::unwrap_err) {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            let text = error.to_string();
            assert!(text.len() < 250 && !text.chars().any(char::is_control), "{text}");
        }
        assert!(!broker.abort_transaction(name).unwrap(), "there is none of this name");
    }
    assert_eq!(files_of(dir.path()), before, "nothing is made for a name that is none");
}
