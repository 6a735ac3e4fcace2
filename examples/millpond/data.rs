//! What commands do alike with a data directory.

use std::path::Path;

use millpond::TopicName;

use crate::failure::{Failure, Outcome};

/// A command that only reads does not make a directory that was spelled wrong.
pub(crate) fn must_exist(data: &Path) -> Outcome<()> {
    if data.is_dir() {
        return Ok(());
    }
    Err(Failure::failed(format!("there is no directory {}", data.display())))
}

/// Refuses a name that no topic can have, before anything is opened or made.
pub(crate) fn check_topic(name: &str) -> Outcome<()> {
    match TopicName::new(name) {
        Ok(_) => Ok(()),
        Err(invalid) => Err(Failure::Usage(invalid.to_string())),
    }
}
