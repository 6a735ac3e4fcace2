//! What commands do alike with a data directory.

use std::path::Path;

use millpond::{ErrorKind, Observer, TopicName};

use crate::failure::{Failure, Outcome};

/// Looks at a directory, which must hold data, without taking its lock or writing to it.
pub(crate) fn observe(data: &Path) -> Outcome<Observer> {
    if !data.is_dir() {
        return Err(Failure::failed(format!("there is no directory {}", data.display())));
    }
    Observer::open(data).map_err(|error| match error.kind() {
        // A directory of something else is no fault of the command line.
        ErrorKind::InvalidArgument => Failure::failed(format!("{error:#}")),
        _ => error.into(),
    })
}

/// A command that changes what is there does not make a directory that was spelled wrong.
pub(crate) fn must_exist(data: &Path) -> Outcome<()> {
    observe(data).map(drop)
}

/// Refuses a name that no topic can have, before anything is opened or made.
pub(crate) fn check_topic(name: &str) -> Outcome<()> {
    match TopicName::new(name) {
        Ok(_) => Ok(()),
        Err(invalid) => Err(Failure::Usage(invalid.to_string())),
    }
}
