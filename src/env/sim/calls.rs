//! The calls that change or sync something: counted, logged, and made to fail.
//!
//! Invariant: a call is counted before it does anything, whether it then fails or not; reading is never
//! counted. What a failure leaves behind is decided by the call (see [`Fault`]).

use std::io;

/// The kinds of counted calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Op {
    /// `write_at`.
    Write,
    /// `set_size`.
    SetSize,
    /// `allocate`.
    Allocate,
    /// `sync_data`.
    Sync,
    /// `sync_dir`.
    SyncDir,
    /// An `open` or `lock` that makes the file, and each directory that `create_dir` makes.
    Create,
    /// `rename`.
    Rename,
    /// `remove_file` and `remove_dir`.
    Remove,
    /// `map`.
    Map,
    /// `write_back`, which makes nothing durable.
    WriteBack,
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// `EIO`. A write has stored its first half; a sync, or what is handed to the device before one, has marked
    /// everything clean without making it durable, so that later syncs succeed and the bytes may be lost all the
    /// same; of the rest nothing has happened.
    Io,
    /// `ENOSPC`; nothing has happened (but to a sync: as for [`Fault::Io`]).
    StorageFull,
    /// A write stores its first half, rounded down, and says so; other calls are not disturbed.
    ShortWrite,
}

impl Fault {
    /// The error that the caller sees; `None` where it sees none.
    pub(super) fn error(self) -> Option<io::Error> {
        match self {
            Fault::Io if cfg!(unix) => Some(io::Error::from_raw_os_error(5)),
            Fault::Io => Some(io::Error::other("simulated input/output error")),
            Fault::StorageFull => Some(io::ErrorKind::StorageFull.into()),
            Fault::ShortWrite => None,
        }
    }
}

/// How often a [`Failure`] strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Times {
    /// One call.
    Once,
    /// That call and all that follow.
    Always,
}

/// Which call fails, and how.
///
/// ```
/// use millpond::env::sim::{Failure, Fault, Op, SimDisk, Times};
/// let disk = SimDisk::new();
/// disk.inject(Failure::nth(2, Fault::Io).only(Op::Sync).times(Times::Always));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    nth: u64,
    fault: Fault,
    op: Option<Op>,
    times: Times,
}

impl Failure {
    /// The `n`th call from now, 1 being the next; once, of whatever kind.
    #[must_use]
    pub fn nth(n: u64, fault: Fault) -> Failure {
        Failure { nth: n.max(1), fault, op: None, times: Times::Once }
    }

    /// Counts and strikes only calls of this kind.
    #[must_use]
    pub fn only(mut self, op: Op) -> Failure {
        self.op = Some(op);
        self
    }

    /// How often it strikes.
    #[must_use]
    pub fn times(mut self, times: Times) -> Failure {
        self.times = times;
        self
    }
}

/// What has been called, and what shall fail.
#[derive(Debug, Default)]
pub(super) struct Calls {
    counts: std::collections::BTreeMap<Op, u64>,
    failure: Option<Failure>,
    log: Option<Vec<String>>,
}

impl Calls {
    /// Counts a call; tells whether and how it fails.
    pub(super) fn next(&mut self, op: Op, describe: impl FnOnce() -> String) -> Option<Fault> {
        *self.counts.entry(op).or_default() += 1;
        let fault = self.strike(op);
        if let Some(log) = &mut self.log {
            let fate = fault.map_or(String::new(), |fault| format!(" fails: {fault:?}"));
            log.push(format!("{op:?} {}{fate}", describe()));
        }
        fault
    }

    fn strike(&mut self, op: Op) -> Option<Fault> {
        let failure = self.failure.as_mut()?;
        if failure.op.is_some_and(|only| only != op) {
            return None;
        }
        if failure.nth > 1 {
            failure.nth -= 1;
            return None;
        }
        let fault = failure.fault;
        if failure.times == Times::Once {
            self.failure = None;
        }
        Some(fault)
    }

    pub(super) fn set_failure(&mut self, failure: Option<Failure>) {
        self.failure = failure;
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    pub(super) fn of(&self, op: Op) -> u64 {
        self.counts.get(&op).copied().unwrap_or(0)
    }

    pub(super) fn start_log(&mut self) {
        self.log.get_or_insert_default();
    }

    pub(super) fn take_log(&mut self) -> Vec<String> {
        self.log.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
