//! Crash states: what a kill or a power cut leaves at every point of a run, and what opening makes of it.
//!
//! ```text
//!   workload (run.rs) --- a snapshot after each call, each mapped store, between API calls --> states
//!   state x { kill, kill amid a store, power cut: nothing kept, all kept, by seed } --> images
//!   image: opened by a broker that knows only what it was told (pond.rs), read, compared with the claims
//!          (model.rs), appended to, flushed, closed, opened cleanly, compared again (explore.rs)
//! ```
//!
//! Invariants
//! - A claim holds at the moment of the snapshot: what was acknowledged *before* the call that ran then.
//! - A run is decided by its seed; `MILLPOND_SEED` sets another one, and every failure names it.
//! - Each situation has a quota of distinct images, and the quotas add up to what is promised.

mod explore;
pub(super) mod model;
pub(super) mod pond;
mod run;
mod situations;
