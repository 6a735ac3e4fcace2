//! Every call that changes or syncs something fails: each one once, and from each one on.
//!
//! ```text
//!   scenario x level x { EIO, disk full, short write } x { once, always } x the Nth call, N = 1..
//!     while it fails: no panic, a failed sync is never repeated, EIO poisons, a full disk does not
//!     then, on a good disk: appends go on (or are refused: poisoned); killed or cut off, the log opens
//!     with everything acknowledged, takes ten records more and keeps them through a power cut
//! ```

use std::rc::Rc;

use super::crash::model::{Claim, Lives, SHORT, compare, value};
use super::crash::pond::Pond;
use super::harness::{Opened, settings};
use crate::config::Durability;
use crate::env::sim::{Failure, Fault, Op, SeededRandom, SimDisk, Times};
use crate::error::{Error, ErrorKind};
use crate::partition::{Found, LogSettings, RecoveryPoint};

/// A partition on a failing disk, and what it must hold.
struct Trial {
    pond: Pond,
    log: Option<Opened>,
    lives: Lives,
    life: u8,
    start: u64,
    kill: u64,
    cut: u64,
    /// What operations that failed half-way may have left instead.
    others: Vec<Claim>,
    starts_up_to: u64,
    point: Option<RecoveryPoint>,
    clean: Option<RecoveryPoint>,
    failed: Vec<ErrorKind>,
}

type Step = fn(&mut Trial);

/// Name, preparation on a good disk, what is done on the failing one.
const SCENARIOS: [(&str, Step, Step); 11] = [
    ("append", started, |t| {
        t.send(12);
        t.write_out();
        t.send(3);
    }),
    ("flush", started, |t| {
        t.send(6);
        t.flush();
        t.send(4);
        t.flush();
    }),
    ("roll", started, |t| {
        t.send(30);
        t.flush();
    }),
    ("checkpoint", filled, |t| {
        t.checkpoint();
        t.send(3);
        t.flush();
        t.checkpoint();
    }),
    ("truncate", checkpointed, |t| {
        t.truncate(21);
        t.send(3);
        t.flush();
    }),
    ("delete-records", checkpointed, |t| {
        t.delete_records(25);
        t.send(3);
        t.flush();
    }),
    ("idle", filled, |t| {
        t.send(3);
        t.close_files();
        t.send(3);
        t.close_files();
        t.flush();
    }),
    ("change settings", filled, |t| {
        t.change_level();
        t.send(3);
        t.flush();
    }),
    ("close", filled, |t| {
        t.send(3);
        t.close();
    }),
    ("open", closed, |t| {
        t.open();
        t.send(3);
        t.flush();
    }),
    ("recovery", killed, |t| {
        t.open();
        t.send(3);
        t.flush();
    }),
];

fn started(t: &mut Trial) {
    t.send(3);
    t.flush();
}

fn filled(t: &mut Trial) {
    t.send(40);
    t.write_out();
    t.send(2);
    t.flush();
}

fn checkpointed(t: &mut Trial) {
    filled(t);
    t.checkpoint();
    t.send(4);
}

fn closed(t: &mut Trial) {
    filled(t);
    t.close();
}

fn killed(t: &mut Trial) {
    t.send(15);
    t.flush();
    t.checkpoint();
    t.send(20);
    t.write_out();
    t.send(2);
    t.log = None;
}

fn level(level: Durability) -> LogSettings {
    // Some of the values count as large.
    let large_value = 120;
    LogSettings { segment_size: 2_000, batch_size: 600, index_interval: 200, large_value, ..settings(level) }
}

impl Trial {
    fn new(level_of: Durability) -> Trial {
        let pond = Pond::new(level(level_of));
        let log = pond.open(Found::New).unwrap();
        Trial {
            pond,
            log: Some(log),
            lives: Lives::default(),
            life: 0,
            start: 0,
            kill: 0,
            cut: 0,
            others: Vec::new(),
            starts_up_to: 0,
            point: None,
            clean: None,
            failed: Vec::new(),
        }
    }

    fn end(&self) -> u64 {
        self.lives.len() as u64
    }

    /// Runs `op` on the log, if it is open; notes its error, and what is acknowledged and flushed then.
    fn attempt<T>(&mut self, op: impl FnOnce(&Opened) -> Result<T, Error>) -> Option<T> {
        let log = self.log.as_ref()?;
        let result = op(log);
        if !log.log.is_poisoned() {
            self.kill = self.kill.max(log.log.high_watermark());
        }
        self.cut = self.cut.max(log.log.flushed());
        result.map_err(|e| self.failed.push(e.kind())).ok()
    }

    fn send(&mut self, n: u64) {
        for _ in 0..n {
            let (next, life) = (self.end(), self.life);
            let Some(offset) = self.attempt(|p| p.send(&value(next, life))) else { return };
            assert_eq!(offset, next);
            Rc::make_mut(&mut self.lives).push(life);
            self.attempt(|_| Ok(()));
        }
    }

    fn flush(&mut self) {
        self.attempt(|p| p.log.flush());
    }

    fn close_files(&mut self) {
        self.attempt(Opened::close_files);
    }

    fn write_out(&mut self) {
        self.attempt(|p| p.log.seal_and_write());
    }

    fn checkpoint(&mut self) {
        let point = self.attempt(|p| p.log.checkpoint());
        self.point = point.flatten().or(self.point);
    }

    fn truncate(&mut self, to: u64) {
        self.flush();
        let before = self.claim();
        match self.attempt(|p| p.log.truncate(to)) {
            Some(end) => {
                Rc::make_mut(&mut self.lives).truncate(end as usize);
                (self.kill, self.cut) = (end, end);
            }
            None if !self.log.as_ref().is_some_and(|p| p.log.is_poisoned()) => {} // nothing has happened
            None => {
                // Taken back or not, to the start of some batch.
                let kept = Rc::new(self.lives[..self.lives.len().min(to as usize)].to_vec());
                let floor = to.saturating_sub(12).min(self.cut);
                self.others = vec![before, Claim { lives: kept, starts: (0, 0), kill: floor, cut: floor }];
            }
        }
        self.life += 1;
    }

    fn delete_records(&mut self, to: u64) {
        self.flush();
        self.starts_up_to = to;
        if self.attempt(|p| p.log.delete_records(to)).is_some() {
            self.start = to;
        }
    }

    fn change_level(&mut self) {
        let to = match self.pond.settings.durability {
            Durability::Sync => level(Durability::Memory),
            _ => level(Durability::Sync),
        };
        if self.attempt(|p| p.log.change_settings(to.clone())).is_some() {
            self.pond.settings = to;
        } else if let Some(p) = self.log.as_ref().filter(|p| !p.log.is_poisoned()) {
            assert_eq!(p.log.settings().durability, self.pond.settings.durability, "a change half made");
        }
    }

    fn close(&mut self) {
        let point = self.attempt(|p| p.log.close());
        if let Some(point) = point {
            assert_eq!(point.offset, self.end());
            (self.kill, self.cut) = (self.end(), self.end());
            (self.point, self.clean) = (Some(point), Some(point));
        }
        self.log = None;
    }

    fn open(&mut self) {
        let found = self.clean.take().map_or(Found::Unclean(self.point), Found::Clean);
        match self.pond.open(found) {
            Ok(opened) => {
                let end = opened.log.log_end();
                assert!(end >= self.kill, "{end} of {} acknowledged", self.kill);
                Rc::make_mut(&mut self.lives).truncate(end as usize);
                self.log = Some(opened);
                self.life += 1;
                self.attempt(|_| Ok(()));
            }
            Err(e) => self.failed.push(e.kind()),
        }
    }

    fn claim(&self) -> Claim {
        let starts = (self.start, self.start.max(self.starts_up_to));
        Claim { lives: self.lives.clone(), starts, kill: self.kill, cut: self.cut }
    }

    fn claims(&self) -> Vec<Claim> {
        if self.others.is_empty() { vec![self.claim()] } else { self.others.clone() }
    }

    /// The failing is over: what must hold of the partition that lived through it.
    fn judge_survivor(&mut self, fault: Fault, calls: &[String], scenario: &str) {
        let failed_sync = calls.iter().any(|call| call.starts_with("Sync") && call.contains(" fails"));
        let full = fault != Fault::Io && !(failed_sync && fault == Fault::StorageFull);
        let Some(log) = &self.log else { return };
        // A file that cannot be opened again, to wake the end, is told to who wanted it: no byte is in doubt.
        let mut failing = calls.iter().filter(|call| call.contains(" fails"));
        let unopened = failing.all(|call| call.starts_with("Map"));
        if !self.failed.is_empty() && !full && !unopened {
            assert!(log.log.is_poisoned(), "not poisoned by {:?}", self.failed);
        }
        if !log.log.is_poisoned() {
            self.go_on();
            return;
        }
        // Half a truncation, an empty file that cannot be removed, half a large record that cannot be cut off: only
        // an opening ends that.
        let fails = |op: &str| calls.iter().any(|c| c.starts_with(op) && c.contains(" fails"));
        let half_done = scenario == "truncate" || fails("Remove") || fails("SetSize");
        assert!(!full || half_done, "poisoned by a full disk: {:?}", self.failed);
        let log = self.log.as_ref().unwrap();
        let acked = log.log.high_watermark();
        assert!(acked <= log.log.flushed());
        let lent = log.read_from(log.log.log_start()).unwrap();
        assert_eq!(lent.last().map_or(acked, |(offset, _)| offset + 1), acked, "lent above what is flushed");
        assert_eq!(log.send("more").unwrap_err().kind(), ErrorKind::Poisoned);
        if log.log.flushed() < log.log.append.lock().next_offset() {
            assert_eq!(log.log.flush().unwrap_err().kind(), ErrorKind::Poisoned);
        }
        assert!(log.log.checkpoint().is_err() && log.log.close().is_err());
        assert_eq!(log.log.high_watermark(), acked, "acknowledged after a failure");
    }

    /// Not poisoned: with room again, everything goes on.
    fn go_on(&mut self) {
        let failed = std::mem::take(&mut self.failed);
        let sent = self.end();
        // Where a record did not fit a shorter one may.
        let life = std::mem::replace(&mut self.life, SHORT);
        self.send(2);
        self.write_out();
        self.life = life;
        self.send(3);
        self.flush();
        self.checkpoint();
        assert_eq!(self.failed, [], "after {failed:?}");
        assert_eq!((self.end(), self.cut), (sent + 5, sent + 5));
        let log = self.log.as_ref().unwrap();
        compare(
            log,
            &[Claim {
                starts: (self.start, self.starts_up_to.max(self.start)),
                ..Claim::settled(&self.lives, 0)
            }],
        )
        .unwrap();
        // Readers that seek, too.
        let middle = (log.log.log_start() + self.end()) / 2;
        assert_eq!(log.read_from(middle).unwrap().len() as u64, self.end() - middle);
    }
}

/// No sync that failed is tried again: not on that file, not on that folder.
fn assert_no_retry(calls: &[String]) {
    for (at, call) in calls.iter().enumerate() {
        let Some(what) = call.split(" fails").next().filter(|what| what.len() < call.len()) else { continue };
        // A short write is nothing to a sync.
        if what.starts_with("Sync") && !call.ends_with("ShortWrite") {
            let again = calls[at + 1..].iter().find(|later| later.starts_with(what));
            assert!(again.is_none(), "{call} is followed by {again:?}");
        }
    }
}

/// What is left opens on a good disk, and goes on.
///
/// `names_lost`: the sync of a folder has failed, and the simulation then keeps its names from ever becoming
/// durable. File contents are written again at opening; names are not (file systems stop at such an error).
fn judge_remains(disk: SimDisk, trial: &Trial, claims: &[Claim], clean: bool, names_lost: bool) {
    disk.stop_failing();
    let pond = Pond::on(disk, trial.pond.settings.clone());
    let found = match trial.clean {
        Some(point) if clean => Found::Clean(point),
        _ => Found::Unclean(trial.point),
    };
    let opened = pond.open(found).unwrap();
    let (start, mut lives) = compare(&opened, claims).unwrap();
    for _ in 0..10 {
        let next = lives.len() as u64;
        assert_eq!(opened.send(&value(next, 99)).unwrap(), next);
        lives.push(99);
    }
    opened.log.flush().unwrap();
    if names_lost {
        return;
    }
    let point = if clean { opened.log.checkpoint().unwrap() } else { trial.point };
    let cut = Pond::on(pond.disk().after_power_cut_losing_everything(), pond.settings.clone());
    let again = cut.open(Found::Unclean(point)).unwrap();
    compare(&again, &[Claim::settled(&lives, start)]).unwrap();
}

/// One trial; `false` if nothing failed, for there are fewer calls.
fn strike(scenario: &(&str, Step, Step), level: Durability, failure: Failure, fault: Fault) -> bool {
    let mut trial = Trial::new(level);
    (scenario.1)(&mut trial);
    assert_eq!(trial.failed, []);
    let disk = trial.pond.disk().clone();
    disk.start_log();
    disk.inject(failure);
    (scenario.2)(&mut trial);
    disk.stop_failing();
    let calls = disk.take_log();
    if !calls.iter().any(|call| call.contains(" fails")) {
        assert_eq!(trial.failed, []);
        return false;
    }
    assert_no_retry(&calls);
    trial.judge_survivor(fault, &calls, scenario.0);
    let (claims, random) = (trial.claims(), SeededRandom::new(calls.len() as u64));
    let names_lost = calls.iter().any(|call| call.starts_with("SyncDir") && call.contains(" fails"));
    judge_remains(disk.after_kill(), &trial, &claims, false, names_lost);
    let claims: Vec<Claim> = claims.iter().map(Claim::after_cut).collect();
    judge_remains(disk.after_power_cut_losing_everything(), &trial, &claims, true, false);
    judge_remains(disk.after_power_cut(&random), &trial, &claims, false, false);
    true
}

fn every_call_fails(level: Durability) {
    struct At(String);
    impl Drop for At {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("{}", self.0);
            }
        }
    }
    let mut total = 0;
    for scenario in &SCENARIOS {
        let mut strikes = 0;
        for fault in [Fault::Io, Fault::StorageFull, Fault::ShortWrite] {
            for times in [Times::Once, Times::Always] {
                for n in 1.. {
                    let at = At(format!("{} at {level:?}: {fault:?} {times:?} at call {n}", scenario.0));
                    if !strike(scenario, level, Failure::nth(n, fault).times(times), fault) {
                        break;
                    }
                    drop(at);
                    strikes += 1;
                }
            }
        }
        println!("{:<16} {level:?}: {strikes} failures", scenario.0);
        assert!(strikes >= 10, "{}: {strikes}", scenario.0);
        total += strikes;
    }
    println!("{level:?}: {total} failures");
}

#[test]
fn an_open_batch_is_not_lent_once_the_partition_is_poisoned() {
    let pond = Pond::new(level(Durability::Memory));
    let p = pond.open(Found::New).unwrap();
    p.send_many(20);
    p.log.flush().unwrap();
    p.send_many(3);
    pond.disk().inject(Failure::nth(1, Fault::Io).only(Op::Sync));
    assert_eq!(p.log.checkpoint().unwrap_err().kind(), ErrorKind::Io);
    assert_eq!((p.log.is_poisoned(), p.log.high_watermark()), (true, 20));
    p.assert_holds(0, 20);
}

#[test]
fn every_call_fails_at_sync() {
    every_call_fails(Durability::Sync);
}

#[test]
fn every_call_fails_at_memory() {
    every_call_fails(Durability::Memory);
}
