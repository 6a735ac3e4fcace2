//! Upkeep: what a log no longer has to keep.
//!
//! Invariant: nothing is deleted unless the topic's settings ask for it.

mod retention;

pub(crate) use retention::retain;
