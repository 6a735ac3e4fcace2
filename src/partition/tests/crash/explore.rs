//! From states to images, and from images to verdicts.

use std::collections::{BTreeSet, HashSet};
use std::fmt::Write;
use std::path::Path;
use std::rc::Rc;

use super::model::Claim;
use super::run::{Run, State};
use crate::env::sim::SeededRandom;

/// Unless `MILLPOND_SEED` says otherwise.
const SEED: u64 = 20_260_101;

/// What of the images is explored, and how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Focus {
    /// The images themselves; of one in eight also what a crash of their opening leaves.
    First,
    /// Crashes while such an image is opened.
    Opening,
    /// Crashes while it is appended to after having been opened.
    Second,
}

/// Explores one situation.
pub(super) struct Explorer {
    situation: &'static str,
    focus: Focus,
    /// Power cuts by seed for each state, beside the two extremes.
    cuts: u64,
    seed: u64,
    random: SeededRandom,
    distinct: HashSet<u64>,
    judged: HashSet<(u64, u64, u64, Option<u64>)>,
    openings: u64,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Kill,
    KillAmidStore,
    LoseEverything,
    KeepEverything,
    PowerCut,
}

impl Explorer {
    pub(super) fn new(situation: &'static str, focus: Focus, cuts: u64) -> Explorer {
        let seed = std::env::var("MILLPOND_SEED").ok().map_or(SEED, |seed| seed.parse().unwrap());
        Explorer {
            situation,
            focus,
            cuts,
            seed,
            random: SeededRandom::new(seed),
            distinct: HashSet::new(),
            judged: HashSet::new(),
            openings: 0,
        }
    }

    /// A number from 0 to `bound - 1`, for the workload.
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    /// Judges every image of these states.
    pub(super) fn explore(&mut self, states: &[State]) {
        for (at, state) in states.iter().enumerate() {
            let mut hows = vec![How::Kill, How::KillAmidStore, How::LoseEverything, How::KeepEverything];
            hows.extend((0..self.cuts).map(|_| How::PowerCut));
            for how in hows {
                let Some(image) = self.image(state, how) else { continue };
                self.judge(&image, &format!("state {at} of {}, {how:?}", states.len()));
            }
        }
    }

    fn image(&self, state: &State, how: How) -> Option<State> {
        let disk = match how {
            How::Kill => state.disk.after_kill(),
            How::KillAmidStore => amid_store(state)?,
            How::LoseEverything => state.disk.after_power_cut_losing_everything(),
            How::KeepEverything => state.disk.after_power_cut_keeping_everything(),
            How::PowerCut => state.disk.after_power_cut(&self.random),
        };
        let claims = match how {
            How::Kill | How::KillAmidStore => state.claims.clone(),
            _ => Rc::new(state.claims.iter().map(Claim::after_cut).collect()),
        };
        Some(State { disk, claims, ..state.clone() })
    }

    fn judge(&mut self, image: &State, what: &str) {
        let hash = image.disk.image_hash();
        if self.focus == Focus::First {
            self.distinct.insert(hash);
        }
        if !self.judged.insert(key(hash, image)) {
            return;
        }
        let told = Told { situation: self.situation, seed: self.seed, what };
        let deeper = self.focus != Focus::First || self.random.below(8) == 0;
        let mut run = told.expect(Run::recover(image, &self.random, deeper));
        self.openings += 1;
        let states = told.expect(go_on(&mut run));
        if deeper {
            self.judge_second(&states, &told);
        }
    }

    /// Judges some images of crashes during or after the opening of an image.
    fn judge_second(&mut self, states: &[State], first: &Told<'_>) {
        let wanted: Vec<&State> = match self.focus {
            Focus::First => states.iter().collect(),
            Focus::Opening => states.iter().filter(|state| state.opening).collect(),
            Focus::Second => states.iter().filter(|state| !state.opening).collect(),
        };
        let (tries, hows) = if self.focus == Focus::First { (2, 3) } else { (4, 4) };
        for _ in 0..tries {
            if wanted.is_empty() {
                return;
            }
            let at = self.random.below(wanted.len() as u64) as usize;
            let how = match self.random.below(hows) {
                0 => How::Kill,
                1 => How::LoseEverything,
                _ => How::PowerCut,
            };
            let Some(image) = self.image(wanted[at], how) else { continue };
            let hash = image.disk.image_hash();
            if self.focus != Focus::First {
                self.distinct.insert(hash);
            }
            if !self.judged.insert(key(hash, &image)) {
                continue;
            }
            let what = format!("{}, then state {at} of {}, {how:?}", first.what, wanted.len());
            let told = Told { what: &what, situation: first.situation, seed: first.seed };
            let mut run = told.expect(Run::recover(&image, &self.random, false));
            self.openings += 1;
            told.expect(go_on(&mut run));
        }
    }

    /// Prints what was found and holds it against the quota.
    pub(super) fn finish(self, quota: usize) {
        let Explorer { situation, distinct, openings, seed, .. } = self;
        println!(
            "{situation:<34} {:>6} distinct images, {openings:>6} openings (seed {seed})",
            distinct.len()
        );
        // The quotas are those of the usual seed; any other one has to find the least that is promised.
        let quota = if seed == SEED { quota } else { quota.min(500) };
        assert!(distinct.len() >= quota, "{situation}: {} of {quota} distinct images", distinct.len());
    }
}

/// An image is judged again only if more is demanded of it.
fn key(hash: u64, image: &State) -> (u64, u64, u64, Option<u64>) {
    let last = image.claims.last();
    let floor = last.map_or(0, |claim| claim.kill * 1000 + image.claims.len() as u64);
    (hash, floor, last.map_or(0, |claim| claim.starts.1), image.point.map(|point| point.offset))
}

/// Ten more records, flushed; closed, opened by the clean mark, and compared to the last record. Answers
/// the states on the way up to the close.
fn go_on(run: &mut Run) -> Result<Vec<State>, String> {
    assert_eq!(run.send(10), 10);
    assert!(run.flush());
    run.verify()?;
    let states = std::mem::take(&mut run.states);
    run.pond.disk().snapshot_every_call(0);
    run.pond.disk().snapshot_every_store(0);
    run.close();
    run.reopen();
    run.verify()?;
    Ok(states)
}

/// The disk after a kill in the midst of a store: some bytes of the next record are there already.
fn amid_store(state: &State) -> Option<crate::env::sim::SimDisk> {
    let disk = state.disk.after_kill();
    let logs: BTreeSet<_> = disk.files().into_iter().filter(|path| is_log(path)).collect();
    let path = logs.last()?;
    let mut bytes = disk.read_file(path).ok()?;
    // A record ends in the number of its headers, so its last byte may be zero.
    let end = bytes.iter().rposition(|byte| *byte != 0)? + 2;
    let room = bytes.get_mut(end..end + 90)?;
    room[61..].fill(0x5A);
    disk.write_file(path, &bytes).ok()?;
    Some(disk)
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

/// Says where a run failed: also where the code under test panics.
struct Told<'a> {
    situation: &'a str,
    seed: u64,
    what: &'a str,
}

impl Told<'_> {
    fn expect<T>(&self, result: Result<T, String>) -> T {
        result.unwrap_or_else(|why| panic!("{why}"))
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut line = String::new();
            let _ = write!(line, "{}: {}", self.situation, self.what);
            eprintln!("{line}; reproduce with MILLPOND_SEED={}", self.seed);
        }
    }
}
