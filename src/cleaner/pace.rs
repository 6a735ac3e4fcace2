//! Who compacts, and how fast: compaction asks before each batch.

use crate::error::Result;

/// Holds a compaction back.
pub(crate) trait Pace: Sync {
    /// `bytes` more are about to be worked through: waits until they may be.
    ///
    /// # Errors
    /// Those that end the compaction: the broker closes, the topic is deleted.
    fn spend(&self, bytes: u64) -> Result<()>;
}

/// As fast as it goes.
#[cfg(all(test, not(loom)))]
#[derive(Debug)]
pub(crate) struct Unhurried;

#[cfg(all(test, not(loom)))]
impl Pace for Unhurried {
    fn spend(&self, _bytes: u64) -> Result<()> {
        Ok(())
    }
}
