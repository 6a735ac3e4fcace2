//! The whole broker against a model of plain maps: random programs of topics, producers, transactions, groups, tables,
//! retention and compaction on the simulated disk, with full disks, failed syncs, kills and power cuts at any call.
//!
//! ```text
//!   seed -> steps -> broker on the simulated disk  --look, audit--> equal to the model?
//!                      `- now and then a step is cut off at one of its calls: opened again, judged by what
//!                         had been acknowledged before the step
//! ```
//!
//! A failing program prints its seed and its steps. `MILLPOND_SEED=n` runs one seed, `MILLPOND_STEPS=n` only its first
//! steps, `MILLPOND_SEEDS=from..to` a range of them.

mod administering;
mod audit;
mod crash;
mod damage;
mod groups;
mod log;
mod named;
mod observed;
mod readers;
mod sending;
mod tables;
mod times;
mod topics;
mod transactions;
mod world;

use std::ops::Range;

use world::World;

/// Steps of a program.
const STEPS: usize = 70;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn run(seed: u64) {
    let steps = number("MILLPOND_STEPS").map_or(STEPS, |steps| steps as usize);
    let mut world = World::new(seed);
    world.run(steps);
}

/// The seeds that the environment asks for, or the usual ones.
fn seeds(usual: Range<u64>) -> Range<u64> {
    if let Some(seed) = number("MILLPOND_SEED") {
        return seed..seed + 1;
    }
    let Ok(range) = std::env::var("MILLPOND_SEEDS") else { return usual };
    let (from, to) = range.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn whole_programs_do_what_the_model_does() {
    seeds(0..25).for_each(run);
}

/// Far more of them, in a release build; every seed that fails is named.
#[test]
#[ignore = "takes minutes; run by `.ci/run whole`, and MILLPOND_SEEDS=from..to says which seeds"]
fn many_whole_programs_do_what_the_model_does() {
    let fails = |seed: &u64| std::panic::catch_unwind(|| run(*seed)).is_err();
    let failed: Vec<u64> = seeds(0..5_000).filter(fails).collect();
    assert!(failed.is_empty(), "these seeds fail: {failed:?}");
}
