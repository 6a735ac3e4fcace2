//! A workload, step by step, that notes after each step and within it what a crash would have to leave.

use std::rc::Rc;
use std::time::Duration;

use super::super::harness::Opened;
use super::model::{Claim, Lives, compare, value};
use super::pond::Pond;
use crate::config::Durability;
use crate::env::sim::{SeededRandom, SimDisk};
use crate::error::ErrorKind;
use crate::partition::{Found, LogSettings, RecoveryPoint};

/// Snapshots taken within one step, at most.
const SNAPSHOTS: usize = 4_000;

/// A disk at one moment, with everything needed to judge what is left of it.
#[derive(Clone)]
pub(super) struct State {
    pub(super) disk: SimDisk,
    pub(super) claims: Rc<Vec<Claim>>,
    /// The recovery point that the broker has written down.
    pub(super) point: Option<RecoveryPoint>,
    /// The clean mark stands.
    pub(super) clean: Option<RecoveryPoint>,
    /// Any of these may be in force.
    pub(super) settings: Rc<Vec<LogSettings>>,
    /// Taken while the partition was being opened.
    pub(super) opening: bool,
}

/// A partition at work, and what it has promised so far.
pub(super) struct Run {
    pub(super) pond: Pond,
    log: Option<Opened>,
    lives: Lives,
    life: u8,
    start: u64,
    kill: u64,
    cut: u64,
    point: Option<RecoveryPoint>,
    clean: Option<RecoveryPoint>,
    collects: bool,
    pub(super) states: Vec<State>,
}

impl Run {
    /// A new partition.
    pub(super) fn new(settings: LogSettings) -> Run {
        let mut run = Run::before_opening(Pond::new(settings), true);
        run.watch();
        let log = run.pond.open(Found::New).unwrap();
        run.note(vec![Claim::empty()], true, run.in_force());
        run.opened(log);
        run
    }

    fn before_opening(pond: Pond, collects: bool) -> Run {
        Run {
            pond,
            log: None,
            lives: Lives::default(),
            life: 0,
            start: 0,
            kill: 0,
            cut: 0,
            point: None,
            clean: None,
            collects,
            states: Vec::new(),
        }
    }

    /// The partition after a crash: opened, compared with the claims.
    pub(super) fn recover(image: &State, random: &SeededRandom, collects: bool) -> Result<Run, String> {
        let settings = image.settings[random.below(image.settings.len() as u64) as usize].clone();
        let mut run = Run::before_opening(Pond::on(image.disk.clone(), settings), collects);
        run.point = if random.below(8) == 0 { None } else { image.point };
        let found = match image.clean {
            Some(point) if random.below(2) == 0 => Found::Clean(point),
            _ => Found::Unclean(run.point),
        };
        run.watch();
        let opened = run.pond.open(found).or_else(|e| {
            if e.kind() != ErrorKind::StorageFull {
                return Err(format!("{found:?} does not open: {e}"));
            }
            run.pond.disk().set_capacity(None);
            run.pond.open(Found::Unclean(run.point)).map_err(|e| format!("with room again: {e}"))
        })?;
        run.note(image.claims.to_vec(), true, image.settings.clone());
        run.pond.disk().set_capacity(None);
        let (start, lives) = compare(&opened, &image.claims)?;
        (run.start, run.lives) = (start, Rc::new(lives));
        run.life = run.lives.iter().copied().max().unwrap_or(0) + 1;
        if let (Found::Clean(_), true) = (found, opened.recovery.was_unclean()) {
            return Err("opened by its clean mark, and yet scanned".into());
        }
        run.opened(opened);
        Ok(run)
    }

    fn opened(&mut self, log: Opened) {
        self.log = Some(log);
        self.settle_floors();
        self.between();
    }

    pub(super) fn log(&self) -> &Opened {
        self.log.as_ref().unwrap()
    }

    pub(super) fn end(&self) -> u64 {
        self.lives.len() as u64
    }

    /// Sends `n` records, as far as there is room; answers how many went.
    pub(super) fn send(&mut self, n: u64) -> u64 {
        for sent in 0..n {
            let next = self.end();
            let before = self.claim();
            match self.log().send(&value(next, self.life)) {
                Ok(offset) => assert_eq!(offset, next),
                Err(e) if e.kind() == ErrorKind::StorageFull => {
                    self.note(vec![before], false, self.in_force());
                    return sent;
                }
                Err(e) => panic!("send: {e}"),
            }
            let life = self.life;
            Rc::make_mut(&mut self.lives).push(life);
            let within = Claim { lives: self.lives.clone(), ..before };
            self.note(vec![within], false, self.in_force());
            self.settle_floors();
            self.between();
        }
        n
    }

    /// Makes everything durable; `false` if the disk is full.
    pub(super) fn flush(&mut self) -> bool {
        let before = self.claim();
        let flushed = self.log().log.flush();
        self.note(vec![before], false, self.in_force());
        self.settle_floors();
        self.between();
        match flushed {
            Ok(()) => assert_eq!(self.cut, self.end()),
            Err(e) => assert_eq!(e.kind(), ErrorKind::StorageFull, "{e}"),
        }
        self.cut == self.end()
    }

    /// Seals and writes what is staged, without a sync.
    pub(super) fn write_out(&mut self) {
        let before = self.claim();
        self.log().log.seal_and_write().unwrap();
        self.note(vec![before], false, self.in_force());
        self.settle_floors();
        self.between();
    }

    /// Lets time pass, and does what is due.
    pub(super) fn tick(&mut self, passed: Duration) {
        self.pond.environment.clock().advance(passed);
        let before = self.claim();
        let done = self.log().log.tick(self.log().log.clock().monotonic());
        done.unwrap();
        self.note(vec![before], false, self.in_force());
        self.settle_floors();
        self.between();
    }

    /// Closes the files of every segment.
    pub(super) fn close_files(&mut self) {
        let before = self.claim();
        let opened = self.log();
        opened.close_files().unwrap();
        assert_eq!(opened.open_files(), 0, "a file is kept open");
        self.note(vec![before], false, self.in_force());
        self.settle_floors();
        assert_eq!(self.cut, self.end(), "closed before it was flushed");
        self.between();
    }

    /// Writes a recovery point down.
    pub(super) fn checkpoint(&mut self) {
        let before = self.claim();
        let point = self.log().log.checkpoint().unwrap();
        self.note(vec![before], false, self.in_force());
        self.point = point.or(self.point);
        self.between();
    }

    /// Takes everything from about `to` on back.
    pub(super) fn truncate(&mut self, to: u64) {
        let before = self.claim();
        let end = self.log().log.truncate(to).unwrap();
        assert!(end <= to && to - end < 20, "{end} for {to}");
        Rc::make_mut(&mut self.lives).truncate(end as usize);
        (self.kill, self.cut) = (end, end);
        let after = self.claim();
        self.note(vec![before, after], false, self.in_force());
        self.life += 1;
        self.settle_floors();
        self.between();
    }

    /// Takes everything below `to` away.
    pub(super) fn delete_records(&mut self, to: u64) {
        let before = self.claim();
        assert_eq!(self.log().log.delete_records(to).unwrap(), to);
        self.note(vec![Claim { starts: (self.start, to), ..before }], false, self.in_force());
        self.start = to;
        self.settle_floors();
        self.between();
    }

    /// Changes the settings.
    pub(super) fn change_settings(&mut self, settings: LogSettings) {
        let before = self.claim();
        self.log().log.change_settings(settings.clone()).unwrap();
        let either = Rc::new(vec![self.pond.settings.clone(), settings.clone()]);
        self.note(vec![before], false, either);
        self.pond.settings = settings;
        self.settle_floors();
        self.between();
    }

    /// Closes the partition; the broker writes the clean mark.
    pub(super) fn close(&mut self) {
        let before = self.claim();
        let closed = self.log().log.close().unwrap();
        assert_eq!(closed.offset, self.end());
        self.note(vec![before], false, self.in_force());
        (self.kill, self.cut) = (self.end(), self.end());
        self.log = None;
        self.note(vec![self.claim()], false, self.in_force());
        (self.point, self.clean) = (Some(closed), Some(closed));
        self.between();
    }

    /// Opens the partition that was closed, by its clean mark (which is taken off first).
    pub(super) fn reopen(&mut self) {
        let Some(point) = self.clean.take() else { panic!("it was not closed") };
        self.between();
        let opened = self.pond.open(Found::Clean(point)).unwrap();
        assert!(!opened.recovery.was_unclean(), "a clean close was not believed");
        self.note(vec![self.claim()], true, self.in_force());
        self.life += 1;
        self.opened(opened);
    }

    /// Compares the open log with what it must hold, to the last record.
    pub(super) fn verify(&self) -> Result<(), String> {
        let all = Claim::settled(&self.lives, self.start);
        compare(self.log(), &[all]).map(|_| ())
    }

    fn in_force(&self) -> Rc<Vec<LogSettings>> {
        Rc::new(vec![self.pond.settings.clone()])
    }

    fn claim(&self) -> Claim {
        Claim { lives: self.lives.clone(), starts: (self.start, self.start), kill: self.kill, cut: self.cut }
    }

    /// What is acknowledged and what is flushed, as the log says it now.
    fn settle_floors(&mut self) {
        let log = &self.log.as_ref().unwrap().log;
        self.kill = self.kill.max(log.high_watermark());
        self.cut = self.cut.max(log.flushed());
        if log.settings().durability == Durability::Sync {
            assert_eq!(log.high_watermark(), log.flushed(), "acknowledged and not on the device");
        }
    }

    fn watch(&self) {
        if self.collects {
            self.pond.disk().snapshot_every_call(SNAPSHOTS);
            self.pond.disk().snapshot_every_store(SNAPSHOTS);
        }
    }

    /// What a crash between two steps leaves.
    fn between(&mut self) {
        self.note(vec![self.claim()], false, self.in_force());
        if self.collects {
            let disk = self.pond.disk().snapshot();
            self.push(disk, Rc::new(vec![self.claim()]), false, self.in_force());
        }
    }

    /// What a crash within the step just done would have left.
    fn note(&mut self, claims: Vec<Claim>, opening: bool, settings: Rc<Vec<LogSettings>>) {
        let taken = self.pond.disk().take_snapshots();
        assert!(taken.len() < SNAPSHOTS, "a step with too many calls");
        let claims = Rc::new(claims);
        for disk in taken {
            self.push(disk, claims.clone(), opening, settings.clone());
        }
    }

    fn push(&mut self, disk: SimDisk, claims: Rc<Vec<Claim>>, opening: bool, settings: Rc<Vec<LogSettings>>) {
        let (point, clean) = (self.point, self.clean);
        self.states.push(State { disk, claims, point, clean, settings, opening });
    }
}
